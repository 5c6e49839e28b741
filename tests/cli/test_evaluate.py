"""`nextword evaluate` agrees with scoring by hand, document by document."""

import json
import math
from pathlib import Path

import pytest

from nextword import corpora
from nextword.cli import run
from nextword.generator import TextGenerator

POEMS = corpora.load("tang")[:40]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs `lstm` and `transformer`, whose context is 64 characters."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "poems.txt").write_text("\n\n".join(POEMS), encoding="utf-8")
    common = ["--steps", "4", "--set", "train.precision='float32'", "--set", "model.num_layers=1"]
    for name, size in (("lstm", []), ("transformer", ["--set", "model.max_seq_len=64", "--set", "model.num_heads=2"])):
        options = ["--model", name, "--set", "model.hidden_size=8", *size, *common]
        assert run(["train", str(folder / "poems.txt"), "--out", str(folder / name), *options]) == 0
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    capsys.readouterr()
    assert run(["evaluate", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_one_document_is_what_score_says(name, runs, capsys):
    """One document that fits the context: the chain rule over it and its end, by another path of the code."""
    poem = POEMS[0]
    Path("one.txt").write_text(poem, encoding="utf-8")
    figures = evaluate(capsys, runs / name, "one.txt")
    scored = TextGenerator.load(runs / name).score(poem, include_eos=True)
    assert figures["num_tokens"] == scored.num_tokens == len(poem) + 1
    assert figures["num_bytes"] == len(poem.encode())
    assert figures["loss"] * figures["num_tokens"] == pytest.approx(-scored.log_prob, rel=1e-5)
    assert figures["perplexity"] == pytest.approx(math.exp(figures["loss"]))
    assert figures["bits_per_byte"] == pytest.approx(-scored.log_prob / math.log(2) / figures["num_bytes"], rel=1e-5)


def test_documents_follow_each_other_in_the_carried_state(runs, capsys):
    Path("two.txt").write_text("\n\n".join(POEMS[:2]), encoding="utf-8")
    figures = evaluate(capsys, runs / "lstm", "two.txt")
    assert figures["num_documents"] == 2
    assert figures["num_tokens"] == sum(len(poem) + 1 for poem in POEMS[:2])
    lines = evaluate(capsys, runs / "lstm", "two.txt", "--documents", "line")
    assert lines["num_documents"] == 4


def test_the_way_of_reading_is_the_training_s(tmp_path, capsys):
    Path("lines.txt").write_text("\n".join(POEMS), encoding="utf-8")
    options = ["--model", "rnn", "--set", "model.hidden_size=8", "--documents", "line", "--steps", "1"]
    assert run(["train", "lines.txt", "--out", "r", *options]) == 0
    assert evaluate(capsys, "r", "lines.txt")["num_documents"] == 2 * len(POEMS)


def test_for_people_it_says_what_was_counted(runs, capsys):
    Path("text.txt").write_text(POEMS[0] + "Ω", encoding="utf-8")
    assert run(["evaluate", str(runs / "lstm"), "text.txt"]) == 0
    out = capsys.readouterr().out
    assert "bits per byte" in out
    assert "closing boundary token counts" in out
    assert "scored as <unk>: 1\n" in out


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such file"), (b"", "empty"), (b"\xff\xfea\0", "UTF-16"), (b"a\nb\xff", "byte 0xff at offset 3")],
)
def test_bad_text_is_one_line(content, said, runs, capsys):
    if content is not None:
        Path("bad.txt").write_bytes(content)
    assert run(["evaluate", str(runs / "lstm"), "bad.txt"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert said in line


def test_errors_replace_goes_on(runs, capsys):
    Path("bad.txt").write_bytes("春\n".encode() + b"\xff")
    assert evaluate(capsys, runs / "lstm", "bad.txt", "--errors", "replace")["unknown"] == 1


def test_no_run_there(capsys):
    assert run(["evaluate", "nowhere", "x.txt"]) == 1
    assert "no such folder" in capsys.readouterr().err
