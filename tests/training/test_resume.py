"""A run that was interrupted, however and wherever, ends with the bits of one that was not."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import often, pairwise
from processes import Fork
from safetensors.torch import load_file

from nextword.checkpoint import weights
from nextword.data.stream import StreamBatches, WindowBatches
from nextword.data.token_files import TokenFiles
from nextword.data.token_writer import TokenWriter
from nextword.errors import RunError, TrainingError
from nextword.models import build_model, model_config
from nextword.training import resume
from nextword.training.config import TrainConfig
from nextword.training.events import Finished, Step
from nextword.training.logs import read_metrics, read_samples
from nextword.training.trainer import Trainer

V = 12
MODELS: dict[str, dict[str, Any]] = {
    "lstm": {"type": "lstm", "hidden_size": 16, "num_layers": 2, "dropout": 0.2, "vocab_size": V},
    "transformer": {"type": "transformer", "num_layers": 1, "hidden_size": 16, "num_heads": 2, "max_seq_len": 8}
    | {"dropout": 0.2, "vocab_size": V},
}
BASE = {"batch_size": 4, "context": 8, "precision": "float32", "log_every": 1, "accumulate": 2, "ema": 0.9}
BASE |= {"learning_rate": 0.02, "eval_every": 6, "checkpoint_every": 7, "sample_every": 9, "fresh_share": 0.2}
LENGTHS = {"steps": {"steps": 21}, "epochs": {"epochs": 4.4}}  # an epoch is some five steps
FOREVER = 10**9


class Letters:
    """A vocabulary of V ids; 0 is <eos>."""

    kind, vocab_size, eos_id, unk_id = "letters", V, 0, None

    def fingerprint(self) -> str:
        return "letters"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty counting songs: 1 2 3 ... up to a length of its own."""
    folder = tmp_path_factory.mktemp("data") / "tokens"
    writer = TokenWriter(folder, Letters(), 2**20)
    for length in list(range(4, V)) * 5:
        writer.target(list(range(1, length)), num_bytes=length)
        writer.end()
    writer.finish()
    return folder


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def write(model: torch.nn.Module) -> tuple[str, str]:
    """A sample that draws from the training's own rng."""
    return "", str(torch.rand(1).item())


def make(name: str, tokens: Path, folder: Path, **settings: object) -> Trainer:
    config = TrainConfig(**(BASE | settings))
    files = TokenFiles.open(tokens)
    torch.manual_seed(config.seed)
    return Trainer(build_model(model_config(MODELS[name])), files, files, config, folder, write)


def go_on(name: str, tokens: Path, folder: Path, **settings: object) -> Trainer:
    """As a new process would, from a state of all else that has nothing to do with it."""
    resume.sweep(folder)
    trainer = make(name, tokens, folder, **settings)
    trainer.resume(resume.latest(folder))
    return trainer


def outcome(folder: Path) -> dict[str, Any]:
    """All that two equal runs share: what was logged, what was written, the last checkpoint and the kept weights."""
    last = resume.latest(folder)
    values = json.loads((last / resume.VALUES).read_text())
    for time in ("seconds", "step_seconds", "pause_seconds", "pause_cost"):
        del values["position"][time]
    lines = read_metrics(folder / "metrics.jsonl")
    files = ("model.safetensors", *(f"checkpoints/{last.name}/{name}" for name in (resume.WEIGHTS, resume.TENSORS)))
    return {
        "checkpoint": last.name,
        "values": values,
        "logged": [{k: v for k, v in line.items() if k not in ("tokens_per_s", "wall_time")} for line in lines],
        "samples": read_samples(folder / "samples.jsonl"),
        "tensors": {file: load_file(folder / file) for file in files},
    }


def assert_equal(whole: Path, broken: Path) -> None:
    a, b = outcome(whole), outcome(broken)
    tensors_a, tensors_b = a.pop("tensors"), b.pop("tensors")
    assert a == b
    for file, tensors in tensors_a.items():
        assert tensors.keys() == tensors_b[file].keys()
        assert [n for n, tensor in tensors.items() if not torch.equal(tensor, tensors_b[file][n])] == []


# -- in new processes, killed ----------------------------------------------------------------------------------------


