"""A sweep: one training after another with settings varied, as a grid of all combinations or drawn at random.

    method = "random"                     # or "grid"
    trials = 20
    seed = 0
    [vary]
    train.learning_rate = { low = 1e-4, high = 1e-2, log = true }
    model.hidden_size = [128, 256, 384]

`plan` makes the trials, `Ledger` remembers what became of them in `sweep.json`. Trains nothing itself.
"""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from nextword.config import Config, parse, read_json
from nextword.data.mixture import MixConfig
from nextword.data.splits import SplitConfig
from nextword.errors import RunError, UsageError, did_you_mean
from nextword.files import write_json
from nextword.models import MODELS
from nextword.text.records import ReadConfig
from nextword.tokenizers import TokenizerConfig
from nextword.training.config import TrainConfig
from nextword.training.recipe import LIMITS, SECTIONS

LEDGER = "sweep.json"
MOST_TRIALS = 10_000
MOST_DRAWS = 1000  # in a row that were there before, until it is clear that there are no others
DIGITS = 3  # of a number drawn at random: as many as one would write

FINISHED, STOPPED, INTERRUPTED, FAILED = "finished", "stopped", "interrupted", "failed"


class Range(Config):
    """Numbers from `low` to `high`, whole ones if both are."""

    low: int | float
    """The least."""
    high: int | float
    """The greatest."""
    log: bool = False
    """Every power of ten is as likely as the next: for learning rates, sizes, weight decay."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"expected low below high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range begins above 0, got {self.low}")
        return self

    def at(self, share: float) -> int | float:
        """The number that lies `share` of the way, from 0 to 1."""
        if isinstance(self.low, int) and isinstance(self.high, int):  # each whole number is as wide as the others
            low, high = self.low - 0.5, self.high + 0.5
            return min(max(round(self._between(max(low, 0.5) if self.log else low, high, share)), self.low), self.high)
        return min(max(float(f"{self._between(self.low, self.high, share):.{DIGITS}g}"), self.low), self.high)

    def _between(self, low: float, high: float, share: float) -> float:
        return low * (high / low) ** share if self.log else low + (high - low) * share


class SweepConfig(Config):
    """What a sweep tries."""

    method: Literal["grid", "random"] = "grid"
    """grid: every combination, the last setting varied fastest. random: draws (Bergstra & Bengio 2012)."""
    trials: int = Field(default=0, ge=0, le=MOST_TRIALS)
    """Of random: how many; the first ones of a longer sweep are those of a shorter one."""
    seed: int = Field(default=0, ge=0)
    """Of random."""
    early_stop: bool = False
    """Stop a trial that is worse than the median of the finished ones at the same share of its way."""
    vary: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """section.key = a list of values, or { low, high, log }."""


@dataclass
class Trial:
    """One training of a sweep, and what became of it."""

    name: str
    """Its folder."""
    settings: dict[str, Any]
    """section.key -> value."""
    status: str = ""
    """finished, stopped, interrupted or failed; "" if it has not ended yet."""
    error: str = ""
    """Why it failed."""
    figures: dict[str, Any] = field(default_factory=dict)
    """As in config.json of the run."""
    curve: list[tuple[float, float]] = field(default_factory=list)
    """(share of the run, validation loss) of each evaluation."""

    @property
    def over(self) -> bool:
        """It is not to be trained any further."""
        return self.status in (FINISHED, STOPPED)

    def figure(self, name: str) -> float:
        """A figure of the validation: loss, bits_per_byte; infinite if there is none."""
        return self.figures.get("validation", {}).get(name, math.inf)


def read_sweep(values: Mapping[str, Any]) -> SweepConfig:
    """Check a sweep file. Raises UsageError: an unknown key, nothing to vary, a value that is no choice."""
    config = parse(SweepConfig, values)
    if not any(config.vary.values()):
        raise UsageError("the sweep varies nothing", hint="Add, say: [vary] train.learning_rate = [1e-3, 3e-3]")
    for key, choice in choices(config).items():
        if config.method == "grid" and isinstance(choice, Range):
            raise UsageError(f'{key}: a grid needs a list of values, got a range. Use method = "random" for ranges')
    if config.method == "random" and not config.trials:
        raise UsageError("trials: a random sweep needs to be told how many", hint="Add, say: trials = 20")
    if config.method == "grid" and config.trials:
        raise UsageError('trials: a grid has as many as it has combinations. Leave it out, or use method = "random"')
    plan(config)
    return config


def choices(config: SweepConfig) -> dict[str, list[Any] | Range]:
    """section.key -> what it may be. Raises UsageError for a key that no recipe has."""
    found: dict[str, list[Any] | Range] = {}
    for section, keys in config.vary.items():
        if section not in SECTIONS:
            raise UsageError(f"vary.{section}: unknown section. {did_you_mean(section, SECTIONS)}")
        for key, given in keys.items():
            known = _known(section)
            if key not in known:
                raise UsageError(f"vary.{section}.{key}: unknown key. {did_you_mean(key, known)}")
            found[f"{section}.{key}"] = _choice(f"vary.{section}.{key}", given)
    limits = [key for key in found if key in [f"train.{limit}" for limit in LIMITS]]
    if len(limits) > 1:
        raise UsageError(f"vary.{limits[0]} and vary.{limits[1]}: one setting says how long, not two")
    return found


def _known(section: str) -> list[str]:
    """The keys of a section; of the model's, those of any."""
    configs: dict[str, type[Config]] = {"data": ReadConfig, "split": SplitConfig, "tokenizer": TokenizerConfig}
    configs |= {"mix": MixConfig, "train": TrainConfig}
    classes = [entry.config for entry in MODELS.values()] if section == "model" else [configs[section]]
    return list(dict.fromkeys(name for cls in classes for name in cls.model_fields))


