"""The report page: whole and safe whatever a run holds; and the drawing shows the numbers where they are."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.errors import UsageError
from nextword.report.curves import MAX_POINTS, SMALL, RunSummary, loss_plot_svg, thin, write_report
from nextword.report.runs import lead

SVG = "{http://www.w3.org/2000/svg}"


def metrics(n: int = 20, bits: bool = True) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for i in range(1, n + 1):
        loss = 2 + 5 / i
        lines.append({"step": i, "split": "train", "loss": loss, "tokens": i * 512, "wall_time": i * 1.5})
        if i % 5 == 0:
            lines.append({"step": i, "split": "valid", "loss": loss + 0.1, "wall_time": i * 1.5 + 0.1})
            lines[-1] |= {"bits_per_byte": (loss + 0.1) / 2} if bits else {}
    return lines


def summary(name: str = "poems", lines: list[dict[str, Any]] | None = None, **extra: Any) -> RunSummary:
    return RunSummary(name, Path("runs") / name, metrics() if lines is None else lines, **extra)


class Page(HTMLParser):
    """What a browser would find: elements, text by element, and what it would fetch."""

    VOID = ("meta", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)
        assert self.open == [], "an element is left open"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)

    def words(self, tag: str) -> str:
        return " ".join(self.text.get(tag, []))

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(*runs: RunSummary, folder: Path) -> Page:
    write_report(runs, folder / "report.html")
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def points(path: str) -> list[tuple[float, float]]:
    """As the page's script reads them."""
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


def test_the_page_asks_nothing_of_the_network(tmp_path: Path) -> None:
    page = page_of(summary(), summary("b"), folder=tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    text = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//\w|@import|url\(|<link|<img|\bsrc=|\bhref=|fetch\(|XMLHttp", text)
    assert any("default-src 'none'" in (meta.get("content") or "") for meta in page.attributes("meta"))


HOSTILE = "</script><script>alert(1)</script><!-- \"'&amp; ${x} $title \x00\x1b\ud83d 😀春"


@pytest.mark.parametrize("runs", [1, 2])
def test_text_stays_text(tmp_path: Path, runs: int) -> None:
    hostile = summary(
        HOSTILE,
        samples=[{"step": 1, "text": HOSTILE}],
        figures={HOSTILE: HOSTILE, "parameters": 12},
        config={HOSTILE: HOSTILE, "nested": {"list": [1, HOSTILE]}},
    )
    hostile.folder = Path("runs")
    page = page_of(*([hostile] * runs), folder=tmp_path)
    assert len(page.attributes("script")) == 2
    assert "alert(1)" in page.words("pre")
    assert "😀春" in page.words("h1")
    data = json.loads("".join(page.text["script"]).split("\n")[0])
    assert data[0]["label"].startswith("</script>")


def test_every_point_drawn_has_its_row(tmp_path: Path) -> None:
    """The script reads the n-th point of a path as the n-th row: they must agree in every drawing."""
    lines = metrics(50)
    lines[3]["loss"] = math.nan
    page = page_of(summary("a", lines), summary("b", metrics(7)), folder=tmp_path)
    rows = [line["rows"] for line in json.loads("".join(page.text["script"]).split("\n")[0])]
    paths = [path for path in page.attributes("path") if "data-line" in path]
    assert len(paths) == len(rows) * 3 * 2 * 2  # x axes, y axes, wide and narrow
    for path in paths:
        drawn = points(path["d"] or "")
        assert len(drawn) == len(rows[int(path["data-line"] or "")])
        assert [x for x, _ in drawn] == sorted(x for x, _ in drawn)


def test_lower_loss_is_drawn_lower_and_to_scale(tmp_path: Path) -> None:
    lines = [{"step": s, "split": "train", "loss": v} for s, v in ((0, 4.0), (50, 3.0), (100, 2.0))]
    page = page_of(summary(lines=lines), folder=tmp_path)
    path = next(p for p in page.attributes("path") if "data-line" in p)
    (x0, y0), (x1, y1), (x2, y2) = points(path["d"] or "")
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.2)
    assert y0 < y1 < y2  # y points down


