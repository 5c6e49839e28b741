"""What a task makes of a recipe and of the data for it: section [task], the columns it reads, settings left open."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from nextword.config import Config, parse, read_json
from nextword.errors import DataError, UsageError
from nextword.tasks.aligned import are_aligned
from nextword.tasks.base import GROUP, Rows, Task, examples_of, records_of
from nextword.tasks.languages import is_language, languages_of
from nextword.tasks.lengths import bounds_of, mark_of
from nextword.tasks.registry import task_named
from nextword.text.placeholders import SYMBOLS, known_symbols
from nextword.text.records import Example, ReadConfig, Record, Source
from nextword.text.sources import file_format
from nextword.tokenizers import Tokenizer
from nextword.tokenizers.chat import CHAT_TEMPLATE

ENCODING = ("encoder-decoder", "gru-attention", "lstm-attention", "prefix-lm")
"""The kinds of model that read a prompt whole, as a source. Which they are is known to the models, who bring torch."""

Values = dict[str, dict[str, Any]]


class TaskConfig(Config):
    """Section [task] of a recipe."""

    name: str
    """translation, summarization, dialogue or poetry."""
    languages: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Of translation: from which language to which, ["en", "zh"]; left out: as columns, files or their folder say."""
    tokenized: bool = False
    """The texts are tokenized already, as much data of the literature is: BLEU takes them as they are."""
    placeholders: bool | None = None
    """Numbers and addresses of a translation, and the names of those who speak in a chat to be summarized, stand before
    the model as ①, ②, ...; left out: in a run that begins anew, and in one begun with a run that knows them."""
    length_buckets: int = Field(default=0, ge=0, le=9)
    """Of summarization: how many lengths `nextword summarize --length` may ask for, 3 = short, medium and long."""
    length_bounds: Annotated[tuple[int, ...], Field(strict=False)] = ()
    """The least words of each length but the shortest; left out: in shares of the summaries as equal as can be."""


@dataclass(frozen=True)
class Setup:
    """A recipe for a task and the data for it, as training takes them; without data, the recipe alone."""

    values: Values
    """The sections of the recipe but [task], completed."""
    sources: Sequence[Source]
    valid: Sequence[Source]
    task: TaskConfig
    generation: dict[str, Any]
    """Settings of GenerationConfig that suit the task."""
    corpus: str
    """What the sources are called."""
    template: str = ""
    """The chat template to be saved with the run."""


def set_up(
    values: Mapping[str, Mapping[str, Any]],
    sources: Sequence[Source],
    valid: Sequence[Source] = (),
    init_from: Path | None = None,
) -> Setup:
    """Complete a recipe with a section [task] for these sources; model and tokenizer are those of a run `init_from`.

    If that has a chat template, conversations are learned as it writes them.

    Raises UsageError for an unknown task or sources it cannot have, DataError for data without the columns it reads.
    """
    config = parse(TaskConfig, values["task"], "task")
    task = task_named(config.name)
    if values.get("mix", {}).get("corpora"):
        raise UsageError(
            "--task beside [mix]", hint="Name all files of pairs together: --task reads them as one corpus"
        )
    if "-" in (*sources, *valid):
        raise UsageError("--task reads files, got standard input", hint="Write it to a file, such as pairs.tsv")
    base = _config_of(init_from)
    settled = completed(task, values, base)
    generation = dict(task.generation)
    if not _encodes(settled, base):  # such a model reads the text before its answer, and could not copy from it
        generation.pop("no_repeat_ngram_size", None)
    if task.template and init_from is not None and (init_from / CHAT_TEMPLATE).is_file():
        return Setup(settled, sources, valid, config, {}, "")
    if task.template or not sources:
        config = _with_placeholders(config, task, base, None, None)
        return Setup(settled, sources, valid, config, generation, "", task.template)
    read = with_columns(task, settled["data"], sources)
    settled["data"] = read.model_dump(exclude_unset=True)
    if task.name == "translation" and not config.languages:
        languages = languages_of((read.prompt_field, read.target_field), sources)
        config = config.model_copy(update={"languages": languages})
    prompts = (example.prompt for example in examples_of(task, sources, read))
    config = _with_placeholders(config, task, base, None if "tokenizer" in values else init_from, prompts)
    config = _with_lengths(config, task, sources, read)
    if config.placeholders or config.length_bounds:
        settled["data"]["group_field"] = GROUP
    shown = partial(_shown, task=task, config=config)
    rows: list[Source] = [Rows(task, sources, read, shown)]
    held_out: list[Source] = [Rows(task, valid, with_columns(task, settled["data"], valid), shown)] if valid else []
    corpus = ", ".join(str(one) for one in sources if isinstance(one, str | Path))
    return Setup(settled, rows, held_out, config, generation, corpus, task.template)


