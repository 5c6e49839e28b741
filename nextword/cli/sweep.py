"""`nextword train ... --sweep FILE`: one training after another, with a table and a page of what came out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextword.errors import counted

if TYPE_CHECKING:
    from nextword.text.records import Source
    from nextword.training.events import Event
    from nextword.training.session import Session
    from nextword.training.sweep import Ledger, Trial

Values = Mapping[str, Mapping[str, Any]]
PAGE, DATA = "sweep.html", "data"


def sweep(
    file: Path,
    out: Path,
    values: Values,
    data: Sequence[str],
    *,
    valid: Sequence[str],
    size: str,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Train what is not trained yet, and tell. Returns the exit code: 1 if a trial failed.

    Raises UsageError for a sweep that cannot be, RunError if `out` holds another one.
    """
    from nextword.cli import watch
    from nextword.cli.console import err, progress_bars
    from nextword.config import read_toml
    from nextword.errors import UsageError
    from nextword.text.rereading import rereadable
    from nextword.training.mixing import mixes
    from nextword.training.sweep import Ledger, read_sweep

    try:
        config = read_sweep(read_toml(file))
    except UsageError as error:
        raise UsageError(f"{file}: {error.message}".replace(f"{file}: {file}: ", f"{file}: "), error.hint) from None
    _make_room(out, overwrite)
    base = {"values": values, "data": list(data), "valid": list(valid), "size": size}
    ledger = Ledger(out, config, base | {"init_from": str(options["init_from"] or "")})
    if not options["init_from"]:  # from which the model would come
        _check(ledger, values, size)
    watch.received.clear()
    with rereadable([data, valid]) as (sources, held_out):
        # The tokens of all trials are the same: they are made once. Those of a mixture may be several folders.
        if ledger.measure == "loss" and not mixes(values):
            with progress_bars() as progress:
                sources = [_prepared(ledger, values, sources, held_out, size, progress, options["init_from"])]
            held_out = []
        ledger.write()
        for number, trial in enumerate(ledger.trials, start=1):
            if trial.over:
                continue
            err.print(f"{trial.name} of {len(ledger.trials)}: {_settings(trial)}", markup=False)
            label = f"trial {number} of {len(ledger.trials)}"
            _train(trial, label, ledger, out, values, sources, {"valid": held_out, "size": size} | options)
            ledger.write()
            _draw(ledger, out)
            err.print(f"  {_result(trial, ledger.measure)}", markup=False)
            if watch.received:
                break
    _draw(ledger, out)
    if as_json:
        print((out / ledger.path.name).read_text(encoding="utf-8"), end="")
    else:
        _tell(ledger, out)
    return watch.exit_code() or int(any(trial.status == "failed" for trial in ledger.trials))


def _make_room(out: Path, overwrite: bool) -> None:
    """Make sure that `out` is free or holds a sweep; with `overwrite`, remove that. Raises RunError."""
    from nextword.errors import RunError
    from nextword.training.sweep import LEDGER

    if not out.exists() or {path.name for path in out.iterdir()} <= {DATA}:  # as a process leaves it that was killed
        return
    if not (out / LEDGER).is_file():
        raise RunError(f"{out} holds other things, and no sweep", hint="Give another --out")
    if overwrite:
        (out / LEDGER).unlink()
        (out / PAGE).unlink(missing_ok=True)
        for folder in (*out.glob("trial-[0-9]*"), out / DATA):
            shutil.rmtree(folder, ignore_errors=True)


def _check(ledger: Ledger, values: Values, size: str) -> None:
    """Raises UsageError if no trial has settings that can be: then it is not the sweep that is wrong."""
    from nextword.errors import UsageError
    from nextword.training.recipe import complete
    from nextword.training.sweep import applied

    for trial in ledger.trials:
        try:
            complete(applied(values, trial.settings), "", size)
            return
        except UsageError as error:
            wrong = error
    raise wrong


def _prepared(
    ledger: Ledger,
    values: Values,
    sources: Sequence[Source],
    valid: Sequence[Source],
    size: str,
    progress: Any,
    init_from: Path | None,
) -> Path:
    """The text as ids, made once for all trials; a folder that was prepared already, as it is.

    Raises RunError if the text has changed since the first trials, which cannot be compared with others then.
    """
    from nextword.checkpoint import load_run
    from nextword.data.prepare import is_prepared, open_prepared, prepare
    from nextword.errors import RunError, UsageError
    from nextword.training.settling import settle

    folder = ledger.path.parent / DATA
    if len(sources) == 1 and isinstance(sources[0], str | Path) and is_prepared(sources[0]):
        if valid:
            message = f"{sources[0]} is prepared already: --valid comes too late"
            raise UsageError(message, hint="Give it to nextword data prepare")
        return Path(sources[0])
    if ledger.path.exists() and is_prepared(folder):
        try:
            open_prepared(folder)["train"].check_sources()
        except RunError as error:
            raise RunError(error.message, hint="Give another --out, or begin anew by --overwrite") from None
        return folder
    recipe = settle(values, sources, size)
    keeps = init_from is not None and "tokenizer" not in values
    tokenizer = load_run(init_from).tokenizer if keeps and init_from else recipe.tokenizer
    prepare(sources, folder, tokenizer, valid_sources=valid, read=recipe.data, split=recipe.split, progress=progress)
    return folder


