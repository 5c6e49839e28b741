"""What the searches of a batch choose from: the settings of every row act on its logits, and tokens are drawn.

Knows neither the model nor its state.

Shapes: R rows of the running batch, C hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nextword.decoding.history import History
from nextword.decoding.pipeline import Observer, Pipeline
from nextword.decoding.processors import guidance
from nextword.decoding.sampling import NOT_FINITE, broken, draw, likeliest, uniforms
from nextword.decoding.search import NEUTRAL, Row, RowSettings, Search, Step, places
from nextword.decoding.trace import Trace


class Sampler:
    """The settings of a running batch, put together anew only when its rows have changed."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pipeline = Pipeline([], 0, device)
        self._settings: list[RowSettings] = []  # that the pipeline was built for: of each row, or one for all
        self._latest = NEUTRAL  # settings of the row that joined last

    def join(self, rows: Sequence[Row]) -> None:
        """These rows join the batch. Of those alike all settings become one object, which is quickly seen."""
        for row in rows:
            self._latest = row.settings = self._latest if row.settings == self._latest else row.settings

    def step(
        self,
        searches: Sequence[Search],
        logits: Tensor,
        features: Tensor,
        history: History,
        coverage: Tensor | None = None,
    ) -> tuple[Step, list[str]]:
        """From the model's logits (R, V) for all rows of the searches, in order: what they choose from, and for each
        row why nothing can be chosen from it, or ""."""
        rows = [row for search in searches for row in search.rows]
        log_probs = logits.log_softmax(-1)
        start = _starting_point(searches, logits, log_probs)
        processed = self._process(searches, rows, logits, start, history)
        tokens, chosen = _draw_all(rows, processed, log_probs)
        return Step(processed, log_probs, features, tokens, chosen, coverage), _errors(rows, logits, processed)

    def _process(
        self, searches: Sequence[Search], rows: Sequence[Row], logits: Tensor, start: Tensor, history: History
    ) -> Tensor:
        """(R, V) `start` -> (R, V): the settings of each row act. `logits` (R, V) are the model's own, for traces."""
        settings = [row.settings for row in rows]
        alike = all(one is settings[0] for one in settings)
        settings = settings[:1] if alike else settings
        if [*map(id, settings)] != [*map(id, self._settings)]:
            self._pipeline, self._settings = Pipeline(settings, start.size(1), self._device), settings
        pipeline = self._pipeline
        chance = None
        if pipeline.needs_chance:
            wanted = [*range(len(rows))] if alike else pipeline.needs_chance
            chance = torch.zeros(len(rows), dtype=torch.float64)
            chance[wanted] = uniforms([rows[i].rng for i in wanted])
        return pipeline(
            start,
            generated=torch.tensor([row.length for row in rows], device=self._device),
            history=history.view() if pipeline.needs_history else None,
            allowed=self._allowed(rows, start.size(1)),
            uniforms=chance,
            observe=_observer(searches, logits, start),
        )

    def _allowed(self, rows: Sequence[Row], V: int) -> Tensor | None:
        """(R, V) bool by the rows' constraints; None if they have none."""
        masks = [None if row.constraint is None else row.constraint.mask(row.room) for row in rows]
        if all(mask is None for mask in masks):
            return None
        everything = torch.ones(V, dtype=torch.bool)
        return torch.stack([everything if mask is None else mask for mask in masks]).to(self._device)


def _starting_point(searches: Sequence[Search], logits: Tensor, log_probs: Tensor) -> Tensor:
    """(R, V) what the settings act on: logits where a token is drawn, log-probabilities where texts compete."""
    if all(search.rows[0].rng is None for search in searches):
        return log_probs
    start = logits
    for at, search in places(searches):
        if search.guided:
            start = start.clone() if start is logits else start
            scale = search.request.config.guidance_scale
            start[at] = guidance(logits[at : at + 1], logits[at + 1 : at + 2], scale)[0]
        elif search.rows[0].rng is None:
            start = start.clone() if start is logits else start
            own = slice(at, at + len(search.rows))
            start[own] = log_probs[own]
    return start


def _observer(searches: Sequence[Search], logits: Tensor, start: Tensor) -> Observer | None:
    """Tells the traces of searches that draw what the settings do; what there is before them, at once. None if there
    are no such traces."""
    traces: dict[int, Trace] = {}
    for at, search in places(searches):
        if search.trace is not None and search.rows[0].rng is not None:
            traces[at] = search.trace
            search.trace.begin(logits[at])
            if search.guided:
                search.trace.observe("guidance", start[at])

    def observe(name: str, logits: Tensor) -> None:
        for at, trace in traces.items():
            trace.observe(name, logits[at])

    return observe if traces else None


def _draw_all(rows: Sequence[Row], logits: Tensor, log_probs: Tensor) -> tuple[list[int], list[float]]:
    """The token drawn for each row and its log_prob; 0 for rows of searches that choose by themselves."""
    drawn = [i for i, row in enumerate(rows) if row.rng is not None]
    tokens, chosen = [0] * len(rows), [0.0] * len(rows)
    if not drawn:
        return tokens, chosen
    if len(drawn) < len(rows):
        logits, log_probs = logits[drawn], log_probs[drawn]
    ids = _draw([rows[i] for i in drawn], logits)
    own = log_probs.gather(1, ids[:, None])[:, 0]
    for i, token, log_prob in zip(drawn, ids.tolist(), own.tolist(), strict=True):
        tokens[i], chosen[i] = token, log_prob
    return tokens, chosen


def _draw(rows: Sequence[Row], logits: Tensor) -> Tensor:
    """(rows, V) -> (rows,) ids: the likeliest at temperature 0, else drawn from the row's own rng."""
    random = [i for i, row in enumerate(rows) if row.settings[0].temperature > 0]
    if not random:
        return likeliest(logits)
    uniform = uniforms([rows[i].rng for i in random])
    if len(random) == len(rows):
        ids = draw(logits, uniform)
    else:
        ids = likeliest(logits)
        ids[random] = draw(logits[random], uniform)
    return ids.clamp(max=logits.size(1) - 1)  # a broken row points behind the vocabulary


def _errors(rows: Sequence[Row], logits: Tensor, processed: Tensor) -> list[str]:
    """For each row why no token can be chosen from it, or "". A beam may be at its end: others go on."""
    errors = broken(processed)
    if any(errors):
        for i, wrong in enumerate(broken(logits)):
            errors[i] = NOT_FINITE if wrong else errors[i] if rows[i].rng is not None else ""
    return errors
