"""A line chart as SVG text: ticks, grid, lines that never cross a gap, and names beside the lines' ends.

Knows nothing of runs or losses. Colours are the CSS variables of `plot.css`, which the page, or a
style inside the SVG, holds; so one drawing serves light and dark.
"""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

COLOURS = 6  # --c0 ... --c5: Okabe and Ito's palette, told apart by colour-blind readers; then the lines are dashed

Ticks = Callable[[float, float, int], list[tuple[float, str]]]


@dataclass
class Line:
    """One line of a chart. A point that is not finite leaves a gap."""

    points: list[tuple[float, float]]
    label: str
    """Written beside the line's end; "" for none."""
    colour: int
    """An index; lines of one run share it."""
    thin: bool = False
    """Drawn lightly, behind the others."""


def escape(text: object) -> str:
    """Text for SVG or HTML, quotes included; characters that XML 1.0 forbids become U+FFFD."""
    return html.escape(re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", str(text)))


def plot(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    x_ticks: Ticks,
    width: int = 860,
    height: int = 400,
    shape: str = "",
    x_range: tuple[float, float] | None = None,
    first: int = 0,
    from_zero: float = 0.0,
) -> str:
    """The chart as one `<svg>` element of class `shape`, `width` by `height`; an empty frame if no points.

    The x axis reaches from 0, or from the least x below it, to the greatest, unless `x_range` says otherwise. The lines
    are numbered from `first` in their data-line. With `from_zero`, the y axis goes from 0 to that or further.

    Every finite point of a line is in its path, in order, so a script can find the nearest one.
    """
    drawn = [
        Line([p for p in line.points if math.isfinite(p[0])], line.label, line.colour, line.thin) for line in lines
    ]
    xs = [x for line in drawn for x, y in line.points if math.isfinite(y)]
    ys = [y for line in drawn for _, y in line.points if math.isfinite(y)]
    left, top, bottom = 46, 30, 40
    right = 22 + 7.0 * max((_columns(line.label) for line in drawn), default=0)
    x_low, x_high = x_range or _span(min([0, *xs]), max(xs, default=1))
    y_low, y_high = (0.0, 1.08 * max(from_zero, *ys, 0.0)) if from_zero else _y_range(ys)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low) * (width - left - right)
        down = (y_high - y) / (y_high - y_low) * (height - top - bottom)
        return left + across, top + min(max(down, -height), height)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot {shape}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{escape(y_label)} over {escape(x_label)}">'
    ]
    for value, text in number_ticks(y_low, y_high, max(3, height // 58)):
        y = place(x_low, value)[1]
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{width - right:.1f}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for value, text in x_ticks(x_low, x_high, max(2, int((width - left - right) / 95))):
        x = place(value, y_low)[0]
        parts.append(f'<path class="tick" d="M{x:.1f} {height - bottom}v5"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - bottom + 19}" text-anchor="middle">{text}</text>')
    parts.append(f'<path class="axis" d="M{left} {height - bottom}H{width - right:.1f}"/>')
    parts.append(f'<text class="name" x="0" y="13">{escape(y_label)}</text>')
    parts.append(
        f'<text class="name" x="{width - right:.1f}" y="{height - 3}" text-anchor="end">{escape(x_label)}</text>'
    )
    x, y, w, h = left - 3, top - 3, round(width - left - right + 6, 1), height - top - bottom + 6
    # An inner SVG cuts off what leaves the frame; the thin lines come first, so that they lie behind.
    parts.append(f'<svg x="{x}" y="{y}" width="{w}" height="{h}" viewBox="{x} {y} {w} {h}">')
    for i in sorted(range(len(drawn)), key=lambda i: not drawn[i].thin):
        path = _path([place(*p) if math.isfinite(p[1]) else None for p in drawn[i].points])
        dash = ' stroke-dasharray="7 4"' if drawn[i].colour // COLOURS % 2 else ""
        weight = "thin" if drawn[i].thin else "thick"
        stroke = f'class="{weight}" stroke="var(--c{drawn[i].colour % COLOURS})"{dash}'
        parts.append(f'<path data-line="{first + i}" {stroke} d="{path}"/>')
    parts.append("</svg>")
    parts += _end_labels(drawn, place, width - right, top, height - bottom)
    return "".join(parts) + "</svg>"


def number_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """About `count` round numbers in [low, high], 1, 2 or 5 times a power of ten apart, with their labels.

    >>> [text for _, text in number_ticks(0, 20000, 4)]
    ['0', '5k', '10k', '15k', '20k']
    """
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    return _multiples(low, high, next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999), short)


def step_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """`number_ticks` for things that are counted: no fractions of one."""
    return [tick for tick in number_ticks(low, high, count) if tick[0] == round(tick[0])]


def time_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """`number_ticks` for seconds, at the numbers a clock likes: 15 s, 5 min, 2 h, 1 d.

    >>> [text for _, text in time_ticks(0, 1200, 4)]
    ['0', '5 min', '10 min', '15 min', '20 min']
    """
    rough = (high - low) / max(count, 1)
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
    if rough <= steps[0]:
        return [(value, f"{text} s") for value, text in number_ticks(low, high, count)]
    if rough > steps[-1]:
        return [(day * 86400, f"{text} d") for day, text in number_ticks(low / 86400, high / 86400, count)]
    step = next(s for s in steps if s >= rough * 0.999)
    return _multiples(low, high, step, duration)


def short(value: float) -> str:
    """A number for an axis: 0.25, 3.5, 12k, 1.5M.

    >>> short(1500000), short(0.30000000000000004)
    ('1.5M', '0.3')
    """
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.6g}{unit}"
    return f"{value:.6g}"


