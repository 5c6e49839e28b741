"""Where a run stands: its counters and clocks, and what its evaluations have shown."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Position:
    """Part of every checkpoint."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    step_seconds: float = 0.0
    """Spent in steps alone, pauses left out."""
    best_loss: float | None = None
    best_step: int = 0
    loss: float | None = None
    """Of the latest evaluation."""
    evals_since_best: int = 0
    plateau_factor: float = 1.0
    evals_since_halving: int = 0
    pause_seconds: float = 0.0
    """Spent in pauses."""
    pause_cost: float = 0.0
    """Seconds of an evaluation, a sample and a save: what the end of the run needs."""
    done: dict[str, int] = field(default_factory=dict)
    """The step after which each of the pauses was done last."""
    marks: dict[str, int] = field(default_factory=dict)
    """The tenth of the run in which it was, for those without an interval in steps."""
    compiled: bool = False
    """The layers were compiled: a resumed run computes the same only if they are again."""

    def judge(self, loss: float) -> bool:
        """Count an evaluation; whether none was better."""
        best = self.best_loss is None or loss < self.best_loss
        self.loss = loss
        self.evals_since_best = 0 if best else self.evals_since_best + 1
        self.evals_since_halving = 0 if best else self.evals_since_halving + 1
        if best:
            self.best_loss, self.best_step = loss, self.step
        return best

    def halve_rate_after(self, patience: int) -> None:
        """Halve the learning rate once so many evaluations in a row brought nothing."""
        if self.evals_since_halving >= patience:
            self.plateau_factor /= 2
            self.evals_since_halving = 0
