"""Judge a Chinese poem, by anyone, against a form: each line with its pattern, each fault with its place.

A character with several readings counts by the one that fits; one that the rhyme book lacks counts as fitting, and is
named. Shares the tables with the generator, not its automaton. Of the patterns of a form the nearest one is judged by.
In regulated verse the first line may borrow its rhyme from a neighbouring class (借韵), which is noted.
"""

from __future__ import annotations

import regex  # type: ignore[import-untyped]

from nextword.errors import DataError, UsageError
from nextword.verse.chinese import RhymeBook, rhyme_book
from nextword.verse.forms import forms
from nextword.verse.patterns import Form, Pattern
from nextword.verse.verdict import Fault, Verdict, count_faults


def split_lines(text: str) -> list[str]:
    """The lines of a poem: what punctuation, spaces and line ends part. Raises DataError if no Chinese is in it."""
    lines = regex.findall(r"[\p{Han}〇]+", text)
    if not lines:
        raise DataError("no Chinese verse in this text", hint="Give a poem in Chinese characters, without its title")
    return lines


def check(lines: list[str], form: Form, book: RhymeBook | None = None, borrowing: bool = True) -> Verdict:
    """Judge the lines by the nearest pattern of the form. `borrowing`: whether 借韵 will do. Raises UsageError for a
    form that is not Chinese."""
    if form.language != "zh":
        raise UsageError(
            f"{form.title} is not a Chinese form", hint="nextword.verse.check_english judges English verse"
        )
    book = book or rhyme_book(form.rhyme_book)
    borrowing = borrowing and form.regulated
    judged = [(against(lines, pattern, book, borrowing), pattern) for pattern in form.patterns]
    (beats, faults, notes), pattern = min(judged, key=lambda one: len(one[0][1]))
    if form.regulated:
        faults += [fault for line in enumerate(lines, 1) for fault in ends(*line, book)] + joints(lines, book)
    unknown = dict.fromkeys(c for line in lines for c in line if not book.readings(c))
    notes += [f"not in {book.title}, taken to fit: {''.join(unknown)}"] if unknown else []
    order = sorted(faults, key=lambda fault: (fault.line, fault.place))
    return Verdict(form.name, pattern.name, book.name, tuple(lines), tuple(beats), tuple(order), tuple(notes))


def guess_form(lines: list[str], book: RhymeBook | None = None) -> Form:
    """The Chinese form of these line lengths that the poem breaks least. Raises DataError if none has them."""
    lengths = [len(line) for line in lines]
    fitting = [
        form
        for form in forms()
        if form.language == "zh" and [len(line.beats[0]) for line in form.patterns[0].lines] == lengths
    ]
    if not fitting:
        shown = " ".join(map(str, lengths[:12]))
        raise DataError(f"no form has lines of {shown} characters", hint="Name the form: --form qijue, --form 浣溪沙")
    return min(fitting, key=lambda form: len(check(lines, form, book).faults))


def against(
    lines: list[str], pattern: Pattern, book: RhymeBook, borrowing: bool
) -> tuple[list[str], list[Fault], list[str]]:
    """The nearest beats of each line, the faults of length, tone and rhyme, and a rhyme that was borrowed."""
    beats: list[str] = []
    faults = count_faults(len(lines), len(pattern.lines))
    for number, (line, wanted) in enumerate(zip(lines, pattern.lines, strict=False), start=1):
        best, places = min(
            ((option, misfits(line, option, book)) for option in wanted.beats), key=lambda found: len(found[1])
        )
        beats.append(best)
        if len(line) != len(best):
            faults.append(Fault(number, 0, "length", f"{len(line)} characters; the form has {len(best)}"))
            continue
        for place in places:
            character, beat = line[place - 1], best[place - 1]
            tones = "".join(dict.fromkeys(reading.tone for reading in book.readings(character)))
            faults.append(Fault(number, place, "tone", f"{character} is {tones}; the pattern has {beat} here"))
    found, notes = judge_rhymes(lines, beats, pattern, book, borrowing)
    return beats, faults + found, notes


def misfits(line: str, beats: str, book: RhymeBook) -> list[int]:
    """The places, from 1, whose character has no reading that fits."""
    return [
        place
        for place, (character, beat) in enumerate(zip(line, beats, strict=False), start=1)
        if book.readings(character) and not book.fitting(character, beat)
    ]


