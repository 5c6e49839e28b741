"""How a run reads the texts of its task: with placeholders, if it has learned with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nextword.checkpoint import Run
from nextword.tasks.registry import task_of
from nextword.text.placeholders import Hidden, Hiding, known_symbols
from nextword.text.records import Example


@dataclass(frozen=True)
class Reading:
    """Of a run. Equal where the same stands for the same on both sides of a pair."""

    hiding: Hiding | None = None
    """What its task hides; None = nothing, or its model has not learned so."""
    symbols: str = ""
    """Those that its tokenizer has."""
    languages: Sequence[str] = field(default=(), compare=False)
    """(from, to), where they are known."""

    def hidden(self, text: str) -> Hidden:
        """A prompt as it reads it."""
        return self.hiding.hidden(text, self.languages, self.symbols) if self.hiding else Hidden(text)

    def pair(self, example: Example) -> Example:
        """A prompt and what is to be its answer."""
        return self.hiding.pair(example, self.symbols) if self.hiding else example


def reading_of(run: Run) -> Reading:
    """How a run reads the texts of its task; a run for no task reads them as they are."""
    task, config = task_of(run.config), run.config.get("task", {})
    symbols = known_symbols(run.tokenizer.unknown) if config.get("placeholders") else ""
    if task is None or not symbols:
        return Reading()
    return Reading(task.hiding, symbols, tuple(config.get("languages", ())))
