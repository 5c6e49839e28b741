"""The tokens of a running batch, aligned to the right, for the penalties that look back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NONE = -1
"""Stands where a shorter row has no token."""


class History:
    """The ids of R rows in one buffer, the latest of each in the same column: a step appends one column."""

    def __init__(self, device: torch.device) -> None:
        self._ids = torch.full((0, 64), NONE, device=device)
        self._end = 0

    def view(self) -> Tensor:
        """(R, S) ids, the latest last, NONE to the left of shorter rows."""
        return self._ids[:, : self._end]

    def add(self, rows: Sequence[Sequence[int]]) -> None:
        """More rows, below the others."""
        longest = max(map(len, rows))
        if longest > self._end:  # room on the left
            self._ids = torch.nn.functional.pad(self._ids, (longest - self._end, 0), value=NONE)
            self._end = longest
        new = self._ids.new_full((len(rows), self._ids.size(1)), NONE)
        for row, ids in zip(new, rows, strict=True):
            row[self._end - len(ids) : self._end] = torch.tensor(ids)
        self._ids = torch.cat([self._ids, new])

    def select(self, rows: Tensor) -> None:
        """Keep, repeat and reorder rows."""
        self._ids = self._ids[rows]
        if not len(rows):
            self._end = 0

    def append(self, tokens: Tensor) -> None:
        """The next token (R,) of every row."""
        if self._end == self._ids.size(1):
            used = (self._ids != NONE).any(0).int().argmax()  # longer rows may have left since
            self._ids = torch.nn.functional.pad(self._ids[:, used:], (0, self._end), value=NONE)
            self._end -= int(used)
        self._ids[:, self._end] = tokens
        self._end += 1
