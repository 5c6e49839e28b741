"""What in a config.json of Hugging Face is more than another name for a setting of ours: rules, read and written.

Each rule reads the whole config.json, absent keys filled in with what the family takes for granted, and writes its
own keys. `transformers` 5 writes the rotary settings as `rope_parameters`; we read both that and the older
`rope_theta` and `rope_scaling`, and write the older form, which every version understands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from nextword.errors import RunError, did_you_mean
from nextword.models.transformer_config import TransformerConfig

Values = Mapping[str, Any]


class Rule(NamedTuple):
    """Some keys, and what they mean."""

    keys: tuple[str, ...]
    """The keys of config.json that it reads or writes."""
    read: Callable[[Values], dict[str, Any]]
    """A config.json -> settings of ours. Raises RunError for what we cannot be."""
    write: Callable[[TransformerConfig], dict[str, Any]]
    """Our settings -> keys of config.json; what cannot be said is left out, and found missing when it is read back."""


# -- rotary positions --------------------------------------------------------------------------------------------------

SCALINGS = ("linear", "dynamic", "llama3", "yarn", "longrope")
ROPE_KEYS = (
    "rope_parameters",
    "rope_theta",
    "rope_scaling",
    "partial_rotary_factor",
    "original_max_position_embeddings",
)
# A key of theirs inside rope_scaling, and ours inside RopeScaling.
SCALING_KEYS = {
    "factor": "factor",
    "low_freq_factor": "low_frequency",
    "high_freq_factor": "high_frequency",
    "beta_fast": "beta_fast",
    "beta_slow": "beta_slow",
    "truncate": "truncate",
    "attention_factor": "attention_factor",
    "short_factor": "short_factors",
    "long_factor": "long_factors",
}
OTHER_SCALING_KEYS = (
    *("rope_type", "type", "rope_theta", "partial_rotary_factor", "original_max_position_embeddings"),
    *("mscale", "mscale_all_dim", "finetuned"),
)


def _read_rope(config: Values) -> dict[str, Any]:
    found = _mapping(config, "rope_parameters") or _mapping(config, "rope_scaling")
    settings: dict[str, Any] = {
        "rope_theta": found.get("rope_theta") or config.get("rope_theta"),
        "rope_share": found.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0,
    }
    return settings | _read_scaling(found, config)


def _read_scaling(found: Values, config: Values) -> dict[str, Any]:
    kind = found.get("rope_type") or found.get("type") or "default"
    kind = "longrope" if kind == "su" else kind  # its name in the first files of Phi-3
    if kind == "default":
        return {}
    if kind not in SCALINGS:
        raise RunError(f"rope_scaling: unknown type {kind!r}. {did_you_mean(str(kind), SCALINGS)}")
    for key in found:
        if key not in SCALING_KEYS and key not in OTHER_SCALING_KEYS:
            raise RunError(f"rope_scaling: unknown key {key!r}. {did_you_mean(key, SCALING_KEYS)}")
    longest = integer(config, "max_position_embeddings", 1)
    named = next((c for c in (found, config) if c.get("original_max_position_embeddings") is not None), None)
    original = longest if named is None or kind == "dynamic" else integer(named, "original_max_position_embeddings", 1)
    scaling = {ours: found[theirs] for theirs, ours in SCALING_KEYS.items() if found.get(theirs) is not None}
    scaling |= {"type": kind, "original_len": original}
    if kind in ("yarn", "longrope") and "factor" not in scaling:
        scaling["factor"] = longest / original
    if found.get("mscale") and found.get("mscale_all_dim") and "attention_factor" not in scaling:
        grown = math.log(number(scaling, "factor")) / 10
        mscale, all_dim = number(found, "mscale"), number(found, "mscale_all_dim")
        scaling["attention_factor"] = (mscale * grown + 1) / (all_dim * grown + 1)
    if kind == "longrope":  # beyond, other divisors hold: whoever wants that raises max_seq_len
        return {"rope_scaling": scaling, "max_seq_len": original}
    return {"rope_scaling": scaling}


def _write_rope(settings: TransformerConfig) -> dict[str, Any]:
    config: dict[str, Any] = {"rope_theta": settings.rope_theta, "rope_scaling": None}
    if settings.rope_share != 1:
        config["partial_rotary_factor"] = settings.rope_share
    scaling = settings.rope_scaling
    if scaling is None:
        return config
    defaults = type(scaling)(type=scaling.type, original_len=scaling.original_len)
    values: dict[str, Any] = {"rope_type": scaling.type, "factor": scaling.factor}
    for theirs, ours in SCALING_KEYS.items():
        value = getattr(scaling, ours)
        if value != getattr(defaults, ours) or (scaling.type == "llama3" and theirs.endswith("freq_factor")):
            values[theirs] = list(value) if isinstance(value, tuple) else value
    if scaling.type == "longrope":
        config["original_max_position_embeddings"] = scaling.original_len
        config["max_position_embeddings"] = round(scaling.original_len * scaling.factor)
        del values["factor"]
    elif scaling.type in ("llama3", "yarn"):
        values["original_max_position_embeddings"] = scaling.original_len
    return config | {"rope_scaling": values}


def _read_two_ropes(config: Values) -> dict[str, Any]:
    """Gemma 3: one for global layers, which may be scaled, and one for local layers."""
    both = _mapping(config, "rope_parameters")
    every, local = _mapping(both, "full_attention"), _mapping(both, "sliding_attention")
    scaling = _mapping(config, "rope_scaling") or every
    if (local.get("rope_type") or "default") != "default":
        raise RunError(f"rope_parameters: scaled local layers are not supported, got {local['rope_type']!r}")
    return {
        "rope_theta": every.get("rope_theta") or config.get("rope_theta") or 1e6,
        "rope_local_theta": local.get("rope_theta") or config.get("rope_local_base_freq") or 1e4,
    } | _read_scaling(scaling, config)


def _write_two_ropes(settings: TransformerConfig) -> dict[str, Any]:
    local = settings.rope_local_theta or settings.rope_theta
    return _write_rope(settings) | {"rope_local_base_freq": local}


def _one_of(value: Any, names: Mapping[str, str], key: str) -> str:
    if not isinstance(value, str) or value not in names:
        raise RunError(f"{key} {value!r} is not supported. {did_you_mean(str(value), names)}")
    return names[value]


def _mapping(config: Values, key: str) -> Values:
    value = config.get(key) or {}
    if not isinstance(value, Mapping):
        raise RunError(f"{key}: expected an object, got {value!r}")
    return value


def integer(config: Values, key: str, least: int) -> int:
    """An integer of at least `least` and at most 2**24. Raises RunError for anything else."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 2**24:
        raise RunError(f"{key}: expected an integer from {least} to {2**24}, got {value!r}")
    return value