def child(folder: Path, spec: dict[str, Any]) -> None:
    """Train, and write down a hash of each batch; die after step `kill`, unsaved."""
    torch.set_num_threads(1)
    log = (folder.parent / f"{folder.name}.batches").open("a")
    for kind in (StreamBatches, WindowBatches):

        def read(self: Any, plain: Callable = kind.__next__) -> Any:
            batch = plain(self)
            content = batch.inputs.numpy().tobytes() + batch.targets.numpy().tobytes()
            log.write(f"{trainer.position.step + 1} {hashlib.sha256(content).hexdigest()} {batch.fresh}\n")
            log.flush()
            return batch

        kind.__next__ = read  # type: ignore[method-assign]
    begin = go_on if resume.checkpoints(folder) else make
    trainer = begin(spec["name"], Path(spec["tokens"]), folder, **spec["settings"])
    for event in trainer.run():
        if isinstance(event, Step) and event.step == spec["kill"]:
            os.kill(os.getpid(), signal.SIGKILL)


def process(folder: Path, kill: int, **spec: object) -> None:
    code, _, errors = Fork(child, folder, spec | {"kill": kill}).end()
    assert code == (-signal.SIGKILL if kill < FOREVER else 0), errors


def batches(path: Path) -> dict[int, list[str]]:
    """The hashes by step; of a step that was done twice, the second time counts."""
    steps: dict[int, list[str]] = {}
    previous = 0
    for line in path.read_text().splitlines():
        number, content = line.split(" ", 1)
        if int(number) < previous:
            steps = {step: hashes for step, hashes in steps.items() if step < int(number)}
        previous = int(number)
        steps.setdefault(previous, []).append(content)
    return steps


FAST = [("lstm", "adamw", "epochs"), ("transformer", "muon", "steps")]
ALL = product(MODELS, ("adamw", "muon", "sgd"), LENGTHS)


@pytest.mark.parametrize(("name", "optimizer", "length"), often(ALL, lambda *case: case in FAST))
def test_killed_twice_and_resumed_in_new_processes(name, optimizer, length, tokens, tmp_path):
    """Killed at step 9 it goes on from 7, in an epoch; killed at step 19, from 14, with the end of an epoch between."""
    settings = LENGTHS[length] | {"optimizer": optimizer, "momentum": 0.9, "schedule": "cosine"}
    spec: dict[str, Any] = {"name": name, "tokens": str(tokens), "settings": settings}
    process(tmp_path / "whole", FOREVER, **spec)
    for kill in (9, 19, FOREVER):
        process(tmp_path / "broken", kill, **spec)
    assert_equal(tmp_path / "whole", tmp_path / "broken")
    read = batches(tmp_path / "whole.batches")
    assert batches(tmp_path / "broken.batches") == read
    assert sum(line.endswith("True") for lines in read.values() for line in lines) > 3  # that many epochs were begun


# -- interrupted everywhere ------------------------------------------------------------------------------------------

HARD = {"schedule": "plateau", "plateau_patience": 1, "optimizer": "muon", "steps": 24, "eval_every": 3}
# Of a learning rate that nothing learns from, and evaluations that soon end it.
STOPPING = {"learning_rate": 1e-9, "patience": 2, "steps": 500, "eval_every": 2, "checkpoint_every": 5, "ema": 0.0}


ENDS = {"plateau": HARD, "early stopping": STOPPING}


@pytest.mark.parametrize(("name", "ends", "phase"), pairwise(MODELS, ENDS, ("step", "evaluation", "sample", "save")))
def test_interrupted_each_time_it_ends_the_same(name, ends, phase, tokens, tmp_path, monkeypatch):
    """Every process does as little as it can before it is asked to stop: one step, or half an evaluation or save."""
    settings = ENDS[ends]
    list(make(name, tokens, tmp_path / "whole", **settings).run())

    current: list[Trainer] = []
    asked: list[str] = []

    def ask(here: str) -> None:
        if here == phase and current and here not in asked:
            asked.append(here)
            current[0].interrupt()

    def spied(here: str, function: Callable) -> Callable:
        def call(*arguments: Any) -> Any:
            ask(here)
            return function(*arguments)

        return call

    for here, target in (("step", "_step"), ("evaluation", "_stop_if_asked"), ("sample", "_sample"), ("save", "save")):
        monkeypatch.setattr(Trainer, target, spied(here, getattr(Trainer, target)))
    interruptions, reason, place = 0, "interrupted", None
    while reason == "interrupted":
        begin = go_on if resume.checkpoints(tmp_path / "broken") else make
        current[:] = [begin(name, tokens, tmp_path / "broken", **settings)]
        at = (current[0].position.step, current[0].position.done)
        asked[:] = [phase] if at == place else []  # an evaluation cut short is done again, and this time let through
        place = at
        *_, finished = current[0].run()
        reason, interruptions = finished.reason, interruptions + 1
        assert interruptions < 100
    assert interruptions > 1
    whole, broken = outcome(tmp_path / "whole"), outcome(tmp_path / "broken")
    for one in (whole, broken):  # a checkpoint at an interruption was written beyond those that were due
        for key in ("done", "marks"):
            one["values"]["position"][key].pop("checkpoint")
    tensors = whole.pop("tensors"), broken.pop("tensors")
    assert whole == broken
    for file, expected in tensors[0].items():
        assert all(torch.equal(tensor, tensors[1][file][n]) for n, tensor in expected.items())


