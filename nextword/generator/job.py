"""One request on its way through the engine: its events become text, and its texts the answer."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nextword.decoding.requests import Continuation, Drawn, Event, Failed, FinishReason, Request
from nextword.errors import NextwordError
from nextword.generator.writer import TextWriter

if TYPE_CHECKING:
    from nextword.decoding.trace import Trace
    from nextword.tokenizers import Tokenizer

Metric = Callable[[str, str], float]
"""(text, reference) -> how alike they are, more is better."""


@dataclass(frozen=True)
class Generation:
    """One continuation of a prompt."""

    prompt: str
    text: str
    """What was generated, without the prompt and without the stop string."""
    finish_reason: FinishReason
    """The model ended the text; a stop string did; or max_tokens."""
    token_ids: list[int]
    """Every token drawn, a final `<eos>` and those of the stop string included."""
    log_prob: float
    """ln P(token_ids | prompt) by the model alone, in nats, before temperature and filters."""
    seed: int
    """The seed that gives this text again with num_samples=1."""
    score: float
    """What the search ranked by: in a beam search log-probability over length ** length_penalty, with `best_of`
    log-probability per token, with `mbr` the mean likeness to the other samples; otherwise log_prob."""
    trace: Trace | None = None
    """How each token came to be chosen, if it was asked for."""
    acceptance_rate: float | None = None
    """With `speculate`: the share of guessed tokens that the model kept."""


class Job:
    """A request on its way: the pieces of its text as they come, and its texts when they are complete."""

    def __init__(self, tokenizer: Tokenizer, prompt: str, request: Request, before: Sequence[int]) -> None:
        """`before` are the tokens that the texts go on from: none, where the prompt is a source."""
        self.tokenizer, self.prompt, self.request, self.before = tokenizer, prompt, request, before
        config = request.config
        self.expected = config.mbr or config.best_of or config.num_samples
        self.chooses = config.mbr > 0 or config.best_of > 0
        """Which of the texts are kept is decided when all are complete: there are no pieces to tell of."""
        self.pieces: deque[tuple[int, str]] = deque()
        """(sample, text) not taken yet."""
        self.done: dict[int, Generation] = {}
        self.error: NextwordError | None = None
        self._writers: dict[int, TextWriter] = {}

    @property
    def finished(self) -> bool:
        """All texts are complete, or it failed."""
        return self.error is not None or len(self.done) == self.expected

    def handle(self, event: Event) -> bool:
        """Take in what happened to it. True: a stop string ended this sample, and it needs no more tokens."""
        if isinstance(event, Failed):
            self.error = event.error
            return False
        sample = event.sample
        if sample not in self._writers:
            self._writers[sample] = TextWriter(self.tokenizer, self.before, self.request.config.stop)
        writer = self._writers[sample]
        if isinstance(event, Drawn):
            piece = writer.write(event.token, event.log_prob)
        else:
            piece = self._complete(sample, writer, event.result)
            if self.request.config.num_beams > 1:
                self.expected = event.of
        if piece and not self.chooses:
            self.pieces.append((sample, piece))
        return writer.finish_reason == "stop" and sample not in self.done

    def _complete(self, sample: int, writer: TextWriter, result: Continuation) -> str:
        """The last piece of text; the sample is done."""
        told = len(writer.token_ids)  # none, where a search decides about its tokens at the end
        new = zip(result.ids[told:], result.log_probs[told:], strict=True)
        piece = "".join([writer.write(token, log_prob) for token, log_prob in new] + [writer.end(result.reason)])
        assert writer.finish_reason is not None
        self.done[sample] = Generation(
            self.prompt,
            writer.text,
            writer.finish_reason,
            writer.token_ids,
            math.fsum(writer.log_probs),
            self.request.seed + sample,
            result.score,
            result.trace,
            result.acceptance_rate,
        )
        return piece

    def results(self, metric: Metric) -> list[Generation]:
        """The texts asked for, best first where there was a choice. Raises what went wrong."""
        if self.error is not None:
            raise self.error
        config, found = self.request.config, [self.done[sample] for sample in sorted(self.done)]
        if config.best_of:
            found = [replace(g, score=g.log_prob / max(1, len(g.token_ids))) for g in found]
        elif config.mbr:
            found = [replace(g, score=_mean_likeness(g, found, metric)) for g in found]
        else:
            return found
        return sorted(found, key=lambda g: g.score, reverse=True)[: config.num_samples]


def _mean_likeness(text: Generation, others: list[Generation], metric: Metric) -> float:
    """Minimum Bayes risk (Kumar & Byrne 2004): the samples stand for all that the model might say."""
    return math.fsum(metric(text.text, other.text) for other in others if other is not text) / max(len(others) - 1, 1)
