"""What a model remembers from batch to batch of a stream: a state for each corpus of a mixture, under "" for one alone.

Each batch goes on from where the one before of its corpus stopped, without its history (truncated backpropagation
through time).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nextword.data.batches import Batch
from nextword.models.base import LanguageModel, State


class Carried:
    """The states of a model in training; `fresh_share` of the rows of a batch forget what was before."""

    def __init__(self, model: LanguageModel, fresh_share: float) -> None:
        self._model, self._fresh_share = model, fresh_share
        self._states: dict[str, State] = {}

    def before(self, batch: Batch) -> State:
        """The state that a batch is read from."""
        rows, state = batch.inputs.size(0), self._states.get(batch.corpus)
        if batch.fresh or state is None:
            return self._model.init_state(rows)
        fresh = torch.rand(rows) < self._fresh_share
        if not fresh.any():
            return state.detach()
        both = State.join([state.detach(), self._model.init_state(rows)])
        return both.select((torch.arange(rows) + rows * fresh).to(self._model.device))

    def keep(self, batch: Batch, state: State) -> None:
        """Remember the state after a batch."""
        self._states[batch.corpus] = state

    def tensors(self) -> dict[str, Tensor]:
        """All states, under names such as "0" and "1", or "0.poems" of a corpus that has a name."""
        return {
            f"{number}.{corpus}".removesuffix("."): tensor
            for corpus, state in self._states.items()
            for number, tensor in enumerate(state.tensors())
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        found: dict[str, dict[int, Tensor]] = {}
        for name, tensor in tensors.items():
            number, _, corpus = name.partition(".")
            found.setdefault(corpus, {})[int(number)] = tensor
        layout = self._model.init_state(1)
        self._states = {
            corpus: layout.with_tensors([parts[i] for i in range(len(parts))]) for corpus, parts in found.items()
        }
