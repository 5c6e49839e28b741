"""Answers of a run that reads placeholders are measured with what these stand for."""

from types import SimpleNamespace

import pytest

from nextword.applied import evaluation as module
from nextword.applied.answers import Answer
from nextword.applied.evaluation import at_each_length, judge
from nextword.metrics.score import mean_score
from nextword.tasks.base import Item, Task
from nextword.text.speakers import hidden

ITEM = Item("Ann: Lunch?\nBob: Yes.", ("Bob and Ann have lunch.",), "chats.jsonl:1")


@pytest.fixture
def read(monkeypatch):
    """The prompts that were read; each is answered in the same way."""
    found: list[str] = []

    def answers(generator, prompts, settings, told):
        found.extend(prompts)
        return [Answer([SimpleNamespace(text="② and ① have lunch. ③")], 0)] * len(prompts)

    monkeypatch.setattr(module, "answers", answers)
    monkeypatch.setattr(module, "unusual", lambda generator, settings: "")
    return found


def same(outputs, items, tokenized):
    """The share of answers that are the first reference."""
    return [mean_score("same", [out == item.references[0] for out, item in zip(outputs, items, strict=True)])]


def test_names_are_hidden_from_the_model_and_judged(read):
    task = Task("x", {}, lambda record, config: [], same, ("same",), {}, {})
    generator = SimpleNamespace(settled=lambda settings: None)
    judged = judge(generator, task, [ITEM], {}, hide=hidden)
    assert judged.outputs == [ITEM.references[0]]
    lengths = at_each_length(generator, task, [ITEM], {}, 2, hide=hidden)
    assert [scores[0].value for scores in lengths.values()] == [1, 1]
    shown = "①: Lunch?\n②: Yes."
    assert read == [shown, f"length 1\n{shown}", f"length 2\n{shown}"]
    assert judge(generator, task, [ITEM], {}).outputs == ["② and ① have lunch. ③"]
