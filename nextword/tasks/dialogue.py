"""Dialogue: what to say next. Each reply is learned, given all that was said before it, by a chat template."""

from __future__ import annotations

from collections.abc import Sequence

from nextword.metrics.replies import reply_scores
from nextword.metrics.score import Score
from nextword.tasks.base import Item, Task
from nextword.text import turns
from nextword.text.chat import TURNS
from nextword.text.records import Example, ReadConfig, Record


def _examples(record: Record, read: ReadConfig) -> list[Example]:
    return list(turns.replies(record))


def _scores(outputs: Sequence[str], items: Sequence[Item], tokenized: bool) -> list[Score]:
    return reply_scores(outputs, [item.prompt for item in items])


def _baselines(items: Sequence[Item]) -> dict[str, list[str]]:
    """What was said there: how varied people are, and how little they repeat and copy."""
    return {"reference": [item.references[0] for item in items]}


DIALOGUE = Task(
    name="dialogue",
    command="chat",
    columns={},
    examples=_examples,
    scores=_scores,
    headline=("distinct-2",),
    baselines=_baselines,
    recipe={"data": {"conversations": True}},
    generation={"temperature": 0.8, "top_p": 0.95, "max_tokens": 100},
    template=TURNS,
    example="chatterbot",
    pairs=False,
)
