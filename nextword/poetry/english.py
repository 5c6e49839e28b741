"""English forms as automata over characters: syllables, stress and rhyme, no word rhyming with itself.

The poem is read as words. At the beginning of a word those words are known that keep the metre and leave room for a
rhyme to end the line, and for what is given of it; its letters are then whatever leads to one of them. Words are read
without elision, which the checker allows beside it.

A *way* is one manner in which the poem so far keeps the form; a state holds all of them, as in Chinese.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from nextword.errors import UsageError
from nextword.poetry.english_plan import EnglishPlan
from nextword.poetry.kept import Kept
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
    place: int
    """Given words of the line behind it."""
    classes: tuple[int, ...]
    """Of each rhyme letter the class it has taken; -1: none yet."""
    used: tuple[frozenset[int], ...]
    """Of each rhyme letter the words that ended its lines, or will, being given."""


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

    def __init__(
        self,
        form: Form,
        lexicon: Lexicon,
        characters: Iterable[str],
        whole: bool = False,
        kept: Mapping[int, Kept] | None = None,
    ) -> None:
        """`characters` may be written. `whole`: words may not, letter by letter, but only as tokens of their own.
        `kept`: line, from 0 -> what is given of it.

        Raises UsageError, with the reason, if no poem could be promised.
        """
        self.form, self.lexicon, self.whole = form, lexicon, whole
        known = set(characters)
        if "\n" not in known:
            raise UsageError("the model's tokenizer has no line end, and verse needs one", hint="Train it on lines")
        if 1 not in lexicon.lengths:
            raise UsageError("no English word of one syllable can be written", hint="Give an English lexicon and model")
        self.plan = plan = EnglishPlan(form, lexicon, kept or {})
        self.marks = [mark for mark in MARKS if mark in known]
        letters = {letter for word in lexicon.words for letter in word}
        forms = {form for letter in letters for form in spellings(letter, first=True) if whole or form in known}
        self.alphabet = "".join(sorted({*forms, *self.marks, " ", "\n"}))
        self._index = {c: i for i, c in enumerate(self.alphabet)}
        self.longest = sum(LONGEST_SYLLABLE * max(map(len, line.beats)) for line in form.patterns[0].lines)
        self._spans: dict[tuple[str, ...], tuple[np.ndarray, np.ndarray, list[int]]] = {}
        self._sets: list[tuple[Way, ...]] = []
        self._numbers: dict[tuple[Way, ...], int] = {}
        self._counts = lru_cache(maxsize=128)(self._count_words)
        self._behind = lru_cache(maxsize=1 << 14)(self._find_behind)
        begun = (Way(b.pattern, 0, 0, 0, b.classes, b.used) for b in plan.beginnings)
        self._first = self._number(self._options(0, begun))

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
        else:
            ways = tuple(way for way in ways if not self._within(state.line, way))
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
        ways = self._ways(state)
        ended = {self._has_ended(state.line, way) for way in ways}
        if state.place == "word" and not all(self._within(state.line, way) for way in ways):
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
                begun = way._replace(option=option, beat=0, place=0)
                if len(self._ending(line, begun)[0]):
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
        kept = self.plan.kept[line]
        for rest, room in {self._rest(line, way)[:2] for way in self._sets[ways]}:
            may |= self.plan.inner(rest, room)
        for way in self._sets[ways]:
            ending, _ = self._ending(line, way)
            rest, _, given = self._rest(line, way)
            if given:
                may[self.plan.word(kept.words[way.place])] = True
            if way.place == len(kept.words):
                may[lexicon.word_of[ending[lexicon.lengths[ending] == len(rest)]]] = True
        if kept.head and self._sets[ways][0].beat == 0:
            node = lexicon.children(lexicon.root)[kept.head]
            may[: node.low] = may[node.high :] = False
        counts = np.zeros(len(may) + 1, dtype=np.int32)
        np.cumsum(may, out=counts[1:])
        return counts

    def _find_behind(self, line: int, ways: int, word: int) -> tuple[Way, ...]:
        """The ways behind a word: those that go on, and those that have ended the line."""
        lexicon, words, found = self.lexicon, self.plan.kept[line].words, []
        for way in self._sets[ways]:
            beats, (ending, _) = self._beats(line, way), self._ending(line, way)
            rest, room, given = self._rest(line, way)
            for reading in range(lexicon.first[word], lexicon.first[word + 1]):
                stress = lexicon.stresses[lexicon.stress_of[reading]]
                if len(stress) in room and fits(stress, rest[: len(stress)]):
                    found.append(way._replace(beat=way.beat + len(stress)))
                if stress in given and word == self.plan.word(words[way.place]):
                    found.append(way._replace(beat=way.beat + len(stress), place=way.place + 1))
                if len(stress) == len(rest) and way.place == len(words) and reading in ending:
                    found.append(self._ended(line, way, word, int(lexicon.rhymes(weak_end(beats))[reading])))
        return tuple(dict.fromkeys(found))

    def _rest(self, line: int, way: Way) -> tuple[str, frozenset[int], frozenset[str]]:
        """The beats still to come, how many of them a word may take that is not given and does not end the line, and
        with which stresses the next given one may stand there."""
        beats, kept, (_, ends) = self._beats(line, way), self.plan.kept[line], self._ending(line, way)
        at = beats, kept, way.beat, way.place, ends
        given = self.plan.given(*at) if way.place < len(kept.words) else frozenset[str]()
        return beats[way.beat :], self.plan.room(*at), given

    def _ended(self, line: int, way: Way, word: int, rhyme: int) -> Way:
        """The way at the end of a line: its letter has its class, and may not end in that word again."""
        name = self._line(line, way).rhyme
        way = way._replace(beat=len(self._beats(line, way)))
        if not name:
            return way
        i = self.plan.letters.index(name)
        classes = (*way.classes[:i], rhyme, *way.classes[i + 1 :])
        used = (*way.used[:i], way.used[i] | {word}, *way.used[i + 1 :])
        return way._replace(classes=classes, used=used)

    def _ending(self, line: int, way: Way) -> tuple[np.ndarray, frozenset[int]]:
        """The readings that may end the line, and how many syllables they have."""
        name = self._line(line, way).rhyme
        i = self.plan.letters.index(name) if name else -1
        rhyme, used = (way.classes[i], way.used[i]) if name else (-1, frozenset[int]())
        letter = (way.pattern, i) if name else None
        return self.plan.endings(self._beats(line, way), self.plan.kept[line], letter, rhyme, used)

    def _line(self, line: int, way: Way) -> Line:
        return self.form.patterns[way.pattern].lines[line]

    def _beats(self, line: int, way: Way) -> str:
        return self._line(line, way).beats[way.option]

    def _is_last(self, line: int) -> bool:
        return line + 1 == len(self.form.patterns[0].lines)

    def _has_ended(self, line: int, way: Way) -> bool:
        return way.beat == len(self._beats(line, way))

    def _within(self, line: int, way: Way) -> bool:
        """Whether the next word must follow at once, without punctuation: both were given together."""
        return 0 < way.beat < len(self._beats(line, way)) and self.plan.kept[line].joined[way.place]

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
