"""Recurrent layers trained by hand-written gradients, against torch.nn's layers and against finite differences."""

import pytest
import torch
from torch import nn

from nextword.loss import next_token_loss
from nextword.models import build_model, model_config
from nextword.models.kernels import faster, train_layer

MODULES = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
GATES = {"rnn": 1, "gru": 3, "lstm": 4}


@pytest.fixture(params=MODULES)
def kind(request) -> str:
    return request.param


def layer_inputs(kind, B=3, T=5, E=4, C=6, dtype=torch.float32):
    """x, memory and weights, all of which want a gradient."""
    torch.manual_seed(0)
    G = GATES[kind]
    shapes = [(B, T, E), *[(B, C)] * (1 + (kind == "lstm")), (G * C, E), (G * C, C), (G * C,), (G * C,)]
    x, *memory, w_ih, w_hh, b_ih, b_hh = (torch.randn(s, dtype=dtype).div_(C**0.5).requires_grad_() for s in shapes)
    return x, tuple(memory), (w_ih, w_hh, b_ih, b_hh)


def ours(kind, x, memory, weights):
    y, after = train_layer(kind, x, memory, *weights)
    return y, *after


def theirs(kind, x, memory, weights):
    module = MODULES[kind](x.size(2), memory[0].size(1), batch_first=True)
    named = dict(zip(["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"], weights, strict=True))
    first = tuple(t[None] for t in memory)
    y, last = torch.func.functional_call(module, named, (x, first if kind == "lstm" else first[0]))
    return y, *(t[0] for t in (last if kind == "lstm" else (last,)))


def outputs_and_gradients(layer, kind, x, memory, weights):
    """What a layer gives, and the gradients of a random sum of all of it, the last state included."""
    outputs = layer(kind, x, memory, weights)
    rng = torch.Generator().manual_seed(1)
    total = sum((output.float() * torch.randn(output.shape, generator=rng)).sum() for output in outputs)
    return [*outputs, *torch.autograd.grad(total, [x, *memory, *weights])]


def test_gradients_equal_finite_differences(kind):
    x, memory, weights = layer_inputs(kind, dtype=torch.float64)
    M = len(memory)
    assert torch.autograd.gradcheck(lambda x, *rest: ours(kind, x, rest[:M], rest[M:]), (x, *memory, *weights))


@pytest.mark.parametrize("steps", [1, 40])
def test_outputs_and_gradients_equal_torch_nn(kind, steps):
    inputs = layer_inputs(kind, T=steps, E=20, C=24)
    found, expected = outputs_and_gradients(ours, kind, *inputs), outputs_and_gradients(theirs, kind, *inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_is_as_close_to_float32_as_torch_nn_is(kind):
    inputs = layer_inputs(kind, B=8, T=30, E=40, C=48)
    exact = outputs_and_gradients(theirs, kind, *inputs)
    with torch.autocast("cpu", torch.bfloat16):
        found = outputs_and_gradients(ours, kind, *inputs)
        peer = outputs_and_gradients(theirs, kind, *inputs)
    assert found[0].dtype == torch.bfloat16
    for a, b, c in zip(found, peer, exact, strict=True):
        assert (a.float() - c).norm() <= 1.5 * (b.float() - c).norm() + 1e-3 * c.norm()
    gradients, wanted = found[-4 - len(inputs[1]) :], [*inputs[1], *inputs[2]]
    assert [g.dtype for g in gradients] == [w.dtype for w in wanted]


def test_two_halves_with_the_memory_carried_equal_the_whole(kind):
    def halves(kind, x, memory, weights):
        first, *between = ours(kind, x[:, :4], memory, weights)
        second, *after = ours(kind, x[:, 4:], tuple(between), weights)
        return torch.cat([first, second], dim=1), *after

    inputs = layer_inputs(kind, T=9)
    found, expected = outputs_and_gradients(halves, kind, *inputs), outputs_and_gradients(ours, kind, *inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_no_input_is_overwritten(kind):
    x, memory, weights = layer_inputs(kind)
    before = [t.detach().clone() for t in (x, *memory, *weights)]
    y, *after = ours(kind, x, memory, weights)
    (y.sum() + sum(t.sum() for t in after)).backward(retain_graph=True)
    first = [t.grad.clone() for t in (x, *memory, *weights)]
    (y.sum() + sum(t.sum() for t in after)).backward()  # what was saved is still intact
    torch.testing.assert_close([t.grad for t in (x, *memory, *weights)], [2 * g for g in first])
    torch.testing.assert_close([x, *memory, *weights], before, rtol=0, atol=0)


def large_enough(kind, **changes):
    """A model whose layers are trained by these kernels under bfloat16 autocast."""
    torch.manual_seed(0)
    config = {"type": kind, "vocab_size": 31, "embedding_size": 16, "hidden_size": 640} | changes
    return build_model(model_config(config)).train()


def test_a_model_takes_this_way_and_learns_as_in_float32(kind):
    """50 steps on a text that can be learned: the losses of both precisions fall alike."""
    text = torch.arange(8 * 13).remainder_(7).view(8, 13)
    losses = {}
    for bfloat16 in (False, True):
        model = large_enough(kind)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            assert faster(kind, 640, model.device) or not bfloat16
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        losses[bfloat16] = []
        for _ in range(50):
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                loss, _ = next_token_loss(model, text[:, :-1], text[:, 1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[bfloat16].append(loss.item() / 96)
    assert losses[False][-1] < 0.6 * losses[False][0]
    torch.testing.assert_close(losses[True], losses[False], rtol=0.05, atol=0.02)


def test_a_dropped_recurrent_weight_gets_no_gradient(kind):
    model = large_enough(kind, recurrent_dropout=0.5)
    text = torch.randint(31, (8, 6))
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = next_token_loss(model, text[:, :-1], text[:, 1:])
    loss.backward()
    gradient = model.layers[0].weight_hh_l0.grad
    assert 0.45 < (gradient == 0).float().mean() < 0.55
