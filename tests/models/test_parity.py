"""Parity with independent references: torch.nn's recurrent modules, and transformers' GPT-2 and Llama."""

import pytest
import torch
from torch import nn

from nextword.models import build_model, model_config
from nextword.models.transformer import GPT2


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
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(2)
    config = transformers.GPT2Config(vocab_size=17, n_positions=24, n_embd=16, n_layer=3, n_head=4)
    reference = transformers.GPT2LMHeadModel(config).eval()
    _randomize(reference)
    model = build_model(
        model_config(
            GPT2
            | {
                "type": "transformer",
                "vocab_size": 17,
                "max_seq_len": 24,
                "hidden_size": 16,
                "num_layers": 3,
                "num_heads": 4,
            }
        )
    ).eval()
    names = {"wte": "embedding", "wpe": "position_embedding", "ln_f": "norm", "ln_1": "attention_norm"}
    names |= {"ln_2": "mlp_norm", "attn.c_attn": "attention.qkv", "attn.c_proj": "attention.out"}
    names |= {"mlp.c_fc": "mlp.up", "mlp.c_proj": "mlp.down", "h.": "blocks."}
    weights = {}
    for key, value in reference.transformer.state_dict().items():
        transposed = value.t() if "c_" in key and value.dim() == 2 else value  # GPT-2 keeps (in, out)
        for theirs, ours in names.items():
            key = key.replace(theirs, ours)
        weights[key] = transposed
    model.load_state_dict(weights | {"output.weight": weights["embedding.weight"]})
    tokens = torch.randint(17, (2, 20))
    torch.testing.assert_close(model(tokens)[0], reference(tokens).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kv_heads", "tied"), [(4, False), (2, True)])
def test_llama_equals_transformers(kv_heads, tied):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=17,
        hidden_size=16,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        max_position_embeddings=32,
        rms_norm_eps=1e-5,
        tie_word_embeddings=tied,
    )
    reference = transformers.LlamaForCausalLM(config).eval()
    _randomize(reference)
    settings = {
        "type": "transformer",
        "vocab_size": 17,
        "max_seq_len": 32,
        "hidden_size": 16,
        "num_layers": 3,
    }
    settings |= {"num_heads": 4, "num_kv_heads": kv_heads, "mlp_size": 40, "tied": tied}
    model = build_model(model_config(settings)).eval()
    theirs = reference.state_dict()
    weights = {
        "embedding.weight": theirs["model.embed_tokens.weight"],
        "norm.weight": theirs["model.norm.weight"],
        "output.weight": theirs["lm_head.weight"],
    }
    for i in range(3):
        layer = {k.split(f"layers.{i}.")[1]: v for k, v in theirs.items() if f"layers.{i}." in k}
        weights |= {
            f"blocks.{i}.attention_norm.weight": layer["input_layernorm.weight"],
            f"blocks.{i}.mlp_norm.weight": layer["post_attention_layernorm.weight"],
            f"blocks.{i}.attention.qkv.weight": torch.cat([layer[f"self_attn.{n}_proj.weight"] for n in "qkv"]),
            f"blocks.{i}.attention.out.weight": layer["self_attn.o_proj.weight"],
            f"blocks.{i}.mlp.up.weight": torch.cat([layer["mlp.gate_proj.weight"], layer["mlp.up_proj.weight"]]),
            f"blocks.{i}.mlp.down.weight": layer["mlp.down_proj.weight"],
        }
    model.load_state_dict(weights)
    tokens = torch.randint(17, (2, 20))
    torch.testing.assert_close(model(tokens)[0], reference(tokens).logits, rtol=1e-4, atol=1e-4)


def _randomize(model: nn.Module) -> None:
    """Weights far from their start, so that a forgotten bias or norm shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
