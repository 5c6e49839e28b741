"""Contrastive search (Su et al. 2022): likely tokens that are unlike everything before them.

Each of the k likeliest tokens is read, to know its features; then the one of the greatest

    (1 - alpha) * P(token | before) - alpha * max over earlier tokens of cos(features of both)

is chosen. So a row is a candidate already read, and a token is decided one step after it was proposed.

Shapes: k candidates, S tokens so far, C hidden size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nextword.decoding.requests import Drawn, Event, Failed, FinishReason, Request
from nextword.decoding.sampling import NOTHING_LEFT
from nextword.decoding.search import Row, Search, Step, first_row
from nextword.errors import UsageError

DEFAULT_CANDIDATES = 4


class ContrastiveSearch(Search):
    """One text; its rows are the candidates for its next token."""

    def __init__(self, request: Request) -> None:
        super().__init__(request, 0)
        self.alpha = request.config.contrastive_alpha
        self.k = request.config.top_k or DEFAULT_CANDIDATES
        self.text = first_row(request)  # what is decided
        self.rows = [self.text.fork()]
        self.probs: list[float] = []  # of each candidate, after all settings
        self.past: list[Tensor] = []  # features (T, C) of what is decided; unit vectors once the prompt is read

    @property
    def width(self) -> int:
        """All candidates."""
        return self.k

    def choose(self, step: Step, at: int, events: list[Event]) -> list[int]:
        """Decide among the candidates just read, and propose the next."""
        winner = 0
        if not self.probs:
            self.past = [normalize(torch.cat(self.past).float(), dim=-1)]
        else:
            winner = self._decide(step.features[at : at + len(self.rows)])
            row = self.rows[winner]
            token, log_prob = row.ids[-1], row.log_probs[-1]
            self.text.accept(token, log_prob)
            if self.trace is not None:
                self.trace.choose(token, log_prob)
            events.append(Drawn(self.request, self.sample, token, log_prob))
            if self.request.tokens.is_end(token) or self.text.room == 0:
                events += self.result("eos" if self.request.tokens.is_end(token) else "length")
                self.rows = []
                return []
        return self._propose(step, at, winner, events)

    def result(self, reason: FinishReason) -> list[Event]:
        """What is decided, without the candidates."""
        return [self._ended(self.text, reason)]

    def _decide(self, features: Tensor) -> int:
        """(k, C) -> the place of the best candidate."""
        new = normalize(features.float(), dim=-1)
        likeness = (new @ torch.cat(self.past).T).amax(-1)  # (k,)
        winner = int(((1 - self.alpha) * likeness.new_tensor(self.probs) - self.alpha * likeness).argmax())
        self.past.append(new[winner : winner + 1])
        if len(self.past) > 64:  # few pieces, so that joining them stays cheap
            self.past = [torch.cat(self.past)]
        return winner

    def _propose(self, step: Step, at: int, winner: int, events: list[Event]) -> list[int]:
        """The k likeliest tokens after the winner become the rows."""
        best = step.logits[at + winner].softmax(-1).topk(min(self.k, step.logits.size(1)))
        found = [(p, t) for p, t in zip(best.values.tolist(), best.indices.tolist(), strict=True) if p > 0]
        if not found:
            self.rows = []
            events.append(Failed(self.request, self.sample, UsageError(NOTHING_LEFT)))
            return []
        self.probs = [p for p, _ in found]
        if self.trace is not None:
            self.trace.begin(step.log_probs[at + winner])
            logits, tokens = step.logits[at + winner], best.indices[: len(found)]
            self.trace.observe("candidates", torch.full_like(logits, -torch.inf).scatter(0, tokens, logits[tokens]))
        self.rows = [self._candidate(token, float(step.log_probs[at + winner, token])) for _, token in found]
        return [winner] * len(found)

    def _candidate(self, token: int, log_prob: float) -> Row:
        row = self.text.fork()
        row.accept(token, log_prob)
        return row
