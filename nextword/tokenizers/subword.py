"""Pieces of words, learned from text: byte-pair encoding and the unigram language model, both over bytes.

The text is cut by a pattern into words with their leading space, numbers, punctuation and white space; pieces never
cross a cut. Below that everything is bytes, so any text can be encoded and comes back exactly, whatever was trained on.

Sources: Sennrich et al. 2016 (BPE), Kudo 2018 (unigram), Radford et al. 2019 (bytes as the alphabet).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nextword.tokenizers.byte import byte_alphabet
from nextword.tokenizers.sample import sample

if TYPE_CHECKING:
    import tokenizers

# As GPT-4's pattern, and with combining marks counted as letters: in Devanagari or decomposed Latin a mark would
# otherwise cut every word. Numbers go in groups of three digits.
PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{M}\p{N}]?[\p{L}\p{M}]+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# While learning only, what is written without spaces is cut further. Otherwise each sentence is a "word" of its own:
# 48 MB of Chinese took 4.9 GB (tokenizers issue 1681). Encoding does not cut there, so no piece depends on where
# in a sentence it stands.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
_BEFORE = r"[^\p{L}\p{M}]?"  # the space, quote or bracket that PATTERN keeps with a word
_RUNS = (
    rf"{_BEFORE}[{_UNSPACED}]{{1,4}}|{_BEFORE}[[\p{{L}}\p{{M}}]&&[^{_UNSPACED}]]{{1,32}}"
    r"|[^\p{L}\p{M}]{1,16}"
)

# Learning stops gaining long before memory stops growing, so it reads a sample of at most this many bytes.
BPE_SAMPLE_BYTES = 32_000_000
UNIGRAM_SAMPLE_BYTES = 8_000_000


def train_bpe(texts: Iterable[str], size: int, min_frequency: int) -> tokenizers.Tokenizer:
    """Byte-pair encoding of at most `size` pieces, the 256 bytes included."""
    from tokenizers import models, trainers

    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=min_frequency,
        initial_alphabet=byte_alphabet(),
        show_progress=False,
    )
    return _train(models.BPE(), trainer, sample(texts, BPE_SAMPLE_BYTES))


def train_unigram(texts: Iterable[str], size: int) -> tokenizers.Tokenizer:
    """The unigram language model of at most `size` pieces, the 256 bytes included."""
    from tokenizers import models, trainers

    trainer = trainers.UnigramTrainer(vocab_size=size, initial_alphabet=byte_alphabet(), show_progress=False)
    tokenizer = _train(models.Unigram(), trainer, sample(texts, UNIGRAM_SAMPLE_BYTES))
    tokenizer.model = models.Unigram(_in_fixed_order(_pieces(tokenizer)))
    return tokenizer


def _train(model: Any, trainer: Any, texts: Iterable[str]) -> tokenizers.Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    words = Split(Regex(PATTERN), "isolated")
    to_bytes = ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.pre_tokenizer = Sequence([words, Split(Regex(_RUNS), "isolated"), to_bytes])
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = Sequence([words, to_bytes])
    return tokenizer


def _pieces(tokenizer: tokenizers.Tokenizer) -> list[tuple[str, float]]:
    import json

    return [(piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]


def _in_fixed_order(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """The same pieces, most probable first. The trainer leaves bytes it hardly saw in the order of a hash table."""
    floor = min((score for piece, score in pieces if len(piece) > 1), default=0.0)
    scores = {piece: round(score, 6) if score >= floor else round(floor - 1, 6) for piece, score in pieces}
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))
