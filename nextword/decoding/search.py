"""How a request chooses: one token after another, for each of the rows of the batch that it holds.

A search sees the logits of its rows and answers with the rows to go on with: from which of its present rows each
comes, and by which token. That is all a search is: sampling keeps its row, a beam search reorders its rows, and one
that is over answers with none. It knows neither the model nor its state; the engine moves both.

Shapes: R rows of the whole batch, V vocabulary, C hidden size.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nextword.decoding.config import GenerationConfig, TokenSettings
from nextword.decoding.constraints import Constraint
from nextword.decoding.requests import Continuation, Drawn, Ended, Event, FinishReason, Request
from nextword.decoding.trace import Trace

RowSettings = tuple[GenerationConfig, TokenSettings]
NEUTRAL: RowSettings = (GenerationConfig(), TokenSettings())


@dataclass(eq=False)
class Row:
    """One text in the making."""

    ids: list[int]
    """Prompt and continuation; the last one is the next to be fed to the model."""
    start: int
    """Where the continuation begins."""
    constraint: Constraint | None = None
    rng: torch.Generator | None = None
    """None: no token is drawn for this row, its search chooses by itself."""
    log_probs: list[float] = field(default_factory=list)
    settings: RowSettings = NEUTRAL
    """Without the seed: `rng` stands in for it."""

    @property
    def generated(self) -> list[int]:
        """The continuation."""
        return self.ids[self.start :]

    @property
    def length(self) -> int:
        """Tokens of the continuation."""
        return len(self.ids) - self.start

    @property
    def room(self) -> int:
        """Tokens that may still come."""
        return self.settings[0].max_tokens - self.length

    def accept(self, token: int, log_prob: float) -> None:
        """The next token of the continuation."""
        self.ids.append(token)
        self.log_probs.append(log_prob)
        if self.constraint is not None:
            self.constraint.accept(token)

    def fork(self) -> Row:
        """An independent copy."""
        constraint = None if self.constraint is None else self.constraint.fork()
        return Row([*self.ids], self.start, constraint, self.rng, [*self.log_probs], self.settings)


class Likeliest:
    """The few likeliest tokens of every row, the best first: looked for in all rows at once, then numbers of Python."""

    def __init__(self, logits: Tensor, log_probs: Tensor, count: int) -> None:
        """Of `logits` (R, V); `log_probs` (R, V) are told beside them."""
        best = logits.topk(min(count, logits.size(1)))  # (R, count)
        self._tokens, self._logits = best.indices.tolist(), best.values.tolist()
        same = log_probs is logits  # no setting acts
        self._log_probs = self._logits if same else log_probs.gather(1, best.indices).tolist()

    def of(self, row: int) -> Iterator[tuple[int, float, float]]:
        """(token, logit, log-probability) of each."""
        return zip(self._tokens[row], self._logits[row], self._log_probs[row], strict=True)


@dataclass(frozen=True)
class Step:
    """What all searches of a batch see at once; each looks at its own rows."""

    logits: Tensor
    """(R, V) after all settings; of searches that do not draw, log-probabilities to start with."""
    log_probs: Tensor
    """(R, V) by the model alone."""
    features: Tensor
    """(R, C) of each row's latest token."""
    tokens: Sequence[int]
    """(R) the token drawn for each row; of no meaning for rows without an rng."""
    chosen: Sequence[float]
    """(R) log_probs of `tokens`."""
    coverage: Tensor | None = None
    """(R, source) attention that each token of a source has received in all; None where nobody asks for it, or in a
    model without one."""
    _likeliest: dict[int, Likeliest] = field(default_factory=dict)

    def likeliest(self, count: int) -> Likeliest:
        """So many of every row, found once for all searches that ask."""
        if count not in self._likeliest:
            self._likeliest[count] = Likeliest(self.logits, self.log_probs, count)
        return self._likeliest[count]


