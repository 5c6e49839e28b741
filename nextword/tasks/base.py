"""What a task is, and its data: any records, read as prompts and the targets that answer them.

A `Task` is a value: how a record becomes examples, how outputs are judged, and what a recipe is to be where it leaves
something open. Knows no model and no tokenizer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from nextword.errors import DataError
from nextword.metrics.score import Score
from nextword.tasks.aligned import aligned, are_aligned
from nextword.text.chat import Turn
from nextword.text.placeholders import Hiding
from nextword.text.records import Example, ReadConfig, Record, Source, read_records, text_of
from nextword.text.turns import Reply

logger = logging.getLogger(__name__)


GROUP = "group"
"""The column of rows for training that says which of them are held out together: those of one text, whatever is asked
of it."""


@dataclass(frozen=True)
class Task:
    """An application of language models."""

    name: str
    columns: Mapping[str, tuple[str, ...]]
    """Settings of ReadConfig that name a column, each with the names that data in the wild uses for it."""
    examples: Callable[[Record, ReadConfig], list[Example]]
    """What there is to learn in a record. Several targets of one prompt are several examples."""
    scores: Callable[[Sequence[str], Sequence[Item], bool], list[Score]]
    """How good outputs are, one for each item; true: their texts are tokenized already."""
    headline: tuple[str, ...]
    """Those of the scores that say which of two systems is better."""
    recipe: Mapping[str, Mapping[str, Any]]
    """Sections of a recipe, for what the user leaves open."""
    generation: Mapping[str, Any]
    """Settings of GenerationConfig, likewise."""
    template: str = ""
    """Of conversations: the chat template that a new run learns them by, and keeps."""
    baselines: Callable[[Sequence[Item]], dict[str, list[str]]] = lambda items: {}
    """Answers that need no model, by the name of how they are made."""
    hiding: Hiding | None = None
    """What stands as placeholders before a model, if anything does."""
    command: str = "generate"
    """The command that does it with a trained run."""
    example: str = ""
    """Name of its data in `nextword.corpora`; "" = there is none."""
    pairs: bool = True
    """A record is a pair of texts, so that two files whose lines belong together can be read, too."""


@dataclass(frozen=True)
class Item:
    """Something to evaluate on: a prompt, and what would have been a good answer."""

    prompt: str
    references: tuple[str, ...]
    source: str
    """file:line."""
    before: tuple[Turn, ...] = ()
    """Of a dialogue: the prompt as turns, which a chat template writes."""


class Rows:
    """The examples of some sources as rows with a prompt and a target, read anew in each pass: what training takes.

    Raises DataError, on the way, for what cannot be read. Examples with an empty side are left out, which is told once.
    """

    def __init__(
        self,
        task: Task,
        sources: Sequence[Source],
        read: ReadConfig,
        shown: Callable[[Example], Example] = lambda example: example,
    ) -> None:
        """`read` has all its columns: see `with_columns`. `shown`: what of an example is shown to the model."""
        self.task, self.sources, self.read, self.shown = task, sources, read, shown
        self._told = False

    def __iter__(self) -> Iterator[Record]:
        empty: list[str] = []
        prompt_field, target_field = self.read.prompt_field or "prompt", self.read.target_field or "target"
        for record in records_of(self.task, self.sources, self.read):
            examples = self.task.examples(record, self.read)
            whole = [example for example in examples if example.prompt and example.target]
            if len(whole) < len(examples) or not examples:
                empty.append(record.source)
            for example in whole:
                shown = self.shown(example)
                row = {prompt_field: shown.prompt, target_field: shown.target, GROUP: example.prompt}
                yield Record(row, record.source)
        if empty and not self._told:
            logger.warning("left out, for a side is empty: %d, the first at %s", len(empty), empty[0])
            self._told = True


def examples_of(task: Task, sources: Sequence[Source], read: ReadConfig) -> Iterator[Example]:
    """What there is to learn in all the records, those with an empty side included."""
    return (example for record in records_of(task, sources, read) for example in task.examples(record, read))


def items(task: Task, sources: Sequence[Source], read: ReadConfig) -> Iterator[Item]:
    """What there is to evaluate on: the prompts, each with all its targets.

    Raises DataError for one without a target: a test set is not to shrink unseen; and for none at all.
    """
    found = False
    for record in records_of(task, sources, read):
        for prompt, same in groupby(task.examples(record, read), key=lambda example: example.prompt):
            first, *others = same
            references = tuple(example.target for example in (first, *others) if example.target)
            before = first.before if isinstance(first, Reply) else ()
            if not (prompt or before) or not references:
                side = "target" if prompt else "prompt"
                raise DataError(f"{record.source}: the {side} is empty", "Take that line out, of both sides")
            found = True
            yield Item(prompt, references, record.source, before)
    if not found:
        raise DataError(
            f"{', '.join(str(one) for one in sources)}: there is nothing to answer",
            hint="A conversation needs a reply" if task.template else "",
        )


def records_of(task: Task, sources: Sequence[Source], read: ReadConfig) -> Iterable[Record]:
    """The records of tables and of rows, or of two aligned files."""
    if task.pairs and are_aligned(sources):
        first, second = sources
        names = (read.prompt_field, read.target_field)
        return aligned(str(first), str(second), read, names)
    return read_records(sources, read.model_copy(update={"text_field": ""}))


def pair_examples(record: Record, read: ReadConfig) -> list[Example]:
    """A pair of texts; a list of targets is several good ones, a list as prompt its lines."""
    prompt = tidy(text_of(record, read.prompt_field, "--prompt-field"))
    targets = record.get(read.target_field)
    if not isinstance(targets, list):
        targets = [text_of(record, read.target_field, "--target-field")]
    return [Example(prompt, tidy(text_of(Record({"target": one}, record.source), "target"))) for one in targets]


def tidy(text: str) -> str:
    """Without white space around it and at the ends of its lines."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
