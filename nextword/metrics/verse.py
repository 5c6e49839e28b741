"""How well poems keep their form, in either language, and how varied they are."""

from __future__ import annotations

from collections.abc import Sequence

from nextword.errors import DataError, UsageError
from nextword.metrics.replies import distinct
from nextword.metrics.score import Score, mean_score
from nextword.verse import check, check_english
from nextword.verse.forms import find_form
from nextword.verse.units import is_chinese, units
from nextword.verse.verdict import Verdict

TONE, RHYME = ("tone", "stress"), ("rhyme", "repeat")
LONG = 4
"""Letters from which on a word of an English title is looked for: not `the` and `of`."""


def verse_scores(poems: Sequence[str], forms: Sequence[str], titles: Sequence[str]) -> list[Score]:
    """in-form, shape, tones, rhymes, repeated, topic of each poem; distinct-1 and -2 of all. In %.

    Counted are characters, in English words. in-form: no fault by the checker. shape: the right lines of the right
    length. tones: those without a fault of tone (English: stress); rhymes: lines without a fault of rhyme; both 0 for
    a wrong shape. repeated: those that stood in the poem before, 100 less its own distinct-1. topic: poems with one of
    their title in them, of those that have a title. `forms`: the form that was asked for, of each; one that is not
    known counts as kept by nothing.
    """
    verdicts = [judge(poem, form) for poem, form in zip(poems, forms, strict=True)]
    letters = [units("\n".join(verdict.lines)) if verdict else [] for verdict in verdicts]
    return [
        mean_score("in-form", [100.0 * (verdict is not None and not verdict.faults) for verdict in verdicts]),
        mean_score("shape", [100.0 * has_shape(verdict) for verdict in verdicts]),
        mean_score("tones", [kept(verdict, TONE) for verdict in verdicts]),
        mean_score("rhymes", [kept(verdict, RHYME) for verdict in verdicts]),
        mean_score(
            "repeated",
            [100 * (1 - len(set(text)) / len(text)) if text else 0.0 for text in letters],
            higher_is_better=False,
        ),
        mean_score(
            "topic",
            [100.0 * bool(named(title) & set(text)) for text, title in zip(letters, titles, strict=True)],
            counts=[bool(named(title)) for title in titles],
        ),
        Score("distinct-1", 100 * distinct(letters, 1), "characters, or words"),
        Score("distinct-2", 100 * distinct(letters, 2), "characters, or words"),
    ]


def named(title: str) -> set[str]:
    """What is looked for of a title."""
    return {word for word in units(title) if is_chinese(word) or len(word) >= LONG}


def judge(poem: str, form: str) -> Verdict | None:
    """The verdict on a text; None if it is no verse in the language of the form, or the form is unknown."""
    try:
        wanted = find_form(form, answered=poem)
        if wanted.language == "en":
            return check_english.judge(poem, wanted)
        return check.check(check.split_lines(poem), wanted)  # as it stands: a model is to part the lines itself
    except (DataError, UsageError):
        return None


def has_shape(verdict: Verdict | None) -> bool:
    """Whether it has the lines of the form, each of its length."""
    return verdict is not None and not any(fault.rule == "length" for fault in verdict.faults)


def kept(verdict: Verdict | None, rules: tuple[str, ...]) -> float:
    """The share of characters or words (TONE), or of lines (RHYME), without such a fault, in %."""
    if verdict is None or not has_shape(verdict):
        return 0.0
    places = len(units("\n".join(verdict.lines))) if rules == TONE else len(verdict.lines)
    return 100 * (1 - sum(fault.rule in rules for fault in verdict.faults) / places)
