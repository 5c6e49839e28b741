"""`--sweep`, `--find-lr` and `average`, as people use them and misuse them."""

import json
import os
import re
import shutil
import signal
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from test_train import POEMS, contents, one_line, tiny, unchanged

from nextword.cli import run
from nextword.training.events import Evaluated, Step
from nextword.training.resume import checkpoints
from nextword.training.sweep import LEDGER
from nextword.training.trainer import Trainer

GRID = '[vary]\ntrain.learning_rate = [1e-3, 2e-2]\nmodel.type = ["gru", "rnn"]\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("poems.txt").write_text(POEMS, encoding="utf-8")
    Path("grid.toml").write_text(GRID)
    return tmp_path


def sweep(*arguments: str, file: str = "grid.toml", steps: str = "4") -> int:
    return run(["train", "poems.txt", "--out", "s", "--sweep", file, "--steps", steps, *tiny()[2:], *arguments])


def trials(folder: str = "s") -> list[dict]:
    return json.loads(Path(folder, LEDGER).read_text(encoding="utf-8"))["trials"]


# -- sweeps ----------------------------------------------------------------------------------------------------------


def test_a_grid_from_beginning_to_end(capsys):
    assert sweep() == 0
    said = capsys.readouterr()
    found = trials()
    assert [trial["status"] for trial in found] == ["finished"] * 4
    best = min(found, key=lambda trial: trial["figures"]["validation"]["loss"])
    assert f"best:        s/{best['name']}" in said.out
    rows = re.findall(r"trial-00\d", said.out.split("best:")[0])
    assert rows == [t["name"] for t in sorted(found, key=lambda t: t["figures"]["validation"]["loss"])]
    for trial in found:
        config = json.loads(Path("s", trial["name"], "config.json").read_text())
        assert config["model"]["type"] == trial["settings"]["model.type"]
        assert config["train"]["learning_rate"] == trial["settings"]["train.learning_rate"]
        assert config["corpus"]["folder"] == str(Path("s/data").resolve())  # made once
    page = Path("s/sweep.html").read_text(encoding="utf-8")
    assert all(trial["name"] in page for trial in found)
    assert page.count("<svg") >= 2
    assert run(["generate", f"s/{best['name']}", "春", "--max-tokens", "3"]) == 0
    # A second time there is nothing to do.
    before = contents(Path("s"))
    capsys.readouterr()
    assert sweep("--json") == 0
    assert json.loads(capsys.readouterr().out)["trials"] == found
    assert contents(Path("s")) == before


def test_interrupted_it_goes_on_and_repeats_nothing(monkeypatch, capsys):
    step, done = Trainer._step, []

    def counted(self, *arguments):
        event = step(self, *arguments)
        done.append((self.folder.name, event.step))
        if len(done) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return event

    monkeypatch.setattr(Trainer, "_step", counted)
    assert sweep() == 130
    assert [trial["status"] for trial in trials()] == ["finished", "interrupted", "", ""]
    assert "the same command goes on" in capsys.readouterr().out
    assert sweep() == 0
    assert [trial["status"] for trial in trials()] == ["finished"] * 4
    assert done == [(f"trial-00{n}", step) for n in range(1, 5) for step in range(1, 5)]
    assert sweep() == 0
    assert len(done) == 16
    # As after a kill: the ledger knows nothing of a trial whose folder is whole, or is half-made.
    ledger = json.loads(Path("s", LEDGER).read_text())
    for trial in ledger["trials"][1:3]:
        trial |= {"status": "", "figures": {}, "curve": []}
    Path("s", LEDGER).write_text(json.dumps(ledger))
    shutil.rmtree("s/trial-003/checkpoints")
    assert sweep() == 0
    assert done[16:] == [("trial-003", step) for step in range(1, 5)]
    assert [trial["status"] for trial in trials()] == ["finished"] * 4


def test_a_trial_that_fails_is_noted_and_the_sweep_goes_on(capsys):
    Path("grid.toml").write_text('[vary]\nmodel.hidden_size = [8, 9]\nmodel.type = ["transformer"]\n')
    settings = ["--set", "model.num_heads=2", "--set", "model.max_seq_len=16"]
    assert sweep(*settings) == 1
    found = trials()
    assert [trial["status"] for trial in found] == ["finished", "failed"]
    assert "hidden_size 9 is not a multiple of num_heads 2" in found[1]["error"]
    assert "trial-002 failed: model: hidden_size 9" in capsys.readouterr().out
    assert "hidden_size 9" in Path("s/sweep.html").read_text()
    assert not Path("s/trial-002").exists()


