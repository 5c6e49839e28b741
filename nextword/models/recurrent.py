"""Recurrent language models: embedding, a stack of tanh RNN, GRU or LSTM layers, output layer.

With every dropout at 0 and no tying this is nn.Embedding -> nn.RNN -> nn.Linear, weight for weight.
Shapes: B rows, T new tokens, E embedding size, C hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from nextword.models import kernels
from nextword.models.base import LanguageModel, ModelConfig, State
from nextword.models.dropout import Dropout, LockedDropout, TokenDropout, dropout
from nextword.models.layers import Linear, linear

LAYERS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
LOOPS: dict[str, Callable[..., tuple[Tensor, ...]]] = {"rnn": torch.rnn_tanh, "gru": torch.gru, "lstm": torch.lstm}
FEW = 16
"""Up to so many time steps are taken one by one outside of training: PyTorch's loop over an LSTM rearranges all weights
at each call, 5.2 ms for a layer of 512, where one step takes 0.3 ms."""


class RecurrentConfig(ModelConfig):
    """A stack of recurrent layers."""

    type: Literal["rnn", "gru", "lstm"] = "lstm"
    """rnn: tanh (Elman 1990); gru (Cho et al. 2014); lstm (Hochreiter & Schmidhuber 1997)."""
    num_layers: int = Field(default=1, ge=1, le=1000)
    """Recurrent layers, one above the other."""
    hidden_size: int = Field(default=512, ge=1, le=2**16)
    """Size of each layer's hidden state."""
    embedding_size: int = Field(default=0, ge=0, le=2**16)
    """Size of a token's embedding; 0 = hidden_size."""
    tied: bool = False
    """The output layer uses the embedding's weights (Press & Wolf 2017); sizes that differ get a projection between."""
    output_bias: bool = True
    """A bias in the output layer."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """On the embedding, between layers and before the output, not along time (Zaremba et al. 2014)."""
    variational: bool = False
    """Keep each row's dropout mask for all its time steps (Gal & Ghahramani 2016)."""
    embedding_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the vocabulary whose embeddings are zeroed in a batch (Gal & Ghahramani 2016)."""
    recurrent_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of hidden-to-hidden weights zeroed in a batch: DropConnect (Merity et al. 2018)."""
    init_range: float = Field(default=0.0, ge=0)
    """Draw all weights from U(-r, r), as Zaremba et al. 2014 do; 0 = PyTorch's rule, U(-1/sqrt(C), 1/sqrt(C))."""


class RecurrentState(State):
    """Hidden state of each layer: a tuple of (B, C) tensors, (h,) or (h, c)."""

    def __init__(self, layers: list[tuple[Tensor, ...]], lengths: Tensor) -> None:
        super().__init__(lengths)
        self.layers = layers

    def select(self, rows: Tensor) -> Self:
        """The given rows, copied."""
        return type(self)([tuple(t.index_select(0, rows) for t in layer) for layer in self.layers], self.lengths[rows])

    def tensors(self) -> list[Tensor]:
        """Lengths, then h (and c) of each layer."""
        return [self.lengths, *(tensor for layer in self.layers for tensor in layer)]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        """The inverse of `tensors`."""
        lengths, *memory = tensors
        width = len(self.layers[0])
        layers = [tuple(memory[i : i + width]) for i in range(0, len(memory), width)]
        return type(self)(layers, lengths)

    def _join(self, states: Sequence[Self]) -> Self:
        layers = [
            tuple(torch.cat(parts) for parts in zip(*layer, strict=True))
            for layer in zip(*(state.layers for state in states), strict=True)
        ]
        return type(self)(layers, torch.cat([state.lengths for state in states]))


