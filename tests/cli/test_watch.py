"""Signals to a run, in each of its phases, as a user and a cluster send them: to the real process."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import Fork, command

from nextword import corpora
from nextword.cli import run
from nextword.training import resume

SETTINGS = ["model.hidden_size=8", "model.num_layers=1", "train.precision='float32'", "train.batch_size=4"]
SETTINGS += ["train.eval_every=3", "train.checkpoint_every=4", "train.sample_every=5", "train.log_every=1"]
TRAIN = ["train", "prose.txt", "--out", "r", "--model", "lstm", "--steps", "8", "--json"]
TRAIN += [part for setting in SETTINGS for part in ("--set", setting)]


def here(signals: int) -> None:
    """Say that the phase is reached for the first time, and stay in it until that many signals have come."""
    if not hasattr(here, "said"):
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        here.said = os.write(2, b"here\n")  # type: ignore[attr-defined]
        for _ in range(signals):
            os.read(reader, 1)


def trained(phase: str, signals: int) -> None:
    """The command, with a phase that waits for signals."""
    from nextword import files
    from nextword.cli import train
    from nextword.training import parallel

    loss, sample, write_json = parallel.next_token_loss, train.sample, files.write_json

    def at(reached: bool, call: Callable[..., Any], *arguments: Any) -> Any:
        if reached:
            here(signals)
        return call(*arguments)

    match phase:
        case "a step":
            parallel.next_token_loss = lambda *a: at(torch.is_grad_enabled(), loss, *a)
        case "an evaluation":
            parallel.next_token_loss = lambda *a: at(not torch.is_grad_enabled(), loss, *a)
        case "a sample":
            train.sample = lambda *a: at(True, sample, *a)
        case "a save":
            files.write_json = lambda path, value: at(path.name == "manifest.json", write_json, path, value)
    command(TRAIN)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "prose.txt").write_text("\n\n".join(corpora.load("moby-dick")[:30]), encoding="utf-8")
    here = os.getcwd()
    os.chdir(folder)
    try:
        assert run(TRAIN) == 0
    finally:
        os.chdir(here)
    return folder


def start(folder: Path, phase: str, signals: int) -> Fork:
    """A run that has reached `phase`."""
    process = Fork(trained, phase, signals, folder=folder)
    process.wait_for(lambda: "here\n" in process.err)
    return process


@pytest.mark.parametrize(
    ("phase", "number", "code"),
    [
        ("a step", signal.SIGINT, 130),
        ("an evaluation", signal.SIGTERM, 143),
        ("a sample", signal.SIGINT, 130),
        ("a save", signal.SIGTERM, 143),
    ],
)
def test_a_signal_saves_wherever_it_comes_and_the_run_ends_as_if_it_had_not(
    phase, number, code, whole, tmp_path, monkeypatch, capsys
):
    shutil.copy(whole / "prose.txt", tmp_path)
    process = start(tmp_path, phase, signals=1)
    process.send(number)
    ended, _, err = process.end()
    assert ended == code, err
    assert "Traceback" not in err
    assert "saving, then stopping" in err
    newest = resume.latest(tmp_path / "r")
    assert (
        int(newest.name.removeprefix("step-")) == {"a step": 1, "an evaluation": 3, "a sample": 5, "a save": 4}[phase]
    )
    monkeypatch.chdir(tmp_path)
    assert run(["train", "--resume", "--out", "r"]) == 0
    for file in ("model.safetensors", "checkpoints/step-00000008/model.safetensors", "samples.jsonl"):
        assert (tmp_path / "r" / file).read_bytes() == (whole / "r" / file).read_bytes(), file


def test_a_second_signal_amid_a_save_quits_at_once_and_leaves_no_half(whole, tmp_path):
    shutil.copy(whole / "prose.txt", tmp_path)
    process = start(tmp_path, "a save", signals=2)
    process.send(signal.SIGTERM)
    process.wait_for(lambda: "once more" in process.err)
    began = time.monotonic()
    process.send(signal.SIGTERM)
    code, _, err = process.end()
    assert code == 143, err
    assert time.monotonic() - began < 10
    assert not list((tmp_path / "r").rglob(".*"))
    assert resume.checkpoints(tmp_path / "r") == []  # it was the first
