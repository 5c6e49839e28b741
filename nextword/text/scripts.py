"""Unicode scripts: which script each letter belongs to, for whole texts at numpy speed."""

from __future__ import annotations

from functools import cache

import numpy as np
import regex  # type: ignore[import-untyped]
from numpy.typing import NDArray

SCRIPTS = (
    "Han", "Latin", "Cyrillic", "Greek", "Hiragana", "Katakana", "Hangul", "Bopomofo", "Arabic", "Hebrew",
    "Devanagari", "Bengali", "Gurmukhi", "Gujarati", "Oriya", "Tamil", "Telugu", "Kannada", "Malayalam",
    "Sinhala", "Thai", "Lao", "Tibetan", "Myanmar", "Khmer", "Georgian", "Armenian", "Ethiopic", "Mongolian",
    "Yi", "Syriac", "Thaana", "Cherokee", "Canadian_Aboriginal", "Other",
)  # fmt: skip
"""Names as in the Unicode standard; the letters of all further scripts count as "Other"."""

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
"""What stands in the brackets of a character class: scripts that put no spaces between words."""

CODE_POINTS = 0x110000


def code_points(text: str) -> NDArray[np.uint32]:
    """The characters of a text as numbers."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


@cache
def characters_in(pattern: str) -> NDArray[np.bool_]:
    """For every code point, whether it is in a character class such as r"[\\p{L}\\p{M}]"."""
    every = "".join(map(chr, range(CODE_POINTS)))
    inside = np.zeros(CODE_POINTS, np.bool_)
    for match in regex.finditer(f"{pattern}+", every):
        inside[match.start() : match.end()] = True
    return inside


@cache
def script_of_letters() -> NDArray[np.uint8]:
    """For every code point 1 + its index in SCRIPTS, or 0 if it is no letter."""
    table = np.where(characters_in(r"\p{L}"), np.uint8(len(SCRIPTS)), np.uint8(0))
    letters = "".join(map(chr, np.flatnonzero(table)))
    for number, script in enumerate(SCRIPTS[:-1], 1):
        table[code_points("".join(regex.findall(rf"\p{{Script={script}}}", letters)))] = number
    return table


def script_shares(counts: NDArray[np.integer]) -> dict[str, float]:
    """Shares of the letters by script, most first, from the number of each code point (CODE_POINTS,)."""
    letters = np.bincount(script_of_letters(), weights=counts, minlength=len(SCRIPTS) + 1)[1:]
    total = letters.sum()
    order = np.argsort(-letters, kind="stable")
    return {SCRIPTS[i]: float(letters[i] / total) for i in order if letters[i]}


def share_in(text: str, scripts: list[str]) -> float:
    """Share of a text's letters that are in the given scripts; 0.0 for a text without letters."""
    found = _letters(text)
    total = int(found.sum())
    return sum(int(found[SCRIPTS.index(script)]) for script in set(scripts)) / total if total else 0.0


def script_of(text: str) -> str:
    """The script of most of a text's letters; "" for a text without letters.

    >>> script_of("Хорошо, good")
    'Cyrillic'
    """
    found = _letters(text)
    return SCRIPTS[int(found.argmax())] if found.any() else ""


def _letters(text: str) -> NDArray[np.int64]:
    """(SCRIPTS,) how many letters of a text are in each."""
    return np.bincount(script_of_letters()[code_points(text)], minlength=len(SCRIPTS) + 1)[1:]
