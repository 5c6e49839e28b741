"""What a run is meant to do with its data, model and time, and what will go wrong with that.

Some of it is known before the first step, the rest once the speed of training has been measured. Knows no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from nextword.errors import counted
from nextword.training.doctor.findings import Finding

BITS_PER_PARAMETER = 3.6
"""What a model of this kind can learn by heart (Morris et al. 2025, "How much do language models memorize?")."""
BITS_PER_BYTE = 2.0
"""What there is to learn by heart in text, beyond what small models know of it: the bits per byte they reach."""
FRESH_EPOCHS = 4.0
"""So many passes over the same text teach about as much as new text would (Muennighoff et al. 2023, "Scaling
data-constrained language models")."""
REGULARISED = 0.1
"""Dropout from here on keeps a model from learning by heart for a good while."""
LARGE_ENOUGH = 200.0
"""Tokens a parameter, repeated ones counted FRESH_EPOCHS times at most. For the same arithmetic, 20 are best (Hoffmann
et al. 2022, "Training compute-optimal large language models"); at ten times that a larger model would be better."""
FEWEST_STEPS = 100
"""A model learns letter frequencies and common words in its first hundred updates, and little else."""
MOST_WARMUP = 0.25
"""Of the run: longer, and the learning rate hardly comes to its peak before it goes down again."""
LONG_RUN = 24 * 3600.0
MOST_MEMORY = 0.8
"""Of all there is. The system, other programs and the reading of the data need some, too."""
CERTAIN_RATE = 20
"""Steps after which the speed of training is known well enough to foretell the rest."""


@dataclass(frozen=True)
class Plan:
    """The numbers of a run that is to come."""

    parameters: int
    dropout: float
    tokens: int
    """In the training split."""
    bytes: int
    """Of its text."""
    step_tokens: int
    """Of one step."""
    warmup_steps: int
    memory: float
    """Bytes that training takes, about."""
    memory_present: float
    """0: the system does not tell."""
    steps: float | None = None
    """Of the whole run; None: not known yet."""
    seconds: float | None = None
    """From now to its end; None: not known yet."""

    def measured(self, step: int, tokens_per_s: float, seconds_left: float | None) -> Plan:
        """The plan once the speed is known; `seconds_left` of a time budget, None where steps or epochs end the run."""
        rate = tokens_per_s / self.step_tokens
        if seconds_left is not None:
            return replace(self, steps=step + seconds_left * rate, seconds=seconds_left)
        return replace(self, seconds=(self.steps - step) / rate if self.steps else None)

    @property
    def epochs(self) -> float | None:
        """Passes over the data in the whole run; None: not known yet."""
        return None if self.steps is None else self.steps * self.step_tokens / max(self.tokens, 1)

    @property
    def capacity(self) -> float:
        """How many times the model could hold all there is to learn by heart in the text."""
        return BITS_PER_PARAMETER * self.parameters / max(BITS_PER_BYTE * self.bytes, 1)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"epochs": self.epochs, "capacity": self.capacity}


def examine_plan(plan: Plan) -> list[Finding]:
    """What can be said of the plan so far: asked again once it is `measured`, it says the rest."""
    return [*_size_findings(plan), *_time_findings(plan)]


def _size_findings(plan: Plan) -> Iterator[Finding]:
    if plan.memory_present and plan.memory > MOST_MEMORY * plan.memory_present:
        yield Finding(
            "memory",
            "warning",
            f"training takes about {plan.memory / 2**30:.1f} GiB of memory, and there are "
            f"{plan.memory_present / 2**30:.1f}",
            "a machine that runs out of memory becomes very slow, or ends the run",
            "Halve the batch and keep the step: --set train.batch_size=... --set train.accumulate=2",
        )
    epochs = plan.epochs
    if epochs is None:
        return
    if plan.capacity > 1 and epochs > FRESH_EPOCHS:
        regularised = plan.dropout >= REGULARISED
        yield Finding(
            "memorisation",
            "note" if regularised else "warning",
            f"{plan.parameters:,} parameters can hold this text {_times(plan.capacity)} over, and will read it "
            f"{_times(epochs)}",
            "the model will learn it by heart rather than how to write: validation stops improving, samples are copies",
            f"Watch the validation loss; dropout {plan.dropout:g} holds it off for a while"
            if regularised
            else "Give more text, a smaller --size, less time, or --set model.dropout=0.2",
        )
    learned = min(epochs, FRESH_EPOCHS) * plan.tokens / max(plan.parameters, 1)
    if learned > LARGE_ENOUGH:
        yield Finding(
            "small-model",
            "note",
            f"the model will learn from {learned:,.0f} tokens for each of its {plan.parameters:,} parameters",
            "with so much text and time a larger model reaches a lower loss",
            "Try the next --size",
        )
    if epochs < 1:
        yield Finding(
            "unread",
            "note",
            f"the run will read {epochs:.0%} of the text",
            "the rest teaches nothing",
            "Give it more time, or a smaller model that reads faster",
        )


def _times(value: float) -> str:
    return counted(value, "time") if value >= 1.5 else "once"


def _time_findings(plan: Plan) -> Iterator[Finding]:
    if plan.steps is not None and plan.steps < FEWEST_STEPS:
        yield Finding(
            "few-steps",
            "warning",
            f"the run has only about {counted(plan.steps, 'step')}",
            "a model learns letter frequencies and common words in its first hundred, and little else",
            "Give it more time, a smaller --size, or a smaller --set train.batch_size",
        )
    elif plan.steps is not None and plan.warmup_steps > MOST_WARMUP * plan.steps:
        yield Finding(
            "long-warmup",
            "warning",
            f"the learning rate rises for {plan.warmup_steps:,} of about {counted(plan.steps, 'step')}",
            "it hardly reaches its peak before it goes down again",
            f"Shorten it: --set train.warmup_steps={max(1, int(plan.steps * MOST_WARMUP / 2))}",
        )
    if plan.seconds is not None and plan.seconds > LONG_RUN:
        yield Finding(
            "long-run",
            "note",
            f"at this speed the run takes {plan.seconds / 3600:,.0f} hours more",
            "a limit in steps or epochs does not know the machine",
            "Limit the time instead, --budget 8h, or take a smaller --size; a run may be interrupted and resumed",
        )
