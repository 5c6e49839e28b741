"""What verse is counted in, in either language: Chinese characters, or English words in lower case."""

from __future__ import annotations

import regex  # type: ignore[import-untyped]

HAN = regex.compile(r"[\p{Han}〇]")
LINE = regex.compile(r"[\p{Han}〇]+")
WORD = regex.compile(r"['’]?[\p{Latin}]+(?:['’][\p{Latin}]+)*")


def is_chinese(text: str) -> bool:
    """Whether there is a Chinese character in it."""
    return HAN.search(text) is not None


def units(text: str) -> list[str]:
    """The characters of a Chinese text, or the words of another.

    >>> units("月落乌啼，"), units("The Sea!")
    (['月', '落', '乌', '啼'], ['the', 'sea'])
    """
    return HAN.findall(text) or [word.lower() for word in WORD.findall(text)]


def lines_of(text: str) -> list[str]:
    """Its lines without punctuation: those that copying is told by.

    >>> lines_of("月落，乌啼。"), lines_of("The Sea,\\nthe sea!")
    (['月落', '乌啼'], ['the sea', 'the sea'])
    """
    return LINE.findall(text) or [" ".join(words) for row in text.splitlines() if (words := units(row))]
