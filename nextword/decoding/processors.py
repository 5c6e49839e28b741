"""What one setting does to the logits: pure functions, (rows, V) float32 -> (rows, V). Knows no order and no config.

A removed token has the logit -inf. Nothing is changed in place, and each filter leaves one token at least. A parameter
is a number or a tensor (rows,), one value a row; the value that turns a function off leaves its row as it was, bit for
bit. `history` is (rows, S) ids, the latest in the last column, padded with -1 on the left. Ties and boundaries are
those of `transformers` where it has the function, so that an exported run samples alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

REMOVED = float("-inf")
LONGEST_REPEAT = 50  # tokens beyond the free ones that `dry` counts: 1.75 ** 50 forbids what it touches
SEVEREST = 1e30  # the greatest penalty of `dry`: finite, so that a text of nothing but repeats still goes on

Parameter = float | Tensor


def _column(parameter: Parameter, logits: Tensor) -> Tensor:
    """(rows, 1), or (1, 1) for one number. Always float32, so that a row rounds alike alone and among others."""
    if isinstance(parameter, Tensor):
        return parameter.to(logits)[:, None]
    return logits.new_full((1, 1), parameter)


def _remove(logits: Tensor, removed: Tensor, keep: int = 1) -> Tensor:
    """Remove the tokens marked in `removed` (rows, V) but for the `keep` likeliest and what ties with the last one."""
    top = logits.amax(-1, keepdim=True) if keep == 1 else logits.topk(min(keep, logits.size(-1))).values[:, -1:]
    return logits.masked_fill(removed & (logits < top), REMOVED)


def _counts(history: Tensor, logits: Tensor) -> Tensor:
    """(rows, V): how often each token occurs in `history`."""
    return torch.zeros_like(logits).scatter_add(-1, history.clamp_min(0), (history >= 0).to(logits))


def _earlier(tokens: Tensor, back: int) -> Tensor:
    """(rows, S) -> (rows, S): at each place the token `back` places before it, -1 before the first."""
    return F.pad(tokens, (back, 0), value=-1)[:, : tokens.size(1)]


# -- what may be said at all --


def bias(logits: Tensor, values: Tensor) -> Tensor:
    """Add `values`, (rows, V) or (1, V): the `logit_bias` of the OpenAI API; -inf forbids."""
    return logits + values


def forbidden(logits: Tensor, removed: Tensor) -> Tensor:
    """Remove the tokens marked in `removed`, (rows, V) or (1, V) bool. A row may be left with none."""
    return logits.masked_fill(removed, REMOVED)


def constraint(logits: Tensor, allowed: Tensor) -> Tensor:
    """Remove all tokens but those marked in `allowed`, (rows, V) or (1, V) bool. A row may be left with none."""
    return logits.masked_fill(~allowed, REMOVED)


def min_length(logits: Tensor, eos: Tensor, length: Tensor, least: Parameter) -> Tensor:
    """Remove the tokens marked in `eos`, (rows, V) or (1, V) bool, where `length` (rows,) is below `least`; 0 = off."""
    return logits.masked_fill(eos & (length[:, None] < _column(least, logits)), REMOVED)


def forced(logits: Tensor, chosen: Tensor, length: Tensor, at: Parameter) -> Tensor:
    """Where `length` (rows,) is `at`, only the token marked in `chosen` remains, with logit 0; at -1 = off.

    Length 0 forces the first token, one less than the most forces the last. `chosen` is (rows, V) or (1, V) bool.
    """
    alone = torch.zeros_like(logits).masked_fill(~chosen, REMOVED)
    return torch.where(length[:, None] == _column(at, logits), alone, logits)


def sequence_bias(logits: Tensor, history: Tensor, sequence: Sequence[int], value: float) -> Tensor:
    """Add `value` to the last token of `sequence` where the text ends in all before it; -inf forbids the sequence."""
    *before, last = sequence
    text = F.pad(history, (len(before), 0), value=-1)
    ends = (text[:, text.size(1) - len(before) :] == text.new_tensor(before)).all(-1, keepdim=True)  # (rows, 1)
    token = F.one_hot(text.new_tensor(last), logits.size(-1)).bool()
    return torch.where(ends & token, logits + value, logits)


def guidance(conditional: Tensor, unconditional: Tensor, scale: Parameter) -> Tensor:
    """Classifier-free guidance: log u + scale * (log c - log u) of the two distributions; 1 = off.

    Sanchez et al. 2023, "Stay on topic with Classifier-Free Guidance", equation 7. What either has removed stays so.
    """
    scale = _column(scale, conditional)
    c, u = conditional.log_softmax(-1), unconditional.log_softmax(-1)
    removed = (conditional == REMOVED) | (unconditional == REMOVED)
    guided = (u + scale * (c - u)).masked_fill(removed, REMOVED)
    return torch.where(scale == 1, conditional, guided)


def clean(logits: Tensor) -> Tensor:
    """Numbers only: nan becomes 0, an infinity the nearest finite number. It hides a broken model: debugging only."""
    return logits.nan_to_num()


# -- against repetition --


def recent(history: Tensor, count: Tensor) -> Tensor:
    """Keep the latest `count` (rows,) tokens of each row; those before them become padding."""
    age = torch.arange(history.size(1), 0, -1, device=history.device)  # 1 = the latest
    return history.masked_fill(age > count[:, None], -1)


def repetition_penalty(logits: Tensor, history: Tensor, penalty: Parameter) -> Tensor:
    """Positive logits of the tokens in `history` are divided by `penalty`, negative ones multiplied; 1 = off.

    Keskar et al. 2019, "CTRL", section 4.1. A token counts once, however often it occurred. With 1 / penalty, over the
    tokens of a source, it is the encoder repetition penalty of `transformers`, which keeps a text near its source.
    """
    penalty = _column(penalty, logits)
    penalised = torch.where(logits < 0, logits * penalty, logits / penalty)
    return torch.where(_counts(history, logits) > 0, penalised, logits)


def frequency_penalty(logits: Tensor, history: Tensor, penalty: Parameter) -> Tensor:
    """Subtract `penalty` for each time a token occurs in `history`, as the OpenAI API does; 0 = off."""
    return logits - _counts(history, logits) * _column(penalty, logits)


def presence_penalty(logits: Tensor, history: Tensor, penalty: Parameter) -> Tensor:
    """Subtract `penalty` once from the tokens in `history`, as the OpenAI API does; 0 = off."""
    return logits - (_counts(history, logits) > 0) * _column(penalty, logits)


def dry(
    logits: Tensor,
    history: Tensor,
    multiplier: Parameter,
    base: Parameter = 1.75,
    allowed_length: Parameter = 2,
    breakers: Tensor | None = None,
) -> Tensor:
    """Subtract multiplier * base ** (n - allowed_length) from a token that would go on with a repeat of n tokens.

    "Don't repeat yourself", p-e-w 2024, as in llama.cpp: n is the longest end of the text that occurred before with
    that token after it, if it reaches `allowed_length`. No repeat reaches across a token marked in `breakers`, (rows,
    V) or (1, V) bool, nor is one penalised. Multiplier 0 = off.
    """
    multiplier, base, allowed = (_column(p, logits) for p in (multiplier, base, allowed_length))
    breakers = torch.zeros_like(logits[:1], dtype=torch.bool) if breakers is None else breakers
    broken = breakers.expand_as(logits).gather(-1, history.clamp_min(0)) | (history < 0)
    tokens = history.masked_fill(broken, -1)
    matching = torch.ones_like(history[:, :-1], dtype=torch.bool)  # place j: do tokens up to j match the end of all?
    matched = torch.zeros_like(matching, dtype=logits.dtype)  # how many of them
    for back in range(min(history.size(1) - 1, int(allowed.max()) + LONGEST_REPEAT)):
        latest = tokens[:, -1 - back, None]
        matching = matching & (_earlier(tokens[:, :-1], back) == latest) & (latest >= 0)
        if not matching.any():
            break
        matched += matching
    longest = torch.zeros_like(logits).scatter_reduce(-1, history[:, 1:].clamp_min(0), matched, "amax")
    penalty = (multiplier * base ** (longest - allowed)).clamp_max(SEVEREST)
    return torch.where((longest >= allowed) & (multiplier > 0) & ~breakers, logits - penalty, logits)


def no_repeat_ngram(logits: Tensor, history: Tensor, n: Parameter, source: Tensor | None = None) -> Tensor:
    """Remove the tokens that would repeat n tokens of `source` (rows, S), by default `history` itself; 0 = off.

    Paulus et al. 2017, "A Deep Reinforced Model for Abstractive Summarization", section 2.5. Where nothing else is
    left, as happens in a small vocabulary, the row stays as it is: a text that repeats itself is better than none.
    """
    n = _column(n, logits)
    source = history if source is None else source
    most = min(int(n.max()), history.size(1) + 2)  # more than that find nothing either
    text = F.pad(history, (most, 0), value=-1)
    repeats = (source >= 0) & (n > 0)  # place j: are the n - 1 tokens before it the latest n - 1?
    for back in range(1, most):
        if not repeats.any():
            break
        latest = text[:, -back, None]
        repeats = repeats & ((n <= back) | ((_earlier(source, back) == latest) & (latest >= 0)))
    left = logits.masked_fill(_counts(source.masked_fill(~repeats, -1), logits) > 0, REMOVED)
    return torch.where(left.amax(-1, keepdim=True) == REMOVED, logits, left)


# -- how sharp the distribution is --


def temperature(logits: Tensor, value: Parameter) -> Tensor:
    """Divide by `value`, after a shift that leaves the softmax alone, so that tiny values do not overflow; 1 = off.

    Ackley et al. 1985, "A Learning Algorithm for Boltzmann Machines". 0 leaves the likeliest token alone, and its ties.
    """
    value = _column(value, logits).clamp_min(1e-30)
    top = logits.amax(-1, keepdim=True).clamp_min(torch.finfo(logits.dtype).min)  # -inf - -inf would be nan
    return (logits - top * (value != 1)) / value


def dynamic_temperature(logits: Tensor, value: Parameter, spread: Parameter, exponent: Parameter = 1.0) -> Tensor:
    """Divide by (value - spread) + 2 * spread * (H / H_max) ** exponent; spread 0 = the fixed temperature `value`.

    llama.cpp's dynamic temperature, by kalomaze. H is the entropy of the distribution, H_max that of a uniform one
    over the tokens not removed.
    """
    value, spread, exponent = (_column(p, logits) for p in (value, spread, exponent))
    alive = (logits != REMOVED).sum(-1, keepdim=True)
    share = torch.special.entr(logits.softmax(-1)).sum(-1, keepdim=True) / alive.clamp_min(2).log()
    share = share.nan_to_num().clamp(0, 1)  # nan: all are removed
    return temperature(logits, ((value - spread).clamp_min(0) + 2 * spread * share**exponent).squeeze(-1))


# -- filters: which tokens may be drawn --


def top_k(logits: Tensor, k: Parameter) -> Tensor:
    """Keep the k likeliest tokens, and all that tie with the k-th; 0 = off. Fan et al. 2018."""
    most = min(int(k.max() if isinstance(k, Tensor) else k), logits.size(-1))
    if most <= 0:
        return logits
    k = _column(k, logits).long().expand(len(logits), 1)
    kth = logits.topk(most, dim=-1).values.gather(-1, k.clamp(1, most) - 1)
    return logits.masked_fill((logits < kth) & (k > 0), REMOVED)


def top_p(logits: Tensor, p: Parameter, keep: int = 1) -> Tensor:
    """Keep the smallest set of likeliest tokens whose probability reaches p; 1 = off. Holtzman et al. 2020 (nucleus).

    The tail is summed from its least likely token up, which decides the cases on the boundary.
    """
    p = _column(p, logits)
    ordered, ids = logits.sort(dim=-1, stable=True)
    removed = (ordered.softmax(-1).cumsum(-1) <= 1 - p) & (p < 1)
    removed[:, -keep:] = False
    return logits.masked_fill(removed.scatter(-1, ids, removed), REMOVED)


def min_p(logits: Tensor, fraction: Parameter, keep: int = 1) -> Tensor:
    """Keep tokens with a probability of at least `fraction` of the likeliest one's; 0 = off. Nguyen et al. 2024.

    A fraction above 1 keeps the likeliest alone.
    """
    probs = logits.softmax(-1)
    return _remove(logits, probs < _column(fraction, logits) * probs.amax(-1, keepdim=True), keep)


def typical(logits: Tensor, mass: Parameter, keep: int = 1) -> Tensor:
    """Keep the tokens of least |-log p - H|, H the entropy, until their probability reaches `mass`; 1 = off.

    Meister et al. 2023, "Locally Typical Sampling". Those that tie with the last one are kept.
    """
    mass = _column(mass, logits)
    log_probs = logits.log_softmax(-1)
    probs = log_probs.exp()
    oddness = (-log_probs - torch.special.entr(probs).sum(-1, keepdim=True)).abs()
    ordered, ids = oddness.sort(dim=-1, stable=True)
    last = (probs.gather(-1, ids).cumsum(-1) < mass).sum(-1, keepdim=True).clamp_max(logits.size(-1) - 1)
    removed = (ordered > ordered.gather(-1, last)) & (mass < 1)
    removed[:, :keep] = False
    return logits.masked_fill(removed.scatter(-1, ids, removed), REMOVED)


def epsilon_cutoff(logits: Tensor, epsilon: Parameter, keep: int = 1) -> Tensor:
    """Remove tokens with a probability below `epsilon`; 0 = off.

    Hewitt et al. 2022, "Truncation Sampling as Language Model Desmoothing", section 4.1.
    """
    return _remove(logits, logits.softmax(-1) < _column(epsilon, logits), keep)


def eta_cutoff(logits: Tensor, eta: Parameter, keep: int = 1) -> Tensor:
    """Remove tokens with a probability below min(eta, sqrt(eta) * exp(-H)), H the entropy; 0 = off.

    Hewitt et al. 2022, "Truncation Sampling as Language Model Desmoothing", section 4.2.
    """
    eta = _column(eta, logits)
    probs = logits.softmax(-1)
    entropy = torch.special.entr(probs).sum(-1, keepdim=True)
    return _remove(logits, probs < torch.minimum(eta, eta.sqrt() * torch.exp(-entropy)), keep)


def top_n_sigma(logits: Tensor, n: Parameter) -> Tensor:
    """Keep logits of at least max - n * sigma, sigma the standard deviation of those not removed; 0 = off.

    Tang et al. 2024, "Top-nσ: Not All Logits Are You Need". No temperature changes what it keeps.
    """
    n = _column(n, logits)
    alive = logits != REMOVED
    count = alive.sum(-1, keepdim=True)
    mean = torch.where(alive, logits, 0).sum(-1, keepdim=True) / count
    sigma = (torch.where(alive, logits - mean, 0).square().sum(-1, keepdim=True) / count).sqrt()
    return _remove(logits, (logits < logits.amax(-1, keepdim=True) - n * sigma) & (n > 0))


def top_h(logits: Tensor, share: Parameter) -> Tensor:
    """Keep the likeliest tokens while the sum of their -p log p is at most `share` of the whole entropy; 1 = off.

    Potraghloo et al. 2025, "Top-H Decoding", in the form of `transformers`, which does not renormalise p.
    """
    share = _column(share, logits)
    ordered, ids = logits.sort(dim=-1, descending=True, stable=True)
    entropy = torch.special.entr(ordered.softmax(-1)).cumsum(-1)
    removed = (entropy > share * entropy[:, -1:]) & (share < 1)
    removed[:, 0] = False
    return logits.masked_fill(removed.scatter(-1, ids, removed), REMOVED)


def p_less(logits: Tensor, on: Parameter = True) -> Tensor:
    """Keep tokens with a probability of at least sum p^2, the chance that two draws agree; 0 = off.

    Tan et al. 2025, "p-less Sampling: A Robust Hyperparameter-Free Approach for LLM Decoding".
    """
    probs = logits.softmax(-1)
    return _remove(logits, probs < _column(on, logits) * probs.square().sum(-1, keepdim=True))


def xtc(logits: Tensor, uniform: Tensor, probability: Parameter, threshold: Parameter = 0.1) -> Tensor:
    """Remove all tokens of p >= threshold but the least likely of them, where `uniform` (rows,) < probability; 0 = off.

    "Exclude top choices", p-e-w 2024. `uniform` in [0, 1) is the caller's chance. Ties with the least likely stay.
    """
    probs = logits.softmax(-1)
    others = (probs < _column(threshold, logits)) | (logits == REMOVED)
    least = probs.masked_fill(others, torch.inf).amin(-1, keepdim=True)
    happens = _column(uniform, logits) < _column(probability, logits)
    return logits.masked_fill((probs > least) & happens, REMOVED)
