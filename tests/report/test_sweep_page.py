"""The page of a sweep and the picture of a range test: every trial is there, in its place, and no text is markup."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nextword.report.rates import decades, rates_svg
from nextword.report.sweep import write_sweep
from nextword.training.sweep import Trial

SVG = "{http://www.w3.org/2000/svg}"


def trial(number: int, loss: float | None = None, error: str = "", **settings) -> Trial:
    figures = {"validation": {"loss": loss, "bits_per_byte": loss / 2}, "steps": 1000, "seconds": 90.0} if loss else {}
    named = {key.replace("_of_", "."): value for key, value in settings.items()}
    return Trial(f"trial-{number:03}", named, "finished" if loss else "failed", error, figures)


def page(folder: Path, trials: list[Trial], **options) -> str:
    keys = list(trials[0].settings)
    write_sweep(folder / "sweep.html", "名 <sweep>", trials, keys, options.get("logarithmic", ()), "loss")
    return (folder / "sweep.html").read_text(encoding="utf-8")


def charts(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<figure>(.*?)</figure>", text, flags=re.DOTALL)]


def dots(chart: ElementTree.Element) -> list[tuple[float, float, str]]:
    """(x, y, colour) of each."""
    paths = [path for path in chart.iter(f"{SVG}path") if path.get("class") == "thick"]
    places = [re.fullmatch(r"M([\d.]+) ([\d.]+)h0", path.get("d")).groups() for path in paths]
    return [(float(x), float(y), path.get("stroke")) for (x, y), path in zip(places, paths, strict=True)]


def test_every_trial_is_in_the_table_and_in_each_plot(tmp_path):
    trials = [
        trial(3, 2.0, train_of_learning_rate=1e-3, model_of_type="gru"),
        trial(1, 3.0, train_of_learning_rate=1e-4, model_of_type="lstm"),
        trial(2, 4.0, train_of_learning_rate=1e-1, model_of_type="gru"),
        trial(4, None, "no <b>memory</b>", train_of_learning_rate=1e-2, model_of_type="lstm"),
    ]
    text = page(tmp_path, trials)
    assert "名 &lt;sweep&gt;" in text
    assert "no &lt;b&gt;memory&lt;/b&gt;" in text
    assert "3 of 4 trials have a result. trial-003 came lowest, 2.0000 nats per token" in text
    assert re.findall(r"<tr[^>]*><th>(trial-\d+)", text) == ["trial-003", "trial-001", "trial-002", "trial-004"]
    rates, types = map(dots, charts(text))
    assert len(rates) == len(types) == 3
    best, *others = sorted(rates, key=lambda dot: -dot[1])  # the lowest loss is drawn lowest
    assert best[2] == "var(--c1)"
    assert [colour for *_, colour in others] == ["var(--c0)"] * 2
    x = sorted(x for x, *_ in rates)  # of 1e-4, 1e-3 and 1e-1, on a logarithmic axis
    assert (x[2] - x[1]) / (x[1] - x[0]) == pytest.approx(2, abs=0.02)
    assert len({x for x, *_ in types}) == 2
    assert {"gru", "lstm"} <= {element.text for element in charts(text)[1].iter(f"{SVG}text")}


def test_no_dot_lies_on_the_border(tmp_path):
    trials = [trial(n, 2.0 + n, train_of_batch_size=8 * n, train_of_seed=5) for n in range(1, 5)]
    for chart in charts(page(tmp_path, trials)):
        left, right = 46, 420 - 22
        assert all(left + 8 < x < right - 8 for x, *_ in dots(chart))


def test_before_there_is_a_result(tmp_path):
    text = page(tmp_path, [trial(1, None, "x", train_of_seed=1)])
    assert "0 of 1 trials have a result" in text
    assert not charts(text)


def test_the_picture_of_a_range_test():
    rates = [10 ** (-6 + n / 10) for n in range(61)]
    losses = [8 - n / 20 + (n > 50) * (n - 50) for n in range(61)]
    picture = ElementTree.fromstring(rates_svg(rates, losses, losses, [("lowest", 0.1), ("suggested", 0.012)]))
    text = [element.text for element in picture.iter(f"{SVG}text")]
    assert {"1e-06", "0.001", "1", "suggested 0.012", "lowest 0.1", "learning rate"} <= set(text)
    upright = [p.get("d") for p in picture.iter(f"{SVG}path") if p.get("stroke") in ("var(--c1)", "var(--c2)")]
    places = [[float(x) for x in re.findall(r"[ML]([\d.]+) ", path)] for path in upright]
    assert all(first == second for first, second in places)
    width = 860 - 46 - 22 - 7 * len("suggested 0.012")
    assert sorted(first for first, _ in places)[0] == pytest.approx(46 + width * 4.079 / 6, abs=1)


def test_decades():
    assert [text for _, text in decades(0.0, -3.2, 0.1)] == ["0.001", "0.01", "0.1", "1"]
