"""What a model remembers from batch to batch of a stream: a state for each corpus of a mixture, under "" for one alone.

Each batch goes on from where the one before of its corpus stopped, without its history (truncated backpropagation
through time).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from nextword.data.batches import Batch
from nextword.models.base import LanguageModel, State
from nextword.training.distributed import World


class Carried:
    """The states of a model in training; `fresh_share` of the rows of a batch forget what was before.

    Of several processes each has the states of the rows that are its part of each batch (`Batch.part`).
    """

    def __init__(self, model: LanguageModel, fresh_share: float, seed: int, world: World) -> None:
        self._model, self._fresh_share, self._seed, self._world = model, fresh_share, seed, world
        self._states: dict[str, State] = {}
        self._rows: dict[str, int] = {}  # of a whole batch

    def before(self, batch: Batch, number: int) -> State:
        """The state that this process's part of a batch is read from.

        Which rows forget is a pure function of seed, number of the batch and row, whoever reads them.
        """
        share = self._world.rows(len(batch.inputs))
        rows, state = max(1, share.stop - share.start), self._states.get(batch.corpus)
        if batch.fresh or state is None:
            return self._model.init_state(rows)
        draws = np.random.RandomState([self._seed % 2**32, number % 2**32]).random_sample(len(batch.inputs))
        fresh = torch.from_numpy(draws[share] < self._fresh_share)
        if not fresh.any():
            return state.detach()
        both = State.join([state.detach(), self._model.init_state(rows)])
        return both.select((torch.arange(rows) + rows * fresh).to(self._model.device))

    def keep(self, batch: Batch, state: State) -> None:
        """Remember the state after this process's part of a batch."""
        self._states[batch.corpus], self._rows[batch.corpus] = state, len(batch.inputs)

    def tensors(self) -> dict[str, Tensor]:
        """All states, under names such as "0" and "1", or "0.poems" of a corpus that has a name; the rows of all
        processes, in their order."""
        return {
            f"{number}.{corpus}".removesuffix("."): self._world.gathered(tensor, self._rows[corpus])
            for corpus, state in self._states.items()
            for number, tensor in enumerate(state.tensors())
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`; each process takes its rows."""
        found: dict[str, dict[int, Tensor]] = {}
        for name, tensor in tensors.items():
            number, _, corpus = name.partition(".")
            self._rows[corpus] = len(tensor)
            share = self._world.rows(len(tensor))
            own = tensor[share] if share.stop > share.start else tensor[:1]
            found.setdefault(corpus, {})[int(number)] = own.to(self._world.device, copy=True)
        layout = self._model.init_state(1)
        self._states = {
            corpus: layout.with_tensors([parts[i] for i in range(len(parts))]) for corpus, parts in found.items()
        }
