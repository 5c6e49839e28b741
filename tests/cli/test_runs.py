"""Lists and reports of runs, and the settings of a run on paper."""

from __future__ import annotations

import json
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from nextword.cli import run
from nextword.training.recipe import complete

TEXT = "The sea was calm, and the whale was near. " * 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    (place / "sea.txt").write_text(TEXT, encoding="utf-8")
    for name, kind in (("a", "lstm"), ("deep/b", "transformer")):
        arguments = [
            "train",
            str(place / "sea.txt"),
            "--out",
            str(place / name),
            "--model",
            kind,
            "--tokenizer",
            "char",
        ]
        assert run([*arguments, "--steps", "3", "--size", "tiny", "--documents", "file"]) == 0
    (place / "other").mkdir()
    (place / "other" / "config.json").write_text("{}", encoding="utf-8")  # of another program
    return place


def test_runs_are_listed_with_their_figures(folder, capsys):
    assert run(["runs", str(folder), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {Path(one["run"]).name for one in listed} == {"a", "b"}
    assert {one["model"] for one in listed} == {"lstm", "transformer"}
    assert all(one["steps"] == 3 and one["parameters"] > 0 and one["text"] == "sea.txt" for one in listed)
    assert run(["runs", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "lstm" in shown
    assert "char" in shown


def test_a_report_of_several_runs_is_one_page(folder, tmp_path, capsys):
    page = tmp_path / "compare.html"
    assert run(["report", str(folder / "a"), str(folder / "deep" / "b"), "--out", str(page)]) == 0
    assert capsys.readouterr().out.strip() == str(page)
    assert "lstm" in page.read_text(encoding="utf-8")
    assert run(["report", str(folder / "a")]) == 0
    assert (folder / "a" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["runs", "nowhere"], 2, "there is no folder nowhere"),
        (["report", "nowhere"], 1, "nowhere is not a run folder"),
        (["report"], 2, "Missing argument"),
    ],
)
def test_what_is_not_there_is_named(arguments, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == code
    assert message in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(["runs", "empty"]) == 2
    assert "there is no run in empty" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_the_printed_settings_are_a_recipe_of_the_same_run(kind, capsys):
    assert run(["train", "--print-config", "--model", kind, "--budget", "90s", "--set", "train.ema=0.9"]) == 0
    printed = capsys.readouterr().out
    values = {"model": {"type": kind}, "train": {"budget": 90.0, "ema": 0.9}}
    assert _filled(complete(tomllib.loads(printed), "")) == _filled(complete(values, "", "small"))
    lines = printed.splitlines()
    for before, line in pairwise(lines):
        assert before.startswith("# ") or line.startswith(("# ", "[")) or not line, f"no word on {line}"


def _filled(recipe):
    """The recipe with every setting of its model written out."""
    from dataclasses import replace

    from nextword.models import model_config

    return replace(recipe, model=model_config(recipe.model).model_dump(mode="json"))


def test_the_settings_are_chosen_for_the_text(tmp_path, capsys):
    (tmp_path / "poem.txt").write_text("床前明月光，疑是地上霜。\n" * 50, encoding="utf-8")
    assert run(["train", str(tmp_path / "poem.txt"), "--print-config"]) == 0
    assert tomllib.loads(capsys.readouterr().out)["tokenizer"]["type"] == "char"
