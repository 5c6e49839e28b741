"""What a run begins with: random weights, or those of another run, whole, in part or beneath adapters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nextword.checkpoint import CONFIG, WEIGHTS, Run, load_run
from nextword.errors import RunError, UsageError
from nextword.files import sha256
from nextword.models import LanguageModel, ModelConfig, build_model
from nextword.tokenizers import Tokenizer
from nextword.training.adapting import adapt
from nextword.training.config import TrainConfig
from nextword.training.transplant import NOTHING, Transplant, transplant


def first_model(
    config: ModelConfig, tokenizer: Tokenizer, train: TrainConfig, source: Run | None
) -> tuple[LanguageModel, Transplant]:
    """The model as it is before the first step, the same on every process, and what it has of `source`."""
    torch.manual_seed(train.seed)
    if (
        source is not None
        and source.model.config == config
        and source.tokenizer.fingerprint() == tokenizer.fingerprint()
    ):
        model, taken = source.model, Transplant.whole(source.model)  # in place: there may be no room for two
    else:
        model, taken = _built(config), NOTHING
        if source is not None:
            taken = transplant(model, tokenizer, source.model, source.tokenizer)
    adapt(model, train.adapter)
    return model, taken


def _built(config: ModelConfig) -> LanguageModel:
    try:
        return build_model(config)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"a model of this size cannot be made: {reason}", hint="Choose a smaller one") from None


def adapted_source(out: Path, config: Mapping[str, Any]) -> Run:
    """The run whose weights the adapters in `out` go with. Raises RunError if it is gone or has changed."""
    try:
        folder, digest = Path(config["init"]["folder"]), config["init"]["sha256"]
    except (KeyError, TypeError) as error:
        raise RunError(f"{out / CONFIG} is damaged: {error!r}", hint="Restore the file or train again") from None
    if not (folder / WEIGHTS).is_file():
        raise RunError(f"{folder}, whose weights {out} adapts, is gone", hint="Put it back to go on")
    if weights_digest(folder) != digest:
        raise RunError(f"{folder} has other weights than those that {out} adapts", hint="Put them back to go on")
    return load_run(folder)


def weights_digest(run: Path) -> str:
    """By which the weights of a run are known again."""
    return sha256(run / WEIGHTS)
