"""The training report: loss curves of one or more runs and all that is told of them, on one offline page.

Every choice of axes is drawn here, for wide and for narrow screens; the page's script only shows one drawing
and reads out its points.
Knows nothing of models: it is given what a run logged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from nextword.errors import UsageError
from nextword.report.page import standalone, write_page
from nextword.report.runs import RunSummary, configuration, filled, lead, number, runs_table, samples
from nextword.report.svg import Line, Ticks, escape, plot, shorten, step_ticks, time_ticks

__all__ = ["RunSummary", "loss_plot_svg", "write_report"]

MAX_POINTS = 800  # of one line: about one for each pixel across

# Step, seconds, tokens, nats per token, bits per byte; NaN: unknown.
Row = tuple[float, float, float, float, float]
Curves = Sequence[tuple[RunSummary, str, list[Row]]]  # run, split, rows

X_AXES: dict[str, tuple[int, str, Ticks]] = {
    "steps": (0, "steps", step_ticks),
    "time": (1, "training time", time_ticks),
    "tokens": (2, "tokens", step_ticks),
}
Y_AXES = {"nats": (3, "nats per token"), "bits": (4, "bits per byte")}


def write_report(runs: Sequence[RunSummary], out: Path) -> None:
    """Write one HTML page that works from file://. Raises UsageError if there is no run."""
    if not runs:
        raise UsageError("no run to report on", hint="Name one or more folders written by nextword train")
    curves = [(run, split, rows) for run in runs for split, rows in _curves(run.metrics).items()]
    names = [run.name for run in runs]
    write_page(
        out,
        "curves",
        data=_data(curves),
        title=escape(" · ".join(names) if len(names) < 4 else f"{len(names)} runs compared"),
        lead=lead(runs),
        choices=_choices(curves),
        charts=_charts(runs, curves),
        caption=_caption(runs, curves),
        runs_heading="Figures" if len(runs) == 1 else "Runs",
        runs=runs_table(runs),
        configuration=configuration(runs),
        samples=samples(runs),
    )


def loss_plot_svg(metrics: list[dict[str, Any]]) -> str:
    """The loss of one run over its steps as a stand-alone SVG file, readable on light and dark pages."""
    run = RunSummary("", Path(), metrics)
    curves = [(run, split, rows) for split, rows in _curves(metrics).items()]
    drawing = _chart([run], curves, "steps", "nats", "wide", 860, 400)
    return standalone(drawing, 860, 400)


def _curves(metrics: list[dict[str, Any]]) -> dict[str, list[Row]]:
    """The rows to draw of each split, thinned; a split without any finite loss is left out.

    Where a line lacks its time or token count, those of its neighbours stand in. Where it lacks bits per
    byte, they are taken as proportional to the loss, as on the last line that has both.
    """
    metrics = sorted((line for line in metrics if "loss" in line), key=lambda line: line["step"])
    seconds, tokens = filled(metrics, "wall_time"), filled(metrics, "tokens")
    known = [number(line, "bits_per_byte") / number(line, "loss") for line in metrics if number(line, "loss")]
    ratio = next((value for value in reversed(known) if math.isfinite(value)), math.nan)
    curves: dict[str, list[Row]] = {"valid": [], "train": []}
    for line, second, token in zip(metrics, seconds, tokens, strict=True):
        loss, bits = number(line, "loss"), number(line, "bits_per_byte")
        row = (float(line["step"]), second, token, loss, bits if math.isfinite(bits) else loss * ratio)
        curves.setdefault(str(line.get("split", "train")), []).append(row)
    return {split: thin(rows) for split, rows in curves.items() if any(math.isfinite(row[3]) for row in rows)}


