"""The page of a sweep: its trials in a table, the best first, and the loss against each setting that was varied.

Knows nothing of models or training: it is given what each trial was set to, and what it reached.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextword.report.page import write_page
from nextword.report.rates import decades
from nextword.report.runs import MISSING
from nextword.report.svg import Line, Ticks, duration, escape, number_ticks, plot, step_ticks

if TYPE_CHECKING:
    from nextword.training.sweep import Trial

MEASURES = {"loss": "nats per token", "bits_per_byte": "bits per byte"}
WIDE = 20  # times the least of a setting's values is the greatest: from here on, its axis is logarithmic


def write_sweep(
    out: Path, name: str, trials: Sequence[Trial], keys: Sequence[str], logarithmic: Collection[str], measure: str
) -> None:
    """Write the page of `trials`, the best first; `keys` are the settings that were varied."""
    write_page(
        out,
        "sweep",
        data={},
        title=escape(name),
        lead=escape(_lead(trials, keys, measure)),
        charts="".join(_chart(trials, key, key in logarithmic, measure) for key in keys),
        head="".join(f"<th>{escape(head)}</th>" for head in ("trial", *keys, *MEASURES.values(), "steps", "time", "")),
        rows="".join(_row(trial, keys, place) for place, trial in enumerate(trials)),
    )


def _lead(trials: Sequence[Trial], keys: Sequence[str], measure: str) -> str:
    done = [trial for trial in trials if math.isfinite(trial.figure(measure))]
    so_far = "" if len(done) == len(trials) else f"{len(done)} of {len(trials)} trials have a result. "
    if not done:
        return so_far or "No trial."
    settings = ", ".join(f"{key} = {_text(done[0].settings[key])}" for key in keys)
    return f"{so_far}{done[0].name} came lowest, {done[0].figure(measure):.4f} {MEASURES[measure]}: {settings}."


def _chart(trials: Sequence[Trial], key: str, logarithmic: bool, measure: str) -> str:
    """A dot for each trial, the best one in a colour of its own; a setting that is no number has a place a value."""
    done = [trial for trial in trials if math.isfinite(trial.figure(measure))]
    if not done:
        return ""
    values = [trial.settings[key] for trial in sorted(trials, key=lambda trial: trial.name)]
    place, ticks = _axis(values, logarithmic)
    lines = [
        Line([(place(trial.settings[key]), trial.figure(measure))], "", int(trial is done[0]))
        for trial in reversed(done)
    ]
    places = [place(value) for value in values]
    air = 0.06 * (max(places) - min(places)) or 0.5
    drawing = plot(
        lines,
        x_label=key,
        y_label=MEASURES[measure],
        x_ticks=ticks,
        width=420,
        height=280,
        shape="dots",
        x_range=(min(places) - air, max(places) + air),
    )
    return f"<figure>{drawing}</figure>"


def _axis(values: Sequence[Any], logarithmic: bool) -> tuple[Callable[[Any], float], Ticks]:
    """Where a value lies on an axis, and the axis's ticks."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        names = list(dict.fromkeys(_text(value) for value in values))
        return lambda value: float(names.index(_text(value))), lambda *_: list(enumerate(names))
    low, high = min(values), max(values)
    if low > 0 and (logarithmic or high > WIDE * low):
        powers = decades(0.0, math.log10(low), math.log10(high))
        ends = [(math.log10(value), f"{value:g}") for value in (low, high)]
        return math.log10, lambda *_: powers if len(powers) > 1 else ends
    return float, step_ticks if all(isinstance(value, int) for value in values) else number_ticks


def _row(trial: Trial, keys: Sequence[str], place: int) -> str:
    valid = trial.figures.get("validation", {})
    cells = [_cell(_text(trial.settings[key]), trial.settings[key]) for key in keys]
    cells += [_cell(f"{valid[name]:.4f}" if name in valid else MISSING, valid.get(name)) for name in MEASURES]
    steps, seconds = trial.figures.get("steps"), trial.figures.get("seconds")
    cells.append(_cell(MISSING if steps is None else f"{steps:,}", steps))
    cells.append(_cell(MISSING if seconds is None else duration(seconds), seconds))
    said = trial.error or ("" if trial.status == "finished" else trial.status or "to do")
    best = ' class="best"' if place == 0 and valid else ""
    return f'<tr{best}><th>{escape(trial.name)}</th>{"".join(cells)}<td class="said">{escape(said)}</td></tr>'


def _cell(text: str, value: Any) -> str:
    """A cell, and what it is sorted by."""
    by = "" if value is None else value if isinstance(value, int | float) else _text(value)
    return f'<td data-by="{escape(by)}">{escape(text)}</td>'


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
