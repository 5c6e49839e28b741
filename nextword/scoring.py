"""How likely is a text? The chain rule, token by token: P(text) = product of P(token | all tokens before).

The first token is conditioned on the boundary token, so every token of the text has a probability. What a figure
depends on (boundary, `<eos>` at the end, window and stride) is stated in the result, so that figures can be compared.

Shapes: N scored tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nextword.errors import RunError, UsageError
from nextword.loss import CHUNK_ELEMENTS, token_log_probs
from nextword.models.base import LanguageModel, State
from nextword.models.source import filled

if TYPE_CHECKING:
    from nextword.tokenizers import Tokenizer

CARRIED = 1024  # tokens read at a time by a model without a context limit; its state is carried over


@dataclass(frozen=True, slots=True)
class TokenScore:
    """One token given all before it."""

    text: str
    """The token by itself, readable."""
    id: int
    log_prob: float
    """ln P(token | before), in nats."""
    prob: float
    rank: int
    """1 = the likeliest of all tokens at this place; ties share the better rank."""
    entropy: float
    """Of the model's whole prediction at this place, in nats: how open the choice was."""


@dataclass(frozen=True)
class TextScore:
    """A scored text. Printing it gives the summary in words."""

    text: str
    tokens: list[TokenScore]
    pieces: list[str]
    """What each token adds to the text: "" for a token that ends inside a character.
    They join to the text, as far as the tokenizer can give it back."""
    prompt: str
    """Read before the text, and not scored."""
    bos: str
    """The boundary token, on which the first token, of the prompt where there is one, is conditioned."""
    include_eos: bool
    """Whether the end of the text, `<eos>`, is one of the tokens."""
    window: int | None
    """Tokens the model sees at once; None = all before."""
    stride: int | None
    """Tokens between windows where the text is longer than one: then each token sees at least window - stride
    tokens before it. None = the text fits, and every token sees all before it."""

    @property
    def log_prob(self) -> float:
        """ln P(text), in nats."""
        return math.fsum(token.log_prob for token in self.tokens)

    @property
    def num_tokens(self) -> int:
        """Tokens scored."""
        return len(self.tokens)

    @property
    def num_bytes(self) -> int:
        """Bytes of the text in UTF-8."""
        return len(self.text.encode())

    @property
    def perplexity(self) -> float:
        """exp(-log_prob / num_tokens): as uncertain as a choice among so many equal tokens."""
        try:
            return math.exp(-self.log_prob / self.num_tokens)
        except OverflowError:
            return math.inf

    @property
    def bits_per_byte(self) -> float:
        """-log2 P(text) / num_bytes: comparable between tokenizers."""
        return -self.log_prob / math.log(2) / self.num_bytes

    @property
    def conditions(self) -> str:
        """What the figures depend on, in one sentence."""
        end = "its end is counted as a token" if self.include_eos else "its end is not counted"
        sight = "each token sees all before it"
        if self.stride is not None:
            assert self.window is not None
            sight = (
                f"windows of {self.window} tokens, stride {self.stride}: "
                f"each token sees at least {self.window - self.stride} before it, or all there are"
            )
        before = f"{self.bos} and the prompt" if self.prompt else self.bos
        return f"The first token of the text is conditioned on {before}; {end}; {sight}."

    def __str__(self) -> str:
        return (
            f"log-probability {self.log_prob:.4f} nats, perplexity {self.perplexity:.4f} per token "
            f"({self.num_tokens} tokens), {self.bits_per_byte:.4f} bits per byte ({self.num_bytes} bytes). "
            f"{self.conditions}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "tokens": [asdict(token) for token in self.tokens],
            "log_prob": self.log_prob,
            "num_tokens": self.num_tokens,
            "num_bytes": self.num_bytes,
            "perplexity": self.perplexity,
            "bits_per_byte": self.bits_per_byte,
            "prompt": self.prompt,
            "bos": self.bos,
            "include_eos": self.include_eos,
            "window": self.window,
            "stride": self.stride,
        }


def score_text(
    model: LanguageModel,
    tokenizer: Tokenizer,
    text: str,
    include_eos: bool = False,
    prompt: str | Sequence[int] = "",
) -> TextScore:
    """Score `text` given `prompt`, a text or its ids without the boundary token; with `include_eos`, also that it ends.

    A text longer than the model's context is read in overlapping windows, each from a fresh start, with a stride of
    half the context; only tokens not yet scored count. A recurrent model carries its state instead. Memory does not
    grow with the text, but for the result.

    Raises UsageError for a text without a token (empty, or white space alone for a word tokenizer), RunError if the
    model's logits are not numbers.
    """
    boundary, ids = boundary_id(tokenizer), tokenizer.encode(text)
    read = tokenizer.source.encode(prompt) if isinstance(prompt, str) else list(prompt)
    prompt = prompt if isinstance(prompt, str) else tokenizer.source.decode(prompt)
    source = None
    if model.encodes:
        source, read = torch.tensor([[*read, tokenizer.eos_id]], device=model.device), []
    if not ids:
        what = f"{text[:20]!r} has no token" if text else "the text is empty"
        raise UsageError(f"nothing to score: {what}")
    targets = torch.tensor(ids + [tokenizer.eos_id] * include_eos, device=model.device)
    inputs = torch.tensor([boundary, *read, *ids], device=model.device)[: len(read) + len(targets)]
    with torch.inference_mode():
        columns = [
            torch.cat(parts).tolist() for parts in zip(*_score_tokens(model, inputs, targets, source), strict=True)
        ]
    log_probs, ranks, entropies = columns
    if any(map(math.isnan, log_probs)):
        raise RunError("the model's logits are not finite numbers", hint="Its training has diverged")
    scores = [
        TokenScore(tokenizer.token_text(id), id, log_prob, math.exp(log_prob), rank, entropy)
        for id, log_prob, rank, entropy in zip(targets.tolist(), log_probs, ranks, entropies, strict=True)
    ]
    limit = model.max_seq_len
    stride = _stride(limit) if limit is not None and len(inputs) > limit else None
    pieces = _pieces(tokenizer, ids) + [""] * include_eos
    return TextScore(text, scores, pieces, prompt, tokenizer.token_text(boundary), include_eos, limit, stride)


