"""词: the tunes of data/ci.txt as forms. That file says how it is written. Knows nothing of regulated verse."""

from __future__ import annotations

import re
from importlib.resources import files

from nextword.verse.patterns import Form, Line, Pattern


def tune_forms() -> list[Form]:
    """All tunes, in the order of the file."""
    text = files("nextword.verse").joinpath("data", "ci.txt").read_text(encoding="utf-8")
    return [read_tune(row) for row in text.splitlines() if row and not row.startswith("#")]


def read_tune(row: str) -> Form:
    """One row of the file.

    >>> read_tune("十六字令 苍梧谣 | 平a。中仄平平仄仄平a。").patterns[0].lines[1]
    Line(beats=('中仄平平仄仄平',), rhyme='a', stanza=0, mark='。', echo=False)
    """
    names, pattern = row.split(" | ")
    name, *aliases = names.split()
    lines = tuple(
        Line((beats,), rhyme, number, mark, echo == "=")
        for number, stanza in enumerate(pattern.split("/"))
        for echo, beats, rhyme, mark in re.findall(r"(=?)([平仄中]+)([a-z]?)([，。])", stanza)
    )
    return Form(name, name, "zh", (Pattern("", lines),), tuple(aliases), rhyme_book="cilin")
