"""Words as tokens: Unicode words and single punctuation marks; Chinese words as jieba finds them.

jieba reads the training text only. What it found becomes a unigram model, whose best path through a line of Chinese
is what jieba's own dictionary look-up computes: the segmentation with the highest product of word frequencies. So
the saved tokenizer.json segments alike wherever the `tokenizers` library runs.

Other words carry a mark on both sides. The unigram model can then match a word as a whole or not at all, never a part
of it, and what it can't match becomes one `<unk>`. Letters that are not Han are taken to be written with spaces.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nextword.tokenizers.char import UNK, rank

if TYPE_CHECKING:
    import tokenizers

MARK = "▁"
_LETTER = r"[[\p{L}\p{M}\p{N}]&&[^\p{Han}]]"
_APOSTROPHE = "\u02bc"  # the modifier letter: inside a word it is a letter, as in don't


def train_words(texts: Iterable[str], size: int, min_frequency: int, split: str) -> tokenizers.Tokenizer:
    """At most `size` entries, `<unk>` (id 0) included. `split` is "unicode" or "whitespace"."""
    return (
        _train_whitespace(texts, size, min_frequency) if split == "whitespace" else _train(texts, size, min_frequency)
    )


def _train_whitespace(texts: Iterable[str], size: int, min_frequency: int) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer, models, pre_tokenizers

    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text.split())
    tokenizer = Tokenizer(models.WordLevel(rank(counts, size, min_frequency), unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer  # without a decoder, tokens are joined by single spaces


def _train(texts: Iterable[str], size: int, min_frequency: int) -> tokenizers.Tokenizer:
    import regex  # type: ignore[import-untyped]
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.Unigram([(UNK, 0.0)], unk_id=0))
    _set_rules(tokenizer)
    han = regex.compile(r"\p{Han}")
    runs: Counter[str] = Counter()  # each different stretch of Chinese is segmented once
    counts: Counter[str] = Counter()
    for text in texts:
        for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            (runs if han.match(piece) else counts)[piece] += 1
    for run, count in runs.items():
        for word in _segment(run):
            counts[word] += count
    del counts[MARK]
    words = rank(counts, size, min_frequency)
    # A rare Chinese word falls apart into characters that are known from elsewhere.
    total = counts.total() or 1
    scores = [(word, round(math.log(counts[word] / total), 6) if word in counts else 0.0) for word in words]
    tokenizer.model = models.Unigram(scores, unk_id=0)
    return tokenizer


def _segment(run: str) -> list[str]:
    import jieba

    jieba.setLogLevel(logging.ERROR)  # it announces on stderr that it loads its dictionary
    return list(jieba.cut(run))


def _set_rules(tokenizer: tokenizers.Tokenizer) -> None:
    """How text becomes marked words, and how they are joined again."""
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(rf"(?<={_LETTER})['’](?={_LETTER})"), _APOSTROPHE),
            normalizers.Replace(Regex(rf"(?<!{_LETTER})(?={_LETTER})"), MARK),
            normalizers.Replace(Regex(rf"(?<={_LETTER})(?!{_LETTER})"), MARK),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s+"), "removed"),
            pre_tokenizers.Split(Regex(rf"{MARK}{_LETTER}+{MARK}|\p{{Han}}+|[\s\S]"), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(UNK, f"{MARK}{UNK}{MARK}"),
            decoders.Fuse(),
            decoders.Replace(MARK + MARK, " "),
            decoders.Replace(Regex(rf"(?<=[,.;:!?%)\]}}…]){MARK}"), " "),  # a word after what closes
            decoders.Replace(Regex(rf"{MARK}(?=[(\[{{])"), " "),  # what opens, after a word
            decoders.Replace(MARK, ""),
            decoders.Replace(_APOSTROPHE, "'"),
        ]
    )
