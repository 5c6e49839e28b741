"""Summaries made of a text's own sentences: the baselines that a model for summaries has to beat."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nextword.metrics.summaries import words
from nextword.text.sentences import joined, sentences

DAMPING = 0.85  # of PageRank
MOST = 200  # sentences that TextRank compares: its matrix grows with their square


def lead(text: str, k: int) -> str:
    """The first k sentences.

    >>> lead("One. Two. Three.", 2)
    'One. Two.'
    """
    return joined(sentences(text)[:k])


def longest(text: str, k: int) -> str:
    """The k sentences of most words, in their order."""
    found = sentences(text)
    return _chosen(found, np.array([len(words(sentence)) for sentence in found], np.float64), k)


def textrank(text: str, k: int) -> str:
    """The k sentences that have most in common with the others, in their order (Mihalcea & Tarau 2004).

    Likeness is the words two sentences share, over the logarithms of their lengths; the rank of a sentence is
    PageRank's, found by iteration. Of a longer text, the first `MOST` sentences count.
    """
    found = sentences(text)[:MOST]
    if not found:
        return ""
    cut = [set(words(sentence)) for sentence in found]
    n = len(found)
    alike = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            norm = math.log(max(len(cut[i]), 1)) + math.log(max(len(cut[j]), 1))
            alike[i, j] = alike[j, i] = len(cut[i] & cut[j]) / norm if norm > 0 else 0.0
    sums = alike.sum(1, keepdims=True)
    steps = np.divide(alike, sums, out=np.full((n, n), 1 / n), where=sums > 0)  # (n, n), rows add up to 1
    rank = np.full(n, 1 / n)
    for _ in range(100):
        before, rank = rank, (1 - DAMPING) / n + DAMPING * rank @ steps
        if np.abs(rank - before).sum() < 1e-6:
            break
    return _chosen(found, rank, k)


def _chosen(found: list[str], value: NDArray[np.float64], k: int) -> str:
    best = sorted(np.argsort(-value, kind="stable")[:k].tolist())
    return joined([found[i] for i in best])
