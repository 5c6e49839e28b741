"""English forms as automata over characters: syllables, stress and rhyme, no word rhyming with itself.

The poem is read as words. At the beginning of a word those words are known that keep the metre and leave room for a
rhyme to end the line; its letters are then whatever leads to one of them. Words of one syllable may stand anywhere, so
the metre alone is never a dead end; a rhyme could be, since it needs words enough for all its lines. Words are read
without elision, which the checker allows beside it.

A *way* is one manner in which the poem so far keeps the form; a state holds all of them, as in Chinese.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np

from nextword.errors import UsageError
from nextword.poetry.lexicon import Lexicon, Node
from nextword.verse.english import fits
from nextword.verse.patterns import Form, Line
from nextword.verse.scansion import weak_end

MARKS = ",;:.!?"
CLOSING = ".!?"
BEHIND = f"{MARKS} \n"  # what may stand behind a word
LONGEST_SYLLABLE = 12  # letters, space and punctuation: strengths,


class Way(NamedTuple):
    """One manner of keeping the form, so far."""

    pattern: int
    option: int
    """Which alternative of the present line."""
    beat: int
    """Beats of the line behind it."""
    classes: tuple[int, ...]
    """Of each rhyme letter the class it has taken; -1: none yet."""
    used: tuple[frozenset[int], ...]
    """Of each rhyme letter the words that ended its lines."""


class State(NamedTuple):
    """Where a poem is."""

    line: int
    ways: int
    """The number of a set of ways, as they were at the beginning of the word."""
    node: Node
    """The letters of the word so far."""
    place: str
    """word: in or before a word; mark: behind punctuation; gap: before an empty line."""


class EnglishAutomaton:
    """A form in English: `nextword.poetry.automaton.Automaton`."""

    def __init__(self, form: Form, lexicon: Lexicon, characters: Iterable[str], whole: bool = False) -> None:
        """`characters` may be written. `whole`: words may not, letter by letter, but only as tokens of their own.

        Raises UsageError, with the reason, if no poem could be promised.
        """
        self.form, self.lexicon, self.whole = form, lexicon, whole
        known = set(characters)
        if "\n" not in known:
            raise UsageError("the model's tokenizer has no line end, and verse needs one", hint="Train it on lines")
        if 1 not in lexicon.lengths:
            raise UsageError("no English word of one syllable can be written", hint="Give an English lexicon and model")
        self.marks = [mark for mark in MARKS if mark in known]
        letters = {letter for word in lexicon.words for letter in word}
        forms = {form for letter in letters for form in spellings(letter, first=True) if whole or form in known}
        self.alphabet = "".join(sorted({*forms, *self.marks, " ", "\n"}))
        self._index = {c: i for i, c in enumerate(self.alphabet)}
        self.letters = [*dict.fromkeys(line.rhyme for p in form.patterns for line in p.lines if line.rhyme)]
        self.longest = sum(LONGEST_SYLLABLE * max(map(len, line.beats)) for line in form.patterns[0].lines)
        self._spans: dict[tuple[str, ...], tuple[np.ndarray, np.ndarray, list[int]]] = {}
        self._sets: list[tuple[Way, ...]] = []
        self._numbers: dict[tuple[Way, ...], int] = {}
        self._counts = lru_cache(maxsize=128)(self._count_words)
        self._behind = lru_cache(maxsize=1 << 14)(self._find_behind)
        self._endings = lru_cache(maxsize=1 << 10)(self._find_endings)
        self._final = cache(self._find_final)
        self._inner = cache(self._find_inner)
        self._rhyming: dict[tuple[int, int], dict[int | None, np.ndarray]] = {}
        """(pattern, letter) -> weak syllables at the end -> (R,): the readings that rhyme with enough others."""
        find_rhyming = cache(self._find_rhyming)
        for number, pattern in enumerate(form.patterns):
            for letter, name in enumerate(self.letters):
                lines = [line.beats for line in pattern.lines if line.rhyme == name]
                self._rhyming[number, letter] = find_rhyming(frozenset(lines), len(lines))
        empty = (-1,) * len(self.letters), (frozenset[int](),) * len(self.letters)
        self._first = self._number(
            self._options(0, [Way(number, 0, 0, *empty) for number in range(len(form.patterns))])
        )

    # -- before the first character --------------------------------------------------------------------------------

    def _find_rhyming(self, lines: frozenset[tuple[str, ...]], need: int) -> dict[int | None, np.ndarray]:
        """Readings whose class has as many words as are needed, each of which can end any of the lines; by the weak
        syllables at the end. Raises UsageError if there are none."""
        lexicon = self.lexicon
        okay = np.ones(len(lexicon.words), dtype=bool)
        for alternatives in lines:
            here = np.zeros_like(okay)
            for beats in alternatives:
                here[lexicon.word_of[self._final(beats)]] = True
            okay &= here
        found: dict[int | None, np.ndarray] = {}
        for beats in {beats for alternatives in lines for beats in alternatives}:
            classes = lexicon.rhymes(weak_end(beats))
            readings = np.flatnonzero(self._final(beats) & okay[lexicon.word_of] & (classes >= 0))
            pairs = np.unique(classes[readings] * len(okay) + lexicon.word_of[readings])
            rhymes, words = np.unique(pairs // len(okay), return_counts=True)
            rhyming = found.setdefault(weak_end(beats), np.zeros(len(classes), dtype=bool))
            rhyming[readings] |= np.isin(classes[readings], rhymes[words >= need])
        if need and not any(rhyming.any() for rhyming in found.values()):
            raise UsageError(
                f"{self.form.title} needs {need} words that rhyme, and of those that can be written not so many do",
                hint="Allow more: a larger lexicon, or a model whose tokenizer knows more",
            )
        return found

    def _find_final(self, beats: str) -> np.ndarray:
        """(R,): what fits the end of a line."""
        ends = [fits(stress, beats[len(beats) - len(stress) :]) for stress in self.lexicon.stresses]
        return np.array(ends)[self.lexicon.stress_of] & (self.lexicon.lengths <= len(beats))

    # -- one character after another -------------------------------------------------------------------------------

    def start(self) -> State:
        """Nothing is written."""
        return State(0, self._first, self.lexicon.root, "word")

    def finished(self, state: State) -> bool:
        """All lines are written."""
        return state.line == len(self.form.patterns[0].lines)

    def rests(self, state: State) -> bool:
        """Whether a token may end here: anywhere, unless words are tokens of their own."""
        return not self.whole or state.place != "word" or state.node.depth == 0 or self._complete(state)

    def paths(self, state: State, texts: tuple[str, ...]) -> np.ndarray | None:
        """At the beginning of a word, where all words are to be looked at: None elsewhere."""
        if state.place != "word" or state.node.depth or self.finished(state):
            return None
        if texts not in self._spans:
            self._spans[texts] = self._find_spans(texts)
        low, high, others = self._spans[texts]
        counts = self._counts(state.line, state.ways)
        found = counts[high] > counts[low]
        for i in others:
            found[i] = self._is_path(state, texts[i])
        return found

    def _find_spans(self, texts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Of each text, from where to where the words lie that it leads to; and those that end behind a word."""
        spans, others = np.zeros((2, len(texts)), dtype=int), []
        for i, text in enumerate(texts):
            node: Node | None = self.lexicon.root
            for at, letter in enumerate(text):
                child = self.lexicon.children(node).get(plain(letter, first=at == 0)) if node else None
                if child is None and node and at and letter in BEHIND and self.lexicon.is_word(node):
                    others.append(i)
                node = child
            if node and self.whole:
                spans[:, i] = node.low, node.low + self.lexicon.is_word(node)
            elif node:
                spans[:, i] = node.low, node.high
        return spans[0], spans[1], others

    def _is_path(self, state: State, text: str) -> bool:
        for character in text:
            if character not in self._index or not self.allowed(state)[self._index[character]]:
                return False
            state = self.step(state, character)
        return self.rests(state)

    def allowed(self, state: State) -> np.ndarray:
        """What leads to a word that some way allows, and what may follow a word that is complete."""
        found = np.zeros(len(self.alphabet), dtype=bool)
        if not self.finished(state):
            found[[self._index[character] for character in self._next(state) if character in self._index]] = True
        return found

    def step(self, state: State, character: str) -> State:
        """The state after a character, which must be allowed."""
        if state.place == "gap":
            return state._replace(place="word")
        child = self.lexicon.children(state.node).get(plain(character, first=state.node.depth == 0))
        if state.place == "word" and child:
            return state._replace(node=child)
        ways = self._ways(state)
        ended = [way for way in ways if self._has_ended(state.line, way)]
        if character == "\n" or (character in CLOSING and ended and self._is_last(state.line)):
            return self._next_line(state.line + 1, ended)
        if character == " ":
            ways = tuple(way for way in ways if way not in ended)
        return State(state.line, self._number(ways), self.lexicon.root, "word" if character == " " else "mark")

    def _next(self, state: State) -> Iterator[str]:
        """The characters that may follow."""
        if state.place == "gap":
            yield "\n"
            return
        if state.place == "word":
            counts = self._counts(state.line, state.ways)
            for letter, child in self.lexicon.children(state.node).items():
                if counts[child.high] > counts[child.low]:
                    yield from spellings(letter, first=state.node.depth == 0)
            if not self._complete(state):
                return
        ended = {self._has_ended(state.line, way) for way in self._ways(state)}
        if state.place == "word":
            at_end = ended == {True} and self._is_last(state.line)
            yield from (mark for mark in self.marks if mark in CLOSING or not at_end)
        yield from ("\n" if end else " " for end in ended)

    def _next_line(self, line: int, ways: list[Way]) -> State:
        """At the beginning of a line, behind an empty one where a stanza begins."""
        lines = self.form.patterns[0].lines
        if line == len(lines):
            return State(line, self._number(ways), self.lexicon.root, "gap")
        gap = lines[line].stanza != lines[line - 1].stanza
        return State(line, self._number(self._options(line, ways)), self.lexicon.root, "gap" if gap else "word")

    def _options(self, line: int, ways: Iterable[Way]) -> Iterator[Way]:
        """Each way with each alternative of a line that has words to end it."""
        for way in ways:
            for option in range(len(self._line(line, way).beats)):
                begun = way._replace(option=option, beat=0)
                if len(self._ending(line, begun)):
                    yield begun

    # -- words -----------------------------------------------------------------------------------------------------

    def _complete(self, state: State) -> bool:
        """Whether the letters so far are a word that may stand there."""
        if not state.node.depth or not self.lexicon.is_word(state.node):
            return False
        counts = self._counts(state.line, state.ways)
        return bool(counts[state.node.low + 1] > counts[state.node.low])

    def _ways(self, state: State) -> tuple[Way, ...]:
        """The ways behind the word that is now complete, or behind its punctuation."""
        if state.place == "mark":
            return self._sets[state.ways]
        return self._behind(state.line, state.ways, state.node.low)

    def _count_words(self, line: int, ways: int) -> np.ndarray:
        """(W + 1,): how many of the words before each may stand there."""
        lexicon = self.lexicon
        may = np.zeros(len(lexicon.words), dtype=bool)
        for rest, room in {self._rest(line, way) for way in self._sets[ways]}:
            may |= self._inner(rest, room)
        for way in self._sets[ways]:
            ending = self._ending(line, way)
            left = len(self._beats(line, way)) - way.beat
            may[lexicon.word_of[ending[lexicon.lengths[ending] == left]]] = True
        counts = np.zeros(len(may) + 1, dtype=np.int32)
        np.cumsum(may, out=counts[1:])
        return counts

    def _find_behind(self, line: int, ways: int, word: int) -> tuple[Way, ...]:
        """The ways behind a word: those that go on, and those that have ended the line."""
        lexicon, found = self.lexicon, []
        for way in self._sets[ways]:
            beats, ending = self._beats(line, way), self._ending(line, way)
            rest, room = self._rest(line, way)
            for reading in range(lexicon.first[word], lexicon.first[word + 1]):
                stress = lexicon.stresses[lexicon.stress_of[reading]]
                if len(stress) <= room and fits(stress, rest[: len(stress)]):
                    found.append(way._replace(beat=way.beat + len(stress)))
                elif len(stress) == len(rest) and reading in ending:
                    found.append(self._ended(line, way, word, int(lexicon.rhymes(weak_end(beats))[reading])))
        return tuple(dict.fromkeys(found))

    def _rest(self, line: int, way: Way) -> tuple[str, int]:
        """The beats still to come, and how many of them words may take that do not end the line."""
        rest = self._beats(line, way)[way.beat :]
        return rest, len(rest) - int(self.lexicon.lengths[self._ending(line, way)].min())

    def _find_inner(self, rest: str, room: int) -> np.ndarray:
        """(W,): the words that fit there and do not end the line."""
        fitting = [len(stress) <= room and fits(stress, rest[: len(stress)]) for stress in self.lexicon.stresses]
        found = np.zeros(len(self.lexicon.words), dtype=bool)
        found[self.lexicon.word_of[np.array(fitting)[self.lexicon.stress_of]]] = True
        return found

    def _ended(self, line: int, way: Way, word: int, rhyme: int) -> Way:
        """The way at the end of a line: its letter has its class, and may not end in that word again."""
        name = self._line(line, way).rhyme
        way = way._replace(beat=len(self._beats(line, way)))
        if not name:
            return way
        i = self.letters.index(name)
        classes = (*way.classes[:i], rhyme, *way.classes[i + 1 :])
        used = (*way.used[:i], way.used[i] | {word}, *way.used[i + 1 :])
        return way._replace(classes=classes, used=used)

    def _ending(self, line: int, way: Way) -> np.ndarray:
        """The readings that may end the line."""
        name = self._line(line, way).rhyme
        i = self.letters.index(name) if name else -1
        rhyme, used = (way.classes[i], way.used[i]) if name else (-1, frozenset[int]())
        return self._endings(self._beats(line, way), (way.pattern, i) if name else None, rhyme, used)

    def _find_endings(self, beats: str, letter: tuple[int, int] | None, rhyme: int, used: frozenset[int]) -> np.ndarray:
        lexicon = self.lexicon
        found = self._final(beats)
        if letter is not None:
            classes = lexicon.rhymes(weak_end(beats))
            found = found & self._rhyming[letter][weak_end(beats)] & (classes >= 0 if rhyme < 0 else classes == rhyme)
        return np.array(
            [reading for reading in np.flatnonzero(found) if lexicon.word_of[reading] not in used], dtype=int
        )

    def _line(self, line: int, way: Way) -> Line:
        return self.form.patterns[way.pattern].lines[line]

    def _beats(self, line: int, way: Way) -> str:
        return self._line(line, way).beats[way.option]

    def _is_last(self, line: int) -> bool:
        return line + 1 == len(self.form.patterns[0].lines)

    def _has_ended(self, line: int, way: Way) -> bool:
        return way.beat == len(self._beats(line, way))

    def _number(self, ways: Iterable[Way]) -> int:
        """A set of ways by its number."""
        key = tuple(dict.fromkeys(ways))
        if key not in self._numbers:
            self._numbers[key] = len(self._sets)
            self._sets.append(key)
        return self._numbers[key]


def spellings(letter: str, first: bool) -> tuple[str, ...]:
    """As what a letter of the lexicon may be written: the first of a word as a capital, an apostrophe in two shapes."""
    if letter == "'":
        return ("'", "’")
    return (letter, letter.upper()) if first else (letter,)


def plain(character: str, first: bool) -> str:
    """The letter of the lexicon that is written so."""
    return "'" if character == "’" else character.lower() if first else character
