"""English forms as automata over characters: syllables, stress and rhyme, no word rhyming with itself.

The poem is read as words. At the beginning of a word those words are known that keep the metre and leave room for a
rhyme to end the line, and for what is given of it; its letters are then whatever leads to one of them. Words are read
without elision, which the checker allows beside it.

A *way* is one manner in which the poem so far keeps the form: what rhymes it has chosen, and where in the line it may
stand (`nextword.poetry.english_line`). A state holds all of them, as in Chinese.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from nextword.errors import UsageError
from nextword.poetry.english_line import Course, EnglishLine, Stand, Stands
from nextword.poetry.english_plan import EnglishPlan
from nextword.poetry.kept import Kept
from nextword.poetry.lexicon import Lexicon, Prefix, spellings
from nextword.verse.patterns import Form

MARKS = ",;:.!?"
CLOSING = ".!?"
BEHIND = f"{MARKS} \n"  # what may stand behind a word
LONGEST_SYLLABLE = 12  # letters, space and punctuation: strengths,


class Rhymes(NamedTuple):
    """Of a pattern, what its lines so far have chosen; a rhyme with no more lines to come is as before its first."""

    pattern: int
    classes: tuple[int, ...]
    """Of each rhyme letter the class it has taken; -1: none yet."""
    used: tuple[frozenset[int], ...]
    """Of each rhyme letter the words that ended its lines, or will, being given."""


class Way(NamedTuple):
    """One manner of keeping the form, so far."""

    stands: Stands
    rhymes: Rhymes


class Behind(NamedTuple):
    """Behind a word: the ways in which the line goes on, and those in which it has ended."""

    ways: tuple[Way, ...]
    ended: tuple[Rhymes, ...]


NOWHERE = Behind((), ())


class State(NamedTuple):
    """Where a poem is."""

    line: int
    ways: tuple[Way, ...]
    """As they were at the beginning of the word."""
    behind: Behind
    """Behind the letters so far, if they are a word that may stand there, or behind punctuation; else there is no
    way."""
    prefix: Prefix
    """The letters of the word so far."""
    place: str
    """word: in or before a word; mark: behind punctuation; gap: before an empty line."""


class Turn(NamedTuple):
    """All that decides what may stand behind a complete word, behind punctuation or before an empty line."""

    place: str
    mark: bool
    """Punctuation may come."""
    onwards: bool
    """The line may go on."""
    ended: bool
    """It may end."""
    last: bool
    """It is the last line."""
    gap: bool
    """An empty line follows."""


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
        self.inside = EnglishLine(plan)
        self.marks = [mark for mark in MARKS if mark in known]
        letters = {letter for word in lexicon.words for letter in word}
        forms = {form for letter in letters for form in spellings(letter, first=True) if whole or form in known}
        self.alphabet = "".join(sorted({*forms, *self.marks, " ", "\n"}))
        self._index = {c: i for i, c in enumerate(self.alphabet)}
        self.longest = sum(LONGEST_SYLLABLE * max(map(len, line.beats)) for line in form.patterns[0].lines)
        stanzas = [line.stanza for line in form.patterns[0].lines]
        self._closes = [*((False, one != other) for one, other in pairwise(stanzas)), (True, False)]
        """[line]: whether it is the last one, and whether an empty line follows."""
        self._joined = any(any(one.joined) for one in plan.kept)
        self._begin = lru_cache(maxsize=1 << 12)(self._find_beginning)

    # -- one character after another -------------------------------------------------------------------------------

    def start(self) -> State:
        """Nothing is written."""
        begun = tuple(Rhymes(*beginning) for beginning in self.plan.beginnings)
        return State(0, self._begin(0, begun), NOWHERE, self.lexicon.root, "word")

    def finished(self, state: State) -> bool:
        """All lines are written."""
        return state.line == len(self._closes)

    def rests(self, state: State) -> bool:
        """Whether a token may end here: anywhere, unless words are tokens of their own."""
        return not self.whole or state.place != "word" or not state.prefix.letters or any(state.behind)

    def allowed(self, state: State) -> np.ndarray:
        """What leads to a word that some way allows, and what may follow a word that is complete."""
        found = np.zeros(len(self.alphabet), dtype=bool)
        if not self.finished(state):
            found[[self._index[character] for character in self._next(state) if character in self._index]] = True
        return found

    def step(self, state: State, character: str) -> State:
        """The state after a character, or several letters of a word, which must be allowed."""
        line, ways, behind, prefix, place = state
        if character not in BEHIND:
            longer = self.lexicon.beyond(prefix, character)
            assert longer is not None
            behind = self._behind(line, ways, longer.low) if longer.is_word else NOWHERE
            return State(line, ways, behind, longer, "word")
        if place == "gap":
            return state._replace(place="word")
        ways, ended = behind
        if character == "\n" or (character in CLOSING and ended and self._closes[line][0]):
            return self._next_line(line, ended)
        if character == " ":
            return State(line, ways, NOWHERE, self.lexicon.root, "word")
        return State(line, (), Behind(self._parted(ways), ended), self.lexicon.root, "mark")

    def _next(self, state: State) -> Iterator[str]:
        """The characters that may follow."""
        if state.place == "word":
            yield from (
                letter
                for letter, child in self.lexicon.children(state.prefix).items()
                if self._may_become(state, child)
            )
        if any(state.behind) or state.place == "gap":
            yield from self._between(self.turn(state))

    def _may_become(self, state: State, prefix: Prefix) -> bool:
        """Whether letters begin a word that may come."""
        _, low, _, high = prefix
        for way in state.ways:
            may = self.inside.words(way.stands).may
            if may[low:high].any() or self.rhyming(state.line, way, low, high):
                return True
        return False

    def turn(self, state: State) -> Turn:
        """What decides what may stand there between words."""
        ways, ended = state.behind
        mark = state.place == "word" and bool(ended or self._parted(ways))
        return Turn(state.place, mark, bool(ways), bool(ended), *self._closes[state.line])

    def _between(self, turn: Turn) -> Iterator[str]:
        """The marks, space or line end that may come."""
        if turn.mark:
            at_end = turn.last and not turn.onwards
            yield from (mark for mark in self.marks if mark in CLOSING or not at_end)
        if turn.onwards:
            yield " "
        if turn.ended or turn.place == "gap":
            yield "\n"

    def _next_line(self, line: int, ended: tuple[Rhymes, ...]) -> State:
        """At the beginning of a line, behind an empty one where a stanza begins."""
        last, gap = self._closes[line]
        place = "gap" if gap or last else "word"
        return State(line + 1, self.beginnings(line, ended), NOWHERE, self.lexicon.root, place)

    def beginnings(self, line: int, ended: tuple[Rhymes, ...]) -> tuple[Way, ...]:
        """The ways at the beginning of the line behind one that has ended."""
        return () if self._closes[line][0] or not ended else self._begin(line + 1, ended)

    # -- words -----------------------------------------------------------------------------------------------------

    def _behind(self, line: int, ways: tuple[Way, ...], word: int) -> Behind:
        """Behind a word, wherever it may stand."""
        going: list[Way] = []
        ended: dict[Rhymes, None] = {}
        for way in ways:
            stands, classes = self.inside.behind(way.stands, word)
            if stands.places:
                going.append(Way(stands, way.rhymes))
            for rhyme in classes:
                rhymes = self._ended(line, way.rhymes, word, rhyme)
                if rhymes:
                    ended[rhymes] = None
        return Behind(tuple(going), tuple(ended))

    def _ended(self, line: int, rhymes: Rhymes, word: int, rhyme: int) -> Rhymes | None:
        """Behind a line that ends in a word: its letter has its class, and may not end in that word again. None: it
        has another class already, or did end in that word."""
        pattern, classes, used = rhymes
        letter = self.plan.letter_of[pattern][line]
        if letter is None:
            return rhymes
        chosen, barred = self._chosen(line, rhymes)
        if chosen not in (-1, rhyme) or word in barred:
            return None
        now, words = (-1, frozenset[int]()) if self.plan.is_over[pattern][line] else (rhyme, used[letter] | {word})
        return Rhymes(
            pattern,
            (*classes[:letter], now, *classes[letter + 1 :]),
            (*used[:letter], words, *used[letter + 1 :]),
        )

    def _find_beginning(self, line: int, begun: tuple[Rhymes, ...]) -> tuple[Way, ...]:
        """A line with each alternative of it that has words to end it."""
        found, kept = [], self.plan.kept[line]
        for rhymes in begun:
            letter = self.plan.letter_of[rhymes.pattern][line]
            group = None if letter is None else self.plan.groups[rhymes.pattern, letter]
            rhyme, used = self._chosen(line, rhymes)
            places = []
            for beats in self.form.patterns[rhymes.pattern].lines[line].beats:
                endings = self.plan.endings(beats, kept, group, rhyme)
                ends = frozenset(
                    n for n, words in endings.items() if len(words) > len(used) or {*words.tolist()} - used
                )
                places += [Stand(Course(beats, kept, group, rhyme < 0, ends), 0, 0)] if ends else []
            found += [Way(self.inside.stands(places), rhymes)] if places else []
        return tuple(dict.fromkeys(found))

    def rhyming(self, line: int, way: Way, low: int, high: int) -> list[int]:
        """The words that may come and end a line by a class already chosen, from one word up to another;
        `EnglishLine.words` lacks them."""
        if not way.stands.closed:
            return []
        rhyme, used = self._chosen(line, way.rhymes)
        words = self.inside.rhyming(way.stands, rhyme)
        return [word for word in words[bisect_left(words, low) : bisect_left(words, high)] if word not in used]

    def _chosen(self, line: int, rhymes: Rhymes) -> tuple[int, frozenset[int]]:
        """The class of the rhyme of a line, -1 for none yet, and the words that may not end it any more."""
        letter = self.plan.letter_of[rhymes.pattern][line]
        if letter is None:
            return -1, frozenset()
        return rhymes.classes[letter], frozenset() if self.plan.kept[line].last else rhymes.used[letter]

    def _parted(self, ways: tuple[Way, ...]) -> tuple[Way, ...]:
        """The ways in which the next word was not given together with the last one."""
        if not self._joined:
            return ways
        found = ((self.inside.parted(way.stands), way.rhymes) for way in ways)
        return tuple(Way(stands, rhymes) for stands, rhymes in found if stands.places)
