"""The loss over a whole split: every token predicted exactly once, and it is said how.

A model without a context limit reads the split as one stream and carries its state; a model with one reads windows
that overlap, so that each counted token has at least half a context before it. Where there are prompts, and for models
that were trained so, each example is read by itself: P(target | prompt).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from nextword.data.batches import Batch
from nextword.data.examples import examples_in_order
from nextword.data.mixture import Mixture
from nextword.data.pairs import pairs_in_order
from nextword.data.pieces import with_history
from nextword.data.stream import stream_in_order, windows_in_order
from nextword.data.token_files import GOES_ON, TokenFiles
from nextword.loss import next_token_loss
from nextword.models.base import LanguageModel, State
from nextword.tokenizers import IGNORE
from nextword.training.parallel import Spread

# No influence on the figures, only on memory:
_CARRIED_CONTEXT = 256  # tokens read at once with a carried state
_EXAMPLE_TOKENS = 4096  # tokens of a batch of examples


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of a split."""

    nats: float
    """-ln P of all target tokens, each document's closing <eos> included."""
    tokens: int
    bytes: int
    """UTF-8 bytes of the target text."""
    how: str
    """How context was given, in words."""
    parts: dict[str, Evaluation] = field(default_factory=dict)
    """Of a mixture: of each corpus."""

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Evaluation:
        """The inverse of `dataclasses.asdict`."""
        parts = {name: cls.restored(part) for name, part in values.get("parts", {}).items()}
        return cls(**{**values, "parts": parts})

    @classmethod
    def mixed(cls, parts: dict[str, Evaluation], shares: Mapping[str, float]) -> Evaluation:
        """Of corpora together, as if their tokens had been drawn by these shares, which add up to 1."""
        tokens = sum(part.tokens for part in parts.values())
        nats = tokens * sum(shares[name] * part.loss for name, part in parts.items())
        bytes = round(tokens * sum(shares[name] * part.bytes / part.tokens for name, part in parts.items()))
        ways = "; ".join(dict.fromkeys(part.how for part in parts.values()))
        return cls(nats, tokens, bytes, f"{ways}; each corpus counts by its share in training", parts)

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """exp of the loss."""
        return math.exp(min(self.loss, 700.0))

    @property
    def bits_per_byte(self) -> float:
        """Comparable across tokenizers, for the same text."""
        return self.nats / math.log(2) / max(self.bytes, 1)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "loss": self.loss,
            "perplexity": self.perplexity,
            "bits_per_byte": self.bits_per_byte,
            "num_tokens": self.tokens,
            "num_bytes": self.bytes,
            "how": self.how,
        } | ({"corpora": {name: part.to_dict() for name, part in self.parts.items()}} if self.parts else {})


def evaluate(
    model: LanguageModel,
    files: TokenFiles | Mixture,
    batch_size: int,
    context: int = 0,
    between: Callable[[], object] = lambda: None,
    apart: bool | None = None,
    spread: Spread | None = None,
    as_trained: bool = False,
) -> Evaluation:
    """The loss over all of `files`. `between` is called before each batch; what it raises ends the reading.

    `apart` reads each example by itself, whatever `batch_size`; None: where there are prompts. A model that is `spread`
    over processes reads a share of each batch on each, and all get the figures of the whole.

    With a carried state, `batch_size` tracks are read side by side, each from a fresh start; 1 is the whole split in
    one go. `context` limits a window (0 = the model's own limit); it does not limit a carried state.

    `as_trained` reads conversations that are longer than a window in the rows of training, each token once or twice:
    to give each reply all that fits is to read that again for each.
    """
    if isinstance(files, Mixture):
        read = partial(evaluate, model, batch_size=batch_size, context=context, between=between, apart=apart)
        parts = {name: read(files=part, spread=spread, as_trained=as_trained) for name, part in files.files.items()}
        return Evaluation.mixed(parts, files.shares)
    batches: Iterable[Batch]
    limit = model.max_seq_len
    window = min(context or limit, limit) if limit else files.len_tokens
    if model.encodes:
        batches = pairs_in_order(files, _EXAMPLE_TOKENS, window)
        how = "each answer given its source"
        _, lengths, prompts, *_ = with_history(files.spans(), files.len_tokens).T
        if max(prompts) >= window or max(lengths - prompts) > window:
            how += f"; of longer sources {window - 1} tokens, longer answers in parts of {window}"
    elif files.has_prompts if apart is None else apart:
        spans = files.spans()
        talks = bool(spans[:, GOES_ON].any())
        in_rows = talks and as_trained
        batches = examples_in_order(files, _EXAMPLE_TOKENS, window, in_rows)
        if model.max_seq_len is None:
            batches = chain.from_iterable(map(_columns, batches))
        how = "each reply given all before it" if talks else "each example by itself"
        _, lengths, *_ = with_history(spans, files.len_tokens).T
        if max(lengths) > window:
            windows = f"windows, stride {max(1, window // 2)}"
            ways = "rows, as in training" if in_rows else "the last turns that fit" if talks else windows
            how += f"; those of more than {window} tokens in {ways}"
    elif model.max_seq_len is None:
        batches = stream_in_order(files, batch_size, _CARRIED_CONTEXT)
        how = "state carried over the whole split" + (f", in {batch_size} tracks" if batch_size > 1 else "")
    else:
        stride = max(1, window // 2)
        batches = windows_in_order(files, batch_size, window, stride)
        how = f"windows of {window} tokens, stride {stride}"
    if spread is not None:
        batches = (batch.part(spread.world.rows(len(batch.inputs))) for batch in batches)
    nats, tokens = total_loss(model, _calling(between, batches), spread.loss if spread else None)
    if spread is not None:
        nats, total = spread.world.sum(nats, tokens)
        tokens = int(total)
    return Evaluation(nats, tokens, files.counts.target_bytes, how)


@torch.no_grad()
def total_loss(
    model: LanguageModel,
    batches: Iterable[Batch],
    loss_of: Callable[..., tuple[Tensor, State | None]] | None = None,
) -> tuple[float, int]:
    """-ln P summed over the batches, and the number of tokens; the state is carried where batches go on.

    `loss_of` stands for `next_token_loss` of the model, where it is called in another way.
    """
    loss_of = loss_of or partial(next_token_loss, model)
    was_training = model.training
    model.eval()
    nats, tokens, state = 0.0, 0, None
    try:
        for batch in batches:
            batch = batch.to(model.device)
            if batch.sources is not None:
                state = None  # each answer is whole
            elif model.max_seq_len is None and (batch.fresh or state is None):
                state = model.init_state(batch.inputs.size(0))
            loss, state = loss_of(batch.inputs, batch.targets, state, sources=batch.sources)
            nats += loss.item()
            tokens += int((batch.targets != IGNORE).sum())
    finally:
        model.train(was_training)
    return nats, tokens


def _columns(batch: Batch) -> Iterator[Batch]:
    """A batch in parts to be read one after the other with a carried state."""
    if batch.inputs.size(1) <= _EXAMPLE_TOKENS:
        yield batch
        return
    parts = zip(batch.inputs.split(_CARRIED_CONTEXT, 1), batch.targets.split(_CARRIED_CONTEXT, 1), strict=True)
    for number, (inputs, targets) in enumerate(parts):
        yield Batch(inputs, targets, fresh=number == 0)


def _calling(between: Callable[[], object], batches: Iterable[Batch]) -> Iterator[Batch]:
    for batch in batches:
        between()
        yield batch
