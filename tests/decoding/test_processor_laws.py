"""Processors against their own laws: what they leave, rows of their own, padding, ties, boundaries."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from logits import few, random_history, random_logits, shapes
from torch import Tensor

from nextword.decoding import processors as ours
from nextword.decoding.processors import REMOVED


def marks(ids: list[int], size: int) -> Tensor:
    """(1, V) bool, True at `ids`."""
    return torch.zeros(1, size, dtype=torch.bool).index_fill(1, torch.tensor(ids, dtype=torch.long), True)


FILTERS: dict[str, tuple[Callable[[Tensor, Any], Tensor], float, tuple[float, ...]]] = {
    "top_k": (ours.top_k, 0, (1, 3, 7, 1000)),
    "top_p": (ours.top_p, 1, (0, 0.3, 0.9, 0.99)),
    "min_p": (ours.min_p, 0, (0.02, 0.5, 1, 1.05)),
    "typical": (ours.typical, 1, (0.01, 0.3, 0.9, 0.99)),
    "epsilon_cutoff": (ours.epsilon_cutoff, 0, (1e-3, 0.1, 0.5, 0.99)),
    "eta_cutoff": (ours.eta_cutoff, 0, (1e-3, 0.1, 0.5, 0.99)),
    "top_n_sigma": (ours.top_n_sigma, 0, (1e-3, 0.5, 1, 2)),
    "top_h": (ours.top_h, 1, (1e-3, 0.3, 0.7, 0.99)),
    "p_less": (ours.p_less, 0, (1, 1, 1, 1)),
    "xtc": (lambda x, p: ours.xtc(x, torch.full((len(x),), 0.3), p, 0.05), 0, (0.1, 0.4, 0.9, 1)),
    "no_repeat_ngram": (lambda x, n: ours.no_repeat_ngram(x, HISTORY[: len(x)], n), 0, (1, 2, 3, 99)),
}
HISTORY = random_history((5, 30, 4)) * 5 + torch.arange(5)[:, None]
REST: dict[str, tuple[Callable[[Tensor, Any], Tensor], float, tuple[float, ...]]] = {
    "temperature": (ours.temperature, 1, (0, 0.1, 2, 1e-30)),
    "dynamic_temperature": (lambda x, v: ours.dynamic_temperature(x, 1.0, v), 0, (0.1, 0.4, 0.9, 1)),
    "repetition_penalty": (lambda x, v: ours.repetition_penalty(x, HISTORY[: len(x)], v), 1, (0.5, 1.1, 2, 9)),
    "frequency_penalty": (lambda x, v: ours.frequency_penalty(x, HISTORY[: len(x)], v), 0, (-2, -0.1, 0.1, 2)),
    "presence_penalty": (lambda x, v: ours.presence_penalty(x, HISTORY[: len(x)], v), 0, (-2, -0.1, 0.1, 2)),
    "dry": (lambda x, v: ours.dry(x, HISTORY[: len(x)], v, 1.5, 1), 0, (0.1, 1, 5, 1e6)),
    "guidance": (lambda x, v: ours.guidance(x, x.flip(1), v), 1, (0, 0.5, 1.5, 9)),
    "min_length": (lambda x, v: ours.min_length(x, marks([2], 30), torch.full((len(x),), 5), v), 0, (1, 5, 6, 9)),
    "forced": (lambda x, v: ours.forced(x, marks([2], 30), torch.full((len(x),), 5), v), -1, (1, 5, 6, 0)),
}
ALL = FILTERS | REST


@pytest.mark.parametrize("name", ALL)
def test_rows_have_settings_of_their_own(name: str) -> None:
    function, off, values = ALL[name]
    logits = random_logits((5, 30, 1))
    same = logits[:1].expand(5, -1)
    for x in (logits, same):
        before = x.clone()
        got = function(x, torch.tensor([values[0], values[1], off, values[2], values[3]]))
        assert x.equal(before)
        assert got[2].equal(x[2])
        assert function(x, off).equal(x)
        for row, value in enumerate([values[0], values[1], off, values[2], values[3]]):
            assert function(x, value)[row].equal(got[row])  # one number for all rows
    if name not in ("no_repeat_ngram", "repetition_penalty", "frequency_penalty", "presence_penalty", "dry"):
        alone = [function(logits[row : row + 1], value) for row, value in enumerate([*values[:2], off, *values[2:]])]
        torch.testing.assert_close(
            function(logits, torch.tensor([*values[:2], off, *values[2:]])), torch.cat(alone), rtol=0, atol=0
        )


@pytest.mark.parametrize("name", FILTERS)
@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(0, 3), st.sampled_from([0.0, 0.3, 10.0, 1e6]))
def test_filters_only_remove_and_leave_one(name: str, seed: int, which: int, scale: float) -> None:
    function, _, values = FILTERS[name]
    logits = random_logits((4, 30, seed)) * scale
    logits[1, ::2] = REMOVED
    logits[2, 1:] = REMOVED
    logits[3] = logits[3].round()  # ties
    got = function(logits, values[which])
    assert ((got == logits) | (got == REMOVED)).all()
    assert (got > REMOVED).any(-1).all()
    if name not in ("xtc", "typical", "no_repeat_ngram"):
        assert (got.amax(-1) == logits.amax(-1)).all()


@pytest.mark.parametrize("name", ALL)
def test_an_empty_row_stays_empty(name: str) -> None:
    function, _, values = ALL[name]
    for value in values:
        got = function(torch.full((2, 30), REMOVED), value)
        if name != "forced":  # its token comes back
            assert (got == REMOVED).all()
        assert not got.isnan().any()


@pytest.mark.parametrize("name", ALL)
def test_what_is_not_a_number_is_not_hidden(name: str) -> None:
    """Whoever draws looks at the largest logit, which is nan if any is."""
    function, _, values = ALL[name]
    logits = random_logits((2, 30, 5))
    logits[0, 4] = math.nan
    for value in values[:3] if name == "forced" else values:
        got = function(logits, value)
        if name != "forced":
            assert got[0].amax().isnan()
        assert not got[1].isnan().any()


LOOKING_BACK: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "repetition_penalty": lambda x, h: ours.repetition_penalty(x, h, 1.3),
    "frequency_penalty": lambda x, h: ours.frequency_penalty(x, h, 0.7),
    "presence_penalty": lambda x, h: ours.presence_penalty(x, h, 0.7),
    "dry": lambda x, h: ours.dry(x, h, 0.8, 1.5, 1, marks([x.size(1) - 1], x.size(1))),
    "no_repeat_ngram": lambda x, h: ours.no_repeat_ngram(x, h, 2),
    "sequence_bias": lambda x, h: ours.sequence_bias(x, h, [1, 0], 3.0),
}


@pytest.mark.parametrize("name", LOOKING_BACK)
@given(shapes, st.integers(0, 6), st.integers(0, 5))
@few
def test_padding_on_the_left_changes_nothing(name: str, shape: tuple[int, int, int], length: int, pad: int) -> None:
    function, logits, history = LOOKING_BACK[name], random_logits(shape), random_history(shape, length)
    padded = torch.cat([torch.full((shape[0], pad), -1), history], 1)
    assert function(logits, padded).equal(function(logits, history))


@given(shapes, st.integers(1, 25), st.integers(1, 4))
@few
def test_dry_equals_its_definition(shape: tuple[int, int, int], length: int, allowed: int) -> None:
    """Every end of the text, every earlier place, every length, one by one."""
    logits, history = random_logits(shape), random_history(shape, length)
    breaker = 2
    want = logits.clone()
    for row, text in enumerate(history.tolist()):
        longest: dict[int, int] = {}
        for n in range(1, length):
            end = text[length - n :]
            for at in range(length - n):
                if text[at : at + n] == end and breaker not in [*end, text[at + n]]:
                    longest[text[at + n]] = n
        for token, n in longest.items():
            if n >= allowed:
                want[row, token] -= 0.8 * 1.5 ** (n - allowed)
    got = ours.dry(logits, history, 0.8, 1.5, allowed, marks([breaker] if shape[1] > breaker else [], shape[1]))
    torch.testing.assert_close(got, want)


def test_dry_survives_a_text_of_nothing_but_repeats() -> None:
    got = ours.dry(torch.zeros(1, 1), torch.zeros(1, 3000, dtype=torch.long), 1e6, 100.0)
    assert got.isfinite().all()


def test_a_window_keeps_the_latest() -> None:
    history = torch.tensor([[-1, 4, 5, 6], [1, 2, 3, 4]])
    assert ours.recent(history, torch.tensor([2, 9])).tolist() == [[-1, -1, 5, 6], [1, 2, 3, 4]]
    assert ours.recent(history, torch.tensor([0, 1])).tolist() == [[-1] * 4, [-1, -1, -1, 4]]


def test_top_k_keeps_ties_and_off_values() -> None:
    logits = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0]])
    assert (ours.top_k(logits, 2) == REMOVED).tolist() == [[True, False, False, False, True]]
    for k in (0, -1, 5, 99):
        assert ours.top_k(logits, k).equal(logits)


def test_repeats_in_the_history_count_once() -> None:
    logits = torch.tensor([[2.0, -2.0, 1.0]])
    once = ours.repetition_penalty(logits, torch.tensor([[0, 1]]), 2.0)
    assert once.tolist() == [[1.0, -4.0, 1.0]]
    assert ours.repetition_penalty(logits, torch.tensor([[0, 1, 0, 0, 1]]), 2.0).equal(once)


@pytest.mark.parametrize("value", [1e-3, 1e-10, 1e-38, 1e-300, 0])
def test_tiny_temperatures_become_greedy_without_overflow(value: float) -> None:
    assert ours.temperature(torch.tensor([[-900.0, 50.0, 50.5]]), value).softmax(-1).tolist() == [[0.0, 0.0, 1.0]]


def test_temperature_sharpens_and_flattens() -> None:
    logits = torch.cat([torch.zeros(1, 20), random_logits((1, 20, 3))])
    probs = {t: ours.temperature(logits, t).softmax(-1) for t in (0.5, 1.0, 1.3)}
    for t in probs:
        torch.testing.assert_close(probs[t][0], torch.full((20,), 1 / 20))
    assert probs[0.5][1].max() > probs[1.0][1].max() > probs[1.3][1].max()
    assert probs[0.5][1].min() < probs[1.0][1].min() < probs[1.3][1].min()


@given(st.floats(0.1, 3), st.floats(0, 1), st.floats(0.2, 4), st.integers(0, 1000))
@few
def test_dynamic_temperature_stays_in_its_range(value: float, spread: float, exponent: float, seed: int) -> None:
    """By the formula, in float64."""
    spread *= value
    logits = random_logits((1, 9, seed))
    probs = logits.double().softmax(-1)
    entropy = float(-(probs * probs.log()).sum()) / math.log(9)
    want = (logits / (value - spread + 2 * spread * entropy**exponent)).softmax(-1)
    got = ours.dynamic_temperature(logits, value, spread, exponent).softmax(-1)
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-5)


@given(shapes, st.floats(0.01, 0.99))
def test_the_nucleus_is_the_smallest_that_reaches_p(shape: tuple[int, int, int], p: float) -> None:
    logits = random_logits(shape)
    kept = ours.top_p(logits, p) != REMOVED
    probs = logits.double().softmax(-1)
    for row in range(len(logits)):
        mine = probs[row][kept[row]]
        assert mine.sum() > p - 1e-5
        assert mine.sum() - mine.min() < p + 1e-5


@given(shapes, st.floats(0.05, 5), st.floats(0.1, 3))
def test_top_n_sigma_does_not_feel_the_temperature(shape: tuple[int, int, int], t: float, n: float) -> None:
    logits = random_logits(shape)
    kept = ours.top_n_sigma(logits, n) != REMOVED
    sigma = logits.double().std(-1, correction=0, keepdim=True)
    surely = ((logits.amax(-1, keepdim=True) - logits) / (n * sigma) - 1).abs() > 1e-4  # off the boundary
    assert ((ours.top_n_sigma(ours.temperature(logits, t), n) != REMOVED) == kept)[surely].all()


def test_xtc_takes_its_chance_row_by_row() -> None:
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log().expand(3, -1)
    got = ours.xtc(logits, torch.tensor([0.2, 0.5, 0.9]), 0.5, 0.15)
    assert (got > REMOVED).tolist() == [[False, False, True, True], [True] * 4, [True] * 4]
    assert ours.xtc(logits, torch.tensor([0.0] * 3), 1.0, 0.35).equal(logits)  # a single top choice stays
    one = torch.tensor([[REMOVED, 2.0, REMOVED]])
    assert ours.xtc(one, torch.zeros(1), 1.0, 0.0).equal(one)  # what is removed is no choice, even at threshold 0


def test_guidance_of_rows_with_removed_tokens_is_a_number() -> None:
    c, u = random_logits((1, 6, 1)), random_logits((1, 6, 2))
    c[0, 0] = c[0, 1] = u[0, 1] = u[0, 2] = REMOVED
    got = ours.guidance(c, u, 2.0)
    assert (got == REMOVED).tolist() == [[True, True, True, False, False, False]]
    assert not got.isnan().any()


def test_every_processor_is_documented() -> None:
    public = [f for n, f in vars(ours).items() if callable(f) and f.__module__ == ours.__name__ and n[0] != "_"]
    assert len(public) >= 26
    assert all(f.__doc__ for f in public)
