"""`nextword chat`: through a pipe, and on a pseudo-terminal as somebody would use it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from interop_runs import save_run
from toys import Bag, Recital, random_table

from nextword.cli import run
from nextword.cli.prompt import Lines
from nextword.generator import TextGenerator
from nextword.generator import chat as talking
from nextword.text.chat import CHATML
from nextword.tokenizers import TokenizerConfig, train_tokenizer

TALK = "User: 你好\nAssistant: 你也好！\nUser: How are you?\nAssistant: Fine.\nUser:"
TOKENIZER = train_tokenizer(
    TokenizerConfig(type="char", special_tokens=("<|im_end|>",)), [TALK + "System: anything/\\"]
)


def reciter(text: str = TALK) -> TextGenerator:
    return TextGenerator(Recital(text, TOKENIZER), TOKENIZER)


@pytest.fixture(autouse=True)
def trained_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of these tests, most of which are in no folder."""
    monkeypatch.setattr(talking, "read_config", lambda folder: {})


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs the command with a text for its stdin."""

    def run_with(text: str | bytes, *arguments: str, generator: TextGenerator | None = None) -> int:
        data = text.encode() if isinstance(text, str) else text
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        if generator is not None:
            monkeypatch.setattr(TextGenerator, "load", lambda folder, **options: generator)
        return run(["chat", *arguments])

    return run_with


# -- through a pipe --------------------------------------------------------------------------------------------------


def test_each_line_is_said_and_each_reply_printed(pipe, capsys: pytest.CaptureFixture[str]) -> None:
    assert pipe("你好\n\nHow are you?\n", "runs/x", generator=reciter()) == 0
    captured = capsys.readouterr()
    assert captured.out == "你也好！\nFine.\n"
    assert captured.err == ""


def test_json_is_one_document(pipe, capsys: pytest.CaptureFixture[str]) -> None:
    assert pipe("你好\nHow are you?", "runs/x", "--json", generator=reciter()) == 0
    document = json.loads(capsys.readouterr().out)
    assert [turn["content"] for turn in document["messages"]] == ["你好", "你也好！", "How are you?", "Fine."]
    assert [reply["finish_reason"] for reply in document["replies"]] == ["stop", "stop"]


def test_a_conversation_is_saved_and_resumed(pipe, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    saved = tmp_path / "talk.jsonl"
    assert pipe(f"你好\n/save {saved}\n/save {tmp_path / 'no' / 'x'}\n", "runs/x", generator=reciter()) == 0
    captured = capsys.readouterr()
    assert captured.err == f"saved to {saved}\nnot saved: there is no folder {tmp_path / 'no'}\n"
    assert json.loads(saved.read_text(encoding="utf-8"))["messages"][1] == {"role": "assistant", "content": "你也好！"}
    text = tmp_path / "talk.txt"
    assert pipe(f"How are you?\n/save {text}", "runs/x", "--resume", str(saved), generator=reciter()) == 0
    assert capsys.readouterr().out == "Fine.\n"
    assert text.read_text(encoding="utf-8") == TALK.removesuffix("User:")


def test_commands(pipe, capsys: pytest.CaptureFixture[str]) -> None:
    said = "你好\n/retry\nHow?\n/undo\n/edit How\\\n/new\n/system Any thing.\n/system -\n/help\n/why\n/quit\ntoo late\n"
    generator = TextGenerator(Bag(random_table(TOKENIZER.vocab_size)), TOKENIZER)
    assert pipe(said, "runs/x", "--seed", "1", "--max-tokens", "5", generator=generator) == 0
    captured = capsys.readouterr()
    assert "taken back: How?\nAny thing.\nno words of the system\n/retry " in captured.err
    assert "perplexity " in captured.out
    assert "too late" not in captured.err


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("/rerty\n", "unknown command /rerty. Did you mean /retry?"),
        ("/retry\n", "nothing has been said yet"),
        ("/why\n", "nothing has been said yet"),
        ("/save\n", "/save needs the name of a file. Such as: /save talk.jsonl"),
        ("/save x.jsonl\n", "nothing has been said yet"),
        ("/edit\n", "/edit needs the new text. Such as: /edit How are you?"),
        ("你\\\n好\n/edit\n", "/edit: what you said has several lines. Give the new text: /edit How are you?"),
        ("好\n好".encode() + b"\n\xff\n", "stdin: line 3 is not UTF-8. Convert it first: iconv -f GB18030 -t UTF-8"),
    ],
)
def test_a_mistake_in_a_pipe_ends_it_with_one_line(pipe, capsys, said: str | bytes, complaint: str) -> None:
    assert pipe(said, "runs/x", generator=reciter()) in (1, 2)
    assert capsys.readouterr().err == f"Error: {complaint}\n"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (
            '{"messages": [{"role": "usr", "content": "a"}]}',
            "talk.jsonl:1: turn 1 has the role 'usr'. Did you mean user?",
        ),
        ('{"messages": []}\n{"messages": []}', "talk.jsonl has several conversations. Expected one"),
    ],
)
def test_what_cannot_be_resumed(pipe, capsys, tmp_path: Path, content: str, complaint: str) -> None:
    file = tmp_path / "talk.jsonl"
    file.write_text(content, encoding="utf-8")
    assert pipe("Hi\n", "runs/x", "--resume", str(file), generator=reciter()) == 1
    assert capsys.readouterr().err.endswith(f"{complaint}\n")


def test_a_run_talks_by_its_template(pipe, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    save_run(tmp_path, {"type": "gru", "hidden_size": 8}, TOKENIZER)
    (tmp_path / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    options = ["--temperature", "0", "--max-tokens", "3", "--json"]
    assert pipe("你好\n", str(tmp_path), "--system", "好", *options) == 0
    assert json.loads(capsys.readouterr().out)["messages"][0] == {"role": "system", "content": "好"}
    assert pipe("Hi\n", str(tmp_path / "nowhere")) == 1
    assert capsys.readouterr().err.startswith("Error: ")


@pytest.mark.parametrize(
    ("typed", "texts"),
    [
        ("a\\\n  b\\\nc\nd\n", ["a\n  b\nc", "d"]),
        ('"""\na\n\n b\n"""\nc\n', ["a\n\n b", "c"]),
        ('"""a"""\n"""b\nc""" d\n', ["a", "b\nc"]),
        ('"""a\nb', ["a\nb"]),
        ("a\\", ["a\n"]),
        ("\ufeff你好\r\n", ["你好"]),
        ("", []),
    ],
)
def test_texts_of_several_lines(monkeypatch: pytest.MonkeyPatch, typed: str, texts: list[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed.encode()), encoding="utf-8"))
    lines = Lines()
    assert list(iter(lambda: lines.read("> "), None)) == texts