def test_axes_without_numbers_are_not_offered(tmp_path: Path) -> None:
    bare = [{"step": 1, "split": "train", "loss": 3.0}, {"step": 2, "split": "train", "loss": 2.0}]
    page = page_of(summary(lines=bare), folder=tmp_path)
    assert [button["value"] for button in page.attributes("button")] == ["steps", "nats"]
    page = page_of(summary(), summary("bare", bare), folder=tmp_path)
    assert [b["value"] for b in page.attributes("button")] == ["steps", "time", "tokens", "nats", "bits"]


def test_bits_per_byte_of_training_follow_the_validation_ratio(tmp_path: Path) -> None:
    page = page_of(summary(), folder=tmp_path)
    lines = {line["label"]: line["rows"] for line in json.loads("".join(page.text["script"]).split("\n")[0])}
    assert all(bits == pytest.approx(nats / 2, abs=1e-3) for *_, nats, bits in lines["poems · train"])


def test_figures_come_from_the_metrics_unless_given(tmp_path: Path) -> None:
    page = page_of(summary(figures={"parameters": 1234567, "steps": 99}), folder=tmp_path)
    cells = [cell.strip() for cell in page.text["td"]]
    assert "1,234,567" in cells
    assert "99" in cells
    assert f"{2 + 5 / 20 + 0.1:.4f}" in cells  # the best validation loss


