"""index.json of a folder of token files: what the tokens are, what made them, and how to know the shards again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field

from nextword.config import Config, parse, read_json
from nextword.errors import RunError, UsageError
from nextword.files import sha256

FORMAT = "nextword tokens"
VERSION = 3
READABLE = range(1, VERSION + 1)
COLUMNS = VERSION + 1  # of the examples: each version has brought one
INDEX = "index.json"
AGAIN = "Prepare the data again: nextword data prepare DATA --out FOLDER"


class Vocabulary(Protocol):
    """What token files need to know of a tokenizer."""

    @property
    def kind(self) -> str: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def eos_id(self) -> int: ...
    @property
    def unk_id(self) -> int | None: ...
    def fingerprint(self) -> str: ...


class TokenizerInfo(Config):
    """The tokenizer that made the ids."""

    kind: str
    fingerprint: str
    vocab_size: int = Field(ge=1)
    eos_id: int = Field(ge=0)
    unk_id: int | None
    bos_id: int | None = None
    """The token that a text is read from, where that is not <eos>: of a tokenizer from elsewhere."""


class Source(Config):
    """A file that the tokens were made from, as it was then."""

    path: str
    """Absolute path."""
    size: int = Field(ge=0)
    sha256: str


class Counts(Config):
    """What the stream holds."""

    examples: int = Field(ge=0)
    tokens: int = Field(ge=0)
    loss_tokens: int = Field(ge=0)
    """Tokens of targets, and the <eos> of each example."""
    target_bytes: int = Field(ge=0)
    """UTF-8 bytes of the targets' text: what bits per byte divide by. <eos> has none."""
    unknown_tokens: int = Field(ge=0)
    """Tokens the tokenizer had no name for."""


class Shard(Config):
    """One pair of files: how much they hold, their sizes in bytes and their hashes."""

    tokens: int = Field(ge=1)
    examples: int = Field(ge=1)
    """Rows of the examples file: an example running on from the shard before counts here too."""
    tokens_size: int
    tokens_sha256: str
    examples_size: int
    examples_sha256: str


class Index(Config):
    """index.json."""

    format: str
    version: int
    tokenizer: TokenizerInfo
    counts: Counts
    shards: list[Shard]
    sources: list[Source]
    settings: dict[str, Any]
    """How the tokens were made; opaque here. Equal settings and sources make equal tokens."""


def source(path: Path) -> Source:
    """The file as it is now. Raises OSError if it cannot be read."""
    return Source(path=str(path.resolve()), size=path.stat().st_size, sha256=sha256(path))


def shard_paths(folder: Path, number: int) -> tuple[Path, Path]:
    """The tokens file and the examples file of a shard."""
    return folder / f"tokens-{number:05}.npy", folder / f"examples-{number:05}.npy"


def read_index(folder: Path) -> Index:
    """The index of a folder. Raises RunError: none there, damaged, or of another version."""
    path = folder / INDEX
    if not path.is_file():
        raise RunError(f"{folder} holds no token files: it has no {INDEX}", hint=AGAIN)
    try:
        values = read_json(path)
    except UsageError as error:
        raise RunError(f"{path} is damaged: {error}", hint=AGAIN) from None
    if values.get("format") != FORMAT:
        raise RunError(f"{path} is not an index of token files", hint=AGAIN)
    if values.get("version") not in READABLE:
        raise RunError(
            f"{path} is of version {json.dumps(values.get('version'))}, this nextword reads {READABLE[0]} to {VERSION}",
            hint=AGAIN,
        )
    try:
        index = parse(Index, values)
    except UsageError as error:
        raise RunError(f"{path} is damaged: {error}", hint=AGAIN) from None
    if sum(shard.tokens for shard in index.shards) != index.counts.tokens:
        raise RunError(f"{path} is damaged: the shards do not add up to {index.counts.tokens} tokens", hint=AGAIN)
    return index
