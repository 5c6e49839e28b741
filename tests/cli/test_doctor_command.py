"""`nextword doctor`, and what the doctor says while `nextword train` runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nextword import corpora
from nextword.cli import run

SETTINGS = ["model.hidden_size=32", "train.precision='float32'", "train.batch_size=4", "train.log_every=1"]
TRAIN = ["--model", "lstm", "--tokenizer", "char", *(part for setting in SETTINGS for part in ("--set", setting))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A text, and a run that has read three lines of it over and over."""
    place = tmp_path_factory.mktemp("doctor")
    (place / "prose.txt").write_text("\n\n".join(corpora.load("moby-dick")[:300]), encoding="utf-8")
    lines = "\n\n".join(["The sea was calm, and the whale was near.", "Call me Ishmael, said the old man."] * 20)
    (place / "lines.txt").write_text(lines, encoding="utf-8")
    arguments = [str(place / "lines.txt"), "--out", str(place / "run"), "--steps", "400", "--set", "split.by='tail'"]
    assert run(["train", *arguments, "--set", "train.learning_rate=0.02", *TRAIN]) == 0
    return place


def test_text_is_examined_before_training(folder, capsys):
    assert run(["doctor", str(folder / "prose.txt"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["findings"] == []
    assert report["corpus"]["tokenizer"] == "bpe"
    assert report["plan"]["parameters"] > 100_000
    assert run(["doctor", str(folder / "prose.txt"), "--size", "tiny", "--set", "train.epochs=90"]) == 0
    shown = capsys.readouterr().out
    assert "will read it 90 times" in shown
    assert "why " in shown
    assert "--set model.dropout=0.2" in shown


def test_a_run_is_examined_afterwards(folder, capsys):
    assert run(["doctor", str(folder / "run")]) == 0
    shown = capsys.readouterr().out
    assert "duplicates" in shown
    assert "Documents repeated" in shown
    assert run(["doctor", str(folder / "run"), "--json"]) == 0
    kinds = {finding["kind"] for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert kinds >= {"duplicates", "memorisation"}


def test_what_a_run_copies_is_shown(folder, capsys):
    assert run(["doctor", str(folder / "run"), "--copied", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["samples"]) == 8
    text = (folder / "lines.txt").read_text(encoding="utf-8")
    for sample in report["samples"]:
        assert sample["longest_text"] in sample["text"]
        assert len(sample["longest_text"]) == sample["longest"]
        assert any(sample["longest_text"] in line for line in text.split("\n\n"))
    assert report["share"] == sum(s["copied"] for s in report["samples"]) / report["tokens"] > 0.05
    assert run(["doctor", str(folder / "run"), "--copied"]) == 0
    assert "stand in the training text" in capsys.readouterr().out


def test_warnings_are_shown_while_training_and_kept_for_the_report(folder, capsys, tmp_path):
    out = tmp_path / "r"
    assert run(["train", str(folder / "lines.txt"), "--out", str(out), "--steps", "3", *TRAIN]) == 0
    said = capsys.readouterr().err
    assert said.count("Doctor: ") >= 2
    assert "Doctor: the run has only about 3 steps. Give it more time" in said
    assert run(["report", str(out)]) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "What the doctor found" in page
    assert "of the training documents are equal to an earlier one" in page


def test_a_run_that_is_well_is_quiet(folder, capsys, tmp_path):
    arguments = ["train", str(folder / "prose.txt"), "--out", str(tmp_path / "r"), "--steps", "110", *TRAIN]
    assert run([*arguments, "--set", "train.warmup_steps=10", "--set", "train.eval_every=110"]) == 0
    assert "Doctor" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere.txt"], 1, "nowhere.txt: no such file"),
        (["{run}", "--size", "tiny"], 2, "is a run, whose settings are settled"),
        (["{text}", "--copied"], 2, "--copied asks a run to write"),
        (["{text}", "--set", "train.epoch=3"], 2, "train.epoch: unknown key. Did you mean epochs?"),
        (["{empty}"], 1, "empty"),
    ],
)
def test_mistakes_are_one_line(folder, tmp_path, capsys, arguments, code, message):
    (tmp_path / "empty.txt").touch()
    names = {"run": folder / "run", "text": folder / "prose.txt", "empty": tmp_path / "empty.txt"}
    assert run(["doctor", *(argument.format(**names) for argument in arguments)]) == code
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
