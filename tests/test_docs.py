"""The pages on models that encode and on tasks: all that they show runs, in order, in a little of the time."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from nextword import corpora
from nextword.cli import run
from nextword.training.recipe import complete

DOCS = Path(__file__).resolve().parents[1] / "docs"
BUDGETS = ("60s", "5m")


@pytest.mark.parametrize(
    "page",
    [
        "encoder-decoder.md",
        *(pytest.param(page, marks=pytest.mark.slow) for page in ("translation.md", "summarization.md")),
    ],
)
def test_the_page_runs_from_beginning_to_end(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if page == "summarization.md":  # data of the reader's own; and of the embedded one, enough
        rows = [row for row in corpora.rows("python-docs") if len(row["document"]) < 300][:30]
        Path("docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:3]), encoding="utf-8")
        monkeypatch.setattr(corpora, "rows", lambda name: rows)
    blocks = re.findall(
        r"^```(\w+)\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    assert {kind for kind, _ in blocks} <= {"python", "sh", "toml"}
    names: dict = {}
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, page, "exec"), names)
        elif kind == "toml":
            complete(tomllib.loads(text), "some text")
        else:
            for line in text.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "nextword"
                code = run(["2s" if word in BUDGETS else word for word in arguments])
                assert code == 0, f"{line}\n{capsys.readouterr().err}"
    assert "perplexity" in capsys.readouterr().out
