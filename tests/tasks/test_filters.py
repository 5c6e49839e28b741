"""Pairs that are no translations are taken out, each for its reason, and counted."""

import json
from pathlib import Path

import pytest

from nextword.cli import run
from nextword.tasks.filters import PairFilter, reasons
from nextword.text.records import Example, Record

GOOD = [("Go away.", "走开。"), ("I am at home today.", "我今天在家。"), ("It is 7.", "七点了。")]


def reasons_of(pairs, **settings):
    records = [(Record({}, "x:1"), Example(*pair)) for pair in pairs]
    return [reason for _, reason in reasons(records, PairFilter(**settings))]


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (("", "走"), "empty"),
        (("Go!", " go! "), "identical"),
        (("word " * 201, "字" * 150), "length"),
        (("Go.", "我今天在家里等了很久"), "ratio"),
        (("a b c d e f g h i j k l", "字"), "ratio"),
        (("走开吧。", "走开。"), "script"),
        (("Go away now.", "Go away."), "script"),
        (("1984", "1984年"), ""),
        (GOOD[0], "duplicate"),
        (("go  AWAY.", "走开。"), "duplicate"),
        (("Go away!", "走开。"), ""),
    ],
)
def test_each_has_its_reason(pair, reason):
    assert reasons_of([*GOOD, pair]) == ["", "", "", reason]


def test_what_is_asked_for_counts():
    assert reasons_of([GOOD[0], GOOD[0]], duplicates=True) == ["", ""]
    assert reasons_of(GOOD, target_script="Latin") == ["script"] * 3
    assert reasons_of([("one two three four five six seven", "一")], max_ratio=7) == [""]
    assert reasons_of([("ありがとうございます", "Thank you"), ("東京都", "Tokyo")]) == ["", ""]
    assert reasons_of([("", "")]) == ["empty"]


def test_the_command_writes_what_is_left(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [*GOOD, ("x\ty", "走 开"), ("", "空"), GOOD[0]]
    lines = (json.dumps({"en": en, "zh": zh, "id": number}) + "\n" for number, (en, zh) in enumerate(rows))
    Path("a.jsonl").write_text("".join(lines), encoding="utf-8")
    assert run(["data", "pairs", "a.jsonl", "--out", "b.tsv"]) == 0
    out = capsys.readouterr().out
    assert "b.tsv: 4 of 6 pairs" in out
    assert "a.jsonl:6" in out
    kept = Path("b.tsv").read_text(encoding="utf-8").splitlines()
    assert kept[0] == "en\tzh\tid"
    assert kept[4] == "x y\t走 开\t3"
    assert run(["data", "pairs", "b.tsv", "--out", "c.jsonl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"read": 4, "kept": 4, "dropped": {}}
    assert json.loads(Path("c.jsonl").read_text(encoding="utf-8").splitlines()[1])["en"] == GOOD[1][0]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["a.tsv", "--out", "a.tsv"], 2, "--out a.tsv is one of the inputs"),
        (["a.tsv", "--out", "b.xls"], 2, "--out b.xls: unknown kind of file"),
        (["a.tsv", "--out", "b.tsv", "--source-script", "Latn"], 2, "'Latn' is no script that is known"),
        (["a.tsv", "--out", "b.tsv", "--max-words", "1"], 1, "no pair is left of 1"),
    ],
)
def test_mistakes_are_one_line(arguments, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a.tsv").write_text("en\tzh\nGo away.\t走开。\n", encoding="utf-8")
    assert run(["data", "pairs", *arguments]) == code
    assert message in capsys.readouterr().err
    assert not Path("b.tsv").exists()
