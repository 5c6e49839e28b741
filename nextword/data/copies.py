"""How much of a text was copied from a corpus of token files: by a model that learned it by heart, or by who split it.

The measure is `metrics.copying`; here it is said what counts as a copy, and against what the share is to be judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nextword.data.token_files import Ids, TokenFiles
from nextword.metrics.copying import Copied, copied

if TYPE_CHECKING:
    from nextword.data.mixture import Mixture
    from nextword.tokenizers import Tokenizer

SPAN_BYTES = 32
"""Spans of about this much text count as copied: six English words or eleven ideographs, two lines of a Tang poem.
Texts by different hands share most of what is shorter and little of what is longer: of novel text, n-grams beyond
five words are mostly new (McCoy et al. 2023, "How much do language models copy from their training data?")."""
HELD_OUT_PARTS, HELD_OUT_TOKENS = 16, 256  # 4,096 tokens in all, from all over a split


def least_span(files: TokenFiles | Mixture) -> int:
    """Tokens of the shortest span that counts as copied: SPAN_BYTES of the corpus's text, and at least 3."""
    bytes_per_token = files.counts.target_bytes / max(files.counts.loss_tokens, 1)
    return max(3, round(SPAN_BYTES / max(bytes_per_token, 1e-9)))


def copied_from(files: TokenFiles | Mixture, ids: Ids | list[int]) -> Copied:
    """What of `ids` stands in a corpus, in spans of `least_span` tokens and more. 0.5 s for ten million tokens."""
    return copied(ids, files.pieces(), least_span(files))


def copied_text_from(files: TokenFiles | Mixture, tokenizer: Tokenizer, text: str) -> tuple[Copied, str]:
    """The same for a text, and its longest copied span as text."""
    ids = tokenizer.encode(text)
    found = copied_from(files, ids)
    return found, tokenizer.decode(ids[found.start : found.start + found.longest])


def held_out_copied(train: TokenFiles | Mixture, held_out: TokenFiles) -> Copied:
    """What of a split that was held out stands in the training split: what an honest text shares with it.

    Up to HELD_OUT_PARTS passages of HELD_OUT_TOKENS tokens are looked at, spread evenly.
    """
    length = min(HELD_OUT_TOKENS, held_out.len_tokens)
    count = min(HELD_OUT_PARTS, held_out.len_tokens // length) if length else 0
    starts = np.linspace(0, held_out.len_tokens - length, count).astype(np.int64)
    apart = np.array([-1])  # no token: no span runs from one passage into the next
    passages = [part for start in starts for part in (apart, held_out.window(int(start), length))]
    return copied_from(train, np.concatenate([apart, *passages]))
