"""Beam search: the texts of the greatest score, as far as a few hypotheses side by side can find them.

The rules are those of `transformers`, so that the same weights give the same text. A hypothesis ends with `<eos>` or
at max_tokens; its score is the sum of its log-probabilities divided by length ** length_penalty, `<eos>` counted. In
each step only candidates among the best `num_beams` may end; the next ones only stand in for them.

Groups (diverse beam search, Vijayakumar et al. 2018) search one after the other within a step; each finds a token
less attractive for every beam of an earlier group that has just chosen it.

Shapes: n rows of this search, V vocabulary.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

import torch
from torch import Tensor

from nextword.decoding.requests import Ended, Event, Failed, FinishReason, Request
from nextword.decoding.sampling import NOTHING_LEFT
from nextword.decoding.search import Likeliest, Row, Search, Step, first_row
from nextword.errors import UsageError


@dataclass(eq=False)
class Beam:
    """A row, and the sum of log-probabilities, after all settings, that it is ranked by."""

    row: Row
    total: float
    parent: int
    """The row of this search that it came from, in the step before."""


class Candidate(NamedTuple):
    """A possible next token of a beam."""

    beam: int
    """Its place in the group."""
    token: int
    total: float
    """That of the beam and what its logit adds, after all settings."""
    log_prob: float
    """By the model alone."""


@dataclass(eq=False)
class Group:
    """Beams that compete with each other."""

    beams: list[Beam]
    finished: list[tuple[float, int, Row, FinishReason]] = field(default_factory=list)
    """A heap of score, order of arrival (negative: among equals the earlier one is better), text and reason."""
    over: bool = False


class BeamSearch(Search):
    """All hypotheses of one request."""

    def __init__(self, request: Request) -> None:
        super().__init__(request, 0)
        config = request.config
        self.config, self.size = config, config.num_beams // config.num_beam_groups
        row = first_row(request)
        self.rows = [row]
        self.groups = [Group([Beam(row.fork(), 0.0, 0)]) for _ in range(config.num_beam_groups)]
        self._arrived = 0

    @property
    def width(self) -> int:
        """All beams of all groups."""
        return self.config.num_beams

    def choose(self, step: Step, at: int, events: list[Event]) -> list[int]:
        """Each group takes its best candidates; when all are over, the best texts of all are the result."""
        taken: dict[int, int] = {}  # how many beams of the groups before chose a token
        offset = at
        shared = len(self.rows) == 1  # after the prompt, all groups look at the same row
        for number, group in enumerate(self.groups):
            if group.over:
                continue
            n = len(group.beams)
            self._extend(group, step, offset, taken)
            for beam in group.beams:
                token = beam.row.ids[-1]
                taken[token] = taken.get(token, 0) + 1
                beam.parent += offset - at
            if self.trace is not None:
                self.trace.add_beams(number, [(b.parent, b.row.ids[-1], b.total) for b in group.beams])
            offset += 0 if shared else n
        beams = [beam for group in self.groups if not group.over for beam in group.beams]
        self.rows = [beam.row for beam in beams]
        if not beams:
            events += self._results()
        return [beam.parent for beam in beams]

    def result(self, reason: FinishReason) -> list[Event]:
        """The open hypotheses count as they are."""
        for group in self.groups:
            for beam in group.beams:
                self._finish(group, beam.row, beam.total, reason)
        return self._results()

    def _extend(self, group: Group, step: Step, offset: int, taken: dict[int, int]) -> None:
        """One step of one group: beams -> candidates -> finished texts and the next beams."""
        before, group.beams = group.beams, []
        for rank, candidate in enumerate(self._candidates(before, step, offset, taken)):
            if len(group.beams) == self.size:
                break
            reason = self._reason(before[candidate.beam].row, candidate.token)
            if reason and rank >= self.size:
                continue
            row = before[candidate.beam].row.fork()
            row.accept(candidate.token, candidate.log_prob)
            if reason:
                bonus = self._coverage(step, offset + candidate.beam)
                self._finish(group, row, candidate.total, reason, bonus)
            else:
                group.beams.append(Beam(row, candidate.total, candidate.beam))
        group.over = self._is_over(group)
        if group.over:
            group.beams = []

    def _candidates(self, beams: list[Beam], step: Step, offset: int, taken: dict[int, int]) -> list[Candidate]:
        """The best continuations of the beams, twice as many as fit, since half of them may end."""
        rows = slice(offset, offset + len(beams))
        logits, log_probs, count = step.logits[rows], step.log_probs[rows], 2 * self.size
        if taken and self.config.diversity_penalty:
            logits = self._less_attractive(logits, taken)
            likeliest, first = Likeliest(logits, log_probs, count), 0
        else:
            likeliest, first = step.likeliest(count), offset
        continued = [
            (place, token, beam.total + logit, log_prob)
            for place, beam in enumerate(beams)
            for token, logit, log_prob in likeliest.of(first + place)
        ]
        # Among equals the first beam counts, and the first of its tokens.
        continued.sort(key=itemgetter(2), reverse=True)
        found = [Candidate(*one) for one in continued if one[2] > -math.inf]
        # Where something is required all are kept: those that have said most of it are seldom among the likeliest.
        constraints = [beam.row.constraint for beam in beams]
        if not any(constraint is not None and constraint.wanted() for constraint in constraints):
            return found[:count]
        known = {(c.beam, c.token) for c in found}
        for place, constraint in enumerate(constraints):
            for token in constraint.wanted() if constraint is not None else ():
                total = beams[place].total + float(logits[place, token])
                if (place, token) not in known and total > -math.inf:
                    found.append(Candidate(place, token, total, float(log_probs[place, token])))
        return self._by_progress(beams, found)

    def _less_attractive(self, logits: Tensor, taken: dict[int, int]) -> Tensor:
        tokens = torch.tensor(list(taken), device=logits.device)
        counts = torch.tensor(list(taken.values()), device=logits.device, dtype=logits.dtype)
        return logits.index_add(1, tokens, (-self.config.diversity_penalty * counts).expand(len(logits), -1))

    def _by_progress(self, beams: list[Beam], candidates: list[Candidate]) -> list[Candidate]:
        """In turn the best candidate of each degree of progress (Post & Vilar 2018).

        Otherwise what a constraint requires, being unlikely, would be put off until there is no other way.
        """
        banks: dict[int, list[Candidate]] = {}
        for candidate in sorted(candidates, key=lambda c: c.total, reverse=True):
            row = beams[candidate.beam].row.fork()
            assert row.constraint is not None  # all beams of a request have one, or none has
            row.constraint.accept(candidate.token)
            banks.setdefault(row.constraint.progress(), []).append(candidate)
        furthest_first = [banks[progress] for progress in sorted(banks, reverse=True)]
        longest = max(map(len, furthest_first))
        return [bank[i] for i in range(longest) for bank in furthest_first if i < len(bank)][: 2 * self.size]

    def _reason(self, row: Row, token: int) -> FinishReason | None:
        """Why the text ends with this token, if it does."""
        if self.request.tokens.is_end(token):
            return "eos"
        if self.request.ends is not None and self.request.ends([*row.generated, token]):
            return "stop"
        return "length" if row.room == 1 else None

    def _coverage(self, step: Step, place: int) -> float:
        """What a text loses for words of its source that got no attention: Wu et al. 2016, equation 14."""
        if not self.config.coverage_penalty:
            return 0.0
        if step.coverage is None:
            raise UsageError("coverage_penalty needs a model that attends to a source, such as an encoder-decoder")
        seen = step.coverage[place].clamp(1e-9, 1.0)
        return self.config.coverage_penalty * float(seen.log().sum())

    def _finish(self, group: Group, row: Row, total: float, reason: FinishReason, bonus: float = 0.0) -> None:
        """Keep a complete text, if it is among the best so far."""
        score = total / max(row.length, 1) ** self.config.length_penalty + bonus
        self._arrived += 1
        heapq.heappush(group.finished, (score, -self._arrived, row, reason))
        if len(group.finished) > self.size:
            heapq.heappop(group.finished)

    def _is_over(self, group: Group) -> bool:
        """Whether nothing better can come: certain with `never`, a good guess otherwise."""
        config = self.config
        if not group.beams:
            return True
        if len(group.finished) < self.size:
            return False
        if config.early_stopping is True:
            return True
        best = max(group.beams, key=lambda beam: beam.total)
        longest = config.early_stopping == "never" and config.length_penalty > 0
        length = config.max_tokens if longest else best.row.length
        return best.total / length**config.length_penalty <= group.finished[0][0]

    def _results(self) -> list[Event]:
        """The best texts, best first."""
        finished = sorted((text for group in self.groups for text in group.finished), reverse=True)
        if not finished:
            return [Failed(self.request, 0, UsageError(NOTHING_LEFT))]
        best = finished[: self.config.num_samples]
        results = [self._continuation(row, reason, score) for score, _, row, reason in best]
        return [Ended(self.request, place, result, of=len(best)) for place, result in enumerate(results)]
