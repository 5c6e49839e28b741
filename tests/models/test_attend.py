"""The ways to compute attention agree with PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.models.attend import attend_causal, attend_one


def heads(B, H, G, T, D, dtype=torch.float64):
    rng = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(B, n, T, D, generator=rng, dtype=dtype) for n in (H, G, G))
    return q, k, v


def fused(q, k, v, mask=None):
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None, enable_gqa=True)


@settings(max_examples=30)
@given(B=st.integers(1, 3), G=st.integers(1, 3), share=st.integers(1, 3), T=st.integers(1, 17), half=st.integers(1, 4))
def test_causal_attention_and_its_gradients_equal_the_fused_kernel(B, G, share, T, half):
    inputs = [t.requires_grad_() for t in heads(B, G * share, G, T, 2 * half)]
    found, expected = attend_causal(*inputs), fused(*inputs)
    assert torch.allclose(found, expected)
    wanted = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad(found, inputs, wanted), torch.autograd.grad(expected, inputs, wanted), strict=True
    ):
        assert torch.allclose(a, b)


def test_a_mask_hides_more_than_what_comes_later():
    inputs = [t.requires_grad_() for t in heads(2, 4, 2, 9, 6)]
    documents = torch.tensor([[0] * 4 + [1] * 5, [0] * 9])
    mask = (documents[:, :, None] == documents[:, None]).tril().unsqueeze(1)
    found, expected = attend_causal(*inputs, mask=mask), fused(*inputs, mask)
    assert torch.allclose(found, expected)
    for a, b in zip(*(torch.autograd.grad(y.square().sum(), inputs) for y in (found, expected)), strict=True):
        assert torch.allclose(a, b)


def test_one_token_sees_all_before_it():
    q, k, v = heads(2, 4, 2, 9, 6)
    assert torch.allclose(attend_one(q[:, :, -1:], k, v, None), fused(q, k, v)[:, :, -1:])


def test_one_token_sees_what_its_mask_shows():
    q, k, v = heads(2, 4, 2, 9, 6)
    mask = (torch.arange(9) < torch.tensor([[9], [4]]))[:, None, None]
    found = attend_one(q[:, :, -1:], k, v, mask)
    assert torch.allclose(found[1:], attend_one(q[1:, :, -1:], k[1:, :, :4], v[1:, :, :4], None))


def test_dropout_leaves_the_mean_and_drops_the_share():
    q, k, _ = heads(1, 1, 1, 64, 4, torch.float32)
    ones = torch.ones(1, 1, 64, 256)
    torch.manual_seed(0)
    sums = torch.stack([attend_causal(q, k, ones[..., :4], dropout=0.25)[0, 0, -1, 0] for _ in range(400)])
    assert sums.mean().item() == pytest.approx(1, abs=0.02)
    first = attend_causal(q.repeat(400, 1, 1, 1), k.repeat(400, 1, 1, 1), ones[..., :4].repeat(400, 1, 1, 1), 0.25)
    dropped = (first[:, 0, 0, 0] == 0).float().mean().item()  # the first token has one weight only
    assert dropped == pytest.approx(0.25, abs=0.07)


def test_autocast_keeps_the_type_it_is_given():
    q, k, v = (t.bfloat16() for t in heads(1, 2, 2, 8, 4))
    with torch.autocast("cpu", torch.bfloat16):
        assert attend_causal(q, k, v).dtype == torch.bfloat16
