"""Where text comes from: files, folders, globs and standard input, as bytes and as decoded lines.

Knows compression, encodings and how to place an undecodable byte; knows nothing of records or file formats
beyond their extensions.
"""

from __future__ import annotations

import codecs
import glob
import gzip
import io
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from nextword.errors import DataError, MissingExtra

Progress = Callable[[int], object]
"""Told the number of bytes (on disk) just read."""

FORMATS = {
    ".txt": "text", ".text": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json",
    ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
}  # fmt: skip
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}


def find_files(sources: Sequence[object]) -> list[str | Path]:
    """The files that `sources` stand for, in reading order ("-" stays); rows in memory are no files.

    A folder gives its files of known extension, at any depth, sorted, leaving out hidden ones.
    Raises DataError: not found, a glob that matches nothing, a folder without known files.
    """
    return [found for source in sources if isinstance(source, str | Path) for found in _expand(source)]


def _expand(source: str | Path) -> list[str | Path]:
    path = Path(source)
    if source == "-":
        return ["-"]
    if path.is_dir():
        files = sorted(
            Path(folder, name)
            for folder, folders, names in os.walk(path)
            if _visible(folders)
            for name in names
            if not name.startswith(".") and file_format(Path(name))[0]
        )
        if not files:
            known = " ".join(FORMATS)
            raise DataError(f"{path}: no file that can be read in this folder", f"Known: {known} (also .gz, .zst)")
        return list(files)
    if path.exists():
        return [path]
    if any(character in str(source) for character in "*?["):
        matches = sorted(glob.glob(str(source), recursive=True))
        if not matches:
            raise DataError(f"{source}: no file matches this pattern")
        files = [Path(match) for match in matches if not Path(match).is_dir()]
        return list(files) if files else [found for match in matches for found in _expand(match)]
    raise DataError(f"{source}: no such file or folder", "Give a file, a folder, a quoted glob, or - for stdin")


def _visible(folders: list[str]) -> bool:
    """Prune hidden folders from an `os.walk`, in place."""
    folders[:] = [name for name in folders if not name.startswith(".")]
    return True


def file_format(path: Path) -> tuple[str, str]:
    """(format, compression) of a path by its extensions, "" where unknown.

    >>> file_format(Path("a.jsonl.gz"))
    ('jsonl', 'gzip')
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSED.get(suffixes.pop(), "") if suffixes and suffixes[-1] in COMPRESSED else ""
    return FORMATS.get(suffixes[-1], "") if suffixes else "", compression


def source_bytes(sources: Sequence[object]) -> int | None:
    """Total size on disk, for a progress bar; None where it is not known: stdin, a pipe, rows in memory."""
    files = find_files(sources)
    if not all(isinstance(source, str | Path) for source in sources) or not all(Path(f).is_file() for f in files):
        return None
    return sum(Path(file).stat().st_size for file in files)


class _Counted(io.RawIOBase):
    """Raw bytes that report how many were read."""

    def __init__(self, raw: BinaryIO, progress: Progress) -> None:
        self._raw, self._progress = raw, progress

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._raw.seekable()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def readinto(self, buffer: Any) -> int:
        count = cast(io.RawIOBase, self._raw).readinto(buffer) or 0
        self._progress(count)
        return count


class _Unzstd(io.RawIOBase):
    """Decompressed bytes of a .zst file. The library's own reader takes a file cut short for a whole one."""

    def __init__(self, file: BinaryIO) -> None:
        try:
            import zstandard
        except ImportError:
            raise MissingExtra("zstandard", "zstd", "reading .zst files") from None
        self._file, self._library = file, zstandard
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._started, self._ready = False, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            compressed = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame, self._started = self._library.ZstdDecompressor().decompressobj(), False
            compressed = compressed or self._file.read(2**14)
            if not compressed:
                if self._started:
                    raise EOFError("the file ends in the middle")
                return 0
            self._started = True
            try:
                self._ready = memoryview(self._frame.decompress(compressed))
            except self._library.ZstdError as error:
                raise EOFError(str(error)) from None
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count


@contextmanager
def open_bytes(path: str | Path, progress: Progress) -> Iterator[io.BufferedReader[Any]]:
    """The decompressed bytes of a file, or of standard input for "-".

    Raises DataError, also from inside the block: unreadable, damaged.
    """
    compression = file_format(Path(path))[1]
    with _explained(path, compression or "gzip"), ExitStack() as stack:
        # Standard input stays open: it belongs to the process, not to us.
        raw = sys.stdin.buffer if path == "-" else stack.enter_context(Path(path).open("rb", buffering=0))
        file: io.BufferedReader[Any] = io.BufferedReader(_Counted(cast(BinaryIO, raw), progress), 2**20)
        match compression:
            case "gzip":
                yield io.BufferedReader(gzip.GzipFile(fileobj=file), 2**18)
            case "zstd":
                yield io.BufferedReader(_Unzstd(cast(BinaryIO, file)), 2**18)
            case _:
                yield file


@contextmanager
def _explained(path: str | Path, compression: str) -> Iterator[None]:
    """What can go wrong while reading a file, as one DataError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged {compression} file: {error}", "Copy or pack it again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def _refuse_binary(head: bytes, name: str) -> None:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{name}: text in UTF-16, expected UTF-8", "Convert it: iconv -f UTF-16 -t UTF-8")
    controls = len(head) - len(head.translate(None, bytes(range(7)) + bytes(range(14, 27)) + b"\x7f"))
    if b"\0" in head or controls > len(head) / 10:
        raise DataError(f"{name}: a binary file, not text", f"Known formats: {' '.join(FORMATS)} (also .gz, .zst)")


def decoded_lines(
    file: io.BufferedReader[Any], name: str, encoding: str = "utf-8", errors: str = "strict", limit: int = -1
) -> Iterator[tuple[int, str]]:
    """(line number, line with its "\\n") of a text; a line over `limit` bytes (-1: none) comes in pieces.

    "\\r\\n" and "\\r" become "\\n"; a byte order mark is dropped. Decodes line by line, so that memory stays
    bounded and an undecodable byte can be placed. Raises DataError: binary, or not valid in the encoding.
    """
    _refuse_binary(file.peek(8192)[:8192], name)
    limit = limit if encoding == "utf-8" else -1
    number, offset = 1, 0
    while raw := file.readline(limit):
        for _ in range(3 if len(raw) == limit else 0):  # let no cut fall inside a UTF-8 character
            if file.peek(1)[:1] and 0x80 <= file.peek(1)[0] < 0xC0:
                raw += file.read(1)
        try:
            text = raw.decode(encoding, errors)
        except UnicodeDecodeError as error:
            raise _undecodable(error, raw, name, number, offset) from None
        if offset == 0:
            text = text.removeprefix("\ufeff")
        offset += len(raw)
        if "\r" in text:
            for line in io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n")):
                yield number, line
                number += line.endswith("\n")
        else:
            yield number, text
            number += text.endswith("\n")


def _undecodable(error: UnicodeDecodeError, raw: bytes, name: str, number: int, offset: int) -> DataError:
    try:
        is_gbk = any("一" <= character <= "龥" for character in raw.decode("gb18030"))
    except UnicodeDecodeError:
        is_gbk = False
    place = f"byte 0x{raw[error.start]:02x} at offset {offset + error.start}"
    return DataError(
        f"{name}:{number}: not valid {error.encoding}: {place}",
        "It looks like GBK: --encoding gb18030" if is_gbk else "Read it all the same with --errors replace",
    )
