"""An exponential moving average of the weights: smoother than any single step's, and usually better."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from nextword.models.base import LanguageModel
from nextword.training.adapting import trained
from nextword.training.parallel import local

PREFIX = "average."  # begins the names of its tensors in a checkpoint


class WeightAverage:
    """average <- d * average + (1 - d) * weights after each step.

    d grows from 0.1 to `decay` as (1 + t) / (10 + t), so that the random start is soon forgotten.
    """

    def __init__(self, model: LanguageModel, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Tensor] = {name: p.detach().clone() for name, p in trained(model).items()}

    @torch.no_grad()
    def update(self, model: LanguageModel, step: int) -> None:
        """Take in the weights after the step numbered from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in trained(model).items():
            local(self.weights[name]).lerp_(local(parameter.detach()), 1 - decay)

    @contextmanager
    def applied(self, model: LanguageModel) -> Iterator[None]:
        """The model has the average as its weights within the block, and its own are kept in the average's place."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    @torch.no_grad()
    def _swap(self, model: LanguageModel) -> None:
        """In place: FSDP knows the memory of its parts, not the tensors."""
        for name, parameter in trained(model).items():
            ours, theirs = local(self.weights[name]), local(parameter.detach())
            kept = theirs.clone()
            theirs.copy_(ours)
            ours.copy_(kept)
