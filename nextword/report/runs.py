"""What a report tells of runs in words and tables: figures, configuration, samples (`health` has the rest).

Draws nothing; every function gives HTML with all text escaped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nextword.report.svg import COLOURS, duration, escape, short

MISSING = "–"
MAX_SAMPLES = 12  # of one run, spread over its steps

FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "parameters": ("parameters", lambda value: f"{value:,.0f}"),
    "valid_loss": ("nats per token", lambda value: f"{value:.4f}"),
    "bits_per_byte": ("bits per byte", lambda value: f"{value:.4f}"),
    "tokens_per_s": ("tokens/s", lambda value: f"{value:,.0f}"),
    "steps": ("steps", lambda value: f"{value:,.0f}"),
    "seconds": ("time", duration),
}
LOWER_IS_BETTER = ("valid_loss", "bits_per_byte")


@dataclass
class RunSummary:
    """What the report shows of one run."""

    name: str
    folder: Path
    metrics: list[dict[str, Any]]
    """Lines of metrics.jsonl, as `training.logs.read_metrics` gives them."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """Lines of samples.jsonl: step and text."""
    figures: dict[str, Any] = field(default_factory=dict)
    """Keys of FIGURES (those left out are taken from the metrics if they are there), or any others."""
    config: dict[str, Any] = field(default_factory=dict)
    """The configuration, nested as in its TOML file."""
    text: str = ""
    """What it was trained on. Only runs on the same text are compared with each other."""
    findings: list[dict[str, Any]] | None = None
    """What the doctor found, the worst first; None: it was not asked."""
    corpus: dict[str, Any] = field(default_factory=dict)
    """Numbers of the data: `training.doctor.corpus.Corpus`."""
    environment: dict[str, Any] = field(default_factory=dict)
    """Where it was trained."""


def figures(run: RunSummary) -> dict[str, Any]:
    """What is known of a run: the figures given, and those that its metrics tell."""
    figures = dict.fromkeys(FIGURES) | run.figures
    lines = [line for line in run.metrics if math.isfinite(number(line, "loss"))]
    valid = [line for line in lines if line.get("split") == "valid"]
    speeds = sorted(s for s in (number(line, "tokens_per_s") for line in lines) if math.isfinite(s))
    found: dict[str, Any] = {}
    if valid:
        best = min(valid, key=lambda line: line["loss"])
        found |= {"valid_loss": best["loss"], "bits_per_byte": best.get("bits_per_byte")}
    if speeds:
        found["tokens_per_s"] = speeds[len(speeds) // 2]
    if lines:
        found["steps"] = max(line["step"] for line in lines)
        found["seconds"] = max((s for s in filled(lines, "wall_time") if math.isfinite(s)), default=None)
    return {key: found.get(key) if value is None else value for key, value in figures.items()}


def lead(runs: Sequence[RunSummary]) -> str:
    """One sentence that says what came out, of the first run and of those on the same text."""
    others = [run for run in runs if run.text != runs[0].text]
    runs = [run for run in runs if run.text == runs[0].text]
    on = f" on {runs[0].text}" if others else ""
    table = [(run.name, figures(run)) for run in runs]
    key = next((k for k in ("bits_per_byte", "valid_loss") if all(f[k] is not None for _, f in table)), None)
    if key is None:
        return escape(f"{len(runs)} runs." if len(runs) > 1 else "No validation loss has been logged yet.")
    name, best = min(table, key=lambda item: item[1][key])
    values = [f"{best[k]:.3f} {FIGURES[k][0]}" for k in ("valid_loss", "bits_per_byte") if best[k] is not None]
    time = f" after {duration(best['seconds'])} of training" if best["seconds"] else ""
    subject = f"Of {len(runs)} runs{on}, {name} came lowest: " if len(runs) > 1 else ""
    return escape(f"{subject or 'Validation loss '}{' or '.join(values)}{time}.")


def runs_table(runs: Sequence[RunSummary]) -> str:
    """A row a run, a column a figure that any run has; the lowest losses of several runs are bold."""
    table = [figures(run) for run in runs]
    keys = [key for key in dict.fromkeys(key for row in table for key in row) if any(row.get(key) for row in table)]
    best = {
        key: min(row[key] for row in table if row[key] is not None)
        for key in LOWER_IS_BETTER
        if key in keys and len(runs) > 1
    }
    heads = "".join(f"<th>{escape(FIGURES[k][0] if k in FIGURES else k.replace('_', ' '))}</th>" for k in keys)
    body = []
    for index, (run, row) in enumerate(zip(runs, table, strict=True)):
        cells = []
        for key in keys:
            mark = ' class="best"' if key in best and row.get(key) == best[key] else ""
            cells.append(f"<td{mark}>{escape(_shown(key, row.get(key)))}</td>")
        swatch = f'<span class="swatch" style="background:var(--c{index % COLOURS})"></span>'
        body.append(f'<tr><th title="{escape(run.folder)}">{swatch}{escape(run.name)}</th>{"".join(cells)}</tr>')
    return (
        f'<div class="scroll runs"><table><thead><tr><th>run</th>{heads}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _shown(key: str, value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    return FIGURES[key][1](value) if key in FIGURES else short(value)


def configuration(runs: Sequence[RunSummary]) -> str:
    """The settings; of several runs, first those that tell them apart."""
    flat = [dict(_flatten(run.config)) for run in runs]
    keys = list(dict.fromkeys(key for values in flat for key in values))
    if not keys:
        return ""
    differing = [key for key in keys if len({values.get(key, MISSING) for values in flat}) > 1]
    common = [key for key in keys if key not in differing]
    parts = ["<section><h2>Configuration</h2>"]
    if len(runs) == 1:
        return "".join([*parts, table([], flat, keys), "</section>"])
    if differing:
        parts.append(table([run.name for run in runs], flat, differing))
    if common:
        parts.append(f"<details><summary>{len(common)} settings that all runs share</summary>")
        parts.append(table([], flat[:1], common) + "</details>")
    return "".join([*parts, "</section>"])


def table(names: Sequence[str], flat: Sequence[dict[str, str]], keys: Iterable[str]) -> str:
    """A row a key, a column a run; `names` head the columns, none for a single one."""
    heads = "".join(f"<th>{escape(name)}</th>" for name in names)
    head = f"<thead><tr><th></th>{heads}</tr></thead>" if names else ""
    rows = [
        f"<tr><th>{escape(key)}</th>"
        + "".join(f"<td>{escape(values.get(key, MISSING))}</td>" for values in flat)
        + "</tr>"
        for key in keys
    ]
    return f'<div class="scroll config"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>'


def _flatten(values: dict[str, Any], before: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{before}{key}.")
        else:
            yield (
                f"{before}{key}",
                value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str),
            )


def samples(runs: Sequence[RunSummary]) -> str:
    """What each run wrote while it trained, from first to last, thinned to MAX_SAMPLES."""
    parts: list[str] = []
    for run in runs:
        if not run.samples:
            continue
        if len(runs) > 1:
            parts.append(f"<details{'' if parts else ' open'}><summary>{escape(run.name)}</summary>")
        stride = max(1, math.ceil((len(run.samples) - 1) / (MAX_SAMPLES - 1)))
        shown = run.samples[::-1][::stride][::-1]  # always the last one
        for sample in shown:
            parts.append(_sample(sample))
        if len(shown) < len(run.samples):
            parts.append(f'<p class="caption">{len(shown)} of {len(run.samples):,} samples, all in samples.jsonl.</p>')
        if len(runs) > 1:
            parts.append("</details>")
    return f"<section><h2>Samples while training</h2>{''.join(parts)}</section>" if parts else ""


def _sample(sample: dict[str, Any]) -> str:
    """A sample; where it is known how much of it was copied, that, and the longest such span marked in the text."""
    text, span = str(sample.get("text", "")), str(sample.get("longest_copied_text", ""))
    copied, note, shown = number(sample, "copied"), "", escape(text)
    if math.isfinite(copied) and text:
        note = f"<br>{copied:.0%} copied"
        before, found, after = text.partition(span) if span and copied else (text, "", "")
        if found:
            shown = f'{escape(before)}<mark title="the longest copied span">{escape(found)}</mark>{escape(after)}'
    language = ' lang="zh"' if any("\u4e00" <= char <= "\u9fff" for char in text) else ""
    return (
        f'<div class="sample"><div class="step">step {sample.get("step", 0):,}{note}</div>'
        f"<pre{language}>{shown}</pre></div>"
    )


def number(line: dict[str, Any], key: str) -> float:
    """A number of a line of metrics; NaN if it is not there or none."""
    value = line.get(key)
    return float(value) if isinstance(value, int | float) else math.nan


def filled(metrics: list[dict[str, Any]], key: str) -> list[float]:
    """A column, gaps filled from the line before, else from the first that has it."""
    values = [number(line, key) for line in metrics]
    last = next((value for value in values if math.isfinite(value)), math.nan)
    for i, value in enumerate(values):
        values[i] = last = value if math.isfinite(value) else last
    return values
