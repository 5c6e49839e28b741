"""docs/dialogue.md: all that it shows runs, in order, on a thirtieth of the time."""

import io
import re
import shlex
import sys
from pathlib import Path

import pytest

from nextword.cli import run
from nextword.cli.chat import COMMANDS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "dialogue.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_all_commands_of_a_conversation_are_told():
    for name in COMMANDS:
        assert f"`{name.split()[0]}" in TEXT or name.split()[0] in ("/help", "/quit")


@pytest.mark.long
def test_the_page_runs_from_beginning_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for kind, text in re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE):
        if kind == "python":
            exec(compile(text, PAGE.name, "exec"), {})
            continue
        for line in text.splitlines():
            command, _, file = line.partition(" < ")
            typed = Path(file).read_bytes() if file else b""
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed), encoding="utf-8"))
            program, *arguments = shlex.split(command)
            assert program == "nextword"
            code = run(["2s" if word == "60s" else word for word in arguments])
            assert code == 0, f"{line}\n{capsys.readouterr().err}"
    assert Path("judge.html").is_file()
    assert Path("runs/talk/chat_template.jinja").is_file()
    out = capsys.readouterr().out
    shown = ("bits per byte", "reference", "distinct-1", "distinct-2", "entropy", "repetition", "copied", "length")
    assert [name for name in shown if name not in out] == []
