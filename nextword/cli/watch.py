"""Watching a training run in the terminal: a live line on stderr, and Ctrl-C that saves and ends cleanly."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nextword.cli.console import err
from nextword.errors import counted

if TYPE_CHECKING:
    from nextword.training.doctor.findings import Finding
    from nextword.training.events import Event, Finished, Sampled
    from nextword.training.session import Session
    from nextword.training.trainer import Trainer

_SAMPLE_WIDTH = 300


def train(
    session: Session,
    label: str = "training",
    *,
    quiet: bool = False,
    heard: Callable[[Event], object] = lambda event: None,
) -> Finished:
    """Run a session to its end, drawing what happens. Ctrl-C or SIGTERM saves and ends it.

    `quiet`: evaluations and what the doctor finds are not printed. `heard` is called with each event.
    """
    from nextword.training.doctor.attend import Doctor
    from nextword.training.events import Advised, Compiling, Evaluated, Finished, Sampled, Step

    columns = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[numbers]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    ]
    finished: Finished | None = None
    doctor = Doctor(session) if session.trainer.world.leads else None
    for finding in doctor.findings if doctor and not quiet else ():
        _advise(finding)
    with (
        _stoppable(session.trainer),
        Progress(*columns, console=err, disable=err.quiet or not err.is_terminal, transient=True) as progress,
    ):
        bar = progress.add_task(label, total=1.0, numbers="")
        for event in doctor.attend() if doctor else session.trainer.run():
            heard(event)
            match event:
                case Step():
                    numbers = f"step {event.step:,}  loss {event.loss:.3f}  {event.tokens_per_s:,.0f} tokens/s"
                    progress.update(bar, completed=event.progress, numbers=numbers)
                case Compiling():
                    progress.update(bar, numbers="compiling the layers: half a minute, then it goes faster")
                case Evaluated(result=result) if not quiet:
                    mark = "  best" if event.best else ""
                    err.print(
                        f"step {event.step:>7,}  validation {result.loss:.4f} nats/token  "
                        f"{result.bits_per_byte:.3f} bits/byte{mark}"
                    )
                    for name, part in result.parts.items():
                        err.print(
                            f"{name:>12}  validation {part.loss:.4f} nats/token  {part.bits_per_byte:.3f} bits/byte",
                            markup=False,
                        )
                case Sampled():
                    err.print(f"  [dim]{escape(_one_line(event.text))}[/dim]{_copied(event)}")
                case Advised(finding=finding) if not quiet:
                    _advise(finding)
                case Finished():
                    finished = event
    assert finished is not None
    return finished


def finish(session: Session) -> dict[str, Any]:
    """Write down what the run reached, and draw its loss. Returns the figures."""
    from nextword.files import write_text
    from nextword.report.curves import loss_plot_svg
    from nextword.training.logs import METRICS, read_metrics

    figures = session.finish()
    if session.trainer.world.leads:
        write_text(session.folder / "loss.svg", loss_plot_svg(read_metrics(session.folder / METRICS)))
    return figures


def _advise(finding: Finding) -> None:
    """A line for a warning; notes are for `nextword doctor` and the report."""
    if finding.severity == "warning":
        err.print(f"[bold yellow]Doctor:[/bold yellow] {escape(finding.line)}")


def _copied(event: Sampled) -> str:
    """How much of a sample stands in the training text."""
    copied = event.copied
    if copied is None or not copied.tokens:
        return ""
    return f"  [dim]({copied.share:.0%} copied, {counted(copied.longest, 'token')} at most at a time)[/dim]"


def _one_line(text: str) -> str:
    """A sample as a line: nothing in it can drive the terminal."""
    text = "".join(c if c.isprintable() else " " for c in text.replace("\n", " ⏎ "))
    return text if len(text) <= _SAMPLE_WIDTH else text[:_SAMPLE_WIDTH] + " …"


received: dict[str, int] = {}
"""The signal that ended the last run, if one did."""


@contextmanager
def _stoppable(trainer: Trainer) -> Iterator[None]:
    """SIGINT and SIGTERM ask the trainer to save and stop; a second one ends the process at once, unsaved."""
    received.clear()

    def stop(number: int, frame: FrameType | None) -> None:
        if received:
            sys.exit(128 + number)
        received["signal"] = number
        trainer.interrupt()
        if err.quiet:
            return
        with suppress(OSError):  # past sys.stderr: the signal may have come amid a print, which cannot be entered twice
            os.write(2, b"\nsaving, then stopping; once more to quit at once\n")

    before: dict[int, Any] = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code() -> int:
    """130 after Ctrl-C, 143 after SIGTERM, 0 otherwise."""
    return 128 + received["signal"] if received else 0
