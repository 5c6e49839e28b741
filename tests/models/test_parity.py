"""Parity with independent references: torch.nn's recurrent modules, and every family of transformers."""

import pytest
import torch
from references import TINY, our_logits, pair, their_logits
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


@pytest.mark.parametrize("name", TINY)
def test_every_family_equals_transformers(name):
    ours, theirs = pair(name)
    tokens = torch.randint(17, (2, min(20, ours.max_seq_len)))
    torch.testing.assert_close(our_logits(ours, tokens), their_logits(theirs, tokens), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stretched", ["dynamic", "longrope"])
def test_frequencies_that_go_by_the_length_are_those_of_the_longest_text(stretched):
    """Ours are fixed by max_seq_len; theirs change with each text, so they agree on one that fills the context."""
    name = {"dynamic": "llama-dynamic", "longrope": "phi3-long"}[stretched]
    ours, theirs = pair(name)
    longer = build_model(ours.config.model_copy(update={"max_seq_len": 48})).eval()
    longer.load_state_dict(ours.state_dict())
    tokens = torch.randint(17, (2, 48))
    torch.testing.assert_close(longer(tokens)[0], theirs(tokens).logits, rtol=1e-4, atol=1e-4)
