"""The average of several weights of one model: of checkpoints of a run, or of runs that began alike.

Late checkpoints of a run lie around one minimum, and their mean lies deeper in it (Izmailov et al. 2018). So do runs
that began with the same weights and were trained in different ways: a model soup (Wortsman et al. 2022), uniform or
greedy. Runs that began with different random weights have nothing to do with each other, and neither has their mean
with them: the validation loss tells.

Reads a tensor at a time: the memory needed is that of one model, however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nextword.checkpoint import (
    GENERATION,
    WEIGHTS,
    Run,
    load_run,
    load_weights,
    read_config,
    save_config,
    save_weights,
)
from nextword.data.mixture import Mixture
from nextword.data.token_files import TokenFiles
from nextword.errors import RunError, UsageError, counted
from nextword.files import write_json, write_text
from nextword.models import LanguageModel
from nextword.tensor_files import read_safetensors
from nextword.tokenizers import Tokenizer
from nextword.training import card, resume
from nextword.training.adapting import ADAPTER
from nextword.training.average import PREFIX
from nextword.training.evaluation import Evaluation, evaluate
from nextword.training.run_folder import CARD, check_free, replacing_run
from nextword.training.session import data_of

UNSEEN = ("dropout", "init_range")
"""What ends the names of settings of a model that change nothing once it is trained."""


@dataclass(frozen=True)
class Ingredient:
    """Weights on the disk."""

    name: str
    file: Path
    prefix: str = ""
    """Goes before the name of each tensor there."""
    loss: float | None = None
    """On validation text, where it is known."""


@dataclass(frozen=True)
class Soup:
    """What was averaged, and what came of it; the losses are None without validation text."""

    used: list[Ingredient]
    left_out: list[Ingredient]
    """By a greedy soup."""
    before: Evaluation | None
    """Of the kept weights of the run; of several, of the best of them."""
    after: Evaluation | None


def of_runs(runs: Sequence[Path]) -> list[Ingredient]:
    """The kept weights of each run. Raises RunError if they are not all of one model and one tokenizer."""
    configs = [read_config(run) for run in runs]
    for run, config in zip(runs[1:], configs[1:], strict=True):
        first, other = _model(configs[0]), _model(config)
        for key in dict.fromkeys([*first, *other]):
            if first.get(key) != other.get(key):
                raise RunError(
                    f"{run} has model.{key} {other.get(key)!r}, {runs[0]} has {first.get(key)!r}",
                    hint="Only runs of the same model can be averaged",
                )
        if config["tokenizer"].get("fingerprint") != configs[0]["tokenizer"].get("fingerprint"):
            raise RunError(
                f"{run} has another tokenizer than {runs[0]}",
                hint="Train them on one folder of `nextword data prepare`",
            )
    return [Ingredient(str(run), run / WEIGHTS) for run in runs]


def last(run: Path, count: int = 0) -> list[Ingredient]:
    """The newest `count` checkpoints of a run, or all there are. Raises RunError if there are fewer than that, or 2."""
    found = resume.checkpoints(run)[::-1]
    return _checkpoints(run, found[: count or None], max(count, 2), "train.keep_checkpoints")


def best(run: Path, count: int) -> list[Ingredient]:
    """The `count` checkpoints of lowest validation loss. Raises RunError if there are fewer with one, or than 2."""
    found = [checkpoint for _, checkpoint in resume.by_loss(resume.checkpoints(run))[:count]]
    return _checkpoints(run, found, max(count, 2), "train.keep_best", "with a validation loss")


def average_runs(
    ingredients: Sequence[Ingredient],
    runs: Sequence[Path],
    out: Path,
    *,
    how: str,
    greedy: bool = False,
    valid: TokenFiles | Mixture | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Callable[[str], object] = lambda said: None,
) -> Soup:
    """Write the mean of `ingredients`, of `runs`, as a run folder of its own; `how` tells of it in config.json.

    With `valid`, the loss on it is measured before and after. A `greedy` soup starts with the best and takes in each
    other, best first, if the mean then has a loss no higher. `progress` is called before each evaluation.

    Raises UsageError for a greedy soup without `valid`, RunError if a file is damaged or `out` is not free.
    """
    if greedy and valid is None:
        raise UsageError("a greedy average needs validation text", hint="Give it by --valid")
    if out.resolve() in [run.resolve() for run in runs]:
        raise UsageError(f"--out {out} is one of the runs to average", hint="Give another folder")
    check_free(out, overwrite)
    source = load_run(runs[0], device)
    train, corpus = source.config.get("train", {}), source.config.get("corpus", {})
    for ingredient in ingredients:
        if not ingredient.prefix:
            load_weights(ingredient.file, source.model)  # whole, and of this shape
    judged: dict[tuple[Ingredient, ...], Evaluation] = {}

    def judge(*chosen: Ingredient) -> Evaluation:
        assert valid is not None
        if chosen not in judged:
            progress(", ".join(ingredient.name for ingredient in chosen))
            fill(source.model, chosen)
            size, context = train.get("batch_size", 16), train.get("context", 0)
            judged[chosen] = evaluate(source.model, valid, size, context, apart=corpus.get("apart") or None)
        return judged[chosen]

    used = _greedy(ingredients, judge) if greedy else list(ingredients)
    before = after = None
    if valid is not None:
        before = min((judge(ingredient) for ingredient in of_runs(runs)), key=lambda result: result.loss)
        after = judge(*used)
    fill(source.model, used)
    _write(out, source, runs, used, how, after)
    return Soup(used, [ingredient for ingredient in ingredients if ingredient not in used], before, after)


def _greedy(ingredients: Sequence[Ingredient], judge: Callable[..., Evaluation]) -> list[Ingredient]:
    """Those that the best one gains by, each in its turn (Wortsman et al. 2022, recipe 1)."""
    first, *others = sorted(ingredients, key=lambda ingredient: judge(ingredient).loss)
    used = [first]
    for ingredient in others:
        if judge(*used, ingredient).loss <= judge(*used).loss:
            used.append(ingredient)
    return used


@torch.no_grad()
def fill(model: LanguageModel, ingredients: Sequence[Ingredient]) -> None:
    """Give the model the mean of some weights, summed in float64, a tensor at a time."""
    for name, parameter in model.named_parameters():
        total = torch.zeros(parameter.shape, dtype=torch.float64)
        for ingredient in ingredients:
            total += _tensor(ingredient, name)
        parameter.copy_(total / len(ingredients))


def validation_of(run: Path, tokenizer: Tokenizer) -> TokenFiles | Mixture | None:
    """The validation split that a run was trained with; None if it has none, or no more."""
    try:
        return data_of(run, read_config(run), tokenizer).get("valid")
    except RunError:
        return None


def _model(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a model that say what it computes."""
    return {key: value for key, value in config["model"].items() if not key.endswith(UNSEEN)}


