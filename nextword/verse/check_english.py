"""Judge an English poem, by anyone, against a form: syllables, stress and rhyme, each fault with its place.

A word with several pronunciations counts by the one that fits; one that had to be guessed fits any stress and any
rhyme, and is named. Of the patterns of a form the nearest one is judged by.
"""

from __future__ import annotations

import re

from nextword.errors import DataError, UsageError, counted
from nextword.verse.english import Phones, part_rhyme
from nextword.verse.forms import forms
from nextword.verse.patterns import Form, Pattern, repeated
from nextword.verse.scansion import IAMBIC, Scansion, Word, lengths, read, scan
from nextword.verse.spoken import GUESS, guessed
from nextword.verse.verdict import Fault, Verdict, count_faults


def split_lines(text: str) -> list[str]:
    """The lines of a poem that have words in them. Raises DataError if there are none in Latin letters."""
    lines = [line.strip() for line in text.splitlines() if re.search("[A-Za-z]", line)]
    if not lines:
        raise DataError("no English verse in this text", hint="Give a poem, a verse a line, without its title")
    return lines


def judge(text: str, form: Form | None = None, elision: bool = True, slant: bool = False) -> Verdict:
    """Judge the text of a poem, in the form that it breaks least if none is named. Raises DataError for a text without
    English, or of so many lines as no form has."""
    lines = split_lines(text)
    return check(lines, form or guess_form(lines, elision, slant), elision, slant)


def check(lines: list[str], form: Form, elision: bool = True, slant: bool = False) -> Verdict:
    """Judge the lines by the nearest pattern of the form.

    `elision`: whether words may be shortened or lengthened without a sign of it, as `nextword.verse.spoken` says;
    `slant`: whether slant rhymes will do. Raises UsageError for a form that is not English.
    """
    if form.language != "en":
        raise UsageError(f"{form.title} is not an English form", hint="nextword.verse.check judges Chinese verse")
    words = [read(line, elision) for line in lines]
    judged = [(against(words, fitted(form, pattern, len(lines)), slant), pattern) for pattern in form.patterns]
    (beats, faults), pattern = min(judged, key=lambda one: len(one[0][1]))
    unknown = dict.fromkeys(word.text for line in words for word in line if guessed(word.ways[0]))
    notes = (f"not in the dictionary, taken to fit: {', '.join(unknown)}",) if unknown else ()
    order = sorted(faults, key=lambda fault: (fault.line, fault.place))
    return Verdict(form.name, form.title, pattern.name, "cmudict", (), tuple(lines), tuple(beats), tuple(order), notes)


def guess_form(lines: list[str], elision: bool = True, slant: bool = False) -> Form:
    """The English form of so many lines that the poem breaks least. Raises DataError if none has so many."""
    fitting = [
        form
        for form in forms()
        if form.language == "en" and len(fitted(form, form.patterns[0], len(lines)).lines) == len(lines)
    ]
    if not fitting:
        raise DataError(
            f"no English form has as many lines as this: {len(lines)}",
            hint='Name one or write it: --form "10:iambic abab cdcd"',
        )
    return min(fitting, key=lambda form: len(check(lines, form, elision, slant).faults))


def fitted(form: Form, pattern: Pattern, lines: int) -> Pattern:
    """The pattern; that of a stanza as often as so many lines need."""
    return repeated(pattern, -(-lines // len(pattern.lines))) if form.stanzaic else pattern


def against(words: list[tuple[Word, ...]], pattern: Pattern, slant: bool) -> tuple[list[str], list[Fault]]:
    """The nearest beats of each line, and all faults."""
    faults = count_faults(len(words), len(pattern.lines))
    nearest = []
    for number, (line, wanted) in enumerate(zip(words, pattern.lines, strict=False), start=1):
        inversion = bool(IAMBIC.fullmatch(wanted.beats[0]))
        scansions = [scan(line, beats, inversion) for beats in wanted.beats]
        best = min(scansions, key=lambda found: found.amiss)
        nearest.append([scansion for scansion in scansions if scansion.amiss == best.amiss])
        if best.amiss == float("inf"):
            can = lengths(line)
            shown = counted(can[0], "syllable") if len(can) == 1 else f"{can[0]} to {can[-1]} syllables"
            asked = " or ".join(dict.fromkeys(str(len(beats)) for beats in sorted(wanted.beats, key=len)))
            faults.append(Fault(number, 0, "length", f"{shown}; the form has {asked}"))
            continue
        for place in best.faults():
            message = f"{line[place - 1].text} is stressed against the metre {best.beats}"
            faults.append(Fault(number, place, "stress", message))
    return [scansions[0].beats for scansions in nearest], faults + rhyme_faults(nearest, pattern, slant)


def rhyme_faults(nearest: list[list[Scansion]], pattern: Pattern, slant: bool) -> list[Fault]:
    """Lines that do not rhyme with the most of their letter, and those that rhyme by the same word. `nearest`: of each
    line, the scansions that fit it best; it rhymes by any of them."""
    words = [scansions[0].words for scansions in nearest]
    faults = []
    for letter in dict.fromkeys(line.rhyme for line in pattern.lines if line.rhyme):
        group = [i for i in range(len(words)) if pattern.lines[i].rhyme == letter]
        parts = {i: known for i in group if (known := known_parts(nearest[i]))}
        candidates = [part for known in parts.values() for part in sorted(known)]  # of equals, the first line decides
        common = max(candidates, key=candidates.count, default=())
        leader = next((i for i in group if common in parts.get(i, ())), 0)
        seen: dict[str, int] = {}
        for i in group:
            last = words[i][-1].text
            rival = words[leader][-1].text
            own, theirs = parts.get(i, set()), parts.get(leader, set())
            perfect = not own or common in own
            near = any(part_rhyme(one, other) for one in own for other in theirs)
            if last.lower() in seen:
                message = f"{last} rhymes with itself, in line {seen[last.lower()] + 1}"
                faults.append(Fault(i + 1, len(words[i]), "repeat", message))
            elif not perfect and not (slant and near):
                how = "is but a slant rhyme of" if near else "does not rhyme with"
                message = f"{last} {how} {rival} in line {leader + 1}"
                faults.append(Fault(i + 1, len(words[i]), "rhyme", message))
            seen.setdefault(last.lower(), i)
    return faults


def known_parts(scansions: list[Scansion]) -> set[Phones]:
    """What the line may rhyme on, less what is but a guess."""
    return {part for scansion in scansions for part in scansion.rhymes() if part and GUESS.rstrip("012") not in part}
