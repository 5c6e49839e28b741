"""A decoder-only Transformer (Vaswani et al. 2017; pre-norm) that covers the GPT-2 and Llama families by settings.

Shapes: B rows, T new tokens, S all tokens so far, C hidden size, H heads, G key/value heads, D head size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from nextword.models.attend import WHOLE, attend_causal, attend_one
from nextword.models.base import LanguageModel, ModelConfig, State
from nextword.models.layers import Linear, RMSNorm, Rotary, rotate


class TransformerConfig(ModelConfig):
    """A stack of attention and MLP blocks. The defaults are Llama's choices; `GPT2` below lists GPT-2's."""

    type: Literal["transformer"] = "transformer"
    """Decoder-only Transformer."""
    num_layers: int = Field(default=6, ge=1, le=1000)
    """Blocks, one above the other."""
    hidden_size: int = Field(default=384, ge=1, le=2**16)
    """Width of the residual stream."""
    num_heads: int = Field(default=6, ge=1, le=2**12)
    """Query heads."""
    num_kv_heads: int = Field(default=0, ge=0)
    """Key and value heads, shared by groups of query heads (Ainslie et al. 2023); 0 = num_heads."""
    head_size: int = Field(default=0, ge=0, le=2**16)
    """Size of a head; 0 = hidden_size / num_heads."""
    mlp_size: int = Field(default=0, ge=0, le=2**18)
    """Inner width of the MLP; 0 = 4 x hidden_size, or 8/3 x with a gate (rounded up to 32)."""
    max_seq_len: int = Field(default=256, ge=1, le=2**24)
    """Longest context in tokens."""
    norm: Literal["rms", "layer"] = "rms"
    """RMSNorm (Zhang & Sennrich 2019) or LayerNorm (Ba et al. 2016)."""
    norm_eps: float = Field(default=1e-5, gt=0)
    """Added to the variance."""
    positions: Literal["rotary", "learned"] = "rotary"
    """Rotary (Su et al. 2021) or a learned embedding per position."""
    rope_theta: float = Field(default=10_000.0, gt=0)
    """Base of the rotary wavelengths."""
    activation: Literal["swiglu", "gelu", "gelu_tanh"] = "swiglu"
    """SwiGLU (Shazeer 2020), or GELU exact or by tanh (Hendrycks & Gimpel 2016)."""
    qkv_bias: bool = False
    """Biases in the query, key and value projections."""
    bias: bool = False
    """Biases in the other linear layers and in LayerNorm."""
    qk_norm: bool = False
    """RMSNorm on each query and key head (Henry et al. 2020)."""
    tied: bool = True
    """The output layer uses the embedding's weights (Press & Wolf 2017)."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """On embeddings, attention weights and what each sub-layer adds."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if not self.head_size and self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}: "
                "change one, or give head_size"
            )
        if self.num_kv_heads and self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}")
        if self.positions == "rotary" and self.D % 2:
            raise ValueError(f"rotary positions need an even head size, got {self.D}")
        return self

    @property
    def D(self) -> int:
        """Head size."""
        return self.head_size or self.hidden_size // self.num_heads

    @property
    def G(self) -> int:
        """Key and value heads."""
        return self.num_kv_heads or self.num_heads

    @property
    def inner_size(self) -> int:
        """Inner width of the MLP."""
        gated = -(-8 * self.hidden_size // (3 * 32)) * 32
        return self.mlp_size or (gated if self.activation == "swiglu" else 4 * self.hidden_size)


GPT2 = {
    "norm": "layer",
    "positions": "learned",
    "activation": "gelu_tanh",
    "qkv_bias": True,
    "bias": True,
    "tied": True,
}
"""The settings that make a TransformerConfig a GPT-2 (Radford et al. 2019)."""


class TransformerState(State):
    """Keys and values of each layer in buffers (B, G, capacity, D) that grow in place.

    Row b's tokens lie at 0 .. lengths[b]-1. `uniform` is their common length, or None when rows differ.
    """

    def __init__(self, keys: list[Tensor], values: list[Tensor], lengths: Tensor, uniform: int | None) -> None:
        super().__init__(lengths)
        self.keys, self.values, self.uniform = keys, values, uniform

    def select(self, rows: Tensor) -> Self:
        """The given rows, copied."""
        lengths = self.lengths[rows]
        uniform = _common(lengths) if self.uniform is None else self.uniform
        return type(self)([k[rows] for k in self.keys], [v[rows] for v in self.values], lengths, uniform)

    def rewind(self, lengths: Tensor) -> Self:
        """Nothing is copied: what lies behind `lengths` stays unseen until it is overwritten."""
        assert (lengths <= self.lengths).all()
        self.spend()
        return type(self)(self.keys, self.values, lengths, _common(lengths))

    def tensors(self) -> list[Tensor]:
        """Lengths, then the keys of all layers, then their values."""
        return [self.lengths, *self.keys, *self.values]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Self:
        """The inverse of `tensors`."""
        lengths, *buffers = tensors
        half = len(buffers) // 2
        return type(self)(list(buffers[:half]), list(buffers[half:]), lengths, _common(lengths))

    def _join(self, states: Sequence[Self]) -> Self:
        lengths = torch.cat([state.lengths for state in states])
        room = max(state.keys[0].size(2) for state in states)
        keys = [torch.cat([_grown(k, room) for k in layer]) for layer in zip(*(s.keys for s in states), strict=True)]
        values = [
            torch.cat([_grown(v, room) for v in layer]) for layer in zip(*(s.values for s in states), strict=True)
        ]
        return type(self)(keys, values, lengths, _common(lengths))

    def append(self, layer: int, k: Tensor, v: Tensor, positions: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Store new keys and values (B, G, T, D) at `positions` (B, T); all of them, (B, G, length, D), come back."""
        for buffers, new in ((self.keys, k), (self.values, v)):
            if buffers[layer].size(2) < length:
                buffers[layer] = _grown(buffers[layer], max(length, 2 * buffers[layer].size(2)))
            if self.uniform is None:
                rows = torch.arange(new.size(0), device=new.device)
                buffers[layer][rows[:, None], :, positions] = new.transpose(1, 2)
            else:
                buffers[layer][:, :, self.uniform : length] = new
        return self.keys[layer][:, :, :length], self.values[layer][:, :, :length]


def _common(lengths: Tensor) -> int | None:
    """The length that all rows share, or None."""
    known = set(lengths.tolist())
    return known.pop() if len(known) == 1 else None


def _grown(buffer: Tensor, capacity: int) -> Tensor:
    """(B, G, S, D) -> (B, G, capacity, D), zeros behind: unread memory must not hold a NaN."""
    return F.pad(buffer, (0, 0, 0, capacity - buffer.size(2))) if capacity > buffer.size(2) else buffer


class Attention(nn.Module):
    """Causal self-attention with grouped queries."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        H, G, D = config.num_heads, config.G, config.D
        self.qkv = Linear(config.hidden_size, (H + 2 * G) * D, bias=config.qkv_bias)
        self.out = Linear(H * D, config.hidden_size, bias=config.bias)
        self.q_norm = RMSNorm(D, eps=config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(D, eps=config.norm_eps) if config.qk_norm else nn.Identity()

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor] | None,
        mask: Tensor | None,
        memory: tuple[TransformerState, int, Tensor, int] | None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C). `mask` (B or 1, 1, T, S); None with `memory` None means plain causal."""
        B, T, _ = x.shape
        H, G, D = self.config.num_heads, self.config.G, self.config.D
        qk, v = self.qkv(x).view(B, T, H + 2 * G, D).transpose(1, 2).split([H + G, G], dim=1)  # (B, ., T, D)
        if self.config.qk_norm:
            qk = torch.cat([self.q_norm(qk[:, :H]), self.k_norm(qk[:, H:])], dim=1)
        if angles is not None:
            qk = rotate(qk, *angles)
        q, k = qk.split([H, G], dim=1)
        if memory is not None:
            state, layer, positions, length = memory
            k, v = state.append(layer, k, v, positions, length)  # (B, G, S, D)
        dropout = self.config.dropout if self.training else 0.0
        if T == 1 and not self.training:
            y = attend_one(q, k, v, mask)
        elif self.training and x.device.type == "cpu" and memory is None and T <= WHOLE:
            y = attend_causal(q, k, v, dropout, mask)
        else:
            # One new token sees everything before it; several need the causal mask, which is_causal aligns for S = T
            # only.
            y = F.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=mask,
                is_causal=mask is None and T > 1,
                dropout_p=dropout,
                enable_gqa=G < H,
            )
        return self.out(y.transpose(1, 2).reshape(B, T, H * D))


def _apart(starts: Tensor) -> tuple[Tensor, Tensor]:
    """For rows of several documents (B, T): positions (B, T) in each, and who sees whom (B, 1, T, T)."""
    places, documents = torch.arange(starts.size(1), device=starts.device), starts.cumsum(1)
    begins = (places * starts).cummax(1).values  # (B, T) place where the document of each token begins
    return places - begins, (documents[:, :, None] == documents[:, None]).tril().unsqueeze(1)


class MLP(nn.Module):
    """The position-wise network of a block: up, non-linearity (with or without a gate), down."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.activation = config.activation
        widths = 2 if config.activation == "swiglu" else 1
        self.up = Linear(config.hidden_size, widths * config.inner_size, bias=config.bias)
        self.down = Linear(config.inner_size, config.hidden_size, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)"""
        x = self.up(x)
        if self.activation == "swiglu":
            gate, x = x.chunk(2, dim=-1)
            return self.down(F.silu(gate) * x)
        return self.down(F.gelu(x, approximate="tanh" if self.activation == "gelu_tanh" else "none"))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm = _norm(config)
        self.attention = Attention(config)
        self.mlp_norm = _norm(config)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor] | None,
        mask: Tensor | None,
        memory: tuple[TransformerState, int, Tensor, int] | None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C)"""
        x = x + self.dropout(self.attention(self.attention_norm(x), angles, mask, memory))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


def _run_block(block: nn.Module, *inputs: Any) -> Tensor:
    return block(*inputs)


def _norm(config: TransformerConfig) -> nn.Module:
    if config.norm == "rms":
        return RMSNorm(config.hidden_size, eps=config.norm_eps)
    return nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=config.bias)


