"""Ways to compute attention where PyTorch's fused kernel is not the fastest on a CPU, or cannot do it.

A `mask` says who sees whom (bool), or is what is added to the scores, -inf where nothing is seen.
`scale` is what products of queries and keys are multiplied by; None = 1 / sqrt(D).

Shapes: B rows, T new tokens, S all tokens so far, H heads, G key/value heads, D head size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nextword.models.dropout import dropout as drop
from nextword.models.layers import soft_cap

WHOLE = 512
"""Up to so many tokens a window's scores stand whole, 6 MB a row for 12 heads; beyond, PyTorch's takes less memory."""


def attend_one(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None = None) -> Tensor:
    """Attention of one new token: q (B, H, 1, D), k and v (B, G, S, D), mask (B or 1, 1 or H, 1, S) -> (B, H, 1, D).

    Two small products. PyTorch's fused attention, made for many queries, takes three times as long for one on a CPU.
    """
    B, H, _, D = q.shape
    G, S = k.size(1), k.size(2)
    q = (q * (scale or D**-0.5)).reshape(B * G, H // G, D)
    scores = torch.bmm(q, k.flatten(0, 1).transpose(1, 2))  # (B*G, H/G, S)
    if mask is not None:
        scores = scores.view(B, H, S)
        hides = mask.dtype == torch.bool
        scores = scores.masked_fill(~mask[:, 0], -torch.inf) if hides else scores + mask[:, :, 0].to(scores.dtype)
        scores = scores.view(B * G, H // G, S)
    return torch.bmm(scores.softmax(-1), v.flatten(0, 1)).view(B, H, 1, D)


def attend_causal(
    q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0, mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Causal attention over a window: q (B, H, T, D), k and v (B, G, T, D) -> (B, H, T, D), all of one type.

    `mask` (B or 1, 1 or H, T, T) tells more than that all that came before is seen.

    Two batched products each way, with the softmax between: the backward pass of PyTorch's fused kernel costs more on a
    CPU than computing what lies above the diagonal. `dropout` is applied to the weights.
    """
    B, H, T, D = q.shape
    G = k.size(1)
    with torch.autocast(q.device.type, enabled=False):
        q = q * (scale or D**-0.5)
        q = q.reshape(B * G, H // G * T, D)  # the queries that share a key lie one below the other
        scores = torch.bmm(q, k.reshape(B * G, T, D).transpose(1, 2)).view(B, H, T, T)
        hidden = torch.full((T, T), -torch.inf, dtype=q.dtype, device=q.device).triu(1)
        if mask is not None and mask.dtype != torch.bool:
            hidden = mask.to(q.dtype)
        elif mask is not None:
            hidden = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(~mask, -torch.inf)
        weights = drop((scores + hidden).softmax(-1), dropout).view(B * G, H // G * T, T)
        return torch.bmm(weights, v.reshape(B * G, T, D)).view(B, H, T, D)


def attend_capped(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, cap: float, scale: float | None = None, dropout: float = 0.0
) -> Tensor:
    """Attention whose scores a soft cap keeps within -cap .. cap, which no fused kernel does (Gemma 2).

    q (B, H, T, D), k and v (B, G, S, D), mask (B or 1, 1, T, S) of bool, None = all see all, -> (B, H, T, D).
    """
    B, H, T, D = q.shape
    G, S = k.size(1), k.size(2)
    q = (q * (scale or D**-0.5)).reshape(B, G, H // G * T, D)
    scores = soft_cap(q @ k.transpose(2, 3), cap).view(B, H, T, S)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = drop(scores.softmax(-1), dropout).view(B, G, H // G * T, S)
    return (weights @ v).view(B, H, T, D)


def attend_source(
    q: Tensor, k: Tensor, v: Tensor, padding: Tensor, dropout: float = 0.0, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """Attention to sources: q (B, H, T, D), k and v (B, G, S, D) -> (B, H, T, D), and the weights (B, H, T, S).

    `padding` (B, S) is True where nothing stands; `v` is zero there, so that a row without a source gets zeros.
    """
    B, H, T, D = q.shape
    G, S = k.size(1), k.size(2)
    q = (q * (scale or D**-0.5)).reshape(B * G, H // G * T, D)
    scores = torch.bmm(q, k.reshape(B * G, S, D).transpose(1, 2)).view(B, H, T, S)
    hidden = torch.zeros_like(padding, dtype=scores.dtype).masked_fill_(padding, torch.finfo(scores.dtype).min)
    weights = (scores + hidden[:, None, None]).softmax(-1)  # finite: a row of padding must not become NaN
    kept = drop(weights, dropout).to(v.dtype).view(B * G, H // G * T, S)
    return torch.bmm(kept, v.reshape(B * G, S, D)).view(B, H, T, D), weights
