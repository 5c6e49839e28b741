"""The engine: every request's next token, in one batch that requests join and leave at any step.

A step feeds the latest token of every row to the model, reads a slice of the prompts that wait, and lets every search
choose from its logits. A single request is a batch of one. Knows LanguageModel and State, and no text.

When a model's context is full, the last half of the text is read anew into a fresh state, so a text may grow without
limit; a step then costs on average two tokens of reading instead of one.

Shapes: R rows of the running batch, C hidden size, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from nextword.decoding.history import History
from nextword.decoding.pipeline import Pipeline
from nextword.decoding.prefixes import Prefix, PrefixCache
from nextword.decoding.processors import guidance
from nextword.decoding.reading import Reader
from nextword.decoding.requests import Event, Failed, FinishReason, Request
from nextword.decoding.sampling import NOT_FINITE, broken, draw, likeliest, uniforms
from nextword.decoding.search import NEUTRAL, Row, RowSettings, Search, Step, searches_for
from nextword.decoding.trace import Trace
from nextword.errors import RunError, UsageError
from nextword.models.base import LanguageModel, State


class Engine:
    """Continues any number of requests on one model, which it expects in eval mode."""

    def __init__(
        self,
        model: LanguageModel,
        *,
        max_rows: int = 64,
        max_tokens: int = 2**18,
        slice_tokens: int = 256,
        cache_tokens: int = 2**14,
    ) -> None:
        """The memory it may take, for a model whose state grows: `max_tokens` in all rows together, prompt and
        continuation, and `cache_tokens` of prompts read before; a request that would exceed it waits, unless it is
        alone. `max_rows` bounds the batch. `slice_tokens` of waiting prompts are read between two steps of texts
        already running, eight times as many when none is.
        """
        self.model = model
        self.max_rows, self.max_tokens, self.slice_tokens = max_rows, max_tokens, slice_tokens
        self.cache = PrefixCache(cache_tokens)
        self.reader = Reader(model, self.cache)
        self.device = model.device
        self._waiting: deque[Search] = deque()
        self._arriving: dict[Search, dict[int, Prefix]] = {}  # rows whose text is being read, or is read by now
        self._searches: list[Search] = []  # in the order of their rows in the batch
        self._state: State | None = None
        self._context: list[int] = []  # (R) tokens each row's state holds
        self._history = History(self.device)
        self._pipeline = Pipeline([], 0, self.device)
        self._settings: list[RowSettings] = []  # that the pipeline was built for: of each row, or one for all
        self._latest = NEUTRAL  # settings of the row that joined last

    # -- coming and going ------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Take a request on. Raises UsageError if its prompt is too long for the model, or leaves no room."""
        limit = self.model.max_seq_len
        for ids in (request.prompt, request.negative):
            if limit is not None and len(ids) > limit:
                raise UsageError(
                    f"the prompt has {len(ids)} tokens, but the model's context holds {limit}",
                    hint="Give a shorter prompt, such as its end, or train with a larger model.max_seq_len",
                )
        self._waiting += searches_for(request)

    def cancel(self, request: Request, sample: int | None = None, reason: FinishReason = "cancelled") -> list[Event]:
        """End a request, or one of its samples, where it stands: what there is comes back as its result.

        Its rows are free at the next step.
        """
        events: list[Event] = []
        for search in [*self._waiting, *self._arriving, *self._searches]:
            if search.request is request and sample in (None, search.sample) and not search.cancelled:
                events += search.result(reason)
                search.cancelled = True
                self.reader.drop(search)
                self._arriving.pop(search, None)
        self._waiting = deque(search for search in self._waiting if not search.cancelled)
        return events

    @property
    def idle(self) -> bool:
        """Nothing is running, and nothing waits."""
        return not (self._waiting or self._arriving or self._searches)

    @property
    def num_running(self) -> int:
        """Searches that have their rows in the batch, or are having their prompts read."""
        return len(self._searches) + len(self._arriving)

    @property
    def num_waiting(self) -> int:
        """Searches there is no room for yet."""
        return len(self._waiting)

    # -- a step ----------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """Bring every running text one token further, and every waiting one nearer to its first."""
        parts = self._feed()
        self._admit()
        budget = self.slice_tokens * (1 if self._searches else 8)
        for reading, found in self.reader.step(budget):
            for search, slot in reading.waiting:
                self._arriving[search][slot] = found
        parts += self._join()
        if not parts:
            return []
        logits, features = zip(*parts, strict=True)
        return self._choose(torch.cat(logits), torch.cat(features))

    def _rows(self) -> list[Row]:
        return [row for search in self._searches for row in search.rows]

    def _places(self) -> Iterator[tuple[int, Search]]:
        """The searches, each with the place of its first row in the batch."""
        at = 0
        for search in self._searches:
            yield at, search
            at += len(search.rows)

    def _go_on(self, searches: list[Search], rows: list[int]) -> None:
        """The batch consists of these searches now, whose rows come from these of before."""
        self._searches = searches
        if rows == list(range(len(self._context))):
            return
        places = torch.tensor(rows, dtype=torch.long, device=self.device)
        self._context = [self._context[row] for row in rows]
        self._history.select(places)
        self._state = self._state.select(places) if rows and self._state is not None else None

    def _feed(self) -> list[tuple[Tensor, Tensor]]:
        """Read the latest token of every row: (R, V) logits of the next, (R, C) features; [] without rows."""
        self._make_room()
        if not self._searches:
            return []
        latest = torch.tensor([[row.ids[-1]] for row in self._rows()], device=self.device)
        features, self._state = self.model.features(latest, self._state)  # (R, 1, C)
        self._context = [tokens + 1 for tokens in self._context]
        return [(self.model.output(features[:, -1]).float(), features[:, -1])]

    def _make_room(self) -> None:
        """Rows of cancelled searches leave; those whose context is full have their last half read anew."""
        limit = self.model.max_seq_len
        places: list[int] = []
        searches: list[Search] = []
        for at, search in self._places():
            if search.cancelled:
                self._remember(search.request, search.rows[0].ids, at)
            elif limit is not None and max(self._context[at : at + len(search.rows)]) >= limit:
                self._arriving[search] = {}
                for slot, row in enumerate(search.rows):
                    self.reader.add(row.ids[-max(1, limit // 2) :], search, slot, is_prompt=False)
            else:
                searches.append(search)
                places += range(at, at + len(search.rows))
        self._go_on(searches, places)

    def _admit(self) -> None:
        """Searches that wait begin to be read, in their order, as long as there is room.

        Where not all fit, an eighth of the batch is filled at a time: prompts are best read together, and when rows
        join, what all remember is copied.
        """
        free = self.max_rows - sum(search.width for search in [*self._searches, *self._arriving])
        # Each takes a row at least, so that the first few tell, however many wait.
        crowded = sum(search.width for search in islice(self._waiting, max(free, 0) + 1)) > free
        patient = crowded and free < self.max_rows // 8
        while self._waiting and self._fits(self._waiting[0]):
            if patient and not self._joins_lightly(self._waiting[0]):
                return
            search = self._waiting.popleft()
            self._arriving[search] = {}
            for slot, row in enumerate(search.rows):
                known = self.reader.add(row.ids, search, slot, is_prompt=True)
                if known is not None:
                    self._arriving[search][slot] = known

    def _joins_lightly(self, search: Search) -> bool:
        """Whether its prompts are read already, into a state that does not grow."""
        return self.model.max_seq_len is None and all(self.cache.find(row.ids) for row in search.rows)

    def _fits(self, search: Search) -> bool:
        running = [*self._searches, *self._arriving]
        if not running:
            return True
        together = [*running, search]
        if sum(other.width for other in together) > self.max_rows:
            return False
        if self.model.max_seq_len is None:  # a state that does not grow
            return True
        return sum(other.width * other.request.limit for other in together) <= self.max_tokens

    def _join(self) -> list[tuple[Tensor, Tensor]]:
        """Searches whose texts are all read join the batch; logits (1, V) and features (1, C) of each of their rows."""
        ready = [search for search, slots in self._arriving.items() if len(slots) == len(search.rows)]
        if not ready:
            return []
        found = [self._arriving.pop(search) for search in ready]
        prefixes = [slots[slot] for slots in found for slot in range(len(slots))]
        states = [] if self._state is None else [self._state]
        self._state = State.join([*states, *(prefix.state for prefix in prefixes)])
        self._context += [int(prefix.state.lengths[0]) for prefix in prefixes]
        rows = [row for search in ready for row in search.rows]
        for row in rows:  # those alike share one object, which is quickly seen
            self._latest = row.settings = self._latest if row.settings == self._latest else row.settings
        # A source is no beginning of the answer: to say what it says is no repetition.
        last = 1 if self.model.encodes else None
        self._history.add([row.ids[:last] for row in rows])
        self._searches += ready
        return [prefix.after for prefix in prefixes if prefix.after is not None]

    # -- choosing --------------------------------------------------------------------------------------------------

    def _choose(self, logits: Tensor, features: Tensor) -> list[Event]:
        """Every search moves its rows on by a token; the batch becomes what they ask for."""
        step, errors = self._look(logits, features)
        events: list[Event] = []
        searches: list[Search] = []
        parents: list[int] = []
        for at, search in [*self._places()]:
            error = next((e for e in errors[at : at + len(search.rows)] if e), "")
            if error:
                kind = RunError if error == NOT_FINITE else UsageError
                events.append(Failed(search.request, search.sample, kind(error)))
                continue
            first = search.rows[0].ids
            going_on = search.choose(step, at, events)
            if going_on:
                searches.append(search)
                parents += [at + parent for parent in going_on]
            else:
                self._remember(search.request, first, at)
        self._go_on(searches, parents)
        if searches:
            self._history.append(torch.tensor([row.ids[-1] for row in self._rows()], device=self.device))
        return events

    def _look(self, logits: Tensor, features: Tensor) -> tuple[Step, list[str]]:
        """What the searches choose from, and for each row why nothing can be chosen from it, or ""."""
        rows = self._rows()
        log_probs = logits.log_softmax(-1)
        start = self._starting_point(logits, log_probs)
        processed = self._process(start, rows, logits)
        drawn = [i for i, row in enumerate(rows) if row.rng is not None]
        tokens, chosen = [0] * len(rows), [0.0] * len(rows)
        if drawn:
            everything = len(drawn) == len(rows)
            mine = processed if everything else processed[drawn]
            ids = self._draw(mine, [rows[i] for i in drawn])
            own = (log_probs if everything else log_probs[drawn]).gather(1, ids[:, None])[:, 0]
            for i, token, log_prob in zip(drawn, ids.tolist(), own.tolist(), strict=True):
                tokens[i], chosen[i] = token, log_prob
        asked = any(search.request.config.coverage_penalty for search in self._searches)
        coverage = self._state.coverage() if asked and self._state is not None else None
        return Step(processed, log_probs, features, tokens, chosen, coverage), self._errors(logits, processed, rows)

    def _errors(self, logits: Tensor, processed: Tensor, rows: list[Row]) -> list[str]:
        """For each row why no token can be chosen from it, or "". A beam may be at its end: others go on."""
        errors = broken(processed)
        if any(errors):
            for i, wrong in enumerate(broken(logits)):
                errors[i] = NOT_FINITE if wrong else errors[i] if rows[i].rng is not None else ""
        return errors

    def _starting_point(self, logits: Tensor, log_probs: Tensor) -> Tensor:
        """(R, V) what the settings act on: logits where a token is drawn, log-probabilities where texts compete."""
        if all(search.rows[0].rng is None for search in self._searches):
            return log_probs
        start = logits
        for at, search in self._places():
            if search.guided:
                start = start.clone() if start is logits else start
                scale = search.request.config.guidance_scale
                start[at] = guidance(logits[at : at + 1], logits[at + 1 : at + 2], scale)[0]
            elif search.rows[0].rng is None:
                start = start.clone() if start is logits else start
                places = slice(at, at + len(search.rows))
                start[places] = log_probs[places]
        return start

    def _process(self, start: Tensor, rows: list[Row], logits: Tensor) -> Tensor:
        """(R, V) -> (R, V): the settings of each row act. `logits` (R, V) are the model's own, for the traces."""
        settings = [row.settings for row in rows]
        alike = all(one is settings[0] for one in settings)
        settings = settings[:1] if alike else settings
        if [*map(id, settings)] != [*map(id, self._settings)]:
            self._pipeline, self._settings = Pipeline(settings, start.size(1), self.device), settings
        pipeline = self._pipeline
        chance = None
        if pipeline.needs_chance:
            places = [*range(len(rows))] if alike else pipeline.needs_chance
            chance = torch.zeros(len(rows), dtype=torch.float64)
            chance[places] = uniforms([rows[i].rng for i in places])
        traces: dict[int, Trace] = {}
        for at, search in self._places():
            if search.trace is not None and rows[at].rng is not None:
                traces[at] = search.trace
                search.trace.begin(logits[at])
                if search.guided:
                    search.trace.observe("guidance", start[at])

        def observe(name: str, logits: Tensor) -> None:
            for at, trace in traces.items():
                trace.observe(name, logits[at])

        return pipeline(
            start,
            generated=torch.tensor([row.length for row in rows], device=self.device),
            history=self._history.view() if pipeline.needs_history else None,
            allowed=self._allowed(rows, start),
            uniforms=chance,
            observe=observe if traces else None,
        )

    def _allowed(self, rows: list[Row], logits: Tensor) -> Tensor | None:
        """(R, V) bool by the rows' constraints; None if they have none."""
        masks = [None if row.constraint is None else row.constraint.mask(row.room) for row in rows]
        if all(mask is None for mask in masks):
            return None
        everything = torch.ones(logits.size(1), dtype=torch.bool)
        return torch.stack([everything if mask is None else mask for mask in masks]).to(self.device)

    def _draw(self, logits: Tensor, rows: list[Row]) -> Tensor:
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

    def _remember(self, request: Request, ids: list[int], at: int) -> None:
        """Keep the state of a finished text, if its request asks for it: all but its last token is read."""
        read = self._context[at]
        if request.keep and not self.model.encodes and self._state is not None and read == len(ids) - 1:
            state = self._state.select(torch.tensor([at], device=self.device))
            self.cache.put(Prefix(tuple(ids[:read]), state))
