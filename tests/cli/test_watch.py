"""Signals to a run, in each of its phases, as a user and a cluster send them: to the real process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from nextword import corpora
from nextword.cli import run
from nextword.training import resume

SETTINGS = ["model.hidden_size=8", "model.num_layers=1", "train.precision='float32'", "train.batch_size=4"]
SETTINGS += ["train.eval_every=3", "train.checkpoint_every=4", "train.sample_every=5", "train.log_every=1"]
TRAIN = ["train", "prose.txt", "--out", "r", "--model", "lstm", "--steps", "8", "--json"]
TRAIN += [part for setting in SETTINGS for part in ("--set", setting)]

# Each says when its phase is reached for the first time, and waits there for the signal.
HERE = (
    "import os, time\ndef here():\n    if not here.__dict__: here.said = os.write(2, b'here\\n'); time.sleep({wait})\n"
)
LOSS = "import torch\nfrom nextword.training import parallel as p\nold = p.next_token_loss\n"
PHASES = {
    "a step": LOSS + "p.next_token_loss = lambda *a: (torch.is_grad_enabled() and here(), old(*a))[1]\n",
    "an evaluation": LOSS + "p.next_token_loss = lambda *a: (torch.is_grad_enabled() or here(), old(*a))[1]\n",
    "a sample": "from nextword.cli import train as t\nold = t.sample\nt.sample = lambda *a: (here(), old(*a))[1]\n",
    "a save": "from nextword import files as f\nold = f.write_json\n"
    "f.write_json = lambda p, v: (p.name == 'manifest.json' and here(), old(p, v))[1]\n",
}


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


def start(folder: Path, phase: str, wait: float) -> subprocess.Popen[str]:
    """A run that has reached `phase`."""
    code = HERE.format(wait=wait) + PHASES[phase] + "from nextword.cli import main\nmain()"
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-c", code, *TRAIN]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder, env=os.environ | threads)
    assert process.stderr is not None
    for line in process.stderr:
        if line.endswith("here\n"):
            return process
    raise AssertionError(f"{phase} was never reached")


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
    process = start(tmp_path, phase, wait=1.0)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
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
    process = start(tmp_path, "a save", wait=600.0)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    while "once more" not in process.stderr.readline():
        pass
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert time.monotonic() - began < 10
    assert not list((tmp_path / "r").rglob(".*"))
    assert resume.checkpoints(tmp_path / "r") == []  # it was the first
