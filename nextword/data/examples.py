"""Batches of whole examples, each read from a fresh start: pairs of prompt and target, or short documents.

An example, or a thread of them (`token_files`), fills a row, in batches of like length; or, packed, several share one,
and the model is told where each begins. The order is a pure function of (files, settings, position), as in `batches`;
the position is (epoch, batch). An epoch is planned when it begins, which takes some 50 bytes an example.

A row is made of *pieces* of the stream (`pieces`): an example, or a part of one that is longer than a row. Pieces that
go on from one another are read as one *unit*. Every token that carries loss is predicted exactly once an epoch.

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
from nextword.data.pieces import Piece, Units
from nextword.data.token_files import Ids, TokenFiles
from nextword.tokenizers import IGNORE

POOL = 4096
"""Units that are packed together: enough to fill rows nearly, few enough that a row is still a random mixture."""


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
        self._units = Units.of(files, context, overlap=False)

    @property
    def size(self) -> str:
        """As `Order`."""
        return f"{self.tokens:,} tokens of whole examples" + (", several in a row" if self.packed else "")

    def _planned(self, rng: np.random.RandomState) -> _Plan:
        order, lengths = rng.permutation(len(self._units)), self._units.lengths
        if self.packed:
            pools = (order[at : at + POOL] for at in range(0, len(order), POOL))
            rows = [row for pool in pools for row in _fill(pool, lengths, self.context)]
            return _Plan.of([rows[i] for i in rng.permutation(len(rows))], per_batch=self._packed_shape[0])
        batches = _by_length(order, lengths, self.tokens)
        return _Plan.of_batches([batches[i] for i in rng.permutation(len(batches))])

    def _batch(self, planned: list[Ids]) -> Batch:
        rows = [self._units.pieces_of(row) for row in planned]
        return _batch(self.files, rows, self._packed_shape if self.packed else None)

    def _setting(self) -> dict[str, Any]:
        return super()._setting() | {"packed": self.packed}


def examples_in_order(files: TokenFiles, tokens: int, context: int, as_trained: bool = False) -> Iterator[Batch]:
    """Every example once, the longest first, in batches of at most `tokens` tokens.

    One longer than `context` is read in windows that move by half a context, and one that goes on from others behind
    its preface and as many of these, whole, as there is room for; or both `as_trained`, cut as `ExampleBatches` does.
    Raises DataError below 2 tokens.
    """
    _, context, _ = fit(files.len_tokens, 1, context)
    units = Units.of(files, context, overlap=not as_trained)
    for batch in _by_length(np.arange(len(units)), units.lengths, tokens):
        yield _batch(files, [units.pieces_of([number]) for number in batch])


@dataclass(frozen=True)
class _Plan:
    """The batches of an epoch. Flat arrays: an epoch may have millions of rows."""

    units: Ids
    """Their numbers, in the order they are read in."""
    rows: Ids
    """(rows + 1,) where each row begins in `units`, and where the last one ends."""
    batches: Ids
    """(batches + 1,) the same of batches in `rows`."""

    @classmethod
    def of(cls, rows: Sequence[Ids], per_batch: int) -> _Plan:
        return cls(np.concatenate(rows), _offsets(rows), np.append(np.arange(0, len(rows), per_batch), len(rows)))

    @classmethod
    def of_batches(cls, batches: Sequence[Ids]) -> _Plan:
        """Of batches of one unit a row."""
        units = np.concatenate(batches)
        return cls(units, np.arange(len(units) + 1), _offsets(batches))

    def __len__(self) -> int:
        return len(self.batches) - 1

    def __getitem__(self, index: int) -> list[Ids]:
        """The units of each row of a batch."""
        rows = self.rows[self.batches[index] : self.batches[index + 1] + 1]
        return [self.units[first:last] for first, last in pairwise(rows.tolist())]


def _offsets(parts: Sequence[Ids]) -> Ids:
    return np.cumsum([0, *map(len, parts)])


def _by_length(order: Ids, lengths: Ids, tokens: int) -> list[Ids]:
    """Batches of unit numbers, longest first: as many as fit, each counted as long as the longest of its batch."""
    order = order[np.argsort(-lengths[order], kind="stable")]
    cuts = [0]
    while cuts[-1] < len(order):
        cuts.append(min(len(order), cuts[-1] + max(1, tokens // int(lengths[order[cuts[-1]]]))))
    return [order[first:last] for first, last in pairwise(cuts)]


def _fill(units: Ids, lengths: Ids, room: int) -> list[Ids]:
    """Rows of at most `room` tokens: by best fit, longest first (Ding et al. 2024), or in the order given if fewer are.

    Longest first is one or two percent better, but for corpora of few different lengths, such as regulated verse.
    """
    longest_first = units[np.argsort(-lengths[units], kind="stable")]
    return min((_best_fit(order, lengths, room) for order in (longest_first, units)), key=len)


def _best_fit(units: Ids, lengths: Ids, room: int) -> list[Ids]:
    """Each unit in turn goes into the row where it leaves the least room."""
    rows: list[list[int]] = []
    left: list[tuple[int, int]] = []  # room left in each row, and its number, ascending
    for unit, length in zip(units.tolist(), lengths[units].tolist(), strict=True):
        at = bisect_left(left, (length, 0))
        remaining, number = left.pop(at) if at < len(left) else (room, len(rows))
        if number == len(rows):
            rows.append([])
        rows[number].append(unit)
        insort(left, (remaining - length, number))
    return [np.array(row) for row in rows]


def _batch(files: TokenFiles, rows: Sequence[list[Piece]], packed: tuple[int, int] | None = None) -> Batch:
    """Rows of pieces, filled up to the longest, or to the shape of a packed batch: <eos> in, no loss out."""
    shape = packed or (len(rows), max(sum(length for _, length, _, _ in row) for row in rows))
    inputs = np.full(shape, files.eos_id, dtype=np.int64)
    targets = np.full(shape, IGNORE, dtype=np.int64)
    starts = np.zeros(shape, dtype=np.bool_)
    for i, row in enumerate(rows):
        at = 0
        for start, length, silent, goes_on in row:
            ids = files.window(start - 1, length + 1)
            inputs[i, at : at + length] = ids[:-1]
            if not goes_on and ids[0] == files.eos_id:
                inputs[i, at] = files.bos_id
            targets[i, at + silent : at + length] = ids[1 + silent :]
            starts[i, at] = not goes_on
            at += length
    return Batch(
        torch.from_numpy(inputs), torch.from_numpy(targets), starts=torch.from_numpy(starts) if packed else None
    )
