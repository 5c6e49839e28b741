"""Small numbers in words, of some languages: where both sides of a pair have one, there a number belongs."""

from __future__ import annotations

import re
from functools import cache

from nextword.text.numerals import base_language
from nextword.text.terms import Span

_TWO_TO_TWELVE_AND_TENS = {
    "de": "zwei drei vier fünf sechs sieben acht neun zehn elf zwölf zwanzig dreißig vierzig fünfzig",
    "en": "two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty",
    "es": "dos tres cuatro cinco seis siete ocho nueve diez once doce veinte treinta cuarenta cincuenta",
    "fr": "deux trois quatre cinq six sept huit neuf dix onze douze vingt trente quarante cinquante",
    "it": "due tre quattro cinque sei sette otto nove dieci undici dodici venti trenta quaranta cinquanta",
    "zh": "[两二] 三 四 五 六 七 八 九 十 十一 十二 二十 三十 四十 五十",
}
_NUMERALS = "〇零一二两三四五六七八九十百千万亿"


def number_words(source: str, target: str, from_: str, to: str) -> list[tuple[Span, Span]]:
    """Where the numbers stand that each of two texts has just once in words, in the order of the first: none if one of
    the languages is not known here.

    >>> number_words("I saw five men at two.", "我看到了五个男人。", "en", "zh")
    [((6, 10), (4, 5))]
    """
    found = []
    for own, other in zip(_patterns(from_), _patterns(to), strict=False):
        here, there = list(own.finditer(source)), list(other.finditer(target))
        if len(here) == len(there) == 1:
            found.append((here[0].span(), there[0].span()))
    return sorted(found)


@cache
def _patterns(language: str) -> list[re.Pattern[str]]:
    """What finds each number, as a word of its own."""
    words = _TWO_TO_TWELVE_AND_TENS.get(base_language(language), "").split()
    if words and words[-1][0] in _NUMERALS:
        return [re.compile(rf"(?<![{_NUMERALS}几第]){word}(?![{_NUMERALS}])") for word in words]
    return [re.compile(rf"(?<![\w-]){word}(?![\w-])", re.IGNORECASE) for word in words]
