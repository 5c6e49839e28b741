"""Copied spans are just those that a plain search finds, wherever the corpus is cut and whatever the tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.metrics import copying
from nextword.metrics.copying import Copied, copied, copied_text


def searched(sample: list[int], corpus: list[int], least: int) -> Copied:
    """The definition, as strings."""

    def stands(start: int, stop: int) -> bool:
        return "".join(map(chr, sample[start:stop])) in "".join(map(chr, corpus))

    n = len(sample)
    inside = {i for s in range(n - least + 1) if stands(s, s + least) for i in range(s, s + least)}
    spans = [(stop - start, -start) for start in range(n) for stop in range(start + 1, n + 1) if stands(start, stop)]
    longest, start = max(spans, default=(0, 0))
    return Copied(n, len(inside), least, longest, -start)


tokens = st.integers(min_value=1, max_value=3)


@given(
    st.lists(tokens, max_size=14),
    st.lists(st.lists(tokens, max_size=9), max_size=6),
    st.integers(min_value=1, max_value=5),
    st.sampled_from([1, 2, 7, 2**18]),
)
def test_it_is_what_a_plain_search_finds(sample, pieces, least, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying, "_PIECE", size)
        found = copied(sample, pieces, least)
    corpus = [token for piece in pieces for token in piece]
    wanted = searched(sample, corpus, least)
    assert (found.tokens, found.copied, found.longest) == (wanted.tokens, wanted.copied, wanted.longest)
    span = sample[found.start : found.start + found.longest]
    assert len(span) == wanted.longest
    assert searched(span, corpus, 1).longest == wanted.longest  # of several, any may be told


@given(st.lists(tokens, max_size=12), st.lists(tokens, max_size=30), st.integers(min_value=1, max_value=4))
def test_equal_hashes_of_other_windows_are_no_copies(sample, corpus, least):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying, "_BASE", 2**63)  # even: all longer windows with the same last token collide
        found = copied(sample, [corpus], least)
    wanted = searched(sample, corpus, least)
    assert (found.copied, found.longest) == (wanted.copied, wanted.longest)


def test_a_planted_span_is_found_across_shards():
    rng = np.random.default_rng(0)
    corpus = rng.integers(0, 500, 300_000).astype(np.uint16)
    sample = np.concatenate([rng.integers(0, 500, 30), corpus[262_130:262_170], rng.integers(0, 500, 30)])
    found = copied(sample, np.array_split(corpus, 3), least=8)
    assert (found.copied, found.longest, found.start) == (40, 40, 30)
    assert found.share == 0.4


def test_characters_are_compared_within_a_text_only():
    assert copied_text("明月光疑是", ["床前明月光", "疑是地上霜"], least=2).longest == 3
    assert copied_text("", ["床前明月光"], least=2).share == 0.0
    assert copied_text("a\ud83d", ["xa\ud83d"], least=2).copied == 2
