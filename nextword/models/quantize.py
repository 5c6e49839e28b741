"""Weights in fewer bits, for generating and scoring on a CPU: a token costs one reading of all weights.

int8       one byte a weight and one scale an output (symmetric, rounded to nearest); activations in bfloat16
bfloat16   two bytes a weight; activations in bfloat16

Only linear layers change; embeddings, norms and recurrent layers keep their float32. There is no way back, and no
training.

Shapes: K inputs, N outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.errors import UsageError, did_you_mean
from nextword.models.base import LanguageModel

PRECISIONS = ("float32", "bfloat16", "int8")
FEW_ROWS = 16  # up to here the int8 kernel is faster than widening the weights to bfloat16 first


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(N, K) numbers as integers of -127 .. 127, and the (N,) float32 scales that they are to be multiplied by."""
    weight = weight.float()
    scales = (weight.abs().amax(1) / 127).clamp(min=1e-12)
    return (weight / scales[:, None]).round().to(torch.int8), scales


class BFloat16Linear(nn.Module):
    """(..., K) -> (..., N) with bfloat16 weights."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.register_buffer("weight", layer.weight.detach().bfloat16())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())

    weight: Tensor
    bias: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N), in x's type."""
        y = F.linear(x.bfloat16(), self.weight).to(x.dtype)
        return y if self.bias is None else y + self.bias


class Int8Linear(nn.Module):
    """(..., K) -> (..., N) with int8 weights, weight = scale * integer."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight, scale = to_int8(layer.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale.bfloat16())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N), in x's type."""
        flat = x.reshape(-1, self.in_features).bfloat16()
        if len(flat) <= FEW_ROWS:
            y = torch.ops.aten._weight_int8pack_mm(flat, self.weight, self.scale)
        else:
            y = F.linear(flat, self.weight.bfloat16()) * self.scale
        y = y.to(x.dtype).view(*x.shape[:-1], -1)
        return y if self.bias is None else y + self.bias


def quantize(model: LanguageModel, precision: str) -> None:
    """Change the linear layers of `model` in place.

    Raises UsageError for a precision not in PRECISIONS, and on another device than the CPU.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is unknown. {did_you_mean(precision, PRECISIONS)}")
    if precision == "float32":
        return
    if model.device.type != "cpu":
        raise UsageError(f"precision {precision} is for the CPU, the model is on {model.device}", hint="Leave it out")
    kind = Int8Linear if precision == "int8" else BFloat16Linear
    for module in list(model.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(module, name, kind(layer))
