"""How far a run is, and what is due: by steps, by epochs, or by the time of a budget.

All processes of a run go by the time of the first, and learn that one of them was asked to stop, when they meet. Knows
nothing of models, nor of what is done in a pause.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from nextword.data.batches import Order
from nextword.training.config import TrainConfig
from nextword.training.distributed import World
from nextword.training.position import Position

EVALUATIONS = 10  # in a run, unless eval_every says otherwise
PAUSE_SHARE = 0.1  # of a time budget: pauses that would take more are left out, but for the last


class Clock:
    """The time and the progress of one run."""

    def __init__(
        self,
        config: TrainConfig,
        world: World,
        batches: Order,
        pauses: Sequence[str],
        valid_tokens: int,
        started: float | None = None,
    ) -> None:
        """`pauses` are what the run stops for now and then: NAME of `config.NAME_every`. `valid_tokens` are read at an
        evaluation. `started` (time.monotonic) is when the time budget began to run; default now."""
        self.config, self.world, self.batches = config, world, batches
        self.pauses, self.valid_tokens = pauses, valid_tokens
        self.position = Position()
        self.elapsed = 0.0
        """Seconds of the run, by the first process's clock, when the processes last met."""
        self.stopping = False
        """One of them was asked to stop, and all know."""
        self._asked = False  # this one was
        self._started = time.monotonic() if started is None else started

    def meet(self, *values: float) -> list[float]:
        """`values` summed over all processes; from here on they all go by the same time, and know if one is to stop."""
        seconds = time.monotonic() - self._started
        self.elapsed, asked, *sums = self.world.sum(seconds * self.world.leads, self._asked, *values)
        self.stopping = asked > 0
        return sums

    def interrupt(self) -> None:
        """Ask all processes to stop. Safe to call from a signal handler."""
        self._asked = True

    def resume(self, position: Position) -> None:
        """Go on from there."""
        self.position = position
        self._started -= position.seconds
        self.meet()
        now = int(self.progress * EVALUATIONS)  # in a run that was lengthened, an earlier tenth than it was
        position.marks = {what: min(tenth, now) for what, tenth in position.marks.items()}

    # -- how far the run is ----------------------------------------------------------------------------------------

    @property
    def progress(self) -> float:
        """Share of the run that is over, 0 to 1."""
        config = self.config
        if config.budget:
            return min(1.0, self.elapsed / max(config.budget - self._last_pause_cost(), 1e-9))
        if config.steps:
            return min(1.0, self.position.step / config.steps)
        return min(1.0, self.batches.epoch / config.epochs) if config.epochs else 0.0

    def over(self) -> str:
        """Why there is no next step, or "". A budget always gives at least one step."""
        position, patience = self.position, self.config.patience
        if self.progress >= 1 and (position.step or not self.config.budget):
            return "completed"
        return "early stopping" if patience and position.evals_since_best >= patience else ""

    def seconds_left(self, last_step: float) -> float:
        """Of training, if all steps take as long as the last one."""
        if self.config.budget:
            return self.config.budget - self.elapsed
        return last_step * self.position.step * (1 / max(self.progress, 1e-9) - 1)

    def _last_pause_cost(self) -> float:
        """Seconds that the pause at the end will take: as the ones before; until there was one, as long as a third of a
        step (its forward pass) for each batch of the validation text, though the first steps may be slow."""
        position = self.position
        if position.pause_cost or not self.valid_tokens:
            return position.pause_cost
        forward = position.step_seconds / 3 * self.valid_tokens / max(position.tokens, 1)
        return min(forward, PAUSE_SHARE * self.config.budget)

    # -- pauses ----------------------------------------------------------------------------------------------------

    def due(self, what: str, over: str) -> bool:
        """Whether a pause is to be made for this after the step at hand; `over` = why it is the last one, or ""."""
        position = self.position
        if what not in self.pauses or position.done.get(what, 0) == position.step:
            return False
        if over:
            return True
        every = getattr(self.config, f"{what}_every") or self.config.eval_every
        if every:
            return position.step % every == 0
        if self.config.budget and position.pause_seconds > PAUSE_SHARE * self.elapsed:
            return False
        return int(self.progress * EVALUATIONS) > position.marks.get(what, 0)

    def did(self, what: str) -> None:
        """That is done."""
        self.position.done[what] = self.position.step
        self.position.marks[what] = int(self.progress * EVALUATIONS)

    def paused(self, seconds: float) -> None:
        """A pause took so long."""
        self.position.pause_cost = max(self.position.pause_cost / 2, seconds)
        self.position.pause_seconds += seconds
