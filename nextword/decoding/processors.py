"""What the settings of a request do to the logits: pure functions, (rows, V) -> (rows, V).

A removed token has the logit -inf. Nothing is changed in place, and one token at least survives each filter.
The conventions, ties and boundaries included, are those of `transformers`, so that an exported run samples alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nextword.decoding.config import GenerationConfig

REMOVED = float("-inf")


def process(logits: Tensor, history: Tensor, config: GenerationConfig, forbidden: Tensor | None = None) -> Tensor:
    """The logits from which the next token is drawn: all settings, in their order.

    1. forbidden tokens  2. repetition penalty  3. temperature  4. top-k  5. top-p  6. min-p

    Penalties come before temperature, which would scale them; filters come after it, because they speak of the
    probabilities that are drawn from. `history` (rows, S) holds the ids so far, prompt included. Temperature 0 takes
    the likeliest token, which no filter removes, so steps 3 to 6 are left out.
    """
    if forbidden is not None:
        logits = logits.index_fill(-1, forbidden, REMOVED)
    if config.repetition_penalty != 1:
        logits = repetition_penalty(logits, history, config.repetition_penalty)
    if config.temperature == 0:
        return logits
    if config.temperature != 1:
        logits = temperature(logits, config.temperature)
    if config.top_k > 0:
        logits = top_k(logits, config.top_k)
    if config.top_p < 1:
        logits = top_p(logits, config.top_p)
    if config.min_p > 0:
        logits = min_p(logits, config.min_p)
    return logits


def repetition_penalty(logits: Tensor, history: Tensor, penalty: float) -> Tensor:
    """Positive logits of the tokens in `history` (rows, S) are divided by `penalty`, negative ones multiplied.

    Keskar et al. 2019, "CTRL", section 4.1. A token counts once, however often it occurred.
    """
    seen = logits.gather(-1, history)
    return logits.scatter(-1, history, torch.where(seen < 0, seen * penalty, seen / penalty))


def temperature(logits: Tensor, value: float) -> Tensor:
    """Divide by `value` > 0, after a shift that leaves the softmax alone, so that tiny values do not overflow."""
    return (logits - logits.amax(-1, keepdim=True)) / max(value, 1e-30)


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k likeliest tokens, and all that tie with the k-th; k <= 0 keeps everything."""
    if not 0 < k < logits.size(-1):
        return logits
    kth = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < kth, REMOVED)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of likeliest tokens whose probability reaches p. Holtzman et al. 2020 (nucleus).

    The tail is summed from its least likely token up, in float32, which decides the cases on the boundary.
    """
    if p >= 1:
        return logits
    ordered, ids = logits.sort(dim=-1, stable=True)
    removed = ordered.float().softmax(-1).cumsum(-1) <= 1 - p
    removed[..., -1] = False
    return logits.masked_fill(removed.scatter(-1, ids, removed), REMOVED)


def min_p(logits: Tensor, fraction: float) -> Tensor:
    """Keep tokens with a probability of at least `fraction` of the likeliest one's. Nguyen et al. 2024.

    A fraction above 1 keeps the likeliest alone.
    """
    probs = logits.float().softmax(-1)
    return logits.masked_fill(probs < min(fraction, 1.0) * probs.amax(-1, keepdim=True), REMOVED)
