"""A Transformer that reads a prompt in both directions before it writes: a prefix language model.

The parts and weights are those of `transformer`; what differs is who sees whom. The tokens of a prompt all see each
other, as in an encoder, and those of the answer see the prompt and what stands before them (Liu et al. 2018; the
"prefix LM" of Raffel et al. 2020). So a prompt is a source, which `encode` reads, and an empty one leaves an ordinary
causal Transformer.

Shapes: B rows, T new tokens, S tokens of the source, C hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor

from nextword.models.base import State
from nextword.models.key_values import TransformerState, common
from nextword.models.source import padding
from nextword.models.transformer import Transformer
from nextword.models.transformer_config import TransformerConfig


class PrefixConfig(TransformerConfig):
    """The settings of a decoder-only Transformer; `max_seq_len` bounds prompt and answer each."""

    type: Literal["prefix-lm"] = "prefix-lm"  # type: ignore[assignment]
    """Transformer that reads prompts in both directions."""

    @model_validator(mode="after")
    def _sees_all_of_a_prompt(self) -> Self:
        if self.window or self.layer_pattern:
            raise ValueError("a prefix-lm sees all of a prompt: it knows no window and no layer_pattern")
        return self

    @property
    def room(self) -> int:
        """Of a prompt and an answer, one behind the other."""
        return 2 * self.max_seq_len


class PrefixState(State):
    """Keys and values of source and answer, one behind the other; `lengths` counts the tokens of the answer."""

    def __init__(self, read: TransformerState, sources: Tensor) -> None:
        """`sources` (B,) are the tokens of each row's source, the first of those that `read` remembers."""
        super().__init__(read.lengths - sources)
        self.read, self.sources = read, sources

    def select(self, rows: Tensor) -> Self:
        """The given rows, copied."""
        return type(self)(self.read.select(rows), self.sources[rows])

    def rewind(self, lengths: Tensor) -> Self:
        """Nothing is copied."""
        self.spend()
        return type(self)(self.read.rewind(self.sources + lengths), self.sources)

    def tensors(self) -> list[Tensor]:
        """Lengths of answers and sources, then the keys of all layers, then their values."""
        return [self.lengths, self.sources, *self.read.tensors()[1:]]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        """The inverse of `tensors`."""
        lengths, sources, *buffers = tensors
        return type(self)(self.read.with_tensors([lengths + sources, *buffers]), sources)

    def _join(self, states: Sequence[Self]) -> Self:
        read = TransformerState.join([state.read for state in states])
        assert isinstance(read, TransformerState)
        return type(self)(read, torch.cat([state.sources for state in states]))


class PrefixTransformer(Transformer):
    """A Transformer that sees all of a source at once, and writes an answer behind it."""

    config: PrefixConfig
    encodes = True

    def compile_training(self) -> bool:
        """Not: sources and answers are of many lengths, and each would be compiled anew."""
        return False

    def init_state(self, batch_size: int) -> PrefixState:
        """Of empty sources."""
        read = self.empty_state(batch_size)
        return PrefixState(read, torch.zeros_like(read.lengths))

    def encode(self, sources: Tensor, lengths: Tensor) -> PrefixState:
        """(B, S) ids of `lengths` (B,) -> the state before the first token. Raises ValueError beyond `max_seq_len`."""
        S = int(lengths.max()) if len(lengths) else 0
        self._check(S)
        read = self.empty_state(len(lengths))
        if S:
            # An empty source beside others sees its padding: softmax of nothing is NaN. It is overwritten, unseen.
            mask = ~padding(lengths.clamp(min=1), S)[:, None, None]  # (B, 1, 1, S)
            positions = torch.arange(S, device=sources.device).unsqueeze(0)
            self.through_blocks(sources[:, :S], positions, S, {"global": mask}, read)
        return PrefixState(TransformerState(read.keys, read.values, lengths, common(lengths)), lengths)

    def answer(self, tokens: Tensor, sources: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `LanguageModel`: source and answer in one row. Raises ValueError where one is beyond `max_seq_len`."""
        (B, S), T = sources.shape, tokens.size(1)
        self._check(max(S, T))
        new = torch.arange(S + T, device=tokens.device).expand(B, -1)
        positions = torch.where(new < S, new, new - S + lengths[:, None])  # an answer begins behind its source
        read = F.pad(~padding(lengths, S), (0, T))  # (B, S + T)
        own = torch.eye(S + T, dtype=torch.bool, device=tokens.device)  # for padding: softmax of nothing is NaN
        causal = F.pad(own.new_ones(T, T).tril(), (S, 0, S, 0))
        mask = (read[:, None] | causal | own).unsqueeze(1)  # (B, 1, S + T, S + T)
        x = self.through_blocks(torch.cat([sources, tokens], dim=1), positions, S + T, {"global": mask}, None)
        return self.norm(x[:, S:]), None

    def features(
        self, tokens: Tensor, state: State | None = None, starts: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        """(B, T) ids -> (B, T, C) features, and the state after the last token. `starts` is not for this model: an
        answer has a row of its own. Raises ValueError when an answer would hold more than `max_seq_len` tokens."""
        assert starts is None
        if state is None:
            self._check(tokens.size(1))
            return super().features(tokens)
        assert isinstance(state, PrefixState)
        state.spend()
        self._check(tokens.size(1) + int(state.lengths.max()))
        x, read = super().features(tokens, state.read)
        assert isinstance(read, TransformerState)
        return x, PrefixState(read, state.sources)

    def _check(self, length: int) -> None:
        if length > self.config.max_seq_len:
            raise ValueError(f"{length} tokens do not fit the model's context of {self.config.max_seq_len}")
