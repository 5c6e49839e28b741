"""A Chinese form with all that is asked of it, made ready: which of its patterns can be filled, and with what.

What cannot be written is refused here, with the reason. `nextword.poetry.chinese` writes by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from nextword.errors import UsageError, counted
from nextword.verse.chinese import Reading, RhymeBook, rhyme_book
from nextword.verse.layout import behind
from nextword.verse.patterns import Form, Pattern
from nextword.verse.units import HAN

ANY = ""
"""Of all rhyme classes."""
Given = Mapping[tuple[int, int], str]
"""(line, place), both from 0 -> the character that stands there."""


class Slot(NamedTuple):
    """One character of the text of a poem."""

    line: int
    place: int
    """In its line, from 0; -1: punctuation or the end of a row."""
    given: str
    """"": free."""
    echo: int = -1
    """The slot whose character it says once more; -1: none."""

    @property
    def free(self) -> bool:
        """Whether anything may be chosen."""
        return not self.given and self.echo < 0


class Refused(NamedTuple):
    """Why a pattern cannot be filled."""

    misfits: int
    """Given characters of the wrong tone: where no pattern will do, the reason names the one that fits best."""
    reason: str


class Plan:
    """The slots of a poem, the characters that may fill them, and for each pattern what its rhymes need."""

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
        """`characters` may be written, as far as the book knows them, and stand between lines. `rhymes`: classes of
        the book for the first letters of the form. `repeats`: a character may be written twice; else those that are
        `given` count as written. `borrowing`: in regulated verse the first line may rhyme on a neighbouring class.
        `rare_readings`: what is given may have a reading that poets hardly use, where it fits by no other.

        Raises UsageError, with the reason, if no poem is possible, or none could be promised.
        """
        self.form, self.book, self.repeats = form, book, repeats
        self.borrowing = borrowing and form.regulated
        self.slots = slots_of(form, given or {})
        known = frozenset(characters)
        marks = {slot.given for slot in self.slots if slot.given}
        if missing := sorted(marks - known):
            raise UsageError(f"the model's tokenizer has no {' '.join(map(repr, missing))}", hint="Ask for others")
        self.letters = [*dict.fromkeys(line.rhyme for p in form.patterns for line in p.lines if line.rhyme)]
        """The rhymes of the form."""
        read, pools = pools_of(book.name, known)
        self.readings: dict[str, tuple[Reading, ...]] = dict.fromkeys(sorted(marks - read.keys()), ()) | read
        """Of all characters that may occur, the usual ones; () of punctuation and of what the book lacks."""
        reserved = frozenset() if repeats else marks
        self.pools = {key: found - reserved for key, found in pools.items()}
        """(rhyme class or ANY, beat) -> the characters of that class that may be written on that beat."""
        self.options: dict[int, list[list[int]]] = {}
        """Pattern -> of each line, the alternatives that can be kept."""
        self.needs: dict[int, list[int]] = {}
        """Pattern -> at each slot, rhymes still to be written."""
        self.beats: dict[int, list[tuple[frozenset[str], ...]]] = {}
        """Pattern -> at each slot and of each letter, on which beats they are."""
        self.classes: dict[int, tuple[tuple[str, ...], ...]] = {}
        """Pattern -> of each letter, the classes it may be of, the largest first; patterns that can be filled only."""
        self.rare_readings = False
        self._fill_all(rhymes, rare_readings)

    def _fill_all(self, rhymes: Sequence[str], rare_readings: bool) -> None:
        """Find the patterns that can be filled; raise the reason if there is none."""
        if (size := len(self.letters)) < len(rhymes):
            raise UsageError(
                f"{self.form.title} has {counted(size, 'rhyme')}, but {len(rhymes)} are asked for",
                hint="Give one rhyme class for each, or fewer",
            )
        refusals: list[Refused] = []
        for number, pattern in enumerate(self.form.patterns):
            found = self._fill(number, pattern, rhymes)
            if isinstance(found, Refused):
                refusals.append(found)
            else:
                self.classes[number] = found
        if not self.classes and rare_readings:
            self.rare_readings = True
            return self._fill_all(rhymes, rare_readings=False)
        if not self.classes:
            raise UsageError(min(refusals).reason)
        self._check_tones()

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
        self.options[number] = lines
        self._count(number, pattern)
        need = self.needs[number][0]
        found: list[tuple[str, ...]] = []
        for letter in range(len(self.letters)):
            wanted = rhymes[letter] if letter < len(rhymes) else ""
            left = {wanted} if wanted else {rhyme for rhyme, _ in self.pools if rhyme}
            ends = [slot for slot in self.slots if slot.given and self.letter(number, slot) == letter]
            for slot in ends:
                beat = pattern.lines[slot.line].beats[0][-1]
                of_slot = self.serving((reading.rhyme for reading in self.given_fitting(slot.given, beat)), slot)
                left = left & (of_slot or left)  # one that the book lacks rhymes with anything
            if not left:
                words = "".join(dict.fromkeys(slot.given for slot in ends))
                what = f"{words} should be of the rhyme {wanted}, and is not" if wanted else f"{words} do not rhyme"
                return Refused(0, f"{self.form.title}: {what} in {self.book.title}")
            beats = self.beats[number][0][letter]
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
            letter = self.letter(number, slot)
            if letter is not None and slot.free:
                need = 1 if self.repeats else need + 1
                beat = pattern.lines[slot.line].beats[0][-1]
                left = (*left[:letter], left[letter] | {beat}, *left[letter + 1 :])
            needs.append(need)
            beats.append(left)
        self.needs[number], self.beats[number] = needs[::-1], beats[::-1]

    def _check_tones(self) -> None:
        """Both tones have enough characters for every place, those reserved for rhymes aside."""
        free = sum(slot.free for slot in self.slots)
        rhymes = max(need[0] for need in self.needs.values())
        need = 1 if self.repeats else free + max(0, len(self.letters) - 1) * rhymes
        for beat, name in (("平", "level"), ("仄", "oblique")):
            if free and len(self.pool(ANY, beat)) < need:
                raise UsageError(
                    f"{self.form.title} may need {need} different {name} characters; of those in {self.book.title} the "
                    f"model's tokenizer knows {len(self.pool(ANY, beat))}",
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
        return not self.book.readings(character) or bool(self.given_fitting(character, beat))

    def given_readings(self, character: str) -> tuple[Reading, ...]:
        """How a character that is given may be read."""
        return self.book.readings(character) if self.rare_readings else self.book.usual(character)

    def given_fitting(self, character: str, beat: str) -> tuple[Reading, ...]:
        """Those that may stand on a beat."""
        return tuple(reading for reading in self.given_readings(character) if reading.fits(beat))

    def pool(self, rhyme: str, beat: str) -> frozenset[str]:
        """The characters of a rhyme class, or ANY, that may be written on a beat."""
        return self.pools.get((rhyme, beat), frozenset())

    def serving(self, rhymes: Iterable[str], slot: Slot) -> set[str]:
        """The classes that rhyme with these at a slot: neighbours of the first line's too, if it may borrow."""
        return self.book.near(rhymes) if self.borrowing and slot.line == 0 else set(rhymes)

    def beat(self, pattern: int, option: int, slot: Slot) -> str:
        """What a pattern has there."""
        return self.form.patterns[pattern].lines[slot.line].beats[option][slot.place]

    def letter(self, pattern: int, slot: Slot) -> int | None:
        """Which rhyme stands there, as its place in `letters`; None: no rhyme."""
        line = self.form.patterns[pattern].lines[slot.line]
        at_end = slot.place == len(line.beats[0]) - 1
        return self.letters.index(line.rhyme) if line.rhyme and at_end else None


