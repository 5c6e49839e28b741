import io
import json
import re
import sys
from pathlib import Path

import pytest
from toys import Bag, CharTokenizer, Recital, random_table

from nextword.cli import run
from nextword.decoding.config import GenerationConfig
from nextword.generator import TextGenerator

POEM = "床前明月光，\n疑是地上霜。"


@pytest.fixture(autouse=True)
def recital(monkeypatch: pytest.MonkeyPatch) -> TextGenerator:
    """Whatever run folder is named, it holds a model that recites POEM."""
    tokenizer = CharTokenizer(POEM.replace("\n", "") + "\n")
    generator = TextGenerator(Recital(POEM, tokenizer), tokenizer, GenerationConfig(max_tokens=40))
    monkeypatch.setattr(TextGenerator, "load", lambda folder, draft=None, **how: generator)
    stdin(monkeypatch, b"")
    return generator


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_the_prompt_comes_first_and_the_text_follows(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "runs/x", "床前"]) == 0
    captured = capsys.readouterr()
    assert captured.out == POEM + "\n"
    assert captured.err == ""


@pytest.mark.parametrize("arguments", [["-"], []])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_stdin_without_its_last_newline(
    arguments: list[str], end: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin(monkeypatch, "床前".encode() + end)
    assert run(["generate", "runs/x", *arguments]) == 0
    assert capsys.readouterr().out == POEM + "\n"


def test_no_prompt_starts_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "runs/x"]) == 0
    assert capsys.readouterr().out == POEM + "\n"


def test_stop_and_max_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "runs/x", "床", "--stop", "zzz", "--stop", r"\n"]) == 0
    assert capsys.readouterr().out == "床前明月光，\n"
    assert run(["generate", "runs/x", "床", "--max-tokens", "2"]) == 0
    assert capsys.readouterr().out == "床前明\n"


def test_several_samples_are_separated(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "runs/x", "床", "-n", "3"]) == 0
    assert re.split(r"\n-+\n", capsys.readouterr().out.strip()) == [POEM] * 3


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "runs/x", "床", "--json", "-n", "2", "--seed", "5", "--temperature", "0"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["prompt"] == "床"
    assert [sample["seed"] for sample in document["samples"]] == [5, 6]
    for sample in document["samples"]:
        assert list(sample) == ["text", "finish_reason", "token_ids", "log_prob", "score", "seed"]
        assert (sample["text"], sample["finish_reason"]) == (POEM[1:], "eos")


def test_unknown_characters_are_told_with_their_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "runs/x", "龘床龘€"]) == 0
    captured = capsys.readouterr()
    assert "'龘' ×2" in captured.err
    assert "'€' ×1" in captured.err
    assert captured.out.startswith("龘床龘€")


