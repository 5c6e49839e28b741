"""What goes wrong while a model trains, seen in the numbers of its steps and evaluations as they come.

A pure function of those numbers: the same series gives the same findings. Remembers some two hundred steps, says a
thing of one kind at most once in a tenth of the run, and stays silent on the noise of a healthy run: it compares
medians, which a few odd batches do not move. Knows no torch and no files.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from statistics import fmean, median

from nextword.errors import counted
from nextword.metrics.copying import Copied
from nextword.training.doctor.findings import Finding

QUIET = 0.1
"""Share of the run in which a finding of one kind is not repeated."""
NOW, BEFORE = 5, 50
"""Steps: a spike is the median of the last few against that of those before. One odd batch is no spike."""
SPIKE_SCATTERS, SPIKE_SHARE, SPIKE_GRADIENT = 8.0, 0.1, 2.0
"""A spike rises by so many standard deviations (of which the median absolute deviation is 0.67), by this share of the
loss, and the gradient grows to so many times what it was: other text raises the loss alone."""
LOST_SHARE, LOST_NATS, LOST_STEPS = 0.25, 0.5, 100
"""Training has come apart when the mean loss of BEFORE steps is above its best by this share of all that was learned
and by so many nats, and that best is so many steps ago."""
SETTLED = 200
"""Steps after the warm-up within which any model that learns has got well below guessing: 0.9 of ln V. The frequencies
of letters or words alone bring it to 0.6 to 0.8."""
UNLEARNED = 0.9
DEAD_STEPS, DEAD_SHARE, DEAD = 20, 1e-4, 1e-7
"""A gradient is dead when its median over so many steps is this share of what it was at first, or next to nothing. In a
healthy run it falls by one or two powers of ten."""
RISEN, EVALUATIONS = 0.01, 2
"""Over-fitting: validation lies this share above its best for so many evaluations while the training loss fell."""
SLOW_STEPS, KNOWN_STEPS, COLLAPSED = 20, 200, 0.4
"""Throughput has collapsed when the median of so many steps is below this share of that of the ones before."""
MOST_COPIED = 0.5
"""Share of a sample. Honest text by another hand shares 0 to 0.15 in spans of this length (`doctor.corpus`)."""
LONG_COPY = 5
"""Times the shortest span that counts: 160 bytes of text, word for word."""


class Vitals:
    """Watches one run. `uniform` is ln V: the loss of guessing."""

    def __init__(self, uniform: float, warmup_steps: int = 0, learning_rate: float = 0.0) -> None:
        self.uniform, self.warmup_steps, self.learning_rate = uniform, warmup_steps, learning_rate
        self._said: dict[str, float] = {}
        self._progress = 0.0
        self._seen = 0
        self._losses: deque[float] = deque(maxlen=BEFORE + NOW)
        self._gradients: deque[float] = deque(maxlen=BEFORE + NOW)
        self._rates: deque[float] = deque(maxlen=KNOWN_STEPS + SLOW_STEPS)
        self._first_loss = self._first_gradient = math.nan
        self._best_mean, self._best_at = math.inf, 0
        self._since: list[float] = []  # training losses since the last evaluation
        self._evaluations: list[tuple[float, float]] = []  # validation loss, mean training loss up to it

    def step(self, step: int, progress: float, loss: float, grad_norm: float, tokens_per_s: float) -> list[Finding]:
        """Take in one step: its number, the share of the run that is over, and what was measured."""
        self._progress = progress
        self._seen += 1
        self._losses.append(loss)
        self._gradients.append(grad_norm)
        self._rates.append(tokens_per_s)
        self._since.append(loss)
        if self._seen == NOW:
            self._first_loss, self._first_gradient = fmean(self._losses), median(self._gradients)
        found = [self._spike(step), self._lost(step), self._unlearned(step), self._dead(step), self._slow(step)]
        return list(self._anew(found))

    def evaluated(self, step: int, loss: float) -> list[Finding]:
        """Take in the loss over the validation split."""
        train = fmean(self._since) if self._since else math.nan
        self._since.clear()
        self._evaluations.append((loss, train))
        best = min(range(len(self._evaluations)), key=lambda i: self._evaluations[i][0])
        lowest, train_then = self._evaluations[best]
        if len(self._evaluations) - 1 - best < EVALUATIONS or loss <= lowest * (1 + RISEN) or not train < train_then:
            return []
        finding = Finding(
            "over-fitting",
            "warning",
            f"validation has risen from {lowest:.3f} to {loss:.3f} while the training loss fell from {train_then:.3f} "
            f"to {train:.3f}",
            "the model learns the training text by heart instead of how to write",
            "The best weights are kept; stop here, or start with more text, a smaller --size or more model.dropout",
            step,
        )
        return list(self._anew([finding]))

    def sampled(self, step: int, copied: Copied) -> list[Finding]:
        """Take in how much of a sample stands in the training text."""
        if copied.share < MOST_COPIED and copied.longest < LONG_COPY * copied.least:
            return []
        finding = Finding(
            "copying",
            "warning",
            f"{copied.share:.0%} of the sample stands in the training text, {copied.longest} tokens of it in one piece",
            "the model recites what it has learned by heart",
            "Take weights of an earlier step, or start with more text, a smaller --size or more model.dropout",
            step,
        )
        return list(self._anew([finding]))

    def _anew(self, findings: Sequence[Finding | None]) -> Iterator[Finding]:
        """Those that there are, and of whose kind nothing was said lately."""
        for finding in findings:
            if finding and self._progress - self._said.get(finding.kind, -1.0) >= QUIET:
                self._said[finding.kind] = self._progress
                yield finding

    def _spike(self, step: int) -> Finding | None:
        if len(self._losses) < BEFORE + NOW:
            return None
        before, now = list(islice(self._losses, BEFORE)), median(islice(self._losses, BEFORE, None))
        level = median(before)
        scatter = median(abs(loss - level) for loss in before) / 0.6745
        if now - level <= max(SPIKE_SCATTERS * scatter, SPIKE_SHARE * level):
            return None
        usual = median(islice(self._gradients, BEFORE))
        gradient = median(islice(self._gradients, BEFORE, None))
        if gradient <= SPIKE_GRADIENT * usual:
            return None
        return Finding(
            "loss-spike",
            "warning",
            f"the loss leapt from {level:.3f} to {now:.3f}, the gradient from {usual:.2g} to {gradient:.2g}",
            "a step was too long for where the model stood; it may recover, and has lost time",
            f"If it does not recover, {self._lower_rate()}, a longer train.warmup_steps, or a smaller train.clip_norm",
            step,
        )

    def _lost(self, step: int) -> Finding | None:
        if len(self._losses) < BEFORE:
            return None
        mean = fmean(islice(self._losses, len(self._losses) - BEFORE, None))
        if mean < self._best_mean:
            self._best_mean, self._best_at = mean, self._seen
        learned = max(self._first_loss - self._best_mean, 0.0)
        if mean - self._best_mean <= max(LOST_SHARE * learned, LOST_NATS) or self._seen - self._best_at < LOST_STEPS:
            return None
        return Finding(
            "diverging",
            "warning",
            f"the loss has gone up from {self._best_mean:.3f} to {mean:.3f} and does not come down",
            "the learning rate is too high: the model forgets faster than it learns",
            f"Stop, and {self._lower_rate()}",
            step,
        )

    def _unlearned(self, step: int) -> Finding | None:
        if step < self.warmup_steps + SETTLED or self._seen < SETTLED or self._best_mean < UNLEARNED * self.uniform:
            return None
        mean = fmean(self._losses)
        high = mean > self.uniform + LOST_NATS
        return Finding(
            "not-learning",
            "warning",
            f"after {counted(step, 'step')} the loss is {mean:.3f}, and guessing would give {self.uniform:.3f}",
            f"the learning rate is too {'high' if high else 'low'}, or the text has nothing to learn from",
            f"Stop, and {self._lower_rate() if high else f'try train.learning_rate={self.learning_rate * 10:.1g}'}",
            step,
        )

    def _dead(self, step: int) -> Finding | None:
        if self._seen < BEFORE:
            return None
        gradient = median(islice(self._gradients, len(self._gradients) - DEAD_STEPS, None))
        if gradient > max(DEAD_SHARE * self._first_gradient, DEAD) or self._losses[-1] < 0.05 * self.uniform:
            return None
        return Finding(
            "dead-gradient",
            "warning",
            f"the gradient has shrunk to {gradient:.1g}, and the loss stays at {self._losses[-1]:.3f}",
            "units that are saturated pass nothing on, so the weights no longer change",
            f"Stop, and {self._lower_rate()}; or train fewer layers",
            step,
        )

    def _slow(self, step: int) -> Finding | None:
        known = len(self._rates) - SLOW_STEPS
        if known < SLOW_STEPS * 2 or self._seen % SLOW_STEPS:
            return None
        usual, rate = median(islice(self._rates, known)), median(islice(self._rates, known, None))
        if rate >= COLLAPSED * usual:
            return None
        return Finding(
            "slow",
            "warning",
            f"training has slowed down from {usual:,.0f} to {rate:,.0f} tokens/s",
            "what is left takes longer, and under a time budget fewer steps are made",
            "See what else runs on the machine, whether it is too hot, and whether its memory is full",
            step,
        )

    def _lower_rate(self) -> str:
        return f"try train.learning_rate={self.learning_rate / 3:.1g}" if self.learning_rate else "lower the rate"