def _config_of(run: Path | None) -> Mapping[str, Any]:
    """The settings of a run that another begins with; {} for none."""
    return read_json(run / "config.json") if run is not None and (run / "config.json").is_file() else {}


def _encodes(settled: Values, base: Mapping[str, Any]) -> bool:
    """Whether the model to be trained, of the recipe or else of the run it begins with, reads a prompt as a source."""
    return settled.get("model", {}).get("type", base.get("model", {}).get("type")) in ENCODING


def _shown(example: Example, task: Task, config: TaskConfig) -> Example:
    """An example as the model learns it: with placeholders, or the mark of its length, or both."""
    mark = mark_of(example, config.length_bounds)  # a placeholder may stand for several words
    if task.hiding and config.placeholders:
        example = task.hiding.learned(example, config.languages)
    return replace(example, prompt=mark + example.prompt)


def _with_placeholders(
    config: TaskConfig, task: Task, base: Mapping[str, Any], kept: Path | None, prompts: Iterable[str] | None
) -> TaskConfig:
    """With the choice made whether there are placeholders, where that is open: in a new run, if these `prompts` suit
    them; without data it stays open. `kept`: the run whose tokenizer goes on, if one does."""
    wanted = config.placeholders
    if task.hiding is None:
        if wanted:
            raise UsageError(f"task.placeholders = true: there are none of {task.name}", hint="Leave it out")
        wanted = False
    elif wanted is None and prompts is not None:
        wanted = bool(base.get("task", {}).get("placeholders")) if base else task.hiding.suits(prompts)
    elif wanted and kept is not None:
        _check_symbols(kept)
    return config.model_copy(update={"placeholders": wanted})


def _check_symbols(run: Path) -> None:
    """Raises UsageError if the tokenizer of a run knows no placeholder."""
    tokenizer = Tokenizer.load(run)
    if not known_symbols(tokenizer.source.unknown) or not known_symbols(tokenizer.unknown):
        raise UsageError(
            f"task.placeholders: the tokenizer of {run} has no tokens for {SYMBOLS[:2]}...",
            hint="Leave it out: texts are then learned as they are",
        )


def _with_lengths(config: TaskConfig, task: Task, sources: Sequence[Source], read: ReadConfig) -> TaskConfig:
    """With the bounds of its lengths, which a pass over the answers tells."""
    buckets, bounds = config.length_buckets, config.length_bounds
    if not buckets and not bounds:
        return config
    if task.name != "summarization":
        raise UsageError(f"task.length_buckets is of summarization, not of {task.name}", hint="Leave it out")
    if buckets == 1:
        raise UsageError("task.length_buckets = 1: expected 2 to 9, or 0 for none", hint="3 = short, medium and long")
    if bounds and (len(bounds) + 1 != buckets or list(bounds) != sorted(set(bounds))):
        raise UsageError(f"task.length_bounds = {list(bounds)}: expected {max(buckets - 1, 0)} rising numbers of words")
    targets = (example.target for example in examples_of(task, sources, read) if example.target)
    bounds = bounds or bounds_of(targets, buckets)
    return config.model_copy(update={"length_bounds": bounds})


