"""`nextword train` as people use it, and misuse it: each mistake is one line, and leaves files as they were."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import Fork, command

from nextword import corpora
from nextword.cli import run, watch
from nextword.data.prepare import open_prepared, prepare
from nextword.files import sha256
from nextword.loss import LossTerms
from nextword.tokenizers import Tokenizer
from nextword.training.events import Step
from nextword.training.logs import METRICS, read_metrics
from nextword.training.new_run import new_run
from nextword.training.resume import checkpoints, latest
from nextword.training.trainer import Trainer

PROSE = "\n\n".join(corpora.load("moby-dick")[:30])
POEMS = "\n\n".join(corpora.load("tang")[:40])
TINY = {
    "transformer": ["hidden_size=8", "num_layers=1", "num_heads=2", "max_seq_len=16"],
    "lstm": ["hidden_size=8", "num_layers=1"],
    "gru": ["hidden_size=8", "num_layers=1"],
    "rnn": ["hidden_size=8", "num_layers=1"],
}


def tiny(model: str = "gru") -> list[str]:
    """Options that make a model train in a moment."""
    settings = [f"model.{setting}" for setting in TINY[model]] + ["train.precision='float32'", "train.batch_size=4"]
    return ["--model", model, *(part for setting in settings for part in ("--set", setting))]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("prose.txt").write_text(PROSE, encoding="utf-8")
    Path("poems.txt").write_text(POEMS, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, never to be written to."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "prose.txt").write_text(PROSE, encoding="utf-8")
    assert run(["train", str(folder / "prose.txt"), "--out", str(folder / "run"), "--steps", "3", *tiny()]) == 0
    return folder / "run"


@pytest.fixture
def old(trained: Path) -> Path:
    """A copy of a finished run at `runs/old`, as an earlier day left it."""
    shutil.copytree(trained, "runs/old")
    return Path("runs/old")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@contextlib.contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Nothing under `folder` comes, goes or changes within the block; empty folders may come."""
    before = contents(folder)
    yield
    assert contents(folder) == before


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a failed command says, on stderr and nothing on stdout."""
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("Error: ")
    return line


def run_with_stdin(monkeypatch: pytest.MonkeyPatch, text: str, *arguments: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))
    return run(list(arguments))


# -- the way through -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "tokenizer"),
    [("transformer", "bpe"), ("lstm", "word"), ("gru", "byte"), ("rnn", "char"), ("transformer", "unigram")],
)
def test_train_then_score_generate_and_evaluate(model, tokenizer, capsys):
    vocabulary = ["--vocab-size", "300"] if tokenizer in ("bpe", "word", "unigram") else []
    arguments = ["train", "prose.txt", "poems.txt", "--out", "r", "--tokenizer", tokenizer, "--steps", "2", "--json"]
    assert run([*arguments, *vocabulary, *tiny(model)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["run"], figures["reason"], figures["steps"]) == ("r", "completed", 2)
    assert figures["validation"]["bits_per_byte"] > 0

    assert run(["generate", "r", "The whale", "--max-tokens", "5", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["samples"][0]["token_ids"]) <= 5
    assert run(["score", "r", "春眠不觉晓 whale", "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["log_prob"] == pytest.approx(sum(token["log_prob"] for token in scored["tokens"]))
    assert run(["evaluate", "r", "prose.txt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_bytes"] > 0.9 * len(PROSE.encode()) - 100

    config = json.loads(Path("r/config.json").read_text())
    assert (config["model"]["type"], config["tokenizer"]["type"]) == (model, tokenizer)
    assert config["corpus"] == {
        "folder": "data",
        "sources": [str(Path(n).resolve()) for n in ("prose.txt", "poems.txt")],
        "apart": False,
    }
    assert Path("r/loss.svg").read_text().startswith("<svg")
    assert "prose.txt, poems.txt" in Path("r/README.md").read_text()
    assert not list(Path("r").glob(".*"))


def test_same_seed_same_weights(capsys):
    for name in ("a", "b"):
        assert run(["train", "prose.txt", "--out", name, "--steps", "3", "--seed", "7", *tiny()]) == 0
    assert run(["train", "prose.txt", "--out", "c", "--steps", "3", "--seed", "8", *tiny()]) == 0
    a, b, c = (Path(name, "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_a_pipe_is_read_once_and_chinese_gets_characters(monkeypatch, capsys):
    code = run_with_stdin(monkeypatch, POEMS, "train", "-", "--out", "r", "--steps", "1", "--json", *tiny())
    assert code == 0
    assert json.loads(Path("r/config.json").read_text())["tokenizer"]["type"] == "char"
    splits = open_prepared("r/data")
    assert sum(files.counts.target_bytes for files in splits.values()) == len(POEMS.replace("\n\n", "").encode())


def test_named_pipes_are_read_once(capsys):
    os.mkfifo("pipe")
    writer = subprocess.Popen([sys.executable, "-c", "open('pipe', 'w').write(open('poems.txt').read())"])
    assert run(["train", "pipe", "--out", "r", "--steps", "1", *tiny()]) == 0
    assert writer.wait() == 0


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
def test_tables(name, capsys):
    poems = corpora.load("tang")[:30]
    if name.endswith("csv"):
        rows = "text,poet\n" + "".join(f'"{poem}",x\n' for poem in poems)
    else:
        rows = "".join(json.dumps({"text": poem, "poet": "x"}, ensure_ascii=False) + "\n" for poem in poems)
    Path(name).write_text(rows, encoding="utf-8")
    assert run(["train", name, "--out", "r", "--steps", "1", *tiny()]) == 0
    assert sum(files.counts.examples for files in open_prepared("r/data").values()) == 30
    capsys.readouterr()
    assert run(["train", name, "--out", "s", "--steps", "1", "--set", "data.text_field=poem", *tiny()]) == 1
    assert "'poem'" in one_line(capsys)
    assert not Path("s").exists()


def test_a_prepared_folder_keeps_its_tokenizer_and_its_way_of_reading(capsys):
    command = ["data", "prepare", "prose.txt", "--out", "p", "--tokenizer", "byte", "--documents", "line"]
    assert run(command) == 0
    with unchanged(Path("p")):
        assert run(["train", "p", "--out", "r", "--steps", "1", *tiny()]) == 0
    config = json.loads(Path("r/config.json").read_text())
    assert config["tokenizer"]["type"] == "byte"
    assert config["data"]["documents"] == "line"
    assert config["corpus"]["folder"] == str(Path("p").resolve())
    capsys.readouterr()
    for wrong in (["--tokenizer", "char"], ["--valid", "poems.txt"]):
        assert run(["train", "p", "--out", "s", "--steps", "1", *wrong, *tiny()]) == 2
        assert "prepared" in one_line(capsys)
    assert run(["evaluate", "r", "p"]) == 2
    assert "prepared folder" in one_line(capsys)


def test_options_go_before_the_recipe(capsys):
    Path("recipe.toml").write_text(
        '[model]\ntype = "rnn"\nhidden_size = 8\n[train]\nepochs = 9.0\nbatch_size = 2\nprecision = "float32"\n'
        '[tokenizer]\ntype = "byte"\n'
    )
    arguments = ["--steps", "2", "--tokenizer", "char", "--set", "train.batch_size=3", "--seed", "5"]
    assert run(["train", "poems.txt", "--out", "r", "--config", "recipe.toml", *arguments]) == 0
    config = json.loads(Path("r/config.json").read_text())
    train = config["train"]
    assert (train["steps"], train["epochs"], train["batch_size"], train["seed"]) == (2, 0.0, 3, 5)
    assert (config["model"]["type"], config["tokenizer"]["type"]) == ("rnn", "char")


def test_a_validation_file_is_held_out_whole(capsys):
    assert run(["train", "prose.txt", "--valid", "poems.txt", "--out", "r", "--steps", "1", *tiny()]) == 0
    splits = open_prepared("r/data")
    assert splits["valid"].counts.target_bytes == len(POEMS.replace("\n\n", "").encode())
    assert splits["train"].counts.target_bytes == len(PROSE.replace("\n\n", "").encode())


# -- very little text ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", TINY)
def test_a_tiny_corpus_trains_and_says_how_small_it_is(model, capsys):
    Path("tiny.txt").write_text("a tiny corpus of one line only\n")
    assert run(["train", "tiny.txt", "--out", "r", "--steps", "2", *tiny(model)]) == 0
    said = capsys.readouterr().err
    tokens = open_prepared("r/data")["train"].len_tokens
    assert f"Note: only {tokens} tokens: batch size 1 instead of 4" in said
    assert run(["generate", "r", "a", "--max-tokens", "3"]) == 0


def test_a_validation_split_without_words_is_left_out(capsys):
    Path("blank.txt").write_text("some words to train on " * 4)
    Path("valid.jsonl").write_text('{"text": "  "}\n')
    options = ["--set", "tokenizer.type='word'", "--set", "tokenizer.split='whitespace'"]
    Path("train.jsonl").write_text(json.dumps({"text": Path("blank.txt").read_text()}) + "\n")
    arguments = ["train", "train.jsonl", "--valid", "valid.jsonl", "--out", "r", "--steps", "2", *options]
    assert run([*arguments, *tiny()]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("without validation") == 1
    assert "not validated" in captured.out
    assert run(["generate", "r", "some", "--max-tokens", "3"]) == 0
    assert run(["train", "--resume", "--out", "r", "--steps", "3"]) == 0


@pytest.mark.parametrize("text", ["x", "é"])
def test_one_character_is_too_little(text, capsys):
    Path("one.txt").write_text(text, encoding="utf-8")
    with unchanged(Path()):
        assert run(["train", "one.txt", "--out", "r", "--steps", "2", *tiny()]) == 1
    assert "too little text (characters: 1)" in one_line(capsys)
    assert not Path("r").exists()


# -- bad text --------------------------------------------------------------------------------------------------------


def text_binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def text_empty(path: Path) -> None:
    path.write_bytes(b"")


def text_blank(path: Path) -> None:
    path.write_text(" \n\n\t\n")


def text_missing(path: Path) -> None:
    path.unlink(missing_ok=True)


def text_invalid(path: Path) -> None:
    path.write_bytes(b"one\ntwo \xff three\n" + PROSE.encode())


def text_invalid_late(path: Path) -> None:
    path.write_bytes((PROSE * 70).encode() + b"\n\xff")  # later than what is looked at first


def text_utf16(path: Path) -> None:
    path.write_bytes("春眠不觉晓".encode("utf-16"))


def text_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


BAD_TEXT = {
    text_missing: "no such file",
    text_empty: "empty",
    text_blank: "no text|empty",
    text_binary: "binary",
    text_invalid: r"bad\.txt:2: not valid utf-8: byte 0xff at offset 8.*--errors replace",
    text_invalid_late: r"bad\.txt:\d+: not valid utf-8: byte 0xff at offset \d{6,}",
    text_utf16: "UTF-16",
    text_folder: "no file that can be read",
}


@pytest.mark.parametrize("make", BAD_TEXT, ids=lambda make: make.__name__)
@pytest.mark.parametrize("place", ["new", "over an older run", "as validation"])
def test_bad_text_is_one_line_and_destroys_nothing(make: Callable[[Path], None], place, old, capsys):
    bad = Path("bad.txt")
    make(bad)
    out = old if place == "over an older run" else Path("runs/new")
    text = ["prose.txt", "--valid", "bad.txt"] if place == "as validation" else ["bad.txt"]
    with unchanged(Path()):
        assert run(["train", *text, "--out", str(out), "--overwrite", "--steps", "2", *tiny()]) == 1
    line = one_line(capsys)
    assert re.search(BAD_TEXT[make], line), line
    assert not Path("runs/new").exists()


def test_errors_replace_goes_on(capsys):
    text_invalid(Path("bad.txt"))
    assert run(["train", "bad.txt", "--out", "r", "--errors", "replace", "--steps", "1", *tiny()]) == 0


# -- bad settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "train.stpes=5"], "train.stpes: unknown key. Did you mean steps?"),
        (["--set", "trian.steps=5"], "[trian]: unknown section. Did you mean train?"),
        (["--set", "model.hidden=5"], "model.hidden: unknown key"),
        (["--set", "steps=5"], "[steps]: unknown section"),
        (["--set", "train=5"], "train: expected a section"),
        (["--set", "nonsense"], "expected section.key=value"),
        (["--set", "train.steps=2k"], "train.steps: expected an integer, got '2k'"),
        (["--set", "model.type=[1]"], "model.type: unknown architecture [1]"),
        (["--set", "train.context='x'"], "train.context: expected an integer, got 'x'"),
        (["--set", "model.num_heads=3", "--set", "model.hidden_size=8"], "not a multiple of num_heads"),
        (["--steps", "5", "--epochs", "2"], "give one of budget, steps and epochs"),
        (["--steps", "-1"], "train.steps: expected a number of at least 0, got -1"),
        (["--steps", "0"], "nothing says how long"),
        (["--budget", "0s"], "nothing says how long"),
        (["--budget", "soon"], "expected a duration such as 15s, 10m or 1h30m, got 'soon'"),
        (["--epochs", "nan"], "train.epochs: expected"),
        (["--steps", "many"], "Invalid value for '--steps'"),
        (["--model", "lstmm"], "Did you mean lstm?"),
        (["--size", "tny"], "Did you mean tiny?"),
        (["--tokenizer", "bppe"], "tokenizer.type: expected one of"),
        (["--tokenizer", "bpe", "--vocab-size", "10"], "tokenizer.vocab_size"),
        (["--documents", "page"], "data.documents: expected one of"),
        (["--errors", "ignore"], "data.errors: expected one of"),
        (["--device", "tpu"], "--device 'tpu' cannot be used"),
        (["--seed", "-1"], "train.seed"),
        (["--stpes", "5"], "Did you mean --steps?"),
        (["--config", "missing.toml"], "missing.toml: No such file"),
        (["--config", "prose.txt"], "prose.txt: not valid TOML"),
        (["--model", "transformer", "--set", "train.carry_state=true"], "cannot carry its state"),
        (["--set", "train.context=64", "--set", "model.max_seq_len=16"], "train.context is 64"),
        (["--set", "model.num_layers=1000000000"], "model.num_layers: expected a number of at most 1000"),
        (["--set", "model.hidden_size=100000000000"], "model.hidden_size: expected a number of at most 65536"),
        (["--set", "model.max_seq_len=1000000000"], "model.max_seq_len: expected a number of at most 16777216"),
        (["--set", "model.vocab_size=1000000000"], "model.vocab_size: expected a number of at most 16777216"),
        (["--vocab-size", "1000000000"], "tokenizer.vocab_size: expected a number of at most 16777216"),
        (["--set", "model.hidden_size=65536", "--set", "model.num_layers=99"], "GiB. Choose a smaller one"),
    ],
)
def test_bad_settings_are_one_line_and_destroy_nothing(arguments, said, old, capsys):
    with unchanged(Path()):
        code = run(["train", "prose.txt", "--out", str(old), "--overwrite", *arguments])
    line = one_line(capsys)
    assert said in line
    assert code == (1 if said in ("cannot carry its state", "train.context is 64") else 2)


def test_what_is_missing_is_named(capsys):
    assert run(["train", "prose.txt"]) == 2
    assert "--out" in one_line(capsys)
    assert run(["train", "--out", "r"]) == 2
    assert "DATA" in one_line(capsys)
    assert run(["train", "prose.txt", "--out", "prose.txt", "--steps", "1"]) == 1
    assert "is a file" in one_line(capsys)
    assert run(["train", "prose.txt", "--out", "prose.txt/r", "--steps", "1"]) == 1
    assert "prose.txt/r" in one_line(capsys)


# -- where a run goes ------------------------------------------------------------------------------------------------


def test_an_older_run_is_kept_unless_asked(old, capsys):
    with unchanged(old):
        assert run(["train", "poems.txt", "--out", str(old), "--steps", "1", *tiny()]) == 1
    line = one_line(capsys)
    assert "--resume" in line
    assert "--overwrite" in line


def test_overwrite_replaces_the_run_and_nothing_else(old, capsys):
    (old / "notes.txt").write_text("mine")
    before = contents(old)
    assert run(["train", "poems.txt", "--out", str(old), "--overwrite", "--steps", "1", *tiny("rnn")]) == 0
    after = contents(old)
    assert after["notes.txt"] == b"mine"
    assert json.loads(after["config.json"])["model"]["type"] == "rnn"
    assert [path.name for path in checkpoints(old)] == ["step-00000001"]
    assert after["tokenizer.json"] != before["tokenizer.json"]
    assert [line["step"] for line in read_metrics(old / METRICS) if line["split"] == "train"] == [1]


def test_tokens_that_are_still_current_are_used_again(capsys):
    arguments = ["train", "prose.txt", "--out", "r", "--steps", "1", *tiny()]
    assert run(arguments) == 0
    shard = next(Path("r/data/train").glob("tokens-*.npy"))
    made = shard.stat().st_ino
    assert run([*arguments, "--overwrite", "--set", "model.hidden_size=12"]) == 0
    assert shard.stat().st_ino == made
    assert run([*arguments, "--overwrite", "--tokenizer", "byte"]) == 0
    assert shard.stat().st_ino != made


@pytest.mark.parametrize("name", ["notes.txt", "config.json"])
def test_a_folder_that_holds_other_things_is_refused(name, capsys):
    Path("r").mkdir()
    Path("r", name).write_text("{}")
    with unchanged(Path()):
        assert run(["train", "prose.txt", "--out", "r", "--overwrite", "--steps", "1", *tiny()]) == 1
    assert "holds other things" in one_line(capsys)


def test_an_empty_folder_a_link_and_the_current_folder_will_do(tmp_path, monkeypatch, capsys):
    Path("elsewhere").mkdir()
    Path("link").symlink_to("elsewhere")
    assert run(["train", "prose.txt", "--out", "link", "--steps", "1", *tiny()]) == 0
    assert Path("link").is_symlink()
    assert Path("elsewhere/model.safetensors").exists()
    Path("cwd").mkdir()
    monkeypatch.chdir("cwd")
    assert run(["train", "../prose.txt", "--out", ".", "--steps", "1", *tiny()]) == 0
    assert Path("model.safetensors").exists()
    assert "# cwd" in Path("README.md").read_text()


def test_names_with_brackets_and_spaces(capsys):
    assert run(["train", "prose.txt", "--out", "runs/[a] 春", "--steps", "1", *tiny()]) == 0
    assert "nextword generate 'runs/[a] 春'" in capsys.readouterr().out
    assert run(["train", "--resume", "--out", "runs/[a] 春", "--steps", "2"]) == 0
    assert "resuming runs/[a] 春 at step 1" in capsys.readouterr().err


# -- going on --------------------------------------------------------------------------------------------------------


def test_resume_after_the_end_goes_on_to_more_steps(old, capsys):
    assert run(["train", "--resume", "--out", str(old), "--steps", "6", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 6
    assert [line["step"] for line in read_metrics(old / METRICS) if line["split"] == "valid"][-1] == 6
    assert json.loads((old / "config.json").read_text())["train"]["steps"] == 6


def test_resume_with_nothing_left_to_do_says_so(old, capsys):
    assert run(["train", "--resume", "--out", str(old)]) == 0
    captured = capsys.readouterr()
    assert "complete already" in captured.err
    assert "completed after 3 steps" in captured.out


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(capsys):
    arguments = ["train", "prose.txt", "--set", "train.schedule='constant'", *tiny("lstm")]
    assert run([*arguments, "--out", "whole", "--steps", "6"]) == 0
    assert run([*arguments, "--out", "half", "--steps", "3"]) == 0
    assert run(["train", "--resume", "--out", "half", "--steps", "6"]) == 0
    last = "checkpoints/step-00000006/model.safetensors"
    assert Path("whole", last).read_bytes() == Path("half", last).read_bytes()


def test_a_run_may_be_moved_and_resumed(old, capsys):
    old.rename("elsewhere")
    assert run(["train", "--resume", "--out", "elsewhere", "--steps", "4"]) == 0


def without_checkpoint(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")


def without_data(run: Path) -> None:
    shutil.rmtree(run / "data")


def with_another_tokenizer(run: Path) -> None:
    text = (run / "tokenizer.json").read_text(encoding="utf-8")
    (run / "tokenizer.json").write_text(text.replace('"e"', '"é"'), encoding="utf-8")


def with_other_data(run: Path) -> None:
    shutil.rmtree(run / "data")
    prepare(["prose.txt", "prose.txt"], run / "data", Tokenizer.load(run))


def with_a_truncated_checkpoint(run: Path) -> None:
    for tensors in run.glob("checkpoints/*/training.safetensors"):
        tensors.write_bytes(tensors.read_bytes()[:100])


def change_values(run: Path, change: Callable[[dict], dict]) -> None:
    """Other values in every checkpoint, as if they had been saved with it."""
    for values in run.glob("checkpoints/*/training.json"):
        values.write_text(json.dumps(change(json.loads(values.read_text()))))
        manifest = json.loads((values.parent / "manifest.json").read_text())
        manifest[values.name] = {"size": values.stat().st_size, "sha256": sha256(values)}
        (values.parent / "manifest.json").write_text(json.dumps(manifest))


def with_values_of_another_version(run: Path) -> None:
    change_values(run, lambda values: {"position": {"steps": 3}, "optimizer": []})


def with_a_broken_position(run: Path) -> None:
    change_values(run, lambda values: values | {"position": {"stride": 3}})


def with_broken_settings(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["train"]["stpes"] = 3
    (run / "config.json").write_text(json.dumps(config))


def without_a_corpus(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    del config["corpus"]
    (run / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without_checkpoint, "has no checkpoint to resume from"),
        (without_data, "the data of runs/old is gone"),
        (with_another_tokenizer, "tokenizer in runs/old is not the one"),
        (with_other_data, "position in the data cannot be restored"),
        (with_a_truncated_checkpoint, "is damaged"),
        (with_values_of_another_version, "is damaged"),
        (with_a_broken_position, "is damaged"),
        (with_broken_settings, "is damaged: train.stpes: unknown key. Did you mean steps?"),
        (without_a_corpus, "is damaged"),
        (shutil.rmtree, "no such folder"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_resumed(damage, said, old, capsys):
    damage(old)
    with unchanged(Path()):
        assert run(["train", "--resume", "--out", str(old), "--steps", "9"]) == 1
    assert said in one_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prose.txt"], "DATA cannot be given"),
        (["--model", "lstm"], "[model] cannot be given"),
        (["--size", "tiny"], "--size cannot be given"),
        (["--valid", "prose.txt"], "--valid cannot be given"),
        (["--overwrite"], "--overwrite cannot be given"),
        (["--steps", "0"], "nothing says how long"),
        (["--steps", "9", "--seed", "3"], "train.seed: a run that goes on keeps its 0"),
        (["--steps", "9", "--set", "train.optimizer='sgd'"], "train.optimizer"),
        (["--steps", "9", "--set", "train.batch_size=2"], "train.batch_size"),
        (["--steps", "9", "--set", "train.ema=0.9"], "train.ema"),
        (["--steps", "9", "--set", "train.stpes=9"], "Did you mean steps?"),
    ],
)
def test_what_a_resumed_run_cannot_change(arguments, said, old, capsys):
    with unchanged(Path()):
        assert run(["train", "--resume", "--out", str(old), *arguments]) == 2
    assert said in one_line(capsys)


def test_a_run_stopped_before_its_first_step_can_go_on(capsys):
    session = new_run({"model": {"type": "rnn", "hidden_size": 8}, "train": {"steps": 9}}, ["prose.txt"], Path("r"))
    session.trainer.interrupt()
    assert watch.train(session).reason == "interrupted"
    assert watch.finish(session)["steps"] == 0
    assert Path("r/loss.svg").exists()
    assert run(["train", "--resume", "--out", "r", "--steps", "2"]) == 0
    assert "resuming r at step 0" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_number_that_is_none_is_one_line_and_keeps_the_checkpoints(what, monkeypatch, capsys):
    step = Trainer._step

    def spoiled(self: Trainer) -> Step:
        if self.position.step == 2 and what == "loss":
            self.terms = LossTerms(z_loss=float("inf"))
        elif self.position.step == 2:
            self.model.output.weight.register_hook(lambda grad: grad * float("nan"))
        return step(self)

    monkeypatch.setattr(Trainer, "_step", spoiled)
    assert run(["train", "prose.txt", "--out", "r", "--steps", "9", *tiny()]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"Error: the {what} is not a finite number at step 3 (batch 3, epoch" in error
    assert "the weights of step 2 are untouched" in error
    assert latest(Path("r")).name == "step-00000002"
    monkeypatch.setattr(Trainer, "_step", step)
    assert run(["train", "--resume", "--out", "r"]) == 0


# -- signals: a real process -----------------------------------------------------------------------------------------

ENDLESS = ["--steps", "100000000", "--set", "train.eval_every=100000000", "--set", "train.checkpoint_every=100000000"]


def is_training(folder: Path) -> bool:
    metrics = folder / METRICS
    return metrics.exists() and len(metrics.read_text().splitlines()) >= 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_run_goes_on_later(number, code, capsys):
    process = Fork(command, ["train", "prose.txt", "--out", "r", "--json", *ENDLESS, *tiny()])
    process.wait_for(lambda: is_training(Path("r")))
    process.send(number)
    ended, out, err = process.end()
    assert ended == code, err
    assert "Traceback" not in err
    figures = json.loads(out)
    assert figures["reason"] == "interrupted"
    assert [path.name for path in checkpoints(Path("r"))] == [f"step-{figures['steps']:08}"]
    assert run(["generate", "r", "The", "--max-tokens", "3"]) == 0  # though it was never evaluated
    steps = figures["steps"] + 2
    assert run(["train", "--resume", "--out", "r", "--steps", str(steps)]) == 0
    assert f"resuming r at step {figures['steps']:,}" in capsys.readouterr().err
    assert json.loads(Path("r/config.json").read_text())["figures"]["steps"] == steps


def never_saved(arguments: list[str]) -> None:
    """The command, with saving made to take forever: a first signal alone is in vain."""
    Trainer.save = lambda self: (print("saving", file=sys.stderr, flush=True), time.sleep(600))  # type: ignore
    command(arguments)


def test_a_second_signal_quits_at_once():
    process = Fork(never_saved, ["train", "prose.txt", "--out", "r", *ENDLESS, *tiny()])
    process.wait_for(lambda: is_training(Path("r")))
    process.send(signal.SIGINT)
    process.wait_for(lambda: "saving\n" in process.err)
    began = time.monotonic()
    process.send(signal.SIGINT)
    code, _, err = process.end()
    assert code == 130
    assert time.monotonic() - began < 10
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("number", "code", "out"), [(signal.SIGINT, 130, "runs/new"), (signal.SIGTERM, 143, "runs/old")]
)
def test_a_signal_while_the_data_is_prepared_leaves_nothing_behind(number, code, out, old):
    big = Path("big.txt")
    big.write_text(PROSE * 400, encoding="utf-8")
    with unchanged(Path()):
        options = ["--out", out, "--overwrite", "--tokenizer", "word", "--steps", "1"]
        process = Fork(command, ["train", "big.txt", *options, *tiny()])
        process.wait_for(lambda: bool(list(Path(out).glob(".new-*"))))
        time.sleep(0.2)
        process.send(number)
        ended, _, err = process.end()
        assert ended == code, err
        assert "Traceback" not in err
    assert not Path("runs/new").exists()
