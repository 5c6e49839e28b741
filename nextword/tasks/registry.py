"""The tasks by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nextword.errors import UsageError, did_you_mean
from nextword.tasks.base import Task
from nextword.tasks.dialogue import DIALOGUE
from nextword.tasks.poetry import POETRY
from nextword.tasks.summarization import SUMMARIZATION
from nextword.tasks.translation import TRANSLATION

TASKS = {task.name: task for task in (TRANSLATION, SUMMARIZATION, DIALOGUE, POETRY)}


def task_named(name: str) -> Task:
    """The task of that name. Raises UsageError for an unknown one."""
    if name not in TASKS:
        raise UsageError(f"unknown task {name!r}. {did_you_mean(name, TASKS)}")
    return TASKS[name]


def task_of(config: Mapping[str, Any]) -> Task | None:
    """The task that a run was trained for, by its config.json; None: for none."""
    return task_named(config["task"]["name"]) if "task" in config else None