def completed(task: Task, values: Mapping[str, Mapping[str, Any]], base: Mapping[str, Any]) -> Values:
    """The sections of a recipe but [task], with what suits the task where they leave something open; `base` are the
    settings of the run that this one begins with, {} for none.

    The settings of its model go with the model it chooses, and are not those of another one.
    """
    settled = {name: dict(section) for name, section in values.items() if name != "task"}
    for name, section in task.recipe.items():
        if base and name != "data":  # what suits a new model does not suit one that has learned
            continue
        given = settled.get(name, {})
        if name == "model" and given.get("type", section.get("type")) != section.get("type"):
            continue
        settled[name] = dict(section) | given
    data, known = settled.setdefault("data", {}), base.get("data", {})
    if known.get("prompt_field"):  # it has learned where an answer begins
        data.setdefault("separator", known.get("separator", ""))
    elif _encodes(settled, base):  # <eos> closes a source: nothing else need part the two
        data.setdefault("separator", "")
    return settled


def reading_as(
    task: Task | None, run: Mapping[str, Any], given: Mapping[str, Any], sources: Sequence[Source]
) -> ReadConfig:
    """How to read sources for a run of the task, None for none: as `run` read its own, section "data" of its
    config.json, but for what is `given`. The names of a task's columns count if these sources have them; conversations
    have none."""
    if task is None:
        plain = {"prompt_field": "", "target_field": ""} if given.get("text_field") else {}
        return parse(ReadConfig, dict(run) | plain | dict(given), "data")
    if task.template:
        kept = {key: run[key] for key in ("encoding", "errors") if key in run}
        return parse(ReadConfig, kept | dict(given) | {"conversations": True}, "data")
    others = {key: value for key, value in run.items() if key not in task.columns}
    usual = {key: str(run[key]) for key in task.columns if run.get(key)}
    return with_columns(task, others | dict(given), sources, usual)


def with_columns(
    task: Task, data: Mapping[str, Any], sources: Sequence[Source], usual: Mapping[str, str] | None = None
) -> ReadConfig:
    """How to read these sources: settings `data` of ReadConfig, and the columns they have, preferably the `usual` ones.

    Raises DataError if a column is missing that the task needs.
    """
    usual = usual or {}
    found = {key: str(data.get(key, "")) for key in task.columns}
    if task.pairs and are_aligned(sources):
        names = languages_of((), sources) or ("source", "target")
        found = {key: found[key] or usual.get(key, name) for key, name in zip(found, names, strict=True)}
        return parse(ReadConfig, dict(data) | found, "data")
    plain = {key: value for key, value in data.items() if key not in ("prompt_field", "target_field")}
    record = next(iter(records_of(task, sources, parse(ReadConfig, plain, "data"))))
    for key in task.columns:
        found[key] = found[key] or _column(task, key, record, found.values(), usual.get(key, ""))
        if found[key] not in record:
            wanted = repr(found[key]) if found[key] else f"for the {key.removesuffix('_field')} of {task.name}"
            hint = f"Choose one with --{key.replace('_', '-')}"
            if any(file_format(Path(str(one)))[0] in ("csv", "tsv") for one in sources):
                usual_names = ",".join(some[0] for some in task.columns.values())
                hint += f"; if the first line has no names, give them: --columns {usual_names}"
            raise DataError(
                f"{record.source}: no column {wanted}. Columns: {', '.join(map(str, record))[:200]}", hint=hint
            )
    return parse(ReadConfig, dict(data) | found, "data")


def _column(task: Task, key: str, record: Record, taken: Collection[str], usual: str) -> str:
    """The column of a record that is likely meant, none of those `taken`; "" if none is."""
    names = [name for name in (usual, *task.columns[key]) if name in record and name not in taken]
    if names:
        return names[0]
    spoken = [name for name in record if is_language(name) and name != "id"]  # of rows, rather than Indonesian
    return next((name for name in spoken if name not in taken), "") if len(spoken) == len(task.columns) else ""
