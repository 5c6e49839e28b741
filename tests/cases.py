"""Which cases of a matrix run each time; the others are for `make test-slow`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import pytest


def rarely(*case: Any) -> Any:
    """A case for `make test-slow`."""
    return pytest.param(*case, marks=pytest.mark.slow)


def often(cases: Iterable[tuple[Any, ...]], chosen: Callable[..., bool]) -> list[Any]:
    """All cases; those that are not chosen run rarely."""
    return [case if chosen(*case) else rarely(*case) for case in cases]


def pairwise(*settings: Iterable[Any]) -> list[Any]:
    """Every combination of three settings or more, of two choices or more; half of them often, in which any two choices
    meet."""
    chosen = {
        tuple(value for _, value in case)
        for case in product(*(enumerate(choices) for choices in settings))
        if sum(place for place, _ in case) % 2 == 0
    }
    return often(product(*settings), lambda *case: case in chosen)
