"""Text to token files: read, split into train / valid / test, train the tokenizer if need be, encode, write.

The one entry is `prepare`; `nextword data prepare` and `nextword train` both call it. It reads the sources two or
three times and never holds them: first to see how much text there is (so that splitting can fall back, and a
mistake in the data shows before any long work), then to train the tokenizer on the training split only, then to
encode. A prepared folder holds

    train/  valid/  test/     token files; a split that was not asked for is absent
    tokenizer.json, tokenizer_config.json

and appears as a whole or not at all. Prepared again from the same, it is left as it is.
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from nextword.config import Config
from nextword.data.encode import encode
from nextword.data.token_files import TokenFiles
from nextword.data.token_index import INDEX, VERSION, source
from nextword.data.token_index import Source as SourceFile
from nextword.data.token_writer import SHARD_TOKENS, TokenWriter
from nextword.errors import DataError, RunError, UsageError
from nextword.files import replacing_folder
from nextword.text.examples import example_of
from nextword.text.records import Example, ReadConfig, Record, Source, read_records
from nextword.text.sources import find_files, source_bytes
from nextword.text.split import split_of
from nextword.text.turns import Talk
from nextword.tokenizers.chat import ChatTokenizer

if TYPE_CHECKING:
    from nextword.tokenizers import Tokenizer, TokenizerConfig

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")
TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (TOKENIZER, "tokenizer_config.json")
TRAIN = "Train on them as they are: nextword train DATA --init-from RUN --set data.conversations=true"
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


def prepare(
    sources: Sequence[Source],
    out: Path | str,
    tokenizer: Tokenizer | TokenizerConfig,
    *,
    valid_sources: Sequence[Source] = (),
    test_sources: Sequence[Source] = (),
    read: ReadConfig | None = None,
    split: SplitConfig | None = None,
    example: Callable[[Record], Example] | None = None,
    template: str = "",
    progress: Progress | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> dict[str, TokenFiles]:
    """Make `out` a prepared folder of the sources, unless it is one already; its splits by name.

    A `TokenizerConfig` has a tokenizer trained on the training split. `valid_sources` and `test_sources` are held
    out whole, in place of that share of `sources`. `example` makes of a record what is learned of it (default: what
    `read` says: the text field, or prompt and target). Conversations are written by a chat `template`.

    Raises DataError (sources that cannot be read, or too small to split) and RunError (`out` holds other things,
    or cannot be written).
    """
    out = Path(out).resolve()
    if read and read.conversations and not template:
        raise UsageError("data.conversations: a chat template says how they are read", hint=TRAIN)
    read, split = read or ReadConfig(), split or SplitConfig()
    if valid_sources:
        split = split.model_copy(update={"valid": 0.0})
    if test_sources:
        split = split.model_copy(update={"test": 0.0})
    _refuse_foreign(out)
    groups: Sequence[Sequence[Source]] = [sources, valid_sources, test_sources]
    paths = [[Path(file) for file in find_files(group) if not _is_stream(file)] for group in groups]
    try:
        files = [source(path) for group in paths for path in group]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror or error}") from None
    settings = {
        "tokenizer": tokenizer.model_dump(mode="json") if isinstance(tokenizer, Config) else tokenizer.fingerprint(),
        "read": read.model_dump(mode="json"),
        "split": split.model_dump(mode="json"),
        "example": _describe(example),
        **({"template": template} if template else {}),
        "files": [len(group) for group in paths],
        "repeatable": all(isinstance(one, str | Path) and not _is_stream(one) for group in groups for one in group),
    }
    if (current := _current(out, files, settings)) is not None:
        return current
    with rereadable(groups) as groups:
        corpus = _Corpus(groups, read, split, example)
        corpus.survey(progress)
        if isinstance(tokenizer, Config):
            tokenizer = _train_tokenizer(tokenizer, corpus, progress)
        chat = ChatTokenizer(tokenizer, template) if template else None
        try:
            with replacing_folder(out) as folder:
                tokenizer.save(folder)
                writers = {name: TokenWriter(folder / name, tokenizer, shard_tokens) for name in corpus.splits}
                encode(corpus.routed("encoding", progress), tokenizer, writers, chat)
                if corpus.empty:
                    logger.warning("%d without a target left out, the first at %s", len(corpus.empty), corpus.empty[0])
                for name, writer in writers.items():
                    if not writer.len_tokens:
                        raise corpus.too_small(name)
                    writer.finish(files, settings)
                for file in files:
                    if Path(file.path).stat().st_size != file.size:
                        raise DataError(
                            f"{file.path} changed while it was read", hint="Start again when it is complete"
                        )
        except OSError as error:  # those of reading are DataErrors already
            raise RunError(f"{out} cannot be written: {error.strerror or error}") from None
    prepared = open_prepared(out)
    for name, written in prepared.items():
        if written.counts.unknown_tokens:
            share = written.counts.unknown_tokens / written.len_tokens
            where = f"{name}: " if len(prepared) > 1 else ""
            logger.warning("%s%.2f %% of the tokens are unknown to the tokenizer", where, 100 * share)
    return prepared


def is_prepared(folder: Path | str) -> bool:
    """Whether this is a prepared folder, rather than text still to be prepared."""
    return (Path(folder) / "train" / INDEX).is_file()


def open_prepared(folder: Path | str, tokenizer: Tokenizer | None = None) -> dict[str, TokenFiles]:
    """The splits of a prepared folder, by name, after checking that `tokenizer` made them if one is given.

    Raises RunError: not prepared, damaged, made with another tokenizer, or put together from two.
    """
    folder = Path(folder)
    names = [name for name in SPLITS if (folder / name).is_dir()]
    if "train" not in names or not (folder / TOKENIZER).is_file():
        raise RunError(f"{folder} is not a prepared folder", hint="Make one: nextword data prepare DATA --out FOLDER")
    splits = {name: TokenFiles.open(folder / name, tokenizer) for name in names}
    if len({files.index.tokenizer.fingerprint for files in splits.values()}) > 1:
        raise RunError(f"{folder}: its splits were made with different tokenizers", hint="Prepare the data again")
    return splits


class _Corpus:
    """All examples and the split each belongs to, read anew in every pass. `survey` comes first."""

    def __init__(
        self,
        groups: Sequence[Sequence[Source]],
        read: ReadConfig,
        split: SplitConfig,
        example: Callable[[Record], Example] | None,
    ) -> None:
        self.groups = groups  # the sources of each of SPLITS
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

    def too_small(self, name: str) -> DataError:
        return DataError(
            f"The {name} split is empty: there is too little text (characters: {self.characters:,})",
            hint="Give more text, a file of its own for that split, or ask for no such split",
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


def training_texts(
    sources: Sequence[Source], read: ReadConfig, split: SplitConfig, progress: Progress | None = None
) -> tuple[int, Callable[[], Iterator[str]]]:
    """How many characters the sources have to learn, and the texts of their training split, read anew at each call."""
    corpus = _Corpus([sources, (), ()], read, split, None)
    corpus.survey(progress)
    return corpus.characters, lambda: _texts(corpus, progress)


def _texts(corpus: _Corpus, progress: Progress | None) -> Iterator[str]:
    for name, example in corpus.routed("training the tokenizer", progress):
        if name == "train":
            yield from example.texts()


def _train_tokenizer(config: TokenizerConfig, corpus: _Corpus, progress: Progress | None) -> Tokenizer:
    from nextword.tokenizers import train_tokenizer

    return train_tokenizer(config, _texts(corpus, progress))


def _current(out: Path, files: list[SourceFile], settings: dict[str, Any]) -> dict[str, TokenFiles] | None:
    """The splits of `out` if they were made of just these files in just this way, else None."""
    if not is_prepared(out) or not settings["repeatable"] or settings["example"] is None:
        return None
    try:
        splits = open_prepared(out)
    except RunError:
        return None  # damaged: made anew
    made = [(split.index.version, split.index.sources, split.index.settings) for split in splits.values()]
    same = all(one == (VERSION, files, settings) for one in made)
    return splits if same else None


def _describe(example: Callable[[Record], Example] | None) -> Any:
    """What tells one way of making examples from another; None for a function that has no name of its own."""
    if example is None:
        return "text"
    name = getattr(example, "__qualname__", "<")
    return None if "<" in name else f"{example.__module__}.{name}"


def _refuse_foreign(out: Path) -> None:
    """Preparing replaces `out` as a whole, so it must hold nothing else. Raises RunError."""
    if not out.exists():
        return
    if not out.is_dir():
        raise RunError(f"{out} is a file, expected a folder to write", hint="Give another --out")
    for path in out.iterdir():
        ours = path.name in TOKENIZER_FILES or (path.name in SPLITS and (path / INDEX).is_file())
        if not ours:
            raise RunError(f"{out} holds other things ({path.name}), which would be lost", hint="Give another --out")


@contextmanager
def rereadable(groups: Sequence[Sequence[Source]]) -> Iterator[list[list[Source]]]:
    """The same sources, each of which can be read more than once: standard input becomes a temporary file."""
    with tempfile.TemporaryDirectory(prefix="nextword-") as folder:

        def again(one: Source) -> Source:
            if not isinstance(one, str | Path):
                return list(one) if iter(one) is one else one
            if not _is_stream(one):
                return one
            copy = Path(folder) / ("stdin" if one == "-" else Path(one).name)
            with ExitStack() as stack, copy.open("wb") as file:
                stream = sys.stdin.buffer if one == "-" else stack.enter_context(Path(one).open("rb"))
                shutil.copyfileobj(stream, file)
            return copy

        yield [[again(one) for one in group] for group in groups]


def _is_stream(one: str | Path) -> bool:
    """Standard input or a pipe: readable once."""
    return one == "-" or (Path(one).exists() and not Path(one).is_file() and not Path(one).is_dir())


def _sum(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None
