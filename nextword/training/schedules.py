"""Learning-rate schedules: a factor between 0 and 1 for the peak learning rate.

A schedule sees the step (for warm-up) and the progress, the share of the run that is over: of its steps, of its
epochs, or of its time. So a run under a time budget ends with its learning rate fully decayed, however fast it went.
"""

from __future__ import annotations

import math

from nextword.training.config import TrainConfig


def lr_factor(config: TrainConfig, step: int, progress: float) -> float:
    """The factor for the step numbered from 0, at `progress` from 0 to 1. Plateau's halving comes on top.

    >>> lr_factor(TrainConfig(schedule="cosine"), step=50, progress=0.5)
    0.5
    """
    warmup = config.warmup_steps
    if step < warmup:
        return (step + 1) / warmup
    floor = config.final_lr
    match config.schedule:
        case "linear":
            return floor + (1 - floor) * (1 - progress)
        case "cosine":
            return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
        case "inverse_sqrt":  # Vaswani et al. 2017, scaled to 1 at the end of the warm-up
            return math.sqrt(max(warmup, 1) / (step + 1))
        case "wsd":  # Hu et al. 2024
            x = max(0.0, (progress - (1 - config.decay_share)) / config.decay_share)
            if config.decay == "exponential":
                return floor**x
            return floor + (1 - floor) * (1 - (math.sqrt(x) if config.decay == "sqrt" else x))
        case _:  # constant; plateau starts as one
            return 1.0
