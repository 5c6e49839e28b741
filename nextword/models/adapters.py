"""Adapters: a linear layer whose weights stay as they are, and a small product that is trained beside it.

    LoRA (Hu et al. 2021)    y = W x + s B A x + b
    DoRA (Liu et al. 2024)   y = m (W x + s B A x) / |W + s B A| + b,   |.| the length of each row

s = alpha / rank. A begins random and B at zero, m as |W|: the layer begins as it was. A layer that joins several
projections (`Linear.parts`: queries, keys and values) has an A and a B for each, as if they stood apart; so do the
adapters of `peft`.

The frozen weights may be kept in fewer bits (QLoRA, Dettmers et al. 2023, with whole bytes).

Shapes: K inputs, N outputs, R = rank * number of parts.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.models.dropout import dropout
from nextword.models.layers import Linear
from nextword.models.quantize import to_int8

Base = Literal["float32", "bfloat16", "int8"]


class FrozenLinear(nn.Module):
    """A linear layer without gradients for its weights, which are kept as `base` says."""

    scales: Tensor | None

    def __init__(self, layer: nn.Linear, base: Base = "float32") -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight, scales = layer.weight.detach(), None
        if base == "int8":
            weight, scales = to_int8(weight)
        elif base == "bfloat16":
            weight = weight.bfloat16()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.register_buffer("scales", scales, persistent=False)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)"""
        return self._biased(self._product(x.to(_arithmetic(x))))

    def merged(self) -> Tensor:
        """The weight (N, K) in float32 of the linear layer that does the same."""
        return self._wide()

    def _wide(self) -> Tensor:
        """The frozen weight (N, K) in float32."""
        weight = self.weight.detach().float()
        return weight if self.scales is None else weight * self.scales[:, None]

    def _product(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N) by the frozen weight."""
        return _FrozenProduct.apply(x, self.weight, self.scales)

    def _biased(self, y: Tensor) -> Tensor:
        return y if self.bias is None else y + self.bias.to(y.dtype)


class Adapted(FrozenLinear):
    """A frozen linear layer with a LoRA beside it, or a DoRA where there is a `magnitude`."""

    squares: Tensor
    magnitude: Tensor | None

    def __init__(
        self,
        layer: nn.Linear,
        rank: int,
        alpha: float,
        *,
        dropout: float = 0.0,
        magnitude: bool = False,
        base: Base = "float32",
    ) -> None:
        """`dropout` is applied to what A reads. Of a layer that is no `Linear` of ours, all outputs are one part."""
        super().__init__(layer, base)
        K, N = self.in_features, self.out_features
        self.parts = layer.parts if isinstance(layer, Linear) else (N,)
        self.scale, self.dropout = alpha / rank, dropout
        device = self.weight.device
        self.down = nn.Parameter(torch.empty(rank * len(self.parts), K, device=device))  # A of each part (R, K)
        self.up = nn.Parameter(torch.zeros(N, rank, device=device))  # B of each part, one below the other
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # as the authors' and peft's
        if magnitude:
            self.register_buffer("squares", self._wide().square().sum(1), persistent=False)  # (N,) |W|^2
        self.magnitude = nn.Parameter(self.squares.sqrt()) if magnitude else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)"""
        dtype = _arithmetic(x)
        y = self._product(x.to(dtype))
        low = F.linear(dropout(x, self.dropout, self.training).to(dtype), self.down.to(dtype))  # (..., R)
        up = (self.scale * self._apart()).to(dtype)  # (N, R)
        y = torch.addmm(y.flatten(0, -2), low.flatten(0, -2), up.T).view_as(y)
        if self.magnitude is not None:
            y = y * (self.magnitude / self._lengths()).to(dtype)
        return self._biased(y)

    @torch.no_grad()
    def merged(self) -> Tensor:
        """The weight (N, K) in float32 of the linear layer that does the same."""
        weight = self._wide().addmm(self._apart(), self.down, alpha=self.scale)
        return weight if self.magnitude is None else weight * (self.magnitude / self._lengths())[:, None]

    def _apart(self) -> Tensor:
        """B (N, R) of the whole layer: each part reads its own A only."""
        return self.up if len(self.parts) == 1 else torch.block_diag(*self.up.split(self.parts))

    @torch.no_grad()
    def _lengths(self) -> Tensor:
        """(N,) |W + s B A| of each row, which makes no gradient (DoRA, section 4.3), without that sum itself."""
        up, down, s = self._apart(), self.down, self.scale
        with torch.autocast(down.device.type, enabled=False):
            across, within = self._product(down).T, up @ (down @ down.T)  # (N, R) W A^T and B A A^T
            squares = self.squares + 2 * s * (up * across).sum(1) + s**2 * (up * within).sum(1)
        return squares.clamp(min=torch.finfo(squares.dtype).tiny).sqrt()


def _arithmetic(x: Tensor) -> torch.dtype:
    """The type of the products of `x`."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


class _FrozenProduct(torch.autograd.Function):
    """x @ W.T where only `x` has a gradient. Weights in few bits are widened in each pass, and never kept wide."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scales: Tensor | None) -> Tensor:
        """(..., K), (N, K), (N,) or None -> (..., N)"""
        ctx.save_for_backward(weight, scales)
        with torch.autocast(x.device.type, enabled=False):
            y = F.linear(x, weight.to(x.dtype))
            return y if scales is None else y * scales.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        weight, scales = ctx.saved_tensors
        with torch.autocast(gradient.device.type, enabled=False):
            gradient = gradient if scales is None else gradient * scales.to(gradient.dtype)
            return gradient @ weight.to(gradient.dtype), None, None
