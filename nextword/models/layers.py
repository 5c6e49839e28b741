"""Layers shared by architectures: products and norms."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW_ROWS = 4  # up to here, weight @ x.T is the fastest product; measured in benchmarks/linear.py
_MKL = torch.backends.mkl.is_available()
_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """F.linear: (..., K), (N, K), (N) -> (..., N), two to five times as fast for few rows on a CPU.

    F.linear asks MKL for x @ weight.T, which reads the weights at a third of the memory's speed where x has few rows.
    The same product the other way round, or oneDNN's, reads them at full speed. Float32 without gradients only.
    """
    rows = x.numel() // x.size(-1)
    plain = torch.is_grad_enabled() or x.dtype != torch.float32 or weight.dtype != torch.float32
    if plain or x.device.type != "cpu" or torch.is_autocast_enabled("cpu") or not (_MKL and _ONEDNN and rows):
        return F.linear(x, weight, bias)
    if rows > FEW_ROWS:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    flat = x.reshape(rows, -1)
    flat = torch.cat([flat, flat]) if rows == 1 else flat  # a matrix-vector product would run on one core
    y = torch.mm(weight, flat.T)[:, :rows].T
    y = y.contiguous() if bias is None else y + bias
    return y.view(*x.shape[:-1], -1)


class Linear(nn.Linear):
    """nn.Linear by `linear`. Its outputs may be those of several projections, one after the other."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, parts: tuple[int, ...] = ()) -> None:
        """`parts`: how many outputs each projection has."""
        super().__init__(in_features, out_features, bias)
        self.parts = parts or (out_features,)

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)"""
        return linear(x, self.weight, self.bias)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight (Zhang & Sennrich 2019), in five small operations where PyTorch's has nine.

    Where one row is read at a time, their number is what a norm costs. With `offset` the factor is 1 + weight.
    """

    def __init__(self, size: int, eps: float, offset: bool = False) -> None:
        super().__init__()
        self.eps, self.offset = eps, offset
        self.weight = nn.Parameter(torch.zeros(size) if offset else torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C); the statistics in float32."""
        y = x.float()
        squares = y.square().sum(-1, keepdim=True)
        scale = squares.mul_(1 / x.size(-1)).add_(self.eps).rsqrt_()
        return (y * scale).to(x.dtype) * (1 + self.weight if self.offset else self.weight)


class OverLinear(nn.Module):
    """What does something to the outputs of a linear layer, and has its shape and its weights."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    @property
    def weight(self) -> Tensor:
        """That of the linear layer."""
        return self.linear.weight

    @property
    def bias(self) -> Tensor | None:
        """That of the linear layer."""
        return self.linear.bias

    @property
    def out_features(self) -> int:
        """Width of the output."""
        return self.linear.out_features


class SoftCapped(OverLinear):
    """A linear layer whose outputs are kept within -cap .. cap by cap * tanh(output / cap) (Bello et al. 2016)."""

    def __init__(self, linear: nn.Linear, cap: float) -> None:
        super().__init__(linear)
        self.cap = cap

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)"""
        return soft_cap(self.linear(x), self.cap)


def tie(output: nn.Linear | OverLinear, embedding: nn.Embedding) -> None:
    """Have the output layer use the embedding's weights (Press & Wolf 2017)."""
    linear = output.linear if isinstance(output, OverLinear) else output
    linear.weight = embedding.weight


def soft_cap(x: Tensor, cap: float) -> Tensor:
    """Values within -cap .. cap, nearly as they are where they are small."""
    return torch.tanh(x / cap) * cap