def _choice(key: str, given: Any) -> list[Any] | Range:
    if isinstance(given, dict):
        return parse(Range, given, key)
    if not isinstance(given, list):
        raise UsageError(f"{key}: expected a list of values, or {{ low, high, log }}, got {given!r}")
    if not given:
        raise UsageError(f"{key}: an empty list", hint="Give it values, or leave it out")
    if len({json.dumps(value) for value in given}) < len(given):
        raise UsageError(f"{key}: a value is there twice in {given}")
    return given


def plan(config: SweepConfig) -> list[Trial]:
    """The trials of a sweep, in order, no two with the same settings. Raises UsageError if there are not so many."""
    varied = choices(config)
    if config.method == "grid":
        combinations = math.prod(len(choice) for choice in varied.values() if isinstance(choice, list))
        if combinations > MOST_TRIALS:
            raise UsageError(f"the grid has {combinations:,} combinations, more than {MOST_TRIALS:,}. Use random")
        drawn: Iterator[dict[str, Any]] = (dict(zip(varied, row, strict=True)) for row in product(*varied.values()))
    else:
        drawn = _draws(varied, config)
    return [Trial(f"trial-{number:03}", settings) for number, settings in enumerate(drawn, start=1)]


def _draws(varied: Mapping[str, list[Any] | Range], config: SweepConfig) -> Iterator[dict[str, Any]]:
    """As many as `trials` says, all different."""
    rng, known = random.Random(config.seed), set[str]()
    for _ in range(config.trials):
        for _ in range(MOST_DRAWS):  # random() alone is the same in every version of Python
            settings = {
                key: choice.at(rng.random()) if isinstance(choice, Range) else choice[int(rng.random() * len(choice))]
                for key, choice in varied.items()
            }
            if json.dumps(settings) not in known:
                break
        else:
            raise UsageError(f"trials: there are only {len(known)} different ones, expected {config.trials}")
        known.add(json.dumps(settings))
        yield settings


def applied(values: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections of a recipe with the settings of a trial put in. One that says how long replaces any other."""
    result = {section: dict(keys) for section, keys in values.items()}
    for name, value in settings.items():
        section, key = name.split(".")
        keys = result.setdefault(section, {})
        if section == "train" and key in LIMITS:
            for limit in LIMITS:
                keys.pop(limit, None)
        keys[key] = value
    return result


class Ledger:
    """`sweep.json`: what the sweep tries, on what, and what became of each trial."""

    def __init__(self, folder: Path, config: SweepConfig, base: Mapping[str, Any]) -> None:
        """`base` is all else that a trial depends on, as JSON. Takes up what an earlier process wrote down.

        Raises RunError if that was another sweep.
        """
        self.path = folder / LEDGER
        self.config, self.base = config, json.loads(json.dumps(base))
        self.trials = plan(config)
        if self.path.exists():
            self._take_up()

    def _take_up(self) -> None:
        try:
            before = read_json(self.path)
            known = {row["name"]: Trial(**row) for row in before["trials"]}
            same = before["sweep"] | before["base"]
        except (UsageError, KeyError, TypeError) as error:
            raise RunError(f"{self.path} is damaged: {error}", hint="Restore it, or use --overwrite") from None
        now = self._sweep() | self.base
        # More trials of a random sweep begin with those that were there, so that it can be lengthened.
        changed = [key for key in now if key not in ("trials", "early_stop") and same.get(key) != now[key]]
        if changed:
            raise RunError(
                f"{self.path.parent} holds another sweep: {changed[0]} differs",
                hint="Give another --out, or replace it by --overwrite",
            )
        self.trials = [known.get(trial.name, trial) for trial in self.trials]

    def _sweep(self) -> dict[str, Any]:
        return self.config.model_dump(mode="json")

    def write(self) -> None:
        """Put down how things stand, atomically."""
        rows = [asdict(trial) for trial in self.trials]
        write_json(self.path, {"sweep": self._sweep(), "base": self.base, "trials": rows})

    @property
    def measure(self) -> str:
        """What trials are compared by: the loss, or bits per byte where tokens are not the same in all of them."""
        sections = {key.split(".")[0] for key in choices(self.config)}
        return "bits_per_byte" if sections & {"tokenizer", "data", "split"} else "loss"

    def ranked(self) -> list[Trial]:
        """The trials, the best first, those without a result last."""
        return sorted(self.trials, key=lambda trial: trial.figure(self.measure))

    def hopeless(self, curve: Sequence[tuple[float, float]]) -> bool:
        """Whether a trial with these evaluations is worse than half of the finished ones were by then.

        The median rule of Vizier (Golovin et al. 2017), from the third evaluation on and after four trials.
        """
        if not self.config.early_stop or self.measure != "loss" or len(curve) < 3:
            return False
        share, best = curve[-1][0], min(loss for _, loss in curve)
        others = [
            [loss for when, loss in trial.curve if when <= share + 0.01]
            for trial in self.trials
            if trial.status == FINISHED
        ]
        by_then = [min(losses) for losses in others if losses]
        return len(by_then) >= 4 and best > statistics.median(by_then)


__all__ = ["FAILED", "FINISHED", "INTERRUPTED", "LEDGER", "STOPPED", "Ledger", "Range", "SweepConfig", "Trial"]
