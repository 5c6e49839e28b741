"""A process that dies while it saves, at any moment, leaves a checkpoint that is at least the last one it reported.

Each scene is a process, whose own forks are what dies.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import Fork, command

from nextword.checkpoint import weights
from nextword.cli import run
from nextword.models import LanguageModel, build_model, model_config
from nextword.training import resume

PROSE = "a tiny corpus of few words, said again and again. " * 40
TINY = ["--model", "gru", "--set", "model.hidden_size=8", "--set", "train.precision='float32'", "--json"]
KEEP, KEEP_BEST = 2, 2


def model() -> LanguageModel:
    torch.manual_seed(0)
    return build_model(model_config({"type": "gru", "hidden_size": 8, "vocab_size": 11}))


def save(folder: Path, step: int, made: LanguageModel) -> None:
    """A checkpoint in which everything says which step it is of."""
    with torch.no_grad():
        made.output.weight.fill_(step)
    values = {"step": step, "loss": float(-step % 7)}
    resume.save(folder, step, weights(made), {"step": torch.full((20_000,), step)}, values, KEEP, KEEP_BEST)


def check(folder: Path, reported: int, made: LanguageModel) -> int:
    """What a new process does; the step it resumes from. Reads all, and fails if anything is of another step."""
    resume.sweep(folder)
    assert list(folder.rglob(".*")) == [], "something was left over"
    newest = resume.latest(folder)
    loaded, tensors, values = resume.load(newest, weights(made))
    step = values["step"]
    assert newest.name == f"step-{step:08}"
    assert bool((tensors["step"] == step).all())
    assert bool((loaded["output.weight"] == step).all())
    assert step >= reported, f"step {reported} was reported, {step} was found"
    return step


def fork(work: Callable[[int], None]) -> tuple[int, int]:
    """(process, pipe) of a child that works and reports there."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        try:
            work(writer)
        finally:
            os._exit(1)
    os.close(writer)
    return process, reader


def last_report(reader: int) -> int:
    with os.fdopen(reader) as file:
        return int(([0, *file.read().split()])[-1])


# -- killed at random ------------------------------------------------------------------------------------------------


def kills(folder: Path, count: int) -> None:
    """SIGKILL a child that saves in a loop, `count` times; each goes on where the one before got to."""
    made, rng, step, amid = model(), random.Random(0), 0, 0
    save(folder, 0, made)
    for _ in range(count):

        def loop(writer: int, step: int = step) -> None:
            while True:
                step += rng.randrange(2)  # often the same step again, which replaces a checkpoint
                save(folder, step, made)
                os.write(writer, f"{step} ".encode())

        process, reader = fork(loop)
        time.sleep(rng.uniform(0.0, 0.08))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        amid += bool(list((folder / resume.FOLDER).glob(".*")))
        step = check(folder, last_report(reader), made)
    print(json.dumps({"step": step, "amid": amid}))


# -- ended after each call -------------------------------------------------------------------------------------------


class Disk:
    """Counts the calls that change the disk, and ends the process after the one numbered `last`.

    As after a power cut, what was written and not flushed is gone: such files are cut to nothing, a folder is without
    the new name that was not flushed, and one that was to be deleted is back.
    """

    def __init__(self, last: int) -> None:
        self.last, self.calls = last, 0
        self.unflushed: dict[int, Path] = {}  # by inode: the content of files
        self.renamed: list[tuple[Path, Path]] = []
        for module, name in ((os, "replace"), (os, "unlink"), (os, "rmdir"), (os, "mkdir"), (os, "chmod")):
            setattr(module, name, self.counted(getattr(module, name)))
        os.fsync = self.counted(os.fsync, self.flushed)
        Path.write_text = self.counted(Path.write_text, self.written)  # type: ignore[method-assign]
        import nextword.checkpoint

        nextword.checkpoint.save_file = self.counted(
            nextword.checkpoint.save_file, lambda tensors, path, header: self.written(path)
        )
        os.replace = self.noting_renames(os.replace)

    def counted(self, call: Callable, note: Callable = lambda *a, **k: None) -> Callable:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            result = call(*arguments, **options)
            note(*arguments, **options)
            self.calls += 1
            if self.calls == self.last:
                self.cut_power()
            return result

        return wrapped

    def noting_renames(self, call: Callable) -> Callable:
        def wrapped(source: Path, target: Path) -> None:
            if not Path(target).exists():
                self.renamed.append((Path(source), Path(target)))
            call(source, target)

        return wrapped

    def written(self, path: Path, *_: Any, **__: Any) -> None:
        self.unflushed[os.stat(path).st_ino] = Path(path)

    def flushed(self, handle: int) -> None:
        inode = os.fstat(handle).st_ino
        self.unflushed.pop(inode, None)
        self.renamed = [pair for pair in self.renamed if os.stat(pair[1].parent).st_ino != inode]

    def cut_power(self) -> None:
        for inode in self.unflushed:
            for root, _, names in os.walk(ROOT):
                for path in (Path(root, name) for name in names):
                    if path.stat().st_ino == inode:
                        os.truncate(path, 0)
        for source, target in reversed(self.renamed):
            if target.name.startswith(".") and target.exists():
                os.rename(target, source)
            elif target.is_dir():
                subprocess.run(["rm", "-rf", str(target)], check=True)
        os._exit(9)


