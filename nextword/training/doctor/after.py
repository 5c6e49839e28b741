"""What the log of a run says once it is over, or so far. Knows no torch; `metrics` are lines of metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from nextword.training.doctor.findings import Finding
from nextword.training.doctor.vitals import MOST_COPIED, Vitals

Lines = Sequence[dict[str, Any]]

WASTED = 0.2
"""Share of the run after its best evaluation that is worth a word."""
STILL_FALLING = 0.01
"""Share by which the last evaluation still improved on the one before."""


def examine_log(metrics: Lines) -> list[Finding]:
    """What to do better next time."""
    return [*_not_finite(metrics), *_validation(metrics), *_copying(metrics)]


def relive(metrics: Lines, uniform: float, warmup_steps: int, learning_rate: float) -> list[Finding]:
    """What would have been found while the run was trained, had the doctor been there. The log has every tenth step."""
    vitals = Vitals(uniform, warmup_steps, learning_rate)
    last = max((line["step"] for line in metrics), default=0)
    found: list[Finding] = []
    for line in metrics:
        if line.get("split") == "train" and {"loss", "grad_norm"} <= line.keys():
            numbers = line["loss"], line["grad_norm"], line.get("tokens_per_s", 0.0)
            found += vitals.step(line["step"], line["step"] / max(last, 1), *numbers)
        elif line.get("split") == "valid" and "loss" in line:
            found += vitals.evaluated(line["step"], line["loss"])
    return found


def _not_finite(metrics: Lines) -> Iterator[Finding]:
    lost = [line["step"] for line in metrics if not math.isfinite(line.get("loss", 0.0))]
    if lost:
        yield Finding(
            "not-finite",
            "warning",
            f"the loss was not a finite number at step {lost[0]:,}",
            "nothing can be learned from it",
            "Train again with a smaller train.learning_rate or train.clip_norm",
            lost[0],
        )


def _validation(metrics: Lines) -> Iterator[Finding]:
    valid = [line for line in metrics if line.get("split") == "valid" and math.isfinite(line.get("loss", math.nan))]
    if len(valid) < 3:
        return
    best, last, before = min(valid, key=lambda line: line["loss"]), valid[-1], valid[-2]
    wasted = 1 - best["step"] / last["step"] if last["step"] else 0.0
    if wasted > WASTED and last["loss"] > best["loss"]:
        yield Finding(
            "past-best",
            "note",
            f"validation was best at step {best['step']:,} of {last['step']:,}, {best['loss']:.3f} nats per token, and "
            f"ended at {last['loss']:.3f}",
            f"the last {wasted:.0%} of the run taught nothing that helps with new text; the best weights were kept",
            "Train for less, stop early by --set train.patience=3, or use more dropout or a smaller --size",
            last["step"],
        )
    elif best is last and before["loss"] - last["loss"] > STILL_FALLING * before["loss"]:
        yield Finding(
            "unfinished",
            "note",
            f"validation was still falling at the end, by {before['loss'] - last['loss']:.3f} nats from step "
            f"{before['step']:,} to {last['step']:,}",
            "the model had more to learn",
            "Train for longer: --resume with a larger --budget, --steps or --epochs",
            last["step"],
        )


def _copying(metrics: Lines) -> Iterator[Finding]:
    samples = [line for line in metrics if line.get("split") == "sample" and "copied" in line]
    if samples and samples[-1]["copied"] >= MOST_COPIED:
        line = samples[-1]
        yield Finding(
            "copying",
            "warning",
            f"{line['copied']:.0%} of the last sample stands in the training text, {line['longest_copied']} tokens of "
            "it in one piece",
            "the model recites what it has learned by heart",
            "Train on more text, for less time, or with a smaller --size or more model.dropout",
            line["step"],
        )
