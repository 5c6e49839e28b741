"""Where a token stands: rotary positions, how they are stretched to contexts longer than a model was first trained
with, the sinusoidal ones before them, and biases by the distance of two tokens.

Shapes: B rows, T new tokens, S all tokens so far, C hidden size, H heads, D head size, R the part of a head that turns.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from nextword.config import Config


class RopeScaling(Config):
    """How the rotary frequencies change with the length of the context; a table of [model].

    The frequencies are fixed when the model is built. Where a method goes by the length of the text at hand (dynamic,
    longrope), `max_seq_len` stands for it: keys that are remembered have been turned already, and one text read at
    once and in parts must give the same.
    """

    type: Literal["linear", "dynamic", "llama3", "yarn", "longrope"]
    """linear: all frequencies divided (Chen et al. 2023). dynamic: a larger base beyond original_len (NTK-aware).
    llama3: long waves divided (Llama 3.1). yarn: by wavelength, with a temperature (Peng et al. 2023). longrope: a
    divisor for each frequency (Ding et al. 2024)."""
    original_len: int = Field(ge=1, le=2**24)
    """The context in tokens that the model was trained with before."""
    factor: float = Field(default=1.0, ge=1)
    """How many times longer the context becomes."""
    low_frequency: float = Field(default=1.0, gt=0)
    """Of llama3: waves that fit into original_len fewer times than this are divided by factor."""
    high_frequency: float = Field(default=4.0, gt=0)
    """Of llama3: waves that fit in more often than this stay as they are."""
    beta_fast: float = Field(default=32.0, gt=0)
    """Of yarn: as high_frequency."""
    beta_slow: float = Field(default=1.0, gt=0)
    """Of yarn: as low_frequency."""
    truncate: bool = True
    """Of yarn: the bounds between the two are whole dimensions."""
    attention_factor: float = Field(default=0.0, ge=0)
    """Of yarn and longrope: queries and keys are multiplied by it; 0 = as their papers compute it from factor."""
    short_factors: Annotated[tuple[float, ...], Field(strict=False)] = ()
    """Of longrope: the divisors while max_seq_len is at most original_len."""
    long_factors: Annotated[tuple[float, ...], Field(strict=False)] = ()
    """Of longrope: the divisors above."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.type == "longrope" and len(self.short_factors) != len(self.long_factors):
            raise ValueError(
                f"longrope needs as many short_factors as long_factors, got {len(self.short_factors)} and "
                f"{len(self.long_factors)}"
            )
        if self.type == "llama3" and self.low_frequency >= self.high_frequency:
            raise ValueError(f"low_frequency {self.low_frequency} must be less than high_frequency")
        if min(self.short_factors + self.long_factors, default=1) <= 0:
            raise ValueError("the divisors of longrope must be greater than 0")
        return self

    @property
    def magnitude(self) -> float:
        """What cosines and sines are multiplied by."""
        if self.attention_factor:
            return self.attention_factor
        if self.type == "yarn":
            return 0.1 * math.log(self.factor) + 1
        if self.type == "longrope" and self.original_len > 1:
            return math.sqrt(1 + math.log(self.factor) / math.log(self.original_len))
        return 1.0


