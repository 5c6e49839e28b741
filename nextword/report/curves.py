"""The training report: loss curves of one or more runs and all that is told of them, on one offline page.

Below the loss stand small charts of what else was logged: learning rate, gradient, speed, copied text.
Every choice of axes is drawn here, for wide and for narrow screens; the page's script only shows one drawing
and reads out its points.
Knows nothing of models: it is given what a run logged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from nextword.errors import UsageError, counted
from nextword.report.health import data, environment, findings
from nextword.report.page import standalone, write_page
from nextword.report.runs import RunSummary, configuration, filled, lead, number, runs_table, samples
from nextword.report.svg import Line, Ticks, escape, plot, shorten, step_ticks, time_ticks

__all__ = ["RunSummary", "loss_plot_svg", "write_report"]

MAX_POINTS = 800  # of one line: about one for each pixel across

# Step, seconds, tokens, nats per token, bits per byte; NaN: unknown.
Row = tuple[float, float, float, float, float]
R = TypeVar("R", bound=tuple[float, ...])
Small = dict[str, list[tuple[int, list[tuple[float, float]]]]]  # key -> (index of the run, (step, value) of its line)
Curves = Sequence[tuple[RunSummary, str, list[Row]]]  # run, split, rows

X_AXES: dict[str, tuple[int, str, Ticks]] = {
    "steps": (0, "steps", step_ticks),
    "time": (1, "training time", time_ticks),
    "tokens": (2, "tokens", step_ticks),
}
SMALL = {"lr": "learning rate", "grad_norm": "gradient norm", "tokens_per_s": "tokens per second",
         "copied": "share of the sample copied from the training text"}  # fmt: skip
"""Keys of metrics.jsonl that get a small chart each, over the steps."""
Y_AXES = {"nats": (3, "nats per token"), "bits": (4, "bits per byte")}


def write_report(runs: Sequence[RunSummary], out: Path) -> None:
    """Write one HTML page that works from file://. Raises UsageError if there is no run."""
    if not runs:
        raise UsageError("no run to report on", hint="Name one or more folders written by nextword train")
    curves = [(run, split, rows) for run in runs for split, rows in _curves(run.metrics).items()]
    names = [run.name for run in runs]
    small = _small_lines(runs)
    write_page(
        out,
        "curves",
        data=_data(curves) + _small_data(runs, small),
        title=escape(" · ".join(names) if len(names) < 4 else f"{len(names)} runs compared"),
        lead=lead(runs),
        choices=_choices(curves),
        charts=_charts(runs, curves),
        caption=_caption(runs, curves),
        small=_small_charts(runs, small, first=len(curves)),
        findings=findings(runs),
        corpus=data(runs),
        environment=environment(runs),
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


def thin(rows: list[R], limit: int = MAX_POINTS, column: int = 3) -> list[R]:
    """At most `limit` rows that draw the same line: of each stretch its lowest in `column`, its highest and one gap.

    The first and the last row always stay.
    """
    if len(rows) <= limit:
        return rows
    size = math.ceil(len(rows) / ((limit - 2) // 3))
    kept = {0, len(rows) - 1}
    for start in range(0, len(rows), size):
        stretch = range(start, min(start + size, len(rows)))
        finite = [i for i in stretch if math.isfinite(rows[i][column])]
        if finite:
            kept |= {min(finite, key=lambda i: rows[i][column]), max(finite, key=lambda i: rows[i][column])}
        kept |= set([i for i in stretch if not math.isfinite(rows[i][column])][:1])
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


def _small_lines(runs: Sequence[RunSummary]) -> Small:
    """What there is to draw of each key of SMALL; a key that no run has is left out."""
    lines: Small = {key: [] for key in SMALL}
    for key, index in product(SMALL, range(len(runs))):
        rows = [(float(line["step"]), number(line, key)) for line in runs[index].metrics if key in line]
        if any(math.isfinite(value) for _, value in rows):
            lines[key].append((index, thin(rows, MAX_POINTS // 2, column=1)))
    return {key: found for key, found in lines.items() if found}


def _small_data(runs: Sequence[RunSummary], small: Small) -> list[dict[str, Any]]:
    return [
        {
            "label": f"{runs[index].name} · {SMALL[key]}",
            "rows": [[step, float(f"{value:.4g}")] for step, value in rows if math.isfinite(value)],
        }
        for key, found in small.items()
        for index, rows in found
    ]


def _small_charts(runs: Sequence[RunSummary], small: Small, first: int) -> str:
    """A chart for each key, in the colours of the runs, all over the same steps."""
    figures = []
    for key, found in small.items():
        lines = [Line(list(rows), "", index) for index, rows in found]
        drawing = plot(
            lines,
            x_label="steps",
            y_label=SMALL[key],
            x_ticks=step_ticks,
            width=420,
            height=230,
            first=first,
            from_zero=0.1 if key == "copied" else 0.0,
        )
        figures.append(f'<figure class="small">{drawing}</figure>')
        first += len(lines)
    return f'<section id="small" aria-label="Other curves">{"".join(figures)}</section>' if figures else ""


def _caption(runs: Sequence[RunSummary], curves: Curves) -> str:
    notes = []
    if any(split == "valid" for _, split, _ in curves) and any(split == "train" for _, split, _ in curves):
        notes.append("Bold: validation. Thin: the batches being trained on.")
    if any(math.isfinite(row[4]) for _, _, rows in curves for row in rows):
        notes.append("Bits per byte compare models with different vocabularies; nats per token do not.")
    for run in runs:
        lost = [line["step"] for line in run.metrics if "loss" in line and not math.isfinite(number(line, "loss"))]
        if lost:
            notes.append(
                f"{run.name}: the loss was not finite at step {lost[0]:,} ({counted(len(lost), 'such line')})."
            )
    return escape(" ".join(notes))
