"""Read anything as a stream of records: text, JSON lines, tables, folders, globs, standard input, datasets.

A `Record` is one row as a dict that knows where it came from; an `Example` is what a model learns from it.
Reading holds one document at a time, so a file may be larger than memory. Every mistake in a file is one
`DataError` that names the file and the line. Knows nothing of cleaning, tokens or models.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from nextword.config import Config
from nextword.errors import DataError
from nextword.text import formats
from nextword.text.sources import Progress, decoded_lines, file_format, find_files, open_bytes, source_bytes

__all__ = [
    "Example", "Progress", "ReadConfig", "Record", "Source",
    "find_files", "read_records", "source_bytes", "text_of",
]  # fmt: skip

Source = str | Path | Iterable[Mapping[str, Any]]
"""A file, folder or glob, "-" for standard input, or rows: a Hugging Face Dataset, a list of dicts."""


class Record(dict[str, Any]):
    """One row of data; `source` says where it came from, as file:line.

    >>> Record({"text": "床前明月光"}, "poems.txt:1").source
    'poems.txt:1'
    """

    __slots__ = ("source",)
    source: str

    def __init__(self, fields: Mapping[str, Any], source: str) -> None:
        super().__init__(fields)
        self.source = source


@dataclass(frozen=True, slots=True)
class Example:
    """What a model learns from a record: loss and metrics concern `target`. Plain text: empty prompt."""

    prompt: str
    target: str

    def texts(self) -> Iterator[str]:
        """What a vocabulary is learned from."""
        yield from filter(None, (self.prompt, self.target))


def text_of(record: Record, field: str, option: str = "--text-field") -> str:
    """The text of a record; a list of strings counts as its lines.

    Raises DataError if the field is missing (naming the columns that exist, and the `option` to choose one by) or
    holds something else.
    """
    value = record.get(field)
    if isinstance(value, str):
        return value
    if field not in record:
        columns = ", ".join(map(str, record)) or "none"
        raise DataError(f"{record.source}: no column {field!r}", f"Columns: {columns}. Choose with {option}")
    if isinstance(value, list | tuple) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    raise DataError(f"{record.source}: {field!r} should be text, got {type(value).__name__} {str(value)[:40]!r}")


class ReadConfig(Config):
    """How sources become records."""

    documents: Literal["block", "line", "file"] = "block"
    """What one document is in a .txt file: a block between blank lines, a line, or the whole file."""
    text_field: str = "text"
    """The column that holds the text; "" = rows as they are, unchecked."""
    prompt_field: str = ""
    """In place of text_field: the column that is read before target_field, but not learned."""
    target_field: str = ""
    """In place of text_field: the column that is learned, given the prompt."""
    conversations: bool = False
    """In place of text_field: a row is a conversation, as `nextword/text/turns.py` reads them, and each reply in it is
    learned, given the turns before it, as the chat template of the model has it."""
    separator: str = "\n"
    """What stands between prompt and target; a part of the prompt."""
    group_field: str = ""
    """Rows with the same value in this column are held out together; "" = those with the same prompt, and a text."""
    columns: str = ""
    """Of a .csv or .tsv file whose first line is a row already: what its columns are called, "source,target"."""
    encoding: str = "utf-8"
    """Encoding of text files: utf-8, or one that extends ASCII, such as gb18030 (GBK), big5, latin-1."""
    errors: Literal["strict", "replace"] = "strict"
    """A byte that is not valid in the encoding: an error, or the replacement character U+FFFD."""

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if bool(self.prompt_field) != bool(self.target_field):
            given, missing = ("prompt", "target") if self.prompt_field else ("target", "prompt")
            raise ValueError(f"{given}_field and {missing}_field go together: give both, or only text_field")
        return self

    @field_validator("encoding")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            codec = codecs.lookup(name).name
            extends_ascii = "\n".encode(codec) == b"\n"  # lines are found before they are decoded
        except (LookupError, TypeError, ValueError):
            raise ValueError(f"unknown encoding {name!r}. Common ones: utf-8, gb18030, big5, latin-1") from None
        if not extends_ascii:
            raise ValueError(f"{name} does not extend ASCII. Convert the file: iconv -f {name} -t UTF-8")
        return codec


def read_records(
    sources: Sequence[Source], config: ReadConfig | None = None, progress: Progress | None = None
) -> Iterator[Record]:
    """Stream the records of all sources, in order.

    .txt gives {text_field: document}; .jsonl, .json (a list of objects, held whole), .csv, .tsv and .parquet
    give their rows; a file of unknown extension is read as .txt; all may be compressed (.gz, .zst).
    Windows line ends become "\\n" and a byte order mark is dropped. A .txt document longer than
    `formats.LONGEST` bytes is cut, unless documents = "file".

    Raises DataError at once for sources that do not exist; while reading, for what is not what it should be,
    and at the end if there was no record at all.
    """
    config, progress = config or ReadConfig(), progress or (lambda _: None)
    streams = [  # find_files looks at all sources before the first is read
        _read_files(find_files([source]), config, progress) if isinstance(source, str | Path) else _read_rows(source)
        for source in sources
    ]
    names = ", ".join(str(source) for source in sources if isinstance(source, str | Path))
    return _checked(streams, config, names or "the data")


def _checked(streams: Iterable[Iterator[Record]], config: ReadConfig, names: str) -> Iterator[Record]:
    """All records, each with a text that can be used. Raises DataError if there is none."""
    record = None
    for records in streams:
        for record in records:
            if not (config.prompt_field or config.conversations) and (field := config.text_field):
                record[field] = encodable(text_of(record, field), record.source, config.errors)
            yield record
    if record is None:
        raise DataError(f"{names}: empty, there is no text to read")


def _read_rows(rows: Iterable[Mapping[str, Any]]) -> Iterator[Record]:
    """Rows of a Hugging Face Dataset, or of any iterable of dicts."""
    if isinstance(rows, Mapping):
        raise DataError(f"a set of splits is no data: {', '.join(map(str, rows))}", "Pass one: dataset['train']")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise DataError(f"row {number} of {type(rows).__name__}: expected a dict, got {type(row).__name__}")
        yield Record(row, getattr(row, "source", f"{type(rows).__name__}:{number}"))


def _read_files(files: Sequence[str | Path], config: ReadConfig, progress: Progress) -> Iterator[Record]:
    for path in files:
        kind = file_format(Path(path))[0]
        name = "stdin" if path == "-" else str(path)
        with open_bytes(path, progress) as file:
            cut = kind in ("text", "") and config.documents != "file"
            lines = decoded_lines(file, name, config.encoding, config.errors, formats.LONGEST if cut else -1)
            match kind:
                case "parquet":
                    rows = formats.parquet_rows(file, name)
                case "jsonl":
                    rows = formats.jsonl_rows(lines, name)
                case "json":
                    rows = formats.json_rows(lines, name)
                case "csv" | "tsv":
                    rows = formats.table_rows(lines, name, "\t" if kind == "tsv" else ",", config.columns)
                case _:
                    rows = formats.text_rows(lines, name, config.documents, config.text_field or "text")
            for place, fields in rows:
                yield Record(fields, place)


def encodable(text: str, source: str, errors: str) -> str:
    """The text, if UTF-8 can hold it: JSON's \\ud800 escapes can smuggle in half a character."""
    try:
        if not text.isascii():
            text.encode()
        return text
    except UnicodeEncodeError as error:
        if errors == "replace":
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        half = f"half a character (\\u{ord(text[error.start]):04x})"
        raise DataError(f"{source}: the text holds {half}", "Read it with --errors replace") from None