def test_an_evaluation_cut_short_changes_nothing(name, tokens, tmp_path):
    trainer = make(name, tokens, tmp_path / "run", steps=24)
    events = trainer.run()
    for event in events:
        if isinstance(event, Step) and event.step == 6:
            break
    before, rng = [p.detach().clone() for p in trainer.model.parameters()], torch.get_rng_state()
    trainer._stop_if_asked = lambda: (trainer.interrupt(), Trainer._stop_if_asked(trainer))  # type: ignore
    assert list(events) == [Finished(6, "interrupted")]
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
    assert torch.equal(rng, torch.get_rng_state())
    assert trainer.model.training
    assert trainer.position.best_loss is None


def test_a_log_line_is_not_written_twice(tokens, tmp_path):
    """Interrupted in the evaluation of step 6, resumed, and killed once that was logged."""
    folder = tmp_path / "run"
    trainer = make("lstm", tokens, folder, steps=24)
    for event in trainer.run():
        if isinstance(event, Step) and event.step == 6:
            trainer.interrupt()
    for event in go_on("lstm", tokens, folder, steps=24).run():
        if isinstance(event, Step) and event.step == 7:
            break
    list(go_on("lstm", tokens, folder, steps=24).run())
    steps = [line["step"] for line in read_metrics(folder / "metrics.jsonl") if line["split"] == "valid"]
    assert steps == [6, 12, 18, 24]


def test_a_lengthened_run_is_evaluated_on_its_way(tokens, tmp_path):
    list(make("lstm", tokens, tmp_path / "run", steps=10, eval_every=0).run())
    list(go_on("lstm", tokens, tmp_path / "run", steps=40, eval_every=0).run())
    steps = [line["step"] for line in read_metrics(tmp_path / "run/metrics.jsonl") if line["split"] == "valid"]
    assert steps == [*range(1, 11), *range(12, 41, 4)]


# -- damage ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tokens: Path, tmp_path: Path) -> Path:
    """A run of 8 steps with checkpoints at 6 and 8."""
    folder = tmp_path / "run"
    list(make("lstm", tokens, folder, steps=8, checkpoint_every=2).run())
    assert [path.name for path in resume.checkpoints(folder)] == ["step-00000006", "step-00000008"]
    return folder


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def swap(path: Path) -> None:
    """Two files change places."""
    other = path.with_name(resume.VALUES if path.name != resume.VALUES else resume.WEIGHTS)
    third = path.with_name("third")
    path.rename(third), other.rename(path), third.rename(other)


DAMAGES = {flip: "SHA-256 differs from its manifest", truncate: "in its manifest", Path.unlink: "is missing", swap: ""}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("file", [resume.WEIGHTS, resume.TENSORS, resume.VALUES, resume.MANIFEST])
def test_the_one_before_a_damaged_checkpoint_is_resumed_from(damage, file, saved, tokens, caplog):
    newest = resume.checkpoints(saved)[-1]
    damage(newest / file)
    trainer = go_on("lstm", tokens, saved, steps=12, checkpoint_every=3)
    assert trainer.position.step == 6
    (warning,) = [record.getMessage() for record in caplog.records]
    where = "" if damage is swap else f"checkpoints/step-00000008/{file}"
    assert where in warning
    assert file == resume.MANIFEST or DAMAGES[damage] in warning
    assert "resuming from step-00000006 instead" in warning
    list(trainer.run())
    assert [path.name for path in resume.checkpoints(saved)] == ["step-00000009", "step-00000012"]


