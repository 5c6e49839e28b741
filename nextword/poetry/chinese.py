"""Chinese forms as automata over characters: tones, rhymes, given characters, and none written twice.

Tones alone could be kept from one character to the next. Rhymes could not: a class may run out of characters that
have not been used. So every place asks first whether the rhymes still to come can be found (`_scarce`).

A *way* is one manner in which the poem so far keeps the form: a pattern, for the present line one of its
alternatives, and for each rhyme letter the classes it may still be of. A state holds all ways at once, so nothing is
decided before a character decides it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import regex  # type: ignore[import-untyped]

from nextword.errors import UsageError
from nextword.verse.chinese import Reading, RhymeBook
from nextword.verse.layout import behind
from nextword.verse.patterns import Form, Pattern

HAN = regex.compile(r"[\p{Han}〇]")
Given = Mapping[tuple[int, int], str]
"""(line, place), both from 0 -> the character that stands there."""


class Slot(NamedTuple):
    """One character of the text of a poem."""

    line: int
    place: int
    """In its line, from 0; -1: punctuation or the end of a row."""
    given: str
    """"": free."""


class Way(NamedTuple):
    """One manner of keeping the form, so far."""

    pattern: int
    option: int
    """Which alternative of the present line."""
    rhymes: tuple[tuple[str, ...], ...]
    """For each letter of the form, the classes left."""


class State(NamedTuple):
    """Where a poem is."""

    at: int
    """Slots behind it."""
    ways: int
    """The number of a set of ways."""
    used: frozenset[str]
    """Characters written, where none may be written twice."""


class Refused(NamedTuple):
    """Why a pattern cannot be filled."""

    misfits: int
    """Given characters of the wrong tone: where no pattern will do, the reason names the one that fits best."""
    reason: str


class ChineseAutomaton:
    """A form with all that is asked of it: `nextword.poetry.automaton.Automaton`.

    >>> from nextword.verse.chinese import rhyme_book
    >>> from nextword.verse.forms import find_form
    >>> book = rhyme_book("pingshui")
    >>> automaton = ChineseAutomaton(find_form("wujue"), book, "".join(book.table), given={(0, 0): "春"})
    >>> automaton.alphabet[int(automaton.allowed(automaton.start()).argmax())]
    '春'
    """

    def __init__(
        self,
        form: Form,
        book: RhymeBook,
        characters: Iterable[str],
        *,
        given: Given | None = None,
        rhymes: Sequence[str] = (),
        repeats: bool = False,
    ) -> None:
        """`characters` may be written, as far as the book knows them, and stand between lines. `rhymes`: classes of
        the book for the first letters of the form. `repeats`: a character may be written twice; else those that are
        `given` count as written.

        Raises UsageError, with the reason, if no poem is possible, or none could be promised.
        """
        given = dict(given or {})
        known = set(characters)
        self.form, self.book, self.repeats = form, book, repeats
        self.slots = slots_of(form, given)
        self.longest = len(self.slots)
        if missing := sorted({slot.given for slot in self.slots if slot.given} - known):
            raise UsageError(f"the model's tokenizer has no {' '.join(map(repr, missing))}", hint="Ask for others")
        self.letters = [*dict.fromkeys(line.rhyme for p in form.patterns for line in p.lines if line.rhyme)]
        readings = {c: book.readings(c) if HAN.fullmatch(c) else () for c in known}
        marks = {slot.given for slot in self.slots}
        self.alphabet = "".join(sorted(c for c in known if readings[c] or c in marks))
        self._index = {c: i for i, c in enumerate(self.alphabet)}
        self._readings = {c: readings[c] for c in self.alphabet}
        reserved = set() if repeats else marks
        self._tones, self._pools = pools_of({c: readings[c] for c in self.alphabet if c not in reserved})
        self._classes = set(book.rhymes())
        self._ways: list[tuple[Way, ...]] = []
        self._numbers: dict[tuple[Way, ...], int] = {}
        self._steps: dict[tuple[int, int, tuple[Reading, ...]], int] = {}
        self._differing: dict[tuple[int, int], list[Way]] = {}
        self._unions: dict[tuple[str, ...], frozenset[str]] = {}
        self._arrays: dict[frozenset[str], np.ndarray] = {}
        self._begin(rhymes)

    # -- before the first character --------------------------------------------------------------------------------

    def _begin(self, rhymes: Sequence[str]) -> None:
        """Find the patterns that can be filled; raise the reason if there is none."""
        if len(rhymes) > len(self.letters):
            raise UsageError(
                f"{self.form.title} has {len(self.letters)} rhymes, but {len(rhymes)} are asked for",
                hint="Give one rhyme class for each, or fewer",
            )
        self._options: dict[int, list[list[int]]] = {}  # pattern -> of each line, the alternatives that can be kept
        self._needs: dict[int, list[int]] = {}  # pattern -> at each slot, rhymes still to be written
        self._beats: dict[int, list[tuple[frozenset[str], ...]]] = {}  # and of each letter, on which beats
        refusals: list[Refused] = []
        classes: dict[int, tuple[tuple[str, ...], ...]] = {}
        for number, pattern in enumerate(self.form.patterns):
            found = self._fill(number, pattern, rhymes)
            if isinstance(found, Refused):
                refusals.append(found)
            else:
                classes[number] = found
        if not classes:
            raise UsageError(min(refusals).reason)
        self._check_tones()
        self._start = self._number(
            Way(number, option, found) for number, found in classes.items() for option in self._options[number][0]
        )

    def _fill(self, number: int, pattern: Pattern, rhymes: Sequence[str]) -> tuple[tuple[str, ...], ...] | Refused:
        """The classes each letter may be of, the largest first, or why the pattern cannot be filled."""
        lines: list[list[int]] = []
        misfits: list[Slot] = []
        for i, line in enumerate(pattern.lines):
            here = [slot for slot in self.slots if slot.line == i and slot.place >= 0 and slot.given]
            wrong = [[slot for slot in here if not self._fits(slot.given, beats[slot.place])] for beats in line.beats]
            lines.append([option for option, slots in enumerate(wrong) if not slots])
            fewest: list[Slot] = min(wrong, key=len)
            misfits += fewest
        if misfits:
            return Refused(len(misfits), self._misfit(pattern, misfits[0]))
        self._options[number] = lines
        self._count(number, pattern)
        need = self._needs[number][0]
        found: list[tuple[str, ...]] = []
        for letter in range(len(self.letters)):
            wanted = rhymes[letter] if letter < len(rhymes) else ""
            left = {wanted} if wanted else self._classes
            ends = [slot for slot in self.slots if slot.given and self._letter(number, slot) == letter]
            for slot in ends:
                beat = pattern.lines[slot.line].beats[0][-1]
                of_slot = {reading.rhyme for reading in self.book.fitting(slot.given, beat)}
                left = left & (of_slot or left)  # one that the book lacks rhymes with anything
            if not left:
                words = "".join(dict.fromkeys(slot.given for slot in ends))
                what = f"{words} should be of the rhyme {wanted}, and is not" if wanted else f"{words} do not rhyme"
                return Refused(0, f"{self.form.title}: {what} in {self.book.title}")
            beats = self._beats[number][0][letter]
            size = {rhyme: min((len(self.pool(rhyme, b)) for b in beats), default=need) for rhyme in left}
            enough = [rhyme for rhyme in sorted(left, key=lambda c: (-size[c], c)) if size[rhyme] >= need]
            if not enough:
                best = max(size, key=lambda rhyme: size[rhyme])
                return Refused(0, self._too_few(best, size[best], need, beats))
            found.append(tuple(enough))
        return tuple(found)

    def _count(self, number: int, pattern: Pattern) -> None:
        """At each slot, what rhymes are still to be written."""
        needs, beats = [0], [tuple(frozenset[str]() for _ in self.letters)]
        for slot in reversed(self.slots):
            need, left = needs[-1], beats[-1]
            letter = self._letter(number, slot)
            if letter is not None and not slot.given:
                need = 1 if self.repeats else need + 1
                beat = pattern.lines[slot.line].beats[0][-1]
                left = (*left[:letter], left[letter] | {beat}, *left[letter + 1 :])
            needs.append(need)
            beats.append(left)
        self._needs[number], self._beats[number] = needs[::-1], beats[::-1]

    def _check_tones(self) -> None:
        """Both tones have enough characters for every place, those reserved for rhymes aside."""
        free = sum(not slot.given for slot in self.slots)
        rhymes = max(need[0] for need in self._needs.values())
        need = 1 if self.repeats else free + max(0, len(self.letters) - 1) * rhymes
        for beat, name in (("平", "level"), ("仄", "oblique")):
            if free and len(self._tones[beat]) < need:
                raise UsageError(
                    f"{self.form.title} may need {need} different {name} characters; of those in {self.book.title} the "
                    f"model's tokenizer knows {len(self._tones[beat])}",
                    hint="Use a model trained on Chinese verse, or allow characters to be repeated",
                )

    def _misfit(self, pattern: Pattern, slot: Slot) -> str:
        tones = "".join(dict.fromkeys(reading.tone for reading in self.book.readings(slot.given)))
        beats = "/".join(dict.fromkeys(beats[slot.place] for beats in pattern.lines[slot.line].beats))
        where = f"line {slot.line + 1}, place {slot.place + 1}"
        named = f" ({pattern.name})" if pattern.name else ""
        return f"{slot.given} is {tones} in {self.book.title}, but {self.form.title}{named} has {beats} in {where}"

    def _too_few(self, rhyme: str, size: int, need: int, beats: frozenset[str]) -> str:
        if size == 0 and not any(self.book.characters(rhyme, beat) for beat in beats):
            wanted = "level" if beats == {"平"} else "oblique"
            return f"{self.form.title} rhymes on {wanted} characters, and {rhyme} of {self.book.title} has none"
        return (
            f"{self.form.title} needs {need} rhymes, but of {rhyme} in {self.book.title} the model's tokenizer has "
            f"only {size} characters to choose from"
        )

    def _fits(self, character: str, beat: str) -> bool:
        """Whether it may stand there; one that the book lacks was given by someone who knows."""
        return not self.book.readings(character) or bool(self.book.fitting(character, beat))

    # -- one character after another -------------------------------------------------------------------------------

    def start(self) -> State:
        """Nothing is written."""
        return State(0, self._start, frozenset())

    def finished(self, state: State) -> bool:
        """All slots are filled."""
        return state.at == len(self.slots)

    def allowed(self, state: State) -> np.ndarray:
        """What some way allows and was not used."""
        if self.finished(state):
            return self._array(frozenset())
        slot = self.slots[state.at]
        if slot.given:
            return self._array(frozenset(slot.given))
        allowed: np.ndarray | None = None
        for pattern, option, rhymes in self._distinct(state):
            scarce = self._scarce(state, pattern, rhymes)
            if scarce is None:
                continue
            beat, letter = self._beat(pattern, option, slot), self._letter(pattern, slot)
            if letter is not None:
                found = self._rhyming(state, pattern, rhymes[letter], letter, beat)
            else:
                found = self._array(self._tones[beat])
                found = found & ~self._array(scarce) if scarce else found
            allowed = found if allowed is None else allowed | found
        assert allowed is not None
        if state.used:
            allowed = allowed.copy()
            allowed[[self._index[c] for c in state.used]] = False
        return allowed

    def step(self, state: State, character: str) -> State:
        """The ways that this character keeps."""
        slot = self.slots[state.at]
        readings = self._readings[character]
        key = (state.at, state.ways, readings)
        if key not in self._steps:
            kept = [way for old in self._ways[state.ways] if (way := self._keep(old, slot, readings))]
            self._steps[key] = self._number(self._onwards(kept, state.at + 1))
        used = state.used if slot.given or self.repeats else state.used | {character}
        return State(state.at + 1, self._steps[key], used)

    def ways(self, state: State) -> tuple[Way, ...]:
        """In which ways the poem so far keeps the form."""
        return self._ways[state.ways]

    def _keep(self, way: Way, slot: Slot, readings: tuple[Reading, ...]) -> Way | None:
        """The way behind a character, None if it ends there."""
        if slot.place < 0 or not readings:
            return way
        beat, letter = self._beat(way.pattern, way.option, slot), self._letter(way.pattern, slot)
        fitting = {reading.rhyme for reading in readings if reading.fits(beat)}
        if letter is None or not fitting:
            return way if fitting else None
        classes = tuple(rhyme for rhyme in way.rhymes[letter] if rhyme in fitting)
        rhymes = (*way.rhymes[:letter], classes, *way.rhymes[letter + 1 :])
        return way._replace(rhymes=rhymes) if classes else None

    def _onwards(self, ways: list[Way], at: int) -> Iterable[Way]:
        """At the beginning of a line, each way goes on with each alternative of it."""
        if at == len(self.slots) or self.slots[at].place != 0:
            return ways
        line = self.slots[at].line
        return [way._replace(option=option) for way in ways for option in self._options[way.pattern][line]]

    def _distinct(self, state: State) -> list[Way]:
        """The ways that differ in what they ask for now."""
        key = state.at, state.ways
        if key not in self._differing:
            slot = self.slots[state.at]
            found = {
                (self._beat(way.pattern, way.option, slot), way.pattern, way.rhymes): way
                for way in self._ways[state.ways]
            }
            self._differing[key] = list(found.values())
        return self._differing[key]

    def _scarce(self, state: State, pattern: int, rhymes: tuple[tuple[str, ...], ...]) -> frozenset[str] | None:
        """What must not be written outside rhymes, as there are only just enough rhymes left; None where there are
        not even enough, since another way allowed what this one did not.

        Of each letter, one class at least must keep as many unused characters as rhymes are still to come, those of
        the other letters included. Then no set of rhymes lacks characters (Hall's condition), whichever are chosen.
        """
        need = self._needs[pattern][state.at]
        scarce: frozenset[str] = frozenset()
        if self.repeats or not need:
            return scarce
        for classes, beats in zip(rhymes, self._beats[pattern][state.at], strict=True):
            common: frozenset[str] | None = None
            for rhyme in classes if beats else ():
                pools = [self.pool(rhyme, beat) for beat in beats]
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

    def _rhyming(self, state: State, pattern: int, classes: tuple[str, ...], letter: int, beat: str) -> np.ndarray:
        """The characters of those classes that have enough for all rhymes still to come."""
        need = self._needs[pattern][state.at]
        beats = self._beats[pattern][state.at][letter]
        enough = [
            rhyme
            for rhyme in classes
            if all(len(pool) - len(pool & state.used) >= need for pool in (self.pool(rhyme, b) for b in beats))
        ]
        key = (beat, *enough)
        if key not in self._unions:
            self._unions[key] = frozenset[str]().union(*(self.pool(rhyme, beat) for rhyme in enough))
        return self._array(self._unions[key])

    def pool(self, rhyme: str, beat: str) -> frozenset[str]:
        """The characters of a class that may be written on a beat."""
        return self._pools.get((rhyme, beat), frozenset())

    def _beat(self, pattern: int, option: int, slot: Slot) -> str:
        return self.form.patterns[pattern].lines[slot.line].beats[option][slot.place]

    def _letter(self, pattern: int, slot: Slot) -> int | None:
        """Which rhyme stands there, as its place in `letters`; None: no rhyme."""
        line = self.form.patterns[pattern].lines[slot.line]
        at_end = slot.place == len(line.beats[0]) - 1
        return self.letters.index(line.rhyme) if line.rhyme and at_end else None

    def _number(self, ways: Iterable[Way]) -> int:
        """A set of ways by its number."""
        key = tuple(dict.fromkeys(ways))
        if key not in self._numbers:
            self._numbers[key] = len(self._ways)
            self._ways.append(key)
        return self._numbers[key]

    def _array(self, characters: frozenset[str]) -> np.ndarray:
        """(A,) bool. Shared: not to be written to."""
        if characters not in self._arrays:
            array = np.zeros(len(self.alphabet), dtype=bool)
            array[[self._index[c] for c in characters]] = True
            self._arrays[characters] = array
        return self._arrays[characters]


def pools_of(
    readings: Mapping[str, tuple[Reading, ...]],
) -> tuple[dict[str, frozenset[str]], dict[tuple[str, str], frozenset[str]]]:
    """The characters that fit each beat, and those of each rhyme class that do."""
    tones: dict[str, set[str]] = {beat: set() for beat in "平仄中"}
    pools: dict[tuple[str, str], set[str]] = {}
    for character, all_readings in readings.items():
        for reading in all_readings:
            for beat in tones:
                if reading.fits(beat):
                    tones[beat].add(character)
                    pools.setdefault((reading.rhyme, beat), set()).add(character)
    return {b: frozenset(c) for b, c in tones.items()}, {key: frozenset(c) for key, c in pools.items()}


def slots_of(form: Form, given: Given) -> list[Slot]:
    """The text of a poem: its characters line by line, punctuation behind each, a new row for each stanza or couplet.

    Raises UsageError for a character given where the form has no place. All patterns of a form are of one shape.
    """
    lines = form.patterns[0].lines
    slots: list[Slot] = []
    for i, (line, marks) in enumerate(zip(lines, behind(form), strict=True)):
        slots += [Slot(i, place, given.get((i, place), "")) for place in range(len(line.beats[0]))]
        slots += [Slot(i, -1, mark) for mark in marks]
    places = {(slot.line, slot.place) for slot in slots}
    for line_number, place in sorted(given):
        if (line_number, place) not in places:
            shape = " ".join(str(len(line.beats[0])) for line in lines)
            raise UsageError(
                f"{form.title} has no place {place + 1} in line {line_number + 1}",
                hint=f"Its lines have {shape} characters",
            )
    return slots
