"""What makes learning harder, so that less is learned by heart: terms of the loss, and tokens taken apart.

Here it is settled whether a model can do what the settings of a run ask for.
"""

from __future__ import annotations

from collections.abc import Sequence

from nextword.data.token_dropout import TokenDropout
from nextword.errors import TrainingError
from nextword.loss import LossTerms
from nextword.models.base import LanguageModel
from nextword.training.config import TrainConfig


def loss_terms(model: LanguageModel, config: TrainConfig, whole_examples: bool, eos_id: int) -> LossTerms:
    """The terms that the settings ask for.

    Raises TrainingError if the model has no dropout or no source for them, or if rows do not hold `whole_examples`.
    """
    if config.r_drop and not any(share for name, share in model.config if name.endswith("dropout")):
        raise TrainingError(
            "train.r_drop compares readings with different dropout, and this model has none",
            hint="Set model.dropout, such as 0.1, or leave train.r_drop out",
        )
    if config.coverage_loss and model.init_state(1).coverage() is None:
        raise TrainingError(
            "train.coverage_loss is for models that attend to a source",
            hint="Leave it out, or train an encoder-decoder, gru-attention or lstm-attention",
        )
    if config.unlikelihood and not whole_examples:
        raise TrainingError(
            "train.unlikelihood is for whole examples, and a row of this run may hold parts of several texts",
            hint='Leave it out, or set train.rows = "examples"',
        )
    return LossTerms(
        config.label_smoothing, config.z_loss, config.r_drop, config.coverage_loss, config.unlikelihood, eos_id
    )


def token_dropout(
    model: LanguageModel, config: TrainConfig, halves: Sequence[tuple[int, int]] | None
) -> TokenDropout | None:
    """None where the settings ask for none. Raises TrainingError without a source or without halves of tokens."""
    if not config.token_dropout:
        return None
    if not model.encodes or not halves:
        raise TrainingError(
            "train.token_dropout takes the tokens of sources apart, and "
            + ("those of the tokenizer have no parts" if model.encodes else f"a {model.config.type} reads no source"),
            hint="Leave it out, or train a model that encodes, such as gru-attention, with --tokenizer bpe or unigram",
        )
    return TokenDropout(halves, config.token_dropout, config.seed)
