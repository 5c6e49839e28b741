"""How alike two texts are, against sacreBLEU."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.metrics.overlap import chrf


@given(st.text("ab 月明", max_size=12), st.text("ab 月明", min_size=1, max_size=12))
def test_chrf_is_sacrebleus(text, reference):
    sacrebleu = pytest.importorskip("sacrebleu")
    expected = sacrebleu.sentence_chrf(text, [reference]).score
    assert chrf(text, reference) == pytest.approx(expected, abs=1e-6)
