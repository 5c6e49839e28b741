"""How much of a conversation a model's context holds, and how long a reply to it may be."""

from __future__ import annotations

import math

from nextword.decoding.config import GenerationConfig
from nextword.models.base import LanguageModel


def room_for_prompt(model: LanguageModel, most_new: int) -> float:
    """How many tokens of a conversation, the boundary with them, a model can read and still write a reply of up to
    `most_new`, or of a quarter of its context if that is less. An encoder's source shares it with nothing."""
    limit = model.max_seq_len
    if limit is None:
        return math.inf
    return limit if model.encodes else limit - min(most_new, limit // 4)


def within_context(model: LanguageModel, config: GenerationConfig, read: int) -> dict[str, int]:
    """Settings that end a reply to a prompt of `read` tokens where the context ends: beyond, that would lose its
    beginning, and the system's words with it. {} for a prompt that is too long: of that it is lost anyway."""
    limit = model.max_seq_len
    if limit is None or model.encodes or read > limit:
        return {}
    return of_most(config, max(1, min(config.max_tokens, limit - read)))


def of_most(config: GenerationConfig, tokens: int) -> dict[str, int]:
    """Settings that end a reply after so many tokens at most, whatever the least was."""
    return {"max_tokens": tokens, "min_tokens": min(config.min_tokens, tokens)}