def test_a_script_spelled_byte_by_byte_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from nextword.cli.inputs import warn_unknown
    from nextword.tokenizers import TokenizerConfig, train_tokenizer

    tokenizer = train_tokenizer(TokenizerConfig(type="bpe", vocab_size=280), ["the cat sat on the mat " * 20])
    warn_unknown(tokenizer, "the", "mat")
    assert capsys.readouterr().err == ""
    warn_unknown(tokenizer, "床前明月光")
    assert "Han letters take 3.0 tokens each" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", "-1"], "temperature: expected a number of at least 0"),
        (["--top-p", "1.5"], "top_p"),
        (["--max-tokens", "0"], "max_tokens"),
        (["--temperature", "hot"], "--temperature"),
        (["--stop", ""], "stop"),
        (["--temprature", "1"], "--temperature"),
        (["--set", "temprature=1"], "temprature: unknown key. Did you mean temperature?"),
        (["--set", "typical_p=often"], "typical_p: expected a number, got 'often'"),
        (["--set", "typical_p"], "expected key=value, such as typical_p=0.9"),
        (["--explain", "--json"], "--explain is for people"),
        (["--trace", "nowhere/x.json"], "there is no folder nowhere"),
        (["--num-beams", "2", "--temperature", "1"], "temperature plays no part"),
        (["--num-beams", "2", "--best-of", "2"], "num_beams and best_of are different searches"),
        (["--regex", "a", "--choice", "b"], "give one of them"),
        (["--json-schema", "nowhere.json"], "nowhere.json: No such file"),
        (["--draft", "runs/y"], "Add --speculate"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["generate", "runs/x", "床", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("Error: ")


def test_every_option_arrives_as_its_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recital: TextGenerator
) -> None:
    """And --set reaches the others; what it names goes before an option."""
    seen = {}
    monkeypatch.setattr(recital, "generate_many", lambda prompt, **settings: seen.update(settings) or [])
    (tmp_path / "schema.json").write_text('{"type": "null"}', encoding="utf-8")
    (tmp_path / "rules.lark").write_text("start: /a/\n", encoding="utf-8")
    arguments = {
        "--prefix": "床",
        "--require": "月",
        "--ban": "日",
        "--best-of": "4",
        "--length-penalty": "0.5",
        "--top-k": "3",
        "--seed": "9",
    }
    pairs = [word for pair in arguments.items() for word in pair]
    others = ["--ban", "夜", "--set", "typical_p=0.9", "--set", "logit_bias.月=-1", "--set", "top_k=5"]
    assert run(["generate", "runs/x", "床", *pairs, *others]) == 0
    assert seen == {
        "trace": False,
        "prefix": "床",
        "required_words": ["月"],
        "banned_words": ["日", "夜"],
        "best_of": 4,
        "length_penalty": 0.5,
        "top_k": 5,
        "seed": 9,
        "typical_p": 0.9,
        "logit_bias": {"月": -1},
    }
    for option, name, expected in [
        ("--json-schema", "schema.json", {"json_schema": {"type": "null"}}),
        ("--grammar", "rules.lark", {"grammar": "start: /a/"}),
    ]:
        seen.clear()
        assert run(["generate", "runs/x", "床", option, str(tmp_path / name), "--mbr", "2"]) == 0
        assert seen == {"trace": False, "mbr": 2} | expected


def test_speculation_and_a_draft_change_nothing(
    monkeypatch: pytest.MonkeyPatch, recital: TextGenerator, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = []
    monkeypatch.setattr(TextGenerator, "load", lambda folder, draft=None, **how: folders.append(draft) or recital)
    assert run(["generate", "runs/x", "床", "--speculate", "3", "--draft", "runs/y"]) == 0
    assert folders == [Path("runs/y")]
    assert capsys.readouterr().out == POEM + "\n"


@pytest.mark.parametrize("search", ["--best-of", "--mbr"])
def test_a_search_that_decides_at_the_end_prints_one_text(search: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "runs/x", "床", search, "3"]) == 0
    assert capsys.readouterr().out == POEM + "\n"


def test_the_trace_is_a_document_and_the_text_is_printed_as_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "trace.json"
    assert run(["generate", "runs/x", "床", "--trace", str(file), "--seed", "4", "--top-k", "2"]) == 0
    assert capsys.readouterr().out == POEM + "\n"
    document = json.loads(file.read_text(encoding="utf-8"))
    assert (document["prompt"], document["settings"]["top_k"], document["texts"][0]["seed"]) == ("床", 2, 4)
    assert "".join(step["text"] for step in document["texts"][0]["steps"]) == POEM[1:] + "<eos>"
    assert run(["generate", "runs/x", "床", "--trace", str(file), "--json", "-n", "2"]) == 0
    assert len(json.loads(capsys.readouterr().out)["samples"]) == len(json.loads(file.read_text())["texts"]) == 2


def test_of_a_beam_search_all_texts_are_in_the_trace_and_those_asked_for_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = CharTokenizer("abcdefgh")
    generator = TextGenerator(Bag(random_table(tokenizer.vocab_size)), tokenizer)
    monkeypatch.setattr(TextGenerator, "load", lambda folder, draft=None, **how: generator)
    file = tmp_path / "trace.json"
    arguments = ["generate", "runs/x", "ab", "--num-beams", "4", "--max-tokens", "6", "-n", "2"]
    assert run(arguments) == 0
    printed = capsys.readouterr().out
    assert len(printed.split("--------")) == 2
    assert run([*arguments, "--trace", str(file)]) == 0
    assert capsys.readouterr().out == printed
    texts = json.loads(file.read_text(encoding="utf-8"))["texts"]
    assert len(texts) == 4
    assert run([*arguments, "--explain"]) == 0
    page = capsys.readouterr().out
    assert all(f"score {text['score']:.4f}" in page for text in texts)


def test_explain_shows_the_tokens_in_place_of_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "runs/x", "床", "--explain"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("床前[100 %]明[100 %]月[100 %]光[100 %]，[100 %]↵[100 %]\n疑")
    assert "perplexity       1 per token, 13 tokens" in page


def test_the_help_groups_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "--help"]) == 0
    sections = dict(re.findall(r"^(\S.*):\n((?:  .*\n)+)", capsys.readouterr().out, flags=re.MULTILINE))
    assert "--top-p" in sections["How a token is drawn"]
    assert "--num-beams" in sections["How a text is searched for"]
    assert "--explain" in sections["Options"]
    assert "prompt" in sections["Arguments"].lower()


def test_stdin_that_is_not_utf8_names_the_byte(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin(monkeypatch, "床".encode("gb18030"))
    assert run(["generate", "runs/x"]) == 1
    assert "not UTF-8: byte 0xb4 at offset 0" in capsys.readouterr().err


def test_guessing_ahead_reports_how_often_it_was_right(recital, capsys):
    assert run(["generate", "x", "--speculate", "3", "--json", "--temperature", "0"]) == 0
    assert 0 <= json.loads(capsys.readouterr().out)["samples"][0]["acceptance_rate"] <= 1
    assert run(["generate", "x", "--speculate", "3", "--explain", "--temperature", "0"]) == 0
    assert "of the guesses kept" in capsys.readouterr().out
