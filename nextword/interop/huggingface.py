"""Weights of `transformers` models under our names. Knows their layout, and loads nothing itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

GPT2_NAMES = {
    "wte": "embedding",
    "wpe": "position_embedding",
    "ln_f": "norm",
    "ln_1": "attention_norm",
    "ln_2": "mlp_norm",
    "attn.c_attn": "attention.qkv",
    "attn.c_proj": "attention.out",
    "mlp.c_fc": "mlp.up",
    "mlp.c_proj": "mlp.down",
}

LLAMA_NAMES = {
    "embed_tokens": "embedding",
    "norm": "norm",
    "lm_head": "output",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "mlp_norm",
    "self_attn.o_proj": "attention.out",
    "mlp.down_proj": "mlp.down",
}
LLAMA_JOINED = {
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "mlp.up": ("mlp.gate_proj", "mlp.up_proj"),
}
"""Our layer, and those of theirs whose outputs it computes in one product."""


def gpt2_weights(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a GPT2LMHeadModel for a Transformer with the settings `models.transformer.GPT2`."""
    weights = {}
    for key, value in theirs.items():
        match = re.fullmatch(r"transformer\.(?:(h\.\d+)\.)?(.+)\.(weight|bias)", key)
        if match is None or match[2] not in GPT2_NAMES:
            continue
        block = match[1].replace("h.", "blocks.") + "." if match[1] else ""
        transposed = value.T if ".c_" in match[2] and value.dim() == 2 else value  # they keep (in, out)
        weights[f"{block}{GPT2_NAMES[match[2]]}.{match[3]}"] = transposed
    return weights | {"output.weight": weights["embedding.weight"]}


def llama_weights(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a LlamaForCausalLM for a Transformer with the default settings."""
    weights = {}
    blocks: dict[str, dict[str, Tensor]] = {}
    for key, value in theirs.items():
        match = re.fullmatch(r"(?:model\.)?(?:layers\.(\d+)\.)?(.+)\.(weight|bias)", key)
        assert match is not None
        block = f"blocks.{match[1]}." if match[1] else ""
        if match[2] in LLAMA_NAMES:
            weights[f"{block}{LLAMA_NAMES[match[2]]}.{match[3]}"] = value
        else:
            blocks.setdefault(block, {})[f"{match[2]}.{match[3]}"] = value
    for block, parts in blocks.items():
        for ours, names in LLAMA_JOINED.items():
            for kind in ("weight", "bias"):
                if f"{names[0]}.{kind}" in parts:
                    weights[f"{block}{ours}.{kind}"] = torch.cat([parts[f"{name}.{kind}"] for name in names])
    return weights
