"""What may come next, beyond what is likely: the protocol by which a task or a grammar restricts the next token.

A constraint is one object a row. Before each token it is asked which tokens are allowed; after it, it is told which
one was chosen; a search that goes on in two ways from one row forks it. Knows ids only, no text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor


class Constraint(ABC):
    """Which tokens may come next. `<eos>` is a token like others: allowed where the text may end."""

    @abstractmethod
    def mask(self, room: int) -> Tensor | None:
        """(V,) bool on the CPU, True = allowed; None = everything is.

        `room` is how many tokens may still be generated, this one and a closing `<eos>` included: a constraint that
        must reach an end allows only what can still reach it. Never all False, unless nothing satisfies it.
        """

    @abstractmethod
    def accept(self, token: int) -> None:
        """Move on: `token` was chosen."""

    @abstractmethod
    def fork(self) -> Self:
        """An independent copy, where a search goes on in several ways."""

    def progress(self) -> int:
        """How much of what is required has been said: beam search keeps hypotheses of different progress apart."""
        return 0

    def wanted(self) -> Sequence[int]:
        """Tokens that would make progress now: beam search tries them, however unlikely."""
        return ()


class All(Constraint):
    """Several constraints at once."""

    def __init__(self, parts: Sequence[Constraint]) -> None:
        self.parts = list(parts)

    def mask(self, room: int) -> Tensor | None:
        """What all of them allow."""
        masks = [mask for part in self.parts if (mask := part.mask(room)) is not None]
        return torch.stack(masks).all(0) if masks else None

    def accept(self, token: int) -> None:
        """Tell all."""
        for part in self.parts:
            part.accept(token)

    def fork(self) -> Self:
        """Fork all."""
        return type(self)([part.fork() for part in self.parts])

    def progress(self) -> int:
        """Of all together."""
        return sum(part.progress() for part in self.parts)

    def wanted(self) -> Sequence[int]:
        """What any of them wants."""
        return [token for part in self.parts for token in part.wanted()]
