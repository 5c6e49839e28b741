"""Freezing: what is frozen does not move, has no gradient and no optimizer state, and a resumed run goes on exactly."""

import pytest
import torch
from songs import MODELS, trainer, weights

from nextword.errors import UsageError
from nextword.models import build_model, model_config
from nextword.models.transformer_config import GPT2
from nextword.training.freezing import freeze, num_trainable
from nextword.training.resume import latest
from nextword.training.trainer import Trainer

LOWEST = {"lstm": "layers.0", "transformer": "blocks.0"}


def model(**changes):
    torch.manual_seed(0)
    settings = {"type": "transformer", "num_layers": 12, "hidden_size": 8, "num_heads": 2, "vocab_size": 11, **GPT2}
    return build_model(model_config(settings | changes))


def frozen(model, *patterns: str) -> set[str]:
    freeze(model, patterns)
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


def test_patterns():
    assert frozen(model(), "embedding") == {"embedding.weight"}
    first = frozen(model(), "blocks.1")
    assert {name.split(".")[1] for name in first} == {"1"}  # not 10 and 11
    assert len(first) == 12
    assert frozen(model(), "blocks.[0-2]", "blocks.1?") > first
    assert {name.split(".")[1] for name in frozen(model(), "blocks.*.attention")} == {str(n) for n in range(12)}
    assert all(name.endswith("bias") for name in frozen(model(), "*.bias"))
    assert frozen(model()) == set()


def test_a_tied_output_layer_is_its_embedding():
    assert frozen(model(tied=True), "output") == {"embedding.weight"}
    assert frozen(model(tied=False), "output") == {"output.weight"}


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("embeding", "Did you mean embedding"),
        ("block.0", "Did you mean blocks.0"),
        ("blocks.12", "Did you mean blocks."),
        ("blocks.3.atention.qkv", "Did you mean blocks.3.attention.qkv"),
        ("层", "Its parts: embedding, position_embedding, blocks, norm, output"),
        ("", "Its parts"),
    ],
)
def test_a_pattern_that_matches_nothing_names_those_near(pattern, said):
    with pytest.raises(UsageError, match="matches no parameter of this model") as error:
        freeze(model(), ["embedding", pattern])
    assert repr(pattern) in str(error.value)
    assert said in str(error.value)


def test_something_is_left_to_train():
    with pytest.raises(UsageError, match="nothing is left to train"):
        freeze(model(), ["*"])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_what_is_frozen_stays_and_has_no_state(name, optimizer, files, tmp_path):
    settings = {"steps": 6, "optimizer": optimizer, "momentum": 0.9, "weight_decay": 0.1, "ema": 0.9}
    run = trainer(name, files, tmp_path / "run", freeze=["embedding", LOWEST[name]], **settings)
    still = {n for n, p in run.model.named_parameters() if not p.requires_grad}
    assert still
    before = dict(zip([n for n, _ in run.model.named_parameters()], weights(run), strict=True))
    for _ in run.run():
        assert all(parameter.grad is None for parameter in run.model.parameters())
    for n, parameter in run.model.named_parameters():
        assert torch.equal(parameter, before[n]) == (n in still), n
    assert num_trainable(run.model) == sum(p.numel() for n, p in run.model.named_parameters() if n not in still)
    stateful = {id(p) for part in run.optimizers.parts for p in part.state}
    assert stateful <= {id(p) for n, p in run.model.named_parameters() if n not in still}


def test_no_gradient_is_made_for_what_is_frozen(name, files, tmp_path):
    """After the backward pass and before the step, what has a gradient is what is trained."""
    run = trainer(name, files, tmp_path / "run", steps=2, freeze=["embedding", LOWEST[name]])
    seen = []
    step = run.optimizers.step

    def look():
        seen.append({n for n, p in run.model.named_parameters() if p.grad is not None})
        step()

    run.optimizers.step = look
    list(run.run())
    assert seen == [{n for n, p in run.model.named_parameters() if p.requires_grad}] * 2


@pytest.mark.parametrize(
    ("optimizer", "freezing"),
    [
        ("adamw", ["embedding"]),
        ("muon", ["output", "*bias*"]),
        pytest.param("sgd", ["embedding"], marks=pytest.mark.slow),
        pytest.param("adam", ["output", "*bias*"], marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_ends_with_the_same_bits(name, optimizer, freezing, files, tmp_path):
    settings = {"steps": 12, "checkpoint_every": 5, "optimizer": optimizer, "momentum": 0.9, "layer_decay": 0.7}
    if name == "transformer":
        freezing = [pattern for pattern in freezing if "bias" not in pattern]
    settings["freeze"] = freezing
    whole = trainer(name, files, tmp_path / "whole", **settings)
    list(whole.run())
    broken = trainer(name, files, tmp_path / "broken", **settings)
    for event in broken.run():
        if event.step == 7:
            break
    again = trainer(name, files, tmp_path / "broken", **settings)
    with torch.no_grad():
        for parameter in again.model.parameters():
            parameter.add_(1)
    again.resume(latest(tmp_path / "broken"))
    assert again.position.step == 5
    list(again.run())
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(again), strict=True))


def test_only_the_output_layer_is_trained(files, tmp_path):
    """Muon has nothing to do then, and nothing below needs a backward pass."""
    torch.manual_seed(0)
    made = build_model(model_config(MODELS["transformer"] | {"tied": False}))
    config = trainer("transformer", files, tmp_path / "x", steps=3, optimizer="muon").config
    config = config.model_copy(update={"freeze": ("embedding", "blocks", "norm")})
    run = Trainer(made, files, files, config, tmp_path / "run")
    assert [type(part).__name__ for part in run.optimizers.parts] == ["AdamW"]
    before = made.output.weight.detach().clone()
    list(run.run())
    assert not torch.equal(before, made.output.weight)
