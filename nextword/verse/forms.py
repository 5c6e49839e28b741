"""The forms of verse by name: regulated verse, ci tunes, English forms, and forms of one's own in the notation."""

from __future__ import annotations

from functools import cache

from nextword.errors import UsageError, nearest
from nextword.verse.chinese import rhyme_book
from nextword.verse.metres import english_forms, notation_form
from nextword.verse.patterns import Form
from nextword.verse.regulated import COUPLET, couplet, regulated_forms
from nextword.verse.tunes import tune_forms
from nextword.verse.units import LINE


@cache
def forms(rescues: bool = True, feminine: bool = True) -> tuple[Form, ...]:
    """All named forms. `rescues`: whether regulated verse may use 拗救; `feminine`: whether an English line that ends
    on a strong beat may have a weak syllable more."""
    return (*regulated_forms(rescues), *tune_forms(), *english_forms(feminine))


def find_form(name: str, rescues: bool = True, feminine: bool = True, answered: str = "", book: str = "") -> Form:
    """The form of this name or alias, or the one that the notation describes. Raises UsageError with the nearest name.

    `answered`: of a couplet (duilian), a text whose first line, by a rhyme book, decides the tones of the second.

    >>> find_form("七律").name
    'qilü'
    >>> len(find_form("10:iambic abab abab").patterns[0].lines)
    8
    """
    wanted = name.strip().lower()
    for form in forms(rescues, feminine):
        if wanted in (form.name, form.title.lower(), *form.aliases):
            return form
    if ":" in wanted:
        return notation_form(wanted, feminine)
    if wanted in COUPLET:
        first = LINE.search(answered)
        if first is None:
            raise UsageError("duilian answers one line", hint="Give it: --form duilian --begin 春风入喜财入户")
        return couplet(first[0], rhyme_book(book or "pingshui"))
    known = [COUPLET[0], *(form.name for form in forms())]
    near = nearest(name, [*known, *(alias for form in forms() for alias in form.aliases)])
    raise UsageError(f"no form is called {name!r}", hint=near or f"Known: {', '.join(known)}")
