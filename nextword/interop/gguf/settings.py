"""The settings of a model: metadata of a GGUF file -> config.json, and back.

What GGUF leaves unsaid, llama.cpp knows by architecture, and sometimes by the number of layers. Reading fills that in.
Writing reads back what it wrote and refuses where the file would mean another model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from nextword.errors import RunError
from nextword.interop.gguf import rotary
from nextword.interop.gguf.container import Value
from nextword.interop.gguf.families import LINEAR, Family

MOST = 2**31 - 1  # of any size that is a whole number
OPTIONAL = ("num_key_value_heads", "head_dim", "n_inner", "sliding_window", "final_logit_softcapping")
SOFT_CAPS = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}  # of Gemma 2, where a file has none
UNEQUAL_SCALES = {"gemma2": 46, "gemma3": 62}  # layers of the 27B models, scaled by hidden size / heads


class Metadata:
    """The metadata of one file, asked for by key without the architecture before it, and checked on the way."""

    def __init__(self, architecture: str, values: Mapping[str, Value]) -> None:
        self.architecture, self.values = architecture, values

    def __contains__(self, key: str) -> bool:
        return f"{self.architecture}.{key}" in self.values

    def get(self, key: str, kind: type[int] | type[float] | type[str], default: Any = None) -> Any:
        """A value of that kind, `default` if the key is not there. Raises RunError if it is of another kind."""
        value = self.values.get(f"{self.architecture}.{key}")
        if value is None:
            return default
        wrong = RunError(f"{self.architecture}.{key}: {_shown(value)} is not {_KINDS[kind]}")
        if kind is str:
            if not isinstance(value, str):
                raise wrong
            return value
        if type(value) not in (int, float) or (kind is int and not (type(value) is int and 0 <= value <= MOST)):
            raise wrong
        assert isinstance(value, int | float)
        value = value if kind is int else shortest(value)
        if not math.isfinite(value):
            raise wrong
        return value


_KINDS = {int: f"a whole number up to {MOST:,}", float: "a number", str: "a text"}


def _shown(value: Value) -> str:
    return repr(value)[:60] if isinstance(value, str | int | float) else f"an array of {len(value)}"


def shortest(value: float) -> float:
    """The shortest decimal that has this value in single precision: files say 9.99999974e-06 where 1e-5 was meant."""
    with np.errstate(over="ignore"):
        return float(str(np.float32(value)))


def read_settings(
    family: Family, values: Mapping[str, Value], shapes: Mapping[str, tuple[int, ...]], factors: rotary.Factors
) -> dict[str, Any]:
    """The config.json of a file with these metadata and tensors.

    Raises RunError if a key is missing or of a wrong kind, or if there is no embedding.
    """
    metadata = Metadata(family.architecture, values)
    config: dict[str, Any] = {"model_type": family.model_types[0]}
    for theirs, ours in family.keys.items():
        kind: type[int] | type[float] = float if theirs.endswith(("eps", "epsilon", "softcapping")) else int
        config[theirs] = metadata.get(ours, kind)
        if config[theirs] is None and theirs not in OPTIONAL and theirs not in SOFT_CAPS:
            raise RunError(f"the file has no {family.architecture}.{ours}")
    config |= {theirs: values[0] for theirs, values in family.fixed.items()}
    embedding = shapes.get("token_embd.weight", ())
    if len(embedding) != 2:
        raise RunError("the file has no token_embd.weight of two dimensions")
    config["vocab_size"] = embedding[0]
    config["tie_word_embeddings"] = "output.weight" not in shapes
    if family.architecture == "gpt2":
        return config
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    if not heads:
        raise RunError(f"{family.architecture}.attention.head_count: expected at least 1, got 0")
    config["num_key_value_heads"] = heads if config["num_key_value_heads"] is None else config["num_key_value_heads"]
    config["head_dim"] = hidden // heads if config["head_dim"] is None else config["head_dim"]
    if metadata.get("attention.value_length", int, config["head_dim"]) != config["head_dim"]:
        raise RunError("keys and values of different lengths are not supported")
    config |= rotary.read(metadata, config["head_dim"], config["max_position_embeddings"], factors)
    if family.architecture == "llama":
        config["attention_bias"] = "blk.0.attn_q.bias" in shapes
        config["mlp_bias"] = "blk.0.ffn_down.bias" in shapes
    if family.architecture.startswith("gemma"):
        config |= _gemma(family, metadata, config)
    if family.architecture.startswith("qwen"):
        config["use_sliding_window"] = False
    if family.architecture == "smollm3":
        config["no_rope_layer_interval"] = 4
        config["no_rope_layers"] = [int((i + 1) % 4 != 0) for i in range(_layers(config))]
    return config


def _layers(config: Mapping[str, Any]) -> int:
    count = config["num_hidden_layers"]
    if not 1 <= count <= 1000:
        raise RunError(f"block_count: expected 1 to 1000, got {count:,}")
    return int(count)


def _gemma(family: Family, metadata: Metadata, config: Mapping[str, Any]) -> dict[str, Any]:
    layers = _layers(config)
    unequal = layers == UNEQUAL_SCALES[family.architecture]
    period = 2 if family.architecture == "gemma2" else metadata.get("attention.sliding_window_pattern", int, 6)
    found = {
        "query_pre_attn_scalar": config["hidden_size"] // config["num_attention_heads"]
        if unequal
        else config["head_dim"],
        "layer_types": [
            "full_attention" if period and (i + 1) % period == 0 else "sliding_attention" for i in range(layers)
        ],
    }
    if family.architecture == "gemma2":
        found |= {key: cap for key, cap in SOFT_CAPS.items() if config[key] is None}
    return found


def write_settings(
    family: Family, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, Value], rotary.Factors]:
    """The metadata of a model with this config.json, and the tensors of its rotary positions; `shapes` by GGUF names.

    Raises RunError for what a GGUF file of this architecture cannot say.
    """
    _check_fixed(family, config)
    if family.architecture == "gpt2":
        config = {**config, "n_inner": config.get("n_inner") or 4 * _wanted(config, "n_embd")}
    else:
        heads = _wanted(config, "num_attention_heads")
        config = {
            **config,
            "num_key_value_heads": config.get("num_key_value_heads") or heads,
            "head_dim": config.get("head_dim") or _wanted(config, "hidden_size") // heads,
        }
        if (
            config.get("sliding_window")
            and "sliding_window" not in family.keys
            and config.get("use_sliding_window", True)
        ):
            # Within the window the model is the same with and without it, so that is the longest context.
            longest = min(_wanted(config, "max_position_embeddings"), config["sliding_window"])
            config = {**config, "max_position_embeddings": longest}
    found: dict[str, Value] = {}
    for theirs, ours in family.keys.items():
        value = config.get(theirs) if theirs in OPTIONAL else _wanted(config, theirs)
        if value is not None:
            found[ours] = float(value) if theirs.endswith(("eps", "epsilon", "softcapping")) else int(value)
    found["vocab_size"] = shapes["token_embd.weight"][0]
    factors = rotary.Factors()
    if family.architecture != "gpt2":
        found["attention.value_length"] = found["attention.key_length"]
        rope, factors = rotary.write(config)
        found |= rope
    metadata = {f"{family.architecture}.{key}": value for key, value in found.items()}
    _compare(family, config, read_settings(family, metadata, shapes, factors))
    return metadata, factors


def _check_fixed(family: Family, config: Mapping[str, Any]) -> None:
    for key, allowed in family.fixed.items():
        if config.get(key, allowed[0]) not in allowed:
            raise _cannot(family, key, config[key])


def _wanted(config: Mapping[str, Any], key: str) -> Any:
    value = config.get(key)
    if type(value) not in (int, float):
        raise RunError(f"config.json: {key} is {value!r}, expected a number")
    return value


def _compare(family: Family, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raises RunError for a key of `wanted` that means another model in what was read back."""
    for key, value in found.items():
        if key in ("model_type", "vocab_size", "tie_word_embeddings", "use_sliding_window", *rotary.KEYS):
            continue  # these are written elsewhere, or checked there
        if (
            key in wanted
            and wanted[key] != value
            and not (isinstance(value, float) and math.isclose(wanted[key], value))
        ):
            raise _cannot(family, key, wanted[key])
    for key in ("attention_bias", "mlp_bias"):
        if wanted.get(key) and family.biased != frozenset(LINEAR):
            raise _cannot(family, key, wanted[key])


def _cannot(family: Family, key: str, value: Any) -> RunError:
    return RunError(f"a GGUF file of architecture {family.architecture} cannot say {key} = {value!r}")
