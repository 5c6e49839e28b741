"""Dropout: how many elements go, what the others become, and what the gradient sees."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nextword.models.dropout import Dropout, LockedDropout, TokenDropout, dropout


@given(p=st.floats(0, 0.99), seed=st.integers(0, 2**31), shape=st.lists(st.integers(0, 7), max_size=3))
def test_the_gradient_passes_where_the_element_did_and_as_much(p, seed, shape):
    torch.manual_seed(seed)
    x = torch.ones(shape, requires_grad=True)
    y = dropout(x, p)
    y.sum().backward()
    assert y.shape == x.shape
    assert torch.equal(x.grad, y)
    assert all(value == 0 or value == pytest.approx(1 / (1 - p), rel=2e-3) for value in y.flatten().tolist())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
def test_as_many_elements_go_as_asked_for_in_every_place(p, dtype):
    torch.manual_seed(0)
    dropped = dropout(torch.ones(100_000, 8, dtype=dtype), p) == 0
    four = 4 * (p * (1 - p) / 100_000) ** 0.5  # standard deviations of one place's share
    assert dropped.float().mean(0) == pytest.approx([p] * 8, abs=four)
    # Two elements of one draw go independently of each other.
    assert (dropped[:, 0] & dropped[:, 1]).float().mean().item() == pytest.approx(p * p, abs=four)


def test_the_mean_stays():
    torch.manual_seed(0)
    assert dropout(torch.ones(1_000_000), 0.3).mean().item() == pytest.approx(1, abs=4 * (0.3 / 0.7) ** 0.5 / 1000)


def test_nothing_goes_at_0_or_out_of_training():
    x = torch.randn(3, 4)
    assert dropout(x, 0.0) is x
    assert all(layer.eval()(x) is x for layer in (Dropout(0.5), LockedDropout(0.5)))


def test_the_seed_decides():
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(dropout(torch.ones(99), 0.5))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_locked_dropout_keeps_its_mask_for_all_steps_of_a_row_only():
    y = LockedDropout(0.5)(torch.ones(4, 9, 64))
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert not torch.equal(y[0], y[1])


def test_token_dropout_drops_a_token_wherever_it_stands():
    tokens = torch.arange(50).repeat(2, 3)
    y = TokenDropout(0.5)(torch.ones(2, 150, 4), tokens, 50)
    assert 0 < (y == 0).float().mean() < 1
    assert torch.equal(y, y[:1, :50].repeat(2, 3, 1))
    assert torch.equal(y, y[..., :1].expand_as(y))