class RecurrentModel(LanguageModel):
    """A tanh RNN, GRU or LSTM language model; reads texts of any length in constant memory."""

    output: nn.Linear

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config: RecurrentConfig = config
        C, V = config.hidden_size, config.vocab_size
        E = config.embedding_size or C
        self.blocks = ()  # layers are read by their weights, not called
        self.embedding = nn.Embedding(V, E)
        self.layers = nn.ModuleList(
            LAYERS[config.type](E if i == 0 else C, C, batch_first=True) for i in range(config.num_layers)
        )
        features = E if config.tied else C
        self.projection = Linear(C, E, bias=False) if features != C else nn.Identity()
        self.output = Linear(features, V, bias=config.output_bias)
        self.token_dropout = TokenDropout(config.embedding_dropout)
        self.dropout = LockedDropout(config.dropout) if config.variational else Dropout(config.dropout)
        self._init_weights()

    def _init_weights(self) -> None:
        config = self.config
        if config.init_range:
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -config.init_range, config.init_range)
        else:
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
            if config.output_bias:
                nn.init.zeros_(self.output.bias)
            if config.type == "lstm":  # remember by default: forget gate open at the start (Jozefowicz et al. 2015)
                for layer in self.layers:
                    C = config.hidden_size
                    layer.get_parameter("bias_hh_l0").data[C : 2 * C] += 1.0
        if config.tied:
            self.output.weight = self.embedding.weight

    @property
    def max_seq_len(self) -> int | None:
        """None: a recurrent state reads without limit."""
        return None

    @property
    def stack(self) -> Sequence[nn.Module]:
        """The recurrent layers."""
        return list(self.layers)

    def init_state(self, batch_size: int) -> RecurrentState:
        """Zeros."""
        weight = self.embedding.weight  # its own new_zeros would be spread over processes where it is
        zeros = torch.zeros(batch_size, self.config.hidden_size, dtype=weight.dtype, device=weight.device)
        layer = (zeros, zeros) if self.config.type == "lstm" else (zeros,)
        lengths = torch.zeros(batch_size, dtype=torch.long, device=self.device)
        return RecurrentState([layer] * self.config.num_layers, lengths)

    def features(
        self, tokens: Tensor, state: State | None = None, starts: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        """(B, T) ids -> (B, T, C) features, and the state after the last token; `starts` as in `LanguageModel`."""
        if starts is not None:
            assert state is None
            return self._apart(tokens, starts), None
        before = self.init_state(tokens.size(0)) if state is None else state
        assert isinstance(before, RecurrentState)
        before.spend()
        x = self.embedding(tokens)  # (B, T, E)
        x = self.dropout(self.token_dropout(x, tokens, self.config.vocab_size))
        after = []
        for layer, memory in zip(self.layers, before.layers, strict=True):
            x, memory = self._layer(layer, x, memory)  # (B, T, C)
            x = self.dropout(x)
            after.append(memory)
        x = self.projection(x)
        return x, None if state is None else RecurrentState(after, before.lengths + tokens.size(1))

    def _apart(self, tokens: Tensor, starts: Tensor) -> Tensor:
        """Features (B, T, C) of rows of several documents: each becomes a row of its own, none needs a reset."""
        B, T = tokens.shape
        begins = starts.index_fill(1, starts.new_zeros(1, dtype=torch.long), True).flatten()  # (B*T,)
        document = begins.cumsum(0) - 1  # (B*T,) number of each token's document
        place = torch.arange(B * T, device=tokens.device) - begins.nonzero()[document, 0]  # in its document
        rows = tokens.new_zeros(int(document[-1]) + 1, int(place.max()) + 1)
        rows[document, place] = tokens.flatten()
        return self.features(rows)[0][document, place].view(B, T, -1)

    def _layer(self, layer: nn.Module, x: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One layer over all T steps, by the way that is fastest; all of them take weights that may be dropped."""
        w_ih, recurrent, b_ih, b_hh = layer.parameters()
        if x.size(1) <= FEW and not self.training:
            return few_steps(self.config.type, x, memory, w_ih, recurrent, b_ih, b_hh)
        w_hh = dropout(recurrent, self.config.recurrent_dropout, self.training)
        if self.training and kernels.faster(self.config.type, self.config.hidden_size, x.device):
            return kernels.train_layer(self.config.type, x, memory, w_ih, w_hh, b_ih, b_hh)
        hidden = tuple(t.unsqueeze(0) for t in memory)  # (1, B, C): the leading 1 is the layer
        first = hidden if len(hidden) == 2 else hidden[0]
        loop = LOOPS[self.config.type]
        x, *last = loop(x, first, [w_ih, w_hh, b_ih, b_hh], True, 1, 0.0, self.training, False, True)
        return x, tuple(t.squeeze(0) for t in last)


def few_steps(
    kind: str, x: Tensor, memory: tuple[Tensor, ...], w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer over (B, T, E), step by step; the input's share of all steps is one product."""
    steps = []
    for given in linear(x, w_ih, b_ih).unbind(1):  # (B, gates * C)
        kept = linear(memory[0], w_hh, b_hh)
        if kind == "lstm":
            i, f, g, o = (given + kept).chunk(4, dim=-1)
            c = f.sigmoid() * memory[1] + i.sigmoid() * g.tanh()
            memory = (o.sigmoid() * c.tanh(), c)
        elif kind == "gru":
            C = memory[0].size(-1)
            r, z = (given[:, : 2 * C] + kept[:, : 2 * C]).sigmoid().chunk(2, dim=-1)
            n = (given[:, 2 * C :] + r * kept[:, 2 * C :]).tanh()
            h = memory[0]  # wider than the gates under autocast
            memory = (n.to(h.dtype).lerp(h, z.to(h.dtype)),)
        else:
            memory = ((given + kept).tanh(),)
        steps.append(memory[0])
    return torch.stack(steps, dim=1), memory
