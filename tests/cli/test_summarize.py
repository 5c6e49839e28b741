"""`nextword summarize`: from a file, with sources, in JSON; mistakes in one line."""

import json
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from nextword import corpora
from nextword.applied.summarizer import Statement, Summarizer, Summary
from nextword.cli import console, run
from nextword.text.placeholders import SYMBOLS

TINY = ["--set", "model.hidden_size=8", "--set", "model.num_layers=1", "--set", "model.num_heads=2", "--steps", "2"]
ROWS = [row for row in corpora.rows("python-docs") if len(row["document"]) < 300][:30]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt next to nothing."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    data = str(folder / "docs.jsonl")
    assert run(["train", data, "--task", "summarization", "--out", str(folder / "run"), *TINY]) == 0
    return folder


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    capsys.readouterr()


def test_a_file_is_summarized(tmp_path, capsys):
    path = tmp_path / "text.txt"
    path.write_text(ROWS[0]["document"], encoding="utf-8")
    assert run(["summarize", "run", str(path), "--words", "2-4", "--num-beams", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parts"] == 1
    assert {"text", "statements", "unsupported", "novelty", "compression"} <= found.keys()
    assert run(["summarize", "run", str(path), "--words", "2-4", "--num-beams", "2"]) == 0
    assert capsys.readouterr().out == found["text"] + "\n"


def test_a_run_taken_together_with_itself_says_the_same(capsys):
    said = []
    for more in ([], ["--with", "run"]):
        assert run(["summarize", "run", "Ann went to the sea. It was cold.", "--json", *more]) == 0
        said.append(json.loads(capsys.readouterr().out)["text"])
    assert said[0] == said[1]


def test_what_no_sentence_of_the_text_has_comes_from_none(monkeypatch, capsys):
    statements = [Statement("Rain.", 2, "It rained.", 0.5), Statement("Snow.", 1, "Anna left.", 0.0)]
    found = Summary("Rain. Snow.", statements, [], 0.0, 1, 2.0, 7)
    monkeypatch.setattr(Summarizer, "summarize", lambda *arguments, **settings: found)
    assert run(["summarize", "run", "x", "--sources"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "Rain.",
        "    2 (50% of its words): It rained.",
        "Snow.",
        "    no sentence of the text has any of its words",
    ]
    assert "tokens not read: 7" in captured.err


def test_only_what_the_model_is_shown_is_warned_of(monkeypatch, capsys):
    monkeypatch.setattr(Summarizer, "summarize", lambda *arguments, **settings: Summary("a", [], [], 0.0, 1, 2.0, 0))
    monkeypatch.setattr("nextword.cli.summarize.warn_unknown", lambda tokenizer, text: print(text, file=sys.stderr))
    load = Summarizer.load

    def with_symbols(*arguments):
        found = load(*arguments)
        found.symbols = SYMBOLS
        return found

    monkeypatch.setattr(Summarizer, "load", with_symbols)
    assert run(["summarize", "run", "小明：你好\n小红：小明好"]) == 0
    assert capsys.readouterr().err == "①：你好\n②：①好\n"


@pytest.mark.parametrize(
    ("flags", "total", "said"), [([], 3, ["", "", ""]), (["--again"], 4, ["", "", "again", "again"])]
)
def test_the_bar_has_room_for_the_summary_of_summaries(flags, total, said, monkeypatch):
    bars = []

    @contextmanager
    def counting(label, total):
        bars.append((total, []))
        yield bars[-1][1].append

    def summarize(self, text, *, told, **settings):
        for part in ["a", "b", "c", *flags]:
            told(part)
        return Summary("a", [], [], 0.0, 3, 2.0, 0)

    monkeypatch.setattr(console, "counting", counting)
    monkeypatch.setattr(Summarizer, "parts", lambda self, text, length: ["a", "b", "c"])
    monkeypatch.setattr(Summarizer, "summarize", summarize)
    assert run(["summarize", "run", "a b c", *flags]) == 0
    assert bars == [(total, said)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "x", "--words", "many"], "--words 'many': expected a number or two"),
        (
            ["run", "x", "--length", "short"],
            "this run knows no lengths: it was trained without task.length_buckets. Say",
        ),
        (["run", "..."], "nothing to summarize"),
        (["run", "nosuch.txt"], "nosuch.txt: no such file"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    assert run(["summarize", *arguments]) == 2
    assert message in capsys.readouterr().err
