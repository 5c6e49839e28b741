"""An adapted layer computes what its merged weight does, in values and in gradients, whatever the frozen weights are
kept in."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nextword.models.adapters import Adapted, FrozenLinear
from nextword.models.layers import Linear

K, PARTS = 10, (6, 3, 3)
KINDS = pytest.mark.parametrize("magnitude", [False, True], ids=["lora", "dora"])


def linear(parts=PARTS, bias=True) -> Linear:
    torch.manual_seed(0)
    return Linear(K, sum(parts), bias=bias, parts=parts)


def learned(layer: nn.Linear, **settings) -> Adapted:
    """An adapter that has moved away from where it began."""
    adapted = Adapted(layer, 2, 3.0, **settings)
    with torch.no_grad():
        adapted.up.normal_()
        if adapted.magnitude is not None:
            adapted.magnitude += torch.rand(adapted.out_features)
    return adapted


@KINDS
@pytest.mark.parametrize("base", ["float32", "bfloat16", "int8"])
def test_it_begins_as_the_layer_was(base, magnitude):
    layer, x = linear(), torch.randn(4, 5, K)
    tolerance = {"float32": 1e-6, "bfloat16": 2e-2, "int8": 3e-2}[base]
    adapted = Adapted(layer, 2, 3.0, magnitude=magnitude, base=base)
    torch.testing.assert_close(adapted(x), layer(x), atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(FrozenLinear(layer, base)(x), layer(x), atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(adapted.merged(), layer.weight.detach(), atol=tolerance, rtol=tolerance)


@KINDS
@pytest.mark.parametrize("base", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("parts", [PARTS, (12,)])
def test_merged_is_the_same(parts, base, magnitude):
    adapted = learned(linear(parts), magnitude=magnitude, base=base)
    x = torch.randn(4, K)
    torch.testing.assert_close(adapted(x), F.linear(x, adapted.merged(), adapted.bias), atol=1e-5, rtol=1e-5)


def test_a_part_reads_only_its_own():
    """As three layers, each with an adapter of its own."""
    adapted = learned(linear())
    weight = adapted.weight.detach()
    for i, (rows, up) in enumerate(zip(weight.split(PARTS), adapted.up.split(PARTS), strict=True)):
        alone = rows + 1.5 * up @ adapted.down[2 * i : 2 * i + 2]
        torch.testing.assert_close(adapted.merged().split(PARTS)[i], alone)


def test_the_length_of_a_row_is_that_of_the_sum():
    adapted = learned(linear(), magnitude=True)
    plain = learned(linear())
    plain.load_state_dict(adapted.state_dict(), strict=False)
    torch.testing.assert_close(adapted._lengths(), plain.merged().norm(dim=1))


@KINDS
def test_gradients_are_those_of_the_formula(magnitude):
    """Against automatic differentiation of the papers' equations; DoRA's lengths are constants there."""
    adapted = learned(linear((12,)), magnitude=magnitude)
    x, wanted = torch.randn(7, K, requires_grad=True), torch.randn(7, 12)
    (adapted(x) * wanted).sum().backward()
    found = {name: p.grad for name, p in adapted.named_parameters() if p.requires_grad} | {"x": x.grad}
    leaves = {name: p.detach().clone().requires_grad_() for name, p in adapted.named_parameters() if name in found}
    leaves["x"] = x.detach().clone().requires_grad_()
    weight = adapted.weight + 1.5 * leaves["up"] @ leaves["down"]
    if magnitude:
        weight = weight * (leaves["magnitude"] / weight.detach().norm(dim=1))[:, None]
    (F.linear(leaves["x"], weight, adapted.bias) * wanted).sum().backward()
    assert found.keys() == leaves.keys()
    for name, leaf in leaves.items():
        torch.testing.assert_close(found[name], leaf.grad, msg=name)


@pytest.mark.parametrize("base", ["float32", "bfloat16", "int8"])
def test_nothing_wide_and_no_input_is_kept_for_the_backward_pass(base):
    kept: list[torch.Tensor] = []
    layer = FrozenLinear(linear(), base)
    x = torch.randn(4, K, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer(x)
    assert {t.data_ptr() for t in kept} <= {layer.weight.data_ptr(), getattr(layer.scales, "data_ptr", lambda: 0)()}


def test_in_bfloat16_the_products_are_of_that_type():
    adapted, x = learned(linear(), base="int8"), torch.randn(4, K)
    with torch.autocast("cpu", torch.bfloat16):
        y = adapted(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), adapted(x), atol=0.2, rtol=0.05)


def test_dropout_is_of_training_only():
    adapted = learned(linear(), dropout=0.5)
    x = torch.randn(4, K)
    torch.manual_seed(1)
    assert not torch.equal(adapted(x), adapted(x))
    adapted.eval()
    assert torch.equal(adapted(x), adapted(x))
