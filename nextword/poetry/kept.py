"""What is given of a line of English verse: the letter it begins with, and words that stay, with others between them.

A given word has its place by order alone: which beats it takes is for the metre to say. Knows no lexicon.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from nextword.errors import DataError, UsageError
from nextword.verse.scansion import WORD


@dataclass(frozen=True)
class Kept:
    """Of one line. `[Shall I] compare thee to a [summer's day]` keeps shall, i and summer's, and day as the last."""

    head: str = ""
    """The letter it begins with, in lower case; "": any."""
    words: tuple[str, ...] = ()
    """In lower case, in their order, the last of the line apart."""
    joined: tuple[bool, ...] = (False,)
    """Of each of `words`, and of the end of the line: whether no other word may stand before it."""
    last: str = ""
    """The word that ends it; "": any."""


def acrostic(text: str) -> dict[int, Kept]:
    """Line -> what its letter asks. Raises UsageError for what is no letter of English."""
    if not re.fullmatch("[A-Za-z]+", text):
        raise UsageError(f"an English acrostic is letters, one a line, got {text!r}", hint="Such as HOPE")
    return {line: Kept(head=letter) for line, letter in enumerate(text.lower())}


def draft(text: str) -> tuple[list[str], dict[int, Kept]]:
    """The lines of a poem in which what stays is in brackets, and what stays of each; words in one pair stay together.

    Raises DataError if nothing is in brackets, or a bracket has no partner in its line, or stands within a word.
    """
    rows = [row.strip() for row in text.splitlines() if re.search("[A-Za-z]", row)]
    kept = {i: kept_of(row) for i, row in enumerate(rows) if re.search(r"[\[\]]", row)}
    if not any(one.words or one.last for one in kept.values()):
        raise DataError("nothing is marked to stay", hint="Put what stays in brackets: [Shall I] compare thee")
    return [re.sub(r"[\[\]]", "", row) for row in rows], kept


def kept_of(row: str) -> Kept:
    """What stays of a line.

    >>> kept_of("[Shall I] compare thee to a [summer's day]?")
    Kept(head='', words=('shall', 'i', "summer's"), joined=(True, True, False, True), last='day')
    """
    if not re.fullmatch(r"[^\[\]]*(\[[^\[\]]*\][^\[\]]*)*", row):
        raise DataError(
            f"a bracket has no partner in {row!r}", hint="What stays is in brackets: [Shall I] compare thee"
        )
    if re.search(r"\w['’]?[\[\]]['’]?\w", row):
        raise DataError(f"a bracket stands within a word in {row!r}", hint="Whole words stay")
    words: list[str] = []
    joined: list[bool] = []
    fresh = True  # no other word stands before the next one
    for part, text in enumerate(re.split(r"[\[\]]", row)):
        found = [word.lower().replace("’", "'") for word in WORD.findall(text)]
        if part % 2 and found:
            words += found
            joined += [fresh and not words[: -len(found)], *[True] * (len(found) - 1)]
        fresh = fresh and not found if part % 2 == 0 else fresh
    ends = bool(words) and not WORD.findall(row[row.rfind("]") :])
    return Kept("", tuple(words[:-1]), tuple(joined), words[-1]) if ends else Kept("", tuple(words), (*joined, False))


def together(heads: dict[int, Kept], drafted: dict[int, Kept]) -> dict[int, Kept]:
    """Both an acrostic and a draft."""
    return drafted | {line: replace(drafted.get(line, kept), head=kept.head) for line, kept in heads.items()}
