"""Cross-entropy of the next token: one source of log-probabilities for training and for scoring.

The loss is a sum over tokens, never a mean over batches: whoever accumulates divides once, by the number of tokens,
so 4 batches of 8 rows give the gradient of one batch of 32, however unequal their lengths.

Shapes: B rows, T tokens, C hidden size, V vocabulary, N tokens that carry loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nextword.models.base import LanguageModel, State
from nextword.models.layers import OverLinear
from nextword.models.pointer import Pointer
from nextword.tokenizers import IGNORE

CHUNK_ELEMENTS = 2**23
"""Logits computed at a time. 8M are 32 MB in float32: large enough to be fast, small beside the model."""

MOST_CERTAIN = 1 - 1e-5
"""Probability beyond which unlikelihood grows no more."""


def token_log_probs(logits: Tensor, targets: Tensor) -> Tensor:
    """log P(target) in nats, float32. `logits` (..., V), `targets` (...) -> (...); 0 where the target is IGNORE."""
    losses = F.cross_entropy(logits.float().flatten(0, -2), targets.flatten(), ignore_index=IGNORE, reduction="none")
    return -losses.view(targets.shape)


@dataclass(frozen=True)
class LossTerms:
    """What is added to the cross-entropy while training; evaluation uses the defaults, which add nothing."""

    label_smoothing: float = 0.0
    """Share of the target's probability spread evenly over the vocabulary (Szegedy et al. 2016)."""
    z_loss: float = 0.0
    """Weight of (log Z)^2, which keeps logits from drifting (PaLM, Chowdhery et al. 2022)."""
    r_drop: float = 0.0
    """Weight of what two readings of the same tokens, with different dropout, differ by (R-Drop, Wu et al. 2021)."""
    coverage: float = 0.0
    """Weight of the attention that goes to tokens of a source which had it before (See et al. 2017); of a model that
    attends to a source."""
    unlikelihood: float = 0.0
    """Weight of -ln(1 - P(token)) of the tokens of a text that are to come no more where another is wanted (Welleck et
    al. 2020); of rows that hold whole examples."""
    end: int = -1
    """The token that ends a text, where several stand in one document: unlikelihood is of each by itself."""

    def token_losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """`logits` (N, V), `targets` (N,) without IGNORE -> (N,) losses in nats, float32."""
        losses = -token_log_probs(logits, targets)
        if self.label_smoothing or self.z_loss:
            log_z = logits.float().logsumexp(-1)
            if self.label_smoothing:
                uniform = log_z - logits.float().mean(-1)  # cross-entropy against the uniform distribution
                losses = torch.lerp(losses, uniform, self.label_smoothing)
            losses = losses + self.z_loss * log_z.square()
        return losses

    def losses_and_gradient(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of `token_losses`, and its derivative by the logits (N, V), both float32.

        In closed form, softmax minus what was wanted, in the memory of the log-softmax: a third of the traffic of
        differentiating the other way.
        """
        log_probs = F.log_softmax(logits, -1, dtype=torch.float32)  # (N, V)
        rows, V = torch.arange(len(targets), device=logits.device), logits.size(-1)
        chosen = log_probs[rows, targets]
        total = -chosen.sum()
        if self.label_smoothing:
            total = torch.lerp(total, -log_probs.mean(-1).sum(), self.label_smoothing)
        gradient = log_probs.exp_()
        if self.z_loss:
            log_z = logits[rows, targets].float() - chosen
            total = total + self.z_loss * log_z.square().sum()
            gradient *= (1 + 2 * self.z_loss * log_z)[:, None]
        if self.label_smoothing:
            gradient -= self.label_smoothing / V
        gradient[rows, targets] -= 1 - self.label_smoothing
        return total, gradient


PLAIN = LossTerms()


def disagreement(first: Tensor, second: Tensor) -> Tensor:
    """(KL(p || q) + KL(q || p)) / 2 of two distributions given as logits (N, V), summed over N, in nats, float32."""
    p, q = (F.log_softmax(logits, -1, dtype=torch.float32) for logits in (first, second))
    return ((p.exp() - q.exp()) * (p - q)).sum() / 2


def next_token_loss(
    model: LanguageModel,
    inputs: Tensor,
    targets: Tensor,
    state: State | None = None,
    terms: LossTerms = PLAIN,
    starts: Tensor | None = None,
    sources: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, State | None]:
    """Sum of the token losses in nats, and the state after the last token.

    `inputs`, `targets` (B, T); targets equal to IGNORE are left out. The (B*T, V) logits never stand whole: they are
    made, used and dropped a chunk at a time, in the forward and in the backward pass. `starts` (B, T) bool tells where
    documents begin within rows. `sources`, ids (B, S) and lengths (B,), are what is answered: there is no state then.

    With `terms.r_drop` every row is read twice, side by side. The loss is the mean of the two readings and so much of
    half their disagreement: half of what the paper has, so that the figures are those of one reading.
    """
    B = len(inputs)
    if terms.r_drop:
        twice = torch.arange(2 * B, device=inputs.device) % B
        inputs, targets = inputs[twice], targets[twice]
        state, starts = state and state.select(twice), None if starts is None else starts[twice]
        sources = sources and (sources[0][twice], sources[1][twice])
    if sources is not None:
        assert state is None
        features, repeated = model.answer(inputs, *sources)  # (B, T, C), (B, T)
    else:
        (features, state), repeated = model.features(inputs, state, starts), None
    kept, wanted = targets != IGNORE, targets
    features, targets = features[kept], targets[kept]  # (N, C), (N,)
    loss = _sum_of_losses(model.output, features, targets, terms)
    if terms.coverage:
        assert repeated is not None
        loss = loss + terms.coverage * repeated[kept].sum()
    if terms.unlikelihood:
        against = said_before(wanted, starts, terms.end)
        loss = loss + terms.unlikelihood * _unlikelihoods(model.output, features, wanted, against)
    if terms.r_drop:
        loss = (loss + terms.r_drop * _disagreements(model.output, *features.chunk(2))) / 2
        state = state and state.select(torch.arange(B, device=inputs.device))
    return loss, state


def _rows(output: nn.Linear | OverLinear | Pointer) -> int:
    """Tokens whose logits are made at a time."""
    return max(1, CHUNK_ELEMENTS // output.out_features)


def _summed(of: Callable[..., Tensor], size: int, *tensors: Tensor) -> Tensor:
    """`of` each `size` rows of the tensors, together; what it makes on the way is made again for the gradients."""
    total = torch.zeros((), device=tensors[0].device)
    for chunk in zip(*(tensor.split(size) for tensor in tensors), strict=True):
        total = total + checkpoint(of, *chunk, use_reentrant=False)
    return total


def _disagreements(output: nn.Linear | OverLinear, first: Tensor, second: Tensor) -> Tensor:
    """The `disagreement` of two readings (N, C) of the same tokens."""

    def of(one: Tensor, other: Tensor) -> Tensor:
        return disagreement(output(one), output(other))

    return _summed(of, _rows(output), first, second)


def said_before(wanted: Tensor, starts: Tensor | None, end: int = -1) -> Tensor:
    """(B, T) targets -> (B, T, T) bool: whether the i-th target may be held against its repetition at place t.

    That is the first of its kind in its text, stands before t, and is not what t wants. A text goes from where a
    document starts, or behind the `end` of the one before, to its end.
    """
    T = wanted.size(1)
    ends = (wanted == end).long()
    text = ends.cumsum(1) - ends + (0 if starts is None else starts.long().cumsum(1))
    learned = wanted != IGNORE
    together = (text[:, :, None] == text[:, None]) & learned[:, :, None] & learned[:, None]
    together &= torch.ones(T, T, dtype=torch.bool, device=wanted.device).tril(-1)  # [t, i]: i stands before t
    same = wanted[:, :, None] == wanted[:, None]
    first = ~(together & same).any(2)  # (B, T)
    return together & ~same & first[:, None]


def _unlikelihoods(
    output: nn.Linear | OverLinear | Pointer, features: Tensor, wanted: Tensor, against: Tensor
) -> Tensor:
    """The sum of -ln(1 - P) of all that was said before, at each of the N places where `wanted` (B, T) is learned;
    features (N, C)."""
    rows, places = (wanted != IGNORE).nonzero(as_tuple=True)  # (N,) each
    candidates = wanted.clamp(min=0)

    def of(chunk: Tensor, rows: Tensor, places: Tensor) -> Tensor:
        logits = chunk if isinstance(output, Pointer) else output(chunk)
        probs = F.log_softmax(logits, -1, dtype=torch.float32).gather(1, candidates[rows]).exp()  # (n, T)
        return -(torch.log1p(-probs.clamp(max=MOST_CERTAIN)) * against[rows, places]).sum()

    return _summed(of, _rows(output), features, rows, places)


def _sum_of_losses(output: nn.Linear | OverLinear, features: Tensor, targets: Tensor, terms: LossTerms) -> Tensor:
    """The token losses of (N, C) features, together."""
    if isinstance(output, Pointer):  # its features are as wide as the vocabulary already
        return terms.token_losses(features, targets).sum()
    rows = _rows(output)
    if torch.is_grad_enabled():
        cap = getattr(output, "cap", 0.0)  # of SoftCapped
        return _ChunkedLoss.apply(features, targets, rows, terms, output.weight, output.bias, cap)
    loss = torch.zeros((), device=features.device)
    for chunk, wanted in zip(features.split(rows), targets.split(rows), strict=True):
        loss += terms.token_losses(output(chunk), wanted).sum()
    return loss


class _ChunkedLoss(torch.autograd.Function):
    """Sum of token losses whose gradients are taken chunk by chunk while the chunk's logits are at hand.

    The forward pass does the backward work of the output layer too, so nothing is computed twice: three matrix
    products a chunk, as without chunking, with (rows, V) instead of (N, V) in memory.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        targets: Tensor,
        rows: int,
        terms: LossTerms,
        weight: Tensor,
        bias: Tensor | None,
        cap: float,
    ) -> Tensor:
        device = features.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        total = torch.zeros((), device=features.device)
        feature_grads = torch.empty_like(features)
        weight_grad = torch.zeros_like(weight) if weight.requires_grad else None
        bias_grad = torch.zeros_like(bias) if bias is not None and bias.requires_grad else None
        with torch.autocast(device, enabled=False):
            cast, cast_bias = weight.to(dtype), None if bias is None else bias.to(dtype)
            for start in range(0, len(targets), rows):
                chunk = features[start : start + rows].to(dtype)  # (rows, C)
                logits = F.linear(chunk, cast, cast_bias)  # (rows, V)
                bent = torch.tanh(logits.float() / cap) if cap else None
                logits = logits if bent is None else bent * cap
                loss, gradient = terms.losses_and_gradient(logits, targets[start : start + rows])
                total += loss
                if bent is not None:
                    gradient *= 1 - bent.square()
                if bias_grad is not None:
                    bias_grad += gradient.sum(0)
                gradient = gradient.to(dtype)
                feature_grads[start : start + rows] = gradient @ cast
                if weight_grad is not None:
                    weight_grad += gradient.T @ chunk
        ctx.save_for_backward(feature_grads, weight_grad, bias_grad)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = grad_outputs
        features, weight, bias = (None if grad is None else grad * scale for grad in ctx.saved_tensors)
        return features, None, None, None, weight, bias, None
