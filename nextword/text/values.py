"""Numbers and addresses of a translation, which stand as ①, ②, ... before a model.

They are not to be translated, but said as the other language writes them: Post et al. 2019 (An Exploration of
Placeholding in Neural Machine Translation).
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

import regex  # type: ignore[import-untyped]

from nextword.text.number_words import number_words
from nextword.text.numerals import NUMERAL, essence, said_in
from nextword.text.placeholders import SYMBOLS, Hidden, Hiding, replaced
from nextword.text.records import Example
from nextword.text.scripts import UNSPACED
from nextword.text.terms import ADDRESS, Span

PLAIN = 4
"""One pair in so many is learned as it is, by its hash: so a model knows numbers without placeholders, too."""
ADDED = 24
"""One pair in so many, of those without a number, gets one before it, or behind it, or both: numbers are rare in many
corpora, and several in one sentence more so."""

_VALUE = rf"{ADDRESS}|{NUMERAL}|[{SYMBOLS}]"
_END = regex.compile(r"[\p{P}\s]*$")


def hidden(text: str, languages: Sequence[str] = (), symbols: str = SYMBOLS, kept: Sequence[Span] = ()) -> Hidden:
    """A text with placeholders for its addresses, its numbers of two digits and more, symbols that it has itself, and
    where it is to be `kept`: as many as there are `symbols`. Other numbers are said as the second of the `languages`
    writes them, if both are known.

    >>> hidden("In 1984, 2,500 came.", languages=("en", "fr")).text
    'In ①, ② came.'
    >>> hidden("In 1984, 2,500 came.").restored("② sont venus en ①.")
    '2,500 sont venus en 1984.'
    """
    spans = dict(zip(symbols, _values(text, kept), strict=False))
    written = {symbol: text[slice(*span)] for symbol, span in spans.items()}
    values = {
        symbol: written[symbol] if span in kept else said_in(written[symbol], languages)
        for symbol, span in spans.items()
    }
    return Hidden(replaced(text, spans.values(), spans), values, written, symbols[len(spans) :])


def hiding(shown: Hidden, text: str) -> str:
    """Another text with the placeholders of one that is `shown`, for those of its values that they stand for.

    >>> hiding(hidden("Windows 11 of 2021"), "Windows 11, not 10")
    'Windows ①, not 10'
    """
    names = {essence(value): symbol for symbol, value in reversed(shown.values.items())}
    found = ((span, essence(text[slice(*span)])) for span in _values(text))
    known = {span: names[value] for span, value in found if value in names}
    return replaced(text, known, known.values())


def hidden_pair(example: Example, symbols: str = SYMBOLS) -> Example:
    """The same of a pair, as far as both sides have the same values. A pair that has a symbol itself stays as it is.

    >>> hidden_pair(Example("From 10 to 20.", "De 10 à vingt.")).target
    'De ① à vingt.'
    """
    if not symbols or not set(SYMBOLS).isdisjoint(example.prompt + example.target):
        return example
    there: dict[str, deque[Span]] = defaultdict(deque)
    for span in _values(example.target):
        there[essence(example.target[slice(*span)])].append(span)
    here = ((span, there[essence(example.prompt[slice(*span)])]) for span in _values(example.prompt))
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
        example, prompt=replaced(example.prompt, here, symbols), target=replaced(example.target, there, symbols)
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


VALUES = Hiding("numbers and addresses", lambda prompts: True, learned, hidden_pair, hidden)
