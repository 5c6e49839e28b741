"""From sources and a recipe to a run folder with a model in it that is ready to be trained.

Everything is made in a folder of its own, and takes the place of an older run once it is ready: whatever goes wrong on
the way leaves that as it was.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nextword.checkpoint import GENERATION, Run, check_device, load_run, read_generation, save_config
from nextword.config import Config, parse
from nextword.data.prepare import is_prepared, prepare
from nextword.data.splits import Progress
from nextword.data.token_index import read_index
from nextword.errors import RunError, UsageError
from nextword.files import write_json, write_text
from nextword.models import model_config
from nextword.text.records import ReadConfig, Source
from nextword.text.rereading import rereadable
from nextword.tokenizers import Tokenizer
from nextword.tokenizers.chat import CHAT_TEMPLATE, ChatTokenizer
from nextword.training.beginning import first_model, weights_digest
from nextword.training.distributed import World
from nextword.training.environment import environment
from nextword.training.memory import check_disk, check_memory
from nextword.training.mixing import mixes, prepare_mix
from nextword.training.recipe import Recipe, begun
from nextword.training.run_folder import DATA, check_free, inherit, replacing_run
from nextword.training.session import Sampler, Session, check_rows, join_run, open_splits, trainer_for
from nextword.training.settling import settle, settle_prepared
from nextword.training.transplant import Transplant

GIVE_SOURCE = "Name the run to begin with: --init-from RUN"


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
    with the weights of: its tokenizer and its model are those of the new one, but for what `values` say.

    Raises UsageError, DataError, and RunError if `out` holds another run and `overwrite` is not set, holds other
    things, or cannot be written.
    """
    started = time.monotonic() if started is None else started
    world = world or World(check_device(device))
    source = None if init_from is None else load_run(init_from)
    if not world.leads:
        world.sum()  # the first has made the run
        return join_run(out, source, sample, started, world)
    check_free(out, overwrite, "Go on with it by --resume, replace it by --overwrite, or give another --out")
    if source is None:
        _check_for_no_source(values, template)
    else:
        values = begun(values, source.config)
    if mixes(values) and (sources or valid):
        raise UsageError("DATA beside [mix]", hint="Name all text in [mix], held-out text too")
    try:
        with rereadable([sources, valid]) as (sources, valid), replacing_run(out) as folder:
            if len(sources) == 1 and isinstance(sources[0], str | Path) and is_prepared(sources[0]):
                folders = {"": Path(sources[0])}
                recipe = settle_prepared(values, folders[""], valid, size, world.device)
            else:
                recipe = settle(values, sources, size, world.device)
                check_memory(model_config(recipe.model | {"vocab_size": 1}), recipe.train, world)  # before long work
                kept = None if "tokenizer" in values else source  # whose tokenizer goes on
                taught = None if kept is None else kept.tokenizer
                if recipe.mix.corpora:
                    folders = prepare_mix(recipe, folder / DATA, taught, progress)
                else:
                    folders = {"": folder / DATA}
                    if is_prepared(out / DATA):  # token files that are still current are used again
                        shutil.copytree(out / DATA, folder / DATA, copy_function=_link)
                    prepare(
                        sources,
                        folder / DATA,
                        taught or recipe.tokenizer,
                        valid_sources=valid,
                        read=recipe.data,
                        split=recipe.split,
                        template=_spoken(recipe, template, kept),
                        progress=progress,
                    )
            check_rows(recipe.train, world)
            tokenizer = Tokenizer.load(next(iter(folders.values())))
            settings = model_config(recipe.model | {"vocab_size": tokenizer.vocab_size})
            check_memory(settings, recipe.train, world)
            check_disk(settings, recipe.train, out)
            model, taken = first_model(settings, tokenizer, recipe.train, source)
            splits = open_splits(folders, recipe.mix, tokenizer, tell=False)
            # What can fail does so while there is a way back.
            trial = trainer_for(model, tokenizer, splits, recipe.train, out, sample, started, World(model.device))
            recipe = replace(recipe, train=trial.config)  # with what the data settled
            places = {name: _place(path, folder) for name, path in folders.items()}
            where: dict[str, Any] = {"folders": places} if recipe.mix.corpora else {"folder": places[""]}
            where |= {"sources": _read(folders, corpus), "apart": trial.batches.whole_examples}
            sections = recipe.sections() | {"corpus": where, "environment": environment(world.device)}
            if recipe.reasons:
                sections["chosen"] = list(recipe.reasons)
            if source is not None:
                sections["init"] = _init(recipe, source, taken)
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
        splits = open_splits({name: out / path for name, path in places.items()}, recipe.mix, tokenizer)
        world.sum()  # the others may open it
        trainer = trainer_for(model, tokenizer, splits, recipe.train, out, sample, started, world)
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error.strerror or error}") from None
    return Session(out, tokenizer, splits, sections, trainer)


def _check_for_no_source(values: Mapping[str, Mapping[str, Any]], template: str) -> None:
    """Raises UsageError for what only a run that begins with the weights of another one can learn."""
    if parse(ReadConfig, values.get("data", {}), "data").conversations and not template:
        raise UsageError("data.conversations: they are read as a model that chats has them", hint=GIVE_SOURCE)
    if values.get("train", {}).get("adapter") is not None:
        raise UsageError("train.adapter: only weights that were trained before can be adapted", hint=GIVE_SOURCE)


def _spoken(recipe: Recipe, template: str, kept: Run | None) -> str:
    """The chat template by which conversations are learned, "" for other text: the one given, or that of the run whose
    tokenizer is kept."""
    if not recipe.data.conversations:
        return ""
    return template if template or kept is None else ChatTokenizer.load(kept.folder, kept.tokenizer).template


def _read(folders: Mapping[str, Path], corpus: str) -> list[str]:
    """The names of what was read for the training splits: files, and `corpus` for what is none."""
    names = [file.path for folder in folders.values() for file in read_index(folder / "train").sources]
    return names + ([corpus] if corpus else [])


def _init(recipe: Recipe, source: Run, taken: Transplant) -> dict[str, str]:
    """What config.json says of the run that this one begins with."""
    section = {"from": str(source.folder), "taken": str(taken)}
    if recipe.train.adapter:  # checkpoints have the adapters only
        section |= {"folder": str(source.folder.resolve()), "sha256": weights_digest(source.folder)}
    return section


def _place(data: Path, run: Path) -> str:
    """Where the data of a run is: relative to the run if it is in there."""
    return data.relative_to(run).as_posix() if data.is_relative_to(run) else str(data.resolve())


def _link(source: str, target: str) -> None:
    """A second name for a file that is never written again; a copy where the file system knows no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
