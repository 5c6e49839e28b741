"""How much a chat template may ask for: steps, time, and the size of what it makes, known before memory is taken."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jinja2.runtime import LoopContext

from nextword.errors import TemplateError

ITEM = 16  # what a number, or a place in a list, counts beside the characters of text
DEEPEST = 64  # lists within lists
LARGEST_INT = 4096  # bits


@dataclass(frozen=True)
class Limits:
    """How much a template may ask for. Templates in use need a thousandth of it."""

    source: int = 2**17
    """Characters of the template."""
    size: int = 2**22
    """Characters of the result, and of every value on the way; so also of the conversation."""
    total: int = 2**26
    """Characters of all values made on the way."""
    steps: int = 500_000
    """Expressions evaluated and items walked."""
    seconds: float = 3.0
    """Of the processor: a busy machine makes no template wrong."""


class Budget:
    """What is left of the limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.steps, self.total = limits, limits.steps, limits.total
        self.deadline = time.thread_time() + limits.seconds

    def step(self) -> None:
        """One more expression or item."""
        self.steps -= 1
        if self.steps < 0:
            raise TemplateError(f"it takes more than {self.limits.steps:,} steps")
        if time.thread_time() > self.deadline:
            raise TemplateError(f"it takes more than {self.limits.seconds:g} seconds")

    def room(self, size: int) -> None:
        """Take memory for so many characters. Raises TemplateError if they are too many."""
        self.total -= size
        if size > self.limits.size:
            raise TemplateError(f"it makes a value of more than {self.limits.size:,} characters")
        if self.total < 0:
            raise TemplateError(f"it makes values of more than {self.limits.total:,} characters in all")

    def walk(self, values: Iterable[Any]) -> list[Any]:
        """The items of anything that can be looped over."""
        if isinstance(values, LoopContext):
            raise TypeError("a loop cannot be looped over")
        items = []
        for item in values:
            self.step()
            items.append(item)
        self.room(ITEM * len(items))
        return items

    def keep(self, value: Any) -> Any:
        """A value just made of others, if it is small enough with all that is in it, counted wherever it occurs."""
        if isinstance(value, str):
            self.room(len(value))
        elif isinstance(value, int):
            self.small(value.bit_length())
        elif isinstance(value, list | tuple | dict):
            self.room(ITEM * len(value))
            self.weigh(value)
        return value

    def small(self, bits: int) -> None:
        """Raises TemplateError for a number of too many bits."""
        if bits > LARGEST_INT:
            raise TemplateError(f"it makes a number of more than {LARGEST_INT} bits")

    def weigh(self, value: Any) -> int:
        """The size of a value in characters; what occurs twice counts twice, as it would when printed."""
        total, stack = 0, [(value, 0)]
        while stack:
            value, depth = stack.pop()
            total += ITEM + (len(value) if isinstance(value, str) else 0)
            inside = len(value) if isinstance(value, list | tuple | dict) else 0
            if total + ITEM * inside > self.limits.size:
                raise TemplateError(f"it makes a value of more than {self.limits.size:,} characters")
            if depth > DEEPEST:
                raise TemplateError(f"it nests values more than {DEEPEST} deep")
            if isinstance(value, dict):
                stack += [(key, depth + 1) for key in value]
                value = value.values()
            if inside:
                stack += [(item, depth + 1) for item in value]
        return total
