"""Cross-entropy of the next token: one source of log-probabilities for training and for scoring.

The loss is a sum over tokens, never a mean over batches: whoever accumulates divides once, by the number of tokens,
so 4 batches of 8 rows give the gradient of one batch of 32, however unequal their lengths.

Shapes: B rows, T tokens, C hidden size, V vocabulary, N tokens that carry loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.models.base import LanguageModel, State

IGNORE = -100
"""Target of a token without loss (PyTorch's convention)."""

CHUNK_ELEMENTS = 2**23
"""Logits computed at a time. 8M are 32 MB in float32: large enough to be fast, small beside the model."""


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


PLAIN = LossTerms()


def next_token_loss(
    model: LanguageModel,
    inputs: Tensor,
    targets: Tensor,
    state: State | None = None,
    terms: LossTerms = PLAIN,
) -> tuple[Tensor, State | None]:
    """Sum of the token losses in nats, and the state after the last token.

    `inputs`, `targets` (B, T); targets equal to IGNORE are left out. The (B*T, V) logits never stand whole: they are
    made, used and dropped a chunk at a time, in the forward and in the backward pass.
    """
    features, state = model.features(inputs, state)  # (B, T, C)
    kept = targets != IGNORE
    features, targets = features[kept], targets[kept]  # (N, C), (N,)
    output = model.output
    rows = max(1, CHUNK_ELEMENTS // output.out_features)
    if torch.is_grad_enabled():
        loss = _ChunkedLoss.apply(features, targets, output, rows, terms, *output.parameters())
    else:
        loss = torch.zeros((), device=features.device)
        for chunk, wanted in zip(features.split(rows), targets.split(rows), strict=True):
            loss += terms.token_losses(output(chunk), wanted).sum()
    return loss, state


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
        output: nn.Module,
        rows: int,
        terms: LossTerms,
        *weights: Tensor,
    ) -> Tensor:
        total = torch.zeros((), device=features.device)
        feature_grads = torch.empty_like(features)
        weight_grads = [torch.zeros_like(weight) for weight in weights]
        trainable = [weight for weight in weights if weight.requires_grad]
        trainable_grads = [grad for grad, weight in zip(weight_grads, weights, strict=True) if weight.requires_grad]
        for start in range(0, len(targets), rows):
            with torch.enable_grad():
                chunk = features[start : start + rows].detach().requires_grad_()
                loss = terms.token_losses(output(chunk), targets[start : start + rows]).sum()
                grads = torch.autograd.grad(loss, [chunk, *trainable])
            total += loss.detach()
            feature_grads[start : start + rows] = grads[0]
            torch._foreach_add_(trainable_grads, list(grads[1:]))
        ctx.save_for_backward(feature_grads, *weight_grads)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = grad_outputs
        feature_grads, *weight_grads = ctx.saved_tensors
        return (feature_grads * scale, None, None, None, None, *(grad * scale for grad in weight_grads))
