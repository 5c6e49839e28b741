"""English words by the CMU Pronouncing Dictionary: syllables, stress and rhyme. Knows no forms.

A pronunciation is its phones in ARPAbet, vowels with their stress (0 none, 1 primary, 2 secondary): `AH0 B AH1 V`.
"""

from __future__ import annotations

import gzip
import string
from functools import cache, lru_cache
from importlib.resources import files

Phones = tuple[str, ...]
NO_STRESS = {ord(character): None for character in f"{string.ascii_uppercase}?"}


@cache
def dictionary() -> dict[str, str]:
    """Word in lower case -> its pronunciations, the usual one first, each in a line: not taken apart, as few are asked
    for."""
    text = gzip.decompress(files("nextword.verse").joinpath("data", "cmudict.txt.gz").read_bytes()).decode("utf-8")
    words: dict[str, str] = {}
    for line in text.splitlines():
        word, _, phones = line.partition(" ")
        words[word] = f"{words[word]}\n{phones}" if word in words else phones
    return words


def pronunciations(word: str) -> tuple[Phones, ...]:
    """All pronunciations; () for a word the dictionary lacks. Typographic apostrophes are read as plain ones."""
    found = dictionary().get(word.lower().replace("’", "'"), "")
    return tuple(tuple(phones.split(" ")) for phones in found.splitlines())


def stresses(phones: Phones) -> str:
    """The stress of each syllable.

    >>> stresses(("AH0", "B", "AH1", "V"))
    '01'
    """
    return "".join(phones).translate(NO_STRESS)


def is_vowel(phone: str) -> bool:
    """Whether it makes a syllable."""
    return phone[-1].isdigit()


def fits(stress: str, beats: str) -> bool:
    """Whether a word may stand on these beats (`-` weak, `/` strong, `x` either): one syllable anywhere, a longer word
    wherever its primary stress is not on a weak beat (Kiparsky, *The Rhythmic Structure of English Verse*, 1977).
    Of two stressed syllables side by side either may bear the beat: mankind, sometime.

    >>> fits("01", "-/"), fits("10", "-/"), fits("12", "-/"), fits("1", "-")
    (True, False, True, True)
    """
    if len(stress) != len(beats):
        return False
    misplaced = [i for i, s in enumerate(stress) if s == "1" and beats[i] == "-"] if len(stress) > 1 else []
    return all(set(stress[max(0, i - 1) : i] + stress[i + 1 : i + 2]) & set("12") for i in misplaced)


def rhyme_part(phones: Phones, weak: int | None = None) -> Phones:
    """What must sound alike: from the vowel that `weak` syllables follow on, or, for None, from the last stressed one
    (the last where none is stressed). Stress is left out, and so is behind that vowel the difference of unstressed AH
    and IH, in which the dictionary is arbitrary.

    >>> rhyme_part(("M", "EH1", "M", "ER0", "IY0")), rhyme_part(("M", "EH1", "M", "ER0", "IY0"), weak=0)
    (('EH', 'M', 'ER', 'IY'), ('IY',))
    """
    if weak is None:
        stress = stresses(phones)
        weak = len(stress) - len(stress.rstrip("0")) if stress.strip("0") else 0
    start = len(phones)
    while start and weak >= 0:
        start -= 1
        weak -= phones[start][-1] in "012"
    return _alike(phones[start:])


@lru_cache(maxsize=1 << 14)
def _alike(tail: Phones) -> Phones:
    """From a vowel on, without what makes no difference to a rhyme: many words have one tail."""
    later = ("AH" if phone == "IH0" else phone.rstrip("012") for phone in tail[1:])
    return (tail[0].rstrip("012"), *later) if tail else ()


def part_rhyme(a: Phones, b: Phones) -> str:
    """ "perfect": these parts are alike; "slant": their vowels, or all consonants after them; "" neither."""
    if a == b:
        return "perfect"
    return "slant" if a[:1] == b[:1] or (len(a) > 1 and a[1:] == b[1:]) else ""
