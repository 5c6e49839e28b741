"""What a time budget chooses: more of everything for more time, nothing that was given, and it says why."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.config import parse
from nextword.models import model_config
from nextword.training.budget import PROBE_SECONDS, measure, plan
from nextword.training.config import TrainConfig
from nextword.training.new_run import new_run
from nextword.training.recipe import chooses_by_time, complete
from nextword.training.settling import settle

LAPTOP = 4e11  # operations/s
ENGLISH = "To be, or not to be, that is the question. " * 5000


def width(seconds=166.0, rate=LAPTOP, characters=1_000_000):
    return plan("", seconds, rate, characters, 1.0, 65).model["hidden_size"]


@given(
    seconds=st.floats(1, 1e6),
    more=st.floats(1, 100),
    rate=st.floats(1e9, 1e15),
    characters=st.integers(1, 10**10),
    vocab_size=st.integers(2, 200_000),
)
def test_it_is_a_recipe_and_time_never_shrinks_the_model(seconds, more, rate, characters, vocab_size):
    for kind in ("", "rnn", "gru", "lstm", "transformer"):
        chosen = plan(kind, seconds, rate, characters, 3.0, vocab_size)
        model_config(chosen.model | {"vocab_size": vocab_size})
        assert 0 <= chosen.model["dropout"] <= 0.5
        parse(TrainConfig, chosen.train | {"budget": seconds}, "train")
        assert 4 <= len(chosen.reasons) + 1 <= 5
    assert width(seconds * more, rate, characters) >= width(seconds, rate, characters)
    assert width(seconds, rate * more, characters) == width(seconds * more, rate, characters)


def test_it_is_what_was_measured():
    """The one experiment that the rule starts from (LOG.md): a GRU of 512 for 166 s, read some three times."""
    chosen = plan("", 166, LAPTOP, 1_003_854, 1.0, 65)
    assert (chosen.model["type"], chosen.model["hidden_size"]) == ("gru", 512)
    assert chosen.model["dropout"] < 0.1


def test_little_text_gets_a_small_model_and_much_dropout():
    assert width(600, characters=30_000) < width(600)
    assert (
        plan("", 600, LAPTOP, 30_000, 1.0, 65).model["dropout"] > plan("", 600, LAPTOP, 10**6, 1.0, 65).model["dropout"]
    )
    assert plan("", 6000, LAPTOP, 30_000, 1.0, 65).model["dropout"] == 0.5
    assert plan("", 600, LAPTOP, 10**9, 1.0, 65).model["dropout"] == 0.0


def test_the_rate_rises_for_a_tenth_of_a_short_run_at_most():
    assert plan("", 3, LAPTOP, 10**6, 1.0, 5000).train["warmup_steps"] < 15
    assert plan("", 600, LAPTOP, 10**6, 1.0, 65).train["warmup_steps"] == 50


def test_a_recipe_says_what_a_budget_chose():
    recipe = complete({"train": {"budget": 166.0}, "tokenizer": {"type": "char"}}, ENGLISH, rate=LAPTOP)
    assert recipe.model["type"] == "gru"
    assert len(recipe.reasons) == 5
    assert "as asked for" in recipe.reasons[1]


def test_what_is_given_goes_before_it():
    values = {
        "train": {"budget": 166.0, "learning_rate": 0.5, "context": 32},
        "model": {"type": "lstm", "dropout": 0.3},
    }
    recipe = complete(values, ENGLISH, rate=LAPTOP)
    assert (recipe.model["type"], recipe.model["dropout"]) == ("lstm", 0.3)
    assert (recipe.train.learning_rate, recipe.train.context) == (0.5, 32)
    sized = complete({"model": {"hidden_size": 96, "num_heads": 4}}, ENGLISH, rate=LAPTOP)
    assert (sized.model["type"], sized.reasons) == ("transformer", ())


@pytest.mark.parametrize(
    ("values", "size", "chooses"),
    [
        ({}, "", True),
        ({"train": {"budget": "10m"}}, "", True),
        ({"train": {"steps": 5}}, "", False),
        ({"train": {"epochs": 1.0}}, "", False),
        ({"model": {"hidden_size": 64}}, "", False),
        ({}, "tiny", False),
        ({"model": {"type": "encoder-decoder"}}, "", False),
        ({"model": {"type": "gru"}}, "", True),
    ],
)
def test_only_time_has_something_to_choose(values, size, chooses):
    assert chooses_by_time(values, size) is chooses


@pytest.mark.parametrize("kind", ["", "transformer"])
def test_a_run_is_made_and_ends_on_time(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("nextword.training.settling.measure", lambda device: 1e9)
    text = tmp_path / "text.txt"
    text.write_text("床前明月光，疑是地上霜。\n" * 300, encoding="utf-8")
    values = {"train": {"budget": 3.0}, "model": {"type": kind} if kind else {}, "split": {"by": "tail"}}
    session = new_run(values, [text], tmp_path / "run")
    (*_, finished) = session.trainer.run()
    assert finished.reason == "completed"
    assert session.sections["chosen"][0].startswith("machine: ")
    assert session.finish()["seconds"] < 6


def test_the_machine_is_measured_once():
    assert PROBE_SECONDS <= 2
    assert measure() == measure() > 0


@pytest.mark.parametrize("kind", ["file", "rows", "mixture"])
def test_the_whole_text_counts_not_only_what_was_looked_at(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("nextword.training.settling.measure", lambda device: 1e9)
    rows = [{"text": "a word after another " * 10}] * 20_000
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    values, sources = {"train": {"budget": 60.0}}, [rows] if kind == "rows" else [str(path)]
    if kind == "mixture":
        few = tmp_path / "b.txt"
        few.write_text("few words", encoding="utf-8")
        values["mix"] = {"corpora": {"a": {"data": sources}, "b": {"data": [str(few)]}}}
        sources = []
    told = " ".join(settle(values, sources).reasons)
    characters = int(re.search(r"text: ([\d,]+) characters", told)[1].replace(",", ""))
    assert 4_200_000 <= characters < 4_600_000  # of a file, the marks of JSON too
