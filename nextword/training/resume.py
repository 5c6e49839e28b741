"""Checkpoints a run is resumed from: `checkpoints/step-00000100/`, whole or not there: the last few, and the best.

model.safetensors       the weights of that step; of adapters, where only they are trained
training.safetensors    optimizer, rng, carried state, averages
training.json           position in the run and in the data
manifest.json           size and SHA-256 of the other files

A checkpoint is read back before an older one is deleted for it, and compared with its manifest before it is resumed
from. Knows nothing of what the tensors and values mean, but that "loss" is that of the validation at this very step.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from nextword import files
from nextword.checkpoint import WEIGHTS, read_weights, save_tensors, write_weights
from nextword.errors import RunError, TrainingError
from nextword.tensor_files import read_safetensors

logger = logging.getLogger(__name__)

FOLDER, TENSORS, VALUES, MANIFEST = "checkpoints", "training.safetensors", "training.json", "manifest.json"


def save(
    run: Path,
    step: int,
    weights: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    values: Mapping[str, Any],
    keep: int,
    keep_best: int = 0,
) -> None:
    """Write the checkpoint of `step`; once it is safe, remove all others but the last `keep` - 1 before it and, this
    one counted, the `keep_best` of lowest loss.

    Raises TrainingError if the disk takes no more.
    """
    target = checkpoint_of(run, step)
    try:
        with files.replacing_folder(target) as folder:
            write_weights(folder / WEIGHTS, weights)
            save_tensors(folder / TENSORS, tensors)
            files.write_json(folder / VALUES, values)
            files.write_json(folder / MANIFEST, {name: _entry(folder / name) for name in (WEIGHTS, TENSORS, VALUES)})
    except OSError as error:
        raise TrainingError(
            f"{target}: cannot write the checkpoint: {error.strerror or error}",
            hint="Free some space, then resume with --resume",
        ) from None
    earlier = [checkpoint for checkpoint in checkpoints(run) if checkpoint < target]
    # A later step is of a past that is gone: it was damaged, and an earlier checkpoint was resumed from.
    later = [checkpoint for checkpoint in checkpoints(run) if checkpoint > target]
    best = [checkpoint for _, checkpoint in by_loss([*earlier, target])[:keep_best]] if keep_best else []
    for old in earlier[::-1][keep - 1 :] + later:
        if old not in best:
            files.discard_folder(old)


def checkpoint_of(run: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return run / FOLDER / f"step-{step:08d}"


def step_of(checkpoint: Path) -> int:
    """The inverse of `checkpoint_of`."""
    return int(checkpoint.name.removeprefix("step-"))


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted((run / FOLDER).glob("step-*"))


def by_loss(found: Iterable[Path]) -> list[tuple[float, Path]]:
    """Those of some checkpoints that have a finite validation loss, the lowest first; of equals, the newest."""
    losses = []
    for checkpoint in sorted(found, reverse=True):
        try:
            loss = json.loads((checkpoint / VALUES).read_text(encoding="utf-8"))["loss"]
        except (OSError, ValueError, KeyError, TypeError):  # damaged, or of an earlier version
            continue
        if isinstance(loss, float) and math.isfinite(loss):
            losses.append((loss, checkpoint))
    return sorted(losses, key=lambda pair: pair[0])


def latest(run: Path) -> Path:
    """The newest checkpoint that is what its manifest says; newer ones are warned of.

    Raises RunError if there is none.
    """
    flaws: list[str] = []
    for checkpoint in reversed(checkpoints(run)):
        flaw = find_flaw(checkpoint)
        if not flaw:
            for found in flaws:
                logger.warning("%s; resuming from %s instead", found, checkpoint.name)
            return checkpoint
        flaws.append(flaw)
    if flaws:
        raise RunError(f"{run} has no checkpoint that is whole: {flaws[0]}", hint="Restore it, or start a new run")
    raise RunError(f"{run} has no checkpoint to resume from", hint="Start anew without --resume")


def find_flaw(checkpoint: Path) -> str:
    """What is wrong with the files of a checkpoint, in words that name the first bad one; "" if they are whole."""
    manifest = checkpoint / MANIFEST
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))
        for name in (WEIGHTS, TENSORS, VALUES):
            wanted, path = entries[name], checkpoint / name
            if not path.is_file():
                return f"{path} is missing"
            if path.stat().st_size != wanted["size"]:
                return f"{path} is damaged: {path.stat().st_size:,} bytes, {wanted['size']:,} in its manifest"
            if files.sha256(path) != wanted["sha256"]:
                return f"{path} is damaged: its SHA-256 differs from its manifest"
    except FileNotFoundError:
        return f"{manifest} is missing"
    except OSError as error:
        return f"{error.filename}: cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError) as error:
        return f"{manifest} is damaged: {error!r}"
    return ""


def load(
    checkpoint: Path, like: Mapping[str, Tensor]
) -> tuple[Mapping[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """Weights of the names and shapes of `like`, each read when it is asked for, other tensors, and values.

    Raises RunError if they are damaged or of another model.
    """
    weights = read_weights(checkpoint / WEIGHTS, like)
    try:
        tensors = dict(read_safetensors(checkpoint / TENSORS))
    except RunError as error:
        raise _damaged(checkpoint, error) from None
    return weights, tensors, read_values(checkpoint)


def read_values(checkpoint: Path) -> dict[str, Any]:
    """What is neither weights nor tensors. Raises RunError if it is damaged."""
    try:
        return json.loads((checkpoint / VALUES).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(checkpoint, error) from None


def _damaged(checkpoint: Path, error: Exception) -> RunError:
    return RunError(f"{checkpoint} is damaged: {error}", hint="Restore it, or start a new run")


def sweep(run: Path) -> None:
    """Remove what a killed process left half-written in the folder of a run.

    A checkpoint that is whole gets its name, or has it back: the older one of a step may have been taken away, and
    the newer one not yet put in its place.
    """
    for left in (run / FOLDER).glob(f".step-*{files.TEMPORARY}"):
        target = left.with_name(left.name.split(".")[1])
        if not target.exists() and not find_flaw(left):
            files.sweep(left)
            left.replace(target)
    files.sweep(run / FOLDER)
    files.sweep(run)


def strip(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _entry(path: Path) -> dict[str, Any]:
    return {"size": path.stat().st_size, "sha256": files.sha256(path)}
