"""Ticks people can read, whatever the range; names that do not lie on each other."""

from __future__ import annotations

import itertools
import math
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.report.svg import (
    Line,
    Ticks,
    duration,
    escape,
    number_ticks,
    plot,
    short,
    shorten,
    step_ticks,
    time_ticks,
)

ranges = st.tuples(st.floats(min_value=-1e6, max_value=1e6), st.floats(min_value=1e-3, max_value=1e12)).map(
    lambda pair: (pair[0], pair[0] + pair[1])
)


@given(ranges, st.integers(min_value=2, max_value=9))
@pytest.mark.parametrize("ticks", [number_ticks, time_ticks])
def test_ticks_are_few_ordered_and_inside(ticks: Ticks, span: tuple[float, float], count: int) -> None:
    low, high = span
    values = [value for value, _ in ticks(low, high, count)]
    slack = 1e-6 * (high - low)
    assert all(low - slack <= value <= high + slack for value in values)
    assert values == sorted(set(values))
    assert len(values) <= count + 2


@given(st.integers(min_value=1, max_value=10**9))
def test_steps_are_whole(last: int) -> None:
    ticks = step_ticks(0, last, 6)
    assert len(ticks) >= 2
    assert all(value == int(value) for value, _ in ticks)
    assert len({text for _, text in ticks}) == len(ticks)


@pytest.mark.parametrize("seconds", [0.5, 8, 50, 400, 5000, 80_000, 10**6, 10**8])
def test_times_are_told_apart(seconds: float) -> None:
    ticks = time_ticks(0, seconds, 6)
    assert len(ticks) >= 3
    assert len({text for _, text in ticks}) == len(ticks)


def test_numbers_and_times_as_people_write_them() -> None:
    assert [short(v) for v in (0, 0.25, 1500, 2_000_000, 3e9)] == ["0", "0.25", "1.5k", "2M", "3G"]
    assert [duration(s) for s in (5, 60, 3599.9, 90_000)] == ["5 s", "1 min", "1 h", "1 d 1 h"]


@given(st.text())
def test_escaped_text_is_xml_that_says_the_same(text: str) -> None:
    element = ElementTree.fromstring(f'<a b="{escape(text)}">{escape(text)}</a>')
    clean = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
    assert (element.text or "") == clean.replace("\r\n", "\n").replace("\r", "\n")


@given(st.text(max_size=40), st.integers(min_value=2, max_value=20))
def test_a_shortened_name_is_its_beginning(text: str, columns: int) -> None:
    result = shorten(text, columns)
    assert result == text or (result.endswith("…") and text.startswith(result[:-1]))


def test_a_chinese_name_takes_two_columns_a_character() -> None:
    assert shorten("唐诗绝句", 8) == "唐诗绝句"
    assert shorten("唐诗绝句", 7) == "唐诗绝…"


def test_names_of_lines_that_end_together_are_apart_and_inside() -> None:
    lines = [Line([(0, 5.0), (1, 1.0)], f"run {i}", i) for i in range(8)]
    drawing = ElementTree.fromstring(plot(lines, x_label="x", y_label="y", x_ticks=number_ticks, width=400, height=300))
    labels = [e for e in drawing.iter("{http://www.w3.org/2000/svg}text") if e.get("class") == "label"]
    heights = sorted(float(e.get("y", "nan")) for e in labels)
    assert len(heights) == 8
    assert min(b - a for a, b in itertools.pairwise(heights)) >= 12
    assert heights[-1] <= 300


def test_a_gap_is_not_bridged_and_a_lone_point_shows() -> None:
    line = Line([(0, 1.0), (1, 2.0), (2, math.nan), (3, 1.5)], "", 0)
    text = plot([line], x_label="x", y_label="y", x_ticks=number_ticks)
    path = re.search(r'data-line="0"[^>]* d="([^"]*)"', text)[1]  # type: ignore[index]
    assert re.sub(r"[-\d. ]", "", path) == "MLMh"
