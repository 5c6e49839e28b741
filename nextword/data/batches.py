"""What a batch is, and orders of batches: pure functions of (files, settings, position), which go on for ever.

`stream` has batches of a corpus as one stream, `examples` and `pairs` of whole examples, `mixture` of several corpora.
In all of them every token that is to be learned is predicted exactly once an epoch.

Knows nothing of models, losses or processes. Shapes: B rows, T tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from nextword.errors import DataError, RunError, counted
from nextword.tokenizers import IGNORE


@dataclass(frozen=True)
class Batch:
    """`targets[b, t]` is the token after `inputs[b, t]`, or IGNORE where there is no loss. Both (B, T) int64."""

    inputs: Tensor
    targets: Tensor
    fresh: bool = True
    """The rows do not continue those of the batch before: reset the state."""
    starts: Tensor | None = None
    """(B, T) bool: where another document begins within a row, which sees nothing before it. None: nowhere."""
    corpus: str = ""
    """In a mixture read a batch at a time: which corpus this one is from."""
    sources: tuple[Tensor, Tensor] | None = None
    """For a model that encodes them: ids (B, S), filled up behind their lengths (B,). None: prompts are in `inputs`."""

    def part(self, rows: slice) -> Batch:
        """Some of the rows, to be read by one of several processes. If there are none, the first without its loss: all
        processes take every step, though a batch may have fewer rows than they are."""
        if not len(self.inputs[rows]):
            nothing = torch.full_like(self.targets[:1], IGNORE)
            return replace(self.part(slice(0, 1)), targets=nothing)
        starts = None if self.starts is None else self.starts[rows]
        sources = None if self.sources is None else (self.sources[0][rows], self.sources[1][rows])
        return replace(self, inputs=self.inputs[rows], targets=self.targets[rows], starts=starts, sources=sources)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        inputs, targets = (tensor.to(device, non_blocking=True) for tensor in (self.inputs, self.targets))
        starts = None if self.starts is None else self.starts.to(device, non_blocking=True)
        sources = None if self.sources is None else (self.sources[0].to(device), self.sources[1].to(device))
        return Batch(inputs, targets, self.fresh, starts, self.corpus, sources)


def fit(num_tokens: int, batch_size: int, context: int) -> tuple[int, int, str]:
    """Batch size and context that `num_tokens` tokens can fill, and a note for the user ("" if they were enough).

    The context shrinks last: long windows teach more than many. Raises DataError below 2 tokens.

    >>> fit(1000, 64, 256)
    (3, 256, 'only 1,000 tokens: batch size 3 instead of 64')
    """
    if num_tokens < 2:
        raise DataError(
            f"The text is too small: {counted(num_tokens, 'token')}, and at least 2 are needed",
            hint="Give more text, or a larger share of it to this split",
        )
    fitting_context = min(context, num_tokens)
    fitting_size = min(batch_size, num_tokens // fitting_context)
    changes = [f"batch size {fitting_size} instead of {batch_size}"] if fitting_size < batch_size else []
    changes += [f"context {fitting_context} instead of {context}"] if fitting_context < context else []
    note = f"only {num_tokens:,} tokens: {', '.join(changes)}" if changes else ""
    return fitting_size, fitting_context, note


class Order(ABC):
    """An endless, resumable order of batches; its whole state is the position (epoch, index)."""

    carries = False
    """Whether a batch goes on where the one before stopped."""
    whole_examples = False
    """Whether each example is read by itself."""
    one_shape = True
    """Whether all batches, or nearly all, have the same shape."""

    def __init__(self, digest: str, context: int) -> None:
        """`digest` names the data."""
        self.digest = digest
        self.context = context
        self._epoch = 0
        self._index = 0

    def __iter__(self) -> Self:
        return self

    @abstractmethod
    def __next__(self) -> Batch: ...

    @property
    def epoch(self) -> float:
        """Epochs read so far, such as 1.25."""
        return self._epoch + self._index / self.batches_per_epoch

    @property
    @abstractmethod
    def batches_per_epoch(self) -> float:
        """Not whole where an epoch ends within a batch."""

    @property
    @abstractmethod
    def size(self) -> str:
        """How large a batch is, in words."""

    def read_shares(self) -> dict[str, float]:
        """In a mixture: the share of each corpus in the tokens with loss read so far."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The position, and what it is a position in: plain JSON values."""
        return {"epoch": self._epoch, "index": self._index} | self._setting()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there. Raises RunError if the data, or the order, is another than then."""
        for key, value in self._setting().items():
            if state.get(key) != value:
                raise RunError(
                    f"The position in the data cannot be restored: {key} was {state.get(key)}, now {value}",
                    hint="Resume with the data and settings of then, or start a new run from the weights",
                )
        self._epoch, self._index = state["epoch"], state["index"]

    def _setting(self) -> dict[str, Any]:
        return {"data": self.digest, "order": type(self).__name__, "context": self.context}


class Planned(Protocol):
    """An epoch of batches, in order, each in the terms of its maker."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


class PlannedBatches(Order):
    """Batches of whole examples, all of an epoch planned when it begins."""

    whole_examples = True
    one_shape = False

    def __init__(self, digest: str, context: int, tokens: int, seed: int) -> None:
        """At most `tokens` tokens a batch."""
        super().__init__(digest, context)
        self.tokens, self.seed = tokens, seed
        self._plan: Planned = ()
        self._plan_epoch: int | None = None

    @property
    def batches_per_epoch(self) -> float:
        """Of the epoch at hand."""
        return float(len(self._current()))

    def __next__(self) -> Batch:
        plan = self._current()
        batch = self._batch(plan[self._index])
        self._index += 1
        if self._index == len(plan):
            self._epoch, self._index = self._epoch + 1, 0
        return batch

    def _current(self) -> Planned:
        if self._plan_epoch != self._epoch:
            # RandomState, because NumPy freezes its stream for ever: a resumed run keeps its order under any NumPy.
            rng = np.random.RandomState([self.seed % 2**32, self._epoch])
            self._plan, self._plan_epoch = self._planned(rng), self._epoch
        return self._plan

    @abstractmethod
    def _planned(self, rng: np.random.RandomState) -> Planned:
        """What `_batch` makes the batches of an epoch of, in order."""

    @abstractmethod
    def _batch(self, planned: Any) -> Batch: ...

    def _setting(self) -> dict[str, Any]:
        return super()._setting() | {"seed": self.seed, "tokens": self.tokens}
