"""Who speaks in a chat, a text whose lines begin with a name and a colon: names that stand as ①, ②, ... before a model.

Who does what is told by where names stand, not by which they are; so a summary is learned for all names at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import regex  # type: ignore[import-untyped]

from nextword.text.placeholders import SYMBOLS, Hidden, Hiding
from nextword.text.records import Example
from nextword.text.terms import whole

LOOKED_AT = 100
"""So many texts tell whether a corpus is of chats."""

_TIME = regex.compile(
    r"(?i)(?:(?:[上下中]午|午[前後]|凌晨|早上|晚上|오[전후])\s?|(?<![\p{L}\p{N}]))"
    r"\d{1,2}[:：]\d\d(?:[:：]\d\d)?(?:\s?[ap]\.?\s?m\b\.?)?"
)
_LINE = regex.compile(r"[^\p{L}]*(\p{L}[^:：(（\[]{0,29})(?:[(（\[][^:：]{0,29})?[:：](?!//)")  # Ann (laughing): ...
_WORD = r"(?<![\p{L}\p{M}\p{N}])(?!\p{Ll})\p{L}(?:['’_-]?[\p{L}\p{M}\p{N}])+"
_NAME = regex.compile(rf"{_WORD}(?: {_WORD})*")


def speakers(text: str) -> list[str]:
    """The names of those who speak, in order; none unless the text is a chat, where half of the lines, and two at
    least, tell who speaks. Words in small letters are none, nor is a single character: they are everywhere in a text.

    >>> speakers("Ann Lee: Hi!\\nBob: Hello.\\nAnn Lee: It's 10:30.")
    ['Ann Lee', 'Bob']
    >>> speakers("小明：你好\\n小红：你好")
    ['小明', '小红']
    >>> speakers("Note: this is a text.")
    []
    """
    lines = [line for line in text.splitlines() if line.strip()]
    told = [match[1] for line in lines if (match := _LINE.match(_TIME.sub("", line)))]
    if len(told) < 2 or 2 * len(told) < len(lines):
        return []
    return list(dict.fromkeys(name for one in dict.fromkeys(told) for name in _NAME.findall(one)))


def with_symbols(text: str, names: Mapping[str, str]) -> str:
    """A text with symbols in place of `names`, symbol -> name, where they are whole words; and in place of a part of a
    name, if it is a part of no other.

    >>> with_symbols("Ann's aunt Anna", {"①": "Ann Lee"})
    "①'s aunt Anna"
    """
    if not names:
        return text
    parts = [(part, symbol) for symbol, name in names.items() for part in _parts(name)]
    shared = Counter(part for part, _ in parts)
    symbols = {part: symbol for part, symbol in parts if shared[part] == 1}
    symbols |= {name: symbol for symbol, name in names.items()}
    pattern = "|".join(map(whole, sorted(symbols, key=len, reverse=True)))
    return str(regex.sub(pattern, lambda match: symbols[match[0]], text))  # many times as fast as `re` with this one


def _parts(name: str) -> set[str]:
    """What a name of several words may be shortened to."""
    words = name.split(" ")
    return {" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)} - {name}


def are_chats(texts: Iterable[str]) -> bool:
    """Whether most of the first of these texts are chats."""
    found = [bool(speakers(text)) for text in islice(texts, LOOKED_AT)]
    return 2 * sum(found) > len(found)


def hidden(text: str, languages: Sequence[str] = (), symbols: str = SYMBOLS) -> Hidden:
    """A text with symbols in place of the names of those who speak in it: as many as there are `symbols` that it does
    not have itself. A part of a name comes back as the whole. Names are the same in all `languages`."""
    free = "".join(symbol for symbol in symbols if symbol not in text)
    names = dict(zip(free, speakers(text), strict=False))
    return Hidden(with_symbols(text, names), names, names, free[len(names) :])


def hidden_pair(example: Example, symbols: str = SYMBOLS) -> Example:
    """The same of a pair: names of those who speak in the prompt. A pair that has a symbol itself stays as it is.

    >>> hidden_pair(Example("Ann: Lunch?\\nBob: Yes!", "Ann and Bob have lunch.")).target
    '① and ② have lunch.'
    """
    if not set(SYMBOLS).isdisjoint(example.prompt + example.target):
        return example
    shown = hidden(example.prompt, symbols=symbols)
    return replace(example, prompt=shown.text, target=with_symbols(example.target, shown.values))


SPEAKERS = Hiding(
    "the names of those who speak", are_chats, lambda example, languages: hidden_pair(example), hidden_pair, hidden
)
