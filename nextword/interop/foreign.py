"""A model from elsewhere, read and checked, before it becomes ours: what each reader of a format returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Foreign:
    """A model in the terms of Hugging Face's folders, whatever format it came in. Nothing of it has been trusted yet
    beyond what its reader checked: sizes, names, and that nothing in it is code."""

    config: Mapping[str, Any]
    """As in config.json: `model_type` and the keys of that family."""
    tensors: Mapping[str, Tensor]
    """Under Hugging Face's names; each is read, and widened from its quantized form, when it is asked for."""
    tokenizer: str
    """The text of a tokenizer.json."""
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    """bos_token, eos_token, unk_token, pad_token, as far as there are any, each as its text."""
    chat_template: str = ""
    """Jinja source; "" where there is none."""
    generation: Mapping[str, Any] = field(default_factory=dict)
    """As in generation_config.json."""
    source_tokenizer: str = ""
    """The text of a tokenizer.json for sources, where these are cut otherwise than what is written."""
    task: Mapping[str, Any] = field(default_factory=dict)
    """Section [task] of a run, where it is made for one."""
    licence: str = ""
    """As it is named beside the weights, a short name such as apache-2.0; "" = not at all."""
