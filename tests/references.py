"""The same random weights in `transformers` and in nextword: a tiny model of every family."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from nextword.interop import weights
from nextword.interop.families import FAMILIES, read_config
from nextword.models import LanguageModel, build_model

LLAMA = {
    "vocab_size": 17,
    "hidden_size": 16,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GEMMA = LLAMA | {"head_dim": 6, "sliding_window": 5, "query_pre_attn_scalar": 20}
UPPER_WINDOWS = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}
LONG = {"short_factor": [1.0, 1.5], "long_factor": [2.0, 3.0], "type": "longrope"}
MARIAN = {
    "vocab_size": 17,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 32,
    "activation_function": "swish",
    "scale_embedding": True,
    "eos_token_id": 2,
    "pad_token_id": 1,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": None,
}
T5 = {
    "vocab_size": 17,
    "d_model": 16,
    "d_kv": 4,
    "d_ff": 40,
    "num_layers": 2,
    "num_heads": 4,
    "n_positions": 32,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", LLAMA),
    "llama-biases": ("llama", LLAMA | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "llama-wide-heads": ("llama", LLAMA | {"head_dim": 10}),
    "llama-linear": ("llama", LLAMA | {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    "llama-dynamic": ("llama", LLAMA | {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
    "llama-3": (
        "llama",
        LLAMA
        | {
            "head_dim": 16,  # enough frequencies that some are kept, some divided, some between
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        },
    ),
    "llama-yarn": (
        "llama",
        LLAMA
        | {
            "head_dim": 16,
            "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8},
        },
    ),
    "gpt2": (
        "gpt2",
        {"vocab_size": 17, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2}
        | {"bos_token_id": 1, "eos_token_id": 2},
    ),
    "mistral": ("mistral", LLAMA | {"sliding_window": 5}),
    "qwen2": ("qwen2", LLAMA),
    "qwen2-windows": ("qwen2", LLAMA | UPPER_WINDOWS),
    "qwen3": ("qwen3", LLAMA | {"head_dim": 8}),
    "qwen3-windows": ("qwen3", LLAMA | {"head_dim": 8, "attention_bias": True} | UPPER_WINDOWS),
    "gemma2": ("gemma2", GEMMA),
    "gemma3": ("gemma3_text", GEMMA | {"num_hidden_layers": 7}),
    "gemma3-scaled": (
        "gemma3_text",
        GEMMA
        | {"layer_types": ["full_attention", "sliding_attention", "full_attention"]}
        | {"rope_scaling": {"rope_type": "linear", "factor": 8.0}, "final_logit_softcapping": 5.0},
    ),
    "phi3": ("phi3", LLAMA | {"sliding_window": 5}),
    "phi3-partial": ("phi3", LLAMA | {"partial_rotary_factor": 0.5}),
    "phi3-long": ("phi3", LLAMA | {"original_max_position_embeddings": 16, "rope_scaling": LONG}),
    "olmo2": ("olmo2", LLAMA),
    "smollm3": ("smollm3", LLAMA | {"num_hidden_layers": 5}),
    "marian": ("marian", MARIAN),
    "t5": ("t5", T5 | {"num_decoder_layers": 1}),
    "t5-gated": ("t5", T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "mt5": ("mt5", T5 | {"feed_forward_proj": "gated-silu", "tie_word_embeddings": False}),
    "mt5-tied": ("mt5", T5 | {"d_kv": 6}),
    "marian-relu": ("marian", MARIAN | {"activation_function": "relu", "scale_embedding": False}),
}
"""A name, its family, and its config.json."""


def theirs(name: str, seed: int = 2, spread: float = 0.2, **changes: Any) -> nn.Module:
    """A tiny model of `transformers`, its weights far from their start, so that a forgotten bias or norm shows."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    family, values = TINY[name]
    config = transformers.AutoConfig.for_model(family, **copy.deepcopy(values | changes))  # it writes into what it gets
    model = auto_model(family).from_config(config).eval()
    if FAMILIES[family].tied_by_weights and not values.get("tie_word_embeddings", True):
        model.lm_head.weight = nn.Parameter(model.lm_head.weight.clone())
    with torch.no_grad():
        for weight in weights_of(model).values():
            weight.add_(torch.randn_like(weight) * spread)
    return model


def auto_model(family: str) -> Any:
    """The class of `transformers` for models of a family."""
    transformers = pytest.importorskip("transformers")
    return transformers.AutoModelForSeq2SeqLM if FAMILIES[family].encodes else transformers.AutoModelForCausalLM


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """What training has set, each once: no table of positions, and Marian's bias, which is a buffer there."""
    found = {name: weight for name, weight in model.named_parameters() if "embed_positions" not in name}
    return found | {name: buffer for name, buffer in model.named_buffers() if name == "final_logits_bias"}


def their_logits(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Of tokens; where a source is read, of tokens after themselves turned round."""
    if model.config.is_encoder_decoder:
        return model(input_ids=tokens.flip(1), decoder_input_ids=tokens).logits
    return model(tokens).logits


def our_logits(model: LanguageModel, tokens: torch.Tensor) -> torch.Tensor:
    """As `their_logits`."""
    rows, length = tokens.shape
    return model(tokens, model.encode(tokens.flip(1), torch.full((rows,), length)) if model.encodes else None)[0]


def build(config: Mapping[str, Any], theirs: Mapping[str, torch.Tensor]) -> LanguageModel:
    """Ours in memory, from a config.json and its tensors."""
    reading = read_config(config, theirs)
    model = build_model(reading.settings)
    hollow = dict(model.named_parameters())
    weights.check_all_used(reading.family, reading.settings, hollow, theirs)
    tensors = weights.our_tensors(reading.family, reading.settings, hollow, theirs)
    model.load_state_dict(dict(tensors), strict=False)  # tied ones stand once
    return model.eval()


def pair(name: str, **changes: Any) -> tuple[LanguageModel, nn.Module]:
    """The same tiny model, ours and theirs."""
    model = theirs(name, **changes)
    return build(model.config.to_dict(), model.state_dict()), model