class Search(ABC):
    """The rows of one request, or of one of its samples."""

    guided = False
    """Whether rows 0 and 1 are one text after two prompts, whose logits are combined."""
    past: list[Tensor] | None = None
    """Where it is a list, the features (T, C) of the prompt are added to it, slice by slice, as they are read."""
    acceptance_rate: float | None = None
    """Share of guessed tokens that were right, where it guesses."""
    cancelled = False
    """Nobody waits for it any more: its rows leave the batch before the next step."""

    def __init__(self, request: Request, sample: int) -> None:
        self.request, self.sample = request, sample
        self.rows: list[Row] = []
        self.trace = Trace() if request.trace else None

    @property
    def width(self) -> int:
        """The most rows it will hold."""
        return len(self.rows)

    @abstractmethod
    def choose(self, step: Step, at: int, events: list[Event]) -> list[int]:
        """Move all rows on by a token. Its rows are the ones of `step` from `at` on.

        Afterwards `self.rows` are the rows to go on with, and the answer says from which earlier row, counted from
        0, each of them comes. Empty: the search is over. What happened is added to `events`.
        """

    def result(self, reason: FinishReason) -> list[Event]:
        """What there is, as if it ended here."""
        return [self._ended(self.rows[0], reason)]

    def _ended(self, row: Row, reason: FinishReason) -> Ended:
        return Ended(self.request, self.sample, self._continuation(row, reason, math.fsum(row.log_probs)))

    def _continuation(self, row: Row, reason: FinishReason, score: float) -> Continuation:
        return Continuation(row.generated, row.log_probs, reason, score, self.trace, self.acceptance_rate)


def first_row(request: Request, rng: torch.Generator | None = None) -> Row:
    """The prompt of a request as a row."""
    constraint = None if request.constraint is None else request.constraint.fork()
    settings = (request.config.model_copy(update={"seed": None}), request.tokens)
    return Row(list(request.prompt), len(request.prompt), constraint, rng, settings=settings)


class Sample(Search):
    """One continuation, greedy or drawn at random."""

    def __init__(self, request: Request, sample: int) -> None:
        super().__init__(request, sample)
        rng = torch.Generator().manual_seed((request.seed + sample) % 2**63)
        self.rows = [first_row(request, rng)]

    def choose(self, step: Step, at: int, events: list[Event]) -> list[int]:
        """Take what was drawn."""
        self.take(step.tokens[at], step.chosen[at], events)
        return list(range(len(self.rows)))

    def take(self, token: int, log_prob: float, events: list[Event], acceptance_rate: float | None = None) -> None:
        """The next token, and the end if this is it."""
        row = self.rows[0]
        row.accept(token, log_prob)
        if self.trace is not None:
            self.trace.choose(token, log_prob)
        events.append(Drawn(self.request, self.sample, token, log_prob))
        self.acceptance_rate = acceptance_rate
        if self.request.tokens.is_end(token) or row.room == 0:
            events += self.result("eos" if self.request.tokens.is_end(token) else "length")
            self.rows = []


class Guided(Sample):
    """A sample whose logits are weighed against those after another prompt (classifier-free guidance).

    Row 0 is the text; row 1 the same continuation after the negative prompt.
    """

    guided = True

    def __init__(self, request: Request, sample: int) -> None:
        super().__init__(request, sample)
        self.rows.append(Row(list(request.negative), len(request.negative)))

    def choose(self, step: Step, at: int, events: list[Event]) -> list[int]:
        """What was drawn goes into both rows."""
        self.rows[1].accept(step.tokens[at], 0.0)
        return super().choose(step, at, events)


def places(searches: Sequence[Search]) -> Iterator[tuple[int, Search]]:
    """The searches of a batch, each with the place of its first row."""
    at = 0
    for search in searches:
        yield at, search
        at += len(search.rows)


def searches_for(request: Request) -> list[Search]:
    """The searches that answer a request: one for each sample, or one that finds all of them."""
    from nextword.decoding.beam import BeamSearch
    from nextword.decoding.contrastive import ContrastiveSearch

    config = request.config
    if config.num_beams > 1:
        return [BeamSearch(request)]
    if config.contrastive_alpha:
        return [ContrastiveSearch(request)]
    kind = Guided if config.guidance_scale != 1 else Sample
    return [kind(request, sample) for sample in range(config.mbr or config.best_of or config.num_samples)]
