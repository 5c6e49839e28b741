"""The one interface of every language model: tokens and a state in, logits and the next state out.

Knows nothing of text, loss or decoding. Shapes: B rows, T new tokens, C hidden size, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from pydantic import Field
from torch import Tensor, nn

from nextword.config import Config
from nextword.models.layers import OverLinear


class ModelConfig(Config):
    """What every architecture has; each adds its own fields.

    The sizes have upper bounds, above those of any model known, so that no count of bytes overflows 64 bits.
    """

    type: str
    """Which architecture: a name in `nextword.models.MODELS`."""
    vocab_size: int = Field(default=0, ge=0, le=2**24)
    """Number of tokens; 0 = taken from the tokenizer when training starts."""


class State(ABC):
    """What a model remembers of the tokens it has read, for a batch of B rows. Opaque outside its model.

    `lengths` (B,) counts the tokens each row has consumed. A state given to the model is spent, because the model
    may grow its buffers in place; `select` makes an independent copy to keep.
    """

    def __init__(self, lengths: Tensor) -> None:
        self.lengths = lengths
        self._spent = False

    def spend(self) -> None:
        """Mark as consumed. Raises RuntimeError the second time: its buffers may have moved on."""
        if self._spent:
            raise RuntimeError("this State was already given to the model; keep a copy first with state.select(rows)")
        self._spent = True

    @abstractmethod
    def select(self, rows: Tensor) -> Self:
        """A new state of the given rows (N,), repeated, reordered or dropped; this one stays as it is."""

    def rewind(self, lengths: Tensor) -> Self | None:
        """The state from when row b had read only the first `lengths[b]` (B,) of its tokens; this one is spent.

        None: this kind of memory cannot go back, and is not spent; a `select` taken then is the way.
        """
        return None

    def coverage(self) -> Tensor | None:
        """(B, source) attention that each token of a source has received in all, 1 behind the end of a shorter one;
        None for a model without a source."""
        return None

    @abstractmethod
    def tensors(self) -> list[Tensor]:
        """All that is remembered, `lengths` first: what a checkpoint keeps. The first dimension of each is the rows;
        only `with_tensors` knows more of the layout."""

    @abstractmethod
    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        """A state of this one's layout that remembers `tensors` instead: the inverse of `tensors()`."""

    def detach(self) -> Self:
        """The same memory, cut from the autograd graph (truncated backpropagation through time)."""
        return self.with_tensors([tensor.detach() for tensor in self.tensors()])

    @staticmethod
    def join(states: Sequence[State]) -> State:
        """One state with the rows of all, in order; lengths may differ. `join(s).select([i])` is row i of `s`."""
        return states[0]._join(states)

    @abstractmethod
    def _join(self, states: Sequence[Self]) -> Self: ...


class LanguageModel(nn.Module, ABC):
    """P(next token | tokens so far), for a batch of rows.

    `forward(tokens)` reads whole windows from a fresh start. With a state it goes on from there, any number of
    tokens at a time: one by one, in chunks and all at once give the same logits.
    """

    config: ModelConfig
    output: nn.Linear | OverLinear  # features -> logits
    blocks: Sequence[nn.Module]
    """Parts that `features` calls one after the other, as modules: what may be spread over processes each by itself."""
    encodes: bool = False
    """Whether it reads a prompt whole, by `encode`, before it begins to write; else prompt and text are one."""
    recompute: bool = False
    """In training, keep only the input of each block, and compute the rest anew for the gradients: activation
    checkpointing (Chen et al. 2016). Nothing where there are no blocks."""

    @property
    @abstractmethod
    def max_seq_len(self) -> int | None:
        """Most tokens a state may hold; None: no limit."""

    @abstractmethod
    def init_state(self, batch_size: int) -> State:
        """The state before the first token."""

    def encode(self, sources: Tensor, lengths: Tensor) -> State:
        """The state before the first token of an answer to each source: `sources` (B, S) ids, filled up behind
        `lengths` (B,). `init_state` is that of an empty source. Raises TypeError unless the model `encodes`."""
        raise TypeError(f"{type(self).__name__} encodes no source: it reads a prompt as the beginning of the text")

    def answer(self, tokens: Tensor, sources: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        """The features (B, T, C) of whole answers (B, T) to sources as `encode` takes them. Nothing is remembered:
        so blocks need no more than their inputs, and may be spread over processes or computed again for the gradients.

        Also (B, T) how much of the attention to the source went where it had been before; None for a model that does
        not attend to it by itself.
        """
        return self.features(tokens, self.encode(sources, lengths))[0], None

    def attention_to_source(self, tokens: Tensor, sources: Tensor, lengths: Tensor) -> Tensor | None:
        """(B, T, S) how much of its attention to the source the model gave to each of its tokens as it wrote the token
        after each of `tokens` (B, T). None for a model that does not attend to a source by itself."""
        return None

    @abstractmethod
    def features(
        self, tokens: Tensor, state: State | None = None, starts: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        """(B, T) ids -> (B, T, C) features for `output`, and the state after the last token (None for None).

        `starts` (B, T) bool is True where a document begins within a row: it sees nothing before it, and is read as if
        it stood alone. For whole windows only: not beside a state.
        """

    def forward(
        self, tokens: Tensor, state: State | None = None, starts: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        """(B, T) ids -> (B, T, V) logits, and the state after the last token (None for None).

        `logits[:, t]` is the distribution of the token after `tokens[:, t]`; `starts` as in `features`.
        """
        features, state = self.features(tokens, state, starts)
        return self.output(features), state

    def compile_training(self) -> bool:
        """Have torch.compile make the layers faster in training; False where this model has nothing to gain by it."""
        return False

    @property
    def stack(self) -> Sequence[nn.Module]:
        """The layers that follow each other, the one nearest the tokens first."""
        return ()

    def depths(self) -> dict[str, int]:
        """Name of each parameter -> how far it lies from the tokens: 0 in an embedding, 1 in the first of the `stack`,
        and so on; what comes after the last layer lies one further. A tied output layer lies where its embedding does.
        """
        found = {id(p): len(self.stack) + 1 for p in self.parameters()}
        found |= {id(p): i for i, layer in enumerate(self.stack, start=1) for p in layer.parameters()}
        found |= {id(module.weight): 0 for module in self.modules() if isinstance(module, nn.Embedding)}
        return {name: found[id(parameter)] for name, parameter in self.named_parameters()}

    @property
    def rewinds(self) -> bool:
        """Whether its states can be rewound; otherwise a fork taken beforehand is the way back."""
        empty = self.init_state(1)
        return empty.rewind(empty.lengths) is not None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.output.weight.device

    def num_parameters(self) -> int:
        """Number of values that training sets; tied weights count once."""
        return sum(p.numel() for p in self.parameters())
