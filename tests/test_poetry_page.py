"""docs/poetry.md: the commands it shows run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from nextword.cli import run

PAGE = Path(__file__).resolve().parents[1] / "docs" / "poetry.md"


def test_the_commands_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for line in "".join(blocks).splitlines():
        program, *arguments = shlex.split(line)
        if program == "printf":
            text, _, name = arguments
            Path(name).write_text(text.replace("\\n", "\n"), encoding="utf-8")
        else:
            assert run(arguments) == 0, capsys.readouterr().err
            out = capsys.readouterr().out
            assert "check" not in arguments or "in form" in out or '"in_form": true' in out
