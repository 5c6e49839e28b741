"""Which pairs of a corpus are no translations of each other, as far as that can be seen: each with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from pydantic import Field

from nextword.config import Config
from nextword.metrics.summaries import words
from nextword.text.duplicates import ExactDuplicates, normalised
from nextword.text.records import Example, Record
from nextword.text.scripts import script_of, share_in

GRACE = 5
"""Words that one side may have more whatever the ratio: "Merci" is "Thank you very much"."""
LOOKED_AT = 1000
"""Pairs by which the scripts of a corpus are told."""
JAPANESE = ("Han", "Hiragana", "Katakana")

Pair = tuple[Record, Example]


class PairFilter(Config):
    """What a pair has to be."""

    max_ratio: float = Field(default=3.0, ge=1)
    """Words of the longer side for one of the shorter; a Chinese character counts as a word."""
    max_words: int = Field(default=200, ge=1)
    """Of either side."""
    source_script: str = ""
    """Most letters of a source are in it: Latin, Han, Cyrillic, ...; "" = that of most sources."""
    target_script: str = ""
    """Likewise of a target."""
    duplicates: bool = False
    """Keep pairs that were there before."""


def reasons(pairs: Iterable[Pair], config: PairFilter) -> Iterator[tuple[Pair, str]]:
    """Each pair with the first reason against it, "" for one to be kept.

    The reasons are `empty`, `identical`, `length` (more than max_words), `ratio`, `script` and `duplicate`.
    """
    pairs = iter(pairs)
    head = list(islice(pairs, LOOKED_AT))
    source_scripts = _scripts(config.source_script, [pair.prompt for _, pair in head])
    target_scripts = _scripts(config.target_script, [pair.target for _, pair in head])
    seen = ExactDuplicates()
    for pair in chain(head, pairs):
        example = pair[1]
        reason = _reason(example, config, source_scripts, target_scripts)
        if not reason and not config.duplicates and seen.add(f"{example.prompt}\n\x00{example.target}"):
            reason = "duplicate"
        yield pair, reason


def _reason(example: Example, config: PairFilter, source_scripts: list[str], target_scripts: list[str]) -> str:
    if not (example.prompt and example.target):
        return "empty"
    if normalised(example.prompt) == normalised(example.target):
        return "identical"
    lengths = sorted((len(words(example.prompt)), len(words(example.target))))
    if lengths[1] > config.max_words:
        return "length"
    if lengths[1] > config.max_ratio * lengths[0] + GRACE:
        return "ratio"
    for text, scripts in ((example.prompt, source_scripts), (example.target, target_scripts)):
        if scripts and script_of(text) and share_in(text, scripts) < 0.5:
            return "script"
    return ""


def _scripts(given: str, texts: Sequence[str]) -> list[str]:
    """The script asked for, or the commonest one; Japanese is written in three."""
    if not given:
        given = script_of("".join(texts))
        if not given:
            return []
        if share_in("".join(texts), ["Hiragana", "Katakana"]) > 0.1:
            return list(JAPANESE)
    return [given]