def test_a_loss_that_is_no_number_is_a_failed_trial(monkeypatch, capsys):
    Path("grid.toml").write_text("[vary]\ntrain.seed = [1, 2]\n")
    step = Trainer._step

    def spoiled(self, *arguments):
        if self.config.seed == 1 and self.position.step == 2:
            self.model.output.weight.data.fill_(float("nan"))
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", spoiled)
    assert sweep("--model", "gru") == 1
    assert [trial["status"] for trial in trials()] == ["failed", "finished"]
    assert "not a finite number at step 3" in trials()[0]["error"]
    monkeypatch.setattr(Trainer, "_step", step)  # tried again, it goes well
    assert sweep("--model", "gru") == 0


def test_a_hopeless_trial_is_stopped(monkeypatch, capsys):
    rates = ", ".join(f"{0.02 + n / 1000}" for n in range(5))
    Path("grid.toml").write_text(f"early_stop = true\n[vary]\ntrain.learning_rate = [{rates}, 1e-9]\n")
    assert sweep("--model", "gru", "--set", "train.eval_every=2", steps="20") == 0
    found = trials()
    assert [trial["status"] for trial in found[:4]] == ["finished"] * 4
    assert found[5]["status"] == "stopped"
    assert found[5]["figures"]["steps"] == 6  # the third evaluation
    assert [when for when, _ in found[0]["curve"]] == [n / 10 for n in range(1, 11)]
    assert sweep("--model", "gru", "--set", "train.eval_every=2", steps="20") == 0
    assert trials()[5]["figures"]["steps"] == 6


def test_tokenizers_are_compared_by_bits_per_byte(capsys):
    Path("grid.toml").write_text('[vary]\ntokenizer.type = ["byte", "char"]\n')
    assert sweep("--model", "gru", steps="2") == 0
    assert [Path("s", f"trial-00{n}", "data").is_dir() for n in (1, 2)] == [True, True]
    assert "bits per byte" in Path("s/sweep.html").read_text().split("<table>")[0]


def test_mistakes_with_sweeps(capsys):
    for arguments, said in (
        (["--resume"], "a sweep goes on by itself"),
        (["--set", "train.stepz=3"], "train.stepz: unknown key. Did you mean steps?"),
    ):
        assert sweep(*arguments) == 2
        assert said in one_line(capsys)
    Path("grid.toml").write_text("[vary]\ntrain.lerning_rate = [1]\n")
    assert sweep() == 2
    assert "grid.toml: vary.train.lerning_rate: unknown key. Did you mean learning_rate?" in one_line(capsys)
    assert sweep(file="none.toml") == 2
    assert one_line(capsys).startswith("Error: none.toml: No such file")
    Path("grid.toml").write_text(GRID)
    Path("s").mkdir()
    Path("s/letter").touch()
    assert sweep() == 1
    assert "holds other things, and no sweep" in one_line(capsys)
    assert sorted(Path().iterdir()) == [Path("grid.toml"), Path("poems.txt"), Path("s")]
    Path("s/letter").unlink()
    assert run(["train", "--out", "s", "--sweep", "grid.toml"]) == 2
    assert "DATA is missing" in one_line(capsys)
    assert list(Path("s").iterdir()) == []


def test_text_that_has_changed_is_no_text_to_go_on_with(capsys):
    assert sweep(steps="2") == 0
    Path("poems.txt").write_text(POEMS * 2, encoding="utf-8")
    capsys.readouterr()
    with unchanged(Path("s")):
        assert sweep(steps="2") == 1
    assert "poems.txt has changed since" in one_line(capsys)
    assert sweep("--overwrite", steps="2") == 0


def test_another_sweep_is_not_touched_but_may_be_replaced(capsys):
    assert sweep(steps="2") == 0
    capsys.readouterr()
    Path("grid.toml").write_text("[vary]\ntrain.seed = [1]\n")
    with unchanged(Path("s")):
        assert sweep("--model", "gru", steps="2") == 1
    assert "holds another sweep: vary differs" in one_line(capsys)
    Path("s/letter").write_text("mine")
    assert sweep("--model", "gru", "--overwrite", steps="2") == 0
    assert sorted(path.name for path in Path("s").iterdir()) == [
        *("data", "letter", "sweep.html", "sweep.json", "trial-001"),
    ]


# -- learning rates --------------------------------------------------------------------------------------------------


def find(*arguments: str, picture: str = "lr.svg") -> int:
    return run(["train", "poems.txt", "--find-lr", picture, *tiny(), *arguments])


