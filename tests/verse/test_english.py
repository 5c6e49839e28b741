"""English syllables, stress and rhyme against words that everybody knows."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.verse.english import fits, part_rhyme, pronunciations, rhyme_part, stresses
from nextword.verse.spoken import guess, guessed, spoken


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        *(("day", "may", "perfect"), ("eyes", "dies", "perfect")),
        *(("flowing", "growing", "perfect"), ("hand", "lend", "slant"), ("day", "night", "")),
        *(("is", "was", "slant"), ("roses", "closes", "perfect"), ("given", "heaven", "slant")),
    ],
)
def test_rhymes(one: str, other: str, kind: str) -> None:
    parts = [[rhyme_part(phones) for phones in pronunciations(word)] for word in (one, other)]
    kinds = {part_rhyme(*pair) for pair in product(*parts)}
    assert kinds == {part_rhyme(*pair) for pair in product(*reversed(parts))}
    assert next((some for some in ("perfect", "slant") if some in kinds), "") == kind


@pytest.mark.parametrize(
    ("word", "stress"),
    [
        *(("heav'n", "1"), ("ev'ry", "10"), ("wander'd", "10"), ("wand’ring", "10"), ("think'st", "1"), ("o'er", "1")),
        *(("th'", ""), ("'gainst", "1"), ("'twas", "1"), ("belovèd", "010"), ("unlook'd", "01"), ("where'er", "11")),
        *(("sunlit", "12"), ("deathless", "10"), ("whereof", "11"), ("honours", "10"), ("plenteous", "100")),
        *(("offence", "01"), ("civilised", "102"), ("theatres", "100")),
    ],
)
def test_words_of_poems_follow_from_those_of_the_dictionary(word: str, stress: str) -> None:
    ways = spoken(word, elision=False)
    assert stress in {stresses(phones) for phones in ways}
    assert not guessed(ways[0])


@pytest.mark.parametrize(
    ("word", "lengths"),
    [
        ("heaven", {1, 2}),
        ("glorious", {2, 3}),
        ("despised", {2, 3}),
        ("spirit", {1, 2}),
        ("over", {1, 2}),
        ("day", {1}),
    ],
)
def test_elision_shortens_and_lengthens(word: str, lengths: set[int]) -> None:
    assert {len(stresses(phones)) for phones in spoken(word)} == lengths
    assert len({len(stresses(phones)) for phones in spoken(word, elision=False)}) == 1


@pytest.mark.parametrize("word", ["Zorbelak", "Ægæus", "ß", "s" * 5000, "'", "1066", "''d"])
def test_whatever_one_writes_has_a_guess(word: str) -> None:
    assert all(guessed(phones) for phones in spoken(word))


def test_words_of_one_syllable_are_spoken_in_full() -> None:
    assert spoken("the") == (("DH", "AH1"),)
    assert ("B", "AH0", "N") in pronunciations("been")
    assert ("B", "AH0", "N") not in spoken("been")


@given(st.text(alphabet="aeiouydstrnlèæ'’0"))
def test_any_letters_can_be_spoken(word: str) -> None:
    assert all(spoken(word))
    assert set(spoken(word, elision=False)) <= set(spoken(word))


def test_guesses_follow_the_letters() -> None:
    assert [guess(word) for word in ("glimmerlock", "snarke", "brillow")] == [3, 1, 2]


def test_stress_must_not_fall_on_a_weak_beat() -> None:
    (compare,) = {stresses(phones) for phones in pronunciations("compare")}
    assert fits(compare, "-/")
    assert not fits(compare, "/-")
    assert not fits(compare, "-/-")
    assert fits("1", "-")
