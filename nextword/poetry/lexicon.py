"""The words that English verse may be written in: in the order of their spelling, their stress and rhyme as arrays.

W words, sorted; R readings, those of one word side by side; a word has one reading for each pronunciation.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from functools import cache, cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import regex  # type: ignore[import-untyped]

from nextword.constraints.pieces import token_pieces
from nextword.poetry.constraint import spellable
from nextword.tokenizers import Tokenizer
from nextword.verse.english import Phones, dictionary, rhyme_part, stresses
from nextword.verse.scansion import WORD, voiced
from nextword.verse.spoken import CONTRACTED, OLD, guessed

CHARACTERS = "\n’" + "".join(map(chr, range(32, 127)))
LETTERS = "'abcdefghijklmnopqrstuvwxyz"
WITH_VOWEL = regex.compile(r"[ao]|i('.+)?|.*[aeiouy].+|.+[aeiouy]")
"""Neither a letter nor an abbreviation: b, hsbc, tv's."""
SPELT = regex.compile(r"'?[a-z]+(?:'[a-z]+)*")
BEHIND_ALL = "{"
"""Sorted behind all letters."""


class Prefix(NamedTuple):
    """A beginning of words: those from `low` up to `high` have it, and from `longer` on they have more letters."""

    letters: str
    """As the lexicon spells them."""
    low: int
    longer: int
    high: int

    @property
    def is_word(self) -> bool:
        """Whether it is a word itself: the first of those that begin so."""
        return self.longer > self.low


def number(letter: str) -> int:
    """As `Lexicon.letters` has it."""
    return LETTERS.index(letter) + 1


def spellings(letter: str, first: bool) -> tuple[str, ...]:
    """As what a letter may be written: the first one as a capital, too, an apostrophe in two shapes."""
    if letter == "'":
        return ("'", "’")
    return (letter, letter.upper()) if first else (letter,)


class Licences(NamedTuple):
    """What a poet may do with words."""

    elision: bool = False
    """Shorten and lengthen them without a sign of it, as `nextword.verse.spoken` says: heaven as one syllable."""
    slant: bool = False
    """Rhyme on the consonants alone: love with prove."""


STRICT = Licences()
"""None of them."""


class Lexicon:
    """Words with all ways to say them."""

    def __init__(self, words: Iterable[str], licences: Licences = STRICT) -> None:
        """`words` in lower case; those that can only be guessed are left out."""
        self.slant = licences.slant
        pairs = sorted({word: ways for word in words if (ways := sayings(word, licences.elision))}.items())
        self.words = [word for word, _ in pairs]
        self.phones = [phones for _, ways in pairs for phones in ways]
        counts = [len(ways) for _, ways in pairs]
        self.first = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        """(W + 1,): the readings of word w are first[w] up to first[w + 1]."""
        self.word_of = np.repeat(np.arange(len(pairs)), counts)
        """(R,)"""
        patterns: dict[str, int] = {}
        self.stress_of = np.array(
            [patterns.setdefault(stresses(phones), len(patterns)) for phones in self.phones], dtype=np.int64
        )
        """(R,): which of `stresses`."""
        self.stresses = list(patterns)
        self._classes: dict[tuple[int | None, Phones], int] = {}
        self._rhymes: dict[int | None, np.ndarray] = {}
        self._prefix = lru_cache(maxsize=1 << 14)(self._find_prefix)
        self.root = Prefix("", 0, 0, len(self.words))
        """Before the first letter."""

    @cached_property
    def lengths(self) -> np.ndarray:
        """(R,): syllables."""
        return np.array([len(stress) for stress in self.stresses], dtype=np.int64)[self.stress_of]

    @cached_property
    def letters(self) -> np.ndarray:
        """(L + 1, W): the letters of each word as numbers, from 1 on; behind its last one 0."""
        written = np.array(self.words, dtype="S")
        found = written.view(np.uint8).reshape(len(written), -1)
        numbers = np.zeros(128, dtype=np.uint8)
        numbers[[*map(ord, LETTERS)]] = range(1, len(LETTERS) + 1)
        return np.pad(numbers[found].T, ((0, 1), (0, 0)))

    def rhymes(self, weak: int | None) -> np.ndarray:
        """(R,): the rhyme class of each reading when so many weak syllables follow the last strong beat, which
        makes it another class; -1 where the word is too short for that."""
        if weak not in self._rhymes:
            classes = self._classes
            self._rhymes[weak] = np.array(
                [
                    classes.setdefault((weak, self._part(phones, weak)), len(classes)) if length > (weak or 0) else -1
                    for phones, length in zip(self.phones, self.lengths.tolist(), strict=True)
                ]
            )
        return self._rhymes[weak]

    def _part(self, phones: Phones, weak: int | None) -> Phones:
        """What two words that rhyme have in common: of slant rhymes, all but the first vowel, if anything is left."""
        part = rhyme_part(phones, weak)
        return part[1:] or part if self.slant else part

    def beyond(self, prefix: Prefix, letters: str) -> Prefix | None:
        """With more letters, as they may be written: `spellings`. None: no word begins so."""
        if not prefix.letters:
            letters = letters[0].lower() + letters[1:]
        return self._prefix(prefix.letters + letters.replace("’", "'"))

    def _find_prefix(self, letters: str) -> Prefix | None:
        low, high = bisect_left(self.words, letters), bisect_left(self.words, letters + BEHIND_ALL)
        return Prefix(letters, low, low + (self.words[low] == letters), high) if low < high else None

    def children(self, prefix: Prefix) -> dict[str, Prefix]:
        """With each letter that may come next, as it may be written."""
        found: dict[str, Prefix] = {}
        low, depth = prefix.longer, len(prefix.letters)
        while low < prefix.high:
            letter = self.words[low][depth]
            child = self.beyond(prefix, letter)
            assert child is not None
            found |= dict.fromkeys(spellings(letter, first=depth == 0), child)
            low = child.high
        return found

    def find(self, word: str) -> int | None:
        """Which word it is; None for one that is not among them."""
        found = bisect_left(self.words, word)
        return found if self.words[found : found + 1] == [word] else None


