"""The embedded texts and tables: enough to train a first model on, small enough to ship in the package.

Each is one compressed file beside this one; `scripts/build_corpora.py` made them, LICENSES says from what.
Knows nothing of files a user has: those are read by `nextword.text`.
"""

from __future__ import annotations

import gzip
import json
from importlib.resources import files
from typing import Any, TypedDict

from nextword.errors import UsageError, did_you_mean

_FILES = {"moby-dick": "moby-dick.txt.gz", "tang": "tang.jsonl.gz"}
_ROWS = {
    "tatoeba-en-fr": "tatoeba-en-fr.jsonl.gz",
    "python-docs": "python-docs.jsonl.gz",
    "tang": "tang.jsonl.gz",
    "chatterbot": "chatterbot.jsonl.gz",
}
TITLES = {
    "moby-dick": "Moby Dick",
    "tang": "Tang poems",
    "tatoeba-en-fr": "Tatoeba, English and French",
    "python-docs": "Python's documentation strings",
    "chatterbot": "conversations with a robot, from ChatterBot's corpus",
}
LICENCES = {
    "moby-dick": "public domain; the data set is CC0 1.0",
    "tang": "public domain; the collection is under the MIT licence",
    "tatoeba-en-fr": "CC BY 2.0 FR",
    "python-docs": "PSF License Agreement",
    "chatterbot": "BSD 3-Clause",
}
"""Of the text; of what it was taken from. In full in the file LICENSES."""


class Poem(TypedDict):
    """One Tang poem as shipped."""

    form: str
    """One of "wujue" (4 lines of 5 characters) or "qijue" (4 lines of 7)."""
    author: str
    title: str
    lines: list[str]
    """The four lines, without punctuation."""


def names() -> list[str]:
    """The names that `load` knows."""
    return list(_FILES)


def titled(name: str) -> str:
    """What a model card calls an embedded text or table."""
    return f"{TITLES[name]} (embedded, {LICENCES[name]})"


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of an embedded table. Raises UsageError for an unknown name.

    - "tatoeba-en-fr": sentence pairs with columns en, fr and attribution.
    - "python-docs": functions and classes of Python, with columns name, document and summary.
    - "tang": the poems of `poems`.
    - "chatterbot": conversations of two people in turn, with column turns.
    """
    if name not in _ROWS:
        raise UsageError(f"no embedded table is called {name!r}", hint=did_you_mean(name, _ROWS))
    return [json.loads(row) for row in _read(_ROWS[name]).split("\n")]


def load(name: str) -> list[str]:
    """The documents of an embedded text, in their original order. Raises UsageError for an unknown name.

    - "moby-dick": a paragraph a document, unwrapped; a chapter's heading stands above its first paragraph.
    - "tang": a poem a document, two couplets on two lines, as Chinese verse is printed:

    >>> print(load("tang")[0])
    四时运灰琯，一夕变冬春。
    送寒余雪尽，迎岁早梅新。
    """
    if name not in _FILES:
        raise UsageError(f"no embedded text is called {name!r}", hint=did_you_mean(name, _FILES))
    if name == "tang":
        return [_layout(poem["lines"]) for poem in poems()]
    return _read(_FILES[name]).split("\n\n")


def poems() -> list[Poem]:
    """The Tang poems with their form, author and title: to tell whose line a model has learnt by heart."""
    return [json.loads(line) for line in _read(_FILES["tang"]).split("\n")]


def _layout(lines: list[str]) -> str:
    couplets = zip(lines[::2], lines[1::2], strict=True)
    return "\n".join(f"{first}，{second}。" for first, second in couplets)


def _read(file: str) -> str:
    data = files(__name__).joinpath(file).read_bytes()
    return gzip.decompress(data).decode("utf-8").rstrip("\n")
