"""What is in one file, by its format: text, JSON lines, JSON, CSV, TSV, Parquet.

A row is its place, "poems.jsonl:3", and its fields. Every mistake is one DataError that names the place. Knows nothing
of encodings, nor of what is learned of a row.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from collections.abc import Iterator
from itertools import chain
from shutil import copyfileobj
from typing import Any

from nextword.errors import DataError, MissingExtra

Lines = Iterator[tuple[int, str]]
"""Numbered from 1, each with its line end."""
Row = tuple[str, dict[str, Any]]

LONGEST = 2**24
"""Bytes of a .txt document after which it is cut, at a line end if there is one: memory stays bounded."""


def text_rows(lines: Lines, name: str, documents: str, field: str) -> Iterator[Row]:
    """The documents of a text that are not blank, each with the number of its first line. One is a block, a line or a
    file."""
    for number, document in _documents(lines, documents):
        yield f"{name}:{number}", {field: document}


def _documents(lines: Lines, documents: str) -> Iterator[tuple[int, str]]:
    """(first line number, text) of each document that is not blank."""
    start, size = 1, 0
    block: list[str] = []
    for number, line in lines:
        blank = not line.strip()  # also the ideographic space U+3000
        if documents == "line":
            if not blank:
                yield number, line.rstrip("\n")
            continue
        if not block:
            if blank and documents == "block":
                continue
            start = number
        block.append(line)
        size += len(line)
        if documents == "block" and (blank or size >= LONGEST // 4):
            yield start, "".join(block[:-1] if blank else block).rstrip("\n")
            block, size = [], 0
    text = "".join(block)
    if text.strip():
        yield start, text if documents == "file" else text.rstrip("\n")


def jsonl_rows(lines: Lines, name: str) -> Iterator[Row]:
    """An object a line."""
    for number, line in lines:
        if line.strip():
            row = _parse_json(line, f"{name}:{number}")
            if not isinstance(row, dict):
                got = f"{type(row).__name__} {line.strip()[:40]!r}"
                raise DataError(f'{name}:{number}: expected an object such as {{"text": "..."}}, got {got}')
            yield f"{name}:{number}", row


def json_rows(lines: Lines, name: str) -> Iterator[Row]:
    """A list of objects, held whole."""
    text = "".join(line for _, line in lines)
    if not text.strip():
        return
    rows = _parse_json(text, name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{name}: expected a list of objects", "One object a line is called .jsonl")
    for number, row in enumerate(rows, 1):
        yield f"{name}[{number}]", row


def _parse_json(text: str, source: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno} column {error.colno}"
        raise DataError(f"{source}: not valid JSON: {error.msg} at {place}: {text.strip()[:40]!r}") from None
    except (RecursionError, ValueError) as error:  # nested too deep; a number of too many digits
        raise DataError(f"{source}: not valid JSON: {error}") from None


def table_rows(lines: Lines, name: str, delimiter: str, columns: str) -> Iterator[Row]:
    """CSV or TSV. `columns`, "source,target", are those of a table whose first line is a row already."""
    csv.field_size_limit(LONGEST)  # also ends the hunt for a closing quote that never comes
    texts = (line for _, line in lines)
    rows = _tsv_rows(texts) if delimiter == "\t" else _csv_rows(texts)
    header = [column.strip() for column in columns.split(",")] if columns else None
    start = 1  # a quoted field may span lines
    try:
        for row, stop in rows:
            if header is None:
                header = [column.strip() for column in row]
            elif row and len(row) != len(header):
                expected = f"the header has {len(header)} ({', '.join(header)[:80]})"
                hint = f'A field that holds "{delimiter}" or a line end must be quoted' if delimiter == "," else ""
                if columns:
                    expected, hint = f"{len(header)} columns are named ({columns[:80]})", ""
                raise DataError(f"{name}:{start}: {len(row)} fields, but {expected}", hint)
            elif row:
                yield f"{name}:{start}", dict(zip(header, row, strict=True))
            start = stop + 1
    except csv.Error as error:
        raise DataError(f"{name}:{start}: not valid {'TSV' if delimiter == chr(9) else 'CSV'}: {error}") from None


def _csv_rows(texts: Iterator[str]) -> Iterator[tuple[list[str], int]]:
    """(fields, number of the last line) of each row."""
    rows = csv.reader(texts, strict=True)
    for row in rows:
        yield row, rows.line_num


def _tsv_rows(texts: Iterator[str]) -> Iterator[tuple[list[str], int]]:
    """The same for TSV, where a quotation mark is mostly one of the text: it stands for itself, unless a pair of them
    encloses a whole field, or a tab or line end within one."""
    number = width = 0
    for line in texts:
        fields = line.rstrip("\n").split("\t")
        if any(map(_opens, fields)) and (len(fields) != width or _opens(fields[-1])):
            rows = csv.reader(chain([line], texts), delimiter="\t", strict=True)
            fields = next(rows)
            number += rows.line_num
        else:
            fields = [_unquoted(field) for field in fields] if line.strip("\n") else []
            number += 1
        width = width or len(fields)
        yield fields, number


def _opens(field: str) -> bool:
    """Whether a quoted field begins here that goes on in the next line."""
    return field.startswith('"') and field.count('"') % 2 == 1


def _unquoted(field: str) -> str:
    return field[1:-1].replace('""', '"') if re.fullmatch(r'"(?:[^"]|"")*"', field) else field


def parquet_rows(file: io.BufferedReader[Any], name: str) -> Iterator[Row]:
    """Parquet, some rows at a time."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("pyarrow", "parquet", "reading .parquet files") from None
    with tempfile.TemporaryFile() as unpacked:
        if not file.seekable():  # compressed, or a pipe; but Parquet is read from its end
            copyfileobj(file, unpacked)
        try:
            table = pq.ParquetFile(file if file.seekable() else unpacked, buffer_size=2**20, pre_buffer=False)
            number = 0
            for batch in table.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{name}:{number}", row
        except pa.ArrowException as error:
            raise DataError(f"{name}: not a valid Parquet file: {str(error).splitlines()[0]}") from None