def cuts(folder: Path, again: bool) -> None:
    """End the process after each call of one save, of a new step or `again` of the newest."""
    global ROOT
    ROOT = folder
    made = model()
    outcomes = []
    before = folder.with_name("before")
    for step in (1, 2, 3):
        save(before, step, made)
    for last in range(1, 10_000):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(before, folder)
        target = 3 if again else 4

        def once(writer: int, last: int = last, target: int = target) -> None:
            disk = Disk(last)
            save(folder, target, made)
            os.write(writer, f"{target} ".encode())
            disk.cut_power()

        process, reader = fork(once)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 9
        reported = last_report(reader)
        outcomes.append(check(folder, max(3, reported), made))
        if reported:
            break
    print(json.dumps({"calls": last - 1, "outcomes": outcomes}))


def played(scene: Callable[..., None], *arguments: Any) -> dict[str, Any]:
    """The figures that a scene prints, of one thread: others do not outlive a fork."""
    code, out, errors = Fork(scene, *arguments, OMP_NUM_THREADS="1").end()
    assert code == 0, errors
    return json.loads(out)


@pytest.mark.slow
def test_killed_at_200_random_moments(tmp_path):
    figures = played(kills, tmp_path / "run", 200)
    assert figures["step"] > 100
    assert figures["amid"] > 20  # else the moments were not those that matter


@pytest.mark.parametrize("count", [10])
def test_killed_at_random_moments(count, tmp_path):
    # What is on the disk is compared in the scene, after each kill; it answers only if all of it was right.
    assert played(kills, tmp_path / "run", count)["step"] >= 0


@pytest.mark.parametrize("which", ["new", "again"])
def test_the_power_fails_after_each_call_of_a_save(which, tmp_path):
    figures = played(cuts, tmp_path / "run", which == "again")
    assert figures["calls"] > 30
    assert figures["outcomes"][0] == 3
    assert figures["outcomes"][-1] == (4 if which == "new" else 3)


# -- a full disk -----------------------------------------------------------------------------------------------------


def train(arguments: list[str], limit: int = 0) -> None:
    """`nextword train`, that may write no file of more than `limit` bytes."""
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    command(["train", *arguments])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    (folder / "text.txt").write_text(PROSE)
    assert run(["train", str(folder / "text.txt"), "--out", str(folder / "r"), "--steps", "4", *TINY]) == 0
    return folder


@pytest.mark.parametrize("limit", [2_000, 12_000], ids=["weights", "checkpoint"])
def test_a_disk_that_takes_no_more_is_one_line_and_loses_nothing(limit, small, tmp_path, monkeypatch):
    """The kept weights are of some 5 kB, the tensors of a checkpoint of 15."""
    folder = tmp_path / "copy"
    shutil.copytree(small, folder)
    kept = folder / "r"
    sizes = [(kept / "model.safetensors").stat().st_size]
    sizes += [(kept / "checkpoints/step-00000004" / name).stat().st_size for name in (resume.WEIGHTS, resume.TENSORS)]
    assert sizes[1] < 12_000 < sizes[2], sizes
    assert min(sizes) > 2_000, sizes
    before = {path: path.read_bytes() for path in (kept / "checkpoints").rglob("*") if path.is_file()}
    # The logs are cut by rewriting them, and their lines are few: they stay below the limit.
    monkeypatch.chdir(folder)
    go_on = ["--resume", "--out", "r", "--steps", "9", "--json"]
    code, _, errors = Fork(train, go_on, limit).end()
    assert code == 1
    error = errors.splitlines()[-1]
    assert error.startswith("Error: r/")
    assert "cannot write the " + ("weights" if limit == 2_000 else "checkpoint") in error
    assert "File too large" in error
    assert "Traceback" not in errors
    assert {path: path.read_bytes() for path in (kept / "checkpoints").rglob("*") if path.is_file()} == before
    assert not list(kept.rglob(".*"))
    assert run(["train", *go_on]) == 0


def test_too_small_a_disk_is_told_before_the_training(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(small)
    usage = type("Usage", (), {"free": 10_000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    out = str(tmp_path / "new")
    assert run(["train", "text.txt", "--out", out, "--steps", "4", *TINY]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "checkpoints of this run take at least 0.00 GiB" in line
    assert "train.keep_checkpoints=1" in line
    assert not Path(out).exists()
