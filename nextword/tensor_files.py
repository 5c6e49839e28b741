"""Files of named tensors: one strict reader of safetensors, for our own runs and for folders from elsewhere.

Everything in a header is checked against the size of the file before anything is allocated: an offset, a shape or a
count that a stranger wrote is only a claim. Tensors are read when they are asked for, into memory of their own. A
mapped file would save that copy, but whoever shortens the file meanwhile would kill the process (SIGBUS) rather than
cause an error. Nothing here needs torch before the first tensor is read.

Format: https://github.com/huggingface/safetensors, "Format". Stricter than the library in two points of that text: the
header begins with `{`, and no name stands there twice.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nextword import strict_json
from nextword.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

MOST_HEADER = 100_000_000  # bytes; the library's limit
MOST_VALUES = 2**20  # in the header: some ten for each tensor
MOST_ELEMENTS = 2**62
DTYPES = {
    "BOOL": ("bool", 1),
    "U8": ("uint8", 1),
    "I8": ("int8", 1),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "I16": ("int16", 2),
    "U16": ("uint16", 2),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "I32": ("int32", 4),
    "U32": ("uint32", 4),
    "F32": ("float32", 4),
    "I64": ("int64", 8),
    "U64": ("uint64", 8),
    "F64": ("float64", 8),
    "C64": ("complex64", 8),
}
"""Name in the file -> name in torch, bytes an element."""


class OpenFile:
    """A regular file that is read at given places, with its size as it was when it was opened."""

    def __init__(self, path: Path) -> None:
        """Raises RunError if there is no such file, or if it is a folder, a pipe or a device."""
        self.path = path
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait forever
                raise RunError(f"{path} is not a file")
            self._file = path.open("rb")
            self.size = os.fstat(self._file.fileno()).st_size
        except FileNotFoundError:
            raise RunError(f"{path} is missing") from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise RunError(f"{str(path)!r}: {getattr(error, 'strerror', None) or error}") from None

    def read(self, start: int, count: int) -> bytearray:
        """Exactly `count` bytes from `start`."""
        try:
            data = bytearray(count)
        except MemoryError:
            raise RunError(f"{self.path}: {count:,} bytes are more than the memory at hand") from None
        self.read_into(start, data)
        return data

    def read_into(self, start: int, buffer: Any) -> None:
        """Fill a buffer of bytes with what begins at `start`."""
        view = memoryview(buffer)
        assert 0 <= start <= start + view.nbytes <= self.size, "checked by who asks"
        try:
            self._file.seek(start)
            count = self._file.readinto(view)
        except OSError as error:
            raise RunError(f"{self.path}: {error.strerror or error}") from None
        if count != view.nbytes:
            raise damaged(self.path, "it became shorter while it was read")


def damaged(path: Path, why: str) -> RunError:
    """The error of all readers of foreign bytes: on one line, whatever names the file put into `why`."""
    return RunError(f"{path} is damaged: {printable(why)}", hint="Fetch or restore the file again")


def printable(text: str) -> str:
    r"""A text of which nothing moves a terminal's cursor.

    >>> printable("a\nb")
    'a\\nb'
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def read_checked(path: Path, check: Callable[[OpenFile], T], part: str) -> T:
    """What `check` makes of a file: the ValueErrors it raises say what of the file is wrong, and become RunErrors that
    name it. `part` is what of it may be more than the memory at hand."""
    file = OpenFile(path)
    try:
        return check(file)
    except ValueError as error:
        raise damaged(path, str(error)) from None
    except MemoryError:
        raise RunError(f"{path}: its {part} is more than the memory at hand") from None


class LazyTensors(Mapping[str, "Tensor"]):
    """Tensors by name, each read or made when it is asked for; which there are costs nothing to say."""

    def __init__(self, index: Mapping[str, Any]) -> None:
        """`index`: the names, and what a subclass wants to know of each."""
        self.index = index

    def __iter__(self) -> Iterator[str]:
        return iter(self.index)

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, name: object) -> bool:  # Mapping's would make the tensor
        return name in self.index


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies: bytes `start` to `end` of the file."""

    dtype: str
    """torch's name of it."""
    shape: tuple[int, ...]
    start: int
    end: int


