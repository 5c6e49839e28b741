"""Run folders with random weights, made in an instant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from nextword.checkpoint import WEIGHTS, save_config, save_weights
from nextword.models import LanguageModel, build_model, model_config
from nextword.tokenizers import Tokenizer, TokenizerConfig, train_tokenizer

TEXTS = [
    "The quick brown fox jumps over the lazy dog, 床前明月光。疑是地上霜！",
    "naïve café 👩‍👩‍👧 Is it? No: yes; 1, 2, 3.",
]


def random_run(folder: Path, tokenizer: str = "char", seed: int = 1, **model: Any) -> LanguageModel:
    """A run of a model with the given settings, its weights far from their start."""
    return save_run(folder, model, train_tokenizer(TokenizerConfig(type=tokenizer), TEXTS), seed)


def save_run(folder: Path, settings: dict[str, Any], tokenizer: Tokenizer, seed: int = 1) -> LanguageModel:
    """Write a run folder around a tokenizer."""
    torch.manual_seed(seed)
    model = build_model(model_config({"vocab_size": tokenizer.vocab_size} | settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    save_config(folder, model, tokenizer, {})
    save_weights(folder / WEIGHTS, model)
    return model
