"""How well Chinese poems keep their form, and how varied they are."""

from __future__ import annotations

from collections.abc import Sequence

from nextword.errors import DataError, UsageError
from nextword.metrics.replies import distinct
from nextword.metrics.score import Score, mean_score
from nextword.verse.check import Verdict, check, split_lines
from nextword.verse.forms import find_form


def verse_scores(poems: Sequence[str], forms: Sequence[str], titles: Sequence[str]) -> list[Score]:
    """in-form, shape, tones, rhymes, repeated, topic of each poem; distinct-1 and -2 of all, over characters. In %.

    in-form: no fault by `nextword.verse.check`. shape: the right lines of the right length. tones: characters without
    a fault of tone; rhymes: lines without a fault of rhyme; both 0 for a wrong shape. repeated: characters that
    stood in the poem before. topic: poems with a character of their title in them, of those that have one.
    `forms`: the form that was asked for, of each; one that is not known counts as kept by nothing.
    """
    verdicts = [judge(poem, form) for poem, form in zip(poems, forms, strict=True)]
    letters = ["".join(verdict.lines) if verdict else "" for verdict in verdicts]
    return [
        mean_score("in-form", [100.0 * (verdict is not None and not verdict.faults) for verdict in verdicts]),
        mean_score("shape", [100.0 * has_shape(verdict) for verdict in verdicts]),
        mean_score("tones", [kept(verdict, "tone") for verdict in verdicts]),
        mean_score("rhymes", [kept(verdict, "rhyme") for verdict in verdicts]),
        mean_score(
            "repeated",
            [100 * (1 - len(set(text)) / len(text)) if text else 0.0 for text in letters],
            higher_is_better=False,
        ),
        mean_score(
            "topic",
            [100.0 * bool(set(title) & set(text)) for text, title in zip(letters, titles, strict=True)],
            counts=[title != "" for title in titles],
        ),
        Score("distinct-1", 100 * distinct(letters, 1), "characters"),
        Score("distinct-2", 100 * distinct(letters, 2), "characters"),
    ]


def judge(poem: str, form: str) -> Verdict | None:
    """The verdict on a text; None if it is no Chinese verse, or the form is unknown."""
    try:
        return check(split_lines(poem), find_form(form))
    except (DataError, UsageError):
        return None


def has_shape(verdict: Verdict | None) -> bool:
    """Whether it has the lines of the form, each of its length."""
    return verdict is not None and not any(fault.rule == "length" for fault in verdict.faults)


def kept(verdict: Verdict | None, rule: str) -> float:
    """The share of characters (tone) or lines (rhyme) without such a fault, in %."""
    if verdict is None or not has_shape(verdict):
        return 0.0
    places = sum(map(len, verdict.lines)) if rule == "tone" else len(verdict.lines)
    return 100 * (1 - sum(fault.rule == rule for fault in verdict.faults) / places)
