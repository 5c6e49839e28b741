"""The same random weights in `transformers` and in nextword."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nextword.interop.huggingface import gpt2_weights, llama_weights
from nextword.models import LanguageModel, build_model, model_config
from nextword.models.transformer import GPT2


def gpt2_pair(seed: int = 2, spread: float = 0.2, **changes: Any) -> tuple[LanguageModel, nn.Module]:
    """A tiny GPT-2, ours and theirs."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    sizes = {"vocab_size": 17, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2} | changes
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).eval()
    _randomize(theirs, spread)
    settings = {
        "type": "transformer",
        "vocab_size": sizes["vocab_size"],
        "max_seq_len": sizes["n_positions"],
        "hidden_size": sizes["n_embd"],
        "num_layers": sizes["n_layer"],
        "num_heads": sizes["n_head"],
    }
    ours = build_model(model_config(settings | GPT2)).eval()
    ours.load_state_dict(gpt2_weights(theirs.state_dict()))
    return ours, theirs


def llama_pair(seed: int = 3, kv_heads: int = 2, tied: bool = True) -> tuple[LanguageModel, nn.Module]:
    """A tiny Llama, ours and theirs."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
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
    theirs = transformers.LlamaForCausalLM(config).eval()
    _randomize(theirs, 0.2)
    settings = {"type": "transformer", "vocab_size": 17, "max_seq_len": 32, "hidden_size": 16, "num_layers": 3}
    settings |= {"num_heads": 4, "num_kv_heads": kv_heads, "mlp_size": 40, "tied": tied}
    ours = build_model(model_config(settings)).eval()
    ours.load_state_dict(llama_weights(theirs.state_dict()))
    return ours, theirs


def _randomize(model: nn.Module, spread: float) -> None:
    """Weights far from their start, so that a forgotten bias or norm shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * spread)
