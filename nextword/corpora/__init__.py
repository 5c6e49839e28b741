"""The embedded texts: enough to train a first model on, small enough to ship in the package.

Each is one compressed file beside this one; `scripts/build_corpora.py` made them, LICENSES says from what.
Knows nothing of files a user has: those are read by `nextword.text`.
"""

from __future__ import annotations

import gzip
import json
from importlib.resources import files
from typing import TypedDict

from nextword.errors import UsageError, did_you_mean

_FILES = {"moby-dick": "moby-dick.txt.gz", "tang": "tang.jsonl.gz"}
TITLES = {"moby-dick": "Moby Dick", "tang": "Tang poems"}
LICENCES = {
    "moby-dick": "public domain; the data set is CC0 1.0",
    "tang": "public domain; the collection is under the MIT licence",
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
    return _read(name).split("\n\n")


def poems() -> list[Poem]:
    """The Tang poems with their form, author and title: to tell whose line a model has learnt by heart."""
    return [json.loads(line) for line in _read("tang").split("\n")]


def _layout(lines: list[str]) -> str:
    couplets = zip(lines[::2], lines[1::2], strict=True)
    return "\n".join(f"{first}，{second}。" for first, second in couplets)


def _read(name: str) -> str:
    data = files(__name__).joinpath(_FILES[name]).read_bytes()
    return gzip.decompress(data).decode("utf-8").rstrip("\n")
