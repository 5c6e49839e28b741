"""Read a line of English against a metre: which word stands on which beats, and where a stress falls amiss.

The line counts by that reading of its words which fits best. Knows no poem: rhymes between lines are elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from nextword.verse.english import Phones, fits, is_vowel, rhyme_part, stresses
from nextword.verse.spoken import guessed, spoken

WORD = re.compile(r"['’]?[^\W_]+(?:['’][^\W_]+)*['’]?")
QUOTED = re.compile(r"['’](.*)['’]|['’](.*)|(.*)['’]")
BREAK = re.compile(r"[,;:.!?()—–\"“”]|--")
MOVABLE = {"into", "onto", "unto", "upon", "within", "without", "therefore", "wherefore", "almost", "also"}
"""Words of grammar bear their stress on either syllable (Kiparsky 1977)."""
IAMBIC = re.compile(r"(-/)+-?")


@dataclass(frozen=True)
class Word:
    """One word of a line, with all that it may sound like there."""

    text: str
    ways: tuple[Phones, ...]
    fresh: bool
    """Whether it follows punctuation within the line: the rhythm may begin anew there, with an inverted foot."""


@dataclass(frozen=True)
class Scansion:
    """A line against one row of beats."""

    words: tuple[Word, ...]
    beats: str
    inversion: bool
    costs: tuple[tuple[float, ...], ...]
    """[words read][beats used] -> the fewest words amiss; infinite where no reading gets there."""

    @property
    def amiss(self) -> float:
        """How many words are stressed against the metre; infinite where the syllables are too many or too few."""
        return self.costs[-1][-1]

    def faults(self) -> list[int]:
        """The places, from 1, of the words stressed against the metre."""
        places, used = [], len(self.beats)
        for i in range(len(self.words), 0, -1):
            used, cost, _ = min(self.steps(i, used), key=lambda step: step[1])
            if cost:
                places.append(i)
        return places[::-1]

    def steps(self, i: int, used: int) -> Iterator[tuple[int, int, Phones]]:
        """How word i (from 1) may have ended at beat `used` at least cost: where it began, its own cost, its phones."""
        word = self.words[i - 1]
        for phones in word.ways:
            stress = stresses(phones)
            start = used - len(stress)
            if start >= 0:
                cost = amiss(stress, self.beats, start, word.fresh and self.inversion)
                if self.costs[i - 1][start] + cost == self.costs[i][used] < float("inf"):
                    yield start, cost, phones

    def rhymes(self) -> set[Phones]:
        """What may have to sound alike at the end: from the last strong beat on, by every reading that fits best."""
        if self.amiss == float("inf"):
            return {rhyme_part(phones) for phones in self.words[-1].ways}
        return set(self.tails(len(self.words), len(self.beats), weak_end(self.beats), ()))

    def tails(self, i: int, used: int, weak: int | None, later: Phones) -> Iterator[Phones]:
        """The ends of all best readings, as far back as the rhyme goes: `of him` rhymes with `love him`."""
        for start, _, phones in self.steps(i, used):
            whole = (*phones, *later)
            if i == 1 or sum(map(is_vowel, whole)) > (weak or 0):
                yield rhyme_part(whole, weak)
            else:
                yield from self.tails(i - 1, start, weak, whole)


def weak_end(beats: str) -> int | None:
    """The weak syllables behind the last strong beat; None for a free metre, which has none."""
    strong = beats.rfind("/")
    return None if strong < 0 else len(beats) - 1 - strong


def read(line: str, elision: bool = True) -> tuple[Word, ...]:
    """The words of a line. With elision an open vowel before a vowel may be lost: the expense, many a."""
    found: list[tuple[str, tuple[Phones, ...], bool]] = []
    end = 0
    for match in WORD.finditer(line):
        text = match[0]
        ways = voiced(text, elision)
        if guessed(ways[0]) and (quoted := QUOTED.fullmatch(text)):
            text = next(filter(None, quoted.groups()), text)
            ways = voiced(text, elision)
        found.append((text, ways, bool(found and BREAK.search(line[end : match.start()]))))
        end = match.end()
    words = []
    for i, (text, ways, fresh) in enumerate(found):
        _, after, apart = found[i + 1] if i + 1 < len(found) else ("", (), True)
        if elision and not apart and any(is_vowel(phones[0]) for phones in after):
            ways += tuple(phones[:-1] for phones in ways if opens(phones, text))
        words.append(Word(text, ways, fresh))
    return tuple(words)


def voiced(word: str, elision: bool = True) -> tuple[Phones, ...]:
    """All ways to speak a word in a line: those of `spoken`, words of grammar with no stress that binds."""
    ways = spoken(word, elision)
    if word.lower() in MOVABLE:
        return tuple(tuple(phone.replace("1", "2") for phone in phones) for phones in ways)
    return ways


def opens(phones: Phones, text: str) -> bool:
    """Whether the word ends in a vowel that may be lost before another: an unstressed one, or that of the and to."""
    long = len(stresses(phones)) > 1
    return is_vowel(phones[-1]) and (text.lower() in ("the", "to") or (long and phones[-1][-1] == "0"))


def amiss(stress: str, beats: str, start: int, inversion: bool) -> int:
    """0 if the word may stand on the beats from `start` on, else 1. With inversion its first foot -/ may be read /-."""
    here = beats[start : start + len(stress)]
    inverted = inversion and here.startswith("-/") and fits(stress, f"/-{here[2:]}")
    return 0 if fits(stress, here) or inverted else 1


def scan(words: tuple[Word, ...], beats: str, inversion: bool = False) -> Scansion:
    """The best reading of the words on these beats. `inversion`: whether a foot may be inverted after punctuation, as
    iambic verse does (Kiparsky 1977); at the beginning of a line it is for the form to say."""
    infinite = float("inf")
    costs = [(0.0, *(infinite,) * len(beats))]
    for word in words:
        row = [infinite] * (len(beats) + 1)
        for stress in {stresses(phones) for phones in word.ways}:
            for start in range(len(beats) + 1 - len(stress)):
                if costs[-1][start] < infinite:
                    end = start + len(stress)
                    row[end] = min(row[end], costs[-1][start] + amiss(stress, beats, start, word.fresh and inversion))
        costs.append(tuple(row))
    return Scansion(words, beats, inversion, tuple(costs))


def lengths(words: tuple[Word, ...]) -> list[int]:
    """How many syllables the line may have."""
    found = {0}
    for word in words:
        found = {length + len(stresses(phones)) for length in found for phones in word.ways}
    return sorted(found)
