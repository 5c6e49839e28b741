"""All examples of a text and the split each belongs to: train, valid or test.

The sources are read anew in every pass, and never held: a first one counts, so that splitting can fall back, and a
mistake in the data shows before any long work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from nextword.config import Config
from nextword.errors import DataError
from nextword.text.examples import example_of
from nextword.text.records import Example, ReadConfig, Record, Source, read_records
from nextword.text.sources import source_bytes
from nextword.text.split import split_of
from nextword.text.turns import Talk

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")
HASHED_CHARACTERS = 2**20  # normalising a longer document only to choose its split would cost gigabytes

Progress = Callable[[str, int, int | None], object]
"""Told (stage, bytes just read, bytes in all or None), many times a second; never when there is nothing to do."""


class SplitConfig(Config):
    """Which part of the text is held out."""

    by: Literal["document", "tail"] = "document"
    """By a hash of each document, so that it stays in its split whatever else is added; or the last part of the
    text, which may cut one document in two."""
    valid: float = Field(default=0.05, ge=0, lt=1)
    """Share of the text for validation."""
    test: float = Field(default=0.0, ge=0, lt=1)
    """Share of the text for the final test."""

    @model_validator(mode="after")
    def _leaves_something(self) -> Self:
        if self.valid + self.test >= 1:
            raise ValueError(f"valid {self.valid} and test {self.test} leave nothing to train on")
        return self


class Corpus:
    """All examples and the split each belongs to, read anew in every pass. `survey` comes first."""

    def __init__(
        self,
        groups: Sequence[Sequence[Source]],
        read: ReadConfig,
        split: SplitConfig,
        example: Callable[[Record], Example] | None = None,
    ) -> None:
        """`groups` are the sources of each of SPLITS; those of the first are split, where others are wanted and have
        none of their own. `example` makes of a record what is learned of it; None: what `read` says."""
        self.groups = groups
        self.read, self.split, self.example = read, split, example
        shares = (1.0, split.valid, split.test)
        self.splits = [name for name, group, share in zip(SPLITS, groups, shares, strict=True) if group or share]
        self.empty: list[str] = []  # where the prompts without a target stand
        self.characters = 0  # of targets, in the sources to be split
        self._sides = bytearray()  # the split of each document there, an index into SPLITS
        self.total_bytes = _sum([source_bytes(group) for group in groups if group])

    def survey(self, progress: Progress | None) -> None:
        """Count, and fall back to splitting by tail where there are too few documents to split by document."""
        for record, example in self._examples(self.groups[0], "reading", progress):
            self.characters += len(example.target)
            self._sides.append(SPLITS.index(self._side(record, example)))
        held_out = [name for name in ("valid", "test") if getattr(self.split, name)]
        missing = [name for name in ("train", *held_out) if SPLITS.index(name) not in self._sides]
        if missing and int(self.characters * (1 - self.split.valid - self.split.test)) < 1:
            raise self.too_small("train")
        if self.split.by == "document" and held_out and missing:
            logger.warning(
                "%d %s cannot be split by document (%s would be empty): the end of the text is held out instead",
                len(self._sides),
                "document" if len(self._sides) == 1 else "documents",
                " and ".join(missing),
            )
            self.split = self.split.model_copy(update={"by": "tail"})

    def routed(self, stage: str, progress: Progress | None) -> Iterator[tuple[str, Example]]:
        """(split, example) for everything there is to read."""
        self.empty.clear()
        main, *held_out = self.groups
        examples = (example for _, example in self._examples(main, stage, progress))
        if self.split.by == "tail":
            yield from self._by_tail(examples)
        else:
            yield from ((SPLITS[side], example) for side, example in zip(self._sides, examples, strict=False))
        for name, group in zip(SPLITS[1:], held_out, strict=True):
            yield from ((name, example) for _, example in self._examples(group, stage, progress))

    def training_texts(self, progress: Progress | None) -> Iterator[str]:
        """What a tokenizer is trained on: the texts of the training split."""
        for name, example in self.routed("training the tokenizer", progress):
            if name == "train":
                yield from example.texts()

    def too_small(self, name: str) -> DataError:
        """What to raise for a split without text."""
        hint = "Give more text"
        if name != "train":
            hint += f", a file of its own for that split, or go without it: split.{name} = 0"
        elif self.read.conversations:
            hint += "; what is learned of a conversation are its replies"
        return DataError(
            f"The {name} split is empty: there is too little text (characters: {self.characters:,})", hint=hint
        )

    def _side(self, record: Record, example: Example) -> str:
        if self.split.by == "tail" or not self.split.valid + self.split.test:
            return "train"
        # Of a prompt with several targets, none may lie on another side than the rest.
        if self.read.group_field:
            text = str(record[self.read.group_field])
        else:
            text = "\n".join(example.texts()) if isinstance(example, Talk) else example.prompt or example.target
        return split_of(text[:HASHED_CHARACTERS], valid=self.split.valid, test=self.split.test)

    def _by_tail(self, examples: Iterator[Example]) -> Iterator[tuple[str, Example]]:
        """Cut the run of all characters at two borders; an example with a prompt, and a conversation, goes whole where
        it begins."""
        valid_at = int(self.characters * (1 - self.split.valid - self.split.test))
        test_at = int(self.characters * (1 - self.split.test))
        borders = [0, valid_at, test_at, self.characters]
        position = 0
        for example in examples:
            stop = position + len(example.target)
            for name, low, high in zip(SPLITS, borders, borders[1:], strict=False):
                if example.prompt or isinstance(example, Talk):
                    if low <= position < high:
                        yield name, example
                elif max(low, position) < min(high, stop):
                    target = example.target[max(low, position) - position : min(high, stop) - position]
                    yield name, Example("", target)
            position = stop

    def _examples(
        self, group: Sequence[Source], stage: str, progress: Progress | None
    ) -> Iterator[tuple[Record, Example]]:
        """The examples that have a target, each with its record."""
        if not group:
            return

        def advance(count: int) -> None:
            if progress:
                progress(stage, count, self.total_bytes)

        for record in read_records(group, self.read, advance):
            example = example_of(record, self.read) if self.example is None else self.example(record)
            if self.example or self.read.conversations:
                _check_unicode(example, record)
            if example.target:
                yield record, example
            elif example.prompt:
                self.empty.append(record.source)


def _check_unicode(example: Example, record: Record) -> None:
    """Raises DataError for what UTF-8 cannot hold: JSON's \\ud800 escapes can smuggle in half a character."""
    try:
        example.prompt.encode(), example.target.encode()
    except UnicodeEncodeError as error:
        half = f"half a character (\\u{ord(error.object[error.start]):04x})"
        raise DataError(f"{record.source}: the text holds {half}") from None


def _sum(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None
