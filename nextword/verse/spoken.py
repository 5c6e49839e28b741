"""How a word can be spoken in verse: by the dictionary, by what its spelling drops, by elision, or by a guess.

The dictionary lacks what poems are full of: wander'd, think'st, o'er, heav'n, 'gainst, belovèd, sunlit. Those are made
from words it has. Elision follows the rules that Robert Bridges found in Milton (*Milton's Prosody*, 1921): an open
vowel before a vowel, and an unstressed vowel before r, l or n, may be lost. Knows single words; lines are elsewhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from nextword.verse.english import Phones, is_vowel, pronunciations, stresses

GUESS = "?2"
"""A vowel of which nothing is known: it may be stressed or not, and rhymes with everything."""
CONTRACTED = {  # what is spelled so, and as which the full word may be spoken
    **{"o'er": ("over", "AO1 R"), "e'er": ("ever", "EH1 R"), "ne'er": ("never", "N EH1 R")},
    **{"e'en": ("even", "IY1 N"), "ta'en": ("taken", "T EY1 N"), "i'": ("in", "IH1"), "o'": ("of", "AH0")},
    **{"th'": ("the", "DH"), "t'": ("to", "T"), "'t": ("it", "T"), "thro'": ("through", "TH R UW1")},
}
OLD = {  # words of poets that the dictionary lacks and that no part of it gives
    **{"nought": "N AO1 T", "jove": "JH OW1 V", "wast": "W AA1 S T", "saith": "S EH1 TH", "thou'rt": "DH AW1 R T"},
    **{"beauteous": "B Y UW1 T IY0 AH0 S", "erst": "ER1 S T", "sooth": "S UW1 TH", "smote": "S M OW1 T"},
    **{"drear": "D R IH1 R", "rend": "R EH1 N D", "whenas": "W EH0 N AE1 Z", "weal": "W IY1 L", "wroth": "R AO1 TH"},
    **{"fount": "F AW1 N T", "clod": "K L AA1 D", "vaunt": "V AO1 N T", "seraph": "S EH1 R AH0 F"},
    **{"spright": "S P R AY1 T", "whelm": "HH W EH1 L M", "welkin": "W EH1 L K IH0 N", "prate": "P R EY1 T"},
}
SHORT = {
    full: tuple(phones.split()) for full, phones in CONTRACTED.values() if full in ("over", "ever", "never", "even")
}
ENDINGS = {  # spelling -> sounds; the stem is looked up
    **{"eth": "IH0 TH", "est": "IH0 S T", "st": "S T", "ing": "IH0 NG", "er": "ER0", "less": "L AH0 S"},
    **{"ness": "N AH0 S", "ly": "L IY0", "ful": "F AH0 L", "some": "S AH0 M", "like": "L AY2 K", "ous": "AH0 S"},
    **{"y": "IY0", "ship": "SH IH2 P", "ward": "W ER0 D"},
}
FIRST = {"un": "AH0 N", "be": "B IH0", "re": "R IY0", "fore": "F AO0 R", "mis": "M IH0 S", "en": "EH0 N", "a": "AH0"}
LOST_AT_FRONT = ("a", "be", "it ")  # 'gainst, 'twixt, 'twas
BRITISH = {"our(s|ed|ing)?": r"or\1", "ence(s)?": r"ense\1", "is(e[ds]?|ing)": r"iz\1", "tre(s)?": r"ter\1"}
LONGEST = 40  # letters; a longer one is no word
PLURAL_AFTER = {"S", "Z", "SH", "ZH", "CH", "JH"}
VOICELESS = {"P", "T", "K", "F", "TH", "S", "SH", "CH"}


@lru_cache(maxsize=1 << 16)
def spoken(word: str, elision: bool = True) -> tuple[Phones, ...]:
    """All ways to speak a word, the usual one first; a guess, made of GUESS, only where there is no other.

    A word may have no syllable at all: `th'`. `elision`: also what a poet may shorten or lengthen without spelling it.

    >>> [" ".join(phones) for phones in spoken("heav'n")]
    ['HH EH1 V N']
    >>> [" ".join(phones) for phones in spoken("even", elision=False)]
    ['IY1 V IH0 N']
    """
    plain = word.lower().replace("’", "'")
    found = tuple(dict.fromkeys(filter(None, known(plain)))) if len(plain) <= LONGEST else ()
    if not found:
        return ((GUESS,) * guess(plain),)
    if len(found) > 1:
        found = tuple(phones for phones in found if stresses(phones) != "0") or found  # not `been` as in `sun`
    if elision:
        found += tuple(phones for usual in found for phones in elided(usual))
        found += (SHORT[plain],) if plain in SHORT else ()
        found += tuple(longer for phones in found for longer in lengthened(phones, plain))
    return tuple(dict.fromkeys(found))


def guessed(phones: Phones) -> bool:
    """Whether it is a guess, of which only the number of syllables is worth something."""
    return GUESS in phones


def guess(word: str) -> int:
    """The syllables of a word that nothing is known of, from its vowel letters, silent final e left out: right for 86 %
    of 20,000 words drawn from the dictionary itself. A digit counts as one.

    >>> guess("wandersome")
    3
    """
    word = re.sub(r"[^\w]", "", word)
    bare = re.sub(r"(?<![aeiouy])e(d|s)?$" if not word.endswith("le") else r"$", "", word)
    return max(1, len(re.findall(r"[aeiouyà-ÿ]+|\d", bare)))


def known(word: str) -> Iterator[Phones]:
    """The pronunciations that follow from the dictionary."""
    usual = pronunciations(word)
    yield from usual
    if word in OLD:
        yield tuple(OLD[word].split())
    if "'" in word:
        yield from dropped(word)
    if not word.isascii():
        yield from sounded(word)
    if not usual:
        yield from derived(word)


def dropped(word: str) -> Iterator[Phones]:
    """Words whose apostrophe stands for letters left out."""
    if word in CONTRACTED:
        yield tuple(CONTRACTED[word][1].split())
        return
    if word.startswith("'") and len(word) > 1:
        for lost in LOST_AT_FRONT:
            if lost == "it " and word[1] == "t":
                yield from (("T", *phones) for phones in known(word[2:]))
            for phones in pronunciations(lost + word[1:]):
                yield phones[next(i for i, phone in enumerate(phones) if is_vowel(phone)) + 1 :]
    head, _, end = word.rpartition("'")
    if not end or not head:
        yield from pronunciations(word.strip("'"))
    elif (end == "er" and head.endswith("e")) or word == "where'er":  # whate'er, howsoe'er
        yield from ((*phones, "EH1", "R") for phones in (*known(head), *known(head.removesuffix("e"))))
    elif end == "d" and (full := pronunciations(f"{head}ed")):
        yield from full
    elif end in ("d", "s", "st", "t"):
        yield from ((*phones, *ended(phones, end)) for phones in stems(head))
    else:
        for letter in "eoiuav":
            for phones in pronunciations(f"{head}{letter}{end}"):
                at = len(re.findall("[aeiouy]+", head))  # the syllable that the spelling drops
                vowels = [i for i, phone in enumerate(phones) if is_vowel(phone)]
                if len(vowels) == guess(word):
                    yield phones
                elif at < len(vowels) and phones[vowels[at]].endswith("0"):
                    yield without(phones, vowels[at])


def ended(phones: Phones, end: str) -> Phones:
    """The sounds of 'd, 's, 'st and 't after a word."""
    last = phones[-1]
    if end == "d":
        return ("IH0", "D") if last in ("T", "D") else ("T",) if last in VOICELESS else ("D",)
    if end == "s":
        return ("IH0", "Z") if last in PLURAL_AFTER else ("S",) if last in VOICELESS else ("Z",)
    return {"st": ("S", "T"), "t": ("T",)}[end]


def sounded(word: str) -> Iterator[Phones]:
    """belovèd: the accent gives the e its syllable. On other letters it is taken off."""
    decomposed = unicodedata.normalize("NFD", word.replace("æ", "ae").replace("œ", "oe"))
    bare = "".join(c for c in decomposed if not unicodedata.combining(c))
    for phones in known(bare) if bare != word else ():
        yield (*phones[:-1], "IH0", phones[-1]) if word.endswith(("èd", "éd")) and silent_e(phones) else phones


def stems(head: str) -> Iterator[Phones]:
    """A stem before an ending: as it stands, with its e, its doubled consonant or its i undone."""
    forms = [head, f"{head}e"]
    if len(head) > 3 and head[-1] == head[-2]:
        forms.append(head[:-1])
    if head.endswith(("i", "e")):
        forms.append(f"{head[:-1]}y")
    found = next((found for form in forms if (found := pronunciations(form))), ())
    yield from found or derived(head)


def derived(word: str) -> Iterator[Phones]:
    """Words the dictionary lacks, from parts that it has: endings, beginnings, two words in one, older spelling."""
    for end in ("d", "s"):
        if word.endswith(f"e{end}") and (found := tuple(stems(word[:-2]))):
            yield from ((*phones, *ended(phones, end)) for phones in found)
            return
    if word.startswith(("where", "there")) and (second := pronunciations(word[5:])):  # whereof
        yield from ((*phones, *second[0]) for phones in pronunciations(word[:5]))
        return
    if word.endswith("s") and (found := pronunciations(word[:-1])):
        yield from ((*phones, *ended(phones, "s")) for phones in found)
        return
    for end, sounds in ENDINGS.items():
        if word.endswith(end) and len(word) > len(end) + 2 and (found := tuple(stems(word[: -len(end)]))):
            yield from ((*phones, *sounds.split()) for phones in found)
            return
    for first, sounds in FIRST.items():
        if word.startswith(first) and len(word) > len(first) + 3 and (found := pronunciations(word[len(first) :])):
            yield from ((*sounds.split(), *phones) for phones in found)
            return
    for cut in range(len(word) - 3, 2, -1):
        second = pronunciations(word[cut:])
        if second and (found := pronunciations(word[:cut])):
            later = tuple(phone.replace("1", "2") for phone in second[0])  # sunlit: the first part bears the stress
            yield from ((*phones, *later) for phones in found)
            return
    yield from next(filter(None, map(pronunciations, respelt(word))), ())


def respelt(word: str) -> Iterator[str]:
    """As the dictionary, which is American and of today, may spell it: honours, offence, theatre, civilised, vaine."""
    for ending, american in BRITISH.items():
        if (other := re.sub(f"{ending}$", american, word)) != word:
            yield other
            yield other.removesuffix("e")
    yield word.removesuffix("e")


def without(phones: Phones, place: int) -> Phones:
    """The phones less the vowel there; of ER the r is left."""
    return (*phones[:place], *(("R",) if phones[place].startswith("ER") else ()), *phones[place + 1 :])


def silent_e(phones: Phones) -> bool:
    """Whether a word in -ed ends in its consonant alone, so that a poet may give the ending a syllable."""
    return len(phones) > 1 and phones[-1] in ("D", "T") and phones[-2] not in ("IH0", "AH0")


def lengthened(phones: Phones, word: str) -> Iterator[Phones]:
    """Endings that had a syllable more: despisèd, grac-i-ous, pass-i-on."""
    if word.endswith("ed") and silent_e(phones):
        yield (*phones[:-1], "IH0", phones[-1])
    if re.search("[cst]i(ous|on|ons|al|ent|ence)$", word):
        last = max(i for i, phone in enumerate(phones) if is_vowel(phone))
        yield (*phones[:last], "IY0", *phones[last:])


def elided(phones: Phones) -> Iterator[Phones]:
    """Each way to lose one unstressed syllable: glorious as two, heaven as one, flattering as two, being as one."""
    for i, (phone, after) in enumerate(pairwise(phones)):
        if is_vowel(phone) and is_vowel(after):
            if phone[-1] == "0":
                glide = {"IY0": ("Y",), "IH0": ("Y",), "UW0": ("W",), "OW0": ("W",)}.get(phone, ())
                yield (*phones[:i], *glide, *phones[i + 1 :])
            elif after[-1] == "0":
                yield without(phones, i + 1)
        elif phone[-1] == "0" and "1" in stresses(phones[:i]):
            liquid = phone == "ER0" or after in ("R", "L", "N")
            following = phones[i + 1 :] if phone == "ER0" else phones[i + 2 :]
            opens = bool(following) and is_vowel(following[0]) and following[0][-1] == "0"
            if liquid and (opens or phones[i - 1 : i + 2] == ("V", phone, "N")):
                yield without(phones, i)
        if phone == "R" and after in ("AH0", "IH0") and i and phones[i - 1][-1] == "1":  # spirit
            yield without(phones, i + 1)
