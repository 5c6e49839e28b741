"""What a decoder remembers of the text it was given to read: the source, as its encoder has left it.

Nothing here is ever written to again, so forks of a state share it: a beam search that reorders the rows of one source
copies nothing.

Shapes: B rows, T new tokens, S tokens of the longest source.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor


class Source:
    """Encoded sources, of different lengths, filled up to the longest.

    A source may be empty. What attends to it then sees nothing but padding, whose values are zeros: nothing is added.
    """

    def __init__(self, tokens: Tensor, lengths: Tensor, memory: Sequence[Tensor], origin: Tensor | None = None) -> None:
        """`tokens` (B, S) ids, `lengths` (B,), `memory` (B, ..., S, D): keys and values, in an order that the model
        knows. Rows with the same number in `origin` (B,), below B, have the same source; None: each has its own."""
        self.tokens, self.lengths, self.memory = tokens, lengths, list(memory)
        self.origin = torch.arange(len(lengths), device=lengths.device) if origin is None else origin

    def is_padding(self) -> Tensor:
        """(B, S) True behind the end of each source."""
        return padding(self.lengths, self.tokens.size(1))

    def select(self, rows: Tensor) -> Self:
        """The given rows. This very object where they have the sources that the rows have now."""
        origin = self.origin[rows]
        if torch.equal(origin, self.origin):
            return self
        lengths = self.lengths[rows]
        longest = int(lengths.max()) if len(rows) else 0
        memory = [part.index_select(0, rows)[..., :longest, :] for part in self.memory]
        return type(self)(self.tokens[rows, :longest], lengths, memory, origin.unique(return_inverse=True)[1])

    @classmethod
    def join(cls, sources: Sequence[Source]) -> Self:
        """The rows of all, in order."""
        longest = max(source.tokens.size(1) for source in sources)
        tokens = [F.pad(source.tokens, (0, longest - source.tokens.size(1))) for source in sources]
        memory = [
            torch.cat([F.pad(part, (0, 0, 0, longest - part.size(-2))) for part in parts])
            for parts in zip(*(source.memory for source in sources), strict=True)
        ]
        origins, rows = [], 0
        for source in sources:
            origins.append(source.origin + rows)
            rows += len(source.lengths)
        return cls(torch.cat(tokens), torch.cat([source.lengths for source in sources]), memory, torch.cat(origins))

    def tensors(self) -> list[Tensor]:
        """Lengths and tokens, then the memory."""
        return [self.lengths, self.tokens, *self.memory]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        """The inverse of `tensors`."""
        lengths, tokens, *memory = tensors
        return type(self)(tokens, lengths, memory)


def padding(lengths: Tensor, size: int) -> Tensor:
    """(B, size) True from `lengths` (B,) on."""
    return torch.arange(size, device=lengths.device) >= lengths[:, None]


def covered(seen: Tensor, source: Source) -> Tensor:
    """(B, S) attention that each token has received in all, 1 at padding: there is nothing left to see."""
    return seen.masked_fill(source.is_padding(), 1.0)


def repeated(attention: Tensor, source: Source) -> Tensor:
    """(B, T) how much of the attention (B, T, S) of an answer goes where it has been before: sum over S of min(a, c),
    c what the token of the source has received until then (equation 12 of See et al. 2017)."""
    attention = attention.masked_fill(source.is_padding()[:, None], 0.0)  # that to an empty source is on its padding
    return torch.minimum(attention, attention.cumsum(1) - attention).sum(-1)
