"""What a run may learn from beside one text: prompts and targets, and mixtures, from the command line."""

import json
import math
from pathlib import Path

import pytest

from nextword import corpora
from nextword.checkpoint import read_config
from nextword.cli import run
from nextword.generator import TextGenerator
from nextword.training.logs import read_metrics, read_samples

TINY = ["--set", "model.hidden_size=8", "--set", "model.num_layers=1", "--set", "train.precision='float32'"]
MODELS = {
    "gru": ["--model", "gru", *TINY],
    "transformer": ["--set", "model.num_heads=2", "--set", "model.max_seq_len=64", *TINY],
}
PAIRS = [{"q": f"{a} + {b}", "a": f"{a + b} 个"} for a in range(12) for b in range(5)]
FIELDS = ["--prompt-field", "q", "--target-field", "a"]
POEMS = "\n\n".join(corpora.load("tang")[:40])
PROSE = "\n\n".join(corpora.load("moby-dick")[:30])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, PAIRS)), encoding="utf-8")
    Path("poems.txt").write_text(POEMS, encoding="utf-8")
    Path("prose.txt").write_text(PROSE, encoding="utf-8")
    return tmp_path


def train(*arguments: str, model: str = "gru") -> int:
    return run(["train", "--out", "run", "--steps", "4", *MODELS[model], *arguments])


@pytest.mark.parametrize("model", MODELS)
def test_a_pair_is_trained_evaluated_scored_and_answered(model, capsys):
    assert train("pairs.jsonl", *FIELDS, model=model) == 0
    capsys.readouterr()
    generator = TextGenerator.load("run")
    scored = generator.score("5 个", include_eos=True, prompt="2 + 3")
    assert generator.score("5 个", include_eos=True, prompt="2 + 3\n").log_prob == scored.log_prob
    assert (scored.num_tokens, scored.num_bytes, scored.prompt) == (4, 5, "2 + 3\n")
    Path("one.tsv").write_text("frage\tantwort\n2 + 3\t5 个\n", encoding="utf-8")
    options = ["--prompt-field", "frage", "--target-field", "antwort", "--json"]
    assert run(["evaluate", "run", "one.tsv", *options]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["num_tokens"], figures["num_bytes"], figures["num_documents"]) == (4, 5, 1)
    assert figures["loss"] * 4 == pytest.approx(-scored.log_prob, rel=1e-5)
    assert figures["bits_per_byte"] == pytest.approx(-scored.log_prob / math.log(2) / 5, rel=1e-5)

    assert run(["score", "run", "5 个", "--prompt", "2 + 3", "--include-eos"]) == 0
    out = capsys.readouterr().out
    assert "P(text | prompt)" in out
    assert f"= exp({scored.log_prob:.4f})" in out
    assert run(["generate", "run", "2 + 3", "--temperature", "0", "--max-tokens", "4"]) == 0
    assert capsys.readouterr().out.startswith("2 + 3\n")
    samples = read_samples(Path("run/samples.jsonl"))
    assert all(" + " in sample["text"].split("\n")[0] for sample in samples)  # an answer to a held-out prompt


def test_what_is_trained_document_by_document_is_judged_so(capsys):
    assert train("poems.txt", "--set", "train.rows='examples'") == 0
    capsys.readouterr()
    assert run(["evaluate", "run", "poems.txt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["how"] == "each example by itself"


def test_a_separator_of_one_s_own(capsys):
    assert train("pairs.jsonl", *FIELDS, "--set", "data.separator= = ") == 0
    assert read_config(Path("run"))["data"]["separator"] == "="
    assert TextGenerator.load("run").as_prompt("1 + 1") == "1 + 1="


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--prompt-field", "q", "--target-field", "b"], 1, "pairs.jsonl:1: no column 'b'. Columns: q, a"),
        (["--prompt-field", "q"], 2, "data: prompt_field and target_field go together"),
        ([*FIELDS, "--set", "train.rows='pakced'"], 2, "Did you mean packed?"),
        ([*FIELDS, "--mix", "a=pairs.jsonl"], 2, "DATA beside [mix]"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(arguments, code, message, capsys):
    assert train("pairs.jsonl", *arguments) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not Path("run").exists()


def test_a_mixture_is_trained_judged_resumed_and_described(capsys):
    assert train("--mix", "poems=poems.txt:1", "--mix", "prose=prose.txt:3", "--set", "train.eval_every=2") == 0
    captured = capsys.readouterr()
    assert "mixture: poems 25.0%, prose 75.0%" in captured.err
    assert "poems  validation" in captured.err
    assert "read: poems " in captured.out
    figures = read_config(Path("run"))["figures"]
    assert set(figures["validation"]["corpora"]) == {"poems", "prose"}
    assert sum(read["share"] for read in figures["corpora"].values()) == pytest.approx(1, abs=1e-3)
    assert "| of these, poems |" in Path("run/README.md").read_text(encoding="utf-8")

    assert run(["train", "--resume", "--out", "run", "--steps", "6"]) == 0
    lines = read_metrics(Path("run/metrics.jsonl"))
    assert [line["step"] for line in lines if line["split"] == "valid"] == [2, 4, 6]
    assert run(["generate", "run", "床前", "--max-tokens", "3"]) == 0
    assert not TextGenerator.load("run").tokenizer.unknown("whale, 月下")  # one tokenizer, taught by both


def test_prepared_folders_and_text_share_the_tokenizer_of_the_folder(capsys):
    assert run(["data", "prepare", "poems.txt", "--out", "ready", "--tokenizer", "byte"]) == 0
    assert train("--mix", "poems=ready:1", "--mix", "prose=prose.txt:1") == 0
    assert TextGenerator.load("run").tokenizer.kind == "byte"
    assert sorted(path.name for path in Path("run/data").iterdir()) == ["prose"]
    assert run(["data", "prepare", "prose.txt", "--out", "other", "--tokenizer", "char"]) == 0
    capsys.readouterr()
    assert run(["train", "--out", "b", "--mix", "poems=ready:1", "--mix", "prose=other:1", "--steps", "1"]) == 1
    assert "other was prepared with another tokenizer" in capsys.readouterr().err


def test_a_mixture_in_a_recipe_with_columns_of_its_own(capsys):
    Path("mix.toml").write_text(
        '[mix]\ntemperature = 2.0\ncorpora.poems = { data = "poems.txt" }\n'
        'corpora.sums = { data = "pairs.jsonl", read = { prompt_field = "q", target_field = "a" } }\n',
        encoding="utf-8",
    )
    assert run(["train", "--config", "mix.toml", "--model", "transformer", "--print-config"]) == 0
    Path("whole.toml").write_text(capsys.readouterr().out, encoding="utf-8")
    small = ["--set", "train.budget=0", "--set", "train.context=64"]  # the recipe of a budget has longer rows
    assert train("--config", "whole.toml", *small, model="transformer") == 0
    assert "whole examples" not in capsys.readouterr().out
    assert read_config(Path("run"))["mix"]["temperature"] == 2.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mix", "poems"], "expected NAME=PATH:WEIGHT"),
        (["--mix", "poems=poems.txt:1", "--mix", "prose=prose.txt"], "prose has no weight"),
        (["--mix", "poems=nowhere.txt:1"], "nowhere.txt: no such file"),
        (["--mix", "poems=poems.txt:-1"], "mix.corpora.poems.weight: expected a number greater than 0"),
    ],
)
def test_a_mistake_in_a_mixture_is_one_line(arguments, message, capsys):
    assert train(*arguments) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not Path("run").exists()
