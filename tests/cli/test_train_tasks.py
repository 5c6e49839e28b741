"""Tasks from the command line: trained by one command, and remembered by the run."""

import json
import re
from pathlib import Path

import pytest

from nextword.checkpoint import read_config
from nextword.cli import run

TINY = ["--set", "model.hidden_size=8", "--set", "model.num_layers=1", "--set", "train.precision='float32'"]
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

OTHERWISE = {"tokenized": False, "placeholders": True, "length_buckets": 0, "length_bounds": []}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    digits = [str(n) for n in range(60)]
    Path("n.en").write_text("".join(" ".join(NUMBERS[int(d)] for d in n) + "\n" for n in digits), encoding="utf-8")
    Path("n.zh").write_text(
        "".join("".join("〇一二三四五六七八九"[int(d)] for d in n) + "\n" for n in digits), encoding="utf-8"
    )
    return tmp_path


def train(*arguments: str) -> int:
    return run(["train", "--out", "run", "--steps", "3", *TINY, *arguments])


def test_a_run_knows_its_task(capsys):
    assert train("n.en", "n.zh", "--task", "translation", "--valid", "n.en", "--valid", "n.zh") == 0
    captured = capsys.readouterr()
    assert "task: translation, en to zh" in captured.err
    assert "try it:      nextword translate run" in captured.out
    config = read_config(Path("run"))
    assert config["task"] == {"name": "translation", "languages": ["en", "zh"]} | OTHERWISE
    assert config["model"]["type"] == "gru-attention"
    assert (config["data"]["prompt_field"], config["data"]["target_field"]) == ("en", "zh")
    assert config["corpus"]["sources"] == ["n.en, n.zh"]
    assert json.loads(Path("run/generation_config.json").read_text(encoding="utf-8"))["num_beams"] == 5
    assert "| task | translation, en to zh |" in Path("run/README.md").read_text(encoding="utf-8")
    assert run(["train", "--resume", "--out", "run", "--steps", "4"]) == 0
    assert read_config(Path("run"))["task"] == config["task"]


def test_of_a_long_source_a_sample_has_both_ends_and_what_was_made_of_it(capsys):
    long = "".join(f"{NUMBERS[i % 10]} " for i in range(60))
    Path("long.tsv").write_text(f"document\tsummary\nfirst {long} last\tsum\n" * 9, encoding="utf-8")
    assert train("long.tsv", "--valid", "long.tsv", "--task", "summarization") == 0
    shown = " ".join(capsys.readouterr().err.split())  # a narrow terminal has it in several lines
    assert re.search(r"first zero one [a-z ]* … [a-z ]* last → ", shown)
    assert train("long.tsv", "--task", "summarization", "--set", "model.max_seq_len=40", "--out", "short") == 0
    assert "first zero one two three four five six → " in " ".join(capsys.readouterr().err.split())  # 39 characters


def test_a_recipe_names_its_task(capsys):
    Path("r.toml").write_text('[task]\nname = "translation"\n[train]\nsteps = 3\n', encoding="utf-8")
    assert run(["train", "n.zh", "n.en", "--config", "r.toml", "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert "[task]" in printed
    assert 'languages = ["zh", "en"]' in printed
    Path("again.toml").write_text(printed, encoding="utf-8")
    assert run(["train", "n.zh", "n.en", "--config", "again.toml", "--print-config"]) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["n.en", "--example", "--task", "translation"], "--example stands in place of DATA, got n.en"),
        (["--example"], "--example: expected --task translation or summarization"),
        (["--task", "translation"], "DATA is missing"),
        (["n.en", "n.zh", "--task", "translation", "--set", "task.langauges=1"], "Did you mean languages?"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    assert train(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not Path("run").exists()
