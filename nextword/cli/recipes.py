"""What the options of `nextword train` come to: the sections of a recipe, and the data that it is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nextword.errors import UsageError


def recipe_values(
    config: Path | None,
    options: Mapping[str, Mapping[str, Any]],
    mix: Sequence[str],
    adapter: str,
    settings: Sequence[str],
) -> dict[str, Any]:
    """The sections of the recipe in `config`; before it go the `options` of each section, None or "" where one is not
    given, and before those the `settings` of --set. Raises UsageError."""
    from nextword.config import assign, read_toml
    from nextword.training.recipe import LIMITS, check_sections

    values: dict[str, Any] = read_toml(config) if config else {}
    check_sections(values)
    for name, section in options.items():
        given = {key: value for key, value in section.items() if value not in (None, "")}
        if not given.keys().isdisjoint(LIMITS):  # a limit replaces that of the recipe, whatever its kind
            values[name] = {key: value for key, value in values.get(name, {}).items() if key not in LIMITS}
        if given:
            values[name] = values.get(name, {}) | given
    if adapter:
        assign(values, f"train.adapter.kind={adapter}")
    if mix:
        values.setdefault("mix", {})["corpora"] = _corpora(mix)
    for setting in settings:
        assign(values, setting)
    check_sections(values)
    return values


def embedded(values: dict[str, Any], sources: list[Any]) -> tuple[list[Any], str]:
    """The embedded data of a task, and what it is called. Raises UsageError for a task that has none."""
    from nextword import corpora
    from nextword.tasks.registry import TASKS, task_named

    if sources:
        raise UsageError(f"--example stands in place of DATA, got {sources[0]}", hint="Leave one of them out")
    name = values.get("task", {}).get("name", "")
    if not name or not task_named(name).example:
        having = " or ".join(task.name for task in TASKS.values() if task.example)
        raise UsageError(f"--example: expected --task {having}, got {name or 'none'}")
    embedded = TASKS[name].example
    return [corpora.rows(embedded)], corpora.titled(embedded)


def for_task(values: dict[str, Any], sources: list[Any], given: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """The recipe and the data for section [task]; what else a new run is given goes into `given`."""
    from nextword.data.prepare import is_prepared
    from nextword.tasks.setup import set_up

    for source in sources:
        if isinstance(source, str) and is_prepared(source):
            raise UsageError(f"--task reads pairs, got {source}, which is prepared", hint="Name what it was made from")
    setup = set_up(values, sources, given["valid"], init_from=given["init_from"])
    given |= {"valid": setup.valid, "task": setup.task, "generation": setup.generation, "template": setup.template}
    given.setdefault("corpus", setup.corpus)
    return setup.values, list(setup.sources)


def _corpora(given: Sequence[str]) -> dict[str, Any]:
    """What --mix NAME=PATH:WEIGHT means in [mix]. Of a name given twice, all files. Raises UsageError."""
    corpora: dict[str, Any] = {}
    for one in given:
        name, _, path = one.partition("=")
        before, _, last = path.rpartition(":")
        try:
            path, weight = (before, float(last)) if before else (path, None)
        except ValueError:  # a colon of the path
            weight = None
        if not name or not path:
            raise UsageError(f"--mix {one!r}: expected NAME=PATH:WEIGHT, such as poems=tang.jsonl:2")
        corpus = corpora.setdefault(name, {"data": []})
        corpus["data"].append(path)
        if weight is not None:
            corpus["weight"] = weight
    return corpora
