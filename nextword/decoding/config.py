"""How text is continued: the settings of one request. Knows no torch, no model and no tokenizer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from nextword.config import Config


class GenerationConfig(Config):
    """The settings of one request. They act in the order of `nextword.decoding.processors.process`."""

    temperature: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Logits are divided by it: below 1 safer, above 1 wilder, 0 = always the likeliest token (greedy)."""
    top_k: int = Field(default=0, ge=0)
    """Keep the k likeliest tokens, and any tied with the last of them; 0 = off."""
    top_p: float = Field(default=1.0, ge=0, le=1)
    """Keep the fewest tokens whose probability adds up to this (nucleus sampling); 1 = off."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Keep tokens at least this fraction as likely as the likeliest; 0 = off."""
    repetition_penalty: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Above 1, tokens already in the prompt or the text become less likely; 1 = off."""
    max_tokens: int = Field(default=256, ge=1)
    """Most tokens to generate."""
    stop: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """The text ends before the first of these strings to be completed."""
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Same seed, same text; none = a new one each time. Of several samples, sample i is drawn with seed + i."""
    num_samples: int = Field(default=1, ge=1)
    """How many continuations of the prompt."""
    ignore_eos: bool = False
    """Never end before max_tokens: `<eos>` cannot be drawn."""

    @field_validator("stop")
    @classmethod
    def _no_empty_stop(cls, stop: tuple[str, ...]) -> tuple[str, ...]:
        if "" in stop:
            raise ValueError("expected strings of at least one character, got '', which would stop every text")
        return stop
