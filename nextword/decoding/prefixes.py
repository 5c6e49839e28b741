"""States of texts already read, so that a prompt which begins like one of them is not read again from its start."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nextword.models.base import State


@dataclass(frozen=True)
class Prefix:
    """A text read, and all that reading it gave."""

    ids: tuple[int, ...]
    state: State
    """One row. Only forks of it are ever given to a model."""
    after: tuple[Tensor, Tensor] | None = None
    """(1, V) logits of the next token, (1, C) features of the last; None: only longer texts can go on from here."""


class PrefixCache:
    """The latest texts read, at most `most_tokens` tokens of them in all."""

    def __init__(self, most_tokens: int) -> None:
        self.most_tokens = most_tokens
        self._known: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()  # the least recently used first
        self._tokens = 0  # of all of them

    def put(self, prefix: Prefix) -> None:
        """Remember a text; the ones longest unused give way."""
        if len(prefix.ids) > self.most_tokens:
            return
        if prefix.ids not in self._known:
            self._tokens += len(prefix.ids)
        self._known[prefix.ids] = prefix
        self._known.move_to_end(prefix.ids)
        while self._tokens > self.most_tokens:
            oldest, _ = self._known.popitem(last=False)
            self._tokens -= len(oldest)

    def find(self, ids: Sequence[int]) -> Prefix | None:
        """What is known of exactly this text, used now."""
        found = self._known.get(tuple(ids))
        if found is None or found.after is None:
            return None
        self._known.move_to_end(found.ids)
        return found

    def start(self, ids: Sequence[int]) -> State | None:
        """A state, one row, that has read the longest known beginning of `ids`, but not all of it."""
        wanted = tuple(ids)
        lengths = {key: min(_common(key, wanted), len(wanted) - 1) for key in self._known}
        for key in sorted(lengths, key=lambda key: lengths[key], reverse=True):
            if lengths[key] == 0:
                return None
            state = self._known[key].state
            state = state.select(torch.zeros_like(state.lengths))  # a fork, of one row
            if lengths[key] == len(key):
                return state
            cut = state.rewind(state.lengths.new_tensor([lengths[key]]))
            if cut is not None:
                return cut
        return None


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """The length of the common beginning."""
    most = min(len(a), len(b))
    return next((i for i in range(most) if a[i] != b[i]), most)
