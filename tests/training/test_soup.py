"""The average of weights: by a reference that reads whole files, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nextword import corpora
from nextword.checkpoint import WEIGHTS, load_run
from nextword.errors import RunError, UsageError
from nextword.training import resume, soup
from nextword.training.evaluation import evaluate
from nextword.training.new_run import new_run

MODELS = {
    "gru": {"type": "gru", "hidden_size": 12, "tied": True},
    "transformer": {"type": "transformer", "num_layers": 1, "hidden_size": 8, "num_heads": 2, "max_seq_len": 16},
}
TRAIN = {"steps": 12, "batch_size": 4, "eval_every": 2, "keep_checkpoints": 3, "keep_best": 3, "precision": "float32"}


def train(folder: Path, name: str, kind: str = "gru", init: Path | None = None, model: dict | None = None, **settings):
    values = {
        "tokenizer": {"type": "char"},
        "train": TRAIN | {"learning_rate": 0.02, "schedule": "constant"} | settings,
    }
    values["model"] = (model or {}) if init else MODELS[kind] | (model or {})
    text = folder / "poems.txt"
    if not text.exists():
        text.write_text("\n\n".join(corpora.load("tang")[:30]), encoding="utf-8")
    session = new_run(values, [text], folder / name, init_from=init)
    list(session.trainer.run())
    session.finish()
    return folder / name


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """`gru` and `transformer`, with an average of their own (`smooth`); `one` and `two`, which began with gru's."""
    folder = tmp_path_factory.mktemp("runs")
    for kind in MODELS:
        train(folder, kind, kind)
    train(folder, "smooth", ema=0.5)
    train(folder, "one", init=folder / "gru", seed=1)
    train(folder, "two", init=folder / "gru", seed=2, model={"dropout": 0.3})
    return folder


def mean(*files: Path, prefix: str = "") -> dict[str, torch.Tensor]:
    loaded = [resume.strip(load_file(file), prefix) if prefix else load_file(file) for file in files]
    return {name: torch.stack([tensors[name] for tensors in loaded]).mean(0) for name in loaded[0]}


def validation(run: Path):
    return soup.validation_of(run, load_run(run).tokenizer)


def same(run: Path, expected: dict[str, torch.Tensor]) -> None:
    found = load_file(run / WEIGHTS)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", MODELS)
def test_the_last_checkpoints(kind, runs, tmp_path):
    run = runs / kind
    chosen = soup.last(run, 3)
    assert [one.name for one in chosen] == ["step-00000012", "step-00000010", "step-00000008"]
    made = soup.average_runs(chosen, [run], tmp_path / "out", how="its last 3 checkpoints", valid=validation(run))
    same(tmp_path / "out", mean(*(run / "checkpoints" / one.name / WEIGHTS for one in chosen)))
    loaded = load_run(tmp_path / "out")
    assert loaded.config["average"] == {"how": "its last 3 checkpoints", "of": [one.name for one in chosen]}
    assert loaded.config["figures"]["validation"]["loss"] == made.after.loss
    files = validation(tmp_path / "out")  # it knows where its text is
    assert evaluate(loaded.model, files, 4).loss == pytest.approx(made.after.loss)
    assert evaluate(load_run(run).model, files, 4).loss == pytest.approx(made.before.loss)
    assert made.before.loss == pytest.approx(load_run(run).config["figures"]["validation"]["loss"], rel=1e-4)
    assert "averaged (its last 3 checkpoints)" in (tmp_path / "out" / "README.md").read_text()


def test_the_best_checkpoints_are_those_of_lowest_loss(runs):
    chosen = soup.best(runs / "gru", 3)
    lines = [json.loads(line) for line in (runs / "gru" / "metrics.jsonl").read_text().splitlines()]
    losses = sorted(line["loss"] for line in lines if line["split"] == "valid")
    assert [one.loss for one in chosen] == losses[:3]


def test_of_a_run_with_a_running_average_it_is_that_which_is_averaged(runs, tmp_path):
    run = runs / "smooth"
    chosen = soup.last(run, 2)
    soup.average_runs(chosen, [run], tmp_path / "out", how="")
    files = [run / "checkpoints" / one.name / resume.TENSORS for one in chosen]
    same(tmp_path / "out", mean(*files, prefix="average."))


