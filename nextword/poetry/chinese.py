"""Chinese forms as automata over characters: tones, rhymes, given characters, and none written twice.

Tones alone could be kept from one character to the next. Rhymes could not: a class may run out of characters that
have not been used. So every place asks first whether the rhymes still to come can be found (`_scarce`).

A *way* is one manner in which the poem so far keeps the form: a pattern, for the present line one of its
alternatives, and for each rhyme letter the classes it may still be of. A state holds all ways at once, so nothing is
decided before a character decides it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nextword.poetry.plan import ANY, Given, Plan, Slot
from nextword.verse.chinese import Reading, RhymeBook
from nextword.verse.patterns import Form


class Way(NamedTuple):
    """One manner of keeping the form, so far."""

    pattern: int
    option: int
    """Which alternative of the present line."""
    rhymes: tuple[tuple[str, ...], ...]
    """For each letter of the form, the classes left."""


class Ask(NamedTuple):
    """What a way asks of the next character."""

    pattern: int
    rhymes: tuple[tuple[str, ...], ...]
    beat: str
    letter: int | None
    """Which rhyme of the form it is; None: no rhyme."""


class State(NamedTuple):
    """Where a poem is."""

    at: int
    """Slots behind it."""
    ways: int
    """The number of a set of ways."""
    used: frozenset[str]
    """Characters written, where none may be written twice."""
    said: str
    """All that is written, where some of it is said once more."""


class ChineseAutomaton:
    """A form with all that is asked of it: `nextword.poetry.automaton.Automaton`.

    >>> from nextword.verse.chinese import rhyme_book
    >>> from nextword.verse.forms import find_form
    >>> book = rhyme_book("pingshui")
    >>> automaton = ChineseAutomaton(find_form("wujue"), book, "".join(book.table) + "，。\n", given={(0, 0): "春"})
    >>> automaton.alphabet[int(automaton.allowed(automaton.start()).argmax())]
    '春'
    """

    whole = False

    def __init__(
        self,
        form: Form,
        book: RhymeBook,
        characters: Iterable[str],
        *,
        given: Given | None = None,
        rhymes: Sequence[str] = (),
        repeats: bool = False,
        borrowing: bool = False,
        rare_readings: bool = True,
    ) -> None:
        """As for `Plan`, which raises UsageError, with the reason, for what cannot be written."""
        asked: dict[str, Any] = {"given": given, "rhymes": rhymes, "repeats": repeats, "borrowing": borrowing}
        self.plan = plan = Plan(form, book, characters, rare_readings=rare_readings, **asked)
        self.alphabet, self.longest = "".join(sorted(plan.readings)), len(plan.slots)
        self._echoes = any(slot.echo >= 0 for slot in plan.slots)
        self._index = {character: i for i, character in enumerate(self.alphabet)}
        self._ways: list[tuple[Way, ...]] = []
        self._numbers: dict[tuple[Way, ...], int] = {}
        self._steps: dict[tuple[int, int, tuple[Reading, ...]], int] = {}
        self._asked: dict[tuple[int, int], list[Ask]] = {}
        self._unions: dict[tuple[tuple[str, str], ...], np.ndarray] = {}
        self._arrays: dict[frozenset[str], np.ndarray] = {}
        self._start = self._number(
            Way(pattern, option, classes)
            for pattern, classes in plan.classes.items()
            for option in plan.options[pattern][0]
        )

    def start(self) -> State:
        """Nothing is written."""
        return State(0, self._start, frozenset(), "")

    def finished(self, state: State) -> bool:
        """All slots are filled."""
        return state.at == len(self.plan.slots)

    def rests(self, state: State) -> bool:
        """Anywhere."""
        return True

    def allowed(self, state: State) -> np.ndarray:
        """What some way allows and was not used."""
        if self.finished(state):
            return self._array(frozenset())
        slot = self.plan.slots[state.at]
        if not slot.free:
            return self._array(frozenset(slot.given or state.said[slot.echo]))
        beats: set[str] = set()  # on which anything unused may stand
        parts: list[np.ndarray] = []
        for ask in self._asks(state):
            if ask.letter is None and (ask.beat in beats or "中" in beats):
                continue
            scarce = self._scarce(state, ask)
            if scarce is None:
                continue
            if ask.letter is not None:
                parts.append(self._rhyming(state, ask, ask.rhymes[ask.letter]))
            elif scarce:
                parts.append(self._union((ANY, ask.beat)) & ~self._array(scarce))
            else:
                beats.add(ask.beat)
        allowed = self._union(*((ANY, beat) for beat in sorted(beats)))
        for part in parts:
            allowed = allowed | part
        if state.used:
            allowed = allowed.copy()
            allowed[[self._index[c] for c in state.used]] = False
        return allowed

    def step(self, state: State, character: str) -> State:
        """The ways that this character keeps."""
        slot = self.plan.slots[state.at]
        first = self.plan.slots[slot.echo] if slot.echo >= 0 else slot
        readings = self.plan.given_readings(character) if first.given else self.plan.readings[character]
        key = (state.at, state.ways, readings)
        if key not in self._steps:
            kept = [way for old in self._ways[state.ways] if (way := self._keep(old, slot, readings))]
            self._steps[key] = self._number(self._onwards(kept, state.at + 1))
        used = state.used if self.plan.repeats or not slot.free else state.used | {character}
        said = state.said + character if self._echoes else ""
        return State(state.at + 1, self._steps[key], used, said)

    def ways(self, state: State) -> tuple[Way, ...]:
        """In which ways the poem so far keeps the form."""
        return self._ways[state.ways]

    def _keep(self, way: Way, slot: Slot, readings: tuple[Reading, ...]) -> Way | None:
        """The way behind a character, None if it ends there."""
        if slot.place < 0 or not readings:
            return way
        beat, letter = self.plan.beat(way.pattern, way.option, slot), self.plan.letter(way.pattern, slot)
        fitting = {reading.rhyme for reading in readings if reading.fits(beat)}
        if letter is None or not fitting:
            return way if fitting else None
        serving = self.plan.serving(fitting, slot)
        classes = tuple(rhyme for rhyme in way.rhymes[letter] if rhyme in serving)
        rhymes = (*way.rhymes[:letter], classes, *way.rhymes[letter + 1 :])
        return way._replace(rhymes=rhymes) if classes else None

    def _onwards(self, ways: list[Way], at: int) -> Iterable[Way]:
        """At the beginning of a line, each way goes on with each alternative of it."""
        if at == len(self.plan.slots) or self.plan.slots[at].place != 0:
            return ways
        line = self.plan.slots[at].line
        return [way._replace(option=option) for way in ways for option in self.plan.options[way.pattern][line]]

    def _asks(self, state: State) -> list[Ask]:
        """What the ways ask for now, each once."""
        key = state.at, state.ways
        if key not in self._asked:
            slot = self.plan.slots[state.at]
            asks = (
                Ask(way.pattern, way.rhymes, self.plan.beat(*way[:2], slot), self.plan.letter(way.pattern, slot))
                for way in self._ways[state.ways]
            )
            self._asked[key] = list(dict.fromkeys(asks))
        return self._asked[key]

    def _scarce(self, state: State, ask: Ask) -> frozenset[str] | None:
        """What must not be written outside rhymes, as there are only just enough rhymes left; None where there are
        not even enough, since another way allowed what this one did not.

        Of each letter, one class at least must keep as many unused characters as rhymes are still to come, those of
        the other letters included. Then no set of rhymes lacks characters (Hall's condition), whichever are chosen.
        """
        need = self.plan.needs[ask.pattern][state.at]
        scarce: frozenset[str] = frozenset()
        if self.plan.repeats or not need:
            return scarce
        for classes, beats in zip(ask.rhymes, self.plan.beats[ask.pattern][state.at], strict=True):
            common: frozenset[str] | None = None
            for rhyme in classes if beats else ():
                pools = [self.plan.pool(rhyme, beat) for beat in beats]
                if min(map(len, pools)) - len(state.used) > need:
                    break
                spare = [len(pool) - len(pool & state.used) - need for pool in pools]
                if min(spare) > 0:
                    break
                if min(spare) == 0:
                    last = frozenset().union(*(pool for pool, left in zip(pools, spare, strict=True) if left == 0))
                    common = last if common is None else common & last
            else:
                if beats and common is None:
                    return None
                scarce |= common or frozenset()
        return scarce

    def _rhyming(self, state: State, ask: Ask, classes: tuple[str, ...]) -> np.ndarray:
        """The characters of those classes that have enough for all rhymes still to come."""
        need = self.plan.needs[ask.pattern][state.at]
        beats = self.plan.beats[ask.pattern][state.at][ask.letter or 0]
        enough = [rhyme for rhyme in classes if all(self._spare(state, rhyme, b) >= need for b in beats)]
        serving = sorted(self.plan.serving(enough, self.plan.slots[state.at]))
        return self._union(*((rhyme, ask.beat) for rhyme in serving))

    def _spare(self, state: State, rhyme: str, beat: str) -> int:
        """How many characters of a class have not been used."""
        pool = self.plan.pool(rhyme, beat)
        return len(pool) - len(pool & state.used)

    def _number(self, ways: Iterable[Way]) -> int:
        """A set of ways by its number."""
        key = tuple(dict.fromkeys(ways))
        if key not in self._numbers:
            self._numbers[key] = len(self._ways)
            self._ways.append(key)
        return self._numbers[key]

    def _union(self, *pools: tuple[str, str]) -> np.ndarray:
        """(A,) bool: the characters of pools of the plan. Shared: not to be written to."""
        if pools not in self._unions:
            self._unions[pools] = self._array(frozenset().union(*(self.plan.pool(*pool) for pool in pools)))
        return self._unions[pools]

    def _array(self, characters: frozenset[str]) -> np.ndarray:
        """(A,) bool. Shared: not to be written to."""
        if characters not in self._arrays:
            array = np.zeros(len(self.alphabet), dtype=bool)
            array[[self._index[c] for c in characters]] = True
            self._arrays[characters] = array
        return self._arrays[characters]
