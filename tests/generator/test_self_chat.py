"""Two runs talk with each other, each hearing what the other has said."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from interop_runs import save_run
from toys import Recital

from nextword.cli import run
from nextword.generator import TextGenerator
from nextword.generator.chat import Chat
from nextword.generator.self_chat import exchange_scores, self_chat
from nextword.tokenizers import TokenizerConfig, train_tokenizer
from nextword.tokenizers.chat import ChatTokenizer

FIRST = "User: Hi\nAssistant: a b a\nUser: b\nAssistant: a b a b\nUser:"
SECOND = "Assistant: Hi\nUser: a b a\nAssistant: b\nUser: a b a b\nAssistant:"
TOKENIZER = train_tokenizer(TokenizerConfig(type="char"), [FIRST + SECOND])


def reciter(text: str) -> Chat:
    generator = TextGenerator(Recital(text, TOKENIZER), TOKENIZER)
    return Chat(generator, ChatTokenizer(TOKENIZER, "plain"), temperature=0)


def test_each_answers_the_other() -> None:
    exchange = self_chat(reciter(FIRST), reciter(SECOND), "Hi", 4)
    assert [reply.text for reply in exchange.replies] == ["a b a", "b", "a b a b"]  # then one says nothing
    assert [turn["role"] for turn in exchange.turns()] == ["user", "assistant"] * 2


def test_the_figures_are_of_its_own_replies() -> None:
    exchange = self_chat(reciter(FIRST), reciter(SECOND), "Hi", 4)
    first, second = ({score.name: score.value for score in exchange_scores([exchange] * 2, i)} for i in (0, 1))
    assert first["distinct-1"] == pytest.approx(100 * 2 / 14)
    assert first["entropy"] == pytest.approx(1)
    assert first["length"] == pytest.approx(3.5)
    assert (second["entropy"], second["length"]) == (0, 1)
    assert first["perplexity"] == pytest.approx(1, abs=1e-3)
    assert exchange_scores([], 0) == []
    assert math.isfinite(second["perplexity"])


def test_the_command_prints_the_talk_and_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_run(tmp_path / "a", {"type": "gru", "hidden_size": 8}, TOKENIZER)
    save_run(tmp_path / "b", {"type": "gru", "hidden_size": 8}, TOKENIZER, seed=2)
    file = tmp_path / "openings.txt"
    file.write_text("Hi\n\nAs\n", encoding="utf-8")
    arguments = ["self-chat", str(tmp_path / "a"), str(tmp_path / "b"), "--openings", str(file), "--replies", "2"]
    arguments += ["--set", "max_tokens=6", "--set", "ignore_eos=true"]
    assert run(arguments) == 0
    printed = capsys.readouterr().out
    assert "   Hi\nA: " in printed
    assert "distinct-2" in printed
    assert run([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [len(talk["messages"]) for talk in document["conversations"]] == [3, 3]
    assert {name: scores["length"]["value"] > 0 for name, scores in document["scores"].items()} == {
        "A": True,
        "B": True,
    }
    said = document["conversations"][0]["messages"]
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["conversations"][0]["messages"] == said
    assert run(["self-chat", str(tmp_path / "a"), "--opening", "Hi", "--set", "max_tokens=2", "--replies", "1"]) == 0
    assert "B" not in capsys.readouterr().out.replace(str(tmp_path), "")
    file.write_text("\n", encoding="utf-8")
    assert run(arguments) == 2
    assert "is empty" in capsys.readouterr().err
