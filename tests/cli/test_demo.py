"""`nextword demo` from end to end, with models that learn nothing in a second and say so in full."""

import dataclasses
import json
import os
import re
import shlex
import signal
from pathlib import Path

import pytest

from nextword import corpora
from nextword.cli import demo, run
from nextword.training.trainer import Trainer

SIZES = {"hidden_size": 8, "num_layers": 1}


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's own models and texts, smaller."""
    monkeypatch.chdir(tmp_path)
    parts = []
    for part in demo.PARTS:
        values = {name: dict(section) for name, section in part.values.items()}
        values["model"] |= SIZES | ({"num_heads": 2} if values["model"]["type"] == "transformer" else {})
        values["model"] = {key: value for key, value in values["model"].items() if key != "embedding_size"}
        if values["tokenizer"].get("vocab_size"):
            values["tokenizer"]["vocab_size"] = 300
        parts.append(dataclasses.replace(part, values=values))
    monkeypatch.setattr(demo, "PARTS", tuple(parts))
    texts = {"moby-dick": corpora.load("moby-dick")[:60], "tang": corpora.load("tang")[:100]}
    monkeypatch.setattr(corpora, "load", texts.__getitem__)


def test_the_whole_demo(capsys):
    assert run(["demo", "--budget", "1s", "--out", "runs/my demo"]) == 0
    captured = capsys.readouterr()
    out = captured.out
    assert "Traceback" not in captured.err
    # the comparison
    for row in ("parameters", "tokens/s", "held-out nats/token", "held-out perplexity", "held-out bits/byte"):
        assert re.search(rf"{row}\D+[\d.,]+\D+[\d.,]+", out), row
    # greedy and sampled continuations of "The", by both models
    assert len(re.findall(r"^greedy +The", out, flags=re.MULTILINE)) == 2
    assert len(re.findall(r"^sampled +The", out, flags=re.MULTILINE)) == 2
    # the chain rule: the running sum ends at the logarithm of the product
    rows = re.findall(r"(-\d+\.\d+) +[\d,]+ +(-\d+\.\d+) *$", out, flags=re.MULTILINE)
    (product,) = re.findall(r"P\(text\).*exp\((-\d+\.\d+)\)", out)
    assert sum(float(log_prob) for log_prob, _ in rows) == pytest.approx(float(product), abs=0.01)
    assert rows[-1][1] == product
    # a poem in Chinese
    poem = out.split("A poem by", 1)[1].split("\n", 1)[1].split("Next", 1)[0]
    assert re.search(r"[\u4e00-\u9fff]", poem)
    # the report, and what to do next
    page = Path("runs/my demo/report.html")
    assert str(page) in out
    assert "<svg" in page.read_text(encoding="utf-8") or "<canvas" in page.read_text(encoding="utf-8")
    commands = re.findall(r"^  (nextword .*)$", out, flags=re.MULTILINE)
    assert len(commands) == 3
    for name in ("lstm", "transformer", "poems"):
        folder = Path("runs/my demo", name)
        assert (folder / "loss.svg").read_text().startswith("<svg")
        assert f"| data | {'Tang poems' if name == 'poems' else 'Moby Dick'} (embedded, public domain; " in (
            folder / "README.md"
        ).read_text(encoding="utf-8")
        assert json.loads((folder / "config.json").read_text())["figures"]["validation"]["loss"] > 0

    Path("YOUR_TEXT.txt").write_text("\n\n".join(corpora.load("tang")), encoding="utf-8")
    for command in commands:
        arguments = [argument.replace("10m", "1s") for argument in shlex.split(command)[1:]]
        assert run(arguments) == 0, command

    assert run(["demo", "--budget", "1s", "--out", "runs/my demo"]) == 0  # once more, over the first


def test_a_folder_with_other_things_stops_the_demo_and_stays(capsys):
    Path("runs/demo/lstm").mkdir(parents=True)
    Path("runs/demo/lstm/novel.txt").write_text("mine")
    assert run(["demo", "--budget", "1s"]) == 1
    assert "holds other things" in capsys.readouterr().err
    assert [path.name for path in Path("runs/demo/lstm").iterdir()] == ["novel.txt"]


def test_ctrl_c_ends_the_whole_demo(monkeypatch, capfd):
    step = Trainer._step

    def interrupted(self):
        event = step(self)
        if event.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return event

    monkeypatch.setattr(Trainer, "_step", interrupted)
    assert run(["demo", "--budget", "60s", "--out", "d"]) == 130
    captured = capfd.readouterr()
    assert "saving, then stopping" in captured.err
    assert "Next" not in captured.out
    assert not Path("d/transformer").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
