"""`nextword runs` lists trained runs with their figures; `nextword report` draws one or more of them as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nextword.cli.options import Json

if TYPE_CHECKING:
    from nextword.report.runs import RunSummary


def runs(
    folder: Annotated[Path, typer.Argument(help="Where to look, at any depth.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List the runs in a folder, the lowest bits per byte first. Compare only those on the same text.

    Example: nextword runs
    """
    from nextword.errors import RunError, UsageError
    from nextword.report.summary import read_summary

    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", hint="Name the one that holds your runs")
    found: list[RunSummary] = []
    for path in sorted(folder.rglob("config.json")):
        try:
            found.append(read_summary(path.parent, str(path.parent)))
        except RunError:  # another program's config.json
            continue
    if not found:
        raise UsageError(f"there is no run in {folder}", hint=f"Train one: nextword train DATA --out {folder}/NAME")
    found.sort(key=lambda run: run.figures.get("bits_per_byte") or float("inf"))
    if as_json:
        print(json.dumps([_as_dict(run) for run in found], ensure_ascii=False, indent=2))
    else:
        _print_table(found)


def report(
    run: Annotated[list[Path], typer.Argument(help="Folders written by nextword train.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Page to write; left out: report.html in the first run.")] = None,
) -> None:
    """Draw runs as one HTML page that works offline: curves, figures, configuration, samples.

    Example: nextword report runs/book runs/verse --out compare.html
    """
    from nextword.report.curves import write_report
    from nextword.report.summary import read_summary

    page = out or run[0] / "report.html"
    write_report([read_summary(folder, folder.resolve().name) for folder in run], page)
    print(page)


def _as_dict(run: RunSummary) -> dict[str, Any]:
    return {"run": str(run.folder), "model": run.config["model"]["type"], "text": run.text} | run.figures


def _print_table(found: list[RunSummary]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from nextword.cli.console import out as console
    from nextword.report.runs import FIGURES, MISSING

    table = Table("run", "model", "tokenizer", *(label for label, _ in FIGURES.values()), "text")
    for column in table.columns[3:-1]:
        column.justify = "right"
    for run in found:
        cells = [
            MISSING if run.figures.get(key) is None else show(run.figures[key]) for key, (_, show) in FIGURES.items()
        ]
        kinds = run.config["model"]["type"], run.config["tokenizer"]["type"]
        table.add_row(escape(str(run.folder)), *kinds, *cells, escape(run.text))
    console.print(table)
