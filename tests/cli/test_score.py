import io
import json
import math
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from toys import Bag, CharTokenizer, random_table

from nextword.cli import run
from nextword.generator import TextGenerator

LETTERS = CharTokenizer("abc明月 \n")


@pytest.fixture(autouse=True)
def generator(monkeypatch: pytest.MonkeyPatch) -> TextGenerator:
    """Whatever run folder is named, it holds this toy."""
    generator = TextGenerator(Bag(random_table(LETTERS.vocab_size)), LETTERS)
    monkeypatch.setattr(TextGenerator, "load", lambda folder, device="cpu": generator)
    stdin(monkeypatch, b"")
    return generator


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_the_table_multiplies_up(generator: TextGenerator, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "runs/x", "a明 \nb"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines[3:8]]
    assert [row[0] for row in rows] == ["a", "明", "␣", "↵", "b"]
    score = generator.score("a明 \nb")
    assert float(rows[-1][-1]) == pytest.approx(score.log_prob, abs=1e-4)
    assert math.prod(float(row[1]) for row in rows) == pytest.approx(math.exp(score.log_prob), rel=0.02)
    assert len({cell_len(line.rstrip()) for line in lines[3:8]}) == 1  # columns end alike beside wide characters
    assert any(line.startswith("perplexity") for line in lines)


def test_json_is_one_document_equal_to_the_library(
    generator: TextGenerator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["score", "runs/x", "明月", "--json", "--include-eos"]) == 0
    assert json.loads(capsys.readouterr().out) == generator.score("明月", include_eos=True).to_dict()


def test_file_stdin_and_argument_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "月.txt"
    file.write_bytes("﻿明月\r\n".encode())  # a byte order mark, a Windows newline
    stdin(monkeypatch, "明月\n".encode())
    outputs = []
    for arguments in (["明月"], ["--file", str(file)], ["-"]):
        assert run(["score", "runs/x", *arguments, "--json"]) == 0
        outputs.append(capsys.readouterr().out)
    assert len(set(outputs)) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([""], 2, "empty"),
        (["a", "--file", "b.txt"], 2, "both"),
        (["--file", "nowhere.txt"], 1, "nowhere.txt: No such file"),
        (["--file", "."], 1, "directory"),
        ([], 2, "empty"),
        (["a\udc80"], 2, "Unicode"),
        (["a", "--html", "."], 1, "cannot write"),
        (["a", "--html", f"{__file__}/page.html"], 1, "cannot write"),
    ],
)
def test_mistakes(arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "runs/x", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_unknown_characters_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "runs/x", "a?明?", "--json"]) == 0
    captured = capsys.readouterr()
    assert "'?' ×2" in captured.err
    json.loads(captured.out)


def test_html_writes_the_heat_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "new" / "heat.html"
    assert run(["score", "runs/x", "明月", "--html", str(page)]) == 0
    assert capsys.readouterr().out.strip() == str(page)
    assert "明" in page.read_text(encoding="utf-8")
