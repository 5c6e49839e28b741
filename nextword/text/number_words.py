"""Small numbers in words, of some languages: where both sides of a pair have one, there a number belongs."""

from __future__ import annotations

import re
from functools import cache

_TWO_TO_TWELVE_AND_TENS = {
    "de": "zwei drei vier fünf sechs sieben acht neun zehn elf zwölf zwanzig dreißig vierzig fünfzig",
    "en": "two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty",
    "es": "dos tres cuatro cinco seis siete ocho nueve diez once doce veinte treinta cuarenta cincuenta",
    "fr": "deux trois quatre cinq six sept huit neuf dix onze douze vingt trente quarante cinquante",
    "it": "due tre quattro cinque sei sette otto nove dieci undici dodici venti trenta quaranta cinquanta",
    "zh": "[两二] 三 四 五 六 七 八 九 十 十一 十二 二十 三十 四十 五十",
}
_NUMERALS = "〇零一二两三四五六七八九十百千万亿"


def number_words(source: str, target: str, from_: str, to: str) -> list[tuple[re.Match[str], re.Match[str]]]:
    """The numbers that both texts have once in words: where, in each, in the order of
    the first. None, if the languages are not known here.

    >>> [(a[0], b[0]) for a, b in number_words("I saw five men at two.", "我看到了五个男人。", "en", "zh")]
    [('five', '五')]
    """
    found = []
    for own, other in zip(_patterns(from_), _patterns(to), strict=False):
        here, there = list(own.finditer(source)), list(other.finditer(target))
        if len(here) == len(there) == 1:
            found.append((here[0], there[0]))
    return sorted(found, key=lambda pair: pair[0].start())


@cache
def _patterns(language: str) -> list[re.Pattern[str]]:
    """What finds each number, as a word of its own."""
    words = _TWO_TO_TWELVE_AND_TENS.get(language.lower().replace("_", "-").partition("-")[0], "").split()
    if words and words[-1][0] in _NUMERALS:
        return [re.compile(rf"(?<![{_NUMERALS}几第]){word}(?![{_NUMERALS}])") for word in words]
    return [re.compile(rf"(?<![\w-]){word}(?![\w-])", re.IGNORECASE) for word in words]
