"""docs/encoder-decoder.md: all that it shows runs, in order, on a thirtieth of the time."""

import re
import shlex
import tomllib
from pathlib import Path

from nextword.cli import run
from nextword.training.recipe import complete

PAGE = Path(__file__).resolve().parents[1] / "docs" / "encoder-decoder.md"


def test_the_page_runs_from_beginning_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert {kind for kind, _ in blocks} == {"python", "sh", "toml"}
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, PAGE.name, "exec"), {})
        elif kind == "toml":
            complete(tomllib.loads(text), "some text")
        else:
            for line in text.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "nextword"
                code = run(["2s" if word == "60s" else word for word in arguments])
                assert code == 0, f"{line}\n{capsys.readouterr().err}"
    assert "perplexity" in capsys.readouterr().out
