"""Batches for models that encode a source: an example's prompt is the source, its target the answer.

A source is closed by <eos>, an answer begins after the boundary token and ends with <eos>. An epoch is shuffled, and
examples of like length stand together; the order is a pure function of (files, settings, position), as in `batches`.

Of a source longer than `context` the end is cut off; where an answer goes on from others, the first of what was said
before is left out, but for the preface. A longer answer is cut into parts that follow each other, each after the whole
source, so that every token that carries loss is predicted exactly once an epoch.

Knows nothing of models, losses or processes. Shapes: B rows, S tokens of a source, T tokens of an answer.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from nextword.data.batches import Batch, PlannedBatches, fit
from nextword.data.pieces import with_history
from nextword.data.token_files import Ids, TokenFiles
from nextword.tokenizers import IGNORE

LIKE = 16
"""Batches are made of a shuffled pool of so many batches, sorted by length: of like length, and yet mixed anew."""


class PairBatches(PlannedBatches):
    """Pairs of source and answer, shuffled anew each epoch, at most `tokens` tokens a batch, both sides and padding
    included. A batch has at least one row, however few `tokens` are."""

    def __init__(self, files: TokenFiles, tokens: int, context: int, seed: int = 0) -> None:
        """Raises DataError below 2 tokens."""
        fit(files.len_tokens, 1, context)
        super().__init__(files.digest, context, tokens, seed)
        self.files = files
        self._pairs = _pairs(files, context)

    @property
    def size(self) -> str:
        """As `Order`."""
        return f"{self.tokens:,} tokens of sources and answers"

    def _planned(self, rng: np.random.RandomState) -> list[Ids]:
        order, sizes = rng.permutation(len(self._pairs)), _sizes(self._pairs)
        pool = max(1, round(LIKE * self.tokens / sizes.sum(1).mean()))
        batches = [
            batch
            for at in range(0, len(order), pool)
            for batch in _by_length(order[at : at + pool], sizes, self.tokens)
        ]
        return [batches[i] for i in rng.permutation(len(batches))]

    def _batch(self, planned: Ids) -> Batch:
        return _batch(self.files, self._pairs[planned])


def pairs_in_order(files: TokenFiles, tokens: int, context: int) -> Iterator[Batch]:
    """Every answer once, in batches of at most `tokens` tokens, the longest first."""
    pairs = _pairs(files, context)
    for batch in _by_length(np.arange(len(pairs)), _sizes(pairs), tokens):
        yield _batch(files, pairs[batch])


def _pairs(files: TokenFiles, context: int) -> Ids:
    """(pairs, 6) where each source begins in the stream, its tokens, where its answer begins, the tokens of that; where
    a preface begins that stands before the source, its tokens."""
    start, length, prompt, first, preface = with_history(files.spans(), context - 1).T
    source = np.minimum(prompt, context - 1 - preface)  # <eos> closes it
    whole = np.column_stack([start, source, start + prompt, length - prompt, first, preface])
    long = whole[:, 3] > context
    parts = [
        (begin, size, answer + at, min(context, total - at), *before)
        for begin, size, answer, total, *before in whole[long].tolist()
        for at in range(0, total, context)
    ]
    return np.concatenate([whole[~long], np.array(parts, dtype=np.int64).reshape(-1, 6)])


def _sizes(pairs: Ids) -> Ids:
    """(pairs, 2) tokens of source, its preface and <eos> included, and answer."""
    return np.column_stack([pairs[:, 1] + pairs[:, 5] + 1, pairs[:, 3]])


def _by_length(order: Ids, sizes: Ids, tokens: int) -> list[Ids]:
    """Batches of pair numbers, longest first: as many as fit, each side as wide as its longest."""
    order = order[np.lexsort((sizes[order, 1], sizes[order, 0]))[::-1]]
    batches: list[Ids] = []
    first = S = T = 0
    for at, (source, answer) in enumerate(sizes[order].tolist()):
        S, T = max(S, source), max(T, answer)
        if at > first and (at + 1 - first) * (S + T) > tokens:
            batches.append(order[first:at])
            first, S, T = at, source, answer
    return [*batches, order[first:]]


def _batch(files: TokenFiles, pairs: Ids) -> Batch:
    """Rows of pairs, each side filled up to its longest, without loss."""
    lengths = torch.from_numpy(_sizes(pairs)[:, 0])
    sources = np.full((len(pairs), int(lengths.max())), files.eos_id, dtype=np.int64)
    inputs = np.full((len(pairs), int(pairs[:, 3].max())), files.bos_id, dtype=np.int64)
    targets = np.full_like(inputs, IGNORE)
    for i, (start, source, answer, length, first, preface) in enumerate(pairs.tolist()):
        sources[i, :preface] = files.window(first, preface)
        sources[i, preface : preface + source] = files.window(start, source)
        targets[i, :length] = ids = files.window(answer, length)
        inputs[i, 1:length] = ids[:-1]
    return Batch(torch.from_numpy(inputs), torch.from_numpy(targets), sources=(torch.from_numpy(sources), lengths))
