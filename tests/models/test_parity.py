"""Parity with independent references: torch.nn's recurrent modules, and transformers' GPT-2 and Llama."""

import pytest
import torch
from references import gpt2_pair, llama_pair
from torch import nn

from nextword.models import build_model, model_config


@pytest.mark.parametrize(("name", "module"), [("rnn", nn.RNN), ("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_recurrent_equals_embedding_rnn_linear_weight_for_weight(name, module):
    torch.manual_seed(1)
    embedding, rnn, linear = (
        nn.Embedding(13, 6),
        module(6, 8, num_layers=2, batch_first=True),
        nn.Linear(8, 13),
    )
    model = build_model(
        model_config({"type": name, "vocab_size": 13, "embedding_size": 6, "hidden_size": 8, "num_layers": 2})
    )
    weights = {f"embedding.{k}": v for k, v in embedding.state_dict().items()}
    weights |= {f"output.{k}": v for k, v in linear.state_dict().items()}
    for key, value in rnn.state_dict().items():  # weight_ih_l1 -> layers.1.weight_ih_l0
        parameter, layer = key.rsplit("_l", 1)
        weights[f"layers.{layer}.{parameter}_l0"] = value
    model.load_state_dict(weights)

    tokens = torch.randint(13, (3, 7))
    hidden, last = rnn(embedding(tokens))
    expected = linear(hidden)
    torch.testing.assert_close(model(tokens)[0], expected)

    _, state = model(tokens, model.init_state(3))
    more = torch.randint(13, (3, 4))
    torch.testing.assert_close(model(more, state)[0], linear(rnn(embedding(more), last)[0]))


def test_gpt2_equals_transformers():
    ours, theirs = gpt2_pair(n_layer=3, n_head=4)
    tokens = torch.randint(17, (2, 20))
    torch.testing.assert_close(ours(tokens)[0], theirs(tokens).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kv_heads", "tied"), [(4, False), (2, True)])
def test_llama_equals_transformers(kv_heads, tied):
    ours, theirs = llama_pair(kv_heads=kv_heads, tied=tied)
    tokens = torch.randint(17, (2, 20))
    torch.testing.assert_close(ours(tokens)[0], theirs(tokens).logits, rtol=1e-4, atol=1e-4)
