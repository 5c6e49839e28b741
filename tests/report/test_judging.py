"""A page that asks which reply is better, and does not tell whose it is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from base64 import b64decode
from math import comb
from pathlib import Path

import pytest
from interop_runs import random_run

from nextword.cli import run
from nextword.report.judging import Rivals, write_judging
from nextword.report.page import resource

TURNS = [{"role": "user", "content": "你好 </script><b>"}]


def data_of(page: Path) -> dict:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text(encoding="utf-8"))
    return json.loads(found[1])


def test_the_page_is_blind_and_the_key_opens_it(tmp_path: Path) -> None:
    items = [Rivals(TURNS, f"a{i}", f"b{i}") for i in range(40)]
    write_judging(items, ("runs/ann", "runs/安"), tmp_path / "judge.html", seed=3)
    text = (tmp_path / "judge.html").read_text(encoding="utf-8")
    assert "ann" not in text.split('id="data"')[1].split("</script>")[0]
    assert "安" not in text
    data = data_of(tmp_path / "judge.html")
    assert json.loads(b64decode(data["runs"])) == {"A": "runs/ann", "B": "runs/安"}
    key = b64decode(data["key"]).decode()
    assert 10 < key.count("1") < 30  # both sides, by chance
    for i, item in enumerate(data["items"]):
        assert item["replies"] == ([f"b{i}", f"a{i}"] if key[i] == "1" else [f"a{i}", f"b{i}"])
        assert item["turns"] == TURNS
    write_judging(items, ("runs/ann", "runs/安"), tmp_path / "again.html", seed=3)
    assert data_of(tmp_path / "again.html") == data
    assert "http" not in text.replace("http-equiv", "")  # nothing is asked of the network


def test_votes_are_counted_for_the_run_they_were_given_to() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    calls = """
    const votes = named(["left", "right", "left", "both", null, "neither"], "010000");
    console.log(JSON.stringify([votes, count(votes), signTest(9, 1), signTest(3, 3), signTest(0, 0)]));
    """
    done = subprocess.run([node, "-e", resource("judging.js") + calls], capture_output=True, text=True, check=True)
    votes, tally, unequal, equal, none = json.loads(done.stdout)
    assert votes == ["A", "A", "A", "both", None, "neither"]
    assert tally == {"A": 3, "B": 0, "both": 1, "neither": 1}
    assert unequal == pytest.approx(2 * (1 + comb(10, 1)) / 2**10)
    assert (equal, none) == (1, 1)


def test_two_runs_answer_the_same_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random_run(tmp_path / "a", type="gru", hidden_size=8)
    random_run(tmp_path / "b", type="gru", hidden_size=8, seed=2)
    asked = tmp_path / "asked.txt"
    asked.write_text("Is it?\n\n明月\nfox\n", encoding="utf-8")
    arguments = ["judge", str(tmp_path / "a"), str(tmp_path / "b")]
    options = ["--out", str(tmp_path / "page.html"), "-n", "2", "--set", "max_tokens=6", "--json"]
    assert run([*arguments, str(asked), *options]) == 0
    assert json.loads(capsys.readouterr().out) == {"page": str(tmp_path / "page.html"), "questions": 2, "equal": 0}
    assert [item["turns"][0]["content"] for item in data_of(tmp_path / "page.html")["items"]] == ["Is it?", "明月"]
    talk = tmp_path / "talk.jsonl"
    talk.write_text(json.dumps({"turns": ["fox", "dog", "Is it?", "Yes"]}) + "\n", encoding="utf-8")
    assert run([*arguments, str(talk), *options]) == 0
    assert [turn["content"] for turn in data_of(tmp_path / "page.html")["items"][0]["turns"]] == [
        "fox",
        "dog",
        "Is it?",
    ]
    assert run(["judge", str(tmp_path / "a"), str(tmp_path / "a"), str(asked), *options]) == 1
    assert "all replies of the two are equal" in capsys.readouterr().err
    asked.write_text("\n", encoding="utf-8")
    assert run([*arguments, str(asked), *options]) == 1
    assert run([*arguments, str(talk), "--out", str(tmp_path / "no" / "page.html")]) == 2
