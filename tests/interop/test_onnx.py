"""What onnxruntime computes from an exported run is what the run computes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from interop_runs import random_run

from nextword.cli import run as command_line
from nextword.errors import MissingExtra, RunError, UsageError
from nextword.generator import TextGenerator
from nextword.interop import onnx as exporter
from nextword.interop.onnx import export_onnx
from nextword.models import LanguageModel

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

KINDS = ["rnn", "gru", "lstm"]
SHAPES = [
    {"num_layers": 1, "hidden_size": 7},
    {"num_layers": 3, "hidden_size": 5, "embedding_size": 4, "output_bias": False},
    {"num_layers": 2, "hidden_size": 6, "tied": True},
    {"num_layers": 1, "hidden_size": 6, "embedding_size": 3, "tied": True},  # a projection between
]


def read(session: onnxruntime.InferenceSession, pieces: list[np.ndarray]) -> np.ndarray:
    """Logits of pieces read one after the other, the state carried over."""
    names = [given.name for given in session.get_inputs()]
    layers, _, size = session.get_inputs()[1].shape
    state = [np.zeros((layers, len(pieces[0]), size), np.float32) for _ in names[1:]]
    found = []
    for piece in pieces:
        logits, *state = session.run(None, dict(zip(names, [piece, *state], strict=True)))
        found.append(logits)
    return np.concatenate(found, axis=1)


def exported(tmp_path: Path, **settings: object) -> tuple[LanguageModel, onnxruntime.InferenceSession]:
    model = random_run(tmp_path / "run", **settings)
    result = export_onnx(tmp_path / "run", tmp_path / "out")
    assert result.difference is not None
    assert result.difference < 1e-4
    return model, onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_the_same_all_at_once_and_in_pieces(tmp_path: Path, kind: str, shape: dict) -> None:
    model, session = exported(tmp_path, type=kind, **shape)
    tokens = torch.randint(model.config.vocab_size, (3, 21))
    with torch.inference_mode():
        expected = model(tokens)[0].numpy()
    pieces = [piece.numpy() for piece in tokens.split([1, 13, 7], dim=1)]
    np.testing.assert_allclose(read(session, [tokens.numpy()]), expected, atol=1e-4)
    np.testing.assert_allclose(read(session, pieces), expected, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loop_in_the_readme_writes_what_we_write(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exported(tmp_path, type=kind, num_layers=2, hidden_size=8)
    loop = re.search(r"```python\n(.*)```", (tmp_path / "out" / "README.md").read_text(), re.DOTALL)
    assert loop is not None
    greedy = loop[1].replace(" / 0.8 + gumbel", "").replace('prompt, written = ""', 'prompt, written = "The 床"')
    monkeypatch.chdir(tmp_path / "out")
    exec(greedy, {})
    ours = TextGenerator.load(tmp_path / "run").generate("The 床", temperature=0, max_tokens=200, top_p=1)
    assert capsys.readouterr().out == "The 床" + ours.text + "\n"


def test_the_folder_says_what_it_is(tmp_path: Path) -> None:
    exported(tmp_path, type="lstm", hidden_size=8)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["inputs"] == ["tokens", "h", "c"]
    assert "largest difference of logits" in (tmp_path / "out" / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def test_a_transformer_is_refused(tmp_path: Path) -> None:
    random_run(tmp_path / "run", type="transformer", hidden_size=8, num_heads=2, num_layers=1)
    with pytest.raises(UsageError, match="is a transformer; recurrent"):
        export_onnx(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_difference_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_run(tmp_path / "run", type="lstm", hidden_size=8)
    monkeypatch.setitem(exporter.GATES, "lstm", (0, 1, 2, 3))
    with pytest.raises(RunError, match="other logits"):
        export_onnx(tmp_path / "run", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_without_the_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_run(tmp_path / "run", type="gru", hidden_size=8)
    find = exporter.importlib.util.find_spec
    monkeypatch.setattr(
        exporter.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name)
    )
    assert "not compared" in str(export_onnx(tmp_path / "run", tmp_path / "out"))
    monkeypatch.setattr(exporter.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"nextword\[onnx\]|onnx"):
        export_onnx(tmp_path / "run", tmp_path / "other")


def test_what_an_export_never_replaces(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        export_onnx(tmp_path / "none", tmp_path / "out")
    random_run(tmp_path / "run", type="rnn", hidden_size=4)
    (tmp_path / "file").touch()
    for taken in ("file", "run", "."):
        with pytest.raises(UsageError, match="no earlier export"):
            export_onnx(tmp_path / "run", tmp_path / taken)
    for _ in range(2):
        export_onnx(tmp_path / "run", tmp_path / "again")


def test_the_command_says_how_it_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random_run(tmp_path / "run", type="lstm", hidden_size=4)
    command = ["export", str(tmp_path / "run"), str(tmp_path / "out"), "--format", "onnx"]
    assert command_line(command) == 0
    assert "the same in onnxruntime: largest difference of logits" in capsys.readouterr().out
    assert command_line([*command, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["difference"] < 1e-4
