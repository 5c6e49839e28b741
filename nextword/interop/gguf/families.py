"""The architectures of GGUF files: what their tensors and settings are called in Hugging Face's folders, both ways.

A family is a table. What differs beyond names: the order of the rows of queries and keys (`interleaved`), a norm's
weight kept as its distance from one (`offset_norms`), and matrices kept as (in, out) (`transposed`). What llama.cpp
takes for granted is in `fixed`: a model that differs in it cannot be said in a GGUF file.

Source: https://github.com/ggml-org/llama.cpp, conversion scripts and src/llama-arch.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nextword.errors import RunError, did_you_mean

LINEAR = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


@dataclass(frozen=True)
class Family:
    """One architecture."""

    architecture: str
    """In GGUF files."""
    model_types: tuple[str, ...]
    """In config.json; the first is what a file is read as."""
    names: Mapping[str, str]
    """A layer of a GGUF file, `attn_q` for `blk.3.attn_q`, and of a Hugging Face folder, {} for the block's number."""
    keys: Mapping[str, str]
    """A key of config.json, and of the metadata, without the architecture before it."""
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """A key of config.json, and the values that mean what llama.cpp does; the first is what a file is read as."""
    biased: frozenset[str] = frozenset()
    """Layers of a GGUF file that may have a bias."""
    interleaved: bool = False
    """Queries and keys: dimension i turns with i + 1, where Hugging Face's turns with i + D/2."""
    offset_norms: bool = False
    """Hugging Face's weights of norms have one less."""
    transposed: frozenset[str] = frozenset()
    """Layers of a GGUF file whose weight Hugging Face keeps as (in, out)."""

    def theirs(self, name: str) -> str:
        """Hugging Face's name of a tensor of the file. Raises KeyError if it has none.

        >>> FAMILIES["llama"].theirs("blk.3.attn_q.weight")
        'model.layers.3.self_attn.q_proj.weight'
        """
        match = _NAME.fullmatch(name)
        if match is None or (match[3] == "bias" and match[2] not in self.biased):
            raise KeyError(name)
        found = self.names[match[2]]
        if ("{}" in found) != (match[1] is not None):
            raise KeyError(name)
        return f"{found.format(match[1])}.{match[3]}"

    def ours(self, layers: int) -> dict[str, str]:
        """Hugging Face's name of every tensor that the family may have, and the file's."""
        found = {}
        for ours, theirs in self.names.items():
            for i in range(layers) if "{}" in theirs else [None]:
                block = "" if i is None else f"blk.{i}."
                for kind in ("weight", "bias") if ours in self.biased else ("weight",):
                    found[f"{theirs.format(i)}.{kind}"] = f"{block}{ours}.{kind}"
        return found


_NAME = re.compile(r"(?:blk\.(0|[1-9]\d{0,3})\.)?(\w+)\.(weight|bias)")

_ENDS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LLAMA = _ENDS | {
    "attn_norm": "model.layers.{}.input_layernorm",
    "attn_q": "model.layers.{}.self_attn.q_proj",
    "attn_k": "model.layers.{}.self_attn.k_proj",
    "attn_v": "model.layers.{}.self_attn.v_proj",
    "attn_output": "model.layers.{}.self_attn.o_proj",
    "ffn_norm": "model.layers.{}.post_attention_layernorm",
    "ffn_gate": "model.layers.{}.mlp.gate_proj",
    "ffn_up": "model.layers.{}.mlp.up_proj",
    "ffn_down": "model.layers.{}.mlp.down_proj",
}
_QK_NORMS = {"attn_q_norm": "model.layers.{}.self_attn.q_norm", "attn_k_norm": "model.layers.{}.self_attn.k_norm"}
_POST_NORMS = {
    "post_attention_norm": "model.layers.{}.post_attention_layernorm",
    "post_ffw_norm": "model.layers.{}.post_feedforward_layernorm",
}
_GEMMA = _LLAMA | _POST_NORMS | {"ffn_norm": "model.layers.{}.pre_feedforward_layernorm"}
_PHI3 = {name: theirs for name, theirs in _LLAMA.items() if name not in ("attn_q", "attn_k", "attn_v", "ffn_gate")}

