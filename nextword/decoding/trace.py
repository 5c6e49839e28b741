"""What happened while a text was generated: each distribution, what each setting did to it, and the choice.

Shapes: V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

TOP = 20


@dataclass(frozen=True)
class Stage:
    """The distribution after one setting has acted; the first stage, "model", is the model's own."""

    name: str
    top: list[tuple[int, float]]
    """The likeliest tokens (at most 20) and their probabilities, best first."""
    kept: int
    """Tokens that can still be chosen."""
    removed: float
    """Probability, before this stage, of the tokens it removed."""
    moved: float
    """Probability that changed its token: half the sum of all differences (total variation distance)."""


@dataclass(frozen=True)
class TracedStep:
    """One token and how it came about."""

    token: int
    log_prob: float
    """ln P(token | before), in nats, by the model alone."""
    rank: int
    """Its place in the model's own order, 1 = likeliest."""
    entropy: float
    """Of the model's own distribution, in nats."""
    stages: list[Stage]


@dataclass
class Trace:
    """The whole story of one continuation; of a beam search, the tree of its hypotheses."""

    steps: list[TracedStep] = field(default_factory=list)
    beams: list[dict[str, Any]] = field(default_factory=list)
    """One entry a step and group: its number, and of each beam kept (row it came from, token, total)."""
    _stages: list[Stage] = field(default_factory=list, repr=False)
    _before: Tensor | None = field(default=None, repr=False)

    def begin(self, logits: Tensor) -> None:
        """(V,) logits of the model for the next token."""
        self._before, self._stages = None, []
        self.observe("model", logits)
        self._model = logits

    def observe(self, name: str, logits: Tensor) -> None:
        """(V,) logits after the setting `name`."""
        probs = logits.double().softmax(-1)
        before = probs if self._before is None else self._before
        top = probs.topk(min(TOP, len(probs)))
        self._stages.append(
            Stage(
                name,
                [(i, p) for i, p in zip(top.indices.tolist(), top.values.tolist(), strict=True) if p > 0],
                kept=int((logits > -torch.inf).sum()),
                removed=float(before[logits == -torch.inf].sum()),
                moved=float((probs - before).abs().sum() / 2),
            )
        )
        self._before = probs

    def choose(self, token: int, log_prob: float) -> None:
        """The token that was chosen from the last distribution observed."""
        rank = 1 + int((self._model > self._model[token]).sum())
        entropy = float(torch.special.entr(self._model.double().softmax(-1)).sum())
        self.steps.append(TracedStep(token, log_prob, rank, entropy, self._stages))

    def add_beams(self, group: int, beams: list[tuple[int, int, float]]) -> None:
        """What a group of beams kept in this step: (row it came from, token, total) each."""
        last = self.beams[-1] if self.beams else {"step": -1, "group": group}
        step = last["step"] + (group <= last["group"])  # groups that are over are left out
        self.beams.append({"step": step, "group": group, "beams": beams})
