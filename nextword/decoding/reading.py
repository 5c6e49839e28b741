"""Reading prompts: several at a time, a slice after the other, between the steps of the texts already being written.

A model that encodes sources has all waiting prompts encoded at once, each as a source that `<eos>` closes instead
of the boundary token opening it; what it then reads of each is the boundary alone.

Prompts of different lengths are read side by side in rectangular slices: each slice is as long as the shortest
remainder, whoever is through leaves, the others go on. No padding is ever read, so a recurrent state stays clean.

Shapes: B prompts, T tokens of a slice, C hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from nextword.decoding.prefixes import Prefix, PrefixCache
from nextword.decoding.search import Search
from nextword.models.base import LanguageModel, State
from nextword.models.source import filled


@dataclass(eq=False)
class Reading:
    """A text on its way through the model, and the rows that wait for it."""

    ids: tuple[int, ...]
    is_prompt: bool
    """Worth remembering; otherwise the second half of a text that outgrew the context."""
    source: tuple[int, ...]
    """What a model that encodes sources has to encode."""
    tokens: tuple[int, ...]
    """What is read, token by token: all of it, or what is behind a source."""
    anew: bool
    """From its first token on, though its beginning may be known."""
    done: int = 0
    waiting: list[tuple[Search, int]] = field(default_factory=list)


class Reader:
    """The texts being read."""

    def __init__(self, model: LanguageModel, cache: PrefixCache) -> None:
        self.model, self.cache = model, cache
        self._new: list[Reading] = []  # not begun yet
        self._readings: list[Reading] = []
        self._state: State | None = None  # a row for each of those begun
        self._device = model.device

    def known(self, search: Search) -> dict[int, Prefix]:
        """The prompts of a search, by the number of their row, that are read already."""
        if search.past is not None:  # every token must pass by
            return {}
        found = {slot: self.cache.find(row.ids) for slot, row in enumerate(search.rows)}
        return {slot: prefix for slot, prefix in found.items() if prefix is not None}

    def add(self, ids: Sequence[int], search: Search, slot: int, is_prompt: bool) -> None:
        """Have row `slot` of a search wait for this text to be read."""
        key, row = tuple(ids), search.rows[slot]
        boundary, *prompt = row.ids[: row.start]
        eos = search.request.tokens.eos_id
        source = (*prompt, boundary if eos is None else eos)
        looks_back = search.past is not None and is_prompt  # then every token must pass by
        if not looks_back:
            for reading in [*self._readings, *self._new]:
                if (reading.ids, reading.is_prompt, reading.source) == (key, is_prompt, source):
                    reading.waiting.append((search, slot))
                    return
        tokens = key[:1] if self.model.encodes and is_prompt else key
        anew = looks_back or not is_prompt
        self._new.append(Reading(key, is_prompt, source, tokens, anew, waiting=[(search, slot)]))

    def _begin(self) -> None:
        """The new texts join those being read: all at once, for whatever is remembered is copied then."""
        new, self._new = self._new, []
        if not new:
            return
        states = [] if self._state is None else [self._state]
        if self.model.encodes:
            sources = [reading.source for reading in new]
            lengths = torch.tensor([len(ids) for ids in sources], device=self._device)
            states.append(self.model.encode(filled(sources, self._device), lengths))
        else:
            states += map(self._first_state, new)
        self._state = states[0] if len(states) == 1 else State.join(states)
        self._readings += new

    def _first_state(self, reading: Reading) -> State:
        """That of the longest known beginning of a text, which counts as read; of none, if it is to be read anew."""
        state = None if reading.anew else self.cache.start(reading.ids)
        if state is None:
            return self.model.init_state(1)
        reading.done = int(state.lengths[0])
        return state

    def drop(self, search: Search) -> None:
        """A search that waits no more."""
        for reading in [*self._readings, *self._new]:
            reading.waiting = [waiter for waiter in reading.waiting if waiter[0] is not search]
        self._keep([i for i, reading in enumerate(self._readings) if reading.waiting])
        self._new = [reading for reading in self._new if reading.waiting]

    def step(self, budget: int) -> list[tuple[Reading, Prefix]]:
        """Read one slice of all texts, at most some `budget` tokens; those read to their end come back."""
        self._begin()
        if self._state is None:
            return []
        T = min(len(reading.tokens) - reading.done for reading in self._readings)
        T = min(T, max(1, budget // len(self._readings)))
        rows = [reading.tokens[reading.done : reading.done + T] for reading in self._readings]
        features, self._state = self.model.features(torch.tensor(rows, device=self._device), self._state)  # (B, T, C)
        through = []
        for i, reading in enumerate(self._readings):
            reading.done += T
            for search, _ in reading.waiting:
                if search.past is not None and reading.is_prompt:
                    search.past.append(features[i])
            if reading.done == len(reading.tokens):
                through.append(i)
        if not through:
            return []
        last = features[through, -1]  # (through, C)
        logits = self.model.output(last).float()
        arrived = []
        for n, i in enumerate(through):
            reading = self._readings[i]
            assert self._state is not None  # a state was handed in, so one came back
            state = self._state.select(torch.tensor([i], device=self._device))
            found = Prefix(reading.ids, state, (logits[n : n + 1], last[n : n + 1]))
            arrived.append((reading, found))
            if reading.is_prompt:
                self.cache.put(found)
        self._keep([i for i, reading in enumerate(self._readings) if reading.done < len(reading.tokens)])
        return arrived

    def _keep(self, rows: list[int]) -> None:
        if len(rows) == len(self._readings):
            return
        self._readings = [self._readings[i] for i in rows]
        if not rows:
            self._state = None
        elif self._state is not None:
            self._state = self._state.select(torch.tensor(rows, device=self._device))
