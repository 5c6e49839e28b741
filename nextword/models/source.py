"""What a decoder remembers of the texts it was given to read: the sources, as its encoder has left them.

Nothing here is ever written to again, and it is kept once for each source, however many rows write an answer to it: a
beam search that reorders, multiplies and drops rows copies nothing, and attention reads the keys of a source once for
all of its beams.

Shapes: R rows, N sources, n rows of the source that has the most, T new tokens, S tokens of the longest source.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor


class Source:
    """Encoded sources, of different lengths, filled up to the longest, and which of them each row reads.

    A source may be empty. What attends to it then sees nothing but padding, whose values are zeros: nothing is added.
    """

    def __init__(self, tokens: Tensor, lengths: Tensor, memory: Sequence[Tensor], origin: Tensor | None = None) -> None:
        """`tokens` (N, S) ids, `lengths` (N,), `memory` (N, ..., S, D): keys and values, in an order that the model
        knows. `origin` (R,): the source of each row; each source has a row. None: each row has its own."""
        self.tokens, self.lengths, self.memory = tokens, lengths, list(memory)
        self.origin = torch.arange(len(lengths), device=lengths.device) if origin is None else origin

    def is_padding(self) -> Tensor:
        """(N, S) True behind the end of each source."""
        return padding(self.lengths, self.tokens.size(1))

    def of_rows(self, x: Tensor) -> Tensor:
        """(N, ...) -> (R, ...): for each row what belongs to its source."""
        return x.index_select(0, self.origin)

    @cached_property
    def _grid(self) -> tuple[int, Tensor | None]:
        """n, and where in N * n places each row stands; None: where it stands anyway."""
        N, rows = len(self.lengths), torch.arange(len(self.origin), device=self.origin.device)
        counts = self.origin.bincount(minlength=N)
        n = int(counts.max()) if N else 1
        if N * n == len(rows) and torch.equal(self.origin, rows // n):
            return n, None
        order = self.origin.argsort(stable=True)
        first = counts.cumsum(0) - counts  # (N,) rows of the sources before
        number = torch.empty_like(rows)
        number[order] = rows - first[self.origin[order]]  # among those of its source
        return n, self.origin * n + number

    def by_source(self, x: Tensor) -> Tensor:
        """(R, ...) -> (N, n, ...): the rows of a source beside each other, and zeros where it has fewer than n."""
        N, (n, places) = len(self.lengths), self._grid
        if places is not None:
            x = x.new_zeros(N * n, *x.shape[1:]).index_copy(0, places, x)
        return x.reshape(N, n, *x.shape[1:])

    def by_row(self, x: Tensor) -> Tensor:
        """(N, n, ...) -> (R, ...): the inverse of `by_source`."""
        x, (_, places) = x.flatten(0, 1), self._grid
        return x if places is None else x.index_select(0, places)

    def select(self, rows: Tensor) -> Self:
        """The given rows. This very object where they have the sources that the rows have now."""
        origin = self.origin[rows]
        if torch.equal(origin, self.origin):
            return self
        kept, origin = origin.unique(return_inverse=True)
        if len(kept) == len(self.lengths):
            return type(self)(self.tokens, self.lengths, self.memory, origin)
        lengths = self.lengths[kept]
        longest = int(lengths.max()) if len(kept) else 0
        memory = [part[..., :longest, :].index_select(0, kept) for part in self.memory]
        return type(self)(self.tokens[kept, :longest], lengths, memory, origin)

    @classmethod
    def join(cls, sources: Sequence[Source]) -> Self:
        """The rows of all, in order."""
        longest = max(source.tokens.size(1) for source in sources)
        tokens = [F.pad(source.tokens, (0, longest - source.tokens.size(1))) for source in sources]
        memory = [
            torch.cat([F.pad(part, (0, 0, 0, longest - part.size(-2))) for part in parts])
            for parts in zip(*(source.memory for source in sources), strict=True)
        ]
        origins, before = [], 0
        for source in sources:
            origins.append(source.origin + before)
            before += len(source.lengths)
        return cls(torch.cat(tokens), torch.cat([source.lengths for source in sources]), memory, torch.cat(origins))

    def tensors(self) -> list[Tensor]:
        """Lengths and tokens, then the memory, of each row."""
        return [self.of_rows(tensor) for tensor in (self.lengths, self.tokens, *self.memory)]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        """The inverse of `tensors`, but that each row has a source of its own."""
        lengths, tokens, *memory = tensors
        return type(self)(tokens, lengths, memory)


def filled(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """(B, longest) the ids of each row, and 0 behind a shorter one."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)


def padding(lengths: Tensor, size: int) -> Tensor:
    """(B, size) True from `lengths` (B,) on."""
    return torch.arange(size, device=lengths.device) >= lengths[:, None]


def covered(seen: Tensor, source: Source) -> Tensor:
    """(R, S) attention that each token has received in all, 1 at padding: there is nothing left to see."""
    return seen.masked_fill(source.of_rows(source.is_padding()), 1.0)


def repeated(attention: Tensor, source: Source) -> Tensor:
    """(R, T) how much of the attention (R, T, S) of an answer goes where it has been before: sum over S of min(a, c),
    c what the token of the source has received until then (equation 12 of See et al. 2017)."""
    nothing = source.of_rows(source.is_padding())
    attention = attention.masked_fill(nothing[:, None], 0.0)  # that to an empty source is on its padding
    return torch.minimum(attention, attention.cumsum(1) - attention).sum(-1)
