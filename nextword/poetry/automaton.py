"""A form of verse as an automaton over characters: what may be written next so that the poem can still be finished.

It knows no tokens: `nextword.poetry.constraint` turns what it allows into tokens, for any tokenizer.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol, TypeVar

import numpy as np

State = TypeVar("State", bound=Hashable)


class Automaton(Protocol[State]):
    """Every way through it ends: what it allows leads to a state that allows something, until the poem is finished."""

    alphabet: str
    """The characters that poems are written in, punctuation and line ends included: A of them, none twice, in the
    order of their code points."""

    longest: int
    """Characters of the longest poem."""

    whole: bool
    """Words are tokens of their own, and cannot be spelt: a token may end only where the automaton `rests`."""

    def start(self) -> State:
        """Before the first character."""

    def allowed(self, state: State) -> np.ndarray:
        """(A,) bool: the characters that may come next. None where the poem is finished. Not to be written to."""

    def step(self, state: State, character: str) -> State:
        """The state after a character, which must be allowed."""

    def finished(self, state: State) -> bool:
        """Whether the poem may end here."""

    def rests(self, state: State) -> bool:
        """Whether a token may end here; asked of automata of whole words only."""
