"""What a checker of verse says: each line with its pattern, each fault with its place. The same for every language."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from nextword.errors import counted
from nextword.verse.chinese import BOOKS


@dataclass(frozen=True)
class Fault:
    """One breach of the form."""

    line: int
    """Counted from 1."""
    place: int
    """The character (Chinese) or word (English) in the line, counted from 1; 0: the line as a whole."""
    rule: str
    """length and rhyme; in Chinese also tone, 对, 粘, 孤平, 三平尾 and 叠, in English stress and repeat."""
    message: str


@dataclass(frozen=True)
class Verdict:
    """What became of a poem under the checker."""

    form: str
    title: str
    """The form in its own language."""
    pattern: str
    rhyme_book: str
    """cmudict for English."""
    rhymes: tuple[str, ...]
    """Chinese: the class of each rhyme of the form, "" where the ends do not rhyme; () where the shape is another."""
    lines: tuple[str, ...]
    beats: tuple[str, ...]
    """The pattern of each line, that alternative which is nearest."""
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]

    @property
    def heading(self) -> str:
        """In a line: the form, its pattern, the rhymes and by which book."""
        book = f"({BOOKS.get(self.rhyme_book, 'CMUdict')})"
        rhymes = ", ".join(filter(None, self.rhymes))
        return "  ".join(filter(None, [self.title, self.pattern, f"{rhymes} {book}".strip()]))

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "in_form": not self.faults}


def count_faults(lines: int, wanted: int) -> list[Fault]:
    """The fault of a poem that has too many or too few lines."""
    return [] if lines == wanted else [Fault(lines, 0, "length", f"{counted(lines, 'line')}; the form has {wanted}")]
