"""How a poem is written down: its lines in rows, and above them what it is. A model is trained on this layout, and
asked in it.

    七绝|东|李白|秋思        form, rhyme, author, title; what is not said is left empty
    ……，……。
    ……，……。
"""

from __future__ import annotations

from collections.abc import Sequence

from nextword.verse.patterns import Form
from nextword.verse.units import is_chinese

LONGEST = 40
"""Characters of an author or a title; more are cut off."""


def header(form: str = "", rhyme: str = "", author: str = "", title: str = "") -> str:
    """The row above a poem.

    >>> header("七绝", "一东", title="秋思")
    '七绝|东||秋思'
    """
    said = (form, rhyme[-1:] if rhyme[-1:] != "部" else rhyme, author, title)
    return "|".join(" ".join(text.replace("|", " ").split())[:LONGEST] for text in said)


def said_in(row: str) -> tuple[str, str, str, str]:
    """Form, rhyme, author and title, back from a `header`; "" where it says nothing."""
    form, rhyme, author, title, *_ = [*row.split("|"), "", "", ""]
    return form, rhyme, author, title


def behind(form: Form) -> list[str]:
    """What stands behind each line of a form: its punctuation, and a new row behind a couplet or a stanza."""
    lines = form.patterns[0].lines
    onwards = [*lines[1:], lines[-1]]
    return [line.mark + "\n" * (next.stanza != line.stanza) for line, next in zip(lines, onwards, strict=True)]


def layout(lines: Sequence[str], form: Form | None = None) -> str:
    """A poem in rows; a Chinese one in couplets where the form is not known, or does not have so many lines.

    >>> layout(["白日依山尽", "黄河入海流"])
    '白日依山尽，黄河入海流。'
    """
    if not is_chinese("".join(lines)):
        return "\n".join(lines)
    if form is not None and len(form.patterns[0].lines) == len(lines):
        return "".join(line + mark for line, mark in zip(lines, behind(form), strict=True))
    return "".join(line + ("。\n" if i % 2 else "，") for i, line in enumerate(lines)).rstrip("\n")
