"""Which word of a source each word of its translation comes from, by what the model attends to as it writes.

A translation is read again, whole, beside its source: so a text by hand can be aligned as well as one by the model. A
word of it is linked to the word of the source whose tokens get most of the attention of its own. Words are what stands
between spaces; in a script without them, characters.

Shapes: B pairs, T tokens of a translation, S of a source.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

import regex  # type: ignore[import-untyped]
import torch
from torch import Tensor

from nextword.applied.answers import fitted
from nextword.errors import UsageError
from nextword.generator import TextGenerator
from nextword.models.source import filled
from nextword.scoring import boundary_id
from nextword.text.scripts import UNSPACED
from nextword.tokenizers import Tokenizer

PAIRS = 64
"""Read in one batch."""
_WORD = regex.compile(rf"[{UNSPACED}]|(?:(?![{UNSPACED}])\S)+")


@dataclass(frozen=True)
class Alignment:
    """Of one text and its translation."""

    source: list[str]
    """Its words."""
    target: list[str]
    links: list[tuple[int, int, float]]
    """(word of the source, word of the target, the share of the attention of the second that goes to the first; 1 of a
    value that stands in both), in the order of the target."""

    def pharaoh(self) -> str:
        """Pairs of numbers from 0, as translation systems since Pharaoh (Koehn 2004) read and write them.

        >>> Alignment(["good", "night"], ["晚", "安"], [(1, 0, 0.9), (0, 1, 0.8)]).pharaoh()
        '1-0 0-1'
        """
        return " ".join(f"{source}-{target}" for source, target, _ in self.links)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        links = [{"source": source, "target": target, "share": round(share, 4)} for source, target, share in self.links]
        return {"source": self.source, "target": self.target, "links": links}

    def pinned(self, symbols: Collection[str]) -> Alignment:
        """With each word that has one of these symbols linked to the first of the source that has it, for certain.

        >>> Alignment(["at", "①"], ["①", "时"], [(0, 0, 0.6), (1, 1, 0.9)]).pinned("①").links
        [(1, 0, 1.0), (1, 1, 0.9)]
        """
        at = {one: here for here, word in reversed([*enumerate(self.source)]) for one in word if one in symbols}
        links = {there: (here, there, share) for here, there, share in self.links}
        links |= {there: (at[one], there, 1.0) for there, word in enumerate(self.target) for one in word if one in at}
        return Alignment(self.source, self.target, [links[there] for there in sorted(links)])

    def spelled_out(self, source: Sequence[Sequence[str]], target: Sequence[Sequence[str]]) -> Alignment:
        """With one or more words in place of each: where two are linked, those of the target are linked in order.

        >>> one = Alignment(["in", "①"], ["①", "里"], [(1, 0, 0.9)])
        >>> one.spelled_out([["in"], ["New", "York"]], [["纽", "约"], ["里"]])
        Alignment(source=['in', 'New', 'York'], target=['纽', '约', '里'], links=[(1, 0, 0.9), (2, 1, 0.9)])
        """
        begin_here, begin_there = (list(accumulate(map(len, side), initial=0)) for side in (source, target))
        links = [
            (begin_here[here] + i * len(source[here]) // len(target[there]), begin_there[there] + i, share)
            for here, there, share in self.links
            for i in range(len(target[there]))
        ]
        return Alignment([*chain(*source)], [*chain(*target)], links)


def words(text: str) -> list[str]:
    """Of a text, in order."""
    return _WORD.findall(text)


def together(parts: Sequence[Alignment]) -> Alignment:
    """Of the sentences of a text, that of the text."""
    whole = Alignment([], [], [])
    for part in parts:
        before = len(whole.source), len(whole.target)
        whole.links.extend((before[0] + source, before[1] + target, share) for source, target, share in part.links)
        whole.source.extend(part.source)
        whole.target.extend(part.target)
    return whole


def align(generator: TextGenerator, pairs: Sequence[tuple[str, str]]) -> list[Alignment]:
    """Of each (source, translation). What the model's context cannot hold gets no links.

    Raises UsageError for a model that does not attend to a source by itself.
    """
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]))  # of like length, with little padding
    found: dict[int, Alignment] = {}
    for at in range(0, len(order), PAIRS):
        some = order[at : at + PAIRS]
        found |= zip(some, _aligned(generator, [pairs[i] for i in some]), strict=True)
    return [found[i] for i in range(len(pairs))]


@torch.inference_mode()
def _aligned(generator: TextGenerator, pairs: Sequence[tuple[str, str]]) -> list[Alignment]:
    model, tokenizer = generator.model, generator.tokenizer
    start, end = boundary_id(tokenizer), tokenizer.eos_id
    pairs = [(generator.as_prompt(source), target) for source, target in pairs]
    sources = [fitted(generator, source)[0][1:] for source, _ in pairs]
    targets = [tokenizer.encode(target)[: model.max_seq_len] for _, target in pairs]
    attention = model.attention_to_source(
        filled([[start, *ids[:-1]] for ids in targets], model.device),
        filled([[*ids, end] for ids in sources], model.device),
        torch.tensor([len(ids) + 1 for ids in sources], device=model.device),
    )  # (B, T, S)
    if attention is None:
        raise UsageError(
            f"this model ({model.config.type}) does not attend to a source by itself: nothing tells what comes whence",
            hint="Train one with --model encoder-decoder",
        )
    return [
        _of_words(tokenizer, pair, weights[: len(target), : len(source)])
        for pair, source, target, weights in zip(pairs, sources, targets, attention.float().cpu(), strict=True)
    ]


def _of_words(tokenizer: Tokenizer, pair: tuple[str, str], weights: Tensor) -> Alignment:
    """From the attention (T, S) of tokens to tokens to the links of words."""
    source, target = Words(tokenizer.source, pair[0]), Words(tokenizer, pair[1])
    by = target.of_tokens[: weights.size(0)]  # (T, words)
    shares = by.T @ weights @ source.of_tokens[: weights.size(1)] / by.sum(0).clamp(min=1)[:, None]
    if not shares.numel():
        return Alignment(source.texts, target.texts, [])
    best = shares.max(1)
    links = zip(best.indices.tolist(), range(len(target.texts)), best.values.tolist(), strict=True)
    return Alignment(source.texts, target.texts, [link for link in links if link[2] > 0])


class Words:
    """The words of a text, and which of them each of its tokens belongs to."""

    def __init__(self, tokenizer: Tokenizer, text: str) -> None:
        found = list(_WORD.finditer(text))
        self.texts = [match[0] for match in found]
        word_at = {at: number for number, match in enumerate(found) for at in range(*match.span())}
        spans = tokenizer.spans(text)
        self.of_tokens = torch.zeros(len(spans), len(found))
        """(tokens, words) 1 where a token stands in a word: the last, of one that stands in several."""
        for token, (_, stop) in enumerate(spans):
            if stop - 1 in word_at:
                self.of_tokens[token, word_at[stop - 1]] = 1.0
