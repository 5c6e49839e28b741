"""Choosing a token from logits: the likeliest, or one drawn at random, each row from an rng of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def likeliest(logits: Tensor) -> Tensor:
    """(rows, V) -> (rows,) ids: the largest logit, the lowest id among equals."""
    return logits.argmax(-1)


def uniforms(rngs: Sequence[torch.Generator | None]) -> Tensor:
    """(rows,) float64 numbers in [0, 1), the next of each rng, which must be there."""
    return torch.cat([torch.rand(1, generator=rng, dtype=torch.float64) for rng in rngs])


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """(rows, V) -> (rows,) ids drawn from softmax(logits): `uniform` (rows,) in [0, 1) inverts the cumulative sum.

    Float64, so that no token gains or loses by the rounding of a large vocabulary. A token of probability 0 is never
    drawn.
    """
    if logits.device.type == "mps":  # has no float64
        logits = logits.cpu()
    cumulative = logits.double().softmax(-1).cumsum(-1)
    whole = cumulative[:, -1:]
    level = uniform.to(logits.device)[:, None] * whole
    level = level.minimum(whole.nextafter(torch.zeros_like(whole)))  # rounding must not reach what comes after
    return torch.searchsorted(cumulative, level, right=True).squeeze(-1)


def broken(logits: Tensor) -> list[str]:
    """For each row (rows, V), why no token can be chosen from it, or ""."""
    top = logits.amax(-1)  # nan if any is nan
    if top.isfinite().all():
        return [""] * len(top)
    return ["" if abs(t) < torch.inf else NOTHING_LEFT if t == -torch.inf else NOT_FINITE for t in top.tolist()]


NOTHING_LEFT = "no token can be chosen: the settings forbid all of them"
NOT_FINITE = "the model's logits are not finite numbers"
