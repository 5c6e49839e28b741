"""The benchmark of training runs as told at its top; on a GPU it takes the same way, so what breaks it shows here."""

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

pytest.importorskip("transformers")
SCRIPT = Path(__file__).parents[1] / "benchmarks" / "train.py"
SMALL = "--layers 1 --width 16 --heads 2 --context 8 --batch 2 --vocab 32 --rounds 1 --steps 1"


@pytest.fixture(scope="module")
def train():
    spec = spec_from_file_location("benchmark_of_training", SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("given", "rows"), [("--only eager", 5), ("--model gru", 3)])
def test_it_tells_the_speed_of_all_and_the_ratio_to_each_peer(train, given, rows, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", *SMALL.split(), *given.split()])
    train.main()
    table = re.findall(
        r"^  (.+?) +([\d,]+) tokens/s, +\d+% of matmul.*?((?:, |  )[\d.]+x .*)?$", capsys.readouterr().out, re.M
    )
    names, ratios = [row[0] for row in table], [row[2] for row in table]
    assert len(names) == rows
    peers = [name for name in names if not name.startswith("nextword")]
    for name, told in zip(names, ratios, strict=True):
        assert all(f"x {peer}" in told for peer in peers) == (name not in peers)


def test_without_a_gpu_it_says_so(train, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", "--device", "cuda"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit):
        train.main()
    assert "no GPU" in capsys.readouterr().err
