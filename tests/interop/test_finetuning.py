"""Fine-tuning as a person at the command line has it: docs/finetuning.md runs, on a tiny model in place of SmolLM2."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from references import theirs

from nextword.cli import run as command
from nextword.tasks.setup import set_up
from nextword.text.chat import CHATML, TURNS
from nextword.tokenizers import TokenizerConfig, train_tokenizer
from nextword.training.recipe import complete

transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "finetuning.md"
TALK = [[f"Hi, I am {name}.", f"Hello {name}! 你好", "Bye", "Bye-bye"] for name in map("李{}".format, range(60))]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a chat model from elsewhere, a conversation file and a file of pairs."""
    monkeypatch.chdir(tmp_path)
    ends = ("<|im_start|>", "<|im_end|>")
    tokenizer = train_tokenizer(TokenizerConfig(type="bpe", vocab_size=290, special_tokens=ends), ["Hello 你好"] * 3)
    theirs("llama", vocab_size=300, max_position_embeddings=256).save_pretrained("SmolLM2-135M-Instruct")
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend, bos_token=ends[0], eos_token=ends[1], pad_token=ends[1]
    )
    fast.chat_template = CHATML.replace("{{ bos_token }}\n", "")
    fast.save_pretrained("SmolLM2-135M-Instruct")
    Path("talk.jsonl").write_text("".join(json.dumps({"turns": turns}) + "\n" for turns in TALK), encoding="utf-8")
    pairs = [{"dialogue": " ".join(turns), "summary": f"{turns[0]} 再见"} for turns in TALK]
    Path("pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    return tmp_path


def test_the_page_runs_from_beginning_to_end(here, capsys):
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for kind, text in blocks:
        if kind == "toml":
            complete(tomllib.loads(text), "some text")
        elif kind == "json":
            assert json.loads(text)["messages"]
        for line in text.splitlines() if kind == "sh" else ():
            program, *arguments = shlex.split(line)
            assert program == "nextword"
            code = command(["1" if word == "200" else word for word in arguments])
            assert code == 0, f"{line}\n{capsys.readouterr().err}"
    assert "the same as in transformers" in capsys.readouterr().out
    for run in ("chat", "short"):
        assert (here / "runs" / run / "chat_template.jinja").read_text() == CHATML.replace("{{ bos_token }}\n", "")
    config = json.loads((here / "runs" / "chat" / "config.json").read_text(encoding="utf-8"))
    assert config["data"]["conversations"]
    assert config["task"]["name"] == "dialogue"
    assert config["origin"]["family"] == "llama"
    few = "".join(Path("talk.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:2])
    Path("few.jsonl").write_text(few, encoding="utf-8")
    assert command(["evaluate", "runs/chat", "few.jsonl", "--set", "max_tokens=4"]) == 0  # of the replies alone
    shown = capsys.readouterr().out
    assert "6 documents" in shown
    assert "distinct-2" in shown  # and what it says itself


def test_a_task_leaves_model_and_tokenizer_to_the_source(here):
    source = here / "source"
    source.mkdir()
    values = {"task": {"name": "summarization"}}
    assert set_up(values, ["pairs.jsonl"]).values["model"]["type"] == "encoder-decoder"
    for kind in ("encoder-decoder", "transformer"):  # one that reads the text as its own could not copy from it
        (source / "config.json").write_text(json.dumps({"model": {"type": kind}}), encoding="utf-8")
        rules = [
            set_up(values, ["pairs.jsonl"], init_from=source).generation,
            set_up(values | {"model": {"type": kind}}, ["pairs.jsonl"]).generation,
        ]
        assert [rule.get("no_repeat_ngram_size") for rule in rules] == [4 if kind == "encoder-decoder" else None] * 2
    begun = set_up(values, ["pairs.jsonl"], init_from=source).values
    assert "model" not in begun
    assert begun["data"]["prompt_field"] == "dialogue"
    dialogue = {"task": {"name": "dialogue"}}
    assert set_up(dialogue, ["talk.jsonl"], init_from=source).template == TURNS
    (source / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    setup = set_up(dialogue, ["talk.jsonl"], init_from=source)
    assert not setup.template  # it has its own
    assert setup.values["data"] == {"conversations": True}
    assert setup.sources == ["talk.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--adapter", "lora"], "--init-from RUN"),
        (["--adapter", "lorra", "--init-from", "runs/tiny"], "Did you mean lora?"),
        (["--set", "train.adapter=lora", "--init-from", "runs/tiny"], "train.adapter: expected a section, got 'lora'"),
        (["--set", "train.adapter.targets=['q_proj']", "--init-from", "runs/tiny"], "matches no linear layer"),
        (["--task", "dialogue", "--init-from", "runs/none"], "no such folder"),
    ],
)
def test_mistakes_take_a_line_and_leave_nothing(arguments, said, here, capsys):
    assert command(["import", "SmolLM2-135M-Instruct", "runs/tiny", "--no-check"]) == 0
    capsys.readouterr()
    assert command(["train", "talk.jsonl", "--set", "data.conversations=true", "--out", "runs/x", *arguments]) in (1, 2)
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (here / "runs" / "x").exists()
