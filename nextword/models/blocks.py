"""What Transformers are made of, by their settings: attention, MLP, norms, and the blocks that they form.

Shapes: B rows, T new tokens, S all tokens so far or those of a source, C hidden size, H heads, G key/value heads, D
head size; N sources of n rows each as in `source`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.models.attend import WHOLE, attend_capped, attend_causal, attend_one, attend_source
from nextword.models.dropout import Dropout
from nextword.models.key_values import TransformerState
from nextword.models.layers import Linear, RMSNorm
from nextword.models.positions import Sinusoidal, rotate
from nextword.models.source import Source
from nextword.models.transformer_config import GATED, Kind, TransformerConfig

Angles = tuple[Tensor, Tensor]
Memory = tuple[TransformerState, int, Tensor, int]
"""Where keys and values are kept: the state, the number of the layer in it, the positions (B or 1, T) of the new
tokens, and how many tokens its rows hold with them."""


class Attention(nn.Module):
    """Self-attention with grouped queries, causal if no mask says otherwise; `window` is the number of tokens it sees,
    0 = all."""

    def __init__(self, config: TransformerConfig, window: int) -> None:
        super().__init__()
        self.config, self.window = config, window
        H, G, D = config.num_heads, config.G, config.D
        parts = (H * D, G * D, G * D)
        self.qkv = Linear(config.hidden_size, sum(parts), bias=config.qkv_bias, parts=parts)
        self.out = Linear(H * D, config.hidden_size, bias=config.biased_out)
        if config.qk_norm:
            heads = (1, 1) if config.qk_norm_over == "head" else (H, G)
            self.q_norm, self.k_norm = (RMSNorm(n * D, config.norm_eps, config.norm_offset) for n in heads)
        self.scale = config.score_scale
        self.softcap = config.attention_softcap

    def forward(self, x: Tensor, angles: Angles | None, mask: Tensor | None, memory: Memory | None) -> Tensor:
        """(B, T, C) -> (B, T, C). `mask` (B or 1, 1 or H, T, S) as in `attend`; None with `memory` None means plain
        causal."""
        B, T, _ = x.shape
        H, G, D = self.config.num_heads, self.config.G, self.config.D
        qkv = self.qkv(x)  # (B, T, (H + 2G)*D)
        if self.config.qk_norm and self.config.qk_norm_over == "all":
            q, k, v = qkv.split([H * D, G * D, G * D], dim=-1)
            qkv = torch.cat([self.q_norm(q), self.k_norm(k), v], dim=-1)
        qk, v = qkv.view(B, T, H + 2 * G, D).transpose(1, 2).split([H + G, G], dim=1)  # (B, ., T, D)
        if self.config.qk_norm and self.config.qk_norm_over == "head":
            qk = torch.cat([self.q_norm(qk[:, :H]), self.k_norm(qk[:, H:])], dim=1)
        if angles is not None:
            qk = rotate(qk, *angles)
        q, k = qk.split([H, G], dim=1)
        if memory is not None:
            state, layer, positions, length = memory
            k, v = state.append(layer, k, v, positions, length)  # (B, G, S, D)
        if T == 1 and mask is None and self.window:  # all rows see the same last tokens
            k, v = k[:, :, -self.window :], v[:, :, -self.window :]
        dropout = self.config.dropout if self.training else 0.0
        if self.softcap:
            y = attend_capped(q, k, v, mask, self.softcap, self.scale, dropout)
        elif T == 1 and not self.training:
            y = attend_one(q, k, v, mask, self.scale)
        elif self.training and x.device.type == "cpu" and T == k.size(2) <= WHOLE:
            y = attend_causal(q, k, v, dropout, mask, self.scale)
        else:
            # One new token sees everything before it; several need the causal mask, which is_causal aligns for S = T
            # only.
            y = F.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=mask if mask is None or mask.dtype == torch.bool else mask.to(q.dtype),
                is_causal=mask is None and T > 1,
                dropout_p=dropout,
                scale=self.scale,
                enable_gqa=G < H,
            )
        return self.out(y.transpose(1, 2).reshape(B, T, H * D))


class CrossAttention(nn.Module):
    """Attention of an answer to its source."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        H, G, D = config.num_heads, config.G, config.D
        self.q = Linear(config.hidden_size, H * D, bias=config.qkv_bias)
        self.kv = Linear(config.hidden_size, 2 * G * D, bias=config.qkv_bias, parts=(G * D, G * D))
        self.out = Linear(H * D, config.hidden_size, bias=config.biased_out)
        self.scale = config.score_scale

    def memory(self, encoded: Tensor, nothing: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, G, S, D) of what the encoder gives, (B, S, C); no values where `nothing` (B, S) is."""
        B, S, _ = encoded.shape
        k, v = self.kv(encoded).view(B, S, 2 * self.config.G, self.config.D).transpose(1, 2).chunk(2, dim=1)
        return k, v.masked_fill(nothing[:, None, :, None], 0.0)

    def forward(
        self, x: Tensor, k: Tensor, v: Tensor, nothing: Tensor, shared: Source | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, T, C) -> (B, T, C), and the weights (B, H, T, S).

        Where sources are `shared`, there are keys and values of N of them, and weights (N, H, n*T, S) come back.
        """
        B, T, _ = x.shape
        q = self.q(x).view(B, T, self.config.num_heads, -1)  # (B, T, H, D)
        if shared is not None:
            q = shared.by_source(q).flatten(1, 2)  # (N, n*T, H, D)
        dropout = self.config.dropout if self.training else 0.0
        y, weights = attend_source(q.transpose(1, 2), k, v, nothing, dropout, self.scale)
        y = y.transpose(1, 2)
        if shared is not None:
            y = shared.by_row(y.unflatten(1, (-1, T)))
        return self.out(y.reshape(B, T, -1)), weights


