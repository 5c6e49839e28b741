"""English forms: metres as beats, the known stanzas, and a small notation for forms of one's own.

`10:iambic abab abab` is eight lines of ten syllables, iambic, in two stanzas that rhyme abab. `8,6:iambic abcb` takes
the lengths in turn. `5,7,5:free ...`: `.` is a line that need not rhyme; a letter that occurs once need not either.
"""

from __future__ import annotations

import re

from nextword.errors import UsageError, did_you_mean
from nextword.verse.patterns import Form, Line, Pattern

METRES = {"iambic": "-/", "trochaic": "/-", "anapestic": "--/", "dactylic": "/--", "free": "x"}
LONGEST_LINE, MOST_LINES = 60, 200
KNOWN = {  # name: title, notation, aliases
    "common-metre": ("common metre", "8,6:iambic abab", ("common-meter",)),
    "ballad": ("ballad stanza", "8,6:iambic abcb", ("ballad-stanza",)),
    "shakespearean-sonnet": ("Shakespearean sonnet", "10:iambic ababcdcdefefgg", ("sonnet", "english-sonnet")),
    "heroic-couplets": ("heroic couplets", "10:iambic aa", ("heroic-couplet",)),
    "haiku": ("haiku", "5,7,5:free ...", ()),
}
STANZAIC = ("common-metre", "ballad", "heroic-couplets")
# The octave is fixed, the sestet is not: these three are the commonest.
SESTETS = ("cdecde", "cdcdcd", "cddcdc")
LIMERICK_LONG = ("-/--/--/", "--/--/--/")
LIMERICK_SHORT = ("-/--/", "--/--/")


def english_forms(feminine: bool = True) -> list[Form]:
    """The known forms. `feminine`: a weak syllable may follow the last."""
    forms = [
        Form(name, title, "en", (notation_pattern(notation, feminine),), aliases, stanzaic=name in STANZAIC)
        for name, (title, notation, aliases) in KNOWN.items()
    ]
    sonnets = tuple(notation_pattern(f"10:iambic abbaabba{end}", feminine) for end in SESTETS)
    forms.append(Form("petrarchan-sonnet", "Petrarchan sonnet", "en", sonnets, ("italian-sonnet",)))
    limerick = tuple(
        Line(alternatives(LIMERICK_LONG if rhyme == "a" else LIMERICK_SHORT, feminine), rhyme) for rhyme in "aabba"
    )
    forms.append(Form("limerick", "limerick", "en", (Pattern("aabba", limerick),)))
    return forms


def notation_form(notation: str, feminine: bool = True) -> Form:
    """A form of one's own. Raises UsageError for what the notation does not say."""
    return Form(notation, notation, "en", (notation_pattern(notation, feminine),))


def notation_pattern(notation: str, feminine: bool = True) -> Pattern:
    """One pattern, named by its rhyme scheme."""
    found = re.fullmatch(r"\s*(\d+(?:,\d+)*):(\w+)\s+([a-z.]+(?:\s+[a-z.]+)*)\s*", notation)
    if not found:
        raise UsageError(f"{notation!r} is not a form", hint='Write SYLLABLES:METRE SCHEME, e.g. "10:iambic abab abab"')
    metre, scheme = found[2], found[3]
    if metre not in METRES:
        raise UsageError(f"no metre is called {metre!r}", hint=did_you_mean(metre, METRES))
    lengths = [int(length) for length in found[1].split(",") if len(length) < 4]
    if not lengths or not all(0 < length <= LONGEST_LINE for length in lengths) or len(scheme) > MOST_LINES:
        raise UsageError(
            f"{notation!r} is too long or too short",
            hint=f"Lines have 1 to {LONGEST_LINE} syllables, a form {MOST_LINES} lines",
        )
    stanzas = scheme.split()
    letters = "".join(stanzas)
    lines: list[Line] = []
    for number, stanza in enumerate(stanzas):
        for letter in stanza:
            length = lengths[len(lines) % len(lengths)]
            usual = (METRES[metre] * length)[:length]
            beats = (usual, f"/-{usual[2:]}") if metre == "iambic" and length > 3 else (usual,)
            free = letter == "." or letters.count(letter) == 1
            lines.append(Line(alternatives(beats, feminine and metre != "free"), "" if free else letter, number))
    return Pattern(scheme, tuple(lines))


def alternatives(beats: tuple[str, ...], feminine: bool) -> tuple[str, ...]:
    """The beats, and with a feminine ending each with one more weak syllable where it ends on a strong one."""
    return (*beats, *(f"{line}-" for line in beats if line.endswith("/"))) if feminine else beats
