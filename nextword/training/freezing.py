"""Freezing: parameters that keep the values they have, chosen by name.

A frozen parameter gets no gradient and no optimizer state, and below the lowest one that is trained nothing is kept
for the backward pass.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase

from nextword.errors import UsageError
from nextword.models.base import LanguageModel


def freeze(model: LanguageModel, patterns: Iterable[str]) -> None:
    """Freeze the parameters that match a pattern: a name, the name of a module above, or a glob for either.

    The name of a tied output layer means the weights that it shares. Raises UsageError for a pattern that matches
    nothing, and if nothing is left to train.

    >>> freeze(model, ["embedding", "blocks.0", "*.bias"])                 # doctest: +SKIP
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for pattern in patterns:
        matching = [name for name in parameters if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")]
        if not matching:
            raise UsageError(
                f"train.freeze: {pattern!r} matches no parameter of this model", hint=_near(model, pattern)
            )
        for name in matching:
            parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise UsageError("train.freeze: nothing is left to train", hint="Freeze less")


def num_trainable(model: LanguageModel) -> int:
    """Number of values that are not frozen; tied weights count once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _near(model: LanguageModel, pattern: str) -> str:
    """The names most like `pattern`; the parts of the model where none is."""
    parameters = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    names = dict.fromkeys(".".join(parts[:n]) for parts in (p.split(".") for p in parameters) for n in range(1, 9))
    near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Its parts: {', '.join(dict.fromkeys(name.split('.')[0] for name in parameters))}"
