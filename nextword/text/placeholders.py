"""Placeholders: what an answer has to say as its source does stands before a model as ①, ②, ..., on both sides.

Names, numbers and addresses are each too rare to be learned. So a model learns where they belong, and what they are is
put in afterwards: Luong et al. 2015 (Addressing the Rare Word Problem, 3.1, the copyable model); Hermann et al. 2015
(Teaching Machines to Read and Comprehend, the replacing of entities).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import regex  # type: ignore[import-untyped]

from nextword.text.records import Example
from nextword.text.scripts import UNSPACED
from nextword.text.terms import Span

SYMBOLS = "①②③④⑤⑥⑦⑧⑨"
"""One character each, so that any tokenizer has them."""

_JOINT = re.compile(rf"(?<=[{SYMBOLS}])(?=[\d{SYMBOLS}])|(?<=\d)(?=[{SYMBOLS}])")
_UNSPACED = regex.compile(rf"[{UNSPACED}]")


@dataclass(frozen=True)
class Hidden:
    """A text with placeholders."""

    text: str
    values: dict[str, str] = field(default_factory=dict)
    """What each stands for, as the answer is to say it; in the order of the text."""
    written: dict[str, str] = field(default_factory=dict)
    """The same, as the text has it."""
    unused: str = ""
    """Those that stand for nothing."""

    def restored(self, text: str) -> str:
        """Another text with the same placeholders, its values in it, apart from each other and from digits; those that
        stand for nothing are left out."""
        if set(self.unused) & set(text):
            text = re.sub(rf"\s*[{self.unused}]", "", text).strip()
        if self.values:
            text = _JOINT.sub(lambda joint: self._between(text, joint.start()), text)
        return text.translate({ord(symbol): value for symbol, value in self.values.items()})

    def _between(self, text: str, at: int) -> str:
        """What parts what ends there from what begins, one of them a value: nothing, where a script has no spaces."""
        sides = text[at - 1 : at + 1]
        if not all(one in self.values or one.isdecimal() for one in sides):  # a symbol that the text has itself
            return ""
        before, after = (self.values.get(one, one) for one in sides)
        edges = (before[-1], after[0])
        return "" if any(_UNSPACED.match(one) and not one.isnumeric() for one in edges) else " "


@dataclass(frozen=True)
class Hiding:
    """What a task hides behind placeholders, and how."""

    what: str
    """In words."""
    suits: Callable[[Iterable[str]], bool]
    """Whether the first of these prompts have enough of it for a model to learn placeholders from."""
    learned: Callable[[Example, Sequence[str]], Example]
    """An example as a model learns it; its languages are (from, to), or () where they are not known."""
    pair: Callable[[Example, str], Example]
    """An example as a run reads it that knows these symbols: with the same placeholders on both sides."""
    hidden: Callable[[str, Sequence[str], str], Hidden]
    """A prompt as such a run reads it; languages and symbols as above."""


def known_symbols(unknown: Callable[[str], object]) -> str:
    """The symbols of which a tokenizer does not tell that they are `unknown`: of little text it may lack some."""
    return "".join(symbol for symbol in SYMBOLS if not unknown(symbol))


def replaced(text: str, spans: Iterable[Span], names: Iterable[str]) -> str:
    """With the first name in place of the first span, and so on until one of them has no more.

    >>> replaced("In 1984 and 1985", [(3, 7), (12, 16)], "①②")
    'In ① and ②'
    """
    parts, at = [], 0
    for (start, stop), name in sorted(zip(spans, names, strict=False)):
        parts += [text[at:start], name]
        at = stop
    return "".join(parts) + text[at:]