# -- on a terminal ---------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    from terminals import Terminal

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    opened = []

    def open_terminal(generator: TextGenerator, *arguments: str) -> Terminal:
        opened.append(Terminal(generator, ["chat", "runs/x", *arguments]))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()


def test_from_the_first_word_to_the_last(terminal, tmp_path: Path) -> None:
    session = terminal(reciter())
    assert "/help lists" in session.wait("> ")
    assert "你也好！" in session.press("你好\n", "> ")
    assert "Did you mean /why?" in session.press("/wy\n", "> ")
    assert "Fine." in session.press("How are you?\n", "> ")
    assert "How are you?" in session.press("/edit\n", "you?")  # the last words, to be changed
    assert "Fine." in session.press("\n", "> ")
    assert "你好" in session.press("\x1b[A\x1b[A\x1b[A\x1b[A\x1b[A", "你好")  # the arrows find earlier lines
    session.press("\x15/quit\n", "\n")
    assert session.end() == 0
    history = (tmp_path / "nextword" / "chat_history").read_text(encoding="utf-8")
    assert history.splitlines()[:2] == ["你好", "/wy"]
    assert "你好" in terminal(reciter()).press("\x1b[A" * 6, "你好")  # of the session before


class Endless(Recital):
    """Never comes to an end of what it says."""

    def features(self, *arguments, **options):
        import time

        time.sleep(0.01)
        return super().features(*arguments, **options)


def test_ctrl_c_stops_the_reply_and_then_the_program(terminal) -> None:
    generator = TextGenerator(Endless("User: How?\nAssistant: " + "any" * 1000, TOKENIZER), TOKENIZER)
    session = terminal(generator, "--max-tokens", "3000")
    session.wait("> ")
    session.press("How?\n", "anyany", pause=0)
    session.press("\x03", "> ")
    assert "anyany" in session.press("/retry\n", "anyany", pause=0)
    session.press("\x03", "> ")
    session.press("\x03", "")
    assert session.end() == 130


def test_ctrl_c_at_the_prompt_asks_first(terminal) -> None:
    session = terminal(reciter())
    session.wait("> ")
    assert "Ctrl-C again" in session.press("\x03", "> ")
    session.press("你好\n", "> ")
    assert "Ctrl-C again" in session.press("\x03", "> ")
    session.press("\x04", "")
    assert session.end() == 0


def test_ctrl_c_leaves_an_edit_and_not_the_program(terminal) -> None:
    session = terminal(reciter())
    session.wait("> ")
    session.press("你好\n", "> ")
    session.press("/edit\n", "你好")
    assert "nothing was changed" in session.press("\x03", "> ")
    assert "taken back: 你好" in session.press("/undo\n", "> ")
    session.press("/quit now\n", "")
    assert session.end() == 0
