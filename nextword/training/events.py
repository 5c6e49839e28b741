"""What happens in a training run: `Trainer.run` yields these, and whoever listens draws them."""

from __future__ import annotations

from dataclasses import dataclass

from nextword.metrics.copying import Copied
from nextword.training.doctor.findings import Finding
from nextword.training.evaluation import Evaluation


@dataclass(frozen=True)
class Step:
    """One update of the weights."""

    step: int
    progress: float
    """Share of the run that is over, 0 to 1."""
    epoch: float
    loss: float
    """Nats per token of this step's batches, before the update, label smoothing and z-loss included."""
    lr: float
    grad_norm: float
    tokens: int
    """Tokens trained on so far."""
    tokens_per_s: float
    """Smoothed over some ten steps."""
    seconds: float
    """Of training so far."""


@dataclass(frozen=True)
class Compiling:
    """The next step takes long, those after it are faster."""

    step: int


@dataclass(frozen=True)
class Evaluated:
    """The validation split was read."""

    step: int
    result: Evaluation
    best: bool
    """No evaluation before was as good; the weights were kept."""


@dataclass(frozen=True)
class Sampled:
    """The model wrote something."""

    step: int
    given: str
    """What it was to go on from, or to answer."""
    written: str
    copied: Copied | None = None
    """What of that stands in the training text."""


@dataclass(frozen=True)
class Advised:
    """The doctor found something: only in a run that is attended (`doctor.attend`)."""

    step: int
    finding: Finding


@dataclass(frozen=True)
class Finished:
    """The run is over, or paused: everything is on disk."""

    step: int
    reason: str
    """completed, early stopping, or interrupted."""


Event = Step | Compiling | Evaluated | Sampled | Advised | Finished
