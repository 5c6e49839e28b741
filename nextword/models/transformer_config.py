"""The settings of Transformers: of `transformer`, and in part of `encoder_decoder` and `prefix`, which add some.

Shapes: H query heads, G key/value heads, D head size.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nextword.models.base import ModelConfig
from nextword.models.positions import RopeScaling

Kind = Literal["global", "local", "nope"]
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
    def score_scale(self) -> float:
        """What products of queries and keys are multiplied by."""
        return (self.attention_scale or self.D) ** -0.5

    @property
    def biased_out(self) -> bool:
        """Whether the output projection of attention has a bias."""
        return self.bias if self.out_bias is None else self.out_bias

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
