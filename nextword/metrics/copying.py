"""How much of a text is copied: which spans of it stand in another, much longer text, token for token.

Exact, and in memory that does not grow with the longer text: its windows are hashed piece by piece, a rolling hash
(Karp and Rabin 1987) finds where a span may stand, and a comparison of the tokens decides. Works on ids of any
vocabulary, and on the characters of a text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ids = NDArray[np.int64]

_PIECE = 2**18  # ids hashed at a time: the 2 MB of their hashes stay in a core's cache
_BASE = 0x9E3779B97F4A7C15  # of the polynomial, modulo 2**64: odd, and its bits are well mixed
_TABLE_BITS = 16


@dataclass(frozen=True)
class Copied:
    """What `copied` found of a sample. The longest span may be shorter than those that count as copied."""

    tokens: int
    """Of the sample."""
    copied: int
    """Those that lie in a span of at least `least` tokens that stands in the corpus."""
    least: int
    longest: int
    """Tokens of the longest span that stands in the corpus."""
    start: int
    """Where in the sample it begins (the first of several)."""

    @property
    def share(self) -> float:
        """Of the sample's tokens, 0 to 1."""
        return self.copied / self.tokens if self.tokens else 0.0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"share": self.share}


def copied(sample: ArrayLike, corpus: Iterable[ArrayLike], least: int) -> Copied:
    """Which tokens of `sample` lie in spans of at least `least` tokens that stand in `corpus`, and its longest span.

    `sample` is (n,) ids, and `corpus` one stream of ids, in pieces of any size. Takes about 0.5 s for ten million
    tokens, nearly whatever the sample.

    >>> found = copied([5, 1, 2, 3, 7], [[9, 1, 2], [3, 4]], least=2)
    >>> found.copied, found.share, found.longest, found.start
    (3, 0.6, 3, 1)
    """
    ids = np.asarray(sample, np.int64)
    occurs = np.zeros(max(len(ids) - least + 1, 0), np.bool_)  # of the windows of `least` tokens
    longest = start = 0
    wanted = _Windows(ids)
    for piece in _pieces(corpus, overlap=len(ids) - 1) if len(ids) else ():
        there = _Windows(piece)
        if len(occurs):
            now = _occurring(wanted, there, least)
            occurs |= now
            if longest < least and now.any():
                longest, start = least, int(now.argmax())
        if longest < len(ids) and _occurring(wanted, there, longest + 1).any():
            # If a span occurs, so does every part of it: the lengths that occur come first.
            lengths = range(longest + 1, len(ids) + 1)
            longest += bisect_left(lengths, True, key=lambda length: not _occurring(wanted, there, length).any())
            start = int(_occurring(wanted, there, longest).argmax())
    edges = np.zeros(len(ids) + 1, np.int64)
    np.add.at(edges, np.flatnonzero(occurs), 1)
    np.add.at(edges, np.flatnonzero(occurs) + least, -1)
    return Copied(len(ids), int((edges.cumsum() > 0).sum()), least, longest, start)


def copied_text(sample: str, corpus: Iterable[str], least: int) -> Copied:
    """The same for characters: no span runs from one text of `corpus` into the next.

    >>> copied_text("疑是地上雪", ["床前明月光，疑是地上霜。"], least=3).copied
    4
    """
    return copied(_characters(sample), (np.append(_characters(text), -1) for text in corpus), least)


def _characters(text: str) -> Ids:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)


def _pieces(corpus: Iterable[ArrayLike], overlap: int) -> Iterator[Ids]:
    """The stream in pieces that are long enough to hash at numpy's speed, each with the end of the one before."""
    waiting: list[Any] = []
    size = fresh = 0
    for part in corpus:
        ids = np.asarray(part, np.int64)
        for first in range(0, len(ids), _PIECE):
            waiting.append(ids[first : first + _PIECE])
            size, fresh = size + len(waiting[-1]), fresh + len(waiting[-1])
            if size >= max(_PIECE, 4 * overlap):
                piece = np.concatenate(waiting)
                yield piece
                waiting, fresh = [piece[len(piece) - overlap :]], 0
                size = overlap
    if fresh:
        yield np.concatenate(waiting)


class _Windows:
    """The windows of every length of some ids, by their hashes."""

    def __init__(self, ids: Ids) -> None:
        self.ids = ids
        self._doubled = [ids.astype(np.uint64) * np.uint64(_BASE)]  # hashes of windows of 1, 2, 4, ... ids

    def hashes(self, length: int) -> NDArray[np.uint64]:
        """(n - length + 1,) a number for each window; equal windows have equal numbers."""
        while 2 ** len(self._doubled) <= length:
            half = self._doubled[-1]
            width = 2 ** (len(self._doubled) - 1)
            self._doubled.append(_joined(half, half, width, width))
        total, size = self._doubled[0][:0], 0
        for bit, windows in enumerate(self._doubled):
            if length >> bit & 1:
                total = _joined(total, windows, size, 2**bit) if size else windows
                size += 2**bit
        return total


def _joined(left: NDArray[np.uint64], right: NDArray[np.uint64], size: int, width: int) -> NDArray[np.uint64]:
    """Hashes of windows of `size` + `width` ids, from those of `size` and those of `width`."""
    right = right[size:]
    return left[: len(right)] * np.uint64(pow(_BASE, width, 2**64)) + right


def _occurring(wanted: _Windows, there: _Windows, length: int) -> NDArray[np.bool_]:
    """For each window of `length` ids of `wanted`, whether it is one of `there`."""
    keys, hashes = wanted.hashes(length), there.hashes(length)
    table = np.zeros(2**_TABLE_BITS, np.bool_)
    shift = np.uint64(64 - _TABLE_BITS)
    table[keys >> shift] = True
    places = np.flatnonzero(table[hashes >> shift])  # some one in a thousand, where few windows occur
    values, first = np.unique(hashes[places], return_index=True)
    found = np.isin(keys, values)
    for start in np.flatnonzero(found):
        window = wanted.ids[start : start + length]
        place = places[first[np.searchsorted(values, keys[start])]]
        if not np.array_equal(there.ids[place : place + length], window):  # equal hashes of others: about never
            same = places[hashes[places] == keys[start]]
            found[start] = any(np.array_equal(there.ids[place : place + length], window) for place in same)
    return found