def test_a_learning_rate_is_suggested_and_drawn_and_no_run_is_made(capsys, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    assert find() == 0
    said = capsys.readouterr().out
    rate = float(re.search(r"--set train\.learning_rate=(\S+)", said)[1])
    assert 1e-5 < rate < 1
    picture = ElementTree.parse("lr.svg")
    text = "".join(picture.getroot().itertext())
    assert f"suggested {rate:.2g}" in text
    assert "learning rate" in text
    assert sorted(path.name for path in Path().iterdir()) == ["grid.toml", "lr.svg", "poems.txt", "temporary"]
    assert list(Path("temporary").iterdir()) == []
    assert find("--json") == 0
    assert json.loads(capsys.readouterr().out)["suggestion"] == rate  # the same each time


def test_mistakes_with_learning_rates(capsys):
    for arguments, picture, said in (
        ([], "lr.png", "the picture is an SVG file"),
        (["--resume"], "lr.svg", "leave out --resume"),
        (["--sweep", "grid.toml"], "lr.svg", "leave out --sweep"),
        (["--set", "train.freeze=['embeding']"], "lr.svg", "Did you mean embedding"),
    ):
        assert find(*arguments, picture=picture) == 2
        assert said in one_line(capsys)
    assert not list(Path().glob("lr.*"))


# -- averages --------------------------------------------------------------------------------------------------------


def test_averages(capsys):
    settings = ("train.keep_best=3", "train.learning_rate=1e-3", "train.eval_every=2")
    keep = ["--steps", "8", *(word for setting in settings for word in ("--set", setting))]
    assert run(["train", "poems.txt", "--out", "r", *keep, *tiny()]) == 0
    for name, options in (("b", ["--best", "3"]), ("l", ["--last", "2"]), ("a", []), ("g", ["--greedy"])):
        capsys.readouterr()
        assert run(["average", "r", "--out", name, "--json", *options]) == 0
        found = json.loads(capsys.readouterr().out)
        assert len(found["used"]) + len(found["left_out"]) == (2 if name == "l" else len(checkpoints(Path("r"))))
        assert found["before"]["num_tokens"] == found["after"]["num_tokens"] > 0
        assert run(["generate", name, "春", "--max-tokens", "3"]) == 0
        assert run(["score", name, "春眠不觉晓"]) == 0
    capsys.readouterr()
    assert run(["average", "b", "l", "--out", "soup", "--valid", "poems.txt"]) == 0
    assert re.search(r"validation loss \d\.\d{4} before, \d\.\d{4} after", capsys.readouterr().out)
    shutil.rmtree("r/data")
    assert run(["average", "r", "--out", "n"]) == 0
    assert "not validated: there is no validation text" in capsys.readouterr().out
    for arguments, code, said in (
        (["r", "--last", "2", "--best", "2"], 2, "give one of them"),
        (["r", "b", "--best", "2"], 2, "--best is about the checkpoints of one run"),
        (["r", "--best", "99"], 1, "train.keep_best=99"),
        (["r", "--greedy"], 2, "needs validation text"),
        (["nowhere"], 1, "nowhere is not a run folder"),
        (["r", "--last", "1"], 2, "2"),
    ):
        assert run(["average", *arguments, "--out", "x"]) == code
        assert said in one_line(capsys)
    assert not Path("x").exists()


# -- freezing --------------------------------------------------------------------------------------------------------


def test_what_is_trained_is_said(capsys):
    options = ["--steps", "2", "--set", "train.freeze=['embedding']", "--set", "train.layer_decay=0.8", *tiny()]
    assert run(["train", "poems.txt", "--out", "r", *options]) == 0
    said = capsys.readouterr().err
    trained, total = re.search(r"gru, ([\d,]+) of ([\d,]+) parameters trained", said).groups()
    assert int(trained.replace(",", "")) < int(total.replace(",", ""))
    assert "Note: what is frozen keeps its random values" in said
    assert run(["train", "poems.txt", "--out", "t", "--init-from", "r", *options[: -len(tiny())]]) == 0
    assert "Note: what is frozen" not in capsys.readouterr().err
    assert run(["train", "--resume", "--out", "r", "--steps", "4", "--set", "train.freeze=[]"]) == 2
    assert "train.freeze: a run that goes on keeps its ('embedding',), got ()" in one_line(capsys)
    assert run(["train", "--resume", "--out", "r", "--steps", "4"]) == 0
    assert run(["train", "poems.txt", "--out", "x", *tiny(), "--set", "train.freeze=['layer']"]) == 2
    assert "train.freeze: 'layer' matches no parameter of this model. Did you mean layers" in capsys.readouterr().err
    assert not Path("x").exists()


def test_events_are_heard(capsys):
    """`watch.train` gives each event to who asks, beside the bar."""
    from nextword.cli import watch
    from nextword.training.new_run import new_run

    values = {"model": {"type": "gru", "hidden_size": 8}, "train": {"steps": 3, "eval_every": 3}}
    heard: list = []
    watch.train(new_run(values, ["poems.txt"], Path("r")), quiet=True, heard=heard.append)
    assert [type(event).__name__ for event in heard] == ["Step"] * 3 + ["Evaluated", "Finished"]
    assert isinstance(heard[0], Step)
    assert isinstance(heard[3], Evaluated)
    said = capsys.readouterr().err
    assert "nats/token" not in said
    assert "Doctor" not in said
