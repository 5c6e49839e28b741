"""Dropout, of features one by one, of a row for all its time steps, of tokens of the vocabulary, and of weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """`F.dropout`: each element is zeroed with probability `p` to within 1e-5, the others are divided by 1 - p.

    On a CPU, PyTorch's draws one element after the other, 8 ns each: a fifth of a small Transformer's training step.
    Here four elements share the 64 bits of one draw, which makes it and its gradient four times as fast
    (`benchmarks/dropout.py`); in a compiled layer, three times.
    """
    if not training or not p:
        return x
    if x.device.type != "cpu":  # a GPU has a fast one of its own
        return F.dropout(x, p)
    return x * dropout_mask(x, p)


def dropout_mask(x: Tensor, p: float) -> Tensor:
    """The factors, like `x` in shape and type: 0 with probability `p`, else 1 / (1 - p)."""
    share = round((1 - p) * 2**16)  # of the 2^16 values of 16 bits, those that keep an element
    draws = torch.randint(-(2**63), 2**63 - 1, ((x.numel() + 3) // 4,), dtype=torch.int64, device=x.device)
    bits = draws.view(torch.int16)[: x.numel()].view(x.shape)  # uniform in [-2^15, 2^15)
    return (bits < share - 2**15).to(x.dtype).mul_(2**16 / max(share, 1))


class Dropout(nn.Module):
    """`dropout` as a layer."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; itself where the layer is not in training."""
        return dropout(x, self.p, self.training)


class LockedDropout(Dropout):
    """Dropout whose mask is drawn once a row and kept for all its time steps (Gal & Ghahramani 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)"""
        if not self.training or not self.p:
            return x
        return x * dropout_mask(x[:, :1], self.p)


class TokenDropout(nn.Module):
    """Zeroes the embedding of some tokens of the vocabulary, wherever they stand (Gal & Ghahramani 2016)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor, tokens: Tensor, vocab_size: int) -> Tensor:
        """(B, T, C) embeddings of `tokens` (B, T) -> (B, T, C)"""
        if not self.training or not self.p:
            return x
        return x * dropout_mask(x.new_empty(vocab_size), self.p)[tokens].unsqueeze(-1)
