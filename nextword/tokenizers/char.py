"""Characters as tokens: one Unicode code point each, the most frequent first.

A model of a text and its alphabet, nothing to tune. An emoji of several code points is several tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tokenizers

UNK = "<unk>"


def train_char(texts: Iterable[str], size: int | None, min_frequency: int) -> tokenizers.Tokenizer:
    """At most `size` entries, `<unk>` (id 0) included; None: every character seen `min_frequency` times."""
    from tokenizers import Tokenizer, decoders, models

    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    # BPE without merges is a table of characters, and several times faster than WordLevel behind a Split.
    model = models.BPE(vocab=rank(counts, size, min_frequency), merges=[], unk_token=UNK, fuse_unk=False)
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def rank(counts: Counter[str], size: int | None, min_frequency: int) -> dict[str, int]:
    """Token -> id: `<unk>`, then the most frequent first, ties in order of code points.

    >>> rank(Counter("banana"), size=3, min_frequency=1)
    {'<unk>': 0, 'a': 1, 'n': 2}
    """
    kept = (t for t, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if n >= min_frequency)
    vocab = {UNK: 0}
    for token in kept:
        if size is not None and len(vocab) == size:
            break
        vocab.setdefault(token, len(vocab))
    return vocab
