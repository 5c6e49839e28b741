"""The picture of a learning-rate range test: the loss over the rate, on a logarithmic scale.

Knows nothing of models: it is given numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from nextword.report.page import standalone
from nextword.report.svg import Line, plot

WIDTH, HEIGHT = 860, 400


def rates_svg(
    rates: Sequence[float],
    losses: Sequence[float],
    smooth: Sequence[float],
    marks: Sequence[tuple[str, float]],
) -> str:
    """A stand-alone SVG file: `losses` thin, `smooth` bold, an upright line for each named rate of `marks`, the one
    that is "suggested" bold.
    """
    low, high = min(smooth), max(smooth)
    roof = high + 0.15 * (high - low)  # a step that leaps would flatten all else
    first = math.log10(rates[0])
    place = [math.log10(rate) - first for rate in rates]
    lines = [
        Line([(x, min(loss, roof)) for x, loss in zip(place, losses, strict=True)], "", 0, thin=True),
        Line(list(zip(place, smooth, strict=True)), "loss", 0),
    ]
    for colour, (name, rate) in enumerate(marks, start=1):
        x = math.log10(rate) - first
        lines.append(Line([(x, high), (x, low)], f"{name} {rate:.2g}", colour, thin=name != "suggested"))
    drawing = plot(
        lines,
        x_label="learning rate",
        y_label="nats per token",
        x_ticks=lambda low, high, count: decades(first, low, high),
        width=WIDTH,
        height=HEIGHT,
    )
    return standalone(drawing, WIDTH, HEIGHT)


def decades(first: float, low: float, high: float) -> list[tuple[float, str]]:
    """The powers of ten in an axis that shows log10 of a value, less `first`.

    >>> decades(-3.5, 0.0, 3.0)
    [(0.5, '0.001'), (1.5, '0.01'), (2.5, '0.1')]
    """
    powers = range(math.ceil(first + low - 1e-9), math.floor(first + high + 1e-9) + 1)
    return [(power - first, f"{10.0**power:g}") for power in powers]