@lru_cache(maxsize=4)
def pools_of(
    book: str, characters: frozenset[str]
) -> tuple[dict[str, tuple[Reading, ...]], dict[tuple[str, str], frozenset[str]]]:
    """What a rhyme book says of characters: the usual readings of each, and the `pools` of a plan. By its rare ones
    nothing is written: models flee there from a tone that they must not have, as into 洞庭 with an oblique 庭."""
    readings = {c: found for c in sorted(characters) if HAN.fullmatch(c) and (found := rhyme_book(book).usual(c))}
    pools: dict[tuple[str, str], set[str]] = {}
    for character, all_readings in readings.items():
        for reading in all_readings:
            for beat in "平仄中":
                if reading.fits(beat):
                    pools.setdefault((reading.rhyme, beat), set()).add(character)
                    pools.setdefault((ANY, beat), set()).add(character)
    return readings, {key: frozenset(found) for key, found in pools.items()}


def slots_of(form: Form, given: Given) -> list[Slot]:
    """The text of a poem: its characters line by line, punctuation behind each, a new row for each stanza or couplet.

    Raises UsageError for a character given where the form has no place. All patterns of a form are of one shape.
    """
    lines = form.patterns[0].lines
    given = at_first(form, given)
    slots: list[Slot] = []
    at: dict[tuple[int, int], int] = {}
    for i, (line, marks) in enumerate(zip(lines, behind(form), strict=True)):
        for place in range(len(line.beats[0])):
            at[i, place] = len(slots)
            echo = at[first_of(form, i, place)] if line.echo else -1
            slots.append(Slot(i, place, given.get((i, place), ""), echo))
        slots += [Slot(i, -1, mark) for mark in marks]
    places = {(slot.line, slot.place) for slot in slots}
    for line_number, place in sorted(given):
        if (line_number, place) not in places:
            shape = " ".join(map(str, form.lengths))
            what = (
                f"no line {line_number + 1}"
                if line_number >= len(lines)
                else f"no place {place + 1} in line {line_number + 1}"
            )
            raise UsageError(f"{form.title} has {what}", hint=f"Its lines have {shape} characters")
    return slots


def first_of(form: Form, line: int, place: int) -> tuple[int, int]:
    """Where the character of an echo stood first: as far from the end of the line before."""
    return line - 1, place + form.lengths[line - 1] - form.lengths[line]


def at_first(form: Form, given: Given) -> dict[tuple[int, int], str]:
    """What is given, that of an echo where it is said first. Raises UsageError where that is another character."""
    found: dict[tuple[int, int], str] = {}
    for (line, place), character in sorted(given.items()):
        echo = line < len(form.lengths) and form.patterns[0].lines[line].echo and place < form.lengths[line]
        where = first_of(form, line, place) if echo else (line, place)
        other = found.setdefault(where, character)
        if other != character:
            raise UsageError(
                f"line {line + 1} of {form.title} says {other} once more, not {character}",
                hint="Give the same character both times, or once",
            )
    return found
