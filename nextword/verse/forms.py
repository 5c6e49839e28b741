"""The forms of verse by name: regulated verse, ci tunes, English forms, and forms of one's own in the notation."""

from __future__ import annotations

from functools import cache

from nextword.errors import UsageError, did_you_mean
from nextword.verse.metres import english_forms, notation_form
from nextword.verse.patterns import Form
from nextword.verse.regulated import regulated_forms
from nextword.verse.tunes import tune_forms


@cache
def forms(rescues: bool = True, feminine: bool = True) -> tuple[Form, ...]:
    """All named forms. `rescues`: whether regulated verse may use 拗救; `feminine`: whether an English line that ends
    on a strong beat may have a weak syllable more."""
    return (*regulated_forms(rescues), *tune_forms(), *english_forms(feminine))


def find_form(name: str, rescues: bool = True, feminine: bool = True) -> Form:
    """The form of this name or alias, or the one that the notation describes. Raises UsageError with the nearest names.

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
    known = [known for form in forms(rescues) for known in (form.name, *form.aliases)]
    raise UsageError(f"no form is called {name!r}", hint=did_you_mean(name, known))
