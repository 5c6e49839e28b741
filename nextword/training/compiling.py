"""Whether torch.compile pays in a run: it stands still for half a minute, and trains faster ever after."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from nextword.models.base import LanguageModel

TRIAL_STEPS = 5
"""Steps after which the time that the rest will take can be told."""
WORTHWHILE = 240.0
"""Seconds of training that must be left for compilation to be won back (LOG.md)."""


def compile_model(model: LanguageModel) -> bool:
    """Make the model compile its layers when it is next trained; False where it cannot, or has nothing to gain.

    What the compiler makes is kept in the user's cache folder, so that the next run of the same shape starts at once.
    """
    if model.device.type == "cpu" and not _has_compiler():
        return False
    if any(getattr(module, "scales", None) is not None for module in model.modules()):
        return False  # torch 2.13 fails at products whose integers are widened on the way
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "nextword" / "compiled"))
    torch._dynamo.config.suppress_errors = True  # a layer it cannot compile runs as it is
    return model.compile_training()


def _has_compiler() -> bool:
    """Whether there is the C++ compiler that torch.compile needs for a CPU."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception:  # torch has an error of its own here, whose place has moved from release to release
        return False
    return True
