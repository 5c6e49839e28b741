"""Whether a model can be trained on this machine at all, told before any memory or disk is taken."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import torch

from nextword.checkpoint import outline
from nextword.errors import TrainingError, UsageError
from nextword.models import LanguageModel, ModelConfig
from nextword.training import resume
from nextword.training.adapting import adapt
from nextword.training.config import TrainConfig
from nextword.training.distributed import World
from nextword.training.freezing import freeze

MOMENTS = {"sgd": 0, "muon": 1, "adam": 2, "adamw": 2}
"""Numbers an optimizer keeps for each weight, at least: sgd's momentum and what Muon leaves to AdamW come on top."""

KEPT_FLOATS = {"rnn": 16, "gru": 16, "lstm": 16, "gru-attention": 25, "lstm-attention": 30}
"""Numbers of 4 bytes that a layer keeps of each token for the backward pass, times its hidden size. Measured at hidden
size 512: Transformers of 4 layers 31 to 40 (bfloat16 least, float32 most), LSTMs of 2 layers 16 to 17. Measured at
hidden size 128 and two layers, in float32: prefix-lm 28 to 33, encoder-decoder 33 to 35, gru-attention 20 to 27,
lstm-attention 24 to 34 (long sources most)."""

OF_TRANSFORMERS = 36
"""The same for Transformers, with an encoder and without."""


def check_memory(config: ModelConfig, train: TrainConfig, world: World) -> None:
    """Raises UsageError if weights, gradients, optimizer and average are more than the memory a process has, or if
    `train.freeze` or `train.adapter` does not fit the model."""
    model = outline(config)
    needed, present = _needed(model, train, world), _room(world)
    each = f" in each of {world.size} processes" if world.size > 1 else ""
    if needed > present:
        fsdp = world.size > 1 and train.parallel != "fsdp"
        raise UsageError(
            f"to train a model of this size takes at least {needed / 2**30:,.1f} GiB of memory{each}, "
            f"and {world.device} has {present / 2**30:,.1f} GiB",
            hint="Choose a smaller one, by --size or [model]" + (", or set train.parallel=fsdp" if fsdp else ""),
        )


def check_disk(config: ModelConfig, train: TrainConfig, run: Path) -> None:
    """Raises TrainingError if the checkpoints and the best weights of a run are more than the disk has room for.

    A new one is complete before an older one goes, so there is one more of each than is kept. What `run` holds of
    them already is room for them.
    """
    weights, trained = _sizes(outline(config), train)
    kept = weights if train.adapter is None else trained
    checkpoint = (1 + bool(train.ema)) * kept + MOMENTS[train.optimizer] * trained
    needed = (train.keep_checkpoints + train.keep_best + 1) * checkpoint + 2 * weights
    older = sum(path.stat().st_size for path in (run / resume.FOLDER).rglob("*") if path.is_file())
    free = shutil.disk_usage(run).free + older
    if needed > free:
        fewer = "--set train.keep_checkpoints=1" + " --set train.keep_best=0" * bool(train.keep_best)
        raise TrainingError(
            f"the checkpoints of this run take at least {needed / 2**30:,.2f} GiB, and the disk of {run} has "
            f"{free / 2**30:,.2f} GiB free",
            hint=f"Free some space, give another --out, or keep fewer by {fewer}",
        )


def expected_memory(config: ModelConfig, train: TrainConfig, tokens: int, world: World) -> tuple[float, float]:
    """Bytes that training takes in each process, about, and those that there are: weights, gradients, optimizer,
    average, and what its part of a batch of so many tokens, sources and answers, keeps for the backward pass."""
    layers = max(getattr(config, name, 0) for name in ("num_layers", "encoder_layers"))  # a token goes through one half
    kept = 4 * KEPT_FLOATS.get(config.type, OF_TRANSFORMERS) * layers * getattr(config, "hidden_size", 0)
    readings = 2 if train.r_drop else 1
    return _needed(outline(config), train, world) + float(kept) * tokens * readings / world.size, _room(world)


def _needed(model: LanguageModel, train: TrainConfig, world: World) -> float:
    """Bytes of weights, gradients, optimizer, average and tables in each process."""
    weights, trained = _sizes(model, train)
    averaged = bool(train.ema) * (weights if train.adapter is None else trained)
    needed = weights + averaged + (1 + MOMENTS[train.optimizer]) * trained
    shares = world.size if train.parallel == "fsdp" else 1
    return needed / shares + sum(table.nbytes for table in model.buffers())


def _room(world: World) -> float:
    """Bytes of memory for a process: of its GPU, or its share of the machine's."""
    return _memory(world.device) / (world.local_size if world.device.type == "cpu" else 1)


def _sizes(model: LanguageModel, train: TrainConfig) -> tuple[int, int]:
    """Bytes of all weights, and of those that are trained."""
    adapt(model, train.adapter)
    freeze(model, train.freeze)
    return sum(p.nbytes for p in model.parameters()), sum(p.nbytes for p in model.parameters() if p.requires_grad)


def _memory(place: torch.device) -> float:
    """Bytes of memory in all; infinite where the system does not tell (Windows)."""
    if place.type == "cuda":
        return torch.cuda.get_device_properties(place).total_memory
    if not hasattr(os, "sysconf"):
        return math.inf
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
