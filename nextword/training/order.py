"""Which order a run reads its data in: what its settings ask for, else what suits model and data."""

from __future__ import annotations

from nextword.data.batches import Order
from nextword.data.examples import ExampleBatches
from nextword.data.mixture import MixedBatches, Mixture
from nextword.data.pairs import PairBatches
from nextword.data.stream import StreamBatches, WindowBatches
from nextword.data.token_files import TokenFiles
from nextword.errors import TrainingError
from nextword.models.base import LanguageModel
from nextword.training.config import TrainConfig

DEFAULT_BPTT = 64  # tokens of a row when a recurrent model's context is left to us
DEFAULT_ROW = 1024  # the same for a row that holds a whole example, which is cut only beyond it


def batches_for(files: TokenFiles | Mixture, model: LanguageModel, config: TrainConfig) -> Order:
    """The order that the settings ask for, or that suits model and data.

    Sources and answers for a model that encodes; whole examples where there are prompts; else streams with a carried
    state where the model can carry one, else shuffled windows. A mixture is drawn row by row, but for batches that
    carry a state or are of like length.
    """
    limit, rows = model.max_seq_len, config.rows
    if model.encodes:
        if rows not in ("auto", "examples") or not files.has_prompts:
            raise TrainingError(
                f"a {model.config.type} is trained on examples that have a prompt and a target",
                hint="Name their columns by --prompt-field and --target-field and leave out train.rows, or train a "
                "transformer",
            )
        rows = "examples"
    if rows == "auto":
        rows = "text" if not files.has_prompts else "examples" if limit is None else "packed"
    carry = rows == "text" and limit is None if config.carry_state is None else config.carry_state
    if carry and limit is not None:
        raise TrainingError(
            f"carry_state: a model with a context of {limit} tokens cannot carry its state for ever",
            hint="Leave it out, or train an rnn, gru or lstm",
        )
    if carry and rows != "text":
        raise TrainingError(
            f"carry_state: there is nothing to carry from one batch of {rows} to the next",
            hint="Leave it out, or set train.rows=text",
        )
    context = config.context or limit or (DEFAULT_BPTT if rows == "text" else DEFAULT_ROW)
    if limit is not None and context > limit:
        raise TrainingError(
            f"train.context is {context}, but the model reads at most {limit} tokens",
            hint=f"Set model.max_seq_len={context}, or a smaller train.context",
        )
    if config.batch_tokens and rows == "text":
        raise TrainingError(
            "batch_tokens is for batches of whole examples",
            hint="Set train.rows to examples or packed, or give train.batch_size",
        )
    tokens = config.batch_tokens or config.batch_size * (config.context or limit or DEFAULT_BPTT)

    def order(files: TokenFiles, batch_size: int, tokens: int) -> Order:
        if model.encodes:
            return PairBatches(files, tokens, context, config.seed)
        if rows != "text":
            return ExampleBatches(files, tokens, context, config.seed, packed=rows == "packed")
        if carry:
            return StreamBatches(files, batch_size, context)
        return WindowBatches(files, batch_size, context, config.seed)

    if isinstance(files, TokenFiles):
        return order(files, config.batch_size, tokens)
    if carry or rows == "examples":
        orders = {name: order(part, config.batch_size, tokens) for name, part in files.files.items()}
        return MixedBatches(files, orders, 1, config.seed)
    orders = {name: order(part, 1, context) for name, part in files.files.items()}
    draws = config.batch_size if rows == "text" else max(1, tokens // context)
    return MixedBatches(files, orders, draws, config.seed)
