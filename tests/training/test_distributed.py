"""Several processes train as one does: the same rows, losses and weights, whatever their number was before.

Two processes play the scenes below, and write down what they saw.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from processes import Fork, command
from safetensors.torch import load_file
from songs import Letters, V, counting_songs
from toys import write_tokens

from nextword.data.batches import Batch
from nextword.data.examples import ExampleBatches
from nextword.data.stream import StreamBatches, WindowBatches
from nextword.data.token_files import TokenFiles
from nextword.errors import TrainingError
from nextword.models import build_model, model_config
from nextword.tokenizers import IGNORE
from nextword.training import resume
from nextword.training.config import TrainConfig
from nextword.training.distributed import World, processes
from nextword.training.events import Evaluated, Finished, Sampled, Step
from nextword.training.logs import read_metrics
from nextword.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
ALONE = World(torch.device("cpu"))
MODELS: dict[str, dict[str, Any]] = {
    "lstm": {"type": "lstm", "hidden_size": 16, "num_layers": 2, "vocab_size": V},
    "transformer": {"type": "transformer", "num_layers": 2, "hidden_size": 16, "num_heads": 2, "max_seq_len": 8}
    | {"vocab_size": V},
}
SMALL = {"num_layers": 1, "hidden_size": 16, "num_heads": 2, "max_seq_len": 8, "vocab_size": V}
ENCODING: dict[str, dict[str, Any]] = {name: {"type": name, **SMALL} for name in ("encoder-decoder", "prefix-lm")}
BASE = {"batch_size": 5, "context": 8, "precision": "float32", "log_every": 1, "accumulate": 2, "ema": 0.9}
BASE |= {"learning_rate": 0.02, "eval_every": 6, "checkpoint_every": 9, "fresh_share": 0.2, "compile": "never"}
BASE |= {"schedule": "constant"}  # others depend on the length, which changes on the way
STEPS = 18  # some four epochs; the processes change their number after 6 and after 12
STORES: list[dist.TCPStore] = []  # which live as long as this module
EACH = [(name, parallel) for name in MODELS for parallel in ("ddp", "fsdp")]


def make(name: str, tokens: Path, folder: Path, world: World = ALONE, sample: Any = None, **settings: Any) -> Trainer:
    """A trainer that goes on where the folder's last one stopped."""
    model = (MODELS | ENCODING)[name] | {"dropout": settings.pop("dropout", 0.0)}
    config = TrainConfig(**(BASE | settings))
    files = TokenFiles.open(tokens)
    torch.manual_seed(config.seed)
    trainer = Trainer(build_model(model_config(model)), files, files, config, folder, sample, world=world)
    if resume.checkpoints(folder):
        trainer.resume(resume.latest(folder))
    return trainer


def play(trainer: Trainer) -> dict[str, Any]:
    """Train to the end; what was read at each step, and what came of it."""
    seen: dict[int, list[Any]] = {}
    plain = Batch.part

    def part(batch: Batch, rows: slice) -> Batch:
        own = plain(batch, rows)
        if torch.is_grad_enabled():  # not an evaluation
            seen.setdefault(trainer.position.step + 1, []).append([own.inputs.tolist(), own.targets.tolist()])
        return own

    Batch.part = part  # type: ignore[method-assign]
    try:
        events = list(trainer.run())
    finally:
        Batch.part = plain  # type: ignore[method-assign]
    return {
        "batches": seen,
        "losses": {event.step: event.loss for event in events if isinstance(event, Step)},
        "norms": {event.step: event.grad_norm for event in events if isinstance(event, Step)},
        "evaluated": {
            event.step: [event.result.nats, event.result.tokens] for event in events if isinstance(event, Evaluated)
        },
        "samples": [event.given + event.written for event in events if isinstance(event, Sampled)],
        "end": [(event.step, event.reason) for event in events if isinstance(event, Finished)],
    }


# -- the scenes of two processes -------------------------------------------------------------------------------------

Scene = Callable[[World, Path], Any]


def train_on(world: World, root: Path) -> Any:
    """One process did six steps; two do six more."""
    runs = {}
    for name, parallel in EACH:
        folder = root / f"elastic-{name}-{parallel}"
        runs[f"{name}-{parallel}"] = play(make(name, root / "tokens", folder, world, parallel=parallel, steps=12))
    return runs