class Rotary(nn.Module):
    """Rotary positions (Su et al. 2021), in the half-split layout of Llama: dimension i turns with i + R/2."""

    cos: Tensor
    sin: Tensor

    def __init__(self, size: int, max_seq_len: int, theta: float, scaling: RopeScaling | None = None) -> None:
        """`size` is R, an even number."""
        super().__init__()
        cos = sin = torch.empty(max_seq_len, size)
        if not cos.is_meta:
            frequencies = _frequencies(size, max_seq_len, theta, scaling)
            angles = torch.outer(torch.arange(max_seq_len, dtype=torch.float64), frequencies)  # (max_seq_len, R/2)
            angles = torch.cat([angles, angles], dim=-1)  # (max_seq_len, R): both halves turn alike
            magnitude = 1.0 if scaling is None else scaling.magnitude
            cos, sin = (angles.cos() * magnitude).float(), (angles.sin() * magnitude).float()
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines for positions (B, T) or (1, T), each (B, 1, T, R): one look-up serves every layer."""
        return self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)


class Sinusoidal(nn.Module):
    """The positions of Vaswani et al. 2017, sines in the first half of a vector and cosines in the second.

    In the paper they take turns; tensor2tensor, Marian and fairseq have them so, which is the same to what is learned.
    """

    table: Tensor

    def __init__(self, size: int, max_seq_len: int) -> None:
        """`size` is C, an even number."""
        super().__init__()
        table = torch.empty(max_seq_len, size)
        if not table.is_meta:
            positions = torch.arange(max_seq_len, dtype=torch.float64)
            angles = torch.outer(positions, _frequencies(size, max_seq_len, 10_000.0, None))  # (max_seq_len, C/2)
            table = torch.cat([angles.sin(), angles.cos()], dim=-1).float()
        self.register_buffer("table", table, persistent=False)

    def forward(self, positions: Tensor) -> Tensor:
        """(B or 1, T) -> (B or 1, T, C)"""
        return self.table[positions]


class RelativePositions(nn.Embedding):
    """What attention adds to its scores for the distance of two tokens, learned by each head for buckets of distances
    (Raffel et al. 2020, section 2.1): one a token for the near half, then ever wider, up to `longest` and beyond."""

    buckets: Tensor

    def __init__(self, num_heads: int, buckets: int, longest: int, both_ways: bool) -> None:
        """`both_ways`: half of the buckets are for tokens that come later; else these have the bucket of distance 0."""
        super().__init__(buckets, num_heads)
        self.longest, self.both_ways = longest, both_ways
        self.sides = buckets // 2 if both_ways else buckets
        near, distances = self.sides // 2, torch.arange(longest + 1)
        far = (distances.float() / near).log() / math.log(longest / near) * (self.sides - near)  # in float32, as there
        far = (near + far.clamp(min=0).long()).clamp(max=self.sides - 1)
        self.register_buffer("buckets", torch.where(distances < near, distances, far), persistent=False)

    def forward(self, positions: Tensor, length: int) -> Tensor:  # type: ignore[override]
        """Of tokens at (B or 1, T) positions to the first `length`: (B or 1, H, T, S)."""
        later = torch.arange(length, device=positions.device) - positions[..., None]  # (B or 1, T, S) tokens later
        if self.both_ways:
            buckets = self.buckets[later.abs().clamp(max=self.longest)] + self.sides * (later > 0)
        else:
            buckets = self.buckets[(-later).clamp(0, self.longest)]
        return super().forward(buckets).movedim(-1, 1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn (B, H, T, D) by the angles of its positions; of a head, the first R dimensions that there are angles for.

    Done in float32: bfloat16 angles blur far positions.
    """
    R = cos.size(-1)
    if x.size(-1) > R:
        return torch.cat([rotate(x[..., :R], cos, sin), x[..., R:]], dim=-1)
    first, second = x.float().chunk(2, dim=-1)
    return torch.addcmul(x.float() * cos, torch.cat([-second, first], dim=-1), sin).to(x.dtype)


def _frequencies(size: int, max_seq_len: int, theta: float, scaling: RopeScaling | None) -> Tensor:
    """(R/2,) radians a token, in float64."""
    powers = torch.arange(0, size, 2, dtype=torch.float64) / size
    plain = theta**-powers
    if scaling is None:
        return plain
    factor, original = scaling.factor, scaling.original_len
    match scaling.type:
        case "linear":
            return plain / factor
        case "dynamic":
            stretch = factor * max(max_seq_len, original) / original - (factor - 1)
            return (theta * stretch ** (size / max(size - 2, 1))) ** -powers
        case "llama3":
            turns = original * plain / (2 * math.pi)  # waves that fit into the original context
            low, high = scaling.low_frequency, scaling.high_frequency
            kept = ((turns - low) / (high - low)).clamp(0, 1)  # 1 = a short wave, which stays
        case "yarn":
            low, high = (
                size * math.log(original / (beta * 2 * math.pi)) / (2 * math.log(theta))
                for beta in (scaling.beta_fast, scaling.beta_slow)
            )
            if scaling.truncate:
                low, high = math.floor(low), math.ceil(high)
            low, high = max(low, 0), min(high, size - 1)
            width = high - low or 0.001
            kept = 1 - ((torch.arange(size // 2, dtype=torch.float64) - low) / width).clamp(0, 1)
        case "longrope":
            divisors = scaling.short_factors if max_seq_len <= original else scaling.long_factors
            return plain / torch.tensor(divisors, dtype=torch.float64)
    return plain * kept + plain / factor * (1 - kept)