class Transformer(LanguageModel):
    """A decoder-only Transformer language model."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config: TransformerConfig = config
        C, V = config.hidden_size, config.vocab_size
        self.embedding = nn.Embedding(V, C)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.max_seq_len, C)
        else:
            self.rotary = Rotary(config.D, config.max_seq_len, config.rope_theta)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = _norm(config)
        self.output = Linear(C, V, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self._run_block: Callable[..., Tensor] = _run_block
        self._init_weights()

    def compile_training(self) -> bool:
        """The first block is compiled when it is first trained, and serves as the pattern of all the others."""
        self._run_block = torch.compile(_run_block, dynamic=False)
        return True

    def _init_weights(self) -> None:
        """GPT-2's rule: N(0, 0.02), and what writes into the residual stream scaled down by its depth."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                residual = name.endswith(("attention.out.weight", "mlp.down.weight"))
                std = 0.02 / math.sqrt(2 * self.config.num_layers) if residual else 0.02
                nn.init.normal_(parameter, std=std)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        if self.config.tied:
            self.output.weight = self.embedding.weight

    @property
    def max_seq_len(self) -> int | None:
        """The longest context."""
        return self.config.max_seq_len

    @property
    def stack(self) -> Sequence[nn.Module]:
        """The blocks."""
        return list(self.blocks)

    def init_state(self, batch_size: int) -> TransformerState:
        """Empty buffers."""
        config, weight = self.config, self.embedding.weight
        buffers = [weight.new_zeros(batch_size, config.G, 0, config.D) for _ in range(2 * config.num_layers)]
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
        if state is None:
            length, positions, mask = T, new, None
            if starts is not None:
                positions, mask = _apart(starts)
        else:
            assert isinstance(state, TransformerState)
            assert starts is None
            state.spend()
            past = state.uniform
            length = T + (int(state.lengths.max()) if past is None else past)
            positions = state.lengths[:, None] + new if past is None else new + past  # (B or 1, T)
            if past is None or (past > 0 and T > 1):
                mask = (torch.arange(length, device=tokens.device) <= positions[..., None]).unsqueeze(1)  # (., 1, T, S)
            else:
                mask = None
        if length > self.config.max_seq_len:
            raise ValueError(f"{length} tokens do not fit the model's context of {self.config.max_seq_len}")

        x = self.embedding(tokens)  # (B, T, C)
        angles = None
        if self.config.positions == "learned":
            x = x + self.position_embedding(positions)
        else:
            angles = self.rotary.at(positions)
        x = self.dropout(x)
        run = self._run_block if self.training and state is None else _run_block
        for i, block in enumerate(self.blocks):
            x = run(block, x, angles, mask, None if state is None else (state, i, positions, length))
        after = None
        if state is not None:
            uniform = None if state.uniform is None else length
            after = TransformerState(state.keys, state.values, state.lengths + T, uniform)
        return self.norm(x), after
