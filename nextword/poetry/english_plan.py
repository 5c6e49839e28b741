"""An English form with all that is asked of it, made ready: what may end its lines, and whether there are rhymes for
all of them. What cannot be written is refused here, with the reason. `nextword.poetry.english` writes by it.

Words of one syllable may stand anywhere, so the metre alone is never a dead end; a rhyme could be, and a given word: a
word may end a line if what is given of that line finds room before it, and a rhyme is begun only if enough such words
have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, reduce
from itertools import product
from typing import NamedTuple, NoReturn

import numpy as np

from nextword.errors import UsageError
from nextword.poetry.kept import Kept
from nextword.poetry.lexicon import Lexicon
from nextword.verse.english import fits
from nextword.verse.patterns import Form, Line
from nextword.verse.scansion import weak_end

FREE = Kept()


class Beginning(NamedTuple):
    """A pattern before its first line."""

    pattern: int
    classes: tuple[int, ...]
    """Of each rhyme letter the class that given words ask; -1: any."""
    used: tuple[frozenset[int], ...]
    """Of each rhyme letter the given words that will end its lines."""


class EnglishPlan:
    """R readings of W words of a lexicon, by what they may do in a form."""

    def __init__(self, form: Form, lexicon: Lexicon, kept: Mapping[int, Kept]) -> None:
        """`kept`: line, from 0 -> what is given of it. Raises UsageError, with the reason, if no poem is possible."""
        self.form, self.lexicon = form, lexicon
        self.letters = [*dict.fromkeys(line.rhyme for p in form.patterns for line in p.lines if line.rhyme)]
        """The rhymes of the form."""
        self.letter_of = [[self._letter(line) for line in pattern.lines] for pattern in form.patterns]
        """[pattern][line]: which of them; None: none."""
        self.is_over = [[own not in row[i + 1 :] for i, own in enumerate(row)] for row in self.letter_of]
        """[pattern][line]: whether no later line rhymes with it."""
        self.most_syllables = int(lexicon.lengths.max())
        """Of a word."""
        self.final, self.pairs = cache(self._find_final), cache(self._find_pairs)
        self.room, self.given = cache(self._find_room), cache(self._find_given)
        self.inner, self.stresses = cache(self._find_inner), cache(self._find_stresses)
        self.may_end, self._by_class = cache(self._find_may_end), cache(self._find_by_class)
        self.endings = cache(self._find_endings)
        self._rhymes = cache(self._find_rhyming)
        self.kept = self._checked(kept)
        """What is given of each line."""
        self.groups: dict[tuple[int, int], int] = {}
        """(pattern, letter) -> a number, the same for letters that ask the same of their rhymes."""
        self._rhyming: list[dict[int | None, np.ndarray]] = []
        """[group]: weak syllables at the end -> (R,): the readings that rhyme with enough others."""
        self.beginnings: list[Beginning] = []
        """Those that can be filled."""
        refusals: list[UsageError] = []
        for number in range(len(form.patterns)):
            try:
                self.beginnings += self._begin(number)
            except UsageError as error:
                refusals.append(error)
        if not self.beginnings:
            raise refusals[0]

    def _checked(self, kept: Mapping[int, Kept]) -> list[Kept]:
        """What is given of each line. Raises UsageError for lines that the form has not, and for what cannot be
        written."""
        lines = len(self.form.patterns[0].lines)
        if kept and max(kept) >= lines:
            raise UsageError(
                f"{self.form.title} has {lines} lines, and something is given of line {max(kept) + 1}",
                hint="Give less, or choose another form",
            )
        ones = np.flatnonzero(self.lexicon.lengths == 1)
        heads = {self.lexicon.words[word][0] for word in np.unique(self.lexicon.word_of[ones])}
        for given in kept.values():
            if given.head and given.head not in heads:
                raise UsageError(
                    f"no word of one syllable that begins with {given.head.upper()} can be written",
                    hint="Choose another letter, or a larger lexicon",
                )
            for word in (*given.words, given.last):
                if word and self.lexicon.find(word) is None:
                    raise UsageError(
                        f"{word!r} cannot stay: the dictionary lacks it, or the model's tokenizer cannot write it",
                        hint="Mark other words",
                    )
        return [kept.get(line, FREE) for line in range(lines)]

    def _letter(self, line: Line) -> int | None:
        return self.letters.index(line.rhyme) if line.rhyme else None

    def _begin(self, number: int) -> Iterator[Beginning]:
        """A pattern before its first line, once for each choice of rhymes that given words leave. Raises UsageError,
        with the reason, if it cannot be filled."""
        lines = self.form.patterns[number].lines
        for i, line in enumerate(lines):
            if not any(self.final(beats, self.kept[i]).any() for beats in line.beats):
                self._refuse_line(i, line)
        found: list[tuple[int, ...]] = []
        used: list[frozenset[int]] = []
        for letter, name in enumerate(self.letters):
            group = [i for i, line in enumerate(lines) if line.rhyme == name]
            ends = [i for i in group if self.kept[i].last]
            words = [self.kept[i].last for i in ends]
            if len({*words}) < len(words):
                raise UsageError(f"{max(words, key=words.count)} would rhyme with itself", hint="Mark one of them only")
            used.append(frozenset(self.word(word) for word in words))
            free = [(lines[i].beats, self.kept[i]) for i in group if i not in ends]
            self.groups[number, letter], enough = self._rhymes(frozenset(free), len(free), used[-1])
            classes = [
                {pair // len(self.lexicon.words) for pair in self._line_pairs(lines[i].beats, self.kept[i])}
                for i in ends
            ]
            left = set.intersection(*classes) if ends else {-1}
            if not left:
                raise UsageError(
                    f"{' and '.join(words)} do not rhyme, but the form asks it", hint="Mark one of them only"
                )
            if ends and free and not left & enough:
                raise UsageError(
                    f"{self.form.title} needs {len(free)} more words that rhyme with {words[0]}, and there are fewer",
                    hint="Mark another word, or allow a larger lexicon",
                )
            found.append(tuple(sorted(left & enough if ends and free else left)))
        return (Beginning(number, classes, tuple(used)) for classes in product(*found))

    def _refuse_line(self, i: int, line: Line) -> NoReturn:
        """Say what of a line cannot be."""
        kept = self.kept[i]
        words = " ".join(filter(None, [*kept.words, kept.last]))
        what = f"hold {words!r}" if words else "have its letter and a word to end it"
        what += f" and begin with {kept.head.upper()}" if words and kept.head else ""
        raise UsageError(
            f"line {i + 1} of {self.form.title} cannot {what}: its beats are {' or '.join(line.beats)}",
            hint="Give other words, or fewer",
        )

    def _find_rhyming(
        self, lines: frozenset[tuple[tuple[str, ...], Kept]], need: int, used: frozenset[int]
    ) -> tuple[int, set[int]]:
        """A new group, of the readings whose class has as many words as are needed, each of which can end any of the
        lines, those used apart; and these classes. Raises UsageError if there are none."""
        found: dict[int | None, np.ndarray] = {}
        self._rhyming.append(found)
        group = len(self._rhyming) - 1
        if not lines:
            return group, set()
        size = len(self.lexicon.words)
        pairs = reduce(np.intersect1d, [self._line_pairs(beats, kept) for beats, kept in lines])
        pairs = pairs[~np.isin(pairs % size, list(used))]
        classes, words = np.unique(pairs // size, return_counts=True)
        enough = classes[words >= need]
        if not len(enough):
            raise UsageError(
                f"{self.form.title} needs {need} words that rhyme, and of those that can be written not so many do",
                hint="Allow more: a larger lexicon, or a model whose tokenizer knows more",
            )
        pairs = pairs[np.isin(pairs // size, enough)]
        for weak in {weak_end(beats) for alternatives, _ in lines for beats in alternatives}:
            classes = self.lexicon.rhymes(weak)
            found[weak] = (classes >= 0) & np.isin(classes * size + self.lexicon.word_of, pairs)
        return group, set(enough.tolist())

    def _line_pairs(self, alternatives: tuple[str, ...], kept: Kept) -> np.ndarray:
        """What can end a line."""
        return np.unique(np.concatenate([self.pairs(beats, kept) for beats in alternatives]))

    def _find_pairs(self, beats: str, kept: Kept) -> np.ndarray:
        """Of what can end a line: the rhyme class and the word, as class * W + word."""
        classes = self.lexicon.rhymes(weak_end(beats))
        readings = np.flatnonzero(self.final(beats, kept) & (classes >= 0))
        return classes[readings] * len(self.lexicon.words) + self.lexicon.word_of[readings]

    def _find_final(self, beats: str, kept: Kept) -> np.ndarray:
        """(R,): what fits the end of a line, and leaves room for what is given of it."""
        lengths = [n for n in range(1, len(beats) + 1) if self._can(beats, kept, 0, 0, n)]
        ends = [
            len(stress) in lengths and fits(stress, beats[len(beats) - len(stress) :])
            for stress in self.lexicon.stresses
        ]
        found = np.array(ends)[self.lexicon.stress_of]
        return found & (self.lexicon.word_of == self.word(kept.last)) if kept.last else found

    def word(self, word: str) -> int:
        """Its place in the lexicon, which has it."""
        found = self.lexicon.find(word)
        assert found is not None
        return found

    def _find_stresses(self, word: int) -> frozenset[str]:
        """Of all readings of a word."""
        readings = slice(*self.lexicon.first[word : word + 2])
        return frozenset(map(self.lexicon.stresses.__getitem__, self.lexicon.stress_of[readings].tolist()))

    def _can(self, beats: str, kept: Kept, beat: int, place: int, end: int) -> bool:
        """Whether a line can be filled from a beat on, with the given words from `place` on, so that a word of `end`
        syllables ends it. Words of one syllable may stand anywhere, and there is one for each head."""
        stop = len(beats) - end
        if place == len(kept.words):
            may_end = beat > 0 or not kept.head or kept.last.startswith(kept.head)
            return (beat == stop and may_end) or (beat < stop and not kept.joined[place])
        if beat >= stop:
            return False
        if self.given(beats, kept, beat, place, frozenset([end])):
            return True
        return not kept.joined[place] and self._can(beats, kept, beat + 1, place, end)

    def _find_given(self, beats: str, kept: Kept, beat: int, place: int, ends: frozenset[int]) -> frozenset[str]:
        """The stresses with which the next given word may stand on the next beat."""
        word = kept.words[place]
        if beat == 0 and not word.startswith(kept.head):
            return frozenset()
        return frozenset(
            stress
            for stress in self.stresses(self.word(word))
            if fits(stress, beats[beat : beat + len(stress)])
            and any(self._can(beats, kept, beat + len(stress), place + 1, end) for end in ends)
        )

    def _find_room(self, beats: str, kept: Kept, beat: int, place: int, ends: frozenset[int]) -> frozenset[int]:
        """The syllables that a word may have which is neither given nor ends the line."""
        if kept.joined[place]:
            return frozenset()
        lengths = range(1, min(len(beats) - beat, self.most_syllables + 1))
        return frozenset(n for n in lengths if any(self._can(beats, kept, beat + n, place, end) for end in ends))

    def _find_inner(self, rest: str, room: frozenset[int]) -> np.ndarray:
        """(W,): the words that fit there and do not end the line."""
        fitting = [len(stress) in room and fits(stress, rest[: len(stress)]) for stress in self.lexicon.stresses]
        found = np.zeros(len(self.lexicon.words), dtype=bool)
        found[self.lexicon.word_of[np.array(fitting)[self.lexicon.stress_of]]] = True
        return found

    def _find_may_end(self, beats: str, kept: Kept, group: int | None) -> np.ndarray:
        """(R,): the readings that may end a line without (None) or with a rhyme; if it is not given, there are words
        enough for that rhyme."""
        found = self.final(beats, kept)
        if group is not None:
            found = found & (self.lexicon.rhymes(weak_end(beats)) >= 0)
            if not kept.last:
                found &= self._rhyming[group][weak_end(beats)]
        return found

    def _find_by_class(self, beats: str, kept: Kept, group: int) -> np.ndarray:
        """What may end a line: rhyme class, syllables and word as one number each, in order."""
        readings = np.flatnonzero(self.may_end(beats, kept, group))
        classes = self.lexicon.rhymes(weak_end(beats))[readings]
        kinds = classes * (self.most_syllables + 1) + self.lexicon.lengths[readings]
        return np.unique(kinds * len(self.lexicon.words) + self.lexicon.word_of[readings])

    def _find_endings(self, beats: str, kept: Kept, group: int | None, rhyme: int) -> dict[int, np.ndarray]:
        """Syllables -> the words of so many that may end a line, in order: of a rhyme class, or of any for -1."""
        if group is None or rhyme < 0:
            readings = np.flatnonzero(self.may_end(beats, kept, group))
            words, lengths = self.lexicon.word_of[readings], self.lexicon.lengths[readings]
            return {length: np.unique(words[lengths == length]) for length in {*lengths.tolist()}}
        found, size = self._by_class(beats, kept, group), len(self.lexicon.words)
        low, high = np.searchsorted(found, np.array([rhyme, rhyme + 1]) * (self.most_syllables + 1) * size)
        kinds, words = np.divmod(found[low:high], size)
        lengths = kinds % (self.most_syllables + 1)
        return {length: words[lengths == length] for length in {*lengths.tolist()}}
