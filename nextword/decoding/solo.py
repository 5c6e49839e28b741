"""A request that guesses ahead: it goes through the model by itself, several tokens a step, outside the batch.

Same settings, same events and, where guesses are certain, the same text as in the engine. Guessing pays where one text
is written at a time; a batch keeps the machine busy without it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nextword.decoding.pipeline import Pipeline
from nextword.decoding.processors import temperature
from nextword.decoding.requests import Event, Failed, Request
from nextword.decoding.sampling import uniforms
from nextword.decoding.search import Sample
from nextword.decoding.speculative import DraftModel, Lookup, Speculator
from nextword.errors import NextwordError
from nextword.models.base import LanguageModel


class Solo:
    """One sample of a request, on its own."""

    def __init__(self, model: LanguageModel, request: Request, sample: int, draft: LanguageModel | None = None) -> None:
        """Guesses come from the `draft` model, or from earlier passages of the text itself."""
        config = request.config
        self.search = Sample(request, sample)
        row = self.search.rows[0]
        # The constraint must know of tokens chosen within a step, before the row is told: it is kept here.
        self.constraint, row.constraint = row.constraint, None
        self.told, self.rng = len(row.ids), row.rng
        self.pipeline = Pipeline([row.settings], model.output.out_features, model.device)
        rng = row.rng if config.temperature > 0 else None
        self.speculator = Speculator(
            model,
            row.ids,
            self._process,
            Lookup() if draft is None else DraftModel(draft, self._draft_settings, rng),
            max_draft=config.speculate,
            rng=rng,
            eos_id=request.tokens.eos_id,
        )

    @property
    def over(self) -> bool:
        """Nothing more will come."""
        return not self.search.rows or self.search.cancelled

    def step(self) -> list[Event]:
        """The next tokens, and the end."""
        events: list[Event] = []
        try:
            found = self.speculator.step()
        except NextwordError as error:
            self.search.rows = []
            return [Failed(self.search.request, self.search.sample, error)]
        for token, log_prob in found:
            if not self.over:
                self.search.take(token, log_prob, events, self.speculator.acceptance_rate)
        return events

    def _settings(self, logits: Tensor, history: Tensor, allowed: Tensor | None = None) -> Tensor:
        """(1, V), ids before (1, S) -> (1, V)"""
        search, generated = self.search, history.size(1) - len(self.search.request.prompt)
        chance = uniforms([self.rng]) if self.pipeline.needs_chance and self.rng is not None else None
        trace = search.trace
        return self.pipeline(
            logits,
            generated=torch.tensor([generated], device=logits.device),
            history=history,
            allowed=allowed,
            uniforms=chance,
            observe=None if trace is None else lambda name, logits: trace.observe(name, logits[0]),
        )

    def _draft_settings(self, logits: Tensor, history: Tensor) -> Tensor:
        """What the draft model is told of the settings: its temperature. The rest is not worth the time."""
        config = self.search.request.config
        return temperature(logits, config.temperature) if config.temperature not in (0, 1) else logits

    def _process(self, logits: Tensor, history: Tensor) -> Tensor:
        """`_settings` and the constraint, for the model that judges; called once a token, in order."""
        request = self.search.request
        if self.search.trace is not None:
            self.search.trace.begin(logits[0])
        if self.constraint is None:
            return self._settings(logits, history)
        for token in history[0, self.told :].tolist():
            self.constraint.accept(token)
        self.told = history.size(1)
        mask = self.constraint.mask(request.config.max_tokens - (self.told - len(request.prompt)))
        return self._settings(logits, history, None if mask is None else mask[None].to(logits.device))
