"""A recipe: all settings of a run, from a TOML file, from the command line, and from defaults that suit the model.

    [task]       what it is for            (nextword.tasks, which the command asks)
    [data]       how text is read          (nextword.text.records.ReadConfig)
    [mix]        several corpora, in shares (nextword.data.mixture.MixConfig)
    [split]      what is held out          (nextword.data.prepare.SplitConfig)
    [tokenizer]  how it is cut into tokens (nextword.tokenizers.TokenizerConfig)
    [model]      the network               (nextword.models)
    [train]      how it is trained         (TrainConfig)

What a recipe leaves open is filled in by `complete`, from the kind of model and the text at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nextword.config import Config, parse, to_toml
from nextword.data.mixture import MixConfig
from nextword.data.splits import SplitConfig
from nextword.errors import UsageError, did_you_mean
from nextword.models import model_config
from nextword.text.records import ReadConfig
from nextword.text.scripts import share_in
from nextword.tokenizers import TokenizerConfig
from nextword.training.budget import GATES, Plan, plan
from nextword.training.config import TrainConfig
from nextword.training.logs import check_wandb

SECTIONS = ("task", "data", "mix", "split", "tokenizer", "model", "train")

SIZES: dict[str, dict[str, dict[str, int]]] = {
    "transformer": {
        "tiny": {"num_layers": 2, "hidden_size": 128, "num_heads": 4, "max_seq_len": 128},
        "small": {"num_layers": 4, "hidden_size": 256, "num_heads": 4, "max_seq_len": 128},
        "medium": {"num_layers": 6, "hidden_size": 384, "num_heads": 6, "max_seq_len": 256},
        "large": {"num_layers": 12, "hidden_size": 768, "num_heads": 12, "max_seq_len": 512},
    },
    "encoder-decoder": {
        "tiny": {"num_layers": 2, "hidden_size": 128, "num_heads": 4, "max_seq_len": 256},
        "small": {"num_layers": 3, "hidden_size": 256, "num_heads": 4, "max_seq_len": 256},
        "medium": {"num_layers": 4, "hidden_size": 384, "num_heads": 6, "max_seq_len": 256},
        "large": {"num_layers": 6, "hidden_size": 512, "num_heads": 8, "max_seq_len": 512},
    },
    "recurrent": {
        "tiny": {"num_layers": 1, "hidden_size": 256},
        "small": {"num_layers": 1, "hidden_size": 512},
        "medium": {"num_layers": 2, "hidden_size": 768},
        "large": {"num_layers": 3, "hidden_size": 1152},
    },
    "attention": {
        "tiny": {"num_layers": 1, "hidden_size": 128},
        "small": {"num_layers": 1, "hidden_size": 256},
        "medium": {"num_layers": 1, "hidden_size": 512},
        "large": {"num_layers": 2, "hidden_size": 768},
    },
}
"""What --size sets in section [model]."""

# Measured on two cores with Moby Dick, Tang poems, Multi30k and Tatoeba; see LOG.md. Those that read pairs have
# batches of more tokens: 16 or 64 rows of a whole context are 4,096.
TRAIN_DEFAULTS: dict[str, dict[str, Any]] = {
    "transformer": {"optimizer": "muon", "learning_rate": 6e-3, "warmup_steps": 30, "batch_size": 8},
    "encoder-decoder": {"optimizer": "muon", "learning_rate": 6e-3, "warmup_steps": 30, "batch_size": 16},
    "recurrent": {"optimizer": "adamw", "learning_rate": 4e-3, "warmup_steps": 30, "batch_size": 16},
    "attention": {"optimizer": "muon", "learning_rate": 6e-3, "warmup_steps": 30, "batch_size": 64},
}
TINY_DEFAULTS: dict[str, dict[str, Any]] = {
    "encoder-decoder": {"batch_size": 4},
    "attention": {"batch_size": 16},
}
"""Of --size tiny, in place of these: a few thousand pairs are learned by more steps, not by larger ones."""
MODEL_DEFAULTS: dict[str, dict[str, Any]] = {
    "transformer": {},
    "encoder-decoder": {"dropout": 0.1},
    "recurrent": {"tied": True, "dropout": 0.2},
    "attention": {"tied": True, "dropout": 0.2},
}

# For weights that were trained before: small steps, by common practice. Not measured here.
FINE_TUNING: dict[str, Any] = {"optimizer": "adamw", "learning_rate": 2e-5, "warmup_steps": 10}
ADAPTING: dict[str, Any] = FINE_TUNING | {"learning_rate": 2e-4}
LONGEST_ROW = 1024  # tokens, of a model that could read more
ROWS = {"batch_size": 1, "accumulate": 8}  # a row at a time: what the layers keep of it outweighs the weights

SIZED = frozenset({"num_layers", "hidden_size"})
"""Settings of [model] that make its size."""

DEFAULT_BUDGET = 300.0  # seconds, when nothing says how long
LIMITS = ("budget", "steps", "epochs")
"""The settings of [train] that say how long; a run has one of them."""


@dataclass(frozen=True)
class Recipe:
    """Checked settings; `model` becomes a ModelConfig once the vocabulary is known."""

    data: ReadConfig
    mix: MixConfig
    split: SplitConfig
    tokenizer: TokenizerConfig
    model: dict[str, Any]
    train: TrainConfig
    reasons: tuple[str, ...] = ()
    """Why a time budget led to these settings, a line each; empty where it did not choose."""

    def sections(self) -> dict[str, Any]:
        """For config.json, where `recipe` reads it back."""
        mix = {"mix": self.mix.model_dump(mode="json")} if self.mix.corpora else {}
        return mix | {
            "data": self.data.model_dump(mode="json"),
            "split": self.split.model_dump(mode="json"),
            "train": self.train.model_dump(mode="json"),
        }


def commented(recipe: Recipe, task: Config | None = None) -> str:
    """Every setting of a recipe as TOML, with its description: what `--config` reads. `task` is section [task]."""
    return to_toml(
        ({"task": task} if task else {})
        | {
            "data": recipe.data,
            "mix": recipe.mix,
            "split": recipe.split,
            "tokenizer": recipe.tokenizer,
            "model": model_config(recipe.model),
            "train": recipe.train,
        }
    )


def begun(values: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """`values` for a run that begins with the weights of another one, whose config.json is `config`.

    The model is that of the other run. Weights from elsewhere, and adapters, are trained by other rules than new ones.
    """
    check_sections(values)
    model = {key: value for key, value in config["model"].items() if key != "vocab_size"} | dict(
        values.get("model", {})
    )
    train = dict(values.get("train", {}))
    defaults: dict[str, Any] = {"weight_decay": 0.0}  # what was learned from another text is not to be forgotten
    if "origin" in config:
        defaults |= FINE_TUNING | {"context": min(LONGEST_ROW, model.get("max_seq_len") or LONGEST_ROW)}
        defaults |= {} if train.keys() & {"batch_size", "batch_tokens"} else ROWS
    if train.get("adapter") is not None:
        defaults |= ADAPTING
    return dict(values) | {"model": model, "train": defaults | train}


def family(model_type: str) -> str:
    """transformer, encoder-decoder, recurrent or attention (recurrent with it): which row of the tables above."""
    if model_type == "prefix-lm":  # for pairs, too
        return "encoder-decoder"
    if model_type.endswith("-attention"):
        return "attention"
    return model_type if model_type in SIZES else "recurrent"


def check_sections(values: Mapping[str, Any]) -> None:
    """Raises UsageError for a section no recipe has, and for a section that is not a table."""
    for name, section in values.items():
        if name not in SECTIONS:
            raise UsageError(f"[{name}]: unknown section. {did_you_mean(name, SECTIONS)}")
        if not isinstance(section, Mapping):
            raise UsageError(f"{name}: expected a section [{name}], got {section!r}")


def complete(
    values: Mapping[str, Mapping[str, Any]], sample: str, size: str = "", rate: float = 0.0, characters: int = 0
) -> Recipe:
    """Fill in what `values` leaves open, and check everything.

    `sample` is some of the training text (a megabyte is plenty); `size` is a name in SIZES. At a measured `rate` of
    operations per second, 0 = not measured, a time budget chooses model and training for a text of so many
    `characters`, unless a size is given. Raises UsageError.
    """
    check_sections(values)
    cut = dict(values.get("tokenizer", {}))
    if "type" not in cut:
        cut = _tokenizer_for(sample) | cut
    given = dict(values.get("model", {}))
    planned = Plan({}, {}, ())
    if rate and chooses_by_time(values, size):
        planned = _planned(values, sample, cut, rate, characters)
        given = planned.model | given
    kind = str(given.get("type", "transformer"))
    row = family(kind)
    if size and size not in SIZES[row]:
        raise UsageError(f"--size: unknown size {size!r}. {did_you_mean(size, SIZES[row])}")
    size = size or _size_for(sample)
    model = {"type": kind} | MODEL_DEFAULTS[row] | SIZES[row][size] | given
    defaults = TRAIN_DEFAULTS[row] | (TINY_DEFAULTS.get(row, {}) if size == "tiny" else {})
    settings = defaults | planned.train | dict(values.get("train", {}))
    if not any(limit in settings for limit in LIMITS):
        settings["budget"] = DEFAULT_BUDGET
    train = parse(TrainConfig, settings, "train")
    check_limit(train)
    check_wandb(train.wandb)
    if row == "transformer" and "max_seq_len" not in given and train.context:
        model["max_seq_len"] = train.context
    model_config(model)  # a mistake shows before the data is read
    return Recipe(
        data=parse(ReadConfig, values.get("data", {}), "data"),
        mix=parse(MixConfig, values.get("mix", {}), "mix"),
        split=parse(SplitConfig, values.get("split", {}), "split"),
        tokenizer=parse(TokenizerConfig, cut, "tokenizer"),
        model=model,
        train=train,
        reasons=planned.reasons,
    )


def chooses_by_time(values: Mapping[str, Mapping[str, Any]], size: str) -> bool:
    """Whether a time budget has something to choose: no size is given, nothing else limits the run, and the rules know
    the kind of model. Raises UsageError for a section that is none."""
    check_sections(values)
    train, model = values.get("train", {}), values.get("model", {})
    others = any(train.get(limit) for limit in LIMITS if limit != "budget")
    known = model.get("type", "transformer") in ("transformer", *GATES)
    return known and not size and not others and not SIZED & model.keys()


def _planned(
    values: Mapping[str, Mapping[str, Any]], sample: str, cut: Mapping[str, Any], rate: float, characters: int
) -> Plan:
    """What the rules of `budget` say. Raises UsageError for a budget that is none."""
    seconds = parse(TrainConfig, {"budget": values.get("train", {}).get("budget", DEFAULT_BUDGET)}, "train").budget
    characters_per_token = {"char": 1.0, "byte": 1.0, "word": 5.0}.get(str(cut["type"]), 3.0)
    vocab_size = len(set(sample)) if cut["type"] in ("char", "byte") else int(cut.get("vocab_size") or 4096)
    model = values.get("model", {})
    kind = str(model.get("type", "transformer" if model else ""))  # other settings of a model are those of one kind
    planned = plan(kind, seconds, rate, characters or len(sample), characters_per_token, vocab_size)
    told = f"tokenizer: {cut['type']}, " + (
        "as asked for" if values.get("tokenizer", {}).get("type") else "for this script and amount of text"
    )
    return replace(planned, reasons=(planned.reasons[0], told, *planned.reasons[1:]))


def check_limit(train: TrainConfig) -> None:
    """Raises UsageError if nothing would ever end the training."""
    if not any(getattr(train, limit) for limit in LIMITS):
        raise UsageError("train: nothing says how long", hint="Give --budget, --steps or --epochs, greater than 0")


def _size_for(sample: str) -> str:
    """A size that learns from this much text rather than memorises it."""
    return "tiny" if len(sample.encode()) < 200_000 else "small"


def _tokenizer_for(sample: str) -> dict[str, Any]:
    """Characters for Chinese and for very little text; else a BPE vocabulary that grows with the text."""
    size = len(sample.encode())
    if size < 100_000 or share_in(sample, ["Han"]) > 0.3:
        return {"type": "char"}
    return {"type": "bpe", "vocab_size": 1024 if size < 1_000_000 else 4096}