def test_runs_that_began_alike(runs, tmp_path):
    """They may differ in dropout, which a trained model has no more use for."""
    names = [runs / "one", runs / "two"]
    made = soup.average_runs(soup.of_runs(names), names, tmp_path / "out", how="2 runs", valid=validation(names[0]))
    same(tmp_path / "out", mean(*(run / WEIGHTS for run in names)))
    alone = [evaluate(load_run(run).model, validation(names[0]), 4).loss for run in names]
    assert made.before.loss == pytest.approx(min(alone))
    config = load_run(tmp_path / "out").config
    assert config["figures"]["steps"] == 24


def test_a_greedy_soup_is_no_worse_than_the_best_of_it(runs, tmp_path):
    """Beside two good ones there is one of noise, which is left out."""
    shutil.copytree(runs / "one", tmp_path / "noise")
    spoiled = load_run(tmp_path / "noise")
    with torch.no_grad():
        for parameter in spoiled.model.parameters():
            parameter.normal_()
    from nextword.checkpoint import save_weights

    save_weights(tmp_path / "noise" / WEIGHTS, spoiled.model)
    names = [tmp_path / "noise", runs / "one", runs / "two"]
    valid = validation(names[1])
    made = soup.average_runs(soup.of_runs(names), names, tmp_path / "out", how="", greedy=True, valid=valid)
    assert str(names[0]) in [one.name for one in made.left_out]
    assert made.after.loss <= made.before.loss
    same(tmp_path / "out", mean(*(one.file for one in made.used)))
    assert {one.name for one in made.used + made.left_out} == {str(name) for name in names}


def test_a_tensor_is_read_at_a_time(runs, monkeypatch):
    """However many there are, only the sum and one tensor are held."""
    chosen, held, most = soup.last(runs / "gru"), 0, 0
    plain = soup._tensor

    def counted(ingredient, name):
        nonlocal held, most
        held += 1
        most = max(most, held)
        tensor = plain(ingredient, name)

        def forget():
            nonlocal held
            held -= 1

        import weakref

        weakref.finalize(tensor, forget)
        return tensor

    monkeypatch.setattr(soup, "_tensor", counted)
    soup.fill(load_run(runs / "gru").model, chosen)
    assert len(chosen) >= 3
    assert most == 1


def test_what_cannot_be_averaged(runs, tmp_path):
    with pytest.raises(RunError, match=r"transformer has model\.type 'transformer', .*gru has 'gru'"):
        soup.of_runs([runs / "gru", runs / "transformer"])
    shutil.copytree(runs / "gru", tmp_path / "other")
    config = json.loads((tmp_path / "other/config.json").read_text())
    config["tokenizer"]["fingerprint"] = "x"
    (tmp_path / "other/config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match="other has another tokenizer than"):
        soup.of_runs([runs / "gru", tmp_path / "other"])
    with pytest.raises(RunError, match=r"expected at least 9\. Train with --set train\.keep_checkpoints=9"):
        soup.last(runs / "gru", 9)
    with pytest.raises(RunError, match=r"with a validation loss, expected at least 9\. Train .* train\.keep_best=9"):
        soup.best(runs / "gru", 9)
    config["train"]["keep_checkpoints"] = 9
    (tmp_path / "other/config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"expected at least 9\. Train it longer, or ask for fewer"):
        soup.last(tmp_path / "other", 9)
    damaged = tmp_path / "damaged"
    shutil.copytree(runs / "gru", damaged)
    file = damaged / "checkpoints/step-00000012" / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(RunError, match=r"step-00000012/model\.safetensors is damaged"):
        soup.last(damaged, 2)


def test_nothing_is_written_where_it_must_not_be(runs, tmp_path):
    run, chosen = runs / "gru", soup.last(runs / "gru", 2)
    with pytest.raises(UsageError, match="is one of the runs to average"):
        soup.average_runs(chosen, [run], run, how="", overwrite=True)
    with pytest.raises(RunError, match=r"already holds a run\. Replace it by --overwrite"):
        soup.average_runs(chosen, [run], runs / "one", how="")
    with pytest.raises(UsageError, match="a greedy average needs validation text"):
        soup.average_runs(chosen, [run], tmp_path / "out", how="", greedy=True)
    assert not (tmp_path / "out").exists()
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing/note").touch()
    with pytest.raises(RunError, match="holds other things"):
        soup.average_runs(chosen, [run], tmp_path / "thing", how="", overwrite=True)
