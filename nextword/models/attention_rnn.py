"""Recurrent encoder-decoders with attention: a source is read in both directions, then an answer written.

At each step the recurrent layers read the last token and what attention found before; their state then asks the source
anew (input feeding, Luong et al. 2015):

    h_t = layers([e_t; a_t-1]),   c_t = sum_j softmax_j(score(h_t, s_j)) s_j,   a_t = tanh(W [c_t; h_t])

with score(h, s) = v . tanh(W_h h + W_s s), additive (Bahdanau et al. 2015), or h . W_s s, general (Luong et al. 2015).

Shapes: B rows, T new tokens, S tokens of the source, E embedding size, C hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nextword.models.base import LanguageModel, ModelConfig, State
from nextword.models.dropout import Dropout
from nextword.models.layers import Linear, tie
from nextword.models.pointer import Pointer
from nextword.models.recurrent import LAYERS, RecurrentState, few_steps
from nextword.models.source import Source, covered, repeated


class AttentionRnnConfig(ModelConfig):
    """A recurrent encoder, a recurrent decoder, and attention between them."""

    type: Literal["gru-attention", "lstm-attention"] = "gru-attention"
    """gru (Cho et al. 2014) or lstm (Hochreiter & Schmidhuber 1997), in both halves."""
    num_layers: int = Field(default=1, ge=1, le=1000)
    """Layers of the decoder, and of the encoder in each direction."""
    hidden_size: int = Field(default=512, ge=1, le=2**16)
    """Size of each layer's hidden state, of one direction in the encoder."""
    embedding_size: int = Field(default=0, ge=0, le=2**16)
    """Size of a token's embedding, shared by source and answer; 0 = hidden_size."""
    attention: Literal["additive", "general"] = "additive"
    """How well a state and a token of the source go together: additive (Bahdanau et al. 2015), general (Luong et al.
    2015)."""
    tied: bool = False
    """The output layer uses the embedding's weights (Press & Wolf 2017); sizes that differ get a projection between."""
    pointer: bool = False
    """Tokens of the source may be copied, by attention (See et al. 2017)."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """On embeddings, between layers and before the output."""

    @property
    def cell(self) -> str:
        """gru or lstm."""
        return self.type.removesuffix("-attention")


class AttentionRnnState(State):
    """The source, the hidden state of the layers that write, and what attention found last (B, C).

    `seen` (B, S) is the attention that each token of the source has received so far.
    """

    def __init__(self, source: Source, written: RecurrentState, found: Tensor, seen: Tensor) -> None:
        super().__init__(written.lengths)
        self.source, self.written, self.found, self.seen = source, written, found, seen

    def select(self, rows: Tensor) -> Self:
        """The given rows; sources are shared where they stay as they are."""
        source = self.source.select(rows)
        seen = self.seen[rows, : source.tokens.size(1)]
        return type(self)(source, self.written.select(rows), self.found[rows], seen)

    def coverage(self) -> Tensor:
        """(B, S) as `State`."""
        return covered(self.seen, self.source)

    def tensors(self) -> list[Tensor]:
        """Lengths, attention, the state of each layer, then the source."""
        lengths, *layers = self.written.tensors()
        return [lengths, self.found, self.seen, *layers, *self.source.tensors()]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        """The inverse of `tensors`."""
        lengths, found, seen, *rest = tensors
        first = len(self.written.tensors()) - 1
        written = self.written.with_tensors([lengths, *rest[:first]])
        return type(self)(self.source.with_tensors(rest[first:]), written, found, seen)

    def _join(self, states: Sequence[Self]) -> Self:
        source = Source.join([state.source for state in states])
        written = RecurrentState.join([state.written for state in states])
        assert isinstance(written, RecurrentState)
        longest = source.tokens.size(1)
        seen = [nn.functional.pad(state.seen, (0, longest - state.seen.size(1))) for state in states]
        return type(self)(source, written, torch.cat([state.found for state in states]), torch.cat(seen))


class SourceAttention(nn.Module):
    """One query a step, over sources of width 2C."""

    def __init__(self, config: AttentionRnnConfig) -> None:
        super().__init__()
        C = config.hidden_size
        self.additive = config.attention == "additive"
        self.key = Linear(2 * C, C, bias=self.additive)
        if self.additive:
            self.query = Linear(C, C, bias=False)
            self.energy = Linear(C, 1, bias=False)
        self.out = Linear(3 * C, C)

    def forward(self, h: Tensor, source: Source, nothing: Tensor) -> tuple[Tensor, Tensor]:
        """h (B, C), and sources with their padding (N, S) -> a (B, C), and the weights (B, S)."""
        keys, values = source.memory  # (N, S, C), (N, S, 2C)
        if self.additive:
            query = source.by_source(self.query(h))[:, :, None]  # (N, n, 1, C)
            scores = self.energy((query + keys[:, None]).tanh()).squeeze(-1)  # (N, n, S)
        else:
            scores = torch.bmm(source.by_source(h.to(keys.dtype)), keys.transpose(1, 2))
        least = torch.finfo(scores.dtype).min  # finite, as in attend_source
        weights = scores.masked_fill(nothing[:, None], least).softmax(-1)
        context = source.by_row(torch.bmm(weights.to(values.dtype), values))  # (B, 2C)
        return self.out(torch.cat([context, h.to(context.dtype)], dim=-1)).tanh(), source.by_row(weights)


class AttentionRnn(LanguageModel):
    """A recurrent model that reads a source, then writes; both of any length."""

    output: nn.Linear | Pointer
    encodes = True

    def __init__(self, config: AttentionRnnConfig) -> None:
        super().__init__()
        self.config: AttentionRnnConfig = config
        C, V = config.hidden_size, config.vocab_size
        E = config.embedding_size or C
        self.blocks = ()  # layers are read by their weights, not called
        self.embedding = nn.Embedding(V, E)
        self.encoder = LAYERS[config.cell](
            E, C, config.num_layers, batch_first=True, bidirectional=True,
            dropout=config.dropout if config.num_layers > 1 else 0.0,
        )  # fmt: skip
        self.layers = nn.ModuleList(
            LAYERS[config.cell](E + C if i == 0 else C, C, batch_first=True) for i in range(config.num_layers)
        )
        self.bridge = Linear(C, config.num_layers * C)
        self.attention = SourceAttention(config)
        features = E if config.tied else C
        self.projection = Linear(C, E, bias=False) if features != C else nn.Identity()
        output = Linear(features, V)
        self.output = Pointer(output) if config.pointer else output
        self.dropout = Dropout(config.dropout)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(output.bias)
        if config.tied:
            tie(self.output, self.embedding)

    @property
    def max_seq_len(self) -> int | None:
        """None: it reads and writes without limit."""
        return None

    @property
    def stack(self) -> Sequence[nn.Module]:
        """The encoder, then the layers of the decoder."""
        return [self.encoder, *self.layers]

    def init_state(self, batch_size: int) -> AttentionRnnState:
        """Of empty sources."""
        nothing = torch.zeros(batch_size, 0, dtype=torch.long, device=self.device)
        return self.encode(nothing, nothing.sum(1))

    def encode(self, sources: Tensor, lengths: Tensor) -> AttentionRnnState:
        """(B, S) ids of `lengths` (B,) -> the state before the first token.

        The decoder begins with a function of the encoder's backward state, which has seen all (Bahdanau et al. 2015).
        """
        (B, S), C, L = sources.shape, self.config.hidden_size, self.config.num_layers
        x = self.dropout(self.embedding(sources))  # (B, S, E)
        if S:
            packed = pack_padded_sequence(x, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
            values, _ = pad_packed_sequence(self.encoder(packed)[0], batch_first=True, total_length=S)
        else:
            values = x.new_zeros(B, 0, 2 * C)
        source = Source(sources, lengths, [])
        nothing = source.is_padding()
        values = values.masked_fill(nothing[..., None], 0.0)  # (B, S, 2C)
        source.memory = [self.attention.key(values), values]
        whole = values[:, 0, C:] if S else values.new_zeros(B, C)  # what the backward direction ends with
        first = self.bridge(whole).tanh().chunk(L, dim=-1)
        zeros = torch.zeros_like(first[0])
        layers: list[tuple[Tensor, ...]] = [(h, zeros) if self.config.cell == "lstm" else (h,) for h in first]
        written = RecurrentState(layers, torch.zeros_like(lengths))
        return AttentionRnnState(source, written, zeros, x.new_zeros(B, S))

    def features(
        self, tokens: Tensor, state: State | None = None, starts: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        """(B, T) ids -> (B, T, C) features, and the state after the last token. `starts` is not for this model: an
        answer has a row of its own."""
        assert starts is None
        before = self.init_state(tokens.size(0)) if state is None else state
        assert isinstance(before, AttentionRnnState)
        features, _, after = self._write(tokens, before)
        return features, None if state is None else after

    def answer(self, tokens: Tensor, sources: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `LanguageModel`."""
        before = self.encode(sources, lengths)
        features, attention, _ = self._write(tokens, before)
        return features, repeated(attention, before.source)

    def attention_to_source(self, tokens: Tensor, sources: Tensor, lengths: Tensor) -> Tensor:
        """As `LanguageModel`."""
        return self._write(tokens, self.encode(sources, lengths))[1]

    def _write(self, tokens: Tensor, before: AttentionRnnState) -> tuple[Tensor, Tensor, AttentionRnnState]:
        """(B, T) ids -> (B, T, C) features, the attention to the source (B, T, S), and the state after the last."""
        before.spend()
        source, found, seen, layers = before.source, before.found, before.seen, before.written.layers
        nothing = source.is_padding()
        steps, attended = [], []
        for e in self.dropout(self.embedding(tokens)).unbind(1):  # (B, E)
            x = torch.cat([e, found.to(e.dtype)], dim=-1)[:, None]
            after = []
            for layer, memory in zip(self.layers, layers, strict=True):
                x, memory = few_steps(self.config.cell, x, memory, *layer.parameters())  # (B, 1, C)
                x = self.dropout(x)
                after.append(memory)
            layers = after
            found, weights = self.attention(x[:, 0], source, nothing)
            seen = seen + weights.detach().to(seen.dtype)
            steps.append(found)
            attended.append(weights)
        features, attention = self.projection(self.dropout(torch.stack(steps, dim=1))), torch.stack(attended, dim=1)
        if isinstance(self.output, Pointer):
            features = self.output.mix(features, attention, source)
        written = RecurrentState(layers, before.lengths + tokens.size(1))
        return features, attention, AttentionRnnState(source, written, found, seen)
