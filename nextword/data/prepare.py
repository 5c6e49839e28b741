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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextword.config import Config
from nextword.data.encode import encode
from nextword.data.splits import SPLITS, Corpus, Progress, SplitConfig
from nextword.data.token_files import TokenFiles
from nextword.data.token_index import INDEX, VERSION, source
from nextword.data.token_index import Source as SourceFile
from nextword.data.token_writer import SHARD_TOKENS, TokenWriter
from nextword.errors import DataError, RunError, UsageError
from nextword.files import replacing_folder
from nextword.text.records import Example, ReadConfig, Record, Source
from nextword.text.rereading import is_stream, rereadable
from nextword.text.sources import find_files
from nextword.tokenizers.chat import ChatTokenizer

if TYPE_CHECKING:
    from nextword.tokenizers import Tokenizer, TokenizerConfig

logger = logging.getLogger(__name__)

TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (TOKENIZER, "tokenizer_config.json")
TRAIN = "Train on them as they are: nextword train DATA --init-from RUN --set data.conversations=true"


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
    paths = [[Path(file) for file in find_files(group) if not is_stream(file)] for group in groups]
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
        "repeatable": all(isinstance(one, str | Path) and not is_stream(one) for group in groups for one in group),
    }
    if (current := _current(out, files, settings)) is not None:
        return current
    with rereadable(groups) as groups:
        corpus = Corpus(groups, read, split, example)
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


def _train_tokenizer(config: TokenizerConfig, corpus: Corpus, progress: Progress | None) -> Tokenizer:
    from nextword.tokenizers import train_tokenizer

    return train_tokenizer(config, corpus.training_texts(progress))


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
