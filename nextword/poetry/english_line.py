"""Within a line of English verse: where one may stand after the words so far, and which words may come there, by metre
and by what is given of the line.

Which rhyme the line takes, and which words are used up, only decides what may *end* it, and is not known here. So what
is found out once holds for all lines of a kind in all poems, and is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from nextword.poetry.english_plan import EnglishPlan
from nextword.poetry.kept import Kept
from nextword.verse.english import fits
from nextword.verse.scansion import weak_end


class Course(NamedTuple):
    """A line, on one alternative of its beats."""

    beats: str
    kept: Kept
    group: int | None
    """The rhyme, as the plan numbers them; None: none."""
    open: bool
    """No line before it, and no given word, has chosen a class for that rhyme."""
    ends: frozenset[int]
    """Syllables of the words that may end it."""


class Stand(NamedTuple):
    """A place in a line between two words."""

    course: Course
    beat: int
    """Beats behind it."""
    given: int
    """Given words behind it."""

    @property
    def rest(self) -> str:
        """The beats still to come."""
        return self.course.beats[self.beat :]

    @property
    def may_end(self) -> bool:
        """Whether one word could end the line from here."""
        return self.given == len(self.course.kept.words) and len(self.rest) in self.course.ends


@dataclass(frozen=True, eq=False)
class Stands:
    """All places where one may stand. There is one object for the same places: they compare by identity."""

    places: frozenset[Stand]

    @cached_property
    def ends(self) -> tuple[Stand, ...]:
        """Those from which one word could end the line."""
        return tuple(stand for stand in self.places if stand.may_end)

    @cached_property
    def closed(self) -> tuple[Stand, ...]:
        """Of `ends` those where it must be of a class already chosen."""
        return tuple(stand for stand in self.ends if not stand.course.open)


UNFIT = -2
"""Of no class that may end a line."""

End = tuple[str, Kept, int | None, int]
"""The beats of a line, what is given of it, its rhyme, and the syllables of the word that ends it."""


class Ask(NamedTuple):
    """What is asked of the next word, those apart that end a line by a class already chosen."""

    inner: frozenset[tuple[str, frozenset[int]]]
    """To stand on the first of these beats, as many as it may have syllables, and not to end the line."""
    given: frozenset[str]
    """Or to be one of these."""
    ends: frozenset[End]
    """Or to end a line so."""
    head: str
    """And to begin with a letter; "": any."""


@dataclass(frozen=True, eq=False)
class Words:
    """W words by whether they may come. There is one object for the same words, as for `Stands`."""

    may: np.ndarray
    """(W,) bool"""


class EnglishLine:
    """The lines of a plan, a word at a time. W words in the lexicon."""

    def __init__(self, plan: EnglishPlan) -> None:
        self.plan, self.lexicon = plan, plan.lexicon
        self._known: dict[frozenset[Stand], Stands] = {}
        self._behind: dict[tuple[Stands, frozenset[str], int], tuple[Stands, list[np.ndarray]]] = {}
        self._parted: dict[Stands, Stands] = {}
        self._given = {plan.word(word) for kept in plan.kept for word in kept.words}
        self._classes: dict[End, np.ndarray] = {}
        self._rhyming: dict[tuple[Stands, int], list[int]] = {}
        self._words: dict[Stands, Words] = {}
        self._answers: dict[Ask, Words] = {}

    def stands(self, places: Iterable[Stand]) -> Stands:
        """The object for these places."""
        key = frozenset(places)
        return self._known.setdefault(key, Stands(key))

    def behind(self, stands: Stands, word: int) -> tuple[Stands, set[int]]:
        """Behind a word: the places where one may stand if it does not end the line, and the rhyme classes with which
        it may end it, -1 where it has no rhyme."""
        key = stands, self.plan.stresses(word), word if word in self._given else -1
        if key not in self._behind:
            self._behind[key] = self.stands(self._find_after(*key)), self._find_ends(stands, key[1])
        after, ends = self._behind[key]
        if not ends:
            return after, set()
        low, high = self.lexicon.first[word : word + 2].tolist()
        return after, {rhyme for classes in ends for rhyme in classes[low:high].tolist()} - {UNFIT}

    def _find_after(self, stands: Stands, stresses: frozenset[str], given: int) -> Iterable[Stand]:
        for stand in stands.places:
            words, rest = stand.course.kept.words, stand.rest
            room, asked = self._room(stand), self._asked(stand)
            for stress in stresses:
                if len(stress) in room and fits(stress, rest[: len(stress)]):
                    yield stand._replace(beat=stand.beat + len(stress))
                if stress in asked and given == self.plan.word(words[stand.given]):
                    yield stand._replace(beat=stand.beat + len(stress), given=stand.given + 1)

    def parted(self, stands: Stands) -> Stands:
        """Those places where punctuation may stand: the next word was not given together with the last."""
        if stands not in self._parted:
            parted = (stand for stand in stands.places if not stand.course.kept.joined[stand.given])
            self._parted[stands] = self.stands(parted)
        return self._parted[stands]

    def words(self, stands: Stands) -> Words:
        """What may come next, those apart that end a line by a class already chosen."""
        if stands not in self._words:
            ask = self._ask(stands)
            if ask not in self._answers:
                self._answers[ask] = self._answer(ask)
            self._words[stands] = self._answers[ask]
        return self._words[stands]

    def _ask(self, stands: Stands) -> Ask:
        rooms = ((stand.rest, self._room(stand)) for stand in stands.places)
        return Ask(
            frozenset((rest[: max(room)], room) for rest, room in rooms if room),
            frozenset(stand.course.kept.words[stand.given] for stand in stands.places if self._asked(stand)),
            frozenset((*stand.course[:3], len(stand.rest)) for stand in stands.ends if stand.course.open),
            "".join({stand.course.kept.head for stand in stands.places if stand.beat == 0}),
        )

    def _answer(self, ask: Ask) -> Words:
        may = np.zeros(len(self.lexicon.words), dtype=bool)
        for rest, room in ask.inner:
            may |= self.plan.inner(rest, room)
        may[[self.plan.word(word) for word in ask.given]] = True
        for beats, kept, group, syllables in ask.ends:
            may[self.plan.endings(beats, kept, group, -1)[syllables]] = True
        if ask.head:
            prefix = self.lexicon.beyond(self.lexicon.root, ask.head)
            assert prefix is not None
            may[: prefix.low] = may[prefix.high :] = False
        return Words(may)

    def _find_ends(self, stands: Stands, stresses: frozenset[str]) -> list[np.ndarray]:
        """The rhyme classes by reading, (R,) each, of the ends for which a word so stressed has the syllables."""
        lengths = {len(stress) for stress in stresses}
        fitting = [stand for stand in stands.ends if len(stand.rest) in lengths]
        return [self._end_classes((*stand.course[:3], len(stand.rest))) for stand in fitting]

    def _end_classes(self, end: End) -> np.ndarray:
        """(R,): the rhyme class with which each reading may end a line so."""
        if end not in self._classes:
            beats, kept, group, syllables = end
            classes = -1 if group is None else self.lexicon.rhymes(weak_end(beats))
            fitting = self.plan.may_end(beats, kept, group) & (self.lexicon.lengths == syllables)
            self._classes[end] = np.where(fitting, classes, UNFIT)
        return self._classes[end]

    def rhyming(self, stands: Stands, rhyme: int) -> list[int]:
        """The words, in order, that may come and end the line by a class already chosen."""
        key = stands, rhyme
        if key not in self._rhyming:
            self._rhyming[key] = sorted({*self._find_rhyming(stands, rhyme)})
        return self._rhyming[key]

    def _find_rhyming(self, stands: Stands, rhyme: int) -> Iterable[int]:
        for stand in stands.closed:
            words = self.plan.endings(*stand.course[:3], rhyme).get(len(stand.rest))
            if words is not None:
                head = stand.course.kept.head if stand.beat == 0 else ""
                yield from (word for word in words.tolist() if not head or self.lexicon.words[word].startswith(head))

    def _asked(self, stand: Stand) -> frozenset[str]:
        """The stresses with which the next given word may stand there."""
        (beats, kept, _, _, ends), beat, given = stand
        return self.plan.given(beats, kept, beat, given, ends) if given < len(kept.words) else frozenset()

    def _room(self, stand: Stand) -> frozenset[int]:
        """Of how many syllables a word may be there that is not given and does not end the line."""
        (beats, kept, _, _, ends), beat, given = stand
        return self.plan.room(beats, kept, beat, given, ends)
