"""Checkpoints a run is resumed from: `checkpoints/step-00000100/` with weights, tensors and values, whole or not there.

model.safetensors       the weights of that step
training.safetensors    optimizer, rng, carried state, averages
training.json           position in the run and in the data
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nextword.checkpoint import WEIGHTS, load_weights, save_tensors, save_weights
from nextword.errors import RunError, TrainingError
from nextword.files import replacing_folder, write_json
from nextword.models.base import LanguageModel

FOLDER, TENSORS, VALUES = "checkpoints", "training.safetensors", "training.json"


def save(run: Path, step: int, model: LanguageModel, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write the checkpoint of `step`, then remove those before it. Raises TrainingError if the disk takes no more."""
    target = run / FOLDER / f"step-{step:08d}"
    try:
        with replacing_folder(target) as folder:
            save_weights(folder / WEIGHTS, model)
            save_tensors(folder / TENSORS, tensors)
            write_json(folder / VALUES, values)
        for old in checkpoints(run):
            if old != target:
                shutil.rmtree(old)
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{target}: cannot write the checkpoint: {error}",
            hint="Free some space, then resume with --resume",
        ) from None


def checkpoints(run: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted((run / FOLDER).glob("step-*"))


def load(run: Path, model: LanguageModel) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Fill the model from the latest checkpoint; return its tensors and values.

    Raises RunError if there is none, or if it is damaged or of another model.
    """
    found = checkpoints(run)
    if not found:
        raise RunError(f"{run} has no checkpoint to resume from", hint="Start anew without --resume")
    latest = found[-1]
    load_weights(latest / WEIGHTS, model)
    try:
        return load_file(latest / TENSORS), json.loads((latest / VALUES).read_text(encoding="utf-8"))
    except (OSError, ValueError, SafetensorError) as error:
        raise RunError(f"{latest} is damaged: {error}", hint="Delete this folder to start anew") from None


def strip(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
