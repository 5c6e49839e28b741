"""The split: by content alone, so it is stable and copies never cross."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.errors import UsageError
from nextword.text.duplicates import normalised
from nextword.text.split import split_of

TEXTS = st.text(max_size=30)
HALVES = {"valid": 0.3, "test": 0.3}


@given(TEXTS, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_unicode_forms_land_together(text, form):
    assert split_of(text, **HALVES) == split_of(unicodedata.normalize(form, text), **HALVES)


@given(TEXTS, TEXTS)
def test_white_space_and_case_do_not_matter(a, b):
    assert split_of(a + " " + b, **HALVES) == split_of(f"\t{a}\n\u3000 {b} ", **HALVES)
    ascii_text = (a + b).encode("ascii", "ignore").decode()
    assert split_of(ascii_text.upper(), **HALVES) == split_of(ascii_text.lower(), **HALVES)


@given(TEXTS)
def test_normalised_is_stable(text):
    assert normalised(normalised(text)) == normalised(text)


@given(TEXTS, st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0, 0.19))
def test_a_larger_share_only_adds(text, valid, test, more):
    if split_of(text, valid, test) == "valid":
        assert split_of(text, valid + more, test) == "valid"
    assert (split_of(text, valid, test) == "test") == (split_of(text, valid + more, test) == "test")


def test_shares_are_as_asked_for():
    sides = [split_of(f"文档 {i}", valid=0.05, test=0.1) for i in range(20_000)]
    assert sides.count("valid") / 20_000 == pytest.approx(0.05, abs=0.01)  # five standard deviations and more
    assert sides.count("test") / 20_000 == pytest.approx(0.1, abs=0.01)
    assert {split_of(f"{i}", valid=0.0) for i in range(1000)} == {"train"}


def test_the_split_is_the_same_forever():
    # A change here moves documents between training and validation for everybody: results no longer compare.
    held_out = [i for i in range(200) if split_of(f"第{i}首") == "valid"]
    assert held_out == HELD_OUT


HELD_OUT = [25, 28, 70, 132, 135, 141, 146]


@pytest.mark.parametrize(("valid", "test"), [(1.0, 0.0), (0.5, 0.5), (-0.1, 0.0), (float("nan"), 0.0)])
def test_impossible_shares(valid, test):
    with pytest.raises(UsageError, match="split"):
        split_of("a", valid, test)
