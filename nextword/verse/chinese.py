"""Chinese characters by a rhyme book: their tones and rhyme classes. A character with several readings has them all.

The books are `pingshui` (平水韵: regulated verse of the Tang and since), `cilin` (词林正韵: ci) and `xinyun` (中华新韵:
Mandarin, where the entering tone is gone). Simplified and traditional characters are both read. Knows no forms.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, NamedTuple

from nextword.errors import UsageError, did_you_mean

BOOKS = {"pingshui": "平水韵", "cilin": "词林正韵", "xinyun": "中华新韵"}
NEIGHBOURS = ("东冬", "江阳", "支微齐", "鱼虞", "佳灰", "真文元", "元寒删先", "萧肴豪", "庚青蒸", "覃盐咸")
"""邻韵: the level classes of Pingshui, by their last characters, that Cilin unites, whole or in part."""


class Reading(NamedTuple):
    """One way to read a character. Two characters rhyme if they have readings of one `rhyme`, both level or neither."""

    tone: str
    """平, 上, 去 or 入; 仄 where the book does not part 上 from 去 (cilin)."""
    rhyme: str
    """The class: 一东 in pingshui, where each tone has classes of its own; 第一部 in cilin, 一麻 in xinyun."""

    def fits(self, beat: str) -> bool:
        """Whether the reading may stand on a beat of a pattern: 平 level, 仄 oblique, 中 either."""
        return beat == "中" or (beat == "平") == (self.tone == "平")


@dataclass(frozen=True)
class RhymeBook:
    """A rhyme book: character -> readings, and back."""

    name: str
    title: str
    table: dict[str, tuple[Reading, ...]]
    variants: dict[str, str]
    """Characters of the other script, and variants, by what the table has in their place."""
    rare: dict[str, str]
    """Character that can be level and oblique -> the one of the two, 平 or 仄, that poets hardly ever read it in."""
    rhymes: tuple[str, ...]
    """The classes, in the order of the book."""

    def readings(self, character: str) -> tuple[Reading, ...]:
        """All readings; () if the book does not have the character.

        >>> rhyme_book("pingshui").readings("看")
        (Reading(tone='平', rhyme='十四寒'), Reading(tone='去', rhyme='十五翰'))
        """
        return self.table.get(character) or self.table.get(self.variants.get(character, ""), ())

    @cached_property
    def _traditional(self) -> dict[str, list[str]]:
        """`variants`, the other way about."""
        found: dict[str, list[str]] = {}
        for shape, character in self.variants.items():
            found.setdefault(character, []).append(shape)
        return found

    def shapes(self, character: str) -> list[str]:
        """Its shapes: itself, that of the other script, and variants.

        >>> rhyme_book("pingshui").shapes("風"), rhyme_book("pingshui").shapes("风")
        (['風', '风'], ['风', '風'])
        """
        other = self.variants.get(character, character)
        return [*dict.fromkeys([character, other, *self._traditional.get(other, ())])]

    def usual(self, character: str) -> tuple[Reading, ...]:
        """The readings that poets use: 庭 can be oblique, in a word of Zhuangzi's, but who writes it means a court.

        >>> len(rhyme_book("pingshui").readings("庭")), len(rhyme_book("pingshui").usual("庭"))
        (2, 1)
        """
        readings = self.readings(character)
        rare = self.rare.get(character) or self.rare.get(self.variants.get(character, ""), "")
        return tuple(reading for reading in readings if not (rare and reading.fits(rare)))

    def fitting(self, character: str, beat: str) -> tuple[Reading, ...]:
        """The readings that may stand on this beat (平, 仄 or 中)."""
        return tuple(reading for reading in self.readings(character) if reading.fits(beat))

    def characters(self, rhyme: str, beat: str = "中") -> str:
        """The characters of a class that fit a beat, as the book lists them. Variants it does not list are left out."""
        return "".join(
            c for c, readings in self.table.items() if any(r.rhyme == rhyme and r.fits(beat) for r in readings)
        )

    def near(self, rhymes: Iterable[str]) -> set[str]:
        """These classes and, in Pingshui, their neighbours; the other books have united theirs.

        >>> sorted(rhyme_book("pingshui").near(["一东"]))
        ['一东', '二冬']
        """
        if self.name != "pingshui":
            return set(rhymes)
        return set[str]().union(*(neighbours().get(rhyme, {rhyme}) for rhyme in rhymes))

    def find_rhyme(self, name: str) -> str:
        """The class meant by its name, by the character that names it, or by one of its characters.

        Raises UsageError if there is none, or if the character has readings of several.

        >>> rhyme_book("pingshui").find_rhyme("东"), rhyme_book("cilin").find_rhyme("东")
        ('一东', '第一部')
        """
        named = [rhyme for rhyme in self.rhymes if name in (rhyme, rhyme[-1])]
        found = named if len(named) == 1 else [*dict.fromkeys(reading.rhyme for reading in self.readings(name))]
        if len(found) > 1:
            raise UsageError(f"{name} is of several classes of {self.title}", hint=f"Name one: {', '.join(found)}")
        if not found:
            raise UsageError(f"{self.title} has no rhyme class {name!r}", hint=did_you_mean(name, self.rhymes))
        return found[0]


@cache
def rhyme_book(name: str) -> RhymeBook:
    """A rhyme book by its name in pinyin or Chinese. Raises UsageError if it is unknown."""
    key = next((key for key, title in BOOKS.items() if name.lower() in (key, title)), None)
    if key is None:
        raise UsageError(f"no rhyme book is called {name!r}", hint=did_you_mean(name, [*BOOKS, *BOOKS.values()]))
    classes = read_json(f"{key}.json.gz")["classes"]
    table: dict[str, tuple[Reading, ...]] = {}
    for rhyme, tone, characters in classes:
        for character in characters:
            table[character] = (*table.get(character, ()), Reading(tone, rhyme))
    rare = {} if key == "xinyun" else {c: tone for tone, found in read_json("rare.json.gz").items() for c in found}
    rhymes = tuple(dict.fromkeys(rhyme for rhyme, _, _ in classes))
    return RhymeBook(key, BOOKS[key], table, read_json("variants.json.gz"), rare, rhymes)


@cache
def neighbours() -> dict[str, frozenset[str]]:
    """Level class of Pingshui that has neighbours -> itself and them."""
    classes = rhyme_book("pingshui").rhymes
    groups = [frozenset(rhyme for rhyme in classes if rhyme[-1] in group) for group in NEIGHBOURS]
    united = frozenset[str]().union(*groups)
    return {rhyme: frozenset().union(*(group for group in groups if rhyme in group)) for rhyme in united}


@cache
def read_json(name: str) -> dict[str, Any]:
    """One of the compressed tables of the package."""
    loaded: dict[str, Any] = json.loads(gzip.decompress(files("nextword.verse").joinpath("data", name).read_bytes()))
    return loaded
