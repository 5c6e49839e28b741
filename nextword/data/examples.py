"""Batches of whole examples, each read from a fresh start: pairs of prompt and target, or short documents.

An example fills a row, in batches of examples of like length; or, packed, several share one, and the model is told
where each begins. The order is a pure function of (files, settings, position), as in `batches`; the position is
(epoch, batch). An epoch is planned when it begins, which takes some 50 bytes an example.

Only an example longer than a row is cut, into *pieces*: (start in the stream, tokens, how many of the first carry no
loss). Every token that carries loss is predicted exactly once an epoch.

Knows nothing of models, losses or processes. Shapes: B rows, T tokens.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from nextword.data.batches import Batch, PlannedBatches, fit
from nextword.data.token_files import Ids, TokenFiles
from nextword.tokenizers import IGNORE

POOL = 4096
"""Pieces that are packed together: enough to fill rows nearly, few enough that a row is still a random mixture."""


class ExampleBatches(PlannedBatches):
    """Whole examples, shuffled anew each epoch, in batches of at most `tokens` tokens, padding included.

    Unpacked, a batch holds as many examples of like length as fit; its width is that of the longest. Packed, all
    batches are `tokens` / `context` rows of `context` tokens; the last of an epoch is filled up with empty rows. A
    batch has at least one row, however few `tokens` are.
    """

    def __init__(self, files: TokenFiles, tokens: int, context: int, seed: int = 0, packed: bool = False) -> None:
        """Raises DataError below 2 tokens."""
        num_rows = max(1, tokens // context)
        _, context, _ = fit(files.len_tokens, 1, context)
        super().__init__(files.digest, context, tokens, seed)
        self.files, self.packed, self.one_shape = files, packed, packed
        self._packed_shape = num_rows, context
        self._pieces = _pieces(files, context, overlap=False)

    @property
    def size(self) -> str:
        """As `Order`."""
        return f"{self.tokens:,} tokens of whole examples" + (", several in a row" if self.packed else "")

    def _planned(self, rng: np.random.RandomState) -> _Plan:
        order, lengths = rng.permutation(len(self._pieces)), self._pieces[:, 1]
        if self.packed:
            pools = (order[at : at + POOL] for at in range(0, len(order), POOL))
            rows = [row for pool in pools for row in _fill(pool, lengths, self.context)]
            return _Plan.of([rows[i] for i in rng.permutation(len(rows))], per_batch=self._packed_shape[0])
        batches = _by_length(order, lengths, self.tokens)
        return _Plan.of_batches([batches[i] for i in rng.permutation(len(batches))])

    def _batch(self, planned: list[Ids]) -> Batch:
        rows = [self._pieces[row] for row in planned]
        return _batch(self.files, rows, self._packed_shape if self.packed else None)

    def _setting(self) -> dict[str, Any]:
        return super()._setting() | {"packed": self.packed}


def examples_in_order(files: TokenFiles, tokens: int, context: int) -> Iterator[Batch]:
    """Every example once, the longest first, in batches of at most `tokens` tokens.

    One longer than `context` is read in windows that move by half a context. Raises DataError below 2 tokens.
    """
    _, context, _ = fit(files.len_tokens, 1, context)
    pieces = _pieces(files, context, overlap=True)
    for batch in _by_length(np.arange(len(pieces)), pieces[:, 1], tokens):
        yield _batch(files, list(pieces[batch, None]))


@dataclass(frozen=True)
class _Plan:
    """The batches of an epoch. Flat arrays: an epoch may have millions of rows."""

    pieces: Ids
    """Their numbers, in the order they are read in."""
    rows: Ids
    """(rows + 1,) where each row begins in `pieces`, and where the last one ends."""
    batches: Ids
    """(batches + 1,) the same of batches in `rows`."""

    @classmethod
    def of(cls, rows: Sequence[Ids], per_batch: int) -> _Plan:
        return cls(np.concatenate(rows), _offsets(rows), np.append(np.arange(0, len(rows), per_batch), len(rows)))

    @classmethod
    def of_batches(cls, batches: Sequence[Ids]) -> _Plan:
        """Of batches of one piece a row."""
        pieces = np.concatenate(batches)
        return cls(pieces, np.arange(len(pieces) + 1), _offsets(batches))

    def __len__(self) -> int:
        return len(self.batches) - 1

    def __getitem__(self, index: int) -> list[Ids]:
        """The pieces of each row of a batch."""
        rows = self.rows[self.batches[index] : self.batches[index + 1] + 1]
        return [self.pieces[first:last] for first, last in pairwise(rows.tolist())]


def _offsets(parts: Sequence[Ids]) -> Ids:
    return np.cumsum([0, *map(len, parts)])


def _by_length(order: Ids, lengths: Ids, tokens: int) -> list[Ids]:
    """Batches of piece numbers, longest first: as many as fit, each counted as long as the longest of its batch."""
    order = order[np.argsort(-lengths[order], kind="stable")]
    cuts = [0]
    while cuts[-1] < len(order):
        cuts.append(min(len(order), cuts[-1] + max(1, tokens // int(lengths[order[cuts[-1]]]))))
    return [order[first:last] for first, last in pairwise(cuts)]


def _fill(pieces: Ids, lengths: Ids, room: int) -> list[Ids]:
    """Rows of at most `room` tokens: by best fit, longest first (Ding et al. 2024), or in the order given if fewer are.

    Longest first is one or two percent better, but for corpora of few different lengths, such as regulated verse.
    """
    longest_first = pieces[np.argsort(-lengths[pieces], kind="stable")]
    return min((_best_fit(order, lengths, room) for order in (longest_first, pieces)), key=len)


def _best_fit(pieces: Ids, lengths: Ids, room: int) -> list[Ids]:
    """Each piece in turn goes into the row where it leaves the least room."""
    rows: list[list[int]] = []
    left: list[tuple[int, int]] = []  # room left in each row, and its number, ascending
    for piece, length in zip(pieces.tolist(), lengths[pieces].tolist(), strict=True):
        at = bisect_left(left, (length, 0))
        remaining, number = left.pop(at) if at < len(left) else (room, len(rows))
        if number == len(rows):
            rows.append([])
        rows[number].append(piece)
        insort(left, (remaining - length, number))
    return [np.array(row) for row in rows]


def _pieces(files: TokenFiles, context: int, overlap: bool) -> Ids:
    """(pieces, 3) all examples in order; those that fit in `context` are one piece each, the others are cut."""
    spans = files.spans()
    long = spans[:, 1] > context
    cut = [piece for span in spans[long].tolist() for piece in _cut(span, context, overlap)]
    return np.concatenate([spans[~long], np.array(cut, dtype=np.int64).reshape(-1, 3)])


def _cut(span: Sequence[int], context: int, overlap: bool) -> Iterator[tuple[int, int, int]]:
    """Pieces of one long example. Plain text to train on is cut into equal parts.

    Otherwise windows move by half a context, so that a target has at least so much before it; of a prompt that is
    too long, the end is read.
    """
    start, length, prompt = span
    if not (prompt or overlap):
        parts = -(-length // context)
        for i in range(parts):
            first, last = i * length // parts, (i + 1) * length // parts
            yield start + first, last - first, 0
        return
    half = max(1, context // 2)
    scored, stop = prompt, min(length, max(context, prompt + half))
    while scored < length:
        yield start + stop - context, context, scored - (stop - context)
        scored, stop = stop, min(length, stop + half)


def _batch(files: TokenFiles, rows: Sequence[Ids], packed: tuple[int, int] | None = None) -> Batch:
    """Rows of pieces, filled up to the longest, or to the shape of a packed batch: <eos> in, no loss out."""
    shape = packed or (len(rows), max(int(row[:, 1].sum()) for row in rows))
    inputs = np.full(shape, files.eos_id, dtype=np.int64)
    targets = np.full(shape, IGNORE, dtype=np.int64)
    starts = np.zeros(shape, dtype=np.bool_)
    for i, row in enumerate(rows):
        at = 0
        for start, length, silent in row.tolist():
            ids = files.window(start - 1, length + 1)
            inputs[i, at : at + length] = ids[:-1]
            if ids[0] == files.eos_id:
                inputs[i, at] = files.bos_id
            targets[i, at + silent : at + length] = ids[1 + silent :]
            starts[i, at] = True
            at += length
    return Batch(
        torch.from_numpy(inputs), torch.from_numpy(targets), starts=torch.from_numpy(starts) if packed else None
    )
