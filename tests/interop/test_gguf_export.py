"""nextword export --format gguf: what is said where llama.cpp agrees, and what is left where it does not."""

from __future__ import annotations

import json

import pytest
import torch
from interop_runs import random_run

from nextword.cli import run as command
from nextword.errors import RunError
from nextword.interop.gguf import export
from nextword.interop.gguf.export import export_gguf
from nextword.interop.gguf.llama_cpp import Answer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny Transformer with random weights."""
    folder = tmp_path_factory.mktemp("export") / "run"
    random_run(folder, "byte", type="transformer", hidden_size=32, num_layers=1, num_heads=2, max_seq_len=64)
    return folder


def answers_of(model, tokenizer, shift: float):
    """llama.cpp, played by our own model; `shift` is added to every other log-probability."""

    def ask(path, prompts, size, letter, longest):
        found = []
        for prompt in prompts:
            ids = [tokenizer.bos_id, *tokenizer.encode(prompt)] if isinstance(prompt, str) else prompt
            row = model(torch.tensor([ids]))[0][0, -1].log_softmax(-1)
            row[::2] += shift
            found.append(Answer(len(ids), dict(enumerate(row.tolist()))))
        return found

    return ask


@pytest.fixture
def played(run, monkeypatch):
    from nextword.checkpoint import load_run

    loaded = load_run(run)

    def play(shift: float) -> None:
        monkeypatch.setattr(export, "available", lambda: True)
        monkeypatch.setattr(export, "_asked", torch.inference_mode()(answers_of(loaded.model, loaded.tokenizer, shift)))

    return play


def test_the_same_is_kept_and_counted(run, played, tmp_path):
    played(0.0)
    found = export_gguf(run, tmp_path / "a.gguf", "F32")
    assert found.proof.holds
    assert found.proof.difference < 1e-5
    assert (found.proof.greedy, found.proof.lines) == (found.proof.continued, found.proof.compared)
    assert (tmp_path / "a.gguf").read_bytes()[:4] == b"GGUF"


def test_another_model_leaves_nothing_behind(run, played, tmp_path):
    played(0.5)
    with pytest.raises(RunError, match=r"not the same in llama\.cpp: largest difference .* 5\.0e-01 .*--keep"):
        export_gguf(run, tmp_path / "a.gguf", "F32")
    assert list(tmp_path.iterdir()) == []
    found = export_gguf(run, tmp_path / "a.gguf", "F32", keep=True)
    assert not found.proof.holds
    assert found.proof.lines == 0
    assert (tmp_path / "a.gguf").exists()


def test_no_number_is_under_no_limit(run, played, tmp_path):
    played(float("nan"))
    with pytest.raises(RunError, match="difference of log-probabilities inf"):
        export_gguf(run, tmp_path / "a.gguf", "F32")


def test_the_command_without_the_library(run, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(export, "available", lambda: False)
    assert command(["export", str(run), str(tmp_path / "a.gguf"), "--format", "gguf"]) == 0
    assert (
        'not compared with llama.cpp: it is not installed (pip install "nextword[llamacpp]")' in capsys.readouterr().out
    )


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["f32", "f16", "q8_0"])
def test_llama_cpp_itself(run, tmp_path, capsys, quantization):
    pytest.importorskip("xllamacpp")
    options = ["--format", "gguf", "--json", "--quantization", quantization]
    assert command(["export", str(run), str(tmp_path / "a.gguf"), *options]) == 0
    assert json.loads(capsys.readouterr().out)["difference"] < {"f32": 1e-4, "f16": 0.1, "q8_0": 1}[quantization]


@pytest.mark.slow
def test_a_file_that_llama_cpp_cannot_read_is_an_error_not_an_end(tmp_path):
    pytest.importorskip("xllamacpp")
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(RunError, match=r"llama\.cpp cannot read the file"):
        export._asked(tmp_path / "a.gguf", [[1]], 10, 1, 32)
