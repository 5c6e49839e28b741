"""Words as tokens: Unicode words, punctuation, line breaks; Chinese words as jieba finds them.

jieba reads the training text only. The words it found become a unigram model, whose best path through a stretch of
Chinese is what jieba computes too: the segmentation with the highest product of word frequencies. So the saved
tokenizer.json segments alike wherever the `tokenizers` library runs, without jieba. jieba's guesses at words outside
its dictionary (its HMM) are left out, since no table of words can repeat them: such names become characters.

Two marks in the vocabulary do the rest. Every other word is written `▁word▁`, so the unigram model matches it as a
whole or not at all, and what it can't match becomes one `<unk>`. Punctuation has a mark on the side where the text
has white space: `,▁`, `▁(`, `-`. Where two marks meet, decoding writes a space. So text comes back with its spacing,
except that runs of white space become one space, and spaces beside Han characters or full-width marks go.

Japanese and Thai, which write no spaces either, have no dictionary here: use `bpe` for them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nextword.text.chinese_words import segmenter
from nextword.tokenizers.char import UNK, rank
from nextword.tokenizers.sample import sample

if TYPE_CHECKING:
    import tokenizers

MARK = "▁"
SAMPLE_BYTES = 64_000_000  # of Chinese about a minute and 0.5 GB, by extrapolation from 30 MB: 20 s, 0.2 GB
# Inside a word an apostrophe is a letter, so that the mark `'` can't match a part of an unknown word.
APOSTROPHES = {"'": "\u02bc", "’": "\ua78c"}

_JOINERS = "\ufe00-\ufe0f\u20e3🏻-🏿"  # what follows an emoji and belongs to it
_LETTER = rf"[[\p{{L}}\p{{M}}\p{{N}}]&&[^\p{{Han}}{_JOINERS}]]"
_SPACED = rf"[^\s\p{{L}}\p{{M}}\p{{N}}\p{{Han}}\u3000-\u303f\uff00-\uffef{_JOINERS}\u200d{MARK}]"  # may have marks
_SYMBOL = rf"(?:[🇦-🇿]{{2}}|([^\s{MARK}])(?:[{_JOINERS}]|\u200d[^\s{MARK}])+|([^\s{MARK}])\2*)"  # 👩‍🚀 and ... are one
_TOKEN = rf"{MARK}{_LETTER}+{MARK}|\p{{Han}}+|\n|{MARK}?{_SYMBOL}(?:{MARK}(?!{_LETTER}))?"
_EDGE = rf"(?<!{_LETTER})(?={_LETTER})|(?<={_LETTER})(?!{_LETTER})|(?<!\S)(?={_SPACED})|(?<={_SPACED})(?!\S)"


def train_whitespace(
    texts: Iterable[str], size: int, min_frequency: int, reserved: Iterable[str]
) -> tokenizers.Tokenizer:
    """Words are what stands between white space, at most `size` with `<unk>` (id 0): for text tokenized already.

    `<unk>` in the text is the unknown word. `reserved` names of special tokens are no words, even if the text has them.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers

    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text.split())
    for name in reserved:
        del counts[name]
    tokenizer = Tokenizer(models.WordLevel(rank(counts, size, min_frequency), unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer  # without a decoder, tokens are joined by single spaces


def train_words(texts: Iterable[str], size: int, min_frequency: int) -> tokenizers.Tokenizer:
    """At most `size` words, marks and `<unk>` (id 0), the most frequent of a sample first."""
    import regex  # type: ignore[import-untyped]
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.Unigram([(UNK, 0.0)], unk_id=0))
    _set_rules(tokenizer)
    han = regex.compile(r"\p{Han}")
    runs: Counter[str] = Counter()  # each different stretch of Chinese is segmented once
    counts: Counter[str] = Counter()
    for text in sample(texts, SAMPLE_BYTES):
        for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            (runs if han.match(piece) else counts)[piece] += 1
    chinese = _chinese_words(runs)
    counts.update(chinese)
    kept = rank(counts, size, min_frequency)
    # A Chinese word too rare for the vocabulary falls apart into characters, which are the more frequent for it.
    for word in chinese.keys() - kept.keys():
        for character in word if len(word) > 1 else ():
            counts[character] += chinese[word]
    kept = rank(counts, size, min_frequency)
    tokenizer.model = models.Unigram(_scores(kept, chinese), unk_id=0)
    return tokenizer


def _chinese_words(runs: Counter[str]) -> Counter[str]:
    """Stretches of Chinese with counts -> their words with counts."""
    words: Counter[str] = Counter()
    for run, count in runs.items():
        for word in segmenter().lcut(run, HMM=False):
            words[word] += count
    return words


def _scores(vocab: Iterable[str], chinese: Counter[str]) -> list[tuple[str, float]]:
    """Log-probabilities: of Chinese words those of jieba's dictionary, so that the best path is jieba's.

    Anything else has one path only, whatever its score. Rounded, so that the file is the same on every machine.
    """
    dictionary: dict[str, int] = segmenter().dt.FREQ if chinese else {}
    total = sum(dictionary.values()) or 1
    return [(word, round(math.log((dictionary.get(word) or 1) / total), 6)) for word in vocab]


def _set_rules(tokenizer: tokenizers.Tokenizer) -> None:
    """How text becomes marked words, and how they are joined again."""
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(MARK, "_"),
            *(
                normalizers.Replace(Regex(rf"(?<={_LETTER}){mark}(?={_LETTER})"), letter)
                for mark, letter in APOSTROPHES.items()
            ),
            normalizers.Replace(Regex(_EDGE), MARK),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\S\n]+"), "removed"),
            pre_tokenizers.Split(Regex(_TOKEN), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(UNK, f"{MARK}{UNK}{MARK}"),
            decoders.Fuse(),
            decoders.Replace(MARK + MARK, " "),
            decoders.Replace(MARK, ""),
            *(decoders.Replace(letter, mark) for mark, letter in APOSTROPHES.items()),
        ]
    )