def judge_rhymes(
    lines: list[str], beats: list[str], pattern: Pattern, book: RhymeBook, borrowing: bool
) -> tuple[list[Fault], list[str]]:
    """Lines that do not rhyme with the most of their letter, and a note where the first borrowed its rhyme. A last
    character of the wrong tone has its fault already, and is asked for the class of any reading."""
    faults, notes = [], []
    for letter in dict.fromkeys(line.rhyme for line in pattern.lines if line.rhyme):
        classes: dict[int, set[str]] = {}
        for i in range(len(beats)):
            known = book.readings(lines[i][-1])
            if pattern.lines[i].rhyme == letter and known:
                classes[i] = {reading.rhyme for reading in book.fitting(lines[i][-1], beats[i][-1]) or known}
        candidates = sorted({rhyme for found in classes.values() for rhyme in found})
        if not candidates:
            continue
        common = max(candidates, key=lambda rhyme: sum(rhyme in found for found in classes.values()))
        for i, found in classes.items():
            if common in found:
                continue
            what = f"{lines[i][-1]} is of {', '.join(sorted(found))}; the poem rhymes on {common}"
            if borrowing and i == 0 and common in book.near(found):
                notes.append(f"line 1 borrows its rhyme (借韵): {what}")
            else:
                faults.append(Fault(i + 1, len(lines[i]), "rhyme", what))
    return faults, notes


def tones(line: str, beats: str, book: RhymeBook) -> str:
    """The tone of each character: 平, 仄, 中 where it is both, a space where the book lacks it. Of several readings
    those count that fit the beat.

    >>> tones("看", "平", rhyme_book("pingshui"))
    '平'
    """
    found = []
    for i, character in enumerate(line):
        readings = (book.fitting(character, beats[i]) if i < len(beats) else ()) or book.readings(character)
        kinds = {"平" if reading.tone == "平" else "仄" for reading in readings}
        found.append("中" if len(kinds) == 2 else kinds.pop() if kinds else " ")
    return "".join(found)


def rhyme_of(lines: list[str], form: Form, book: RhymeBook | None = None) -> str:
    """The class that a Chinese poem rhymes on; the first of them where the form has several, "" where the ends do not
    rhyme or the shape is another."""
    book = book or rhyme_book(form.rhyme_book)
    pattern = form.patterns[0]
    letter = next((line.rhyme for line in pattern.lines if line.rhyme), "")
    if len(lines) != len(pattern.lines):
        return ""
    ends = [
        {reading.rhyme for reading in book.fitting(line[-1], wanted.beats[0][-1])}
        for line, wanted in zip(lines, pattern.lines, strict=True)
        if wanted.rhyme == letter
    ]
    return min(set.intersection(*ends), default="") if ends else ""


def level(character: str, book: RhymeBook) -> bool | None:
    """Whether it is level; None if it can be both, or is unknown."""
    found = {reading.tone == "平" for reading in book.readings(character)}
    return found.pop() if len(found) == 1 else None


def ends(number: int, line: str, book: RhymeBook) -> list[Fault]:
    """三平尾: three level at the end. 孤平: in 平平仄仄平, no level one but the second and the last (of five)."""
    levels = [level(character, book) for character in line[-5:]]
    if levels[-3:] == [True] * 3:
        return [Fault(number, len(line) - 2, "三平尾", f"{line[-3:]}: three level tones at the end")]
    if levels == [False, True, False, False, True]:
        return [Fault(number, len(line) - 3, "孤平", f"{line[-4]} is the only level tone before the last")]
    return []


def joints(lines: list[str], book: RhymeBook) -> list[Fault]:
    """对: the second characters of a couplet are opposed. 粘: those of the lines between two couplets are alike."""
    faults = []
    seconds = [level(line[1], book) if len(line) > 1 else None for line in lines]
    for i in range(1, len(lines)):
        alike = i % 2 == 0
        if None not in (seconds[i - 1], seconds[i]) and (seconds[i] == seconds[i - 1]) != alike:
            rule = "粘" if alike else "对"
            wanted = "have the tone of" if alike else "oppose"
            faults.append(Fault(i + 1, 2, rule, f"{lines[i][1]} should {wanted} {lines[i - 1][1]} in the line above"))
    return faults