def duration(seconds: float) -> str:
    """Seconds as people say them, in the two largest units.

    >>> duration(42), duration(90), duration(7260), duration(0)
    ('42 s', '1 min 30 s', '2 h 1 min', '0')
    """
    seconds = round(seconds)
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            parts.append(f"{seconds // size} {unit}")
            seconds %= size
        elif parts:
            break
    return " ".join(parts[:2]) or "0"


def _multiples(low: float, high: float, step: float, label: Callable[[float], str]) -> list[tuple[float, str]]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(i * step, label(i * step)) for i in range(first, last + 1)]


def _span(low: float, high: float) -> tuple[float, float]:
    """A range that is not empty, whatever came."""
    return (low, high) if high - low > 1e-12 * max(abs(low), abs(high), 1e-300) else (low - 0.5, high + 0.5)


def _y_range(ys: list[float]) -> tuple[float, float]:
    """The values with some air. A rare leap far above the rest is cut off: it would flatten all else."""
    if not ys:
        return 0.0, 1.0
    low, high = min(ys), max(ys)
    usual = sorted(ys)[int(0.98 * (len(ys) - 1))]
    if high - low > 3 * (usual - low) > 0:
        high = low + 1.2 * (usual - low)
    low, high = _span(low, high)
    return low - 0.04 * (high - low), high + 0.04 * (high - low)


def _path(points: list[tuple[float, float] | None]) -> str:
    """Path data: a new M after each gap. A lone point is a line of no length, which round caps make a dot."""
    data, pen = [], "M"
    for i, point in enumerate(points):
        if point is None:
            pen = "M"
            continue
        data.append(f"{pen}{point[0]:.1f} {point[1]:.1f}")
        if pen == "M" and (i + 1 == len(points) or points[i + 1] is None):
            data.append("h0")
        pen = "L"
    return "".join(data)


def _end_labels(
    lines: Sequence[Line],
    place: Callable[[float, float], tuple[float, float]],
    x: float,
    top: float,
    bottom: float,
) -> list[str]:
    """Each label at the height of its line's last point, moved apart where they would overlap."""
    ends = []
    for line in lines:
        finite = [p for p in line.points if math.isfinite(p[1])]
        if line.label and finite:
            x_end, y_end = place(*finite[-1])
            ends.append(((x_end, min(max(y_end, top), bottom)), line.label, line.colour % COLOURS))
    ends.sort(key=lambda end: end[0][1])
    gap = min(16.0, (bottom - top) / max(len(ends) - 1, 1))
    heights: list[float] = []
    for (_, y), _, _ in ends:
        heights.append(max(y, heights[-1] + gap) if heights else y)
    limit = bottom
    for i in reversed(range(len(heights))):
        heights[i] = limit = min(heights[i], limit)
        limit -= gap
    return [
        f'<circle cx="{end[0]:.1f}" cy="{end[1]:.1f}" r="3" fill="var(--c{colour})"/>'
        f'<text class="label" x="{x + 9:.1f}" y="{y + 4:.1f}" fill="var(--c{colour})">{escape(label)}</text>'
        for (end, label, colour), y in zip(ends, heights, strict=True)
    ]


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def shorten(text: str, columns: int) -> str:
    """The beginning of a text that fits into so many half-width characters; a Chinese one takes two."""
    if _columns(text) <= columns:
        return text
    while _columns(text) > columns - 1:
        text = text[:-1]
    return text + "…"
