"""The container: typed key-value pairs, then a table of tensors, then their bytes, padded. No meaning, only structure.

Each number in a file is a claim. Python's integers don't wrap, so that `count x size` compared with what is left of the
file is an honest comparison (CVE-2025-53630 and CVE-2026-27940 are the same sum in 64 bits), and every comparison
comes before the allocation.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3. As strict as llama.cpp, and
stricter: no nested arrays, no trailing bytes, text must be UTF-8.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from nextword.files import replacing
from nextword.interop.gguf.blocks import TYPES, BlockType
from nextword.tensor_files import OpenFile, read_checked

Value = bool | int | float | str | list[str] | np.ndarray
"""Of a key: a scalar, a list of texts, or a one-dimensional array of numbers or truth values."""

MAGIC, VERSION, ALIGNMENT = b"GGUF", 3, 32
MOST_METADATA = 2**28  # bytes before the tensors' data; Gemma 3's vocabulary needs 8 million
MOST_TEXTS = 2**22  # in one array
MOST_KEY, MOST_NAME, MOST_DIMENSIONS = 65_535, 63, 4
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
"""Type number -> its letter, the same for `struct` and numpy."""
UINT8, UINT32, INT32, FLOAT32, BOOL, TEXT, ARRAY = 0, 4, 5, 6, 7, 8, 9


class Place(NamedTuple):
    """One tensor: what it is, and where its bytes begin in the file."""

    type: BlockType
    shape: tuple[int, ...]
    """In the order of torch, the reverse of the file's."""
    start: int


@dataclass(frozen=True)
class Container:
    """A checked file: all metadata, and where the tensors lie."""

    file: OpenFile
    metadata: Mapping[str, Value]
    tensors: Mapping[str, Place]

    def read(self, name: str) -> np.ndarray:
        """The bytes of a tensor, (bytes,) of uint8."""
        type, shape, start = self.tensors[name]
        return np.frombuffer(self.file.read(start, type.bytes_of(math.prod(shape))), np.uint8)


class _Cursor:
    """Reads a file from its beginning; nothing beyond its end, and no more metadata than MOST_METADATA."""

    def __init__(self, file: OpenFile) -> None:
        self.file, self.place = file, 0
        self._end = min(file.size, MOST_METADATA)
        self._window, self._begin = bytearray(), 0

    @property
    def left(self) -> int:
        return self._end - self.place

    def take(self, count: int) -> bytes | bytearray:
        if count > self.left:
            if self.file.size > MOST_METADATA:
                raise ValueError(f"its metadata has more than {MOST_METADATA:,} bytes")
            raise ValueError(f"{count:,} bytes are announced at byte {self.place:,}, {self.left:,} are left")
        begin = self.place - self._begin
        if begin + count > len(self._window):  # many small values: read ahead
            self._window = self.file.read(self.place, min(max(count, 2**20), self.left))
            self._begin, begin = self.place, 0
        self.place += count
        return self._window[begin : begin + count]

    def number(self, letter: str) -> int | float:
        value: int | float = struct.unpack(f"<{letter}", self.take(struct.calcsize(f"<{letter}")))[0]
        return value

    def count(self, least: int, what: str) -> int:
        """A number of things that take at least `least` bytes each."""
        count = int(self.number("Q"))
        if count * least > self.left:
            raise ValueError(f"{count:,} {what} are announced, {self.left:,} bytes are left")
        return count

    def text(self, most: int, what: str) -> str:
        length = self.count(1, f"bytes of {what}")
        if length > most:
            raise ValueError(f"{what} of {length:,} bytes, at most {most:,} are allowed")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{what} is not UTF-8") from None


def read_container(path: Path) -> Container:
    """Open a GGUF file and check all but its meaning.

    Raises RunError naming what is wrong: no GGUF, a version that is not read, one part of several, a key or a tensor
    twice, an unknown type, or bytes that are announced but not there.
    """
    return read_checked(path, _checked, "metadata")


def _checked(file: OpenFile) -> Container:
    cursor = _Cursor(file)
    if file.size < 24 or cursor.take(4) != MAGIC:
        raise ValueError("no GGUF file")
    version = int(cursor.number("I"))
    if version not in (2, 3):
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in (2, 3)
        raise ValueError("GGUF for big-endian machines" if swapped else f"GGUF version {version}, 2 and 3 are read")
    num_tensors = cursor.count(8 + 1 + 4 + 8 + 4 + 8, "tensors")
    num_keys = cursor.count(8 + 1 + 4 + 1, "keys")
    metadata: dict[str, Value] = {}
    for _ in range(num_keys):
        key = cursor.text(MOST_KEY, "a key")
        if not key or key in metadata:
            raise ValueError(f"the key {key[:80]!r} stands there twice" if key else "an empty key")
        kind = int(cursor.number("I"))
        if key == "general.alignment" and kind != UINT32:
            raise ValueError(f"{key} has type {kind}, expected {UINT32}")
        metadata[key] = _value(cursor, key, kind)
    alignment = metadata.get("general.alignment", ALIGNMENT)
    assert isinstance(alignment, int)
    if alignment == 0 or alignment & (alignment - 1):
        raise ValueError(f"general.alignment is {alignment}, expected a power of two")
    if metadata.get("split.count", 1) not in (0, 1):
        raise ValueError(f"one of {metadata['split.count']} parts: join them with llama-gguf-split --merge")
    claims: dict[str, tuple[BlockType, tuple[int, ...], int]] = {}
    for _ in range(num_tensors):
        name = cursor.text(MOST_NAME, "the name of a tensor")
        if not name or name in claims:
            raise ValueError(f"tensor {name!r} stands there twice" if name else "a tensor without a name")
        claims[name] = _claim(cursor, name)
    base = _padded(cursor.place, alignment)
    place, tensors = base, {}
    for name, (type_, shape, offset) in claims.items():
        if base + offset != place:
            raise ValueError(f"tensor {name!r} is said to begin at {offset:,}, expected {place - base:,}")
        tensors[name] = Place(type_, shape, place)
        place += _padded(type_.bytes_of(math.prod(shape)), alignment)
        if place > file.size:
            raise ValueError(f"tensor {name!r} would end at byte {place:,}, the file ends at {file.size:,}")
    if file.size != place and not (file.size == cursor.place and not tensors):
        raise ValueError(f"its tensors end at byte {place:,}, the file at {file.size:,}")
    return Container(file, metadata, tensors)


