"""The learning-rate range test (Smith 2017): train for a moment at rates from far too small to far too large, and see.

The loss first stays, then falls, then lies low, then leaps. A good peak rate lies where it falls; `judge` names one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nextword.errors import TrainingError, counted
from nextword.training.events import Step
from nextword.training.trainer import Trainer

LOWEST, HIGHEST, STEPS = 1e-6, 10.0, 100
WIDTH = 3.0  # steps: standard deviation of the bell that smooths the losses; a fifth of a power of ten
FEWEST = 10  # steps, to say anything


@dataclass(frozen=True)
class RangeTest:
    """What became of the loss, rate by rate, and what follows."""

    rates: list[float]
    losses: list[float]
    """Of each step, before its update, in nats per token."""
    smooth: list[float]
    steepest: float
    """The rate at which the smoothed loss falls fastest over the logarithm of the rate."""
    lowest: float
    """The rate at which the smoothed loss is lowest."""
    diverged: bool
    """The last rate was too much; otherwise the test ended at its highest rate."""
    suggestion: float
    """A peak learning rate: half way from the steepest to the lowest, on a logarithmic scale.

    Of trials of 200 steps the best had 1.7 times this (Transformer, Muon) and at least twice (LSTM); a long run bears
    less than a short one.
    """


def rates() -> list[float]:
    """The rates that are tried, each the same factor above the one before."""
    return [LOWEST * (HIGHEST / LOWEST) ** (i / (STEPS - 1)) for i in range(STEPS)]


def try_rates(trainer: Trainer) -> Iterator[Step]:
    """Train at one rate after the other, until the loss has risen too far or is no number. The weights are spoiled."""
    losses: list[float] = []
    try:
        for step in trainer.try_rates(rates()):
            yield step
            losses.append(step.loss)
            if diverged(losses):
                return
    except TrainingError:  # not finite: as far as it goes
        if len(losses) < FEWEST:
            raise


def diverged(losses: Sequence[float]) -> bool:
    """Whether the last five losses lie, on average, far above the lowest such average."""
    means = [sum(losses[i - 5 : i]) / 5 for i in range(5, len(losses) + 1)]
    return len(means) > 1 and means[-1] > _bound(min(means))


def judge(losses: Sequence[float]) -> RangeTest:
    """What the losses at `rates()` tell; fewer losses if it ended early.

    Raises TrainingError if they are too few, or if the loss fell at no rate.
    """
    if len(losses) < FEWEST:
        raise TrainingError(f"a learning-rate range test of {counted(len(losses), 'step')} tells nothing")
    tried, over = rates()[: len(losses)], diverged(losses) or len(losses) < STEPS
    smooth = smoothed([min(loss, _bound(min(losses))) for loss in losses])
    lowest = min(range(len(smooth)), key=lambda i: smooth[i])
    noise = _spread([loss - mean for loss, mean in zip(losses[:lowest], smooth, strict=False)])
    if smooth[0] - smooth[lowest] < max(2 * noise, 1e-3):
        raise TrainingError(
            "the loss fell at no learning rate, so there is none to suggest",
            hint="The model may have learned this text before, or the batches are too small to tell",
        )
    steepest = max(range(1, lowest + 1), key=lambda i: smooth[i - 1] - smooth[i])
    suggestion = math.sqrt(tried[steepest] * tried[lowest])
    return RangeTest(tried, list(losses), smooth, tried[steepest], tried[lowest], over, float(f"{suggestion:.2g}"))


def smoothed(values: Sequence[float]) -> list[float]:
    """Means under a bell around each place: no lag, as a running mean has."""
    result = []
    for i in range(len(values)):
        bell = [math.exp(-0.5 * ((j - i) / WIDTH) ** 2) for j in range(len(values))]
        result.append(sum(b * v for b, v in zip(bell, values, strict=True)) / sum(bell))
    return result


def _bound(low: float) -> float:
    """The loss above which a rate is too large, where the lowest was `low`."""
    return 1.5 * low + 0.5


def _spread(values: Sequence[float]) -> float:
    """Standard deviation around 0."""
    return math.sqrt(sum(value * value for value in values) / max(len(values), 1))
