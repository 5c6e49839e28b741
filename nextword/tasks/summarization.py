"""Summarization: a long text, and a short one that says the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from nextword.metrics.extracts import lead, longest, textrank
from nextword.metrics.score import Score
from nextword.metrics.summaries import rouge_scores, source_scores
from nextword.tasks.base import Item, Task, pair_examples
from nextword.text.sentences import sentences
from nextword.text.speakers import SPEAKERS

EXTRACTS: Mapping[str, Callable[[str, int], str]] = {"lead": lead, "longest": longest, "textrank": textrank}
"""Summaries made of k sentences of the text itself."""


def _scores(outputs: Sequence[str], items: Sequence[Item], tokenized: bool) -> list[Score]:
    return [
        *rouge_scores(outputs, [item.references for item in items]),
        *source_scores(outputs, [item.prompt for item in items]),
    ]


def usual_sentences(items: Sequence[Item]) -> int:
    """How many sentences a reference has, most often: the k that gives the baselines a fair length."""
    counts = [len(sentences(item.references[0])) for item in items]
    return max(1, max(set(counts), key=lambda k: (counts.count(k), -k)))


def _baselines(items: Sequence[Item]) -> dict[str, list[str]]:
    k = usual_sentences(items)
    return {f"{name}-{k}": [extract(item.prompt, k) for item in items] for name, extract in EXTRACTS.items()}


SUMMARIZATION = Task(
    name="summarization",
    command="summarize",
    columns={
        "prompt_field": ("document", "text", "article", "dialogue", "source", "src", "input"),
        "target_field": ("summary", "summaries", "highlights", "target", "tgt", "abstract", "headline", "output"),
    },
    examples=pair_examples,
    scores=_scores,
    headline=("ROUGE-1", "ROUGE-2", "ROUGE-L"),
    baselines=_baselines,
    hiding=SPEAKERS,
    recipe={
        "model": {"type": "encoder-decoder", "pointer": True, "max_seq_len": 512},
        "train": {"label_smoothing": 0.1},
    },
    # With a length_penalty of 1, summaries of SAMSum had 12 words where references have 20; see LOG.md.
    generation={
        "num_beams": 4,
        "temperature": 0.0,
        "max_tokens": 128,
        "no_repeat_ngram_size": 4,
        "length_penalty": 1.3,
    },
    example="python-docs",
)