class SafetensorsFile(LazyTensors):
    """The tensors of a checked file, each read anew when it is asked for; names and shapes cost nothing."""

    def __init__(self, file: OpenFile, entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> None:
        """`entries` are checked: see `read_safetensors`."""
        super().__init__(entries)
        self._file, self.entries, self.metadata = file, entries, metadata

    def __getitem__(self, name: str) -> Tensor:
        """Raises RunError if the file was shortened, or if it holds a truth value other than 0 and 1."""
        import torch

        entry = self.entries[name]
        dtype = getattr(torch, entry.dtype)
        if entry.start == entry.end:
            return torch.empty(entry.shape, dtype=dtype)
        # torch's own memory, which begins at a multiple of 64: elsewhere a product of matrices may round differently.
        data = torch.empty(entry.end - entry.start, dtype=torch.uint8)
        self._file.read_into(entry.start, data.numpy())
        if dtype == torch.bool and data.max() > 1:
            raise damaged(self._file.path, f"tensor {name!r} of truth values holds {int(data.max())}")
        return data.view(dtype).view(entry.shape)


def read_safetensors(path: Path) -> SafetensorsFile:
    """Open a safetensors file and check all of its header.

    Raises RunError naming what is wrong: the file is missing or cut, trailing bytes, an unknown dtype, a name twice,
    tensors that overlap or leave a hole, a size that is not that of shape and dtype.
    """
    return read_checked(path, _checked, "header")


def _checked(file: OpenFile) -> SafetensorsFile:
    if file.size < 8:
        raise ValueError(f"{file.size} bytes are no safetensors file")
    length = int.from_bytes(file.read(0, 8), "little")
    if length > MOST_HEADER:
        raise ValueError(f"a header of {length:,} bytes, at most {MOST_HEADER:,} are allowed")
    if length > file.size - 8:
        raise ValueError(f"a header of {length:,} bytes in a file of {file.size:,}")
    text = file.read(8, length)
    if not text.startswith(b"{"):
        raise ValueError("its header does not begin with {")
    header = strict_json.loads(text, MOST_HEADER, most_depth=3, most_values=MOST_VALUES)  # names -> entries -> numbers
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("__metadata__ is not a table of strings")
    base = 8 + length
    entries = {name: _entry(name, value, base) for name, value in header.items()}
    place = base
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != place:
            what = "overlaps the one before it" if entry.start < place else "leaves a hole before it"
            raise ValueError(f"tensor {name!r} {what}")
        place = entry.end
    if place != file.size:
        raise ValueError(f"its tensors end at byte {place:,}, the file at {file.size:,}")
    return SafetensorsFile(file, entries, metadata)


def _entry(name: str, value: Any, base: int) -> Entry:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r} is not described by dtype, shape and data_offsets")
    shape, offsets = _naturals(value["shape"]), _naturals(value["data_offsets"])
    if shape is None or math.prod(max(size, 1) for size in shape) > MOST_ELEMENTS:
        raise ValueError(f"tensor {name!r} has no possible shape")
    if not isinstance(value["dtype"], str) or value["dtype"] not in DTYPES:
        raise ValueError(f"tensor {name!r} has the unknown dtype {str(value['dtype'])[:40]!r}")
    dtype, width = DTYPES[value["dtype"]]
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"tensor {name!r} has no possible data_offsets")
    start, end = offsets
    if end - start != math.prod(shape) * width:
        raise ValueError(f"tensor {name!r} has {end - start:,} bytes, its shape and dtype {math.prod(shape) * width:,}")
    return Entry(dtype, tuple(shape), base + start, base + end)


def _naturals(values: Any) -> list[int] | None:
    """A short list of integers of at least zero, or None."""
    if not isinstance(values, list) or len(values) > 16:
        return None
    return values if all(type(value) is int and value >= 0 for value in values) else None
