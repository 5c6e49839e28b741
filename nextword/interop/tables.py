"""Each family of Hugging Face models as a table: names and settings there, and here; `families` puts them to use.

A family says how keys of its config.json and names of its tensors are called here (weights.py puts the latter to use).
What is more than another name is a Rule: a pair of functions that read some keys and write them.

Layout: https://github.com/huggingface/transformers, src/transformers/models/*/configuration_*.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nextword.interop import rules
from nextword.interop.rules import Rule
from nextword.models import MODELS
from nextword.models.transformer_config import GATED, TransformerConfig
from nextword.models.transformer_config import GPT2 as GPT2_SETTINGS


@dataclass(frozen=True)
class Family:
    """One `model_type`."""

    architecture: str
    """The class that `transformers` loads."""
    layers: Mapping[str, tuple[str, ...]]
    """Our layer, and those of theirs that it joins, one below the other; without the number of the block. `output.bias`
    is a tensor, and its name there that of a tensor, which is one row of a matrix."""
    keys: Mapping[str, str]
    """A key of config.json, and our setting that is the same."""
    rules: tuple[Rule, ...] = ()
    """What is more than another name."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Ours that every model of the family has."""
    assumed: Mapping[str, Any] = field(default_factory=dict)
    """What a key means that config.json leaves out."""
    demanded: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Keys of which only these values can be expressed here; the first is written."""
    prefix: str = "model."
    """Before the names of all tensors but the output layer's."""
    blocks: Mapping[str, str] = field(default_factory=lambda: {"blocks": "layers"})
    """Our stacks of blocks, and theirs."""
    gated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Those of `layers` that are called otherwise where the MLP has a gate."""
    tied_by_weights: bool = False
    """Whether the output layer is the embedding is told by the weights, as the config has it wrong (T5)."""
    embeddings: tuple[str, ...] = ()
    """Tensors that files have beside the embedding, and that are the same."""
    transposed: frozenset[str] = frozenset()
    """Layers of ours whose weight they keep as (in, out)."""

    @property
    def type(self) -> str:
        """Our architecture."""
        return str(self.settings.get("type", "transformer"))

    @property
    def encodes(self) -> bool:
        """Whether it reads a source, and begins what it writes with a token of its own."""
        return MODELS[self.type].model.encodes

    def of(self, settings: TransformerConfig) -> Family:
        """The table of models with these settings."""
        return replace(self, layers={**self.layers, **self.gated}) if settings.activation in GATED else self

    @property
    def known(self) -> set[str]:
        """The keys of config.json that say what the model computes."""
        return {*self.keys, *self.demanded, *(key for rule in self.rules for key in rule.keys)}


LLAMA_KEYS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "mlp_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "num_key_value_heads": "num_kv_heads",
    "head_dim": "head_size",
    "max_position_embeddings": "max_seq_len",
    "rms_norm_eps": "norm_eps",
    "tie_word_embeddings": "tied",
}
LLAMA_LAYERS = {
    "embedding": ("embed_tokens",),
    "attention_norm": ("input_layernorm",),
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.out": ("self_attn.o_proj",),
    "mlp_norm": ("post_attention_layernorm",),
    "mlp.up": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.down": ("mlp.down_proj",),
    "norm": ("norm",),
    "output": ("lm_head",),
}
QK_NORMS = {"attention.q_norm": ("self_attn.q_norm",), "attention.k_norm": ("self_attn.k_norm",)}
LLAMA_ASSUMED = {"tie_word_embeddings": False, "rms_norm_eps": 1e-6, "hidden_act": "silu", "rope_theta": 10_000.0}
QWEN_ASSUMED = LLAMA_ASSUMED | {
    "num_key_value_heads": 32,
    "sliding_window": 4096,
    "max_window_layers": 28,
    "max_position_embeddings": 32_768,
}
ONE_SEQUENCE = {"pretraining_tp": (1,)}
GEMMA_KEYS = {
    **LLAMA_KEYS,
    "final_logit_softcapping": "logit_softcap",
    "attn_logit_softcapping": "attention_softcap",
}
GEMMA_LAYERS = {
    **LLAMA_LAYERS,
    "attention_post_norm": ("post_attention_layernorm",),
    "mlp_norm": ("pre_feedforward_layernorm",),
    "mlp_post_norm": ("post_feedforward_layernorm",),
}
GEMMA_SETTINGS = {"norm_place": "both", "norm_offset": True, "embedding_scale": True}
GEMMA_ASSUMED = {
    "num_key_value_heads": 4,
    "head_dim": 256,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "max_position_embeddings": 8192,
}
CAUSAL = {"use_bidirectional_attention": (None, False)}
MARIAN_LAYERS = {
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.out": ("self_attn.out_proj",),
    "attention_post_norm": ("self_attn_layer_norm",),
    "source_attention.q": ("encoder_attn.q_proj",),
    "source_attention.kv": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "source_attention.out": ("encoder_attn.out_proj",),
    "source_post_norm": ("encoder_attn_layer_norm",),
    "mlp.up": ("fc1",),
    "mlp.down": ("fc2",),
    "mlp_post_norm": ("final_layer_norm",),
}
T5_ATTENTION = {
    "attention_norm": ("layer.0.layer_norm",),
    "attention.qkv": ("layer.0.SelfAttention.q", "layer.0.SelfAttention.k", "layer.0.SelfAttention.v"),
    "attention.out": ("layer.0.SelfAttention.o",),
}
T5_LAYERS = {
    "embedding": ("shared",),
    "encoder_positions": ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias",),
    "decoder_positions": ("decoder.block.0.layer.0.SelfAttention.relative_attention_bias",),
    **{f"{half}.{ours}": theirs for half in ("encoder", "decoder") for ours, theirs in T5_ATTENTION.items()},
    "encoder.mlp_norm": ("layer.1.layer_norm",),
    "encoder.mlp.up": ("layer.1.DenseReluDense.wi",),
    "encoder.mlp.down": ("layer.1.DenseReluDense.wo",),
    "decoder.source_norm": ("layer.1.layer_norm",),
    "decoder.source_attention.q": ("layer.1.EncDecAttention.q",),
    "decoder.source_attention.kv": ("layer.1.EncDecAttention.k", "layer.1.EncDecAttention.v"),
    "decoder.source_attention.out": ("layer.1.EncDecAttention.o",),
    "decoder.mlp_norm": ("layer.2.layer_norm",),
    "decoder.mlp.up": ("layer.2.DenseReluDense.wi",),
    "decoder.mlp.down": ("layer.2.DenseReluDense.wo",),
    "encoder_norm": ("encoder.final_layer_norm",),
    "norm": ("decoder.final_layer_norm",),
    "output": ("lm_head",),
}
T5_GATED = {
    "encoder.mlp.up": ("layer.1.DenseReluDense.wi_0", "layer.1.DenseReluDense.wi_1"),
    "decoder.mlp.up": ("layer.2.DenseReluDense.wi_0", "layer.2.DenseReluDense.wi_1"),
}
T5_KEYS = {
    "vocab_size": "vocab_size",
    "d_model": "hidden_size",
    "d_kv": "head_size",
    "d_ff": "mlp_size",
    "num_heads": "num_heads",
    "n_positions": "max_seq_len",
    "layer_norm_epsilon": "norm_eps",
    "relative_attention_num_buckets": "relative_buckets",
    "relative_attention_max_distance": "relative_distance",
}
T5_ASSUMED = {
    "d_kv": 64,
    "layer_norm_epsilon": 1e-6,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
}
T5_BLOCKS = {"encoder": "encoder.block", "decoder": "decoder.block"}
T5_EMBEDDINGS = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
T5_SETTINGS = {"type": "encoder-decoder", "positions": "relative", "attention_scale": 1.0}

T5 = Family(
    "T5ForConditionalGeneration",
    T5_LAYERS,
    T5_KEYS,
    (rules.T5_DEPTHS, rules.T5_ACTIVATION, rules.T5_OUTPUT),
    settings=T5_SETTINGS,
    assumed=T5_ASSUMED | {"feed_forward_proj": "relu", "n_positions": 512},
    prefix="",
    blocks=T5_BLOCKS,
    gated=T5_GATED,
    tied_by_weights=True,
    embeddings=T5_EMBEDDINGS,
)

FAMILIES: dict[str, Family] = {
    "llama": Family(
        "LlamaForCausalLM",
        LLAMA_LAYERS,
        LLAMA_KEYS,
        (rules.ROPE, rules.GATE, rules.BIASES),
        assumed=LLAMA_ASSUMED | {"max_position_embeddings": 2048},
        demanded=ONE_SEQUENCE,
    ),
    "gpt2": Family(
        "GPT2LMHeadModel",
        {
            "embedding": ("wte",),
            "position_embedding": ("wpe",),
            "attention_norm": ("ln_1",),
            "attention.qkv": ("attn.c_attn",),
            "attention.out": ("attn.c_proj",),
            "mlp_norm": ("ln_2",),
            "mlp.up": ("mlp.c_fc",),
            "mlp.down": ("mlp.c_proj",),
            "norm": ("ln_f",),
            "output": ("lm_head",),
        },
        {
            "vocab_size": "vocab_size",
            "n_embd": "hidden_size",
            "n_layer": "num_layers",
            "n_head": "num_heads",
            "n_positions": "max_seq_len",
            "n_inner": "mlp_size",
            "layer_norm_epsilon": "norm_eps",
            "tie_word_embeddings": "tied",
        },
        (rules.GELU,),
        settings=GPT2_SETTINGS,
        assumed={
            "activation_function": "gelu_new",
            "tie_word_embeddings": True,
            "layer_norm_epsilon": 1e-5,
            "n_positions": 1024,
        },
        demanded={
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
        },
        prefix="transformer.",
        blocks={"blocks": "h"},
        transposed=frozenset({"attention.qkv", "attention.out", "mlp.up", "mlp.down"}),
    ),
    "mistral": Family(
        "MistralForCausalLM",
        LLAMA_LAYERS,
        LLAMA_KEYS,
        (rules.ROPE, rules.GATE, rules.ONE_WINDOW),
        assumed=LLAMA_ASSUMED | {"num_key_value_heads": 8, "sliding_window": 4096, "max_position_embeddings": 131_072},
    ),
    "qwen2": Family(
        "Qwen2ForCausalLM",
        LLAMA_LAYERS,
        LLAMA_KEYS,
        (rules.ROPE, rules.GATE, rules.UPPER_WINDOWS),
        settings={"qkv_bias": True},
        assumed=QWEN_ASSUMED,
    ),
    "qwen3": Family(
        "Qwen3ForCausalLM",
        LLAMA_LAYERS | QK_NORMS,
        LLAMA_KEYS,
        (rules.ROPE, rules.GATE, rules.UPPER_WINDOWS, rules.ATTENTION_BIASES),
        settings={"qk_norm": True},
        assumed=QWEN_ASSUMED | {"head_dim": 128},
    ),
    "gemma2": Family(
        "Gemma2ForCausalLM",
        GEMMA_LAYERS,
        GEMMA_KEYS,
        (rules.ROPE, rules.GEMMA_GATE, rules.QUERY_SCALE, rules.ATTENTION_BIASES, rules.alternating_windows(2)),
        settings=GEMMA_SETTINGS,
        assumed=GEMMA_ASSUMED
        | {"rope_theta": 10_000.0, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
        demanded=CAUSAL,
    ),
    "gemma3_text": Family(
        "Gemma3ForCausalLM",
        GEMMA_LAYERS | QK_NORMS,
        GEMMA_KEYS,
        (rules.TWO_ROPES, rules.GEMMA_GATE, rules.QUERY_SCALE, rules.ATTENTION_BIASES, rules.alternating_windows(6)),
        settings=GEMMA_SETTINGS | {"qk_norm": True},
        assumed=GEMMA_ASSUMED | {"max_position_embeddings": 131_072},
        demanded=CAUSAL,
    ),
    "phi3": Family(
        "Phi3ForCausalLM",
        LLAMA_LAYERS | {"attention.qkv": ("self_attn.qkv_proj",), "mlp.up": ("mlp.gate_up_proj",)},
        LLAMA_KEYS,
        (rules.ROPE, rules.GATE, rules.ONE_WINDOW),
        assumed=LLAMA_ASSUMED | {"rms_norm_eps": 1e-5, "max_position_embeddings": 4096},
    ),
    "olmo2": Family(
        "Olmo2ForCausalLM",
        {name: theirs for name, theirs in LLAMA_LAYERS.items() if name not in ("attention_norm", "mlp_norm")}
        | {"attention_post_norm": ("post_attention_layernorm",), "mlp_post_norm": ("post_feedforward_layernorm",)}
        | QK_NORMS,
        LLAMA_KEYS,
        (rules.ROPE, rules.GATE, rules.ATTENTION_BIASES),
        settings={"norm_place": "after", "qk_norm": True, "qk_norm_over": "all"},
        assumed=LLAMA_ASSUMED | {"rms_norm_eps": 1e-5, "max_position_embeddings": 2048},
    ),
    "smollm3": Family(
        "SmolLM3ForCausalLM",
        LLAMA_LAYERS,
        LLAMA_KEYS,
        (rules.ROPE, rules.GATE, rules.BIASES, rules.NOPE),
        assumed=LLAMA_ASSUMED
        | {"tie_word_embeddings": True, "rope_theta": 2e6, "num_key_value_heads": 4, "max_position_embeddings": 32_768},
        demanded={"use_sliding_window": (False, None)},
    ),
    "marian": Family(
        "MarianMTModel",
        {"embedding": ("shared",), "output": ("lm_head",), "output.bias": ("final_logits_bias",)}
        | {f"{half}.{ours}": theirs for half in ("encoder", "decoder") for ours, theirs in MARIAN_LAYERS.items()},
        {
            "vocab_size": "vocab_size",
            "d_model": "hidden_size",
            "encoder_layers": "encoder_layers",
            "decoder_layers": "num_layers",
            "max_position_embeddings": "max_seq_len",
            "scale_embedding": "embedding_scale",
        },
        (
            rules.both_halves("encoder_attention_heads", "decoder_attention_heads", "num_heads"),
            rules.both_halves("encoder_ffn_dim", "decoder_ffn_dim", "mlp_size"),
            rules.ONE_VOCABULARY,
            rules.MARIAN_ACTIVATION,
        ),
        settings={
            "type": "encoder-decoder",
            "norm": "layer",
            "norm_place": "sum",
            "positions": "sinusoidal",
            "qkv_bias": True,
            "bias": True,
            "output_bias": True,
        },
        assumed={
            "encoder_layers": 12,
            "max_position_embeddings": 1024,
            "activation_function": "gelu",
            "scale_embedding": False,
        },
        demanded={"share_encoder_decoder_embeddings": (True,), "tie_word_embeddings": (True,)},
        blocks={"encoder": "encoder.layers", "decoder": "decoder.layers"},
        embeddings=("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"),
    ),
    "t5": T5,
    "mt5": replace(
        T5,
        architecture="MT5ForConditionalGeneration",
        rules=(rules.T5_DEPTHS, rules.T5_ACTIVATION, rules.MT5_OUTPUT),
        assumed=T5_ASSUMED | {"feed_forward_proj": "gated-gelu", "n_positions": 1024},
    ),
}
"""By `model_type`. SmolLM and SmolLM 2 are Llamas; Phi-3.5 and Phi-4-mini are Phi-3."""