def train_all(world: World, root: Path) -> Any:
    """Two processes from the start, with all that may differ: sharded Muon, recomputed blocks, bfloat16."""
    settings = {"steps": 8, "activation_checkpointing": True, "parallel": "fsdp"}
    runs = {}
    kinds: dict[str, dict[str, Any]] = {
        "muon": {"optimizer": "muon"},
        "bfloat16": {"precision": "bfloat16"},
        "examples": {"rows": "examples", "batch_tokens": 12},  # one row or two: the first process often has none
    }
    for kind, more in kinds.items():
        trainer = make("transformer", root / "tokens", root / kind, world, **(settings | more))
        runs[kind] = play(trainer) | {"held": sum(p.to_local().numel() for p in trainer.model.parameters())}
    for name in ENCODING:
        runs[name] = play(make(name, root / "pairs", root / name, world, **settings))
    return runs


def train_twice(world: World, root: Path) -> Any:
    """With dropout, and a break after nine steps."""
    runs = []
    for folder, ends in (("whole", [STEPS]), ("broken", [9, STEPS])):
        for end in ends:
            run = play(make("lstm", root / "tokens", root / folder, world, dropout=0.3, steps=end))
        runs.append(run)
    return runs


def sample_whole(world: World, root: Path) -> Any:
    """What the sampler is given: a model that computes by itself, with the average as its weights."""

    def write(model: Any) -> tuple[str, str]:
        logits, _ = model(torch.tensor([[1, 2, 3]]))
        return "", json.dumps(logits.tolist())

    return {
        parallel: play(
            make("transformer", root / "tokens", root / f"sample-{parallel}", world, write, parallel=parallel, steps=3)
        )
        for parallel in ("ddp", "fsdp")
    }


def end_early(world: World, root: Path) -> Any:
    """The second process alone is asked to stop; in another run, it alone sees a loss that is no number."""
    trainer = make("lstm", root / "tokens", root / "stopped", world, steps=100)
    for event in trainer.run():
        if isinstance(event, Step) and event.step == 3 and not world.leads:
            trainer.interrupt()
    end = [event.step, trainer.position.step]
    trainer = make("transformer", root / "tokens", root / "nan", world, steps=100)
    plain, calls = trainer.spread.loss.forward, []

    def forward(*inputs: Any) -> Any:
        calls.append(None)
        loss, state = plain(*inputs)
        return loss * (float("nan") if len(calls) == 6 and not world.leads else 1.0), state

    trainer.spread.loss.forward = forward
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    try:
        for event in trainer.run():
            if isinstance(event, Step):
                before = [parameter.clone() for parameter in trainer.model.parameters()]
    except TrainingError as error:
        same = all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
        return {"end": end, "error": str(error), "untouched": same}


def count_exchanges(world: World, root: Path) -> Any:
    """How often a step of one batch and a step of four send gradients."""
    counts: dict[str, list[int]] = {}
    for parallel, operation in (("ddp", "gloo:all_reduce"), ("fsdp", "c10d::_reduce_scatter_base_")):
        for accumulate in (1, 4):
            folder, settings = root / f"{parallel}-{accumulate}", {"parallel": parallel, "accumulate": accumulate}
            trainer = make("transformer", root / "tokens", folder, world, steps=1, **settings)
            with torch.profiler.profile() as profile:
                trainer._step()
            events = [event.count for event in profile.key_averages() if event.key == operation]
            counts.setdefault(parallel, []).append(sum(events))
    return counts


def budget(world: World, root: Path) -> Any:
    """A second of time: the clocks differ, the decisions must not."""
    trainer = make("lstm", root / "tokens", root / "budget", world, budget=1.0, eval_every=0, checkpoint_every=0)
    trainer.clock._started -= 100.0 * world.rank
    return {key: value for key, value in play(trainer).items() if key != "batches"}


SCENES: Sequence[Scene] = (train_on, train_all, train_twice, sample_whole, end_early, count_exchanges, budget)


def child(root: Path) -> None:
    torch.set_num_threads(1)
    with processes(os.environ, "cpu") as world:
        seen = {scene.__name__: scene(world, root) for scene in SCENES}
        (root / f"seen-{world.rank}.json").write_text(json.dumps(seen))


