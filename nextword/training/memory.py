"""Whether a model can be trained on this machine at all, told before any memory is taken."""

from __future__ import annotations

import math
import os

import torch

from nextword.checkpoint import outline
from nextword.errors import UsageError
from nextword.models import ModelConfig
from nextword.training.config import TrainConfig

MOMENTS = {"sgd": 0, "muon": 1, "adam": 2, "adamw": 2}
"""Numbers an optimizer keeps for each weight, at least: sgd's momentum and what Muon leaves to AdamW come on top."""


def check_memory(config: ModelConfig, train: TrainConfig, place: torch.device) -> None:
    """Raises UsageError if weights, gradients, optimizer and average are more than the memory there is."""
    model = outline(config)
    copies = 2 + MOMENTS[train.optimizer] + bool(train.ema)
    needed = copies * sum(p.nbytes for p in model.parameters()) + sum(table.nbytes for table in model.buffers())
    present = _memory(place)
    if needed > present:
        raise UsageError(
            f"to train a model of this size takes at least {needed / 2**30:,.1f} GiB of memory, "
            f"and {place} has {present / 2**30:,.1f} GiB",
            hint="Choose a smaller one, by --size or [model]",
        )


def _memory(place: torch.device) -> float:
    """Bytes of memory in all; infinite where the system does not tell (Windows)."""
    if place.type == "cuda":
        return torch.cuda.get_device_properties(place).total_memory
    if not hasattr(os, "sysconf"):
        return math.inf
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
