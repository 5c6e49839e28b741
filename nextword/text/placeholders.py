"""Placeholders: what a translation has to say as its source does stands before a model as ①, ②, ..., on both sides.

Numbers and addresses are each too rare to be learned, and are not to be translated. So a model learns where they
belong, and what they are is put in afterwards: Luong et al. 2015 (Addressing the Rare Word Problem, 3.1, the copyable
model); Post et al. 2019 (An Exploration of Placeholding in Neural Machine Translation).
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from hashlib import sha256

import regex  # type: ignore[import-untyped]

from nextword.text.number_words import number_words
from nextword.text.records import Example
from nextword.text.scripts import UNSPACED
from nextword.text.terms import ADDRESS, Span

SYMBOLS = "①②③④⑤⑥⑦⑧⑨"
"""One character each, so that any tokenizer has them; where a text has one itself, that is a value, too."""
PLAIN = 4
"""One pair in so many is learned as it is, by its hash: so a model knows numbers without placeholders, too."""
ADDED = 24
"""One pair in so many, of those without a number, gets one before it, or behind it, or both: numbers are rare in many
corpora, and several in one sentence more so."""

_PHONE = r"(?:\+|(?<!\d)0)\d+(?:[ -]\d+){2,}"
_GROUPED = r"\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)(?:[.,]\d+)?"  # 2 500
_WIDE_GROUPED = r"[０-９]{1,3}(?:，[０-９]{3})+(?!\d)"  # of 12，13 each is a number
_SIGN = r"(?:(?<![\w)\]])[-−+])?"
_NUMBER = rf"{_SIGN}(?:{_GROUPED}|{_WIDE_GROUPED}|\d+(?:[.,:/’'：．／-]\d+)*)"
_MYRIADS = {"万": 4, "百万": 6, "千万": 7, "亿": 8, "万亿": 12}
_MYRIAD = r"(\d+(?:[,，]\d{3})*(?:[.．]\d+)?)(万亿|萬億|[百千]?[万萬]|[亿億])"
_IN_MYRIADS = rf"{_SIGN}(?:{_MYRIAD}){{1,3}}(?![\d零])"  # 1亿2.5万 = 100,025,000
_VALUE = rf"{ADDRESS}|{_PHONE}|{_IN_MYRIADS}|{_NUMBER}|[{SYMBOLS}]"
_WIDE = str.maketrans("０１２３４５６７８９：，．／−萬億", "0123456789:,./-万亿")
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

    def hiding(self, text: str) -> str:
        """Another text with these placeholders for those of its values that they stand for.

        >>> hidden("Windows 11 of 2021").hiding("Windows 11, not 10")
        'Windows ①, not 10'
        """
        names = {_essence(value): symbol for symbol, value in reversed(self.values.items())}
        found = ((span, _essence(text[slice(*span)])) for span in _values(text))
        known = {span: names[value] for span, value in found if value in names}
        return _replaced(text, known, known.values())


def known_symbols(unknown: Callable[[str], object]) -> str:
    """The symbols of which a tokenizer does not tell that they are `unknown`: of little text it may lack some."""
    return "".join(symbol for symbol in SYMBOLS if not unknown(symbol))


def hidden(text: str, kept: Sequence[Span] = (), languages: Sequence[str] = (), symbols: str = SYMBOLS) -> Hidden:
    """A text with placeholders for its addresses, its numbers of two digits and more, and where it is to be `kept`: as
    many as there are `symbols`. Other numbers are said as the second of the `languages` writes them, if both are known.

    >>> hidden("In 1984, 2,500 came.", languages=("en", "fr")).text
    'In ①, ② came.'
    >>> hidden("In 1984, 2,500 came.").restored("② sont venus en ①.")
    '2,500 sont venus en 1984.'
    """
    found = _values(text, kept)[: len(symbols)]
    said = (text[slice(*span)] if span in kept else _said(text[slice(*span)], languages) for span in found)
    values = dict(zip(symbols, said, strict=False))
    return Hidden(_replaced(text, found, symbols), values, symbols[len(values) :])


def hidden_pair(example: Example, symbols: str = SYMBOLS) -> Example:
    """The same of a pair, as far as both sides have the same values. A pair that has a symbol itself stays as it is.

    >>> hidden_pair(Example("From 10 to 20.", "De 10 à vingt.")).target
    'De ① à vingt.'
    """
    if not symbols or not set(SYMBOLS).isdisjoint(example.prompt + example.target):
        return example
    there: dict[str, deque[Span]] = defaultdict(deque)
    for span in _values(example.target):
        there[_essence(example.target[slice(*span)])].append(span)
    here = ((span, there[_essence(example.prompt[slice(*span)])]) for span in _values(example.prompt))
    return _both_replaced(example, [(span, same.popleft()) for span, same in here if same], symbols)


def learned(example: Example, languages: Sequence[str] = ()) -> Example:
    """A pair as a model learns it that is to know placeholders: with those of `hidden_pair`; of the pairs without a
    number, some with one in place of a number in words, or at an end."""
    digest = sha256(f"{example.prompt}\n{example.target}".encode("utf-8", "surrogatepass")).digest()
    if digest[0] % PLAIN == 0:
        return example
    start = digest[1] % 4  # all of them are learned, the first most
    symbols = SYMBOLS[start:] + SYMBOLS[:start]
    found = hidden_pair(example, symbols)
    if found is not example or _values(example.prompt) or _values(example.target):
        return found
    if digest[2] % 2 and len(languages) == 2:
        found = _both_replaced(example, number_words(example.prompt, example.target, *languages), symbols)
    if found is not example or digest[3] % ADDED:
        return found
    first, last = (SYMBOLS[(digest[1] + i) % len(SYMBOLS)] for i in range(2))
    ends = [(first, ""), ("", last), (first, last)][digest[4] % 3]
    return replace(example, prompt=_with(example.prompt, *ends), target=_with(example.target, *ends))


def _both_replaced(example: Example, pairs: Sequence[tuple[Span, Span]], symbols: str) -> Example:
    """The same with symbols in place of what is at these places in prompt and target."""
    if not pairs:
        return example
    here, there = zip(*pairs, strict=True)
    return replace(
        example, prompt=_replaced(example.prompt, here, symbols), target=_replaced(example.target, there, symbols)
    )


def _with(text: str, before: str, behind: str) -> str:
    """A sentence with something more, if it is not "", at its beginning, and at its end before the punctuation."""
    at = _END.search(text).start()
    space = "" if regex.match(rf"[{UNSPACED}]", text[at - 1 :]) else " "
    return "".join([before, space * bool(before), text[:at], space * bool(behind), behind, text[at:]])


def _values(text: str, kept: Sequence[Span] = ()) -> list[Span]:
    """Where the values of a text stand, in order."""
    found = (match.span() for match in re.finditer(_VALUE, text) if not re.fullmatch(r"\D?\d", match[0]))
    apart = ((start, stop) for start, stop in found if all(stop <= low or high <= start for low, high in kept))
    return sorted([*kept, *apart])


def _essence(value: str) -> str:
    """What two values have in common that are the same: of numbers, the digits and the sign."""
    value = _written_out(value)
    if not re.fullmatch(_NUMBER, value):
        return value
    sign = "-" if value[0] in "-−" else ""
    return sign + re.sub(r"\D", "", value.translate(_WIDE))


def _replaced(text: str, spans: Iterable[Span], names: Iterable[str]) -> str:
    """With the first name in place of the first span, and so on until one of them has no more."""
    parts, at = [], 0
    for (start, stop), name in sorted(zip(spans, names, strict=False)):
        parts += [text[at:start], name]
        at = stop
    return "".join(parts) + text[at:]


# -- numbers in another language ---------------------------------------------------------------------------------------

_THIN = "\u202f"
_GROUPS = {
    "bg": _THIN, "ca": ".", "cs": _THIN, "da": ".", "de": ".", "el": ".", "es": ".", "et": _THIN, "eu": ".",
    "fi": _THIN, "fr": _THIN, "gl": ".", "hr": ".", "hu": _THIN, "id": ".", "is": ".", "it": ".", "lt": _THIN,
    "lv": _THIN, "nb": _THIN, "nl": ".", "nn": _THIN, "no": _THIN, "pl": _THIN, "pt": ".", "ro": ".", "ru": _THIN,
    "sk": _THIN, "sl": ".", "sr": ".", "sv": _THIN, "tr": ".", "uk": _THIN, "vi": ".",
}  # fmt: skip
"""What parts the thousands in languages that write 0,75 for 0.75 (Unicode CLDR; a thin space for any space of it)."""


def _written_out(value: str) -> str:
    """A number in 万 or 亿 without them; all else as it is.

    >>> _written_out("2.5万"), _written_out("-１２亿3万"), _written_out("25")
    ('25,000', '-1,200,030,000', '25')
    """
    if not re.fullmatch(_IN_MYRIADS, value):
        return value
    value = value.translate(_WIDE).replace(",", "")
    parts = (Decimal(number).scaleb(_MYRIADS[unit]) for number, unit in re.findall(_MYRIAD, value))
    whole = sum(parts, Decimal())
    return f"{'-' if value[0] == '-' else ''}{whole.normalize():,f}"


def _said(value: str, languages: Sequence[str]) -> str:
    """A number as the second language writes it; all else as it is.

    >>> _said("2,500.75", ("en", "fr")), _said("2 500,75", ("fr", "en")), _said("１２", ("zh", "en"))
    ('2\\u202f500,75', '2,500.75', '12')
    >>> _said("17:45", ("en", "fr")), _said("3.11.2", ("en", "fr")), _said("1984", ("en", "fr"))
    ('17:45', '3.11.2', '1984')
    >>> _said("2.5万", ("zh", "fr")), _said("2.5万", ("zh", "ja"))
    ('25\\u202f000', '2.5万')
    """
    if len(languages) == 2 and _language(languages[1]) not in ("zh", "yue", "ja"):
        value = _written_out(value)
    if re.fullmatch(_PHONE, value) or not re.fullmatch(_NUMBER, value):
        return value
    value = value.translate(_WIDE)
    if len(languages) < 2:
        return value
    group, other = (_GROUPS.get(_language(language), ",") for language in languages)
    mark, groups = (".", r"[, \u00a0\u202f]") if group == "," else (",", r"[. \u00a0\u202f]")
    match = re.fullmatch(rf"(\D?\d+|\D?\d{{1,3}}(?:{groups}\d{{3}})+)(?:{re.escape(mark)}(\d+))?", value)
    if match is None or group == other:
        return value
    whole = re.sub(r"(?<=\d)\D", other, match[1])
    return whole + (f"{'.' if other == ',' else ','}{match[2]}" if match[2] else "")


def _language(code: str) -> str:
    """Of "fr-CA", "fr"."""
    return code.lower().replace("_", "-").partition("-")[0]
