import io
import json
import re
import sys

import pytest
from toys import CharTokenizer, Recital

from nextword.cli import run
from nextword.decoding.config import GenerationConfig
from nextword.generator import TextGenerator

POEM = "床前明月光，\n疑是地上霜。"


@pytest.fixture(autouse=True)
def recital(monkeypatch: pytest.MonkeyPatch) -> TextGenerator:
    """Whatever run folder is named, it holds a model that recites POEM."""
    tokenizer = CharTokenizer(POEM.replace("\n", "") + "\n")
    generator = TextGenerator(Recital(POEM, tokenizer), tokenizer, GenerationConfig(max_tokens=40))
    monkeypatch.setattr(TextGenerator, "load", lambda folder, device="cpu": generator)
    stdin(monkeypatch, b"")
    return generator


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_the_prompt_comes_first_and_the_text_follows(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "runs/x", "床前"]) == 0
    captured = capsys.readouterr()
    assert captured.out == POEM + "\n"
    assert captured.err == ""


@pytest.mark.parametrize("arguments", [["-"], []])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_stdin_without_its_last_newline(
    arguments: list[str], end: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin(monkeypatch, "床前".encode() + end)
    assert run(["generate", "runs/x", *arguments]) == 0
    assert capsys.readouterr().out == POEM + "\n"


def test_no_prompt_starts_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "runs/x"]) == 0
    assert capsys.readouterr().out == POEM + "\n"


def test_stop_and_max_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "runs/x", "床", "--stop", "zzz", "--stop", r"\n"]) == 0
    assert capsys.readouterr().out == "床前明月光，\n"
    assert run(["generate", "runs/x", "床", "--max-tokens", "2"]) == 0
    assert capsys.readouterr().out == "床前明\n"


def test_several_samples_are_separated(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "runs/x", "床", "-n", "3"]) == 0
    assert re.split(r"\n-+\n", capsys.readouterr().out.strip()) == [POEM] * 3


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "runs/x", "床", "--json", "-n", "2", "--seed", "5", "--temperature", "0"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["prompt"] == "床"
    assert [sample["seed"] for sample in document["samples"]] == [5, 6]
    for sample in document["samples"]:
        assert list(sample) == ["text", "finish_reason", "token_ids", "log_prob", "seed"]
        assert (sample["text"], sample["finish_reason"]) == (POEM[1:], "eos")


def test_unknown_characters_are_told_with_their_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "runs/x", "龘床龘€"]) == 0
    captured = capsys.readouterr()
    assert "'龘' ×2" in captured.err
    assert "'€' ×1" in captured.err
    assert captured.out.startswith("龘床龘€")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", "-1"], "temperature: expected a number of at least 0"),
        (["--top-p", "1.5"], "top_p"),
        (["--max-tokens", "0"], "max_tokens"),
        (["--temperature", "hot"], "--temperature"),
        (["--stop", ""], "stop"),
        (["--temprature", "1"], "--temperature"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["generate", "runs/x", "床", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("Error: ")


def test_stdin_that_is_not_utf8_names_the_byte(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin(monkeypatch, "床".encode("gb18030"))
    assert run(["generate", "runs/x"]) == 1
    assert "not UTF-8: byte 0xb4 at offset 0" in capsys.readouterr().err