_KEYS = {
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
}
_WINDOW = {"sliding_window": "attention.sliding_window"}
_FINAL_CAP = {"final_logit_softcapping": "final_logit_softcapping"}
_GELU = {"hidden_activation": ("gelu_pytorch_tanh",)}
_SILU = {"hidden_act": ("silu",)}

FAMILIES = {
    family.architecture: family
    for family in (
        Family("llama", ("llama", "mistral"), _LLAMA, _KEYS, _SILU, frozenset(LINEAR), interleaved=True),
        Family("qwen2", ("qwen2",), _LLAMA, _KEYS, _SILU, frozenset({"attn_q", "attn_k", "attn_v"})),
        Family("qwen3", ("qwen3",), _LLAMA | _QK_NORMS, _KEYS, _SILU),
        Family("smollm3", ("smollm3",), _LLAMA, _KEYS, _SILU, interleaved=True),
        Family("phi3", ("phi3",), _PHI3 | {
            "attn_qkv": "model.layers.{}.self_attn.qkv_proj",
            "ffn_up": "model.layers.{}.mlp.gate_up_proj",
        }, _KEYS | _WINDOW, _SILU),
        Family("olmo2", ("olmo2",), {
            name: theirs for name, theirs in _LLAMA.items() if name not in ("attn_norm", "ffn_norm")
        } | _POST_NORMS | _QK_NORMS, _KEYS, _SILU),
        Family("gemma2", ("gemma2",), _GEMMA, _KEYS | _WINDOW | _FINAL_CAP | {
            "attn_logit_softcapping": "attn_logit_softcapping"
        }, _GELU, offset_norms=True),
        Family("gemma3", ("gemma3_text",), _GEMMA | _QK_NORMS, _KEYS | _WINDOW | _FINAL_CAP, _GELU | {
            "attn_logit_softcapping": (None,), "rope_local_base_freq": (10_000.0,)
        }, offset_norms=True),
        Family(
            "gpt2",
            ("gpt2",),
            {
                "token_embd": "transformer.wte",
                "position_embd": "transformer.wpe",
                "output_norm": "transformer.ln_f",
                "output": "lm_head",
                "attn_norm": "transformer.h.{}.ln_1",
                "attn_qkv": "transformer.h.{}.attn.c_attn",
                "attn_output": "transformer.h.{}.attn.c_proj",
                "ffn_norm": "transformer.h.{}.ln_2",
                "ffn_up": "transformer.h.{}.mlp.c_fc",
                "ffn_down": "transformer.h.{}.mlp.c_proj",
            },
            {
                "n_positions": "context_length",
                "n_embd": "embedding_length",
                "n_layer": "block_count",
                "n_inner": "feed_forward_length",
                "n_head": "attention.head_count",
                "layer_norm_epsilon": "attention.layer_norm_epsilon",
            },
            {"activation_function": ("gelu_new", "gelu_pytorch_tanh")},
            frozenset({"output_norm", "attn_norm", "attn_qkv", "attn_output", "ffn_norm", "ffn_up", "ffn_down"}),
            transposed=frozenset({"attn_qkv", "attn_output", "ffn_up", "ffn_down"}),
        ),
    )
}  # fmt: skip
"""By architecture. Mistral's and SmolLM's files are Llama's."""


def family_of(architecture: object) -> Family:
    """By general.architecture. Raises RunError naming those that are supported."""
    if not isinstance(architecture, str) or architecture not in FAMILIES:
        near = did_you_mean(str(architecture), FAMILIES)
        raise RunError(f"the architecture {architecture!r} of a GGUF file is not supported", hint=near)
    return FAMILIES[architecture]


def family_for(model_type: object) -> Family:
    """By model_type of a config.json. Raises RunError naming those that can be written."""
    for family in FAMILIES.values():
        if model_type in family.model_types:
            return family
    known = [name for family in FAMILIES.values() for name in family.model_types]
    raise RunError(
        f"a model of type {model_type!r} cannot be written as GGUF", hint=did_you_mean(str(model_type), known)
    )
