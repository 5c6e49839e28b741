"""When the layers are compiled, and that neither that nor bfloat16 changes what is learned."""

import json

import pytest
import torch
from songs import MODELS, trainer

from nextword.data.token_files import TokenFiles
from nextword.training import trainer as training
from nextword.training.compiling import TRIAL_STEPS
from nextword.training.events import Compiling, Step
from nextword.training.resume import checkpoints, latest


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """In place of the compiler: takes down that it was called."""
    calls: list[int] = []
    monkeypatch.setattr(training, "compile_model", lambda model: calls.append(1) or True)
    return calls


def compiled_before(run) -> list[int]:
    """Steps done when the layers were compiled."""
    return [event.step for event in run.run() if isinstance(event, Compiling)]


@pytest.mark.parametrize(("wanted", "found"), [("always", [0]), ("never", [])])
def test_it_does_as_it_is_told(files, tmp_path, asked, wanted, found):
    assert compiled_before(trainer("transformer", files, tmp_path / "run", steps=9, compile=wanted)) == found
    assert len(asked) == len(found)


@pytest.mark.parametrize(("worthwhile", "found"), [(0.0, [TRIAL_STEPS]), (1e9, [])])
@pytest.mark.parametrize("limit", [{"steps": 12}, {"epochs": 1.0}])
def test_left_alone_it_compiles_where_enough_time_is_left(
    files,
    tmp_path,
    asked,
    monkeypatch,
    worthwhile,
    found,
    limit,
):
    monkeypatch.setattr(training, "WORTHWHILE", worthwhile)
    assert compiled_before(trainer("transformer", files, tmp_path / "run", **limit)) == found


def test_a_budget_counts_what_is_left_of_it(files, tmp_path, asked, monkeypatch):
    monkeypatch.setattr(training, "WORTHWHILE", 1.0)
    assert compiled_before(trainer("transformer", files, tmp_path / "long", budget="3s")) == [TRIAL_STEPS]
    assert compiled_before(trainer("transformer", files, tmp_path / "short", budget="0.9s")) == []


def test_a_run_that_was_compiled_is_compiled_again(files, tmp_path, asked):
    list(trainer("transformer", files, tmp_path / "run", steps=4, compile="always").run())
    again = trainer("transformer", files, tmp_path / "run", steps=6)
    again.resume(latest(tmp_path / "run"))
    assert compiled_before(again) == [4]


def test_a_checkpoint_of_before_there_was_a_compiler_is_resumed_from(files, tmp_path):
    list(trainer("transformer", files, tmp_path / "run", steps=4).run())
    path = checkpoints(tmp_path / "run")[-1] / "training.json"
    values = json.loads(path.read_text())
    del values["position"]["compiled"]
    path.write_text(json.dumps(values))
    again = trainer("transformer", files, tmp_path / "run", steps=6)
    again.resume(path.parent)
    assert not again.position.compiled


def losses(files: TokenFiles, folder, **settings) -> torch.Tensor:
    run = trainer("transformer", files, folder, steps=50, learning_rate=0.003, **settings)
    return torch.tensor([event.loss for event in run.run() if isinstance(event, Step)])


@pytest.mark.slow
def test_compiled_and_in_bfloat16_it_learns_as_in_float32(files, tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "transformer", MODELS["transformer"] | {"dropout": 0.0, "num_layers": 2})
    plain = losses(files, tmp_path / "float32", compile="never")
    for name, settings in {"bfloat16": {"compile": "never"}, "compiled": {"compile": "always"}}.items():
        fast = losses(files, tmp_path / name, precision="bfloat16", **settings)
        assert (fast - plain).abs().max() < 0.02
    exact = losses(files, tmp_path / "exact", compile="always")
    assert (exact - plain).abs().max() < 1e-3


@pytest.mark.slow
def test_a_compiled_run_resumes_with_the_same_bits(files, tmp_path):
    settings = {"steps": 12, "checkpoint_every": 5, "compile": "always", "precision": "bfloat16"}
    whole = trainer("transformer", files, tmp_path / "whole", **settings)
    list(whole.run())
    broken = trainer("transformer", files, tmp_path / "broken", **settings)
    for event in broken.run():
        if isinstance(event, Step) and event.step == 7:
            break
    again = trainer("transformer", files, tmp_path / "broken", **settings)
    again.resume(latest(tmp_path / "broken"))
    list(again.run())
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)
