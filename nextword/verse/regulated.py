"""近体诗: jueju and lüshi, by the rules that make their patterns, and couplets that answer a given line.

Four kinds of line of five characters, after Wang Li (诗词格律, chapter 2); with seven, two of the opposite tone stand
before. A line is named by its beginning (its second character) and its end:

    甲 仄仄平平仄    乙 平平仄仄平    丙 平平平仄仄    丁 仄仄仄平平

Couplets alternate 甲乙 and 丙丁 (对), so that each begins as the one before ended (粘). 孤平 and 三平尾
have no place in the patterns, rescued or not.
"""

from __future__ import annotations

from itertools import product

from nextword.verse.chinese import RhymeBook
from nextword.verse.patterns import Form, Line, Pattern

# The five last characters of each kind, at seven with 中 and the opposite of the second character before them.
# 乙 with its first 仄 and third 仄 would be 孤平; with its third 平 it is rescued in itself.
KINDS = {
    "甲": ("中仄平平仄",),
    "乙": ("平平中仄平",),
    "丙": ("中平平仄仄",),
    "丁": ("中仄仄平平",),
}
# 拗救. 甲: its third, half a fault, needs no rescue. 乙: 孤平 rescued in the line itself. 丙: third and fourth changed
# places, first level; and three oblique at the end, which nobody ever forbade.
RESCUED = {
    "甲": ("中仄仄平仄",),
    "乙": ("仄平平仄平",),
    "丙": ("平平仄平仄", "中平仄仄仄"),
    "丁": (),
}
# 对句相救: a fault on the fourth of 甲 (sixth of seven) is made good by a level third in 乙 below it.
CROSSED = {"甲": ("中仄中仄仄",), "乙": ("中平平仄平",)}

STARTS = {  # the kinds of the first four lines; lüshi go on as the pattern without rhyme in the first line begins
    "仄起首句不入韵": "甲乙丙丁",
    "仄起首句入韵": "丁乙丙丁",
    "平起首句不入韵": "丙丁甲乙",
    "平起首句入韵": "乙丁甲乙",
}
COUPLET = ("duilian", "对联")
"""Name and title of a couplet, a form only once its first line is there to answer."""

FORMS = {
    "wujue": ("五绝", "五言绝句", 5, 4),
    "qijue": ("七绝", "七言绝句", 7, 4),
    "wulü": ("五律", "五言律诗", 5, 8),
    "qilü": ("七律", "七言律诗", 7, 8),
}


def regulated_forms(rescues: bool = True) -> list[Form]:
    """The four forms. Without `rescues`, the plain patterns only."""
    return [
        Form(
            name=name,
            title=title,
            language="zh",
            patterns=tuple(pattern for start in STARTS for pattern in patterns(start, width, height, rescues)),
            aliases=(title, long_title, name.replace("ü", "v"), name.replace("ü", "u")),
            regulated=True,
        )
        for name, (title, long_title, width, height) in FORMS.items()
    ]


def patterns(start: str, width: int, height: int, rescues: bool) -> list[Pattern]:
    """The pattern of `height` lines of `width` characters; with `rescues`, one more for each choice of couplets whose
    second line rescues the first.

    The name of a pattern tells how its first line begins: at seven characters, by the two before the five.
    """
    kinds = kinds_of(start, width, height)
    crossable = [i for i in range(0, height, 2) if kinds[i : i + 2] == "甲乙"] if rescues else []
    found = []
    for choice in product((False, True), repeat=len(crossable)):
        crossed = {i + j for i, yes in zip(crossable, choice, strict=True) if yes for j in (0, 1)}
        lines = tuple(
            Line(
                beats=tuple(widen(beats, width) for beats in of_kind(kind, rescues, i in crossed)),
                rhyme="a" if kind in "乙丁" else "",
                stanza=i // 2,
                mark="。" if i % 2 else "，",
            )
            for i, kind in enumerate(kinds)
        )
        name = start + "".join(f"，第{i + 1}句拗" for i in sorted(crossed) if i % 2 == 0)
        found.append(Pattern(name, lines))
    return found


def kinds_of(start: str, width: int, height: int) -> str:
    """甲, 乙, 丙 or 丁 for each line."""
    first_five = start if width == 5 else start.translate(str.maketrans("平仄", "仄平"))
    kinds = STARTS[first_five]
    onwards = "丙丁甲乙" if kinds.endswith("甲乙") else "甲乙丙丁"  # 粘 holds between the fourth line and the fifth
    return (kinds + onwards * 2)[:height]


def of_kind(kind: str, rescues: bool, crossed: bool) -> tuple[str, ...]:
    """The beats of a kind of line, as alternatives."""
    if crossed:
        return CROSSED[kind]
    return (*KINDS[kind], *(RESCUED[kind] if rescues else ()))


def widen(beats: str, width: int) -> str:
    """Five characters, or seven: before them a free one and the opposite of their second."""
    return beats if width == 5 else f"中{'平' if beats[1] == '仄' else '仄'}{beats}"


def couplet(given: str, book: RhymeBook) -> Form:
    """对联: the form of the given line, whatever its tones, and one that answers it. Every second character and the
    last of that are of the opposite tone; where the given one can be read both ways, or the book lacks it, either
    will do."""
    beats = ""
    for place, character in enumerate(given, start=1):
        levels = {reading.tone == "平" for reading in book.readings(character)}
        strict = (place % 2 == 0 or place == len(given)) and len(levels) == 1
        beats += ("仄" if True in levels else "平") if strict else "中"
    lines = (Line(("中" * len(given),), mark="，"), Line((beats,), mark="。"))
    return Form(*COUPLET, "zh", (Pattern("", lines),), rhyme_book=book.name)
