"""English syllables, stress and rhyme against words that everybody knows."""

from __future__ import annotations

import pytest

from nextword.verse.english import fits, pronunciations, rhyme, stresses, syllables


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        *(("day", "may", "perfect"), ("Temperate", "temperate", ""), ("eyes", "dies", "perfect")),
        *(("flowing", "growing", "perfect"), ("hand", "lend", "slant"), ("day", "night", ""), ("day", "xyzzy", "")),
    ],
)
def test_rhymes(one: str, other: str, kind: str) -> None:
    assert rhyme(one, other) == rhyme(other, one) == kind


def test_syllables_known_and_guessed() -> None:
    assert syllables("compare") == (2,)
    assert [syllables(word) for word in ("glimmerlock", "snarke", "brillow")] == [(3,), (1,), (2,)]


def test_stress_must_not_fall_on_a_weak_beat() -> None:
    (compare,) = {stresses(phones) for phones in pronunciations("compare")}
    assert fits(compare, "-/")
    assert not fits(compare, "/-")
    assert not fits(compare, "-/-")
    assert fits("1", "-")