def test_without_one_that_is_whole_it_is_an_error(saved):
    for checkpoint in resume.checkpoints(saved):
        flip(checkpoint / resume.TENSORS)
    with pytest.raises(
        RunError, match=r"no checkpoint that is whole: .*step-00000008/training\.safetensors is damaged"
    ):
        resume.latest(saved)
    shutil.rmtree(saved / "checkpoints")
    with pytest.raises(RunError, match="no checkpoint to resume from"):
        resume.latest(saved)


@pytest.mark.parametrize("keep", [1, 2, 3, 5])
def test_the_last_k_are_kept(keep, tokens, tmp_path):
    list(make("lstm", tokens, tmp_path / "run", steps=8, checkpoint_every=2, keep_checkpoints=keep).run())
    kept = [path.name for path in resume.checkpoints(tmp_path / "run")]
    assert kept == [f"step-{step:08}" for step in (2, 4, 6, 8)][-keep:]


LOSSES = [3.0, 1.0, 2.0, None, 1.5, float("nan"), 4.0, 1.0, 5.0]


@pytest.mark.parametrize(("keep", "best"), [(1, 0), (1, 1), (1, 2), (2, 3), (3, 8), (1, 100)])
def test_the_best_k_are_kept_beside_the_last(keep, best, tmp_path):
    """Whatever came before: of all checkpoints ever saved, those of lowest loss, the newer of two equals."""
    model = build_model(model_config(MODELS["lstm"]))
    for step, loss in enumerate(LOSSES):
        resume.save(tmp_path, step, weights(model), {}, {"loss": loss}, keep, best)
        known = [(value, -n) for n, value in enumerate(LOSSES[: step + 1]) if value == value and value is not None]
        wanted = {-n for _, n in sorted(known)[:best]} | set(range(step + 1)[-keep:])
        assert {int(path.name.removeprefix("step-")) for path in resume.checkpoints(tmp_path)} == wanted
    assert resume.latest(tmp_path).name == "step-00000008"


def test_a_run_keeps_the_checkpoints_of_its_best_evaluations(tokens, tmp_path):
    """The learning rate is far too large, so that the loss goes up and down; half of the checkpoints have no loss."""
    trainer = make("lstm", tokens, tmp_path, steps=32, eval_every=4, checkpoint_every=2, learning_rate=0.5, ema=0.0)
    trainer.config = trainer.config.model_copy(update={"keep_checkpoints": 1, "keep_best": 3})
    list(trainer.run())
    lines = [line for line in read_metrics(tmp_path / "metrics.jsonl") if line["split"] == "valid"]
    best = sorted(lines, key=lambda line: (line["loss"], -line["step"]))[:3]
    found = resume.by_loss(resume.checkpoints(tmp_path))
    assert [loss for loss, _ in found[:3]] == [line["loss"] for line in best]
    assert {int(path.name[5:]) for path in resume.checkpoints(tmp_path)} == {32} | {line["step"] for line in best}


def test_a_damaged_best_one_is_no_obstacle(tokens, tmp_path):
    settings = {"steps": 8, "eval_every": 1, "checkpoint_every": 1, "keep_checkpoints": 1, "keep_best": 4}
    trainer = make("lstm", tokens, tmp_path, **settings)
    for event in trainer.run():
        if isinstance(event, Step) and event.step == 6:
            (resume.checkpoints(tmp_path)[0] / resume.VALUES).write_bytes(b"\xff{")
            (resume.checkpoints(tmp_path)[1] / resume.VALUES).write_text("[]")
    assert resume.latest(tmp_path).name == "step-00000008"
    assert len(resume.checkpoints(tmp_path)) == 4


def test_a_deletion_that_fails_is_a_warning(tokens, tmp_path, monkeypatch, caplog):
    trainer = make("lstm", tokens, tmp_path / "run", steps=8, checkpoint_every=1)
    rename = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if self.name == "step-00000002":
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    *_, finished = trainer.run()
    assert finished == Finished(8, "completed")
    assert "step-00000002 cannot be deleted: Permission denied" in caplog.text


def test_a_number_that_is_none_leaves_the_checkpoints(tokens, tmp_path):
    trainer = make("lstm", tokens, tmp_path / "run", steps=8, checkpoint_every=2)
    events = trainer.run()
    while trainer.position.step < 5:
        next(events)
    trainer.model.output.weight.register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(TrainingError, match=r"gradient is not a finite number at step 6 \(batches 11 to 12, epoch"):
        list(events)
    assert [path.name for path in resume.checkpoints(tmp_path / "run")] == ["step-00000002", "step-00000004"]
    assert go_on("lstm", tokens, tmp_path / "run", steps=8).position.step == 4
