"""From sources and a recipe to a trained run folder: what `nextword train`, `--resume` and `nextword demo` share.

session = new_run(recipe, sources, out)
for event in session.trainer.run(): ...
session.finish()
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from nextword.checkpoint import WEIGHTS, check_device, check_tokenizer, load_weights, read_config, save_config
from nextword.config import parse
from nextword.data.prepare import Progress, is_prepared, open_prepared, prepare
from nextword.data.token_files import TokenFiles
from nextword.errors import RunError
from nextword.files import write_text
from nextword.models import LanguageModel, build_model, model_config
from nextword.text.records import ReadConfig, Source, read_records, text_example
from nextword.tokenizers import Tokenizer
from nextword.training import card, resume
from nextword.training.config import TrainConfig
from nextword.training.recipe import complete
from nextword.training.trainer import Trainer

SAMPLE_CHARACTERS = 1_000_000

Sampler = Callable[[LanguageModel, Tokenizer], str]


@dataclass
class Session:
    """A run under way."""

    folder: Path
    tokenizer: Tokenizer
    splits: dict[str, TokenFiles]
    sections: dict[str, Any]
    """What config.json holds beside model and tokenizer."""
    trainer: Trainer

    def finish(self) -> dict[str, Any]:
        """Write down what the run reached: config.json, the model card, the loss plot. Returns the figures."""
        trainer, position = self.trainer, self.trainer.position
        figures: dict[str, Any] = {
            "parameters": trainer.model.num_parameters(),
            "steps": position.step,
            "epochs": round(trainer.batches.epoch, 3),
            "tokens": position.tokens,
            "seconds": round(position.seconds, 1),
            "tokens_per_s": round(position.tokens / max(position.step_seconds, 1e-9), 1),
            "precision": trainer.precision,
        }
        if trainer.best:
            figures["validation"] = trainer.best.to_dict() | {"step": position.best_step}
        self.sections["figures"] = figures
        save_config(self.folder, trainer.model, self.tokenizer, self.sections)
        write_text(self.folder / "README.md", card.model_card(self.folder.name, read_config(self.folder)))
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
) -> Session:
    """Prepare the data, build the model, and be ready to train.

    `values` are the sections of a recipe. `sources` are raw text, or one prepared folder. Raises UsageError,
    DataError, and RunError if `out` holds another run and `overwrite` is not set.
    """
    started = time.monotonic() if started is None else started
    place = check_device(device)
    _clear(out, overwrite)
    prepared = len(sources) == 1 and isinstance(sources[0], str | Path) and is_prepared(sources[0])
    recipe = complete(values, "" if prepared else _peek(values, sources), size)
    if prepared:
        folder = Path(str(sources[0]))
        splits = open_prepared(folder, Tokenizer.load(folder))
        splits["train"].check_sources()
    else:
        folder = out / "data"
        splits = prepare(
            sources,
            folder,
            recipe.tokenizer,
            valid_sources=valid,
            read=recipe.data,
            split=recipe.split,
            progress=progress,
        )
    tokenizer = Tokenizer.load(folder)
    torch.manual_seed(recipe.train.seed)
    model = build_model(model_config(recipe.model | {"vocab_size": tokenizer.vocab_size})).to(place)
    described = {"folder": str(folder.resolve()), "sources": [s.path for s in splits["train"].index.sources]}
    sections = recipe.sections() | {"corpus": described}
    trainer = _trainer(model, tokenizer, splits, recipe.train, out, sample, started)
    save_config(out, model, tokenizer, sections)
    return Session(out, tokenizer, splits, sections, trainer)


def resume_run(
    out: Path,
    changes: Mapping[str, Any] | None = None,
    *,
    sample: Sampler | None = None,
    device: str = "cpu",
    started: float | None = None,
) -> Session:
    """Go on from the latest checkpoint of a run; `changes` to section [train] may lengthen it.

    Raises RunError if there is nothing to resume, or if its data is gone.
    """
    started = time.monotonic() if started is None else started
    config = read_config(out)
    if not resume.checkpoints(out):
        raise RunError(f"{out} has no checkpoint to resume from", hint="Start anew without --resume")
    splits = open_prepared(config["corpus"]["folder"])
    tokenizer = Tokenizer.load(out)
    check_tokenizer(out, config, tokenizer)
    model = build_model(model_config(config["model"])).to(check_device(device))
    changes = dict(changes or {})
    before = dict(config["train"])
    if any(changes.get(limit) for limit in ("budget", "steps", "epochs")):
        before |= {"budget": 0.0, "steps": 0, "epochs": 0.0}
    train = parse(TrainConfig, before | changes, "train")
    trainer = _trainer(model, tokenizer, splits, train, out, sample, started)
    trainer.resume()
    sections: dict[str, Any] = {name: config[name] for name in ("data", "split", "corpus") if name in config}
    sections["train"] = train.model_dump(mode="json")
    return Session(out, tokenizer, splits, sections, trainer)


def _trainer(
    model: LanguageModel,
    tokenizer: Tokenizer,
    splits: dict[str, TokenFiles],
    config: TrainConfig,
    out: Path,
    sample: Sampler | None,
    started: float,
) -> Trainer:
    write = (lambda model: sample(model, tokenizer)) if sample else None
    return Trainer(model, splits["train"], splits.get("valid"), config, out, write, started)


def best_model(session: Session) -> LanguageModel:
    """The model with the weights that were kept, in evaluation mode."""
    load_weights(session.folder / WEIGHTS, session.trainer.model)
    return session.trainer.model.eval()


def _peek(values: Mapping[str, Mapping[str, Any]], sources: Sequence[Source]) -> str:
    """Some of the text, to choose a tokenizer and a size by; standard input is left alone."""
    if any(source == "-" for source in sources):
        return " " * SAMPLE_CHARACTERS
    config = parse(ReadConfig, values.get("data", {}), "data")
    pieces: list[str] = []
    size = 0
    for record in islice(read_records(sources, config), 200_000):
        text = text_example(record, config.text_field).target
        pieces.append(text[: SAMPLE_CHARACTERS - size])
        size += len(pieces[-1])
        if size >= SAMPLE_CHARACTERS:
            break
    return "\n".join(pieces)


def _clear(out: Path, overwrite: bool) -> None:
    """Make sure `out` is free for a new run. Raises RunError."""
    if not out.exists():
        return
    if not out.is_dir():
        raise RunError(f"{out} is a file, expected a folder to write", hint="Give another --out")
    ours = (out / "config.json").is_file() or not any(out.iterdir()) or [p.name for p in out.iterdir()] == ["data"]
    if not ours:
        raise RunError(f"{out} holds other things, and no run", hint="Give another --out")
    if (out / "config.json").is_file():
        if not overwrite:
            raise RunError(
                f"{out} already holds a run",
                hint="Go on with it by --resume, replace it by --overwrite, or give another --out",
            )
        for path in out.iterdir():
            if path.name != "data":  # token files that are still current are used again
                shutil.rmtree(path) if path.is_dir() else path.unlink()


__all__ = ["Session", "best_model", "new_run", "resume_run"]
