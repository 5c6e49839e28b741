"""Two files whose lines belong together, as corpora for translation come: line 7 of one is a translation of line 7."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from nextword.errors import DataError, counted
from nextword.text.records import ReadConfig, Record, Source
from nextword.text.sources import decoded_lines, file_format, open_bytes


def are_aligned(sources: Sequence[Source]) -> bool:
    """Whether these are two files of plain text, rather than tables or rows."""
    return len(sources) == 2 and all(
        isinstance(one, str | Path) and Path(one).is_file() and file_format(Path(one))[0] in ("text", "")
        for one in sources
    )


def aligned(first: str, second: str, read: ReadConfig, names: tuple[str, str]) -> Iterator[Record]:
    """A record for each line, with the two texts under `names`; blank lines count.

    Raises DataError if one file has more lines than the other, or neither has any.
    """
    counts = [0, 0]
    for number, lines in enumerate(zip_longest(_lines(first, read), _lines(second, read)), 1):
        for side, line in enumerate(lines):
            counts[side] += line is not None
        if None not in lines:
            yield Record(dict(zip(names, lines, strict=True)), f"{first}:{number}")
    if counts == [0, 0]:
        raise DataError(f"{first}, {second}: empty, there is no text to read")
    if counts[0] != counts[1]:
        longer = first if counts[0] > counts[1] else second
        raise DataError(
            f"{first} has {counted(counts[0], 'line')}, but {second} has {counts[1]:,}: line {min(counts) + 1} of "
            f"{longer} belongs to none",
            hint="Both files need the same number of lines; where they part company is often earlier",
        )


def _lines(path: str, read: ReadConfig) -> Iterator[str]:
    with open_bytes(path, lambda count: None) as file:
        for _, line in decoded_lines(file, path, read.encoding, read.errors):
            yield line.rstrip("\n")
