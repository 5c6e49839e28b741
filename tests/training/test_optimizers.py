"""Optimizers: which parameters decay, which go to Muon, and that they step as torch's own do."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nextword.models import build_model, model_config
from nextword.training.config import TrainConfig
from nextword.training.optimizers import FORGETTING, MOST_DECAY, build_optimizers, usual_decay


def tiny(tied: bool = True):
    torch.manual_seed(0)
    settings = {"type": "transformer", "num_layers": 1, "hidden_size": 8, "num_heads": 2, "vocab_size": 11}
    return build_model(model_config(settings | {"tied": tied, "bias": True, "qkv_bias": True}))


def groups(model, **settings):
    """name of parameter -> (optimizer class, weight decay)"""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (type(part).__name__, group["weight_decay"])
        for part in build_optimizers(model, TrainConfig(**settings)).parts
        for group in part.param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
@pytest.mark.parametrize("tied", [True, False])
def test_every_parameter_is_in_just_one_group(optimizer, tied):
    model = tiny(tied)
    assert set(groups(model, optimizer=optimizer)) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
def test_only_matrices_decay(optimizer):
    model = tiny()
    found = groups(model, optimizer=optimizer, weight_decay=0.1)
    for name, parameter in model.named_parameters():
        assert found[name][1] == (0.1 if parameter.dim() >= 2 else 0.0), name


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@given(rate=st.floats(1e-4, 1e-1), steps=st.floats(50, 1e6))
def test_by_itself_a_weight_is_forgotten_over_readings_of_the_text(optimizer, rate, steps):
    decay = usual_decay(optimizer, rate, steps)
    if decay < MOST_DECAY:
        kept = (1 - rate * decay) ** (FORGETTING * steps)  # of a weight with no gradient, at a constant rate
        assert kept == pytest.approx(math.exp(-1), rel=0.08)


def test_little_text_decays_no_more_than_much_and_plain_gradients_not_at_all():
    assert usual_decay("adamw", 1e-3, 1) == MOST_DECAY
    assert usual_decay("muon", 6e-3, 1e9) < 1e-6
    assert usual_decay("sgd", 20.0, 100) == usual_decay("adam", 1e-3, 100) == 0


def test_muon_takes_hidden_matrices_only():
    model = tiny(tied=False)
    found = groups(model, optimizer="muon")
    for name, parameter in model.named_parameters():
        hidden = parameter.dim() == 2 and not name.startswith(("embedding", "output"))
        assert found[name][0] == ("Muon" if hidden else "AdamW"), name


def test_sgd_with_momentum_follows_its_formula():
    model = tiny()
    optimizers = build_optimizers(model, TrainConfig(optimizer="sgd", learning_rate=0.1, momentum=0.9))
    weight = model.blocks[0].mlp.up.weight
    start, gradient = weight.detach().clone(), torch.ones_like(weight)
    for _ in range(3):
        weight.grad = gradient.clone()
        optimizers.step()
    # velocities 1, 1.9, 2.71
    torch.testing.assert_close(weight.detach(), start - 0.1 * (1 + 1.9 + 2.71))
    assert weight.grad is None


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
def test_state_goes_through_tensors_and_plain_values(optimizer):
    def step(model, optimizers):
        for i, parameter in enumerate(model.parameters()):
            parameter.grad = torch.full_like(parameter, 0.01 * (i + 1))
        optimizers.step()

    config = TrainConfig(optimizer=optimizer, momentum=0.9, learning_rate=0.05)
    model, other = tiny(), tiny()
    optimizers, others = build_optimizers(model, config), build_optimizers(other, config)
    step(model, optimizers)
    other.load_state_dict(model.state_dict())
    tensors, values = optimizers.state()
    others.load_state({name: tensor.clone() for name, tensor in tensors.items()}, values)
    for _ in range(2):
        step(model, optimizers)
        step(other, others)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


FAMILIES = {
    "lstm": {"type": "lstm", "num_layers": 3, "hidden_size": 8, "vocab_size": 11},
    "transformer": {"type": "transformer", "num_layers": 3, "hidden_size": 8, "num_heads": 2, "vocab_size": 11},
}
DEPTHS = {
    "lstm": {"embedding": 0, "layers.0": 1, "layers.1": 2, "layers.2": 3, "output": 4},
    "transformer": {"embedding": 0, "blocks.0": 1, "blocks.1": 2, "blocks.2": 3, "norm": 4, "output": 4},
}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_layer_has_its_share_of_the_learning_rate(family, optimizer):
    model = build_model(model_config(FAMILIES[family] | {"tied": False}))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    optimizers = build_optimizers(model, TrainConfig(optimizer=optimizer, layer_decay=0.5))
    for rate in (1.0, 0.1):  # the schedule moves them all
        optimizers.set_learning_rate(rate)
        rates = {
            names[id(parameter)]: group["lr"]
            for part in optimizers.parts
            for group in part.param_groups
            for parameter in group["params"]
        }
        assert rates.keys() == set(names.values())
        for name, found in rates.items():
            (depth,) = (d for prefix, d in DEPTHS[family].items() if name.startswith(prefix + "."))
            assert found == pytest.approx(rate * 0.5 ** (4 - depth)), name


def test_a_tied_output_layer_lies_where_its_embedding_does():
    for family, settings in FAMILIES.items():
        depths = build_model(model_config(settings | {"tied": True})).depths()
        assert depths["embedding.weight"] == 0, family
        assert "output.weight" not in depths


@pytest.mark.parametrize("family", FAMILIES)
def test_sgd_moves_a_layer_by_its_share(family):
    model = build_model(model_config(FAMILIES[family] | {"tied": False}))
    optimizers = build_optimizers(model, TrainConfig(optimizer="sgd", layer_decay=0.5))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizers.set_learning_rate(0.16)
    optimizers.step()
    for name, parameter in model.named_parameters():
        (depth,) = (d for prefix, d in DEPTHS[family].items() if name.startswith(prefix + "."))
        torch.testing.assert_close(before[name] - parameter, torch.full_like(parameter, 0.16 * 0.5 ** (4 - depth)))