def start(work: Callable[..., object], *arguments: Any, folder: Path | None = None) -> list[Fork]:
    """Two processes of one run, as torchrun starts them: the store in which they meet is not in one of them."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    STORES.append(store)
    environment = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    environment |= {"MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    environment |= {"TORCHELASTIC_RESTART_COUNT": "0", "OMP_NUM_THREADS": "1"}
    return [Fork(work, *arguments, folder=folder, **environment, RANK=rank, LOCAL_RANK=rank) for rank in ("0", "1")]


def finish(started: list[Fork]) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each."""
    return [process.end() for process in started]


# -- what came of them -----------------------------------------------------------------------------------------------


def numbered(values: dict[Any, Any]) -> dict[int, Any]:
    """JSON makes text of keys."""
    return {int(key): value for key, value in values.items()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs: those of one process from start to end, and those that change their number on the way."""
    root = tmp_path_factory.mktemp("distributed")
    tokens = root / "tokens"
    counting_songs(tokens)
    songs = [list(range(1, length)) for length in list(range(3, 8)) * 5]
    write_tokens(root / "pairs", [(song, song[::-1]) for song in songs], Letters())
    for name, parallel in EACH:
        play(make(name, tokens, root / f"elastic-{name}-{parallel}", parallel=parallel, steps=6))
    for code, _, errors in finish(start(child, root)):
        assert code == 0, errors
    return root


@pytest.fixture(scope="module")
def seen(root: Path) -> list[dict[str, Any]]:
    """What each of the two processes saw."""
    return [json.loads((root / f"seen-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone(root: Path) -> Callable[..., dict[str, Any]]:
    """A run of one process, made once."""
    runs: dict[str, dict[str, Any]] = {}

    def run(name: str, **settings: Any) -> dict[str, Any]:
        key = f"alone-{name}-{settings}"
        if key not in runs:
            data = root / ("pairs" if name in ENCODING else "tokens")
            runs[key] = play(make(name, data, root / key, **settings)) | {"folder": root / key}
        return runs[key]

    return run


@pytest.mark.parametrize(("name", "parallel"), EACH)
def test_one_process_then_two_then_one_are_as_one_all_the_way(name, parallel, root, seen, alone):
    whole = alone(name, steps=STEPS)
    two = [seen[rank]["train_on"][f"{name}-{parallel}"] for rank in (0, 1)]
    folder = root / f"elastic-{name}-{parallel}"
    last = play(make(name, root / "tokens", folder, parallel=parallel, steps=STEPS))

    assert two[0]["losses"] == two[1]["losses"]
    losses = numbered(two[0]["losses"]) | last["losses"]
    assert list(losses) == list(range(7, STEPS + 1))
    assert losses == pytest.approx({step: whole["losses"][step] for step in losses}, rel=1e-4)
    norms = numbered(two[0]["norms"]) | last["norms"]
    assert norms == pytest.approx({step: whole["norms"][step] for step in norms}, rel=1e-2)
    for step, (nats, count) in (numbered(two[0]["evaluated"]) | last["evaluated"]).items():
        assert count == whole["evaluated"][step][1]
        assert nats == pytest.approx(whole["evaluated"][step][0], rel=1e-4)

    joined = {
        step: [[a[0] + b[0], a[1] + b[1]] for a, b in zip(batches, numbered(two[1]["batches"])[step], strict=True)]
        for step, batches in numbered(two[0]["batches"]).items()
    }
    assert joined | last["batches"] == {step: whole["batches"][step] for step in range(7, STEPS + 1)}

    kept, expected = (load_file(run / "model.safetensors") for run in (folder, whole["folder"]))
    for key, tensor in expected.items():
        torch.testing.assert_close(kept[key], tensor, rtol=1e-2, atol=1e-3)
    logged = [line["step"] for line in read_metrics(folder / "metrics.jsonl") if line["split"] == "train"]
    assert logged == list(range(1, STEPS + 1))


@pytest.mark.parametrize("size", [2, 3, 8])
@pytest.mark.parametrize("order", ["streams", "windows", "examples", "packed"])
def test_the_parts_of_a_batch_are_the_batch(order, size, root):
    """However many processes there are; one that has no row reads one without loss."""
    files = TokenFiles.open(root / "tokens")
    batches = {
        "streams": StreamBatches(files, 5, 8),
        "windows": WindowBatches(files, 5, 8),
        "examples": ExampleBatches(files, 24, 12),
        "packed": ExampleBatches(files, 48, 12, packed=True),
    }[order]
    while batches.epoch < 2:
        batch = next(batches)
        total = len(batch.inputs)
        worlds = [World(torch.device("cpu"), rank, size) for rank in range(size)]
        parts = [batch.part(world.rows(total)) for world in worlds]
        assert all(len(part.inputs) >= 1 for part in parts)
        assert sum(int((part.targets != IGNORE).sum()) for part in parts) == int((batch.targets != IGNORE).sum())
        read = [part for part, world in zip(parts, worlds, strict=True) if range(total)[world.rows(total)]]
        assert torch.equal(torch.cat([part.inputs for part in read]), batch.inputs)
        assert torch.equal(torch.cat([part.targets for part in read]), batch.targets)
        if batch.starts is not None:
            assert torch.equal(torch.cat([part.starts for part in read]), batch.starts)


def test_sharded_muon_and_recomputed_blocks_change_nothing(seen, alone):
    whole = alone("transformer", steps=8, optimizer="muon")
    two = seen[0]["train_all"]["muon"]
    assert numbered(two["losses"]) == pytest.approx(whole["losses"], rel=2e-2)  # Muon itself computes in bfloat16


def test_bfloat16_shards_learn_as_autocast_does(seen, alone):
    whole = alone("transformer", steps=8, precision="bfloat16")
    two = seen[0]["train_all"]["bfloat16"]
    assert numbered(two["losses"]) == pytest.approx(whole["losses"], rel=2e-2)


def test_batches_of_fewer_rows_than_processes_are_as_one_process_reads_them(seen, alone):
    whole = alone("transformer", steps=8, rows="examples", batch_tokens=12)
    two = seen[0]["train_all"]["examples"]
    assert numbered(two["losses"]) == pytest.approx(whole["losses"], rel=1e-4)
    assert any(len(inputs) == 1 for batches in whole["batches"].values() for inputs, _ in batches)


@pytest.mark.parametrize("name", ENCODING)
def test_sources_and_answers_are_read_as_one_process_reads_them(name, seen, alone):
    whole = alone(name, steps=8)
    two = seen[0]["train_all"][name]
    assert numbered(two["losses"]) == pytest.approx(whole["losses"], rel=1e-4)
    for step, (nats, count) in numbered(two["evaluated"]).items():
        assert [pytest.approx(nats, rel=1e-4), count] == whole["evaluated"][step]


def test_each_process_holds_a_part_of_the_weights(seen):
    total = build_model(model_config(MODELS["transformer"])).num_parameters()
    assert sum(seen[rank]["train_all"]["muon"]["held"] for rank in (0, 1)) == total
    assert seen[0]["train_all"]["muon"]["held"] < 0.6 * total


def test_as_many_processes_as_before_go_on_to_the_same_bits(seen):
    """Dropout on: the generator of every process comes back. A sum of two terms is exact in either order."""
    whole, broken = seen[0]["train_twice"]
    assert broken["losses"] == {step: loss for step, loss in whole["losses"].items() if int(step) > 9}


def test_dropout_is_not_the_same_in_both(root, seen):
    states = load_file(resume.latest(root / "whole") / resume.TENSORS)["rng"]
    assert states.shape[0] == 2
    assert not torch.equal(states[0], states[1])


def test_the_first_process_samples_from_a_whole_model(seen):
    first, second = (seen[rank]["sample_whole"] for rank in (0, 1))
    assert not any(second["ddp"]["samples"] + second["fsdp"]["samples"])
    ddp, fsdp = (torch.tensor([json.loads(text) for text in first[name]["samples"]]) for name in ("ddp", "fsdp"))
    torch.testing.assert_close(ddp, fsdp, rtol=1e-3, atol=1e-4)


def test_all_stop_where_one_is_asked_to(root, seen):
    assert seen[0]["end_early"]["end"] == seen[1]["end_early"]["end"] == [3, 3]
    assert resume.latest(root / "stopped").name == "step-00000003"


def test_all_stop_at_a_loss_that_is_no_number(seen):
    for rank in (0, 1):
        assert "loss is not a finite number at step 3 (batch 6" in seen[rank]["end_early"]["error"]
        assert seen[rank]["end_early"]["untouched"]


def test_gradients_are_exchanged_once_a_step(seen):
    """However many batches it has. FSDP: one exchange a block, and one for the rest."""
    assert seen[0]["count_exchanges"]["fsdp"] == [3, 3]
    one, four = seen[0]["count_exchanges"]["ddp"]  # messages of a few numbers included
    assert one == four > 0


def test_a_time_budget_ends_for_all_at_the_first_ones_time(seen):
    first, second = (seen[rank]["budget"] for rank in (0, 1))
    assert first == second
    assert first["end"][0][0] > 1


# -- the command -----------------------------------------------------------------------------------------------------

PROSE = "a tiny corpus of few words, said again and again. " * 40
TINY = ["--model", "gru", "--set", "model.hidden_size=8", "--set", "train.precision='float32'"]


def train_in(folder: Path, *options: str) -> list[Fork]:
    """`nextword train` in two processes."""
    (folder / "prose.txt").write_text(PROSE)
    return start(command, ["train", "prose.txt", "--out", "run", *TINY, *options], folder=folder)


def wait_for_a_step(started: list[Fork], folder: Path) -> None:
    """Until both are in the midst of training."""
    metrics = folder / "run" / "metrics.jsonl"
    started[0].wait_for(lambda: metrics.exists() and metrics.stat().st_size > 0)


def test_a_mistake_is_told_once(tmp_path):
    ended = finish(train_in(tmp_path, "--set", "train.batch_size=1", "--steps", "2"))
    assert [code for code, *_ in ended] == [2, 2]
    assert "".join(errors for *_, errors in ended).count("Error: 2 processes cannot share batches of 1 row") == 1
    assert "Traceback" not in "".join(errors for *_, errors in ended)
    assert not (tmp_path / "run").exists()


def test_a_signal_to_one_saves_and_ends_all_with_its_code(tmp_path):
    started = train_in(tmp_path, "--steps", "100000")
    wait_for_a_step(started, tmp_path)
    started[1].send(signal.SIGTERM)
    ended = finish(started)
    assert [code for code, *_ in ended] == [143, 143], ended
    assert ended[0][1].count("go on with:") == 1
    assert ended[1][1] == ""
    assert resume.latest(tmp_path / "run")


@pytest.mark.slow
def test_one_that_dies_ends_the_other_in_a_line(tmp_path):
    started = train_in(tmp_path, "--steps", "100000")
    wait_for_a_step(started, tmp_path)
    started[1].send(signal.SIGKILL)
    (code, _, errors), _ = finish(started)
    assert code == 1
    assert errors.splitlines()[-1].startswith("Error: another process of this run is gone")
    assert "Traceback" not in errors


@pytest.mark.slow
def test_torchrun_starts_the_same_command(tmp_path):
    """Either way that the page names; then one process goes on."""
    (tmp_path / "prose.txt").write_text(PROSE + "春风又绿江南岸。" * 20, encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command = Path(sys.executable).with_name("nextword")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    options = ["--out", "run", "--json", "--steps"]
    for line in (
        [*torchrun, "-m", "nextword", "train", "prose.txt", *TINY, *options, "3"],
        [*torchrun, str(command), "train", "--resume", *options, "6"],
        [sys.executable, "-m", "nextword", "train", "--resume", *options, "9"],
    ):
        done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["steps"] == int(line[-1])
    assert [line["step"] for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if line["split"] == "valid"]


@pytest.mark.parametrize("missing", ["RANK", "LOCAL_RANK", "MASTER_PORT"])
def test_half_an_environment_is_refused(missing):
    from nextword.errors import UsageError

    given = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    with pytest.raises(UsageError, match=missing), processes(given | {missing: ""}, "cpu"):
        pass


@pytest.mark.parametrize("total", [1, 2, 3, 10, 64])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_rows_are_divided_evenly(total, size):
    shares = [range(total)[World(torch.device("cpu"), rank, size).rows(total)] for rank in range(size)]
    assert [row for share in shares for row in share] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