def _checkpoints(run: Path, found: Sequence[Path], needed: int, setting: str, which: str = "") -> list[Ingredient]:
    config = read_config(run)  # names a folder that is no run
    if (run / ADAPTER).is_file():
        raise UsageError(f"the checkpoints of {run} hold adapters, not models", hint="Average the weights of runs")
    if len(found) < needed:
        have = f"{counted(len(resume.checkpoints(run)) if not which else len(found), 'checkpoint')} {which}".rstrip()
        kept = config["train"].get(setting.removeprefix("train."), 0) >= needed
        remedy = "Train it longer, or ask for fewer" if kept else f"Train with --set {setting}={max(needed, 5)}"
        raise RunError(f"{run} has {have}, expected at least {needed}", hint=remedy)
    losses = {checkpoint: loss for loss, checkpoint in resume.by_loss(found)}
    ingredients = []
    for checkpoint in found:
        flaw = resume.find_flaw(checkpoint)
        if flaw:
            raise RunError(flaw, hint="Delete that checkpoint, or average fewer")
        # Of a run with an exponential moving average that is what was validated, so that is what is averaged.
        prefix = PREFIX if _has_average(checkpoint) else ""
        file = checkpoint / (resume.TENSORS if prefix else WEIGHTS)
        ingredients.append(Ingredient(checkpoint.name, file, prefix, losses.get(checkpoint)))
    return ingredients


def _has_average(checkpoint: Path) -> bool:
    return any(name.startswith(PREFIX) for name in read_safetensors(checkpoint / resume.TENSORS))


def _tensor(ingredient: Ingredient, name: str) -> Tensor:
    return read_safetensors(ingredient.file)[ingredient.prefix + name]


def _write(
    out: Path,
    source: Run,
    runs: Sequence[Path],
    used: Sequence[Ingredient],
    how: str,
    after: Evaluation | None,
) -> None:
    """A run folder: the settings of the first run, and of all of them what they took."""
    configs = [read_config(run) for run in runs]
    sections = {key: value for key, value in configs[0].items() if key not in ("format_version", "model", "tokenizer")}
    done = [config.get("figures", {}) for config in configs]
    figures = {key: value for key, value in done[0].items() if key != "validation"}
    for key in ("steps", "epochs", "tokens", "seconds"):
        figures[key] = sum(one.get(key, 0) for one in done)
    if after:
        figures["validation"] = after.to_dict() | {"step": figures["steps"]}
    places = dict(sections.get("corpus", {}))  # seen from there, each may lie anywhere
    if "folder" in places:
        places["folder"] = str((runs[0] / places["folder"]).resolve())
    if "folders" in places:
        places["folders"] = {name: str((runs[0] / path).resolve()) for name, path in places["folders"].items()}
    sections["corpus"] = places
    sections["average"] = {"how": how, "of": [ingredient.name for ingredient in used]}
    with replacing_run(out) as folder:
        write_json(folder / GENERATION, source.generation)
        save_weights(folder / WEIGHTS, source.model)
        save_config(folder, source.model, source.tokenizer, sections | {"figures": figures})
        write_text(folder / CARD, card.model_card(out.resolve().name, read_config(folder)))
