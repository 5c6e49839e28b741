"""The families of Hugging Face models that Transformers of ours can be: each a table of names and settings, both ways.

A family says how keys of its config.json and names of its tensors are called here (weights.py puts the latter to use).
What is more than another name is a Rule: a pair of functions that read some keys and write them. An export proves
itself: the first family whose config.json, read back, gives the very settings that were to be written is the one.

Layout: https://github.com/huggingface/transformers, src/transformers/models/*/configuration_*.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nextword.config import parse
from nextword.errors import RunError, UsageError, did_you_mean
from nextword.interop import rules
from nextword.interop.rules import Rule
from nextword.models import MODELS
from nextword.models.encoder_decoder import EncoderDecoderConfig
from nextword.models.transformer import GPT2 as GPT2_SETTINGS
from nextword.models.transformer import TransformerConfig


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
}
"""By `model_type`. SmolLM and SmolLM 2 are Llamas; Phi-3.5 and Phi-4-mini are Phi-3."""

_INERT = """
    _from_model_config _name_or_path architectures attention_dropout attn_pdrop bos_token_id
    cache_implementation chunk_size_feed_forward decoder_start_token_id dtype embd_pdrop eos_token_id
    finetuning_task gradient_checkpointing id2label initializer_range is_decoder is_encoder_decoder label2id
    language model_type n_ctx num_labels output_attentions output_hidden_states output_past pad_token_id
    problem_type reorder_and_upcast_attn resid_pdrop return_dict summary_activation summary_first_dropout
    summary_proj_to_labels summary_type summary_use_proj task_specific_params torch_dtype torchscript
    dropout activation_dropout classifier_dropout classif_dropout encoder_layerdrop decoder_layerdrop init_std
    static_position_embeddings num_hidden_layers bad_words_ids forced_eos_token_id num_beams max_length
    transformers_version transformers.js_config unk_token_id unsloth_fixed unsloth_version use_cache
"""
INERT = frozenset(_INERT.split())
"""Keys of config.json that change nothing of what a model computes from its weights when it is not trained."""
REQUIRED = ("vocab_size", "hidden_size", "num_layers", "num_heads", "mlp_size")
"""Settings that no file leaves out, but for GPT-2's n_inner."""


class Reading(NamedTuple):
    """What a config.json says."""

    name: str
    family: Family
    settings: TransformerConfig
    ignored: tuple[str, ...]
    """Keys that nobody here knows, or that name code."""


def read_config(config: Mapping[str, Any]) -> Reading:
    """The settings that a config.json means.

    Raises RunError for a family that is not supported, for weights in a quantized layout of another library, and for
    values that cannot be expressed or are out of range.
    """
    name = config.get("model_type")
    if not isinstance(name, str) or name not in FAMILIES:
        near = did_you_mean(str(name), FAMILIES)
        supported = f"Supported: {', '.join(FAMILIES)}"
        hint = supported if near.startswith("Known") else f"{near} {supported}"
        raise RunError(f"model_type {name!r} is not supported", hint=hint)
    family = FAMILIES[name]
    if config.get("quantization_config"):
        raise RunError("its weights are quantized (quantization_config)", hint="Import the original, or a GGUF file")
    for key, values in family.demanded.items():
        if config.get(key, values[0]) not in values:
            raise RunError(f"{key} {config[key]!r} is not supported in family {name}, only {values[0]!r}")
    full = {**family.assumed, **config}
    for theirs, ours in family.keys.items():
        if ours in REQUIRED and full.get(theirs) is None and theirs != "n_inner":
            raise RunError(f"its config.json lacks {theirs}")
    found = {ours: full[theirs] for theirs, ours in family.keys.items() if full.get(theirs) is not None}
    for rule in family.rules:
        found |= rule.read(full)
    try:
        settings = parse(MODELS[family.type].config, {**family.settings, **found})
    except UsageError as error:
        raise RunError(error.message) from None
    assert isinstance(settings, TransformerConfig)
    if not settings.vocab_size:
        raise RunError("vocab_size: expected a number of at least 1, got 0")
    unknown = sorted(key for key, value in config.items() if value and key not in family.known | INERT)
    return Reading(name, family, settings, tuple(unknown))


def write_config(settings: TransformerConfig, preferred: str = "") -> tuple[str, dict[str, Any]]:
    """A family that can be these settings, and its config.json; `preferred` is tried first.

    Raises UsageError naming what stands in the way of the nearest family.
    """
    wanted = canonical(settings)
    nearest: tuple[str, list[str]] | None = None
    families = [name for name, family in FAMILIES.items() if family.type == settings.type]
    for name in sorted(families, key=lambda name: name != preferred):
        config = _as_config(name, wanted)
        try:
            found = canonical(read_config(config).settings)
        except RunError:
            continue
        different = [key for key, value in wanted if getattr(found, key) != value]
        if not different:
            return name, config
        if nearest is None or len(different) < len(nearest[1]):
            nearest = name, different
    assert nearest is not None
    what = ", ".join(f"{key} = {getattr(wanted, key)!r}" for key in nearest[1])
    raise UsageError(
        f"no family of Hugging Face models is like this Transformer: {nearest[0]} comes nearest and has no {what}",
        hint="Export an ordinary one: settings of Llama or GPT-2",
    )


def _as_config(name: str, settings: TransformerConfig) -> dict[str, Any]:
    family = FAMILIES[name]
    config: dict[str, Any] = {"architectures": [family.architecture], "model_type": name}
    for theirs, ours in family.keys.items():
        value = getattr(settings, ours)
        config[theirs] = None if value == 0 and ours.endswith("softcap") else value
    for key, values in family.demanded.items():
        config[key] = values[0]
    for rule in family.rules:
        config |= rule.write(settings)
    return config


def canonical(settings: TransformerConfig) -> TransformerConfig:
    """The same network with nothing left to be derived; dropout, which only training knows, left out."""
    kinds = settings.layer_kinds
    local = "local" in kinds
    if isinstance(settings, EncoderDecoderConfig):
        settings = settings.model_copy(update={"encoder_layers": settings.encoder_layers or settings.num_layers})
    return settings.model_copy(
        update={
            "head_size": settings.D,
            "num_kv_heads": settings.G,
            "mlp_size": settings.inner_size,
            "attention_scale": settings.attention_scale or float(settings.D),
            "out_bias": settings.bias if settings.out_bias is None else settings.out_bias,
            "layer_pattern": kinds,
            "window": settings.window if local else 0,
            "rope_local_theta": (settings.rope_local_theta or settings.rope_theta) if local else 0.0,
            "rope_theta": settings.rope_theta if settings.positions == "rotary" else 10_000.0,
            "qk_norm_over": settings.qk_norm_over if settings.qk_norm else "head",
            "dropout": 0.0,
        }
    )
