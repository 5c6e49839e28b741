"""Several models as one: the mean of their probabilities, token by token.

    log P(w) = log (1/n sum_i P_i(w))

Models of one vocabulary that were trained apart are wrong in different places, so their mean is usually better than
the best of them (Sutskever et al. 2014 translate with five). It costs what all of them cost. As with a pointer, the
mean is no linear function of features, so log-probabilities stand in place of the features.

Shapes: B rows, T new tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from nextword.errors import UsageError
from nextword.models.base import LanguageModel, State
from nextword.models.layers import OverLinear


class Ensemble(LanguageModel):
    """The mean of several models, for scoring and generating."""

    def __init__(self, models: Sequence[LanguageModel]) -> None:
        """Raises UsageError for models of which some read a source and some do not, or of different vocabularies."""
        super().__init__()
        first = models[0]
        if {(model.encodes, model.config.vocab_size) for model in models} != {(first.encodes, first.config.vocab_size)}:
            raise UsageError("an ensemble is of models of one kind, with one vocabulary")
        self.config, self.encodes = first.config, first.encodes
        self.models = nn.ModuleList(models)
        assert isinstance(first.output, nn.Linear | OverLinear)
        self.output = _AsTheyAre(first.output if isinstance(first.output, nn.Linear) else first.output.linear)

    @property
    def max_seq_len(self) -> int | None:
        """That of the one that reads least."""
        return min((limit for model in self._each() if (limit := model.max_seq_len) is not None), default=None)

    def init_state(self, batch_size: int) -> State:
        """Those of all."""
        return States([model.init_state(batch_size) for model in self._each()])

    def encode(self, sources: Tensor, lengths: Tensor) -> State:
        """Those of all."""
        return States([model.encode(sources, lengths) for model in self._each()])

    def attention_to_source(self, tokens: Tensor, sources: Tensor, lengths: Tensor) -> Tensor | None:
        """The mean, where every model has some."""
        return _mean([model.attention_to_source(tokens, sources, lengths) for model in self._each()])

    def features(
        self, tokens: Tensor, state: State | None = None, starts: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        """(B, T, V) log-probabilities, float32."""
        assert state is None or isinstance(state, States)
        if state is not None:
            state.spend()
        befores = state.parts if state is not None else [None] * len(self.models)
        pairs = [model(tokens, before, starts) for model, before in zip(self._each(), befores, strict=True)]
        log_probs = torch.stack([logits.float().log_softmax(-1) for logits, _ in pairs])  # (n, B, T, V)
        after = None if state is None else States([part for _, part in pairs])
        return log_probs.logsumexp(0) - math.log(len(pairs)), after

    def _each(self) -> list[LanguageModel]:
        return list(self.models)  # type: ignore[arg-type]  # of modules, which these are


class States(State):
    """What each model of an ensemble remembers."""

    def __init__(self, parts: Sequence[State]) -> None:
        super().__init__(parts[0].lengths)
        self.parts = list(parts)

    def select(self, rows: Tensor) -> Self:
        """Of each."""
        return type(self)([part.select(rows) for part in self.parts])

    def coverage(self) -> Tensor | None:
        """The mean attention, where every model has some."""
        return _mean([part.coverage() for part in self.parts])

    def tensors(self) -> list[Tensor]:
        """Those of all, one after the other, the lengths first."""
        return [tensor for part in self.parts for tensor in part.tensors()]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        """The inverse of `tensors`."""
        parts, rest = [], list(tensors)
        for part in self.parts:
            count = len(part.tensors())
            parts.append(part.with_tensors(rest[:count]))
            rest = rest[count:]
        return type(self)(parts)

    def _join(self, states: Sequence[Self]) -> Self:
        return type(self)([State.join(parts) for parts in zip(*(state.parts for state in states), strict=True)])


def _mean(parts: Sequence[Tensor | None]) -> Tensor | None:
    found = [part for part in parts if part is not None]
    return torch.stack(found).mean(0) if len(found) == len(parts) else None


class _AsTheyAre(OverLinear):
    """Log-probabilities in place of features are logits already."""

    def forward(self, x: Tensor) -> Tensor:
        return x
