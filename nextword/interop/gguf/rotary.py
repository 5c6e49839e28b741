"""Rotary positions: base, share and scaling, as a GGUF file and as a config.json say them.

Two kinds of scaling come as tensors of divisors, one a pair of dimensions. Phi-3's (longrope) are what config.json
lists, too. Llama 3's follow from four numbers, which are found again from the divisors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nextword.errors import RunError

if TYPE_CHECKING:
    from nextword.interop.gguf.container import Value
    from nextword.interop.gguf.settings import Metadata

KEYS = (
    *("rope_theta", "rope_scaling", "rope_parameters", "rope_local_base_freq", "partial_rotary_factor"),
    "original_max_position_embeddings",
)
"""The keys of config.json that this file knows."""
TENSORS = {"every": "rope_freqs.weight", "long": "rope_factors_long.weight", "short": "rope_factors_short.weight"}


class Factors(NamedTuple):
    """Divisors of the frequencies, (head size / 2,) each."""

    every: NDArray[np.float32] | None = None
    long: NDArray[np.float32] | None = None
    short: NDArray[np.float32] | None = None


def read(metadata: Metadata, head_size: int, longest: int, factors: Factors) -> dict[str, Any]:
    """The rotary keys of config.json. Raises RunError for a scaling that is not known."""
    theta = metadata.get("rope.freq_base", float, 10_000.0)
    turning = metadata.get("rope.dimension_count", int, head_size)
    config: dict[str, Any] = {"rope_theta": theta, "rope_scaling": None}
    if turning != head_size:
        if not head_size:
            raise RunError("the size of its heads is 0")
        config["partial_rotary_factor"] = turning / head_size
    kind = metadata.get("rope.scaling.type", str, "none")
    factor = metadata.get("rope.scaling.factor", float, 1.0)
    original = metadata.get("rope.scaling.original_context_length", int, longest)
    if factors.every is not None:
        config["rope_scaling"] = _llama3(factors.every, theta, turning)
    elif factors.long is not None and factors.short is not None:
        scaling = {"long_factor": factors.long.tolist(), "short_factor": factors.short.tolist()}
        config["rope_scaling"] = {"rope_type": "longrope"} | scaling
        config["original_max_position_embeddings"] = original
    elif kind == "linear":
        config["rope_scaling"] = {"rope_type": "linear", "factor": factor}
    elif kind == "yarn":
        scaling = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
        for name in ("beta_fast", "beta_slow"):
            if (value := metadata.get(f"rope.scaling.yarn_{name}", float)) is not None:
                scaling[name] = value
        share = metadata.get("rope.scaling.attn_factor", float, 1.0)
        if share != 1 and factor > 0:
            scaling["attention_factor"] = share * (0.1 * math.log(factor) + 1)
        config["rope_scaling"] = scaling
    elif kind != "none":
        raise RunError(f"rope.scaling.type {kind!r} is not supported", hint="Known: none, linear, yarn, longrope")
    return config


def write(config: Mapping[str, Any]) -> tuple[dict[str, Value], Factors]:
    """Metadata and divisors for the rotary keys of a config.json, in its newer and its older form.

    Raises RunError for a scaling that a GGUF file cannot say.
    """
    given = config.get("rope_parameters") or {}
    given = given.get("full_attention") or given
    scaling = config.get("rope_scaling") or given
    theta = float(given.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    share = given.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    turning = round(config["head_dim"] * share)
    found: dict[str, Value] = {"rope.freq_base": theta, "rope.dimension_count": turning}
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    original = scaling.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
    try:
        original = int(original or config["max_position_embeddings"])
        if kind == "default":
            return found, Factors()
        if kind == "linear":
            return found | {"rope.scaling.type": "linear", "rope.scaling.factor": float(scaling["factor"])}, Factors()
        if kind == "yarn" and not scaling.keys() & {"attention_factor", "mscale", "mscale_all_dim"}:
            found |= {"rope.scaling.type": "yarn", "rope.scaling.factor": float(scaling["factor"])}
            found["rope.scaling.original_context_length"] = original
            for name in scaling.keys() & {"beta_fast", "beta_slow"}:
                found[f"rope.scaling.yarn_{name}"] = float(scaling[name])
            return found, Factors()
        if kind == "llama3":
            return found, Factors(every=llama3_divisors(theta, turning, original, scaling))
        if kind in ("longrope", "su"):
            found["rope.scaling.type"] = "longrope"
            found["rope.scaling.original_context_length"] = original
            scale = config["max_position_embeddings"] / original
            found["rope.scaling.attn_factor"] = (
                math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
            )
            return found, Factors(
                long=np.array(scaling["long_factor"], np.float32), short=np.array(scaling["short_factor"], np.float32)
            )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise RunError(f"config.json: rope_scaling of type {kind!r} is incomplete: {error}") from None
    raise RunError(f"a GGUF file cannot say rope_scaling {kind!r} with {sorted(scaling)}")


def llama3_divisors(theta: float, turning: int, original: float, scaling: Mapping[str, Any]) -> NDArray[np.float32]:
    """Llama 3: long waves are slowed down by `factor`, short ones not at all, those between in proportion.

    (turning / 2,), a divisor of each frequency.
    """
    factor, low, high = (float(scaling[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    waves = 2 * math.pi * theta ** (np.arange(0, turning, 2) / turning)
    smooth = np.clip((original / waves - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def _llama3(divisors: NDArray[np.float32], theta: float, turning: int) -> dict[str, Any] | None:
    """The four numbers that give these divisors; None where nothing is scaled.

    1 / divisor rises from 1 / factor to 1 on a straight line over 1 / wave length: two points of it tell the line.
    Only the ratios of context, low and high can be seen, so low is 1, as in all of Llama's files.
    """
    if (
        divisors.shape != (turning // 2,)
        or not np.isfinite(divisors).all()
        or (divisors < 1).any()
        or not 1 < theta < 1e12
    ):
        raise RunError(f"rope_freqs.weight does not hold {turning // 2} divisors of at least 1")
    factor = float(divisors.max())
    if factor == 1:
        return None
    inverse = theta ** -(np.arange(0, turning, 2) / turning) / (2 * math.pi)  # 1 / wave length
    between = np.flatnonzero((divisors > 1 + 1e-4) & (divisors < factor * (1 - 1e-4)))
    scaling: dict[str, Any] = {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    }
    original = 8192.0  # Llama's own, where too few waves lie between to see the line
    if len(between) >= 2:
        smooth = (1 / divisors.astype(np.float64)[between] - 1 / factor) / (1 - 1 / factor)
        (x, y), (left, right) = (inverse[between[[0, -1]]], smooth[[0, -1]])
        slope = (left - right) / (x - y)
        start = left - slope * x
        if slope > 0 and start < 0:
            scaling["high_freq_factor"] = round(float(1 - 1 / start), 3)
            original = float(-slope / start)
    if 1 <= original < 2**31:
        scaling["original_max_position_embeddings"] = round(original)
        if np.allclose(llama3_divisors(theta, turning, round(original), scaling), divisors, rtol=1e-3):
            return scaling
    raise RunError("rope_freqs.weight holds divisors that no rope_scaling of Llama 3 gives")
