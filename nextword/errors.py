"""What can go wrong for a user, and the exit code each kind ends with.

An error names the value, what was expected, and the remedy. It prints as one line: `Error: message. hint`.
Everything that is not a `NextwordError` is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NextwordError(Exception):
    """A mistake or a mishap that the user can do something about. Exit code 1.

    >>> str(NextwordError("runs/x is not a run folder", hint="Train one first: nextword train DATA --out runs/x"))
    'runs/x is not a run folder. Train one first: nextword train DATA --out runs/x'
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message.rstrip('.')}. {self.hint}" if self.hint else self.message


class UsageError(NextwordError):
    """A wrong option, argument or configuration key. Exit code 2."""

    exit_code = 2


class DataError(NextwordError):
    """Text that cannot be read, or that is not what it should be."""


class RunError(NextwordError):
    """A run folder, checkpoint or token file that is missing, damaged or foreign."""


class TemplateError(NextwordError):
    """A chat template that is wrong, asks for too much, or refuses a conversation."""


class TrainingError(NextwordError):
    """Training that cannot go on: a non-finite loss, no data, no disk."""


class MissingExtra(NextwordError):
    """An optional library that this call needs is not installed."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the library {library}, which is not installed",
            hint=f'Install it: pip install "nextword[{extra}]"',
        )
        self.args = (library, extra, purpose)  # what pickle makes it from, on the way between processes


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """The nearest known name as a question, or the known names when nothing is near.

    >>> did_you_mean("hiden_size", ["hidden_size", "num_layers"])
    'Did you mean hidden_size?'
    """
    names = list(known)
    return nearest(wrong, names) or f"Known: {', '.join(names)}"


def nearest(wrong: str, known: list[str]) -> str:
    """The nearest known name as a question; "" when nothing is near."""
    near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else ""


def counted(number: float, noun: str) -> str:
    """So many of something, in words: `noun` names one, and takes an s where there are more or none.

    >>> counted(1, "step"), counted(1200, "step"), counted(0, "reply")
    ('1 step', '1,200 steps', '0 replies')
    """
    shown = f"{number:,.0f}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else f"{noun}s"
    return f"{shown} {noun if shown == '1' else plural}"
