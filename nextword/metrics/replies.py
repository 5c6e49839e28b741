"""How varied replies are: what a model that always says "I don't know" has little of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from nextword.metrics.score import Score, mean_score
from nextword.metrics.summaries import novelty, words


def reply_scores(replies: Sequence[str], histories: Sequence[str]) -> list[Score]:
    """distinct-1, distinct-2 and entropy of all replies together; repetition, copied and length of each.

    distinct-n: different word n-grams, in % of all (Li et al. 2016). entropy: of whole replies, in bits; at most
    log2 of their number. repetition: % of a reply's bigrams that stood in it before. copied: % of its bigrams that
    stand in what was said before it.
    """
    cut = [words(reply) for reply in replies]
    return [
        Score("distinct-1", 100 * distinct(cut, 1), "in %"),
        Score("distinct-2", 100 * distinct(cut, 2), "in %"),
        Score("entropy", entropy([" ".join(some) for some in cut]), "bits over whole replies"),
        mean_score("repetition", [100 * repetition(some) for some in cut], "in %", higher_is_better=False),
        mean_score(
            "copied",
            [100 * (1 - novelty(reply, history)) if len(some) > 1 else 0.0
             for reply, history, some in zip(replies, histories, cut, strict=True)],
            "in %",
            higher_is_better=False,
        ),
        mean_score("length", [len(some) for some in cut], "words", higher_is_better=None),
    ]  # fmt: skip


def distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    """Of the n-grams of all texts, the share that are different ones.

    >>> distinct([["i", "am"], ["i", "was"]], 1)
    0.75
    """
    found = [tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)]
    return len(set(found)) / len(found) if found else 0.0


def entropy(texts: Sequence[str]) -> float:
    """Of the distribution of texts, in bits: 0 where all are the same.

    >>> entropy(["yes", "no"]), entropy(["yes", "yes"])
    (1.0, 0.0)
    """
    counts = Counter(texts)
    return math.fsum(count / len(texts) * math.log2(len(texts) / count) for count in counts.values())


def repetition(text: Sequence[str]) -> float:
    """The share of a text's bigrams that it had before."""
    pairs = list(pairwise(text))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0