def _value(cursor: _Cursor, key: str, kind: int) -> Value:
    if kind in SCALARS:
        return cursor.number(SCALARS[kind])
    if kind == BOOL:
        return _truth(cursor.take(1), key)[0]
    if kind == TEXT:
        return cursor.text(MOST_METADATA, key)
    if kind != ARRAY:
        raise ValueError(f"{key} has the unknown type {kind}")
    kind = int(cursor.number("I"))
    if kind in SCALARS:
        width = struct.calcsize(SCALARS[kind])
        return np.frombuffer(cursor.take(cursor.count(width, f"numbers of {key}") * width), f"<{SCALARS[kind]}")
    if kind == BOOL:
        return np.array(_truth(cursor.take(cursor.count(1, f"values of {key}")), key), bool)
    if kind != TEXT:
        raise ValueError(f"{key} is an array of {'arrays' if kind == ARRAY else f'the unknown type {kind}'}")
    count = cursor.count(8, f"texts of {key}")
    if count > MOST_TEXTS:
        raise ValueError(f"{key} has {count:,} texts, at most {MOST_TEXTS:,} are read")
    return [cursor.text(MOST_METADATA, f"a text of {key}") for _ in range(count)]


def _truth(data: bytes | bytearray, key: str) -> list[bool]:
    if data.strip(b"\0\1"):
        raise ValueError(f"{key} holds a truth value other than 0 and 1")
    return [byte == 1 for byte in data]


def _claim(cursor: _Cursor, name: str) -> tuple[BlockType, tuple[int, ...], int]:
    """Type, shape and offset of a tensor, as the file has them."""
    dimensions = int(cursor.number("I"))
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        raise ValueError(f"tensor {name!r} has {dimensions:,} dimensions")
    sizes = [int(cursor.number("Q")) for _ in range(dimensions)]
    kind = int(cursor.number("I"))
    if kind not in TYPES:
        raise ValueError(f"tensor {name!r} has the unknown type {kind}")
    if math.prod(max(size, 1) for size in sizes) >= 2**62 or sizes[0] % TYPES[kind].elements:
        raise ValueError(f"tensor {name!r} of type {TYPES[kind].name} has the impossible shape {sizes}")
    return TYPES[kind], tuple(reversed(sizes)), int(cursor.number("Q"))


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


class Tensor(NamedTuple):
    """A tensor to be written: `data()` gives its bytes when their turn has come."""

    name: str
    type: BlockType
    shape: tuple[int, ...]
    data: Iterable[np.ndarray]
    """Its bytes, in one piece or several."""


def write_container(path: Path, metadata: Mapping[str, Value], tensors: Iterable[Tensor]) -> None:
    """Write a GGUF file of version 3, atomically; a tensor's data is asked for when its turn has come."""
    tensors = list(tensors)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(metadata)))
        for key, value in metadata.items():
            file.write(_text(key) + _encoded(value))
        offset = 0
        for name, type_, shape, _ in tensors:
            sizes = shape[::-1]
            file.write(_text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, type_.number, offset))
            offset += _padded(type_.bytes_of(math.prod(shape)), ALIGNMENT)
        _pad(file)
        for name, type_, shape, data in tensors:
            before = file.tell()
            for piece in data:
                file.write(np.ascontiguousarray(piece).view(np.uint8).data)
            assert file.tell() - before == type_.bytes_of(math.prod(shape)), name
            _pad(file)


def _pad(file: BinaryIO) -> None:
    file.write(bytes(-file.tell() % ALIGNMENT))


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _encoded(value: Value) -> bytes:
    """Type and value, with the types that llama.cpp expects: whole numbers as UINT32, others as FLOAT32."""
    match value:
        case bool():
            return struct.pack("<I?", BOOL, value)
        case int():
            return struct.pack("<II", UINT32, value)
        case float():
            return struct.pack("<If", FLOAT32, value)
        case str():
            return struct.pack("<I", TEXT) + _text(value)
        case list():
            return struct.pack("<IIQ", ARRAY, TEXT, len(value)) + b"".join(_text(text) for text in value)
    kind = BOOL if value.dtype == bool else INT32 if value.dtype.kind in "iu" else FLOAT32
    data = value.astype({BOOL: "?", INT32: "<i4", FLOAT32: "<f4"}[kind])
    return struct.pack("<IIQ", ARRAY, kind, data.size) + data.tobytes()
