"""What a Transformer remembers: the keys and values of all that it has read.

Shapes: B rows, T new tokens, G key/value heads, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.models.base import State


class TransformerState(State):
    """Keys and values of each layer in buffers (B, G, capacity, D) that grow in place.

    Row b's tokens lie at 0 .. lengths[b]-1. `uniform` is their common length, or None when rows differ.
    """

    def __init__(self, keys: list[Tensor], values: list[Tensor], lengths: Tensor, uniform: int | None) -> None:
        super().__init__(lengths)
        self.keys, self.values, self.uniform = keys, values, uniform

    def select(self, rows: Tensor) -> Self:
        """The given rows, copied."""
        lengths = self.lengths[rows]
        uniform = common(lengths) if self.uniform is None else self.uniform
        keys, values = ([kept.index_select(0, rows) for kept in part] for part in (self.keys, self.values))
        return type(self)(keys, values, lengths, uniform)

    def rewind(self, lengths: Tensor) -> Self:
        """Nothing is copied: what lies behind `lengths` stays unseen until it is overwritten."""
        assert (lengths <= self.lengths).all()
        self.spend()
        return type(self)(self.keys, self.values, lengths, common(lengths))

    def tensors(self) -> list[Tensor]:
        """Lengths, then the keys of all layers, then their values."""
        return [self.lengths, *self.keys, *self.values]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        """The inverse of `tensors`."""
        lengths, *buffers = tensors
        half = len(buffers) // 2
        return type(self)(list(buffers[:half]), list(buffers[half:]), lengths, common(lengths))

    def _join(self, states: Sequence[Self]) -> Self:
        lengths = torch.cat([state.lengths for state in states])
        room = max(state.keys[0].size(2) for state in states)
        keys = [torch.cat([_grown(k, room) for k in layer]) for layer in zip(*(s.keys for s in states), strict=True)]
        values = [
            torch.cat([_grown(v, room) for v in layer]) for layer in zip(*(s.values for s in states), strict=True)
        ]
        return type(self)(keys, values, lengths, common(lengths))

    def places(self, T: int) -> tuple[Tensor, int]:
        """The positions (B or 1, T) of the next T tokens, and the length of the longest row with them."""
        new = torch.arange(T, device=self.lengths.device).unsqueeze(0)
        if self.uniform is None:
            return self.lengths[:, None] + new, T + int(self.lengths.max())
        return new + self.uniform, T + self.uniform

    def append(self, layer: int, k: Tensor, v: Tensor, positions: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Store new keys and values (B, G, T, D) at `positions` (B, T); all of them, (B, G, length, D), come back."""
        self.keys[layer] = stored(self.keys[layer], k, positions, length, self.uniform)
        self.values[layer] = stored(self.values[layer], v, positions, length, self.uniform)
        return self.keys[layer][:, :, :length], self.values[layer][:, :, :length]


def stored(buffer: Tensor, new: Tensor, positions: Tensor, length: int, uniform: int | None) -> Tensor:
    """`buffer` (B, G, capacity, D) with `new` (B, G, T, D) at `positions` (B, T): it grows in place, up to `length`.

    `uniform` tokens are in each row so far, None where rows differ.
    """
    if uniform == 0 and not buffer.size(2):
        return new.clone(memory_format=torch.contiguous_format)
    if buffer.size(2) < length:
        buffer = _grown(buffer, max(length, 2 * buffer.size(2)))
    if uniform is None:
        rows = torch.arange(new.size(0), device=new.device)
        buffer[rows[:, None], :, positions] = new.transpose(1, 2)
    else:
        buffer[:, :, uniform:length] = new
    return buffer


def common(lengths: Tensor) -> int | None:
    """The length that all rows share, or None."""
    known = set(lengths.tolist())
    return known.pop() if len(known) == 1 else None


def _grown(buffer: Tensor, capacity: int) -> Tensor:
    """(B, G, S, D) -> (B, G, capacity, D), zeros behind: unread memory must not hold a NaN."""
    return F.pad(buffer, (0, 0, 0, capacity - buffer.size(2))) if capacity > buffer.size(2) else buffer