def number(config: Values, key: str) -> float:
    """A number greater than 0. Raises RunError for anything else."""
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise RunError(f"{key}: expected a number greater than 0, got {value!r}")
    return float(value)


ROPE = Rule(ROPE_KEYS, _read_rope, _write_rope)
TWO_ROPES = Rule((*ROPE_KEYS, "rope_local_base_freq"), _read_two_ropes, _write_two_ropes)


# -- activations -------------------------------------------------------------------------------------------------------


def _activation(key: str, names: Mapping[str, str], also: tuple[str, ...] = ()) -> Rule:
    """`names`: theirs and ours; of several that mean the same the first is written."""

    def read(config: Values) -> dict[str, Any]:
        return {"activation": _one_of(config.get(key), names, key)}

    def write(settings: TransformerConfig) -> dict[str, Any]:
        found = [theirs for theirs, ours in names.items() if ours == settings.activation]
        return {key: found[0]} if found else {}

    return Rule((key, *also), read, write)


GATES = {"silu": "swiglu", "gelu_pytorch_tanh": "geglu_tanh", "gelu": "geglu"}
GATE = _activation("hidden_act", GATES)
GEMMA_GATE = _activation("hidden_activation", GATES, also=("hidden_act",))  # hidden_act is of older files, and unused
T5_ACTIVATION = _activation(
    "feed_forward_proj",
    {"relu": "relu", "gated-gelu": "geglu_tanh", "gated-silu": "swiglu", "gelu": "gelu", "silu": "silu"},
)
MARIAN_ACTIVATION = _activation(
    "activation_function",
    {"swish": "silu", "silu": "silu", "relu": "relu", "gelu": "gelu", "gelu_new": "gelu_tanh"},
)
GELU = _activation("activation_function", {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"})


# -- biases ------------------------------------------------------------------------------------------------------------


def _read_attention_biases(config: Values) -> dict[str, Any]:
    return {"qkv_bias": bool(config.get("attention_bias")), "out_bias": bool(config.get("attention_bias"))}


def _write_attention_biases(settings: TransformerConfig) -> dict[str, Any]:
    return {"attention_bias": settings.qkv_bias}


ATTENTION_BIASES = Rule(("attention_bias",), _read_attention_biases, _write_attention_biases)
BIASES = Rule(
    ("attention_bias", "mlp_bias"),
    lambda config: _read_attention_biases(config) | {"bias": bool(config.get("mlp_bias"))},
    lambda settings: _write_attention_biases(settings) | {"mlp_bias": settings.bias},
)


# -- the scale of attention --------------------------------------------------------------------------------------------


def _write_query_scale(settings: TransformerConfig) -> dict[str, Any]:
    scale = settings.attention_scale
    return {"query_pre_attn_scalar": int(scale) if scale == int(scale) else scale}  # transformers takes no 256.0


QUERY_SCALE = Rule(
    ("query_pre_attn_scalar",),
    lambda config: {"attention_scale": config["query_pre_attn_scalar"]},
    _write_query_scale,
)


# -- windows -----------------------------------------------------------------------------------------------------------

LAYER_TYPES = {"sliding_attention": "local", "full_attention": "global"}


def _pattern(config: Values, otherwise: Callable[[int], bool]) -> list[str]:
    """What each layer sees, by layer_types; where that is left out, `otherwise(i)` says whether layer i is local."""
    types = config.get("layer_types")
    if types is None:
        return ["local" if otherwise(i) else "global" for i in range(_layers(config))]
    if not isinstance(types, list) or len(types) != _layers(config):
        raise RunError(f"layer_types: expected a list of {_layers(config)} names, got {types!r}")
    return [_one_of(name, LAYER_TYPES, "layer_types") for name in types]


def _layers(config: Values) -> int:
    return integer(config, "num_hidden_layers", 1)


def _windows(config: Values, pattern: list[str]) -> dict[str, Any]:
    window = config.get("sliding_window")
    return {"window": window, "layer_pattern": pattern} if window and "local" in pattern else {}


def _layer_types(settings: TransformerConfig) -> list[str]:
    return ["sliding_attention" if kind == "local" else "full_attention" for kind in settings.layer_kinds]


ONE_WINDOW = Rule(
    ("sliding_window",),
    lambda config: {"window": config.get("sliding_window") or 0},
    lambda settings: {"sliding_window": settings.window if set(settings.layer_kinds) == {"local"} else None},
)


def _read_upper_windows(config: Values) -> dict[str, Any]:
    if not config.get("use_sliding_window"):
        return {}
    first = integer(config, "max_window_layers", 0)
    return _windows(config, _pattern(config, lambda i: i >= first))


def _write_upper_windows(settings: TransformerConfig) -> dict[str, Any]:
    kinds = settings.layer_kinds
    if "local" not in kinds:
        return {"use_sliding_window": False, "sliding_window": None, "max_window_layers": len(kinds)}
    return {
        "use_sliding_window": True,
        "sliding_window": settings.window,
        "max_window_layers": kinds.index("local"),
        "layer_types": _layer_types(settings),
    }


UPPER_WINDOWS = Rule(
    ("use_sliding_window", "sliding_window", "max_window_layers", "layer_types"),
    _read_upper_windows,
    _write_upper_windows,
)
"""Qwen: windows from layer max_window_layers on, if they are used at all."""


def alternating_windows(every: int) -> Rule:
    """Gemma: all layers have a window but each `every`th; older files of Gemma 3 say sliding_window_pattern."""

    def read(config: Values) -> dict[str, Any]:
        period = integer(config, "sliding_window_pattern", 1) if config.get("sliding_window_pattern") else every
        return _windows(config, _pattern(config, lambda i: (i + 1) % period != 0))

    def write(settings: TransformerConfig) -> dict[str, Any]:
        return {"sliding_window": settings.window or None, "layer_types": _layer_types(settings)}

    return Rule(("sliding_window", "sliding_window_pattern", "_sliding_window_pattern", "layer_types"), read, write)


# -- layers without positions ------------------------------------------------------------------------------------------


def _read_nope(config: Values) -> dict[str, Any]:
    rotates = config.get("no_rope_layers")
    if rotates is None:
        every = integer({"no_rope_layer_interval": 4, **config}, "no_rope_layer_interval", 1)
        rotates = [(i + 1) % every != 0 for i in range(_layers(config))]
    if not isinstance(rotates, list) or len(rotates) < _layers(config):
        raise RunError(f"no_rope_layers: expected a list of {_layers(config)} numbers, got {rotates!r}")
    return {"layer_pattern": ["global" if rotate else "nope" for rotate in rotates[: _layers(config)]]}


def _write_nope(settings: TransformerConfig) -> dict[str, Any]:
    return {"no_rope_layers": [int(kind != "nope") for kind in settings.layer_kinds]}


NOPE = Rule(
    ("no_rope_layers", "no_rope_layer_interval", "layer_types", "sliding_window"),
    _read_nope,
    _write_nope,
)
"""SmolLM 3."""


# -- an encoder and a decoder ------------------------------------------------------------------------------------------


def both_halves(encoder: str, decoder: str, ours: str) -> Rule:
    """A key for the encoder and one for the decoder, which are one setting here."""

    def read(config: Values) -> dict[str, Any]:
        first, second = integer(config, encoder, 1), integer(config, decoder, 1)
        if first != second:
            raise RunError(f"{encoder} {first} and {decoder} {second}: both halves are alike here")
        return {ours: first}

    def write(settings: TransformerConfig) -> dict[str, Any]:
        value = settings.inner_size if ours == "mlp_size" else getattr(settings, ours)
        return {encoder: value, decoder: value}

    return Rule((encoder, decoder), read, write)


def _read_one_vocabulary(config: Values) -> dict[str, Any]:
    size = config.get("decoder_vocab_size")
    if size not in (None, config.get("vocab_size")):
        raise RunError(f"decoder_vocab_size {size!r} is not vocab_size: both halves share a vocabulary here")
    return {}


ONE_VOCABULARY = Rule(("decoder_vocab_size",), _read_one_vocabulary, lambda settings: {})


def _read_t5_depths(config: Values) -> dict[str, Any]:
    encoder = integer(config, "num_layers", 1)
    named = config.get("num_decoder_layers") is not None
    return {"encoder_layers": encoder, "num_layers": integer(config, "num_decoder_layers", 1) if named else encoder}


T5_DEPTHS = Rule(
    ("num_layers", "num_decoder_layers"),
    _read_t5_depths,
    lambda settings: {
        "num_layers": getattr(settings, "encoder_layers", 0),
        "num_decoder_layers": settings.num_layers,
    },
)


def _read_t5_output(config: Values) -> dict[str, Any]:
    """T5 1.0 scales what its output layer reads and 1.1 does not: told by whether the layer is tied, and since
    transformers 5 by a key of its own."""
    tied = config.get("tie_word_embeddings") is not False
    scaled = config.get("scale_decoder_outputs")
    return {"tied": tied, "output_scale": tied if scaled is None else bool(scaled)}


def _write_t5_output(settings: TransformerConfig) -> dict[str, Any]:
    scaled = getattr(settings, "output_scale", False)
    return {"tie_word_embeddings": settings.tied, "scale_decoder_outputs": scaled}


T5_OUTPUT = Rule(("tie_word_embeddings", "scale_decoder_outputs"), _read_t5_output, _write_t5_output)
MT5_OUTPUT = Rule(
    ("tie_word_embeddings",),
    lambda config: {"tied": config.get("tie_word_embeddings") is not False},
    lambda settings: {"tie_word_embeddings": settings.tied},
)