def thin(rows: list[Row], limit: int = MAX_POINTS) -> list[Row]:
    """At most `limit` rows that draw the same line: of each stretch its lowest, its highest and one gap.

    The first and the last row always stay.
    """
    if len(rows) <= limit:
        return rows
    size = math.ceil(len(rows) / ((limit - 2) // 3))
    kept = {0, len(rows) - 1}
    for start in range(0, len(rows), size):
        stretch = range(start, min(start + size, len(rows)))
        finite = [i for i in stretch if math.isfinite(rows[i][3])]
        if finite:
            kept |= {min(finite, key=lambda i: rows[i][3]), max(finite, key=lambda i: rows[i][3])}
        kept |= set([i for i in stretch if not math.isfinite(rows[i][3])][:1])
    return [rows[i] for i in sorted(kept)]


def _offered(curves: Curves) -> list[tuple[str, str]]:
    """The pairs of axes that some run has numbers for."""
    return [
        (x, y)
        for x, y in product(X_AXES, Y_AXES)
        if any(math.isfinite(row[X_AXES[x][0]] + row[Y_AXES[y][0]]) for _, _, rows in curves for row in rows)
    ]


def _choices(curves: Curves) -> str:
    offered = _offered(curves)
    groups = []
    for axis, names in (
        ("x", dict.fromkeys(x for x, _ in offered)),
        ("y", dict.fromkeys(y for _, y in offered)),
    ):
        labels = {name: X_AXES[name][1] if axis == "x" else Y_AXES[name][1] for name in names}
        buttons = [f'<button data-axis="{axis}" value="{name}">{text}</button>' for name, text in labels.items()]
        groups.append(f'<div role="group" aria-label="{axis} axis">{"".join(buttons)}</div>')
    return "".join(groups) if offered else ""


def _charts(runs: Sequence[RunSummary], curves: Curves) -> str:
    """A figure for every pair of axes, in two shapes; all but the first hidden."""
    figures: list[str] = []
    for x, y in _offered(curves):
        drawings = _chart(runs, curves, x, y, "wide", 860, 400) + _chart(runs, curves, x, y, "narrow", 400, 340)
        hidden = " hidden" if figures else ""
        figures.append(f'<figure data-x="{x}" data-y="{y}"{hidden}>{drawings}</figure>')
    return "\n".join(figures) or "<p>No loss has been logged yet.</p>"


def _chart(runs: Sequence[RunSummary], curves: Curves, x: str, y: str, shape: str, width: int, height: int) -> str:
    """One chart. Of one run both lines are named; of several only the bold one, by the run's name."""
    (x_column, x_label, ticks), (y_column, y_label) = X_AXES[x], Y_AXES[y]
    with_valid = {id(run) for run, split, _ in curves if split == "valid"}
    lines = []
    for run, split, rows in curves:
        thin = split == "train" and id(run) in with_valid
        name = split if len(runs) == 1 else "" if thin else shorten(run.name, width // 40)
        ends = [row[y_column] for row in rows if math.isfinite(row[x_column] + row[y_column])]
        colour = int(thin) if len(runs) == 1 else next(i for i, other in enumerate(runs) if other is run)
        points = [(row[x_column], row[y_column]) for row in rows] if ends else []
        lines.append(Line(points, f"{name} {ends[-1]:.3f}" if name and ends else "", colour, thin))
    return plot(lines, x_label=x_label, y_label=y_label, x_ticks=ticks, shape=shape, width=width, height=height)


def _data(curves: Curves) -> list[dict[str, Any]]:
    """The rows behind the paths, for the script."""
    return [
        {
            "label": f"{run.name} · {split}",
            "rows": [
                [round(value, 4) if math.isfinite(value) else None for value in row]
                for row in rows
                if math.isfinite(row[3])
            ],
        }
        for run, split, rows in curves
    ]


def _caption(runs: Sequence[RunSummary], curves: Curves) -> str:
    notes = []
    if any(split == "valid" for _, split, _ in curves) and any(split == "train" for _, split, _ in curves):
        notes.append("Bold: validation. Thin: the batches being trained on.")
    if any(math.isfinite(row[4]) for _, _, rows in curves for row in rows):
        notes.append("Bits per byte compare models with different vocabularies; nats per token do not.")
    for run in runs:
        lost = [line["step"] for line in run.metrics if "loss" in line and not math.isfinite(number(line, "loss"))]
        if lost:
            notes.append(f"{run.name}: the loss was not finite at step {lost[0]:,} ({len(lost):,} such lines).")
    return escape(" ".join(notes))
