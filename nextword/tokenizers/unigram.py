"""The unigram language model: text is cut into the pieces whose product of probabilities is highest.

It is learned by starting from far too many pieces and dropping those that the best cuts seldom use. The trainer is
ours because the library's counts every different word once when it looks for candidates, however frequent it is. So
it misses " and" and " ,", and needs a fifth more tokens than BPE where this needs no more.

Source: Kudo 2018, https://arxiv.org/abs/1804.10959, with two simplifications: pieces are counted in the best cut alone
(Viterbi training), and a piece is worth its count rather than the likelihood that is lost without it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from nextword.tokenizers.byte import byte_alphabet
from nextword.tokenizers.sample import sample
from nextword.tokenizers.subword import byte_level, cuts

if TYPE_CHECKING:
    import tokenizers

SAMPLE_BYTES = 16_000_000
LONGEST = 16  # characters in a piece
SEEDS = 8  # candidates to begin with, for each piece wanted
KEPT = 0.75  # share of the candidates left each time they are thinned out
_BYTES = byte_alphabet()


def train_unigram(texts: Iterable[str], size: int, min_frequency: int) -> tokenizers.Tokenizer:
    """At most `size` pieces, the 256 bytes included; none but bytes that was seen fewer than `min_frequency` times."""
    from tokenizers import models

    words = _words(texts)
    counts = _candidates(words, SEEDS * size, max(2, min_frequency))
    spelt = {_spell(word): count for word, count in words.items()}
    while len(counts) > size:
        counts = _uses(spelt, counts)
        counts = _most_used(counts, max(size, int(KEPT * len(counts))))
    for _ in range(2):  # the probabilities settle after the last cut
        counts = _uses(spelt, counts)
    return byte_level(models.Unigram(_scores(counts)))


def _words(texts: Iterable[str]) -> Counter[str]:
    from tokenizers import pre_tokenizers

    cut = pre_tokenizers.Sequence(cuts(learning=True))
    words: Counter[str] = Counter()
    for text in sample(texts, SAMPLE_BYTES):
        words.update(word for word, _ in cut.pre_tokenize_str(text))
    return words


def _candidates(words: Mapping[str, int], limit: int, least: int) -> dict[str, int]:
    """Piece -> count: all bytes, and the `limit` parts of words that cover most text. Parts are whole characters."""
    parts: Counter[str] = Counter()
    letters: Counter[int] = Counter(dict.fromkeys(range(256), 0))
    for word, count in words.items():
        for byte in word.encode():
            letters[byte] += count
        for start in range(len(word)):
            for end in range(start + 1, min(len(word), start + LONGEST) + 1):
                parts[word[start:end]] += count
    frequent = [part for part, count in parts.items() if count >= least and len(part.encode()) > 1]
    frequent.sort(key=lambda part: (-parts[part] * len(part), part))
    return {_BYTES[byte]: count for byte, count in letters.items()} | {
        _spell(part): parts[part] for part in frequent[:limit]
    }


def _uses(words: Mapping[str, int], counts: Mapping[str, int]) -> dict[str, int]:
    """How often each piece stands in the best cuts of the words; what is never used is gone, unless it is a byte."""
    from tokenizers import Tokenizer, models

    scores = _scores(counts)
    cutter = Tokenizer(models.Unigram(scores))
    uses: Counter[int] = Counter()
    spelt = list(words)
    for start in range(0, len(spelt), 8192):
        batch = spelt[start : start + 8192]
        for word, found in zip(batch, cutter.encode_batch_fast(batch), strict=True):
            for id in found.ids:
                uses[id] += words[word]
    return dict.fromkeys(_BYTES, 0) | {scores[id][0]: count for id, count in uses.items()}


def _most_used(counts: Mapping[str, int], size: int) -> dict[str, int]:
    """All bytes, and of the rest the most used, `size` together."""
    longer = sorted(counts.keys() - {*_BYTES}, key=lambda piece: (-counts[piece], piece))
    return {piece: counts[piece] for piece in [*_BYTES, *longer[: size - len(_BYTES)]]}


def _scores(counts: Mapping[str, int]) -> list[tuple[str, float]]:
    """Log-probabilities, the highest first; rounded, so that the file is the same on every machine."""
    total = sum(counts.values())
    scores = ((piece, round(math.log(max(count, 0.5) / total), 6)) for piece, count in counts.items())
    return sorted(scores, key=lambda pair: (-pair[1], pair[0]))


def _spell(text: str) -> str:
    return "".join([_BYTES[byte] for byte in text.encode()])
