"""Placeholders: what a translation has to say as its source does stands before a model as ①, ②, ..., on both sides.

Numbers and addresses are each too rare to be learned, and are not to be translated. So a model learns where they
belong, and what they are is put in afterwards: Luong et al. 2015 (Addressing the Rare Word Problem, 3.1, the copyable
model); Post et al. 2019 (An Exploration of Placeholding in Neural Machine Translation).
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

import regex  # type: ignore[import-untyped]

from nextword.text.number_words import number_words
from nextword.text.records import Example
from nextword.text.scripts import UNSPACED
from nextword.text.terms import ADDRESS

SYMBOLS = "①②③④⑤⑥⑦⑧⑨"
"""One character each, so that any tokenizer has them; where a text has one itself, that is a value, too."""
PLAIN = 4
"""One pair in so many is learned as it is, by its hash: so a model knows numbers without placeholders, too."""
ADDED = 24
"""One pair in so many, of those without a number, gets one before it, or behind it, or both: numbers are rare in many
corpora, and several in one sentence more so."""

_GROUPED = r"\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)(?:[.,]\d+)?"  # 2 500
_NUMBER = rf"(?:(?<![\w)\]])[-−+])?(?:{_GROUPED}|\d+(?:[.,:/’'：．／-]\d+)*)"
_VALUE = rf"{ADDRESS}|{_NUMBER}|[{SYMBOLS}]"
_WIDE = str.maketrans("０１２３４５６７８９：．／", "0123456789:./")
_JOINT = re.compile(rf"(?<=[{SYMBOLS}])(?=[\d{SYMBOLS}])|(?<=\d)(?=[{SYMBOLS}])")
_END = regex.compile(r"[\p{P}\s]*$")


@dataclass(frozen=True)
class Hidden:
    """A text with placeholders."""

    text: str
    values: dict[str, str] = field(default_factory=dict)
    """What each stands for, as the translation is to say it; in the order of the text."""
    unused: str = ""
    """Those that stand for nothing."""

    def restored(self, text: str) -> str:
        """Another text with the same placeholders, its values in it, apart from each other and from digits; those that
        stand for nothing are left out."""
        if set(self.unused) & set(text):
            text = re.sub(rf"\s*[{self.unused}]", "", text).strip()
        if self.values:
            text = _JOINT.sub(" ", text)
        return text.translate({ord(symbol): value for symbol, value in self.values.items()})


def hidden(text: str, kept: Collection[str] = (), languages: Sequence[str] = ()) -> Hidden:
    """A text with placeholders for its addresses, its numbers of two digits and more, and what is to be `kept`: the
    first nine of them. Other numbers are said as the second of the `languages` writes them, if both are known.

    >>> hidden("In 1984, 2,500 came.", languages=("en", "fr")).text
    'In ①, ② came.'
    >>> hidden("In 1984, 2,500 came.").restored("② sont venus en ①.")
    '2,500 sont venus en 1984.'
    """
    found = _values(text, kept)[: len(SYMBOLS)]
    said = (match[0] if match[0] in kept else _said(match[0], languages) for match in found)
    values = dict(zip(SYMBOLS, said, strict=False))
    return Hidden(_replaced(text, zip(found, values, strict=True)), values, SYMBOLS[len(values) :])


def hidden_pair(example: Example, first: int = 0) -> Example:
    """The same of a pair, as far as both sides have the same values; the symbols count from number `first` on.

    >>> hidden_pair(Example("From 10 to 20.", "De 10 à vingt.")).target
    'De ① à vingt.'
    """
    there: dict[str, deque[re.Match[str]]] = defaultdict(deque)
    for match in _values(example.target):
        there[_essence(match[0])].append(match)
    pairs = [(match, there[key].popleft()) for match in _values(example.prompt) if there[key := _essence(match[0])]]
    return _both_replaced(example, pairs, first)


def learned(example: Example, languages: Sequence[str] = ()) -> Example:
    """A pair as a model learns it that is to know placeholders: with those of `hidden_pair`; of the pairs without a
    number, some with one in place of a number in words, or at an end."""
    digest = sha256(f"{example.prompt}\n{example.target}".encode()).digest()
    if digest[0] % PLAIN == 0:
        return example
    found = hidden_pair(example, digest[1] % 4)  # all of them are learned, the first most
    if found is not example or _values(example.prompt) or _values(example.target):
        return found
    if digest[2] % 2 and len(languages) == 2:
        found = _both_replaced(example, number_words(example.prompt, example.target, *languages), digest[1] % 4)
    if found is not example or digest[3] % ADDED:
        return found
    first, last = (SYMBOLS[(digest[1] + i) % len(SYMBOLS)] for i in range(2))
    ends = [(first, ""), ("", last), (first, last)][digest[4] % 3]
    return replace(example, prompt=_with(example.prompt, *ends), target=_with(example.target, *ends))


def _both_replaced(example: Example, pairs: Sequence[tuple[re.Match[str], re.Match[str]]], first: int) -> Example:
    """The same with placeholders from number `first` on in place of what is at these places in prompt and target."""
    if not pairs:
        return example
    names = [SYMBOLS[(first + i) % len(SYMBOLS)] for i in range(min(len(pairs), len(SYMBOLS)))]
    prompt, target = (
        _replaced(text, zip(side, names, strict=False))
        for text, side in zip((example.prompt, example.target), zip(*pairs, strict=True), strict=True)
    )
    return replace(example, prompt=prompt, target=target)


def _with(text: str, before: str, behind: str) -> str:
    """A sentence with something more, if it is not "", at its beginning, and at its end before the punctuation."""
    at = _END.search(text).start()
    space = "" if regex.match(rf"[{UNSPACED}]", text[at - 1 :]) else " "
    return "".join([before, space * bool(before), text[:at], space * bool(behind), behind, text[at:]])


def _values(text: str, kept: Iterable[str] = ()) -> list[re.Match[str]]:
    found = re.finditer("|".join([*map(re.escape, kept), _VALUE]), text)
    return [match for match in found if not re.fullmatch(r"\D?\d", match[0])]


def _essence(value: str) -> str:
    """What two values have in common that are the same: of numbers, the digits and the sign."""
    if not re.fullmatch(_NUMBER, value):
        return value
    sign = "-" if value[0] in "-−" else ""
    return sign + re.sub(r"\D", "", value.translate(_WIDE))


def _replaced(text: str, names: Iterable[tuple[re.Match[str], str]]) -> str:
    parts, at = [], 0
    for match, name in sorted(names, key=lambda one: one[0].start()):
        parts += [text[at : match.start()], name]
        at = match.end()
    return "".join(parts) + text[at:]


# -- numbers in another language ---------------------------------------------------------------------------------------

_COMMA = frozenset({
    "bg", "ca", "cs", "da", "de", "el", "es", "et", "eu", "fi", "fr", "gl", "hr", "hu", "id", "is", "it", "lt", "lv",
    "nb", "nl", "nn", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sr", "sv", "tr", "uk", "vi",
})  # fmt: skip
"""Languages that write 2 500,75 for 2,500.75 (Unicode CLDR)."""


def _said(value: str, languages: Sequence[str]) -> str:
    """A number as the second language writes it; all else as it is.

    >>> _said("2,500.75", ("en", "fr")), _said("2 500,75", ("fr", "en")), _said("１２", ("zh", "en"))
    ('2\\u202f500,75', '2,500.75', '12')
    >>> _said("17:45", ("en", "fr")), _said("3.11.2", ("en", "fr")), _said("1984", ("en", "fr"))
    ('17:45', '3.11.2', '1984')
    """
    if not re.fullmatch(_NUMBER, value):
        return value
    value = value.translate(_WIDE)
    if len(languages) < 2:
        return value
    comma, to_comma = (language.lower().replace("_", "-").partition("-")[0] in _COMMA for language in languages)
    mark, group = (",", r"[. \u00a0\u202f]") if comma else (".", r"[, \u00a0\u202f]")
    match = re.fullmatch(rf"(\D?\d+|\D?\d{{1,3}}(?:{group}\d{{3}})+)(?:[{mark}](\d+))?", value)
    if match is None or comma == to_comma:
        return value
    whole = re.sub(r"(?<=\d)\D", "\u202f" if to_comma else ",", match[1])
    return whole + (f"{',' if to_comma else '.'}{match[2]}" if match[2] else "")