def boundary_id(tokenizer: Tokenizer) -> int:
    """The token before the first: the tokenizer's own `<bos>`, where it has one, else `<eos>`."""
    return tokenizer.eos_id if tokenizer.bos_id is None else tokenizer.bos_id


def _score_tokens(
    model: LanguageModel, inputs: Tensor, targets: Tensor, source: Tensor | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(N,) targets, and what is read up to the last -> log-probabilities, ranks, entropies, a part at a time.

    The logits of a part fit in memory.
    """
    rows = max(1, CHUNK_ELEMENTS // model.output.out_features)
    start, unscored = 0, len(inputs) - len(targets)
    for features in _read(model, inputs, source):
        features, unscored = features[unscored:], max(0, unscored - len(features))
        for part in features.split(rows):
            wanted = targets[start : start + len(part)]
            logits = model.output(part).float()  # (n, V)
            log_probs = token_log_probs(logits, wanted)
            ranks = 1 + (logits > logits.gather(-1, wanted[:, None])).sum(-1)
            entropies = torch.special.entr(logits.softmax(-1)).sum(-1)
            yield log_probs, ranks, entropies
            start += len(part)


def _read(model: LanguageModel, inputs: Tensor, source: Tensor | None) -> Iterator[Tensor]:
    """(M,) ids -> features (n, C) in order, each position once; `source` (1, S) is what a model that encodes reads."""
    limit = model.max_seq_len
    encoded = None if source is None else model.encode(source, source.new_tensor([source.size(1)]))
    row = torch.zeros(1, dtype=torch.long, device=model.device)
    if limit is None:
        state: State | None = model.init_state(1) if encoded is None else encoded
        for chunk in inputs.split(CARRIED):
            features, state = model.features(chunk[None], state)
            yield features[0]
        return
    done = 0
    for start in range(0, len(inputs), _stride(limit)):
        fresh = None if encoded is None else encoded.select(row)
        features, _ = model.features(inputs[None, start : start + limit], fresh)
        yield features[0, done - start :]
        done = min(start + limit, len(inputs))
        if done == len(inputs):
            return


def _stride(limit: int) -> int:
    return max(1, limit // 2)


def _pieces(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    stream = tokenizer.stream()
    pieces = [stream.step(id) for id in ids]
    if pieces:
        pieces[-1] += stream.flush()
    return pieces


@dataclass(frozen=True, slots=True)
class ContinuationScore:
    """Some tokens given those before them."""

    log_prob: float
    """ln P(tokens | before), in nats."""
    greedy: bool
    """Whether each of them was the likeliest at its place."""


def score_continuations(
    model: LanguageModel, requests: Sequence[tuple[Sequence[int], Sequence[int]]], batch_tokens: int = 8192
) -> Iterator[tuple[int, ContinuationScore]]:
    """(context ids, continuation ids) -> (number of the request, its score), in the order in which they are read.

    Several are read side by side, `batch_tokens` at a time, and what differs in the last token only is read once.
    A context too long for the model loses its beginning. Raises UsageError for an empty context or continuation, or
    a continuation that is too long by itself, and for a model that encodes its prompts.
    """
    if model.encodes:
        raise UsageError(
            f"this model ({model.config.type}) answers prompts, it does not continue them",
            hint="Score one text at a time",
        )
    limit = model.max_seq_len
    rows: dict[tuple[int, ...], list[int]] = {}  # what is read -> the requests that it answers
    for number, (context, continuation) in enumerate(requests):
        if not context or not continuation:
            raise UsageError(f"request {number + 1} has no {'continuation' if context else 'context'}")
        if limit is not None and len(continuation) > limit:
            raise UsageError(
                f"a continuation of {len(continuation)} tokens is longer than the model's context, {limit}",
                hint="Score it as a text of its own",
            )
        read = (*context, *continuation[:-1])
        rows.setdefault(read if limit is None else read[-limit:], []).append(number)
    waiting = sorted(rows, key=len)
    while waiting:
        longest = len(waiting[-1])
        count = max(1, batch_tokens // longest)
        batch, waiting = waiting[-count:], waiting[:-count]
        inputs = filled(batch, model.device)
        with torch.inference_mode():
            features, _ = model.features(inputs)  # (n, longest, C); nothing looks ahead into the filling
            for row, read in zip(features, batch, strict=True):
                for number in rows[read]:
                    yield number, _score_continuation(model, row[: len(read)], requests[number][1])


def _score_continuation(model: LanguageModel, features: Tensor, continuation: Sequence[int]) -> ContinuationScore:
    """(T, C) features, the last of which foretell the continuation."""
    targets = torch.tensor(continuation, device=features.device)
    rows = max(1, CHUNK_ELEMENTS // model.output.out_features)
    total, greedy = 0.0, True
    for part, wanted in zip(features[-len(targets) :].split(rows), targets.split(rows), strict=True):
        logits = model.output(part).float()  # (n, V)
        total += float(token_log_probs(logits, wanted).sum(dtype=torch.float64))
        greedy = greedy and bool((logits.argmax(-1) == wanted).all())
    return ContinuationScore(total, greedy)
