"""Watching a training run in the terminal: what is trained, a live line on stderr, what was reached; and Ctrl-C that
saves and ends cleanly."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nextword.cli.console import err, out
from nextword.errors import counted

if TYPE_CHECKING:
    from nextword.training.doctor.findings import Finding
    from nextword.training.events import Event, Finished, Sampled
    from nextword.training.session import Session
    from nextword.training.trainer import Trainer

_GIVEN_WIDTH, _SAMPLE_WIDTH = 120, 300
"""Characters of a sample that are shown: of what it goes on from, and of all."""


def introduce(session: Session) -> None:
    """Say what will be trained, on what."""
    from nextword.data.batches import fit
    from nextword.data.mixture import Mixture
    from nextword.tasks.lengths import described
    from nextword.tasks.registry import task_named
    from nextword.text.placeholders import SYMBOLS
    from nextword.training.freezing import num_trainable
    from nextword.training.order import DEFAULT_BPTT

    trainer, counts = session.trainer, session.splits["train"].counts
    settings = trainer.model.config
    total, trained = trainer.model.num_parameters(), num_trainable(trainer.model)
    trained_of = "" if trained == total else f"{trained:,} of "
    if not trainer.position.step:
        for reason in session.sections.get("chosen", ()):
            err.print(reason, markup=False, highlight=False)
    err.print(
        f"{settings.type}, {trained_of}{total:,} parameters{' trained' if trained_of else ''}, {trainer.precision}; "
        f"{session.tokenizer.kind} tokenizer, {session.tokenizer.vocab_size:,} tokens"
    )
    if trained_of and "init" not in session.sections:
        err.print("Note: what is frozen keeps its random values; --init-from gives it those of another run")
    if task := session.sections.get("task"):
        err.print(f"task: {task['name']}" + (f", {' to '.join(task['languages'])}" if task["languages"] else ""))
        if bounds := task.get("length_bounds"):
            err.print(f"lengths: {described(bounds)}")
        if task.get("placeholders") and (hiding := task_named(task["name"]).hiding):
            err.print(f"placeholders: {SYMBOLS[:2]}... stand for {hiding.what} on both sides")
    if init := session.sections.get("init"):
        err.print(f"from {init['from']}: {init['taken']}", markup=False)
    held_out = f", {session.splits['valid'].counts.tokens:,} for validation" if "valid" in session.splits else ""
    err.print(
        f"{counted(counts.tokens, 'token')} in {counted(counts.examples, 'document')} to train on{held_out}; "
        f"batches of {trainer.batches.size}"
    )
    if isinstance(files := session.splits["train"], Mixture):
        err.print("mixture: " + ", ".join(f"{name} {share:.1%}" for name, share in files.shares.items()), markup=False)
    context = trainer.config.context or trainer.model.max_seq_len or DEFAULT_BPTT
    _, _, note = fit(counts.tokens, trainer.config.batch_size, context)
    if note and not trainer.batches.whole_examples:
        err.print(f"Note: {note}")


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
                    err.print(f"  [dim]{escape(_one_line(event.given, event.written))}[/dim]{_copied(event)}")
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


def conclude(session: Session, reason: str, figures: dict[str, Any]) -> None:
    """Say what was reached, and what to do next."""
    from nextword.tasks.registry import task_of

    valid = figures.get("validation")
    reached = (
        f"validation {valid['loss']:.4f} nats/token, perplexity {valid['perplexity']:.2f}, "
        f"{valid['bits_per_byte']:.3f} bits/byte at step {valid['step']:,}"
        if valid
        else "not validated"
    )
    out.print(f"{reason} after {counted(figures['steps'], 'step')}, {figures['seconds']:.0f} s: {reached}")
    if corpora := figures.get("corpora"):
        parts = (f"{name} {read['share']:.1%}, {read['epochs']:.2f} epochs" for name, read in corpora.items())
        out.print(f"read: {'; '.join(parts)}", markup=False)
    folder = shlex.quote(str(session.folder))
    if reason == "interrupted":
        out.print(f"go on with:  nextword train --resume --out {folder}", markup=False)
    else:
        task = task_of(session.sections)
        out.print(f"try it:      nextword {task.command if task else 'generate'} {folder}", markup=False)


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


def _one_line(given: str, written: str) -> str:
    """A sample as a line: nothing in it can drive the terminal. A long source has its beginning and its end."""
    given, written = (
        "".join(c if c.isprintable() else " " for c in one.replace("\n", " ⏎ ")) for one in (given, written)
    )
    if len(given) > _GIVEN_WIDTH:
        given = f"{given[: _GIVEN_WIDTH // 2]} … {given[-_GIVEN_WIDTH // 2 :]}"
    text = given + written
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