class MLP(nn.Module):
    """The position-wise network of a block: up, non-linearity (with or without a gate), down."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.gated = config.activation in GATED
        self.activation: Callable[[Tensor], Tensor] = _ACTIVATIONS[config.activation]
        parts = (config.inner_size,) * (2 if self.gated else 1)
        self.up = Linear(config.hidden_size, sum(parts), bias=config.bias, parts=parts)
        self.down = Linear(config.inner_size, config.hidden_size, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)"""
        x = self.up(x)
        if self.gated:
            gate, x = x.chunk(2, dim=-1)
            return self.down(self.activation(gate) * x)
        return self.down(self.activation(x))


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "swiglu": F.silu,
    "geglu": F.gelu,
    "geglu_tanh": _gelu_tanh,
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": F.silu,
    "relu": F.relu,
}


class Residual(nn.Module):
    """What goes through blocks, and how their sub-layers add to it; the norms are where `norm_place` has them."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norms_sum = config.norm_place == "sum"
        self.dropout = Dropout(config.dropout)

    def add(self, x: Tensor, y: Tensor, norm: nn.Module) -> Tensor:
        """(B, T, C) that went through so far, and what a sub-layer adds -> (B, T, C); `norm` comes after it."""
        return norm(x + self.dropout(y)) if self.norms_sum else x + self.dropout(norm(y))


class Block(Residual):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: TransformerConfig, kind: Kind) -> None:
        super().__init__(config)
        self.attention_norm = pre_norm(config)
        self.attention = Attention(config, config.window if kind == "local" else 0)
        self.attention_post_norm = post_norm(config)
        self.mlp_norm = pre_norm(config)
        self.mlp = MLP(config)
        self.mlp_post_norm = post_norm(config)

    def forward(self, x: Tensor, angles: Angles | None, mask: Tensor | None, memory: Memory | None) -> Tensor:
        """(B, T, C) -> (B, T, C)"""
        x = self.add(x, self.attention(self.attention_norm(x), angles, mask, memory), self.attention_post_norm)
        return self.add(x, self.mlp(self.mlp_norm(x)), self.mlp_post_norm)


class DecoderBlock(Residual):
    """x + attention(norm(x)), then x + attention to the source(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.attention_norm = pre_norm(config)
        self.attention = Attention(config, window=0)
        self.attention_post_norm = post_norm(config)
        self.source_norm = pre_norm(config)
        self.source_attention = CrossAttention(config)
        self.source_post_norm = post_norm(config)
        self.mlp_norm = pre_norm(config)
        self.mlp = MLP(config)
        self.mlp_post_norm = post_norm(config)

    def forward(
        self,
        x: Tensor,
        angles: Angles | None,
        mask: Tensor | None,
        memory: Memory | None,
        source: tuple[Tensor, ...],
        nothing: Tensor,
        shared: Source | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(B, T, C) -> (B, T, C), and the attention to the source, as `CrossAttention` gives it. `source` = keys and
        values, or alone what the encoder gives (B, S, C); `nothing` = its padding (B, S)."""
        x = self.add(x, self.attention(self.attention_norm(x), angles, mask, memory), self.attention_post_norm)
        k, v = source if len(source) == 2 else self.source_attention.memory(source[0], nothing)
        found, weights = self.source_attention(self.source_norm(x), k, v, nothing, shared)
        x = self.add(x, found, self.source_post_norm)
        return self.add(x, self.mlp(self.mlp_norm(x)), self.mlp_post_norm), weights


def norm_layer(config: TransformerConfig) -> nn.Module:
    """The norm that the settings ask for."""
    if config.norm == "rms":
        return RMSNorm(config.hidden_size, config.norm_eps, config.norm_offset)
    return nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=config.bias)


def pre_norm(config: TransformerConfig) -> nn.Module:
    """That of what a sub-layer reads."""
    return norm_layer(config) if config.norm_place in ("before", "both") else nn.Identity()


def post_norm(config: TransformerConfig) -> nn.Module:
    """That of what a sub-layer adds, or of the sum."""
    return nn.Identity() if config.norm_place == "before" else norm_layer(config)


def last_norm(config: TransformerConfig) -> nn.Module:
    """That of what comes out of the last block."""
    return nn.Identity() if config.norm_place == "sum" else norm_layer(config)


def position_embedding(config: TransformerConfig, room: int) -> nn.Module | None:
    """What is added to the embeddings of tokens at `room` positions: (B or 1, T) -> (B or 1, T, C). None where
    attention alone tells positions."""
    if config.positions == "sinusoidal":
        return Sinusoidal(config.hidden_size, room)
    return nn.Embedding(room, config.hidden_size) if config.positions == "learned" else None


def embed(
    config: TransformerConfig,
    tokens: Tensor,
    positions: Tensor,
    embedding: nn.Module,
    position_embedding: nn.Module | None,
) -> Tensor:
    """(B, T) ids at (B or 1, T) positions -> (B, T, C), what the first block reads but for dropout."""
    x: Tensor = embedding(tokens)
    if config.embedding_scale:
        x = x * config.hidden_size**0.5
    return x if position_embedding is None else x + position_embedding(positions)


def init_weights(model: nn.Module, parts: Callable[[str], int]) -> None:
    """GPT-2's rule: N(0, 0.02), and what writes into a residual stream scaled down by its depth.

    `parts` tells how many write into the stream that a parameter, by its name, writes into.
    """
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            residual = name.endswith(("attention.out.weight", "mlp.down.weight"))
            nn.init.normal_(parameter, std=0.02 / math.sqrt(parts(name)) if residual else 0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
