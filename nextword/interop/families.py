"""Settings of Hugging Face models become ours by the tables of families, and ours become theirs.

An export proves itself: the first family whose config.json, read back, gives the very settings that were to be written
is the one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nextword.config import parse
from nextword.errors import RunError, UsageError, did_you_mean
from nextword.interop.tables import FAMILIES, Family
from nextword.models import MODELS
from nextword.models.encoder_decoder import EncoderDecoderConfig
from nextword.models.transformer_config import TransformerConfig

__all__ = ["FAMILIES", "Family", "Reading", "canonical", "read_config", "write_config"]

_INERT = """
    _from_model_config _name_or_path architectures attention_dropout attn_pdrop bos_token_id
    cache_implementation chunk_size_feed_forward decoder_start_token_id dtype embd_pdrop eos_token_id
    finetuning_task gradient_checkpointing id2label initializer_range is_decoder is_encoder_decoder label2id
    language model_type n_ctx num_labels output_attentions output_hidden_states output_past pad_token_id
    problem_type reorder_and_upcast_attn resid_pdrop return_dict summary_activation summary_first_dropout
    summary_proj_to_labels summary_type summary_use_proj task_specific_params torch_dtype torchscript
    dropout activation_dropout classifier_dropout classif_dropout encoder_layerdrop decoder_layerdrop init_std
    static_position_embeddings num_hidden_layers bad_words_ids forced_eos_token_id num_beams max_length
    dropout_rate initializer_factor dense_act_fn is_gated_act
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


def read_config(config: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> Reading:
    """The settings that a config.json means; `tensors` tell what it does not know of itself.

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
    if family.tied_by_weights and tensors is not None:
        found["tied"] = "lm_head.weight" not in tensors or _is_embedding(tensors)
    try:
        settings = parse(MODELS[family.type].config, {**family.settings, **found})
    except UsageError as error:
        raise RunError(error.message) from None
    assert isinstance(settings, TransformerConfig)
    if not settings.vocab_size:
        raise RunError("vocab_size: expected a number of at least 1, got 0")
    unknown = sorted(key for key, value in config.items() if value and key not in family.known | INERT)
    return Reading(name, family.of(settings), settings, tuple(unknown))


def _is_embedding(tensors: Mapping[str, Tensor]) -> bool:
    """Whether T5's output layer is its embedding."""
    others = [name for name in ("shared.weight", *FAMILIES["t5"].embeddings) if name in tensors]
    return not others or torch.equal(tensors["lm_head.weight"], tensors[others[0]])


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
    usual = "T5" if FAMILIES[nearest[0]].encodes else "Llama or GPT-2"
    raise UsageError(
        f"no family of Hugging Face models is like this Transformer: {nearest[0]} comes nearest and has no {what}",
        hint=f"Export an ordinary one: settings of {usual}",
    )


def _as_config(name: str, settings: TransformerConfig) -> dict[str, Any]:
    family = FAMILIES[name]
    config: dict[str, Any] = {"architectures": [family.architecture], "model_type": name}
    config |= {"is_encoder_decoder": True} if family.encodes else {}
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
            "out_bias": settings.biased_out,
            "layer_pattern": kinds,
            "window": settings.window if local else 0,
            "rope_local_theta": (settings.rope_local_theta or settings.rope_theta) if local else 0.0,
            "rope_theta": settings.rope_theta if settings.positions == "rotary" else 10_000.0,
            "qk_norm_over": settings.qk_norm_over if settings.qk_norm else "head",
            "dropout": 0.0,
        }
    )
