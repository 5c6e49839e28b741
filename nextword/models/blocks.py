"""What Transformers are made of, by their settings: attention, MLP, norms, and the blocks that they form.

Shapes: B rows, T new tokens, S all tokens so far, C hidden size, H heads, G key/value heads, D head size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from nextword.models.attend import WHOLE, attend_capped, attend_causal, attend_one
from nextword.models.base import ModelConfig
from nextword.models.dropout import Dropout
from nextword.models.key_values import TransformerState
from nextword.models.layers import Linear, RMSNorm
from nextword.models.positions import RopeScaling, Sinusoidal, rotate

Kind = Literal["global", "local", "nope"]
Angles = tuple[Tensor, Tensor]
Memory = tuple[TransformerState, int, Tensor, int]
"""Where keys and values are kept: the state, the number of the layer in it, the positions (B or 1, T) of the new
tokens, and how many tokens its rows hold with them."""
GATED = ("swiglu", "geglu", "geglu_tanh")


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
    norm_place: Literal["before", "after", "both", "sum"] = "before"
    """Where a block normalises: what a sub-layer reads (Llama), what it adds (OLMo 2), both (Gemma 2), or the sum of
    what it reads and adds (Vaswani et al. 2017), after which there is no last norm."""
    norm_offset: bool = False
    """RMSNorm multiplies by 1 + weight (Gemma)."""
    positions: Literal["rotary", "learned", "sinusoidal"] = "rotary"
    """Rotary (Su et al. 2021), a learned embedding per position, or sines of it (Vaswani et al. 2017)."""
    rope_theta: float = Field(default=10_000.0, gt=0)
    """Base of the rotary wavelengths."""
    rope_local_theta: float = Field(default=0.0, ge=0)
    """The same in local layers, which are never scaled (Gemma 3); 0 = they turn like the global ones."""
    rope_share: float = Field(default=1.0, gt=0, le=1)
    """The part of a head's dimensions that turns with the position."""
    rope_scaling: RopeScaling | None = None
    """Stretches the rotary wavelengths to a longer context: { type = "yarn", factor = 4.0, original_len = 4096 }."""
    window: int = Field(default=0, ge=0, le=2**24)
    """Tokens that a local layer sees, its own included; 0 = there are no local layers."""
    layer_pattern: Annotated[tuple[Kind, ...], Field(strict=False)] = ()
    """What the layers see, from the first up and then again: local = a window, global = all, nope = all, without
    positions (Kazemnejad et al. 2023). Empty: all local if there is a window, else all global."""
    attention_scale: float = Field(default=0.0, ge=0)
    """Products of queries and keys are divided by the square root of this; 0 = the head size."""
    attention_softcap: float = Field(default=0.0, ge=0)
    """Keeps attention scores within +- this by tanh (Gemma 2); 0 = off."""
    logit_softcap: float = Field(default=0.0, ge=0)
    """Keeps logits within +- this by tanh (Gemma 2); 0 = off."""
    embedding_scale: bool = False
    """Embeddings are multiplied by the square root of hidden_size (Vaswani et al. 2017, Gemma)."""
    activation: Literal["swiglu", "geglu", "geglu_tanh", "gelu", "gelu_tanh", "silu", "relu"] = "swiglu"
    """SwiGLU or GEGLU (Shazeer 2020); without a gate GELU, exact or by tanh (Hendrycks & Gimpel 2016), SiLU or ReLU."""
    qkv_bias: bool = False
    """Biases in the query, key and value projections."""
    bias: bool = False
    """Biases in the other linear layers and in LayerNorm."""
    out_bias: bool | None = None
    """A bias in the output projection of attention; left out: as bias."""
    qk_norm: bool = False
    """RMSNorm on queries and keys (Henry et al. 2020)."""
    qk_norm_over: Literal["head", "all"] = "head"
    """Of qk_norm: each head by itself (Qwen 3), or all heads as one vector (OLMo 2)."""
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
        if self.positions == "rotary" and (self.R % 2 or not self.R):
            raise ValueError(f"rotary positions need an even head size, got {self.R}")
        if "local" in self.layer_pattern and not self.window:
            raise ValueError("layer_pattern has local layers, but window is 0: give their width in tokens")
        if self.positions != "rotary" and ("nope" in self.layer_pattern or self.rope_scaling):
            raise ValueError(f"layers without positions and rope_scaling need rotary positions, not {self.positions}")
        if self.positions == "sinusoidal" and self.hidden_size % 2:
            raise ValueError(f"sinusoidal positions need an even hidden_size, got {self.hidden_size}")
        divisors = self.rope_scaling.short_factors if self.rope_scaling else ()
        if divisors and len(divisors) != self.R // 2:
            raise ValueError(f"rope_scaling.short_factors: expected {self.R // 2} numbers, got {len(divisors)}")
        if self.norm_offset and self.norm != "rms":
            raise ValueError("norm_offset is a setting of RMSNorm, not of LayerNorm")
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
    def R(self) -> int:
        """Dimensions of a head that turn with the position."""
        return int(self.D * self.rope_share)

    @property
    def inner_size(self) -> int:
        """Inner width of the MLP."""
        gated = -(-8 * self.hidden_size // (3 * 32)) * 32
        return self.mlp_size or (gated if self.activation in GATED else 4 * self.hidden_size)

    @property
    def room(self) -> int:
        """Positions that tokens may have."""
        return self.max_seq_len

    @property
    def layer_kinds(self) -> tuple[Kind, ...]:
        """What each layer sees, from the first up."""
        pattern = self.layer_pattern or ("local" if self.window else "global",)
        return tuple(pattern[i % len(pattern)] for i in range(self.num_layers))


GPT2 = {
    "norm": "layer",
    "positions": "learned",
    "activation": "gelu_tanh",
    "qkv_bias": True,
    "bias": True,
    "tied": True,
}
"""The settings that make a TransformerConfig a GPT-2 (Radford et al. 2019)."""


class Attention(nn.Module):
    """Self-attention with grouped queries, causal if no mask says otherwise; `window` is the number of tokens it sees,
    0 = all."""

    def __init__(self, config: TransformerConfig, window: int) -> None:
        super().__init__()
        self.config, self.window = config, window
        H, G, D = config.num_heads, config.G, config.D
        parts = (H * D, G * D, G * D)
        self.qkv = Linear(config.hidden_size, sum(parts), bias=config.qkv_bias, parts=parts)
        self.out = Linear(H * D, config.hidden_size, bias=config.bias if config.out_bias is None else config.out_bias)
        if config.qk_norm:
            heads = (1, 1) if config.qk_norm_over == "head" else (H, G)
            self.q_norm, self.k_norm = (RMSNorm(n * D, config.norm_eps, config.norm_offset) for n in heads)
        self.scale = (config.attention_scale or D) ** -0.5
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
