"""Judge a Chinese poem, by anyone, against a form: each line with its pattern, each fault with its place.

A character with several readings counts by the one that fits; one that the rhyme book lacks counts as fitting, and is
named. Shares the tables with the generator, not its automaton. Of the patterns of a form the nearest one is judged by.
In regulated verse the first line may borrow its rhyme from a neighbouring class (借韵), which is noted.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, islice

from nextword.errors import DataError, UsageError, counted
from nextword.verse.chinese import RhymeBook, rhyme_book
from nextword.verse.forms import COUPLET, find_form, forms
from nextword.verse.patterns import Form, Pattern
from nextword.verse.units import LINE
from nextword.verse.verdict import Fault, Verdict, count_faults


def split_lines(text: str) -> list[str]:
    """The lines of a poem: what punctuation, spaces and line ends part. Raises DataError if no Chinese is in it."""
    lines: list[str] = LINE.findall(text)
    if not lines:
        raise DataError("no Chinese verse in this text", hint="Give a poem in Chinese characters, without its title")
    return lines


def judge(text: str, form: Form | None = None, book: RhymeBook | None = None, borrowing: bool = True) -> Verdict:
    """Judge the text of a poem, in the form that it breaks least if none is named.

    Lines that are as the form has them but for their breaks are parted as the form has them, which is noted. Raises
    DataError for a text without Chinese, or of the shape of no form.
    """
    lines = split_lines(text)
    form = form or guess_form(lines, book)
    parted = part(lines, form)
    verdict = check(parted, form, book, borrowing)
    note = f"lines parted as {form.title} has them"
    return verdict if parted == lines else replace(verdict, notes=(note, *verdict.notes))


def part(lines: list[str], form: Form) -> list[str]:
    """The same characters in the lines of the form, where they are as many and some breaks are missing, or elsewhere in
    less than half of a ci, as editions punctuate those differently. Other lines stay as they are."""
    lengths = form.lengths
    wanted, found = set(accumulate(lengths)), set(accumulate(map(len, lines)))
    alike = found <= wanted or (not form.regulated and 2 * len(found & wanted) > len(wanted))
    if max(found) != max(wanted) or not alike:
        return lines
    characters = iter("".join(lines))
    return ["".join(islice(characters, length)) for length in lengths]


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
    (beats, faults, notes), pattern = min(
        judged, key=lambda one: (len(one[0][1]), forced(lines, one[0][0], book), -rhyming(one[1]))
    )
    if form.regulated:
        faults += [fault for line in enumerate(lines, 1) for fault in ends(*line, book)] + joints(lines, book)
    notes += readings_noted(lines, beats, book)
    order = sorted(faults, key=lambda fault: (fault.line, fault.place))
    return Verdict(
        form=form.name,
        title=form.title,
        pattern=pattern.name,
        rhyme_book=book.name,
        rhymes=tuple(rhymes_of(lines, form, book)),
        lines=tuple(lines),
        beats=tuple(beats),
        faults=tuple(order),
        notes=tuple(notes),
    )


def guess_form(lines: list[str], book: RhymeBook | None = None) -> Form:
    """The Chinese form of these line lengths that the poem breaks least; two lines of one length are a couplet. Raises
    DataError if none has them."""
    known = [form for form in forms() if form.language == "zh"]
    if len(lines) == 2 and len(lines[0]) == len(lines[1]) > 1:
        known.append(find_form(COUPLET[0], answered=lines[0], book=book.name if book else ""))
    lengths = [len(line) for line in lines]
    fitting = [form for form in known if form.lengths == lengths]
    fitting = fitting or [form for form in known if [*map(len, part(lines, form))] == form.lengths]
    if not fitting:
        shown = " ".join(map(str, lengths[:12])) + " ..." * (len(lengths) > 12)
        raise DataError(
            f"no form has lines of {shown} characters",
            hint="Leave out title and author, or name the form: --form 浣溪沙",
        )
    return min(fitting, key=lambda form: len(check(part(lines, form), form, book).faults))


def against(
    lines: list[str], pattern: Pattern, book: RhymeBook, borrowing: bool
) -> tuple[list[str], list[Fault], list[str]]:
    """The nearest beats of each line, the faults of length, tone and rhyme, and a rhyme that was borrowed."""
    beats: list[str] = []
    faults = count_faults(len(lines), len(pattern.lines))
    for number, (line, wanted) in enumerate(zip(lines, pattern.lines, strict=False), start=1):
        best, places = min(
            ((option, misfits(line, option, book)) for option in wanted.beats),
            key=lambda found: (len(found[1]), forced([line], [found[0]], book)),
        )
        beats.append(best)
        if len(line) != len(best):
            faults.append(Fault(number, 0, "length", f"{counted(len(line), 'character')}; the form has {len(best)}"))
            continue
        for place in places:
            character, beat = line[place - 1], best[place - 1]
            tones = "".join(dict.fromkeys(reading.tone for reading in book.readings(character)))
            faults.append(Fault(number, place, "tone", f"{character} is {tones}; the pattern has {beat} here"))
        if wanted.echo and line != (said := lines[number - 2][-len(best) :]):
            faults.append(Fault(number, 0, "叠", f"it should say {said} once more"))
    found, notes = judge_rhymes(lines, beats, pattern, book, borrowing)
    return beats, faults + found, notes


def forced(lines: list[str], beats: list[str], book: RhymeBook) -> int:
    """How many characters fit by a reading alone that poets hardly use. Of ways to judge a poem that with the fewest is
    meant: 间 can be oblique, but 彩云间 above 一日还 is a rhyme."""
    return sum(
        bool(book.fitting(character, beat)) and not any(reading.fits(beat) for reading in book.usual(character))
        for line, kept in zip(lines, beats, strict=False)
        for character, beat in zip(line, kept, strict=False)
    )


def rhyming(pattern: Pattern) -> int:
    """How many lines rhyme."""
    return sum(line.rhyme != "" for line in pattern.lines)


def readings_noted(lines: list[str], beats: list[str], book: RhymeBook) -> list[str]:
    """How characters are read that can be level and oblique, where the pattern decides it; and which are unknown."""
    decided = {
        f"{character} {beat}": any(reading.fits(beat) for reading in book.usual(character))
        for line, kept in zip(lines, beats, strict=False)
        for character, beat in zip(line, kept, strict=False)
        if beat != "中" and len({reading.tone == "平" for reading in book.readings(character)}) == 2
    }
    unknown = dict.fromkeys(c for line in lines for c in line if not book.readings(c))
    rare = [reading for reading, usual in decided.items() if not usual]
    said = {
        "read as": ", ".join(decided),
        "of which poets hardly use": ", ".join(rare),
        f"not in {book.title}, taken to fit": "".join(unknown),
    }
    return [f"{what}: {which}" for what, which in said.items() if which]


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


def rhymes_of(lines: list[str], form: Form, book: RhymeBook | None = None) -> list[str]:
    """The class of each rhyme of a Chinese form in a poem; "" where its ends do not rhyme, [] where the shape is
    another."""
    book = book or rhyme_book(form.rhyme_book)
    wanted = form.patterns[0].lines
    if len(lines) != len(wanted):
        return []
    found: dict[str, set[str]] = {}
    for line, asked in zip(lines, wanted, strict=True):
        if asked.rhyme:
            classes = {reading.rhyme for reading in book.fitting(line[-1], asked.beats[0][-1])}
            found[asked.rhyme] = found.get(asked.rhyme, classes) & classes
    return [min(classes, default="") for classes in found.values()]


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
