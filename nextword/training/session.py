"""A run under way: its folder, its data and its trainer; and how a run that was interrupted goes on.

session = new_run(recipe, sources, out)     # of `new_run`; or resume_run(out)
for event in session.trainer.run(): ...     # or Doctor(session).attend(), which adds what goes wrong
session.finish()
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nextword.checkpoint import (
    CONFIG,
    WEIGHTS,
    Run,
    check_device,
    check_tokenizer,
    check_weights,
    outline,
    read_config,
    save_config,
)
from nextword.config import parse
from nextword.data.copies import copied_text_from
from nextword.data.mixture import MixConfig, MixedBatches, Mixture
from nextword.data.prepare import is_prepared, open_prepared
from nextword.data.token_files import TokenFiles
from nextword.errors import RunError, UsageError
from nextword.files import write_text
from nextword.models import LanguageModel, ModelConfig, model_config
from nextword.tokenizers import Tokenizer
from nextword.training import card, resume
from nextword.training.beginning import adapted_source, first_model
from nextword.training.config import TrainConfig
from nextword.training.distributed import World
from nextword.training.memory import check_disk, check_memory
from nextword.training.mixing import open_mix
from nextword.training.recipe import LIMITS, check_limit
from nextword.training.run_folder import CARD
from nextword.training.trainer import Trainer

logger = logging.getLogger(__name__)

FIXED = (
    *("seed", "rows", "batch_size", "batch_tokens", "context", "carry_state", "optimizer", "ema"),
    *("freeze", "layer_decay", "adapter"),
)
"""Settings of [train] that a checkpoint is bound to."""

MISFITS = (KeyError, TypeError, ValueError, AttributeError, RuntimeError)
"""What the values of a checkpoint raise that are of another version, or half of them."""

KEPT = ("data", "mix", "split", "task", "corpus", "init", "origin", "chosen", "environment")
"""Sections of config.json that a run that goes on keeps."""

Splits = dict[str, TokenFiles | Mixture]
"""train, valid and test, as far as there are such."""

Prompt = str | list[int]
"""Text; or all ids, where a chat template has put control tokens in between, which no text can spell."""

Sampler = Callable[[LanguageModel, Tokenizer, Prompt], tuple[str, str]]
"""(model, tokenizer, prompt of the held-out text) -> what the model was given, as people read it; what it wrote."""


@dataclass
class Session:
    """A run under way."""

    folder: Path
    tokenizer: Tokenizer
    splits: Splits
    sections: dict[str, Any]
    """What config.json holds beside model and tokenizer."""
    trainer: Trainer

    def finish(self) -> dict[str, Any]:
        """Write down what the run reached: config.json and the model card. Returns the figures.

        A run that ended before its first evaluation keeps the weights it has.
        """
        trainer, position = self.trainer, self.trainer.position
        trainer.keep_some_weights()
        figures: dict[str, Any] = {
            "parameters": outline(trainer.model.config).num_parameters(),
            "steps": position.step,
            "epochs": round(trainer.batches.epoch, 3),
            "tokens": position.tokens,
            "seconds": round(position.seconds, 1),
            "tokens_per_s": round(position.tokens / max(position.step_seconds, 1e-9), 1),
            "precision": trainer.precision,
            "compiled": position.compiled,
        }
        if isinstance(trainer.batches, MixedBatches):
            figures["corpora"] = trainer.batches.read()
        if trainer.best:
            figures["validation"] = trainer.best.to_dict() | {"step": position.best_step}
        self.sections["figures"] = figures
        if trainer.world.leads:
            save_config(self.folder, trainer.model, self.tokenizer, self.sections)
            write_text(self.folder / CARD, card.model_card(self.folder.resolve().name, read_config(self.folder)))
        return figures


def resume_run(
    out: Path,
    changes: Mapping[str, Any] | None = None,
    *,
    sample: Sampler | None = None,
    device: str = "cpu",
    started: float | None = None,
    world: World | None = None,
) -> Session:
    """Go on from the latest checkpoint of a run that is whole; `changes` to section [train] may lengthen it.

    The processes of `world`, which then says the device, need not be as many as before.

    Raises RunError if there is nothing to resume, or if its data is gone; UsageError for a change that the
    checkpoint does not allow.
    """
    started = time.monotonic() if started is None else started
    world = world or World(check_device(device))
    world.lead(lambda: _tidy(out))
    config, tokenizer, model_settings, before, splits = _reopen(out)
    train = _changed(before, changes or {})
    check_rows(train, world)
    latest = resume.checkpoint_of(out, int(world.first(resume.step_of(resume.latest(out)) if world.leads else 0)))
    if train.adapter is None:
        check_weights(latest / WEIGHTS, model_settings)
    check_memory(model_settings, train, world)
    if world.leads:
        check_disk(model_settings, train, out)
    # The arithmetic stays what it was, even if it was chosen on another machine.
    chosen = train.model_copy(update={"precision": resume.read_values(latest).get("precision", "auto")})
    model, _ = first_model(model_settings, tokenizer, train, adapted_source(out, config) if train.adapter else None)
    trainer = trainer_for(model, tokenizer, splits, chosen, out, sample, started, world)
    try:
        trainer.resume(latest)
    except MISFITS as error:
        raise RunError(f"{latest} is damaged: {error!r}", hint="Restore it, or start a new run") from None
    if any(getattr(train, limit) != getattr(before, limit) for limit in LIMITS):
        trainer.position.evals_since_best = 0  # given more time, a run that stopped early has its patience anew
    sections: dict[str, Any] = {name: config[name] for name in KEPT if name in config}
    sections["train"] = train.model_dump(mode="json")
    return Session(out, tokenizer, splits, sections, trainer)


def join_run(out: Path, source: Run | None, sample: Sampler | None, started: float, world: World) -> Session:
    """The run that the first process has just made, as another one sees it: the same model, from the same seed."""
    _, tokenizer, model_settings, train, splits = _reopen(out)
    model, _ = first_model(model_settings, tokenizer, train, source)
    trainer = trainer_for(model, tokenizer, splits, train, out, sample, started, world)
    return Session(out, tokenizer, splits, {}, trainer)


def data_of(run: Path, config: Mapping[str, Any], tokenizer: Tokenizer) -> Splits:
    """The splits that a run was trained on. Raises RunError if they are gone, or its `config` does not tell."""
    try:
        mix = parse(MixConfig, config.get("mix", {}), "mix")
        places = config["corpus"]["folders"] if mix.corpora else {"": config["corpus"]["folder"]}
        folders = {name: run / places[name] for name in places}
    except (UsageError, KeyError, TypeError) as error:
        raise RunError(f"{run / CONFIG} is damaged: {error}", hint="Restore the file or train again") from None
    for data in folders.values():
        if not is_prepared(data):
            raise RunError(f"the data of {run} is gone: {data}", hint="Put it back, or start a new run")
    return open_splits(folders, mix, tokenizer)


def open_splits(folders: Mapping[str, Path], mix: MixConfig, tokenizer: Tokenizer, tell: bool = True) -> Splits:
    """The splits, without a validation split that is too small to be one."""
    if mix.corpora:
        return open_mix(folders, mix, tokenizer)
    splits = open_prepared(folders[""], tokenizer)
    if "valid" in splits and splits["valid"].len_tokens < 2:
        if tell:
            logger.warning("the validation split has no text to predict: training goes on without validation")
        del splits["valid"]
    return dict(splits)


def trainer_for(
    model: LanguageModel,
    tokenizer: Tokenizer,
    splits: Splits,
    config: TrainConfig,
    out: Path,
    sample: Sampler | None,
    started: float,
    world: World,
) -> Trainer:
    """A trainer of `splits` that writes into `out`; it samples with the first prompt that is held out, if any is."""
    train = splits["train"]
    write = _asking(sample, tokenizer, splits.get("valid", train), model) if sample else None
    return Trainer(
        model,
        train,
        splits.get("valid"),
        config,
        out,
        sample=write,
        started=started,
        copied=partial(copied_text_from, train, tokenizer),
        world=world,
        halves=tokenizer.source.halves() if config.token_dropout else None,
    )


def check_rows(train: TrainConfig, world: World) -> None:
    """Raises UsageError if a batch of text has fewer rows than there are processes. One of whole examples may."""
    if not train.batch_tokens:
        world.check_rows(train.batch_size)


def _tidy(out: Path) -> None:
    """Remove what a killed process left of a run. Raises RunError if there is none, or nothing to go on from."""
    read_config(out)
    resume.sweep(out)
    if not resume.checkpoints(out):
        raise RunError(f"{out} has no checkpoint to resume from", hint="Start anew without --resume")


def _reopen(out: Path) -> tuple[dict[str, Any], Tokenizer, ModelConfig, TrainConfig, Splits]:
    """What is in the folder of a run: config.json, tokenizer, the settings of model and training, data."""
    config = read_config(out)
    tokenizer = Tokenizer.load(out)
    check_tokenizer(out, config, tokenizer)
    try:
        model_settings = model_config(config["model"])
        train = parse(TrainConfig, config.get("train", {}), "train")
    except (UsageError, TypeError) as error:
        raise RunError(f"{out / CONFIG} is damaged: {error}", hint="Restore the file or train again") from None
    return config, tokenizer, model_settings, train, data_of(out, config, tokenizer)


def _changed(before: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    """The settings a run goes on with. A new limit replaces the old one, whatever its kind."""
    values = before.model_dump()
    if any(limit in changes for limit in LIMITS):
        values |= dict.fromkeys(LIMITS, 0)
    train = parse(TrainConfig, values | dict(changes), "train")
    check_limit(train)
    for name in FIXED:
        if getattr(train, name) != getattr(before, name):
            raise UsageError(
                f"train.{name}: a run that goes on keeps its {getattr(before, name)!r}, got {getattr(train, name)!r}",
                hint="Leave it out, or start a new run",
            )
    return train


def _asking(
    sample: Sampler, tokenizer: Tokenizer, files: TokenFiles | Mixture, model: LanguageModel
) -> Callable[[LanguageModel], tuple[str, str]]:
    """`sample` with the first prompt: of a source as much as can be read, of a beginning the end that leaves half a
    context for the answer."""
    ids, prompt = next(files.examples())
    limit = model.max_seq_len
    if limit is None:
        asked = ids[:prompt].tolist()
    elif model.encodes:
        asked = ids[: min(prompt, limit - 1)].tolist()
    else:
        asked = ids[max(0, prompt - limit // 2) : prompt].tolist()
    plain = tokenizer.special_ids.isdisjoint(asked)
    question = tokenizer.decode(asked) if plain else [tokenizer.bos_id, *asked]
    return lambda trained: sample(trained, tokenizer, question)
