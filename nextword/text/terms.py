"""What a translation must say in just these words: terms of a glossary, addresses and long numbers, marked spans."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import regex  # type: ignore[import-untyped]

from nextword.errors import DataError
from nextword.text.scripts import UNSPACED

Span = tuple[int, int]
"""Where something in a text begins, and where it has ended."""

_PART = r"[^\s<>\"'()\u2e80-\u9fff\uff00-\uffef"  # no Chinese, which follows without a space
_IN_BRACKETS = rf"\({_PART}]*\)"
ADDRESS = (
    rf"(?:https?://|www\.)(?:{_PART}]|{_IN_BRACKETS})*(?:{_PART}.,;:!?]|{_IN_BRACKETS})"
    r"|(?<![A-Za-z0-9_.+-])[A-Za-z0-9_.+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"
)
"""A pattern of addresses in the web and of mail."""
_ADDRESS = re.compile(ADDRESS)
_NUMBER = re.compile(r"\d[\d.,]*\d")
_NARROW = str.maketrans("０１２３４５６７８９", "0123456789")
_PARTED = rf"(?![{UNSPACED}\p{{Hangul}}ー])[\w\p{{N}}]"
"""Letters, marks and digits of words that are parted by spaces."""
MARKED = re.compile(r"<keep>(.*?)</keep>")
"""A span that is to be said as it is."""


def read_glossary(path: Path) -> dict[str, str]:
    """Term -> its translation, from a .tsv file of two columns without a header.

    Raises DataError for a line that is no pair, and for a term given twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    terms: dict[str, str] = {}
    for number, row in enumerate(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), 1):
        fields = [field.strip() for field in row]
        if not any(fields):
            continue
        if len(fields) != 2 or not all(fields):
            raise DataError(
                f"{path}:{number}: expected a term, a tab and its translation, got {chr(9).join(row)[:60]!r}"
            )
        term, translation = fields
        if terms.setdefault(term, translation) != translation:
            raise DataError(f"{path}:{number}: {term!r} is {terms[term]!r} already, now {translation!r}")
    return terms


def unmarked(text: str) -> tuple[str, list[Span]]:
    """The text without its <keep> marks, and where in it what stood between them is.

    >>> unmarked("Press <keep>Ctrl+C</keep> now.")
    ('Press Ctrl+C now.', [(6, 12)])
    """
    plain, spans, at = "", [], 0
    for match in MARKED.finditer(text):
        plain += text[at : match.start()]
        if match[1].strip():
            spans.append((len(plain), len(plain) + len(match[1])))
        plain += match[1]
        at = match.end()
    return plain + text[at:], spans


def wanted_terms(text: str, glossary: Mapping[str, str]) -> list[str]:
    """What a translation of `text` has to have in it: the translations of its terms, whole words in any case, of
    overlapping ones the longest; and its addresses.

    >>> wanted_terms("The bank at http://a.b/c opened.", {"bank": "banque"})
    ['banque', 'http://a.b/c']
    """
    found: dict[str, None] = {}
    if glossary:
        terms = tuple(sorted(glossary, key=len, reverse=True))
        for match in _any_of(terms).finditer(text):
            found[glossary.get(match[0], glossary[terms[match.lastindex - 1]])] = None
    found.update(dict.fromkeys(_ADDRESS.findall(text)))
    return list(found)


@lru_cache(maxsize=8)
def _any_of(terms: tuple[str, ...]) -> Any:
    """A pattern of `regex` for these terms, a group each; of a large glossary it takes seconds to make."""
    return regex.compile("|".join(f"({whole(term)})" for term in terms), regex.IGNORECASE)


def lost_numbers(text: str, translation: str) -> list[str]:
    """Numbers of two digits or more that the translation does not have; 1,000 may have become 1 000, and １２ 12.

    >>> lost_numbers("In 1984, 2,500 came.", "En 1984, 2 500 sont venus."), lost_numbers("In 1984", "En 11984")
    ([], ['1984'])
    """
    text, translation = text.translate(_NARROW), translation.translate(_NARROW)
    joined = re.sub(r"(?<=\d)[\s.,\u00a0\u202f’'](?=\d)", "", translation)
    there = {*re.findall(r"\d+", translation), *re.findall(r"\d+", joined)}
    numbers = _NUMBER.findall(_ADDRESS.sub(" ", text))
    return [number for number in dict.fromkeys(numbers) if re.sub(r"\D", "", number) not in there]


def has_term(text: str, term: str) -> bool:
    """Whether the term stands in the text as it is written, and not as a part of a longer word.

    >>> has_term("der Hund.", "Hund"), has_term("die Hunde", "Hund"), has_term("他在北京", "北京")
    (True, False, True)
    """
    return regex.search(whole(term), text) is not None


def is_word(term: str) -> bool:
    """Whether the term could be a part of a longer word: it begins or ends with a letter or digit of a script that has
    spaces between words.

    >>> is_word("Hund"), is_word("北京")
    (True, False)
    """
    return whole(term) != re.escape(term)


def whole(term: str) -> str:
    """A pattern of `regex` for the term that is no part of a longer word; in scripts without spaces, and in Korean,
    whose particles follow without one, every place will do."""
    start = rf"(?<!{_PARTED})" if regex.match(_PARTED, term[0]) else ""
    end = rf"(?!{_PARTED})" if regex.match(_PARTED, term[-1]) else ""
    return f"{start}{re.escape(term)}{end}"
