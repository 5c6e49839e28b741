"""The engine: every request's next token, in one batch that requests join and leave at any step.

A step feeds the latest token of every row to the model, reads a slice of the prompts that wait, and lets every search
choose from its logits. A single request is a batch of one. Knows LanguageModel and State, and no text.

When a model's context is full, the last half of the text is read anew into a fresh state, so a text may grow without
limit; a step then costs on average two tokens of reading instead of one.

Shapes: R rows of the running batch, C hidden size, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

import torch
from torch import Tensor

from nextword.decoding.history import History
from nextword.decoding.prefixes import Prefix, PrefixCache
from nextword.decoding.reading import Reader
from nextword.decoding.requests import Event, Failed, FinishReason, Request
from nextword.decoding.sampler import Sampler
from nextword.decoding.sampling import NOT_FINITE
from nextword.decoding.search import Row, Search, places, searches_for
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
        self.reader = Reader(model, PrefixCache(cache_tokens))
        self.device = model.device
        self._waiting: deque[Search] = deque()
        self._arriving: dict[Search, dict[int, Prefix]] = {}  # rows whose text is being read, or is read by now
        self._searches: list[Search] = []  # in the order of their rows in the batch
        self._state: State | None = None
        self._context: list[int] = []  # (R) tokens each row's state holds
        self._history = History(self.device)
        self._sampler = Sampler(self.device)

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

    def _go_on(self, searches: list[Search], rows: list[int]) -> None:
        """The batch consists of these searches now, whose rows come from these of before."""
        self._searches = searches
        if rows == list(range(len(self._context))):
            return
        kept = torch.tensor(rows, dtype=torch.long, device=self.device)
        self._context = [self._context[row] for row in rows]
        self._history.select(kept)
        self._state = self._state.select(kept) if rows and self._state is not None else None

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
        kept: list[int] = []
        searches: list[Search] = []
        for at, search in places(self._searches):
            if search.cancelled:
                self._remember(search.request, search.rows[0].ids, at)
            elif limit is not None and max(self._context[at : at + len(search.rows)]) >= limit:
                self._arriving[search] = {}
                for slot, row in enumerate(search.rows):
                    self.reader.add(row.ids[-max(1, limit // 2) :], search, slot, is_prompt=False)
            else:
                searches.append(search)
                kept += range(at, at + len(search.rows))
        self._go_on(searches, kept)

    def _admit(self) -> None:
        """Searches that wait begin to be read, in their order, as long as there is room.

        Where not all fit, an eighth of the batch is filled at a time: prompts are best read together, and when rows
        join, what all remember is copied. One whose prompts are read already, into a state that does not grow, need
        not wait for that.
        """
        if not self._waiting:
            return
        running = [*self._searches, *self._arriving]
        rows = sum(search.width for search in running)
        tokens = sum(search.width * search.request.limit for search in running)
        grows = self.model.max_seq_len is not None
        free = self.max_rows - rows
        # Each takes a row at least, so that the first few tell, however many wait.
        crowded = sum(search.width for search in islice(self._waiting, max(free, 0) + 1)) > free
        patient = crowded and free < self.max_rows // 8
        while self._waiting:
            search = self._waiting[0]
            alone = not rows
            rows += search.width
            tokens += search.width * search.request.limit
            if not alone and (rows > self.max_rows or (grows and tokens > self.max_tokens)):
                return
            known = self.reader.known(search)
            if patient and (grows or len(known) < len(search.rows)):
                return
            self._waiting.popleft()
            self._arriving[search] = known
            for slot, row in enumerate(search.rows):
                if slot not in known:
                    self.reader.add(row.ids, search, slot, is_prompt=True)

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
        self._sampler.join(rows)
        # A source is no beginning of the answer: to say what it says is no repetition.
        last = 1 if self.model.encodes else None
        self._history.add([row.ids[:last] for row in rows])
        self._searches += ready
        return [prefix.after for prefix in prefixes if prefix.after is not None]

    # -- choosing --------------------------------------------------------------------------------------------------

    def _choose(self, logits: Tensor, features: Tensor) -> list[Event]:
        """Every search moves its rows on by a token; the batch becomes what they ask for."""
        asked = any(search.request.config.coverage_penalty for search in self._searches)
        coverage = self._state.coverage() if asked and self._state is not None else None
        step, errors = self._sampler.step(self._searches, logits, features, self._history, coverage)
        events: list[Event] = []
        searches: list[Search] = []
        parents: list[int] = []
        for at, search in [*places(self._searches)]:  # all of them now: to choose changes the rows
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

    def _remember(self, request: Request, ids: list[int], at: int) -> None:
        """Keep the state of a finished text, if its request asks for it: all but its last token is read."""
        read = self._context[at]
        if request.keep and not self.model.encodes and self._state is not None and read == len(ids) - 1:
            state = self._state.select(torch.tensor([at], device=self.device))
            self.reader.cache.put(Prefix(tuple(ids[:read]), state))
