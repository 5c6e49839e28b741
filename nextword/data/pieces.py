"""Examples in pieces that fit into rows: which parts of the stream are read together, and where in them falls the loss.

A piece is (start in the stream, tokens, how many of the first carry no loss, whether it goes on from the piece before).
Pieces that go on from one another are a *unit*, which is read at one go; no unit is longer than a row. In all units
together every token that carries loss is predicted exactly once.

A thread that fits is one unit. Of a longer one, what does not fit begins anew, with its preface and some of what it
goes on from: read again, without loss. Knows nothing of batches or rows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nextword.data.token_files import GOES_ON, LENGTH, PREFACE, PROMPT, START, Ids, TokenFiles

Piece = Sequence[int]


@dataclass(frozen=True)
class Units:
    """The pieces of a corpus, those of a unit behind each other."""

    pieces: Ids
    """(pieces, 4) the columns of `TokenFiles.spans` but for the preface."""
    borders: Ids
    """(units + 1,) where each unit begins in `pieces`, and where the last one ends."""
    lengths: Ids
    """(units,) tokens of each."""

    @classmethod
    def of(cls, files: TokenFiles, context: int, overlap: bool) -> Units:
        """Units of at most `context` tokens, those first that need not be cut.

        What of a thread has to begin anew does so with its preface and the last examples before it: with `overlap` as
        many as there is room for, at the cost of reading them once for each target, else together at most half a
        context.
        """
        spans = files.spans()
        first = np.flatnonzero(spans[:, GOES_ON] == 0)  # of each thread
        ends = np.append(first[1:], len(spans))
        long = np.diff(spans[first, START], append=files.len_tokens) > context
        fitting = spans[np.repeat(~long, ends - first), :PREFACE]
        cut = [
            piece
            for begin, end in zip(first[long].tolist(), ends[long].tolist(), strict=True)
            for piece in _cut_thread(spans[begin:end].tolist(), context, overlap)
        ]
        pieces = np.concatenate([fitting, np.array(cut, dtype=np.int64).reshape(-1, 4)])
        begins = np.flatnonzero(pieces[:, GOES_ON] == 0)
        lengths = np.add.reduceat(pieces[:, LENGTH], begins) if len(begins) else np.empty(0, dtype=np.int64)
        return cls(pieces, np.append(begins, len(pieces)), lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def pieces_of(self, units: Iterable[int]) -> list[Piece]:
        """The pieces of some units, in order."""
        return [piece for unit in units for piece in self.pieces[self.borders[unit] : self.borders[unit + 1]].tolist()]


def with_history(spans: Ids, room: int) -> Ids:
    """(examples, 5) the spans of `TokenFiles` as if none went on: where an example begins together with what it goes on
    from, its tokens, and how many of them are its prompt's; of that as many whole examples as `room` tokens can hold.
    Then where its thread begins, and how much of the preface there is to stand before what is left of it.
    """
    starts, numbers = spans[:, START], np.arange(len(spans))
    targets = starts + spans[:, PROMPT]
    thread = np.maximum.accumulate(np.where(spans[:, GOES_ON] == 0, numbers, 0))
    first, preface = starts[thread], spans[thread, PREFACE]
    wanted = (targets - first > room) & (numbers > thread) & (preface < room)
    preface = np.where(wanted & (preface > 1), preface, 0)  # a single token stands for the boundary alone
    fits = np.searchsorted(starts, targets - room + preface)
    begins = starts[np.minimum(np.maximum(thread, fits), numbers)]
    return np.column_stack([begins, starts + spans[:, LENGTH] - begins, targets - begins, first, preface])


def _cut_thread(spans: Sequence[Piece], context: int, overlap: bool) -> Iterator[Piece]:
    """The pieces of a thread that is longer than `context`."""
    begins, preface = [start for start, *_ in spans], spans[0][PREFACE]
    first, room = begins[0], context - preface  # room in a row that begins anew
    reach = first + context  # of the unit at hand: how far its row has room
    for number, (start, length, prompt, goes_on, _) in enumerate(spans):
        target, stop = start + prompt, start + length
        earliest = stop - room if overlap else max(target - context // 2 + preface, stop - room)
        again = begins[bisect_left(begins, earliest, hi=number)]
        if stop <= reach:
            yield start, length, prompt, goes_on
        elif stop - again > room:
            yield from _cut(first, stop - first, target - first, context, overlap)
        else:
            if preface:
                yield first, preface, preface, 0
            yield again, stop - again, target - again, int(preface > 0)
            reach = again + room


def _cut(start: int, length: int, prompt: int, context: int, overlap: bool) -> Iterator[Piece]:
    """Pieces of one long example. Plain text to train on is cut into equal parts.

    Otherwise windows move by half a context, so that a target has at least so much before it; of a prompt that is
    too long, the end is read.
    """
    if not (prompt or overlap):
        parts = -(-length // context)
        for i in range(parts):
            begin, end = i * length // parts, (i + 1) * length // parts
            yield start + begin, end - begin, 0, 0
        return
    half = max(1, context // 2)
    scored, stop = prompt, min(length, max(context, prompt + half))
    while scored < length:
        yield start + stop - context, context, scored - (stop - context), 0
        scored, stop = stop, min(length, stop + half)
