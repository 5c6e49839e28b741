"""Language models: recurrent networks and Transformers, with an encoder and without, equals behind one interface.

`MODELS` maps the name in `model.type` to its configuration and its class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from nextword.config import parse
from nextword.errors import UsageError, did_you_mean
from nextword.models.attention_rnn import AttentionRnn, AttentionRnnConfig
from nextword.models.base import LanguageModel, ModelConfig, State
from nextword.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from nextword.models.prefix import PrefixConfig, PrefixTransformer
from nextword.models.recurrent import RecurrentConfig, RecurrentModel
from nextword.models.transformer import Transformer
from nextword.models.transformer_config import TransformerConfig


class Architecture(NamedTuple):
    """An entry of `MODELS`."""

    config: type[ModelConfig]
    model: type[LanguageModel]


MODELS: dict[str, Architecture] = {
    "rnn": Architecture(RecurrentConfig, RecurrentModel),
    "gru": Architecture(RecurrentConfig, RecurrentModel),
    "lstm": Architecture(RecurrentConfig, RecurrentModel),
    "transformer": Architecture(TransformerConfig, Transformer),
    "prefix-lm": Architecture(PrefixConfig, PrefixTransformer),
    "encoder-decoder": Architecture(EncoderDecoderConfig, EncoderDecoder),
    "gru-attention": Architecture(AttentionRnnConfig, AttentionRnn),
    "lstm-attention": Architecture(AttentionRnnConfig, AttentionRnn),
}


def model_config(values: Mapping[str, Any]) -> ModelConfig:
    """Check the settings of section [model]; `type` chooses the architecture. Raises UsageError."""
    name = values.get("type", "transformer")
    if not isinstance(name, str) or name not in MODELS:
        raise UsageError(f"model.type: unknown architecture {name!r}. {did_you_mean(str(name), MODELS)}")
    config = MODELS[name].config
    for key in values:
        having = [other for other in MODELS if key in MODELS[other].config.model_fields]
        if having and name not in having:
            raise UsageError(
                f"model.{key}: {name} has no such setting, but {', '.join(having)}", hint="Choose one with --model"
            )
    return parse(config, values, "model")


def build_model(config: ModelConfig) -> LanguageModel:
    """A freshly initialised model, drawn from torch's global rng."""
    if config.vocab_size < 1:
        raise UsageError("model.vocab_size: expected the tokenizer's size, got 0")
    return MODELS[config.type].model(config)


__all__ = ["MODELS", "LanguageModel", "ModelConfig", "State", "build_model", "model_config"]
