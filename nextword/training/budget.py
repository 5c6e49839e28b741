"""What to train in the time one has: rules fitted by experiments, which LOG.md records.

    arithmetic = measured operations/s * share a training step reaches * seconds
    model      = a GRU, as wide as the fourth root of the arithmetic; a Transformer that was asked for, as wide as the
                 sixth root, and a layer for 64 of it: the weights of both grow with the square root
    dropout    = by how often the text will be read

Knows nothing of tokens: a text counts by its characters.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

REFERENCE_WIDTH, REFERENCE_WORK = 512, 3.3e13
"""A GRU of 512 was the best of its kind for this many operations: 166 s of two cores, 0.2 TFLOP/s in training."""
TRANSFORMER_WIDTH, TRANSFORMER_WORK = 256, 4.2e13
"""What a Transformer is compared to: 300 s, 0.14 TFLOP/s, Muon's own products not counted."""
REACHED, TRANSFORMER_REACHED = 0.5, 0.33  # of the measured matrix product: what a training step comes to
GATES = {"rnn": 2, "gru": 6, "lstm": 8}  # square matrices of a layer
WIDTHS = range(128, 1537, 64)
PER_CHARACTER = 8  # weights that a character of text can bear, with dropout
FEW_READINGS = 3.0  # of the text: up to these nothing is learned by heart, and dropout costs more than it gives
HEAD_SIZE, MUON_RATE = 64, 6e-3
BEST = "of all kinds it learned most in a few minutes, a Transformer of the same cost far less"
PROBE_SIZE, PROBE_SECONDS = 1024, 1.0


@dataclass(frozen=True)
class Plan:
    """Settings for what a recipe leaves open, and why, a line each."""

    model: dict[str, Any]
    train: dict[str, Any]
    reasons: tuple[str, ...]


@lru_cache
def measure(device: torch.device | None = None) -> float:
    """Operations per second of a matrix product in the faster of bfloat16 and float32: two seconds of measurement.

    Once in a process, so that the trials of a sweep are given the same size.
    """
    return max(_rate(dtype, device) for dtype in (torch.bfloat16, torch.float32))


def _rate(dtype: torch.dtype, device: torch.device | None) -> float:
    a = torch.full((PROBE_SIZE, PROBE_SIZE), 0.5, dtype=dtype, device=device)
    a @ a
    best, until = math.inf, time.perf_counter() + PROBE_SECONDS
    while (start := time.perf_counter()) < until:
        (a @ a)[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - start)
    return 2 * PROBE_SIZE**3 / best


def plan(kind: str, seconds: float, rate: float, characters: int, characters_per_token: float, vocab_size: int) -> Plan:
    """Choose for `seconds` of training at a measured `rate` (operations/s) on a text of so many `characters`.

    `kind` is the model's type, "" = to be chosen. `vocab_size` and `characters_per_token` are those to be expected.
    """
    chosen = kind or "gru"
    bearable = PER_CHARACTER * characters
    if chosen == "transformer":
        work = TRANSFORMER_REACHED * rate * seconds
        width = _width(TRANSFORMER_WIDTH * (work / TRANSFORMER_WORK) ** (1 / 6), (HEAD_SIZE * bearable / 12) ** (1 / 3))
        layers = width // HEAD_SIZE
        weights = 12 * layers * width**2 + vocab_size * width
        shape: dict[str, Any] = {"num_heads": width // HEAD_SIZE}
        context, optimizer, learning_rate = 128, "Muon", MUON_RATE
        name, why = f"Transformer of {layers} layers of {width}", "; in so short a time a GRU usually learns more"
    else:
        work = REACHED * rate * seconds
        width = _width(REFERENCE_WIDTH * (work / REFERENCE_WORK) ** (1 / 4), math.sqrt(bearable / 6))
        layers = 1
        weights = GATES[chosen] * width**2 + vocab_size * width
        shape = {"tied": vocab_size > 2 * width}
        learning_rate = float(f"{4e-3 * math.sqrt(REFERENCE_WIDTH / width):.1e}")
        context, optimizer = 64, "AdamW"
        name, why = f"{chosen.upper()} of {width}", ""
    asked = ", as asked for" if kind else f"; {BEST}"
    tokens = work / (6 * weights)
    readings = tokens / max(characters / characters_per_token, 1)
    dropout = round(min(0.5, max(0.0, 0.15 * math.log2(readings / FEW_READINGS))), 2) if readings else 0.0
    rows = 16 if readings <= FEW_READINGS else 32
    model = {"type": chosen, "num_layers": layers, "hidden_size": width, "dropout": dropout} | shape
    train = {
        "batch_size": rows,
        "context": context,
        "learning_rate": learning_rate,
        "warmup_steps": min(50, int(tokens / (rows * context) / 10)),
    }
    reasons = (
        f"machine: {rate / 1e12:.2f} TFLOP/s in matrix products; {seconds:,.0f} s of that train {work:.1e} operations",
        f"model: {name}, about {weights / 1e6:.1f}M weights{asked}{why}",
        f"text: {characters:,} characters, read some {readings:.1f} times, so dropout {dropout}"
        + (" against learning it by heart" if dropout else ": nothing is learned by heart yet"),
        f"steps: {rows} rows of {context} tokens, or of whole examples, {optimizer} at {learning_rate:g}, falling by a "
        "cosine to 0 as the time runs out, weight decay by the size of the text",
    )
    return Plan(model, train, reasons)


def _width(wanted: float, bearable: float) -> int:
    """Hidden size: by the work that can be done, but no larger than the text can bear."""
    return min(WIDTHS, key=lambda width: abs(width - min(wanted, bearable)))
