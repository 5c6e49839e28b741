"""A Transformer encoder-decoder (Vaswani et al. 2017): a source is read whole, then an answer written token by token.

Encoder and decoder are made of the parts of `transformer`, and share the embedding of one vocabulary.

Shapes: B rows, T new tokens, S tokens of the source, C hidden size, H heads, G key/value heads, D head size,
V vocabulary; N sources of n rows each as in `source`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nextword.models.base import LanguageModel, State
from nextword.models.blocks import (
    Angles,
    Block,
    DecoderBlock,
    embed,
    init_weights,
    last_norm,
    position_embedding,
)
from nextword.models.dropout import Dropout
from nextword.models.key_values import TransformerState, stored
from nextword.models.layers import Linear, tie
from nextword.models.pointer import Pointer
from nextword.models.positions import RelativePositions, Rotary
from nextword.models.source import Source, covered, padding, repeated
from nextword.models.transformer_config import TransformerConfig


class EncoderDecoderConfig(TransformerConfig):
    """The settings of a decoder-only Transformer hold for both halves; those below are for these alone."""

    type: Literal["encoder-decoder"] = "encoder-decoder"  # type: ignore[assignment]
    """Transformer encoder-decoder."""
    encoder_layers: int = Field(default=0, ge=0, le=1000)
    """Layers that read the source; 0 = as many as num_layers, which write."""
    pointer: bool = False
    """Tokens of the source may be copied, by the attention of the last layer (See et al. 2017)."""
    positions: Literal["rotary", "learned", "sinusoidal", "relative"] = "rotary"  # type: ignore[assignment]
    """As in a decoder-only one, or biases of attention by the distance of two tokens (Raffel et al. 2020)."""
    relative_buckets: int = Field(default=32, ge=4, le=2**16)
    """Of relative positions: kinds of distances."""
    relative_distance: int = Field(default=128, ge=1, le=2**24)
    """Of relative positions: tokens from which on all distances are of one kind."""
    output_bias: bool = False
    """A bias in the output layer (Marian)."""
    output_scale: bool = False
    """What the output layer reads is divided by the square root of hidden_size (T5)."""

    @model_validator(mode="after")
    def _has_what_is_here(self) -> Self:
        if self.window or self.layer_pattern or self.logit_softcap:
            raise ValueError("an encoder-decoder knows no window, layer_pattern or logit_softcap")
        if self.positions == "relative" and self.attention_softcap:
            raise ValueError("attention_softcap is not for relative positions")
        if self.relative_distance <= self.relative_buckets // 2:
            raise ValueError(
                f"relative_distance {self.relative_distance} must be more than half of the {self.relative_buckets} "
                "relative_buckets"
            )
        return self


class EncoderDecoderState(State):
    """The source, what was written so far, and how that attended to the source.

    `attended` (B, 1, capacity, S) holds for each token of the answer the weights of the last layer, the mean over its
    heads, where the keys of `written` hold its keys.
    """

    def __init__(self, source: Source, written: TransformerState, attended: Tensor) -> None:
        super().__init__(written.lengths)
        self.source, self.written, self.attended = source, written, attended

    def select(self, rows: Tensor) -> Self:
        """The given rows; sources are shared where they stay as they are."""
        source, attended = self.source.select(rows), self.attended.index_select(0, rows)
        return type(self)(source, self.written.select(rows), attended[..., : source.tokens.size(1)])

    def rewind(self, lengths: Tensor) -> Self:
        """Nothing is copied."""
        self.spend()
        return type(self)(self.source, self.written.rewind(lengths), self.attended)

    def coverage(self) -> Tensor:
        """(B, S) as `State`."""
        read = ~padding(self.lengths, self.attended.size(2))  # a rewound state holds more
        return covered((self.attended[:, 0] * read[..., None]).sum(1), self.source)

    def tensors(self) -> list[Tensor]:
        """Lengths, source and attention, then keys and values."""
        lengths, *buffers = self.written.tensors()
        return [lengths, self.attended, *buffers, *self.source.tensors()]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        """The inverse of `tensors`."""
        first = 2 + 2 * len(self.written.keys)
        written = self.written.with_tensors([tensors[0], *tensors[2:first]])
        return type(self)(self.source.with_tensors(tensors[first:]), written, tensors[1])

    def _join(self, states: Sequence[Self]) -> Self:
        source = Source.join([state.source for state in states])
        written = TransformerState.join([state.written for state in states])
        assert isinstance(written, TransformerState)
        shape = 1, max(state.attended.size(2) for state in states), source.tokens.size(1)
        attended = self.attended.new_zeros(len(source.origin), *shape)
        row = 0
        for state in states:
            rows, _, read, size = state.attended.shape
            attended[row : row + rows, :, :read, :size] = state.attended
            row += rows
        return type(self)(source, written, attended)


class EncoderDecoder(LanguageModel):
    """A Transformer that reads a source, then writes. `max_seq_len` bounds each of the two."""

    output: nn.Linear | Pointer
    encodes = True

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.config: EncoderDecoderConfig = config
        C, V = config.hidden_size, config.vocab_size
        self.embedding = nn.Embedding(V, C)
        self.position_embedding = position_embedding(config, config.max_seq_len)
        if config.positions == "rotary":
            self.rotary = Rotary(config.R, config.max_seq_len, config.rope_theta, config.rope_scaling)
        elif config.positions == "relative":
            kinds = config.num_heads, config.relative_buckets, config.relative_distance
            self.encoder_positions = RelativePositions(*kinds, both_ways=True)
            self.decoder_positions = RelativePositions(*kinds, both_ways=False)
        layers = config.encoder_layers or config.num_layers
        self.encoder: Sequence[Block] = nn.ModuleList(Block(config, "global") for _ in range(layers))  # type: ignore[assignment]
        self.encoder_norm = last_norm(config)
        self.decoder: Sequence[DecoderBlock] = nn.ModuleList(DecoderBlock(config) for _ in range(config.num_layers))  # type: ignore[assignment]
        self.blocks = [*self.encoder, *self.decoder]
        self.norm = last_norm(config)
        output = Linear(C, V, bias=config.output_bias)
        self.output = Pointer(output) if config.pointer else output
        self.dropout = Dropout(config.dropout)
        reading, writing = 2 * len(self.encoder), 3 * len(self.decoder)
        init_weights(self, lambda name: reading if name.startswith("encoder.") else writing)
        if config.tied:
            tie(self.output, self.embedding)

    @property
    def max_seq_len(self) -> int | None:
        """The longest source, and the longest answer."""
        return self.config.max_seq_len

    @property
    def stack(self) -> Sequence[nn.Module]:
        """The blocks of the encoder, then those of the decoder."""
        return self.blocks

    def init_state(self, batch_size: int) -> EncoderDecoderState:
        """Of empty sources."""
        nothing = torch.zeros(batch_size, 0, dtype=torch.long, device=self.device)
        return self.encode(nothing, nothing.sum(1))

    def encode(self, sources: Tensor, lengths: Tensor) -> EncoderDecoderState:
        """(B, S) ids of `lengths` (B,) -> the state before the first token. Raises ValueError beyond `max_seq_len`."""
        x, nothing = self._read(sources, lengths)
        memory = [part for block in self.decoder for part in block.source_attention.memory(x, nothing)]
        B, G, D = len(lengths), self.config.G, self.config.D
        empty = [x.new_zeros(B, G, 0, D) for _ in range(2 * len(self.decoder))]
        written = TransformerState(empty[::2], empty[1::2], torch.zeros_like(lengths), uniform=0)
        return EncoderDecoderState(Source(sources, lengths, memory), written, x.new_zeros(B, 1, 0, sources.size(1)))

    def answer(self, tokens: Tensor, sources: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `LanguageModel`. Raises ValueError for a source or an answer beyond `max_seq_len`."""
        for layer in self._layers(tokens, sources, lengths):
            x, weights = layer  # of the last in the end; no other is kept
        source = Source(sources, lengths, [])
        seen = weights.mean(1)
        return self._mixed(x, seen, source), repeated(seen, source)

    def attention_to_source(self, tokens: Tensor, sources: Tensor, lengths: Tensor) -> Tensor:
        """As `LanguageModel`: the mean over the heads of the last layer but one, which tells best what is a translation
        of what (Garg et al. 2019), or of the only layer."""
        weights = [weights for _, weights in self._layers(tokens, sources, lengths)]
        return weights[max(len(weights) - 2, 0)].mean(1)

    def _layers(self, tokens: Tensor, sources: Tensor, lengths: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """What each layer makes of whole answers: (B, T, C), and its attention to the source (B, H, T, S)."""
        encoded, nothing = self._read(sources, lengths)
        x, angles = self._embed(tokens, torch.arange(tokens.size(1), device=tokens.device).unsqueeze(0))
        mask = self._mask(x.size(1), x.size(1), None)
        for block in self.decoder:
            x, weights = self._run(block, x, angles, mask, None, (encoded,), nothing)
            yield x, weights

    def features(
        self, tokens: Tensor, state: State | None = None, starts: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        """(B, T) ids -> (B, T, C) features, and the state after the last token. `starts` is not for this model: an
        answer has a row of its own. Raises ValueError when a row would hold more than `max_seq_len` tokens."""
        assert starts is None
        before = self.init_state(tokens.size(0)) if state is None else state
        assert isinstance(before, EncoderDecoderState)
        before.spend()
        written, source, T = before.written, before.source, tokens.size(1)
        positions, length = written.places(T)
        mask = self._mask(T, length, None if written.uniform == 0 else positions)
        x, angles = self._embed(tokens, positions, length)  # (B, T, C)
        nothing = source.is_padding()
        for i, block in enumerate(self.decoder):
            memory = tuple(source.memory[2 * i : 2 * i + 2])
            x, weights = block(x, angles, mask, (written, i, positions, length), memory, nothing, source)
        seen = source.by_row(weights.mean(1).unflatten(1, (-1, T)))  # (B, T, S)
        x = self._mixed(x, seen, source)
        if state is None:
            return x, None
        seen = seen.detach()[:, None].to(before.attended.dtype)  # (B, 1, T, S)
        attended = stored(before.attended, seen, positions, length, written.uniform)
        uniform = None if written.uniform is None else length
        after = TransformerState(written.keys, written.values, written.lengths + T, uniform)
        return x, EncoderDecoderState(source, after, attended)

    def _read(self, sources: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S) ids of `lengths` (B,) -> what the encoder gives (B, S, C), and its padding (B, S)."""
        S = sources.size(1)
        x, angles = self._embed(sources, torch.arange(S, device=sources.device).unsqueeze(0))  # (B, S, C)
        if S:
            # All see all of their own source. An empty one beside others sees its padding: softmax of nothing is NaN.
            mask = ~padding(lengths.clamp(min=1), S)[:, None, None]  # (B, 1, 1, S)
            if self.config.positions == "relative":
                places = torch.arange(S, device=sources.device).unsqueeze(0)
                mask = self.encoder_positions(places, S).masked_fill(~mask, -torch.inf)  # (B, H, S, S)
            for block in self.encoder:
                x = self._run(block, x, angles, mask, None)
        return self.encoder_norm(x), padding(lengths, S)

    def _run(self, block: nn.Module, *inputs: Any) -> Any:
        """A block that has nothing to remember."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def _mask(self, T: int, length: int, positions: Tensor | None) -> Tensor | None:
        """Who of T tokens at (B or 1, T) positions, None = the first of their rows, sees which of `length`: (B or 1, 1,
        T, S), or with the biases of relative positions (B or 1, H, T, S), as `Attention` takes it."""
        relative = self.config.positions == "relative"
        if not relative and T == 1 and (positions is None or len(positions) == 1):
            return None
        if positions is None:
            if not relative and not self.config.attention_softcap:
                return None
            positions = torch.arange(T, device=self.device).unsqueeze(0)
        seen = (torch.arange(length, device=self.device) <= positions[..., None]).unsqueeze(1)
        return self.decoder_positions(positions, length).masked_fill(~seen, -torch.inf) if relative else seen

    def _mixed(self, x: Tensor, seen: Tensor, source: Source) -> Tensor:
        """What comes out of the last block (B, T, C) -> features, by the pointer if there is one, which attends as
        `seen` (B, T, S) does."""
        x = self.norm(x)
        if self.config.output_scale:
            x = x * self.config.hidden_size**-0.5
        return self.output.mix(x, seen, source) if isinstance(self.output, Pointer) else x

    def _embed(self, tokens: Tensor, positions: Tensor, length: int | None = None) -> tuple[Tensor, Angles | None]:
        """(B, T) ids at (B or 1, T) positions -> (B, T, C), and the rotation of these positions."""
        length = tokens.size(1) if length is None else length
        if length > self.config.max_seq_len:
            raise ValueError(f"{length} tokens do not fit the model's context of {self.config.max_seq_len}")
        x = self.dropout(embed(self.config, tokens, positions, self.embedding, self.position_embedding))
        return x, self.rotary.at(positions) if self.config.positions == "rotary" else None