def sayings(word: str, elision: bool = False) -> tuple[Phones, ...]:
    """How it is said; () for a word that would have to be guessed, or has no syllable of its own."""
    if not SPELT.fullmatch(word):
        return ()
    return tuple(phones for phones in voiced(word, elision) if stresses(phones) and not guessed(phones))


@cache
def english() -> tuple[str, ...]:
    """The words of the dictionary, its letters and abbreviations (b, hsbc, tv's) left out, and some that poets use."""
    return tuple(word for word in (*dictionary(), *OLD, *CONTRACTED) if WITH_VOWEL.fullmatch(word))


def words_of(text: str) -> frozenset[str]:
    """The words of a text, in lower case, its letters and abbreviations left out; of those in quotation marks, what is
    between them."""
    written = {word.lower().replace("’", "'") for word in set(WORD.findall(text))}
    found = (word if word in dictionary() else word.strip("'") for word in written)
    return frozenset(word for word in found if WITH_VOWEL.fullmatch(word))


@lru_cache(maxsize=2)
def spelt(words: frozenset[str] | None, letters: frozenset[str], licences: Licences) -> Lexicon:
    """Those of the words, or of all, that have no other letters."""
    return Lexicon((word for word in (english() if words is None else words) if letters.issuperset(word)), licences)


@lru_cache(maxsize=4)
def writable(
    tokenizer: Tokenizer, words: frozenset[str] | None = None, licences: Licences = STRICT
) -> tuple[Lexicon, frozenset[str], bool]:
    """The words, of these or of all, that a tokenizer can write, its characters, and whether words are tokens of their
    own."""
    characters = spellable(tokenizer)
    if characters is None:
        return spelt(words, frozenset(LETTERS), licences), frozenset(CHARACTERS), False
    if " " in characters:
        letters = {*characters, *("'" if "’" in characters else "")}
        return spelt(words, frozenset(LETTERS) & letters, licences), frozenset(characters), False
    pieces = token_pieces(tokenizer)
    tokens = [
        {piece.decode(errors="replace").strip().lower().replace("’", "'") for piece in pieces.ids_of[context]}
        for context in range(pieces.contexts)
    ]
    own = set.intersection(*tokens)
    return Lexicon(own if words is None else own & words, licences), frozenset(characters), True
