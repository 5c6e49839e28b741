"""Weights in fewer bits: how far the logits move, how much memory is saved, and that all else holds."""

import pytest
import torch

from nextword.errors import UsageError
from nextword.models import build_model, model_config
from nextword.models.quantize import quantize

TRANSFORMER = {"type": "transformer", "hidden_size": 64, "num_layers": 2, "num_heads": 2, "vocab_size": 90}
LSTM = {"type": "lstm", "hidden_size": 64, "num_layers": 2, "vocab_size": 90}
GPT = TRANSFORMER | {"bias": True, "qkv_bias": True, "activation": "gelu", "norm": "layer"}


def make(settings: dict):
    torch.manual_seed(0)
    model = build_model(model_config(settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def bytes_of_linears(model) -> int:
    layers = [m for m in model.modules() if hasattr(m, "in_features")]
    return sum(t.nbytes for m in layers for t in (m.weight, getattr(m, "scale", None)) if t is not None)


@pytest.mark.parametrize(("precision", "most", "share"), [("bfloat16", 0.01, 0.5), ("int8", 0.02, 0.27)])
@pytest.mark.parametrize("settings", [TRANSFORMER, GPT, LSTM])
@pytest.mark.parametrize("rows", [1, 5])
def test_the_prediction_hardly_moves(settings, precision, most, share, rows):
    exact, small = make(settings), make(settings)
    quantize(small, precision)
    tokens = torch.randint(90, (rows, 9), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        p, q = (model(tokens)[0].softmax(-1) for model in (exact, small))
    assert 0 < (p - q).abs().sum(-1).mean() / 2 < most  # total variation distance
    assert bytes_of_linears(small) <= share * bytes_of_linears(exact)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_token_by_token_is_all_at_once(precision):
    model = make(TRANSFORMER)
    quantize(model, precision)
    tokens = torch.randint(90, (2, 30), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole = model(tokens)[0].softmax(-1)
        state, steps = model.init_state(2), []
        for column in tokens.split(1, dim=1):
            logits, state = model(column, state)
            steps.append(logits.softmax(-1))
    assert (torch.cat(steps, dim=1) - whole).abs().max() < 0.02


def test_float32_changes_nothing():
    model, same = make(LSTM), make(LSTM)
    quantize(same, "float32")
    tokens = torch.randint(90, (2, 9))
    assert torch.equal(model(tokens)[0], same(tokens)[0])


def test_only_on_a_cpu():
    model = make(LSTM).to("meta")
    with pytest.raises(UsageError, match="CPU"):
        quantize(model, "int8")


def test_a_misspelt_precision():
    with pytest.raises(UsageError, match="Did you mean int8"):
        quantize(make(LSTM), "int9")