def _train(
    trial: Trial,
    label: str,
    ledger: Ledger,
    out: Path,
    values: Values,
    sources: Sequence[Source],
    options: Mapping[str, Any],
) -> None:
    """Train one trial to its end, or go on with it, and put down in it what became of it."""
    from nextword.cli import watch
    from nextword.errors import NextwordError

    watch.received.clear()
    trial.error = ""
    try:
        session = _session(trial, out / trial.name, values, sources, options)
        finished = watch.train(session, label, quiet=True, heard=lambda event: _heard(event, trial, ledger, session))
        trial.figures = watch.finish(session)
    except (NextwordError, RuntimeError, MemoryError) as error:  # torch's word for no more memory is a RuntimeError
        trial.status, trial.error = "failed", str(error) or type(error).__name__
        return
    if finished.reason != "interrupted":
        trial.status = "finished"
        if "validation" not in trial.figures:
            trial.status, trial.error = "failed", "there is no validation text to compare it by"
    else:
        trial.status = "interrupted" if watch.received else "stopped"


def _session(
    trial: Trial, folder: Path, values: Values, sources: Sequence[Source], options: Mapping[str, Any]
) -> Session:
    from nextword.training import resume
    from nextword.training.new_run import new_run
    from nextword.training.session import resume_run
    from nextword.training.sweep import applied

    started = time.monotonic()
    if resume.checkpoints(folder):
        return resume_run(folder, device=options["device"], started=started)
    trial.curve.clear()
    settings = applied(values, trial.settings)
    return new_run(settings, sources, folder, overwrite=True, started=started, **options)


def _heard(event: Event, trial: Trial, ledger: Ledger, session: Session) -> None:
    """Note an evaluation, and end a trial that is hopeless."""
    from nextword.training.events import Evaluated

    if isinstance(event, Evaluated):
        trial.curve.append((round(session.trainer.clock.progress, 4), event.result.loss))
        if ledger.hopeless(trial.curve):
            session.trainer.interrupt()


def _draw(ledger: Ledger, out: Path) -> None:
    from nextword.report.sweep import write_sweep
    from nextword.training.sweep import Range, choices

    varied = choices(ledger.config)
    logarithmic = {key for key, choice in varied.items() if isinstance(choice, Range) and choice.log}
    write_sweep(out / PAGE, out.resolve().name, ledger.ranked(), list(varied), logarithmic, ledger.measure)


def _settings(trial: Trial) -> str:
    return ", ".join(f"{key} = {value}" for key, value in trial.settings.items())


def _result(trial: Trial, measure: str) -> str:
    if trial.status == "failed":
        return f"failed: {trial.error}"
    name = "bits/byte" if measure == "bits_per_byte" else "nats/token"
    said = f"{trial.figure(measure):.4f} {name}" if "validation" in trial.figures else "not validated yet"
    return said if trial.status == "finished" else f"{trial.status}: {said}"


def short_names(keys: Sequence[str]) -> list[str]:
    """Settings without their section, where no other has the same name.

    >>> short_names(["train.steps", "model.type", "tokenizer.type"])
    ['steps', 'model.type', 'tokenizer.type']
    """
    last = [key.split(".")[-1] for key in keys]
    return [name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)]


def _tell(ledger: Ledger, out: Path) -> None:
    """The table, the best first, and what to do next."""
    import shlex

    from rich.markup import escape
    from rich.table import Table

    from nextword.cli.console import out as console
    from nextword.report.svg import duration

    keys = list(ledger.trials[0].settings)
    table = Table("trial", *short_names(keys), "nats/token", "bits/byte", "steps", "time", "")
    for column in table.columns:
        column.justify = "left" if column in (table.columns[0], table.columns[-1]) else "right"
        column.overflow = "fold"  # nothing is cut off where the terminal is narrow
    for column in (table.columns[0], *table.columns[1 + len(keys) :]):
        column.no_wrap = True
    for trial in ledger.ranked():
        valid = trial.figures.get("validation", {})
        table.add_row(
            trial.name,
            *(escape(str(trial.settings[key])) for key in keys),
            *(f"{valid[name]:.4f}" if name in valid else "–" for name in ("loss", "bits_per_byte")),
            f"{trial.figures['steps']:,}" if trial.figures else "–",
            duration(trial.figures["seconds"]) if trial.figures else "–",
            trial.status.replace("finished", "") if trial.status else "to do",
        )
    console.print(table)
    for trial in ledger.trials:
        if trial.status == "failed":
            console.print(f"{trial.name} failed: {trial.error}", markup=False)
    waiting = sum(not trial.over for trial in ledger.trials if trial.status != "failed")
    if waiting:
        console.print(f"still to be trained: {counted(waiting, 'trial')}; the same command goes on")
    best = ledger.ranked()[0]
    if "validation" in best.figures:
        console.print(f"best:        {shlex.quote(str(out / best.name))}", markup=False)
    console.print(f"page:        {shlex.quote(str(out / PAGE))}", markup=False)
