"""Translation: a sentence in one language, and the same in another."""

from __future__ import annotations

from collections.abc import Sequence

from nextword.metrics.score import Score
from nextword.metrics.translations import translation_scores
from nextword.tasks.base import Item, Task, pair_examples
from nextword.text.values import VALUES


def _scores(outputs: Sequence[str], items: Sequence[Item], tokenized: bool) -> list[Score]:
    return translation_scores(outputs, [item.references for item in items], "none" if tokenized else "")


def _baselines(items: Sequence[Item]) -> dict[str, list[str]]:
    """The source itself: what names, numbers and common words are worth."""
    return {"source": [item.prompt for item in items]}


TRANSLATION = Task(
    name="translation",
    command="translate",
    columns={
        "prompt_field": ("source", "src", "input", "sentence"),
        "target_field": ("target", "tgt", "trg", "reference", "references", "translation", "output"),
    },
    examples=pair_examples,
    scores=_scores,
    headline=("BLEU", "chrF"),
    baselines=_baselines,
    hiding=VALUES,
    recipe={"model": {"type": "gru-attention"}, "train": {"label_smoothing": 0.1}},
    generation={"num_beams": 5, "temperature": 0.0, "max_tokens": 200},
    example="tatoeba-en-fr",
)
