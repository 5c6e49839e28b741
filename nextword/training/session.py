"""From sources and a recipe to a trained run folder: what `nextword train`, `--resume` and `nextword demo` share.

session = new_run(recipe, sources, out)
for event in session.trainer.run(): ...     # or Doctor(session).attend(), which adds what goes wrong
session.finish()
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from nextword.checkpoint import (
    CONFIG,
    GENERATION,
    WEIGHTS,
    Run,
    check_device,
    check_tokenizer,
    check_weights,
    load_run,
    outline,
    read_config,
    read_generation,
    save_config,
)
from nextword.config import Config, parse
from nextword.data.copies import copied_text_from
from nextword.data.mixture import MixConfig, MixedBatches, Mixture
from nextword.data.prepare import Progress, is_prepared, open_prepared, prepare, rereadable
from nextword.data.token_files import TokenFiles
from nextword.data.token_index import read_index
from nextword.errors import RunError, UsageError
from nextword.files import write_json, write_text
from nextword.models import LanguageModel, ModelConfig, model_config
from nextword.text.records import ReadConfig, Source
from nextword.tokenizers import Tokenizer
from nextword.tokenizers.chat import CHAT_TEMPLATE, ChatTokenizer
from nextword.training import card, resume
from nextword.training.beginning import adapted_source, first_model, weights_digest
from nextword.training.config import TrainConfig
from nextword.training.distributed import World
from nextword.training.environment import environment
from nextword.training.memory import check_disk, check_memory
from nextword.training.mixing import mixes, open_mix, prepare_mix
from nextword.training.recipe import LIMITS, begun, check_limit
from nextword.training.run_folder import CARD, DATA, check_free, inherit, replacing_run
from nextword.training.settling import settle, settle_prepared
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

GIVE_SOURCE = "Name the run to begin with: --init-from RUN"

Prompt = str | list[int]
"""Text; or all ids, where a chat template has put control tokens in between, which no text can spell."""

Sampler = Callable[[LanguageModel, Tokenizer, Prompt], tuple[str, str]]
"""(model, tokenizer, prompt of the held-out text) -> what the model was given, as people read it; what it wrote."""


@dataclass
class Session:
    """A run under way."""

    folder: Path
    tokenizer: Tokenizer
    splits: dict[str, TokenFiles | Mixture]
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


def new_run(
    values: Mapping[str, Mapping[str, Any]],
    sources: Sequence[Source],
    out: Path,
    *,
    valid: Sequence[Source] = (),
    size: str = "",
    sample: Sampler | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    started: float | None = None,
    corpus: str = "",
    task: Config | None = None,
    generation: Mapping[str, Any] | None = None,
    template: str = "",
    init_from: Path | None = None,
    world: World | None = None,
) -> Session:
    """Prepare the data, build the model, and be ready to train.

    Of several processes (`world`, which then says the device) the first does all that; the others wait, and open what
    it wrote.

    `values` are the sections of a recipe. `sources` are raw text, or one prepared folder, or none where there is [mix];
    `corpus` is what the model card calls those that are no files. `task` is kept as a section of config.json;
    `generation` are settings for generation_config.json in place of those of plain text, `template` is a chat template
    saved beside it, by which conversations are learned, in place of that of the run `init_from`. That is a run to begin
    with the weights of: its tokenizer and its model are those of the new one, but for what `values` say. Whatever goes
    wrong on the way leaves `out` as it was: an older run gives way once this one is ready.

    Raises UsageError, DataError, and RunError if `out` holds another run and `overwrite` is not set, holds other
    things, or cannot be written.
    """
    started = time.monotonic() if started is None else started
    world = world or World(check_device(device))
    source = None if init_from is None else load_run(init_from)
    if not world.leads:
        world.sum()  # the first has made the run
        return _join(out, source, sample, started, world)
    check_free(out, overwrite, "Go on with it by --resume, replace it by --overwrite, or give another --out")
    if source is not None:
        values = begun(values, source.config)
    elif parse(ReadConfig, values.get("data", {}), "data").conversations and not template:
        raise UsageError("data.conversations: they are read as a model that chats has them", hint=GIVE_SOURCE)
    elif values.get("train", {}).get("adapter") is not None:
        raise UsageError("train.adapter: only weights that were trained before can be adapted", hint=GIVE_SOURCE)
    try:
        with rereadable([sources, valid]) as (sources, valid), replacing_run(out) as folder:
            taught = None if source is None or "tokenizer" in values else source.tokenizer
            if mixes(values):
                if sources or valid:
                    raise UsageError("DATA beside [mix]", hint="Name all text in [mix], held-out text too")
                recipe = settle(values, (), size, world.device)
                check_memory(model_config(recipe.model | {"vocab_size": 1}), recipe.train, world)
                folders = prepare_mix(recipe, folder / DATA, taught, progress)
            elif len(sources) == 1 and isinstance(sources[0], str | Path) and is_prepared(sources[0]):
                folders = {"": Path(sources[0])}
                recipe = settle_prepared(values, folders[""], valid, size, world.device)
            else:
                recipe = settle(values, sources, size, world.device)
                spoken = template if recipe.data.conversations else ""
                if recipe.data.conversations and not template and source is not None and taught is not None:
                    spoken = ChatTokenizer.load(source.folder, source.tokenizer).template
                data = folder / DATA
                folders = {"": data}
                if is_prepared(out / DATA):  # token files that are still current are used again
                    shutil.copytree(out / DATA, data, copy_function=_link)
                check_memory(model_config(recipe.model | {"vocab_size": 1}), recipe.train, world)  # before long work
                prepare(
                    sources,
                    data,
                    taught or recipe.tokenizer,
                    valid_sources=valid,
                    read=recipe.data,
                    split=recipe.split,
                    template=spoken,
                    progress=progress,
                )
            _check_rows(recipe.train, world)
            tokenizer = Tokenizer.load(next(iter(folders.values())))
            settings = model_config(recipe.model | {"vocab_size": tokenizer.vocab_size})
            check_memory(settings, recipe.train, world)
            check_disk(settings, recipe.train, out)
            model, taken = first_model(settings, tokenizer, recipe.train, source)
            splits = _open(folders, recipe.mix, tokenizer, tell=False)
            # What can fail does so while there is a way back.
            trial = _trainer(model, tokenizer, splits, recipe.train, out, sample, started, World(model.device))
            described = {name: _place(path, folder) for name, path in folders.items()}
            names = [file.path for path in folders.values() for file in read_index(path / "train").sources]
            where: dict[str, Any] = {"folders": described} if recipe.mix.corpora else {"folder": described[""]}
            where |= {"sources": names + ([corpus] if corpus else []), "apart": trial.batches.whole_examples}
            recipe = replace(recipe, train=trial.config)  # with what the data settled
            sections = recipe.sections() | {"corpus": where, "environment": environment(world.device)}
            if recipe.reasons:
                sections["chosen"] = list(recipe.reasons)
            if source is not None:
                sections["init"] = {"from": str(init_from), "taken": str(taken)}
                if recipe.train.adapter:  # checkpoints have the adapters only
                    digest = weights_digest(source.folder)
                    sections["init"] |= {"folder": str(source.folder.resolve()), "sha256": digest}
                if taken.complete:
                    sections |= inherit(folder, source)
            if task:
                sections["task"] = task.model_dump(mode="json")
            if generation:
                write_json(folder / GENERATION, read_generation(folder / GENERATION) | dict(generation))
            if template:
                write_text(folder / CHAT_TEMPLATE, template)
            save_config(folder, model, tokenizer, sections)
            del splits, trial  # some systems move no folder while its files are open
        splits = _open({name: out / path for name, path in described.items()}, recipe.mix, tokenizer)
        world.sum()  # the others may open it
        trainer = _trainer(model, tokenizer, splits, recipe.train, out, sample, started, world)
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error.strerror or error}") from None
    return Session(out, tokenizer, splits, sections, trainer)


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
    _check_rows(train, world)
    latest = resume.checkpoint_of(out, int(world.first(resume.step_of(resume.latest(out)) if world.leads else 0)))
    if train.adapter is None:
        check_weights(latest / WEIGHTS, model_settings)
    check_memory(model_settings, train, world)
    if world.leads:
        check_disk(model_settings, train, out)
    # The arithmetic stays what it was, even if it was chosen on another machine.
    chosen = train.model_copy(update={"precision": resume.read_values(latest).get("precision", "auto")})
    model, _ = first_model(model_settings, tokenizer, train, adapted_source(out, config) if train.adapter else None)
    trainer = _trainer(model, tokenizer, splits, chosen, out, sample, started, world)
    try:
        trainer.resume(latest)
    except MISFITS as error:
        raise RunError(f"{latest} is damaged: {error!r}", hint="Restore it, or start a new run") from None
    if any(getattr(train, limit) != getattr(before, limit) for limit in LIMITS):
        trainer.position.evals_since_best = 0  # given more time, a run that stopped early has its patience anew
    sections: dict[str, Any] = {name: config[name] for name in KEPT if name in config}
    sections["train"] = train.model_dump(mode="json")
    return Session(out, tokenizer, splits, sections, trainer)


def data_of(run: Path, config: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, TokenFiles | Mixture]:
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
    return _open(folders, mix, tokenizer)


def _check_rows(train: TrainConfig, world: World) -> None:
    """Raises UsageError if a batch of text has fewer rows than there are processes. One of whole examples may."""
    if not train.batch_tokens:
        world.check_rows(train.batch_size)


def _tidy(out: Path) -> None:
    """Remove what a killed process left of a run. Raises RunError if there is none, or nothing to go on from."""
    read_config(out)
    resume.sweep(out)
    if not resume.checkpoints(out):
        raise RunError(f"{out} has no checkpoint to resume from", hint="Start anew without --resume")


def _reopen(out: Path) -> tuple[dict[str, Any], Tokenizer, ModelConfig, TrainConfig, dict[str, TokenFiles | Mixture]]:
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


def _join(out: Path, source: Run | None, sample: Sampler | None, started: float, world: World) -> Session:
    """The run that the first process has just made, as another one sees it: the same model, from the same seed."""
    _, tokenizer, model_settings, train, splits = _reopen(out)
    model, _ = first_model(model_settings, tokenizer, train, source)
    return Session(out, tokenizer, splits, {}, _trainer(model, tokenizer, splits, train, out, sample, started, world))


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


def _trainer(
    model: LanguageModel,
    tokenizer: Tokenizer,
    splits: dict[str, TokenFiles | Mixture],
    config: TrainConfig,
    out: Path,
    sample: Sampler | None,
    started: float,
    world: World,
) -> Trainer:
    train = splits["train"]
    files = splits.get("valid", train)
    write = _asking(sample, tokenizer, files, model.max_seq_len) if sample else None
    copied = partial(copied_text_from, train, tokenizer)
    merges = tokenizer.merges() if config.token_dropout else None
    return Trainer(model, train, splits.get("valid"), config, out, write, started, copied, world, merges)


def _asking(
    sample: Sampler, tokenizer: Tokenizer, files: TokenFiles | Mixture, limit: int | None
) -> Callable[[LanguageModel], tuple[str, str]]:
    """`sample` with the first prompt, or the end of it that leaves half a context for the answer."""
    ids, prompt = next(files.examples())
    first = 0 if limit is None else max(0, prompt - limit // 2)
    asked = ids[first:prompt].tolist()
    plain = tokenizer.special_ids.isdisjoint(asked)
    question = tokenizer.decode(asked) if plain else [tokenizer.bos_id, *asked]
    return lambda model: sample(model, tokenizer, question)


def _place(data: Path, run: Path) -> str:
    """Where the data of a run is: relative to the run if it is in there."""
    return data.relative_to(run).as_posix() if data.is_relative_to(run) else str(data.resolve())


def _open(
    folders: Mapping[str, Path], mix: MixConfig, tokenizer: Tokenizer, tell: bool = True
) -> dict[str, TokenFiles | Mixture]:
    """The splits, without a validation split that is too small to be one."""
    if mix.corpora:
        return open_mix(folders, mix, tokenizer)
    splits = open_prepared(folders[""], tokenizer)
    if "valid" in splits and splits["valid"].len_tokens < 2:
        if tell:
            logger.warning("the validation split has no text to predict: training goes on without validation")
        del splits["valid"]
    return dict(splits)


def _link(source: str, target: str) -> None:
    """A second name for a file that is never written again; a copy where the file system knows no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
