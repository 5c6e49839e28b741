"""Where sentences end, by punctuation and a short list of abbreviations: enough to translate and to extract.

Works for scripts with spaces (". " and its like) and without (。！？), and never cuts within a number. It is no
parser: of a title or an abbreviation that it does not know it makes two sentences.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_ABBREVIATIONS = frozenset(
    {
        *("mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "vs", "etc", "al", "fig", "vol", "pp", "eds"),
        *("inc", "ltd", "co", "e.g", "i.e", "cf", "ca", "approx", "u.s", "u.k", "a.m", "p.m"),
    }
)
_CLOSING = "\"'”’»)\\]」』）】"
_END = re.compile(rf"[。！？…!?]+[{_CLOSING}]*|\.+[{_CLOSING}]*(?=\s|$)")
_WIDE = "。！？…"


def sentences(text: str, whole: re.Pattern[str] | None = None) -> list[str]:
    """The sentences of a text, in order, without the space around them; a line end always ends one. None ends within
    what matches `whole`.

    >>> sentences("Dr. Li paid 3.50. Why? 他走了。她没走！")
    ['Dr. Li paid 3.50.', 'Why?', '他走了。', '她没走！']
    """
    return [sentence for line in text.splitlines() for sentence in _of_line(line, whole)]


def joined(parts: Sequence[str]) -> str:
    """Sentences as one text: with spaces between them, where the script has them.

    >>> joined(["Un.", "Deux."]), joined(["他走了。", "她没走。"])
    ('Un. Deux.', '他走了。她没走。')
    """
    text = ""
    for part in parts:
        text += (" " if text and part and unicodedata.east_asian_width(text[-1]) not in "WF" else "") + part
    return text


def _of_line(line: str, whole: re.Pattern[str] | None) -> list[str]:
    found, start = [], 0
    uncut = [match.span() for match in whole.finditer(line)] if whole else []
    for match in _END.finditer(line):
        stop = match.end()
        spaced = stop == len(line) or line[stop].isspace()
        if not (spaced or match[0][0] in _WIDE):  # "Yahoo!s", "a?b"
            continue
        if any(low < stop < high for low, high in uncut):
            continue
        if match[0].startswith(".") and _abbreviated(line[start : match.start()]):
            continue
        found.append(line[start:stop].strip())
        start = stop
    found.append(line[start:].strip())
    return [sentence for sentence in found if sentence]


def _abbreviated(before: str) -> bool:
    """Whether the full stop behind `before` belongs to its last word: a known abbreviation, or an initial."""
    word = before.split()[-1].lstrip("(\"'“‘") if before.split() else ""
    return word.lower() in _ABBREVIATIONS or (len(word) == 1 and word.isupper() and word != "I")
