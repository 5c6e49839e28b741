"""Pieces of words, learned from text: byte-pair encoding, and the rules that it shares with unigram.py.

The text is cut by a pattern into words with their leading space, numbers, punctuation and white space; pieces never
cross a cut. Below that everything is bytes, so any text can be encoded and comes back exactly, whatever was trained on.

Sources: Sennrich et al. 2016 (BPE), Radford et al. 2019 (bytes as the alphabet).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nextword.text.scripts import UNSPACED
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
_BEFORE = r"[^\p{L}\p{M}]?"  # the space, quote or bracket that PATTERN keeps with a word
_RUNS = (
    rf"{_BEFORE}[{UNSPACED}]{{1,4}}|{_BEFORE}[[\p{{L}}\p{{M}}]&&[^{UNSPACED}]]{{1,32}}"
    r"|[^\p{L}\p{M}]{1,16}"
)

# Learning stops gaining long before memory stops growing, so it reads a sample of at most this many bytes.
SAMPLE_BYTES = 32_000_000


def train_bpe(texts: Iterable[str], size: int, min_frequency: int) -> tokenizers.Tokenizer:
    """Byte-pair encoding of at most `size` pieces, the 256 bytes included."""
    from tokenizers import models, pre_tokenizers, trainers

    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=min_frequency,
        initial_alphabet=byte_alphabet(),
        show_progress=False,
    )
    tokenizer = byte_level(models.BPE())
    rules = tokenizer.pre_tokenizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts(learning=True), _to_bytes()])
    tokenizer.train_from_iterator(sample(texts, SAMPLE_BYTES), trainer)
    tokenizer.pre_tokenizer = rules
    return tokenizer


def byte_level(model: Any) -> tokenizers.Tokenizer:
    """A tokenizer that cuts text by PATTERN and hands the bytes of each cut to `model`."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers

    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts(learning=False), _to_bytes()])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def cuts(learning: bool) -> list[Any]:
    """The pre-tokenizers that cut text where no piece may cross."""
    from tokenizers import Regex, pre_tokenizers

    patterns = [PATTERN, _RUNS] if learning else [PATTERN]
    return [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]


def _to_bytes() -> Any:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
