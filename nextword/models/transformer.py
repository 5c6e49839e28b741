"""A decoder-only Transformer (Vaswani et al. 2017) that covers the families of `interop/tables.py` by settings.

Shapes: B rows, T new tokens, S all tokens so far, C hidden size, D head size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nextword.models.base import LanguageModel, State
from nextword.models.blocks import (
    Angles,
    Block,
    embed,
    init_weights,
    last_norm,
    position_embedding,
)
from nextword.models.dropout import Dropout
from nextword.models.key_values import TransformerState
from nextword.models.layers import Linear, SoftCapped, tie
from nextword.models.positions import Rotary
from nextword.models.transformer_config import Kind, TransformerConfig


class Transformer(LanguageModel):
    """A decoder-only Transformer language model."""

    output: nn.Linear | SoftCapped

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config: TransformerConfig = config
        C, V = config.hidden_size, config.vocab_size
        self.embedding = nn.Embedding(V, C)
        self.position_embedding = position_embedding(config, config.room)
        if config.positions == "rotary":
            self.rotary = Rotary(config.R, config.room, config.rope_theta, config.rope_scaling)
            if config.rope_local_theta:
                self.local_rotary = Rotary(config.R, config.room, config.rope_local_theta)
        self.kinds = config.layer_kinds
        self.blocks: Sequence[Block] = nn.ModuleList(Block(config, kind) for kind in self.kinds)  # type: ignore[assignment]
        self.norm = last_norm(config)
        output = Linear(C, V, bias=False)
        self.output = SoftCapped(output, config.logit_softcap) if config.logit_softcap else output
        self.dropout = Dropout(config.dropout)
        self._run_block: Callable[..., Tensor] = _run_block
        init_weights(self, lambda name: 2 * config.num_layers)
        if config.tied:
            tie(self.output, self.embedding)

    def compile_training(self) -> bool:
        """The first block is compiled when it is first trained, and serves as the pattern of all the others."""
        self._run_block = torch.compile(_run_block, dynamic=False)
        return True

    @property
    def max_seq_len(self) -> int | None:
        """The longest context."""
        return self.config.max_seq_len

    @property
    def stack(self) -> Sequence[nn.Module]:
        """The blocks."""
        return list(self.blocks)

    def init_state(self, batch_size: int) -> State:
        """Empty buffers."""
        return self.empty_state(batch_size)

    def empty_state(self, batch_size: int) -> TransformerState:
        """Keys and values of no token."""
        config, weight = self.config, self.embedding.weight
        shape = (batch_size, config.G, 0, config.D)
        # Not weight.new_zeros: of a weight spread over processes it would be spread too.
        buffers = [torch.zeros(shape, dtype=weight.dtype, device=weight.device) for _ in range(2 * config.num_layers)]
        lengths = torch.zeros(batch_size, dtype=torch.long, device=weight.device)
        return TransformerState(buffers[::2], buffers[1::2], lengths, uniform=0)

    def features(
        self, tokens: Tensor, state: State | None = None, starts: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        """(B, T) ids -> (B, T, C) features, and the state after the last token; `starts` as in `LanguageModel`.

        Raises ValueError when a row would hold more than `max_seq_len` tokens.
        """
        T = tokens.size(1)
        new = torch.arange(T, device=tokens.device).unsqueeze(0)  # (1, T)
        past: int | None = 0
        apart = None
        if state is None:
            length, positions = T, new
            if starts is not None:
                positions, apart = _apart(starts)
        else:
            assert isinstance(state, TransformerState)
            assert starts is None
            state.spend()
            past = state.uniform
            positions, length = state.places(T)  # (B or 1, T)
        if length > self.config.room:
            raise ValueError(f"{length} tokens do not fit the model's context of {self.config.room}")
        aligned = past == 0 or (past is not None and T == 1)  # attention knows by itself who sees whom
        places = new if apart is not None else positions  # among the keys
        x = self.through_blocks(tokens, positions, length, self._masks(places, length, aligned, apart), state)
        after = None
        if state is not None:
            uniform = None if state.uniform is None else length
            after = TransformerState(state.keys, state.values, state.lengths + T, uniform)
        return self.norm(x), after

    def through_blocks(
        self,
        tokens: Tensor,
        positions: Tensor,
        length: int,
        masks: Mapping[Kind, Tensor | None],
        state: TransformerState | None,
    ) -> Tensor:
        """(B, T) ids at (B or 1, T) positions -> (B, T, C), as the last block leaves them.

        `masks` are those of `Attention`, for each kind of layer. `state` gets the keys and values; with them, its rows
        hold up to `length` tokens.
        """
        x = self.dropout(embed(self.config, tokens, positions, self.embedding, self.position_embedding))  # (B, T, C)
        angles = self._angles(positions)
        run = self._run_block if self.training and state is None else _run_block
        for i, (block, kind) in enumerate(zip(self.blocks, self.kinds, strict=True)):
            memory = None if state is None else (state, i, positions, length)
            if self.recompute and state is None and torch.is_grad_enabled():
                x = checkpoint(run, block, x, angles[kind], masks[kind], memory, use_reentrant=False)
            else:
                x = run(block, x, angles[kind], masks[kind], memory)
        return x

    def _angles(self, positions: Tensor) -> dict[Kind, Angles | None]:
        """The rotation of (B or 1, T) positions in each kind of layer."""
        if self.config.positions != "rotary":
            return dict.fromkeys(("global", "local", "nope"))
        angles = self.rotary.at(positions)
        local = self.local_rotary.at(positions) if self.config.rope_local_theta else angles
        return {"global": angles, "local": local, "nope": None}

    def _masks(self, places: Tensor, length: int, aligned: bool, apart: Tensor | None) -> dict[Kind, Tensor | None]:
        """Who of the tokens at (B or 1, T) places sees which of `length`, in each kind of layer: (B or 1, 1, T, S).

        None where attention needs none: plain causal, or one token that sees all there is. `apart` is the mask of
        documents that share a row.
        """
        T, window = places.size(1), self.config.window
        whole = apart is None and aligned and (T == 1 or not self.config.attention_softcap)
        if whole and (T == 1 or not window or length <= window):
            return dict.fromkeys(("global", "local", "nope"))
        tokens = torch.arange(length, device=places.device)
        mask = (tokens <= places[..., None]).unsqueeze(1) if apart is None else apart
        local = mask & (tokens > places[..., None] - window).unsqueeze(1) if window else mask
        everything = None if whole else mask
        return {"global": everything, "local": local, "nope": everything}


def _apart(starts: Tensor) -> tuple[Tensor, Tensor]:
    """For rows of several documents (B, T): positions (B, T) in each, and who sees whom (B, 1, T, T)."""
    places, documents = torch.arange(starts.size(1), device=starts.device), starts.cumsum(1)
    begins = (places * starts).cummax(1).values  # (B, T) place where the document of each token begins
    return places - begins, (documents[:, :, None] == documents[:, None]).tril().unsqueeze(1)


def _run_block(block: nn.Module, *inputs: Any) -> Tensor:
    return block(*inputs)
