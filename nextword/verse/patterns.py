"""What a form asks for: lines of beats, and which of them rhyme. The same three nouns serve Chinese and English.

A beat is one character or one syllable, written as one letter. Chinese: 平 level, 仄 oblique, 中 either. English:
`-` weak, `/` strong, `x` either. Knows no words, and does not judge: `nextword.verse.check` does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from nextword.errors import UsageError


@dataclass(frozen=True)
class Line:
    """One line of a pattern."""

    beats: tuple[str, ...]
    """Alternatives, any of which will do; the first is the usual one. `("平平仄仄平",)`"""
    rhyme: str = ""
    """Lines that bear the same letter rhyme with each other at their ends; "" is free. The last beat says in which
    tone: where 平 and 仄 bear one letter (西江月), they must be of one class, each in its own tone."""
    stanza: int = 0
    """Lines of one number stand together: a stanza, or a couplet of regulated verse. On paper they share a row where
    they are Chinese."""
    mark: str = ""
    """The punctuation behind it in Chinese, ， or 。."""
    echo: bool = False
    """叠句: it says the last characters of the line before once more, as many as it has."""


@dataclass(frozen=True)
class Pattern:
    """One complete way to fill a form."""

    name: str
    """What tells it from the others of its form: 仄起首句入韵."""
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Form:
    """A form of verse: any one of its patterns will do."""

    name: str
    """As on the command line: qijue, shakespearean-sonnet."""
    title: str
    """In its own language: 七绝, Shakespearean sonnet."""
    language: Literal["zh", "en"]
    patterns: tuple[Pattern, ...]
    aliases: tuple[str, ...] = ()
    rhyme_book: str = "pingshui"
    """By which its rhymes are judged unless one asks for another; Chinese only."""
    stanzaic: bool = False
    """The pattern is one stanza, of which a poem has as many as it likes, each with rhymes of its own."""
    regulated: bool = False
    """近体诗: 粘, 对, 孤平 and 三平尾 are spoken of."""

    @property
    def lengths(self) -> list[int]:
        """The beats of each line, a feminine ending apart; all patterns of a form are of one shape."""
        return [len(line.beats[0]) for line in self.patterns[0].lines]


def repeated(pattern: Pattern, times: int) -> Pattern:
    """The pattern so many times, each with rhymes of its own: ab, then a2 b2. Couplets follow without a gap."""
    lines = tuple(
        replace(
            line,
            rhyme=f"{line.rhyme}{number}" if line.rhyme and number > 1 else line.rhyme,
            stanza=number - 1 if len(pattern.lines) > 2 else 0,
        )
        for number in range(1, times + 1)
        for line in pattern.lines
    )
    return Pattern(pattern.name, lines)


def in_stanzas(form: Form, times: int) -> Form:
    """The form with so many stanzas. Raises UsageError for more than one of a form that is not stanzaic."""
    if times > 1 and not form.stanzaic:
        raise UsageError(f"{form.title} has one stanza, not {times}", hint="Leave out --stanzas")
    if not form.stanzaic:
        return form
    return replace(form, patterns=tuple(repeated(pattern, times) for pattern in form.patterns), stanzaic=False)


def only(form: Form, start: str = "") -> Form:
    """The form with those patterns alone whose name contains `start`, e.g. 平起 or 首句入韵. Raises UsageError if none.

    `首句入韵` and `首句不入韵` do not contain each other.
    """
    patterns = tuple(pattern for pattern in form.patterns if start in pattern.name)
    if not patterns:
        names = ", ".join(pattern.name for pattern in form.patterns)
        raise UsageError(f"{form.title} has no pattern {start!r}", hint=f"Known: {names}")
    return replace(form, patterns=patterns)
