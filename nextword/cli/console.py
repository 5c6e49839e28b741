"""How the command line talks: results on stdout, everything else on stderr, progress only where somebody watches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

if TYPE_CHECKING:
    from nextword.data.splits import Progress as PrepareProgress

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def show_warnings() -> None:
    """Send what the library logs as warnings to stderr, a line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("Warning: %(message)s"))
    logging.getLogger("nextword").handlers = [handler]


def hush() -> None:
    """Say nothing: another process of this run speaks for all."""
    out.quiet = err.quiet = True
    logging.getLogger("nextword").setLevel(logging.ERROR)


@contextmanager
def progress_bars() -> Iterator[PrepareProgress]:
    """A callback for work on text, as `prepare` calls it: one bar for each stage, with bytes, rate and time left."""
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=err, disable=err.quiet or not err.is_terminal, transient=True) as progress:

        def advance(stage: str, count: int, total: int | None) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total)
            progress.advance(bars[stage], count)

        yield advance


@contextmanager
def counting(label: str, total: int) -> Iterator[Callable[[str], None]]:
    """A callback for work of so many equal pieces: a bar that moves with each call, and says what it is given."""
    columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn()]
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as progress:
        bar = progress.add_task(label, total=total, said="")

        def advance(said: str) -> None:
            progress.update(bar, advance=1, said=said)

        yield advance
