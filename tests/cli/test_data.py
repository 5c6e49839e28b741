"""`nextword data inspect` and `clean`, as a user meets them."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from nextword.cli.data import app
from nextword.errors import DataError, UsageError
from nextword.text.records import read_records

TEXT = "床前明月光\n疑是地上霜\n\nschÃ¶n [red]x[/red]\x07\n\n床前明月光 疑是地上霜\n\nThe quick brown fox 🎉\n"


def run(*arguments: object, stdin: str = "") -> Result:
    """Run a command; errors come through as themselves, as `nextword.cli` expects them."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "raw.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_inspect_prints_tables(corpus):
    output = run("inspect", corpus).stdout
    for expected in ["Documents", "Latin", "Han", "█", "mojibake", "[red]x"]:
        assert expected in output
    assert "\x07" not in output  # nothing in a document reaches the terminal as a command


def test_inspect_json(corpus):
    result = run("inspect", corpus, "--json", "--documents", "line")
    assert json.loads(result.stdout)["documents"] == 5
    assert result.stderr == ""


@pytest.mark.parametrize(("command", "stage"), [(["inspect"], "reading"), (["clean", "--out", "out.txt"], "cleaning")])
def test_a_terminal_sees_the_bytes_go_by(corpus, monkeypatch, command, stage):
    monkeypatch.chdir(corpus.parent)
    screen = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr("nextword.cli.console.err", screen)
    run(*command, corpus)
    assert stage in screen.file.getvalue()
    assert f"{corpus.stat().st_size}/{corpus.stat().st_size} bytes" in screen.file.getvalue()


def test_inspect_stdin():
    assert json.loads(run("inspect", "-", "--json", stdin="一\n\n二").stdout)["documents"] == 2


@pytest.mark.parametrize("name", ["clean.txt", "clean.jsonl", "clean.txt.gz", "deeper/clean.jsonl.zst"])
def test_clean_writes_what_reads_back(corpus, name):
    if name.endswith(".zst"):
        pytest.importorskip("zstandard")
    out = corpus.parent / name
    result = run("clean", corpus, "--out", out)
    assert [record["text"] for record in read_records([out])] == [
        "床前明月光\n疑是地上霜",
        "schön [red]x[/red]",
        "The quick brown fox 🎉",
    ]
    assert "exact duplicates" in result.stdout
    assert "3 of 4 documents" in result.stdout
    first = out.read_bytes()
    run("clean", corpus, "--out", out)
    assert out.read_bytes() == first


def test_clean_keeps_documents_apart(tmp_path):
    source, out = tmp_path / "a.jsonl", tmp_path / "out.txt"
    source.write_text('{"text": "one\\n\\ntwo", "id": 7}\n{"text": "three"}\n', encoding="utf-8")
    run("clean", source, "--out", out)
    assert [record["text"] for record in read_records([out])] == ["one\ntwo", "three"]
    run("clean", source, "--out", out, "--documents", "line")
    assert out.read_text() == "one two\nthree\n"
    run("clean", source, "--out", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0]) == {"text": "one\n\ntwo", "id": 7}


def test_clean_options(corpus):
    out = corpus.parent / "out.txt"
    options = ["--script", "Han", "--duplicates", "none", "--no-whitespace", "--min-chars", "3", "--json"]
    report = json.loads(run("clean", corpus, "--out", out, *options).stdout)
    assert [step["name"] for step in report["steps"]] == ["mojibake", "unicode NFC", "control", "length", "script"]
    assert report["kept"] == 2


def test_clean_never_overwrites_its_input(corpus):
    with pytest.raises(UsageError, match="one of the inputs"):
        run("clean", corpus.parent, "--out", corpus)
    assert corpus.read_text(encoding="utf-8") == TEXT


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["--out", "out.docx"], UsageError, "unknown kind of file"),
        (["--out", "out.txt", "--documents", "lines"], UsageError, "documents: expected one of"),
        (["--out", "out.txt", "--unicode", "NFQ"], UsageError, "unicode: expected one of"),
        (["--out", "out.txt", "--script", "Chinese"], UsageError, "unknown script 'Chinese'"),
        (["--out", "out.txt", "--min-chars", "999"], DataError, "no document is left of 4: length dropped 4"),
        (["--out", "."], UsageError, "is a folder"),
    ],
)
def test_clean_mistakes_leave_nothing_behind(corpus, monkeypatch, options, error, message):
    monkeypatch.chdir(corpus.parent)
    with pytest.raises(error, match=message):
        run("clean", corpus, *options)
    assert list(corpus.parent.iterdir()) == [corpus]


def test_a_bad_line_leaves_the_older_file(tmp_path):
    source, out = tmp_path / "a.txt.gz", tmp_path / "out.txt"
    out.write_text("older")
    source.write_bytes(gzip.compress(b"good\n\nbad \xff\n"))
    with pytest.raises(DataError, match=r"a\.txt\.gz:3: not valid utf-8"):
        run("clean", source, "--out", out)
    assert out.read_text() == "older"
    assert sorted(tmp_path.iterdir()) == [source, out]
