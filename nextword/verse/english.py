"""English words by the CMU Pronouncing Dictionary: syllables, stress and rhyme. Knows no forms.

A pronunciation is its phones in ARPAbet, vowels with their stress (0 none, 1 primary, 2 secondary): `AH0 B AH1 V`.
"""

from __future__ import annotations

import gzip
import re
from functools import cache
from importlib.resources import files

Phones = tuple[str, ...]


@cache
def dictionary() -> dict[str, tuple[Phones, ...]]:
    """Word in lower case -> its pronunciations, the usual one first."""
    text = gzip.decompress(files("nextword.verse").joinpath("data", "cmudict.txt.gz").read_bytes()).decode("utf-8")
    words: dict[str, tuple[Phones, ...]] = {}
    for line in text.splitlines():
        word, *phones = line.split(" ")
        words[word] = (*words.get(word, ()), tuple(phones))
    return words


def pronunciations(word: str) -> tuple[Phones, ...]:
    """All pronunciations; () for a word the dictionary lacks. Typographic apostrophes are read as plain ones."""
    return dictionary().get(word.lower().replace("’", "'"), ())


def stresses(phones: Phones) -> str:
    """The stress of each syllable.

    >>> stresses(("AH0", "B", "AH1", "V"))
    '01'
    """
    return "".join(phone[-1] for phone in phones if phone[-1].isdigit())


def syllables(word: str) -> tuple[int, ...]:
    """How many syllables the word can have. For one the dictionary lacks an estimate from its vowel letters, silent
    final e left out: right for 86 % of 20,000 words drawn from the dictionary itself.

    >>> syllables("fire")
    (1, 2)
    >>> syllables("wandersome")
    (3,)
    """
    known = pronunciations(word)
    if known:
        return tuple(sorted({len(stresses(phones)) for phones in known}))
    bare = re.sub(r"(?<![aeiouy])e(d|s)?$" if not word.lower().endswith("le") else r"$", "", word.lower())
    return (max(1, len(re.findall("[aeiouy]+", bare))),)


def fits(stress: str, beats: str) -> bool:
    """Whether a word may stand on these beats (`-` weak, `/` strong, `x` either): one syllable anywhere, a longer word
    wherever its primary stress is not on a weak beat."""
    if len(stress) != len(beats):
        return False
    return len(stress) == 1 or not any(s == "1" and beat == "-" for s, beat in zip(stress, beats, strict=True))


def rhyme_part(phones: Phones) -> Phones:
    """From the last stressed vowel on, stress left out; the last vowel where none is stressed."""
    vowels = [i for i, phone in enumerate(phones) if phone[-1].isdigit()]
    stressed = [i for i in vowels if phones[i][-1] in "12"] or vowels
    return tuple(phone.rstrip("012") for phone in phones[stressed[-1] :]) if stressed else phones


def rhyme(one: str, other: str) -> str:
    """ "perfect": alike from the last stressed vowel on; "slant": that vowel, or all consonants after it, alike;
    "" neither, or one of them unknown. A word never rhymes with itself.

    >>> rhyme("love", "above"), rhyme("love", "move"), rhyme("love", "love")
    ('perfect', 'slant', '')
    """
    if one.lower() == other.lower():
        return ""
    pairs = [(rhyme_part(a), rhyme_part(b)) for a in pronunciations(one) for b in pronunciations(other)]
    if any(a == b for a, b in pairs):
        return "perfect"
    return "slant" if any(a[0] == b[0] or (len(a) > 1 and a[1:] == b[1:]) for a, b in pairs) else ""
