"""What is given of a Chinese poem before it is written: heads of lines, a beginning, words, a draft to polish.

Each becomes characters at places, (line, place) from 0, which the automaton takes as fixed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import regex  # type: ignore[import-untyped]

from nextword.errors import DataError, UsageError
from nextword.poetry.plan import Given
from nextword.verse.patterns import Form
from nextword.verse.units import HAN

TRIES = 60
"""Placements of words tried before they count as impossible."""


def acrostic(text: str) -> Given:
    """藏头: the first characters of the lines, from the first line on. Raises UsageError for what is no Chinese."""
    if not text or not all(HAN.fullmatch(c) for c in text):
        raise UsageError(f"an acrostic is Chinese characters, one a line, got {text!r}", hint="Such as 春夏秋冬")
    return {(line, 0): character for line, character in enumerate(text)}


def beginning(lines: Sequence[str]) -> Given:
    """The first lines; the last of them may be begun only."""
    return {(i, place): character for i, line in enumerate(lines) for place, character in enumerate(line)}


def draft(text: str) -> tuple[list[str], Given]:
    """The lines of a poem in which what stays is in brackets, [白日]依山尽, and what stays.

    Raises DataError if nothing is in brackets, or no Chinese in the text, or a bracket has no partner.
    """
    rows = text.replace("【", "[").replace("】", "]")
    if regex.search(r"\[[^\]]*(\[|$)|^[^\[]*\]|\][^\[]*\]", rows):
        raise DataError("a bracket has no partner", hint="What stays is in brackets: [白日]依山尽")
    lines, given = [""], {}
    inside = False
    for character in rows:
        inside = (inside or character == "[") and character != "]"
        if HAN.fullmatch(character):
            if inside:
                given[len(lines) - 1, len(lines[-1])] = character
            lines[-1] += character
        elif character not in "[]" and lines[-1]:
            lines.append("")
    lines = [line for line in lines if line]
    if not lines:
        raise DataError("no Chinese verse in this text", hint="Give a poem in Chinese characters, without its title")
    if not given:
        raise DataError("nothing is marked to stay", hint="Put what stays in brackets: [白日]依山尽")
    return lines, given


def together(parts: Sequence[Given]) -> dict[tuple[int, int], str]:
    """All that is given. Raises UsageError where two parts disagree."""
    found: dict[tuple[int, int], str] = {}
    for part in parts:
        for (line, place), character in part.items():
            other = found.setdefault((line, place), character)
            if other != character:
                raise UsageError(f"line {line + 1}, place {place + 1} cannot be both {other} and {character}")
    return found


def placements(form: Form, words: Sequence[str], given: Given, seed: int) -> Iterator[Given]:
    """Ways to put words into free places of a form, at random, each with what else is given: at most TRIES of them.

    A word keeps within the parts of a line that are read together: 2 + 3 of five characters, 2 + 2 + 3 of seven.
    Raises UsageError for a word that no line can hold.
    """
    lengths = form.lengths
    spots = [[spot for i, n in enumerate(lengths) for spot in spots_in(i, n, len(word))] for word in words]
    for word, found in zip(words, spots, strict=True):
        if not found or not all(HAN.fullmatch(c) for c in word):
            raise UsageError(
                f"{word!r} has no place in {form.title}",
                hint="Give words of Chinese characters that lines of " + " ".join(map(str, lengths)) + " can hold",
            )
    rng = random.Random(seed)
    for _ in range(TRIES):
        filled = dict(given)
        for word, found in zip(words, spots, strict=True):
            line, start = rng.choice(found)
            places = [(line, start + i) for i in range(len(word))]
            if any(filled.get(place, c) != c for place, c in zip(places, word, strict=True)):
                break
            filled |= dict(zip(places, word, strict=True))
        else:
            yield filled


def spots_in(line: int, length: int, size: int) -> list[tuple[int, int]]:
    """(line, place) where a word of `size` characters may begin in a line of `length`.

    >>> spots_in(0, 5, 2)
    [(0, 0), (0, 2), (0, 3)]
    """
    cuts = {5: [2], 7: [2, 4]}.get(length, []) if size < 4 else []
    starts = range(length - size + 1)
    return [(line, start) for start in starts if not any(start < cut < start + size for cut in cuts)]
