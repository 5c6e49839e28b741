"""Runs taken together: several trained runs of one tokenizer, as one that gives the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nextword.applied.reading import reading_of
from nextword.checkpoint import Run, load_run
from nextword.errors import RunError, UsageError
from nextword.models.ensemble import Ensemble
from nextword.tasks.registry import task_of


def load_together(run: str | Path, others: Sequence[str | Path] = (), device: str = "cpu") -> Run:
    """The run, or with `others` the ensemble of all; its settings and its task are those of the first.

    Raises RunError for one that cannot be read, or reads something else: another tokenizer, or placeholders or none.
    """
    first = load_run(Path(run), device)
    if not others:
        return first
    models = [first.model]
    for other in others:
        loaded = load_run(Path(other), device)
        if loaded.tokenizer.fingerprint() != first.tokenizer.fingerprint():
            raise RunError(
                f"{other} has another tokenizer than {run}: they cannot be taken together",
                hint="Train both on the same data with the same [tokenizer], and another --seed",
            )
        reading = reading_of(first)
        if reading != reading_of(loaded):
            with_them, without = (run, other) if reading.hiding else (other, run)
            raise RunError(
                f"{with_them} was trained with placeholders, {without} was not: they cannot be taken together",
                hint="Train both with the same task.placeholders",
            )
        models.append(loaded.model)
    return replace(first, model=Ensemble(models).eval())


def load_for(task: str, run: str | Path, others: Sequence[str | Path] = (), device: str = "cpu") -> Run:
    """`load_together` of a run that was trained for a task. Raises UsageError for another one."""
    loaded = load_together(run, others, device)
    found = task_of(loaded.config)
    if found is None or found.name != task:
        hint = f"Use nextword {found.command}" if found else f"Train it further: --task {task} --init-from {run}"
        if found is None and loaded.model.encodes and task == "translation":
            hint += ", or tell it by --prefix what to do, as a T5 wants"
        raise UsageError(f"{run} was trained for {found.name if found else 'no task'}, not for {task}", hint=hint)
    return loaded
