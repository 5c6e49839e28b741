"""The script that leaves out copies of conversations, within files and between them."""

import json
import runpy
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "distinct_conversations.py"


def test_every_conversation_stands_once(tmp_path, monkeypatch, capsys):
    train = [["Hi", "你好"], ["Hi", "Hello"], ["hi ", "你 好"], ["Hi你好"]]
    valid = [["HI", "hello"], ["Who?", "Me"], ["who?", "Me"]]
    for name, talks in (("train", train), ("valid", valid)):
        lines = [json.dumps({"turns": turns, "id": n}) + "\n" for n, turns in enumerate(talks)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    files = [str(tmp_path / f"{name}.jsonl") for name in ("train", "valid")]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(tmp_path / "out"), *files])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    kept = [
        [
            json.loads(line)["id"]
            for line in (tmp_path / "out" / Path(file).name).read_text(encoding="utf-8").splitlines()
        ]
        for file in files
    ]
    assert kept == [[0, 1, 3], [1]]
    assert "valid.jsonl: 1 of 3 conversations" in capsys.readouterr().out