def test_several_runs_show_where_they_differ(tmp_path: Path) -> None:
    a = summary("gru", config={"model": {"type": "gru", "layers": 2}})
    b = summary("lstm", config={"model": {"type": "lstm", "layers": 2}})
    page = page_of(a, b, folder=tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.index("model.type") < text.index("1 settings") < text.index("model.layers")
    assert "gru · lstm" in page.words("h1")


def test_the_last_sample_is_always_shown(tmp_path: Path) -> None:
    for count in (1, 11, 12, 13, 100):
        samples = [{"step": i, "text": f"sample {i}."} for i in range(count)]
        shown = page_of(summary(samples=samples), folder=tmp_path).text["pre"]
        assert shown[-1] == f"sample {count - 1}."
        assert len(shown) == count if count <= 12 else 5 <= len(shown) <= 12


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [{"step": 1, "split": "train", "loss": 3.0}],
        [{"step": 0, "split": "valid", "loss": 3.0, "wall_time": 0.0, "tokens": 0}],
        [{"step": i, "split": "train", "loss": 3.0} for i in range(5)],
        [{"step": i, "split": "train", "loss": math.nan} for i in range(5)],
        [{"step": i, "split": "train", "loss": v} for i, v in enumerate([3.0, math.inf, 2.0, 1e300, 1.0])],
        [{"step": 10**12 + i, "split": "train", "loss": 1e-9 * i} for i in range(3)],
        [{"step": 1, "split": "train"}, {"step": 2}],
        [{"step": 1, "split": "train", "loss": 0.0, "bits_per_byte": 0.0}],
    ],
)
def test_odd_runs_are_drawn(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    page = page_of(summary(lines=lines), folder=tmp_path)
    for _, attributes in page.elements:
        for key, value in attributes.items():
            assert key in ("content", "title", "aria-label") or not re.search(r"nan|inf\b", value or "")
    ElementTree.fromstring(loss_plot_svg(lines))


def test_the_best_of_several_runs_is_named_even_among_namesakes(tmp_path: Path) -> None:
    worse = [line | {"bits_per_byte": 9.0} if line["split"] == "valid" else line for line in metrics()]
    page = page_of(summary("a"), summary("b", worse), summary("a", worse), folder=tmp_path)
    assert "Of 3 runs, a came lowest: 2.350 nats per token or 1.175 bits per byte" in page.words("p")


def everything() -> dict[str, Any]:
    finding = {"kind": "over-fitting", "severity": "warning", "what": HOSTILE, "why": "so", "remedy": "stop"}
    return {
        "lines": [
            line | {"lr": 1e-3 * line["step"], "grad_norm": 1 / line["step"], "tokens_per_s": 100.0}
            if line["split"] == "train"
            else line
            for line in metrics()
        ]
        + [{"step": 10, "split": "sample", "copied": 0.5, "longest_copied": 7, "wall_time": 15.0}],
        "samples": [{"step": 10, "text": "a<b春风又绿", "copied": 0.5, "longest_copied_text": "<b春"}],
        "findings": [finding | {"step": 100}, finding | {"step": 300}, finding | {"severity": "note", "kind": "x"}],
        "corpus": {"documents": 12345, "tokens": 7, "bytes": 9, "shared": {"share": 0.25, "least": 9, "longest": 70}},
        "environment": {"python": "3.13", "processor": HOSTILE},
    }


@pytest.mark.parametrize("count", [1, 2])
def test_all_that_was_logged_is_shown(tmp_path: Path, count: int) -> None:
    page = page_of(*(summary(f"run {i}", **everything()) for i in range(count)), folder=tmp_path)
    assert "alert(1)" not in page.words("mark")
    assert page.text["mark"] == ["<b春"] * count
    assert page.words("pre").count("风又绿") == count
    said = " ".join(text for texts in page.text.values() for text in texts)
    for words in ("steps 100 to 300", "at the start", "50% copied", "12,345 documents", "25.0% in spans of 9", "3.13"):
        assert said.count(words) == count, words
    classes = [a.get("class") for a in page.attributes("div")]
    assert classes.count("finding warning") == classes.count("finding note") == count  # told again is told once


def test_small_charts_have_rows_of_step_and_value(tmp_path: Path) -> None:
    page = page_of(summary("a", **everything()), summary("b"), folder=tmp_path)
    data = json.loads("".join(page.text["script"]).split("\n")[0])
    small = {line["label"]: line["rows"] for line in data if len(line["rows"][0]) == 2}
    assert list(small) == [f"a · {name}" for name in SMALL.values()]
    assert small["a · learning rate"][-1] == [20, 0.02]
    assert small[f"a · {SMALL['copied']}"] == [[10, 0.5]]
    figures = [a for a in page.attributes("figure") if a.get("class") == "small"]
    assert len(figures) == len(SMALL)
    for path in page.attributes("path"):
        if "data-line" in path:  # the page's script reads the n-th point as the n-th row
            assert len(points(path["d"] or "")) == len(data[int(path["data-line"] or "")]["rows"])


def test_a_run_that_is_well_says_so_and_one_without_a_doctor_says_nothing(tmp_path: Path) -> None:
    assert "Nothing to object to" in page_of(summary(findings=[]), folder=tmp_path).words("p")
    assert "What the doctor found" not in page_of(summary(), folder=tmp_path).words("h2")


def test_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run"):
        write_report([], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_huge_run_stays_small(tmp_path: Path) -> None:
    write_report([summary(lines=metrics(100_000))], tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 1_000_000


@given(
    st.lists(st.floats(min_value=0, max_value=20) | st.just(math.nan), min_size=1, max_size=400),
    st.integers(min_value=20, max_value=100),
)
def test_thinning_keeps_ends_and_extremes(losses: list[float], limit: int) -> None:
    rows = [(float(i), 0.0, 0.0, loss, 0.0) for i, loss in enumerate(losses)]
    kept = thin(rows, limit)
    assert len(kept) <= limit
    assert (kept[0][0], kept[-1][0]) == (0, len(rows) - 1)
    assert [row[0] for row in kept] == sorted({row[0] for row in kept})
    finite, kept_finite = ([v for *_, v, _ in r if math.isfinite(v)] for r in (rows, kept))
    if finite:
        assert (min(finite), max(finite)) == (min(kept_finite), max(kept_finite))
    assert any(math.isnan(v) for v in losses) == any(math.isnan(row[3]) for row in kept)


def test_a_long_run_is_thinned_to_the_limit() -> None:
    assert MAX_POINTS / 2 < len(thin([(i, 0, 0, i % 7, 0) for i in range(10**5)])) <= MAX_POINTS


def test_the_lone_svg_holds_its_style_and_both_lines() -> None:
    drawing = ElementTree.fromstring(loss_plot_svg(metrics()))
    assert drawing.tag == f"{SVG}svg"
    assert "prefers-color-scheme: dark" in "".join(drawing.find(f"{SVG}style").itertext())
    labels = [text.text or "" for text in drawing.iter(f"{SVG}text") if text.get("class") == "label"]
    assert sorted(labels) == ["train 2.250", "valid 2.350"]


def test_only_runs_on_the_same_text_are_compared():
    def run(name: str, text: str, bits: float) -> RunSummary:
        return RunSummary(name, Path(), [], figures={"valid_loss": 1.0, "bits_per_byte": bits}, text=text)

    sentence = lead([run("a", "novel", 2.0), run("b", "novel", 1.5), run("c", "poems", 1.0)])
    assert sentence.startswith("Of 2 runs on novel, b came lowest")
