"""llama.cpp itself on the files that we write: the same probabilities, from ids and from text.

pip install "nextword[llamacpp]"
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_gguf import LINES, MODELS, TEXT, foreign_of, model_of, sentencepiece

from nextword.interop.foreign import Foreign
from nextword.interop.gguf import write_gguf
from nextword.interop.huggingface import begins_with
from nextword.tokenizers import TokenizerConfig, train_tokenizer

pytestmark = pytest.mark.slow
xllamacpp = pytest.importorskip("xllamacpp")
pytest.importorskip("transformers")
HALF_GELU = ("gemma2", "gemma3", "gpt2")  # llama.cpp looks GELU up in a table of half precision


def next_token(path: Path, prompts: list, vocab_size: int, letter: int) -> list[torch.Tensor]:
    """By llama.cpp: the log-probabilities (V,) of what follows each prompt, a text or a list of ids.

    It tells them once it has a character to show, so it is made to choose the token `letter`, which is one.
    """
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.warmup, params.n_parallel = 256, False, 1
    params.cpuparams.n_threads = 1
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED  # it halves precision
    server = xllamacpp.Server(params)
    found = []
    forced = {"logit_bias": [[letter, 1000]]}
    for prompt in prompts:
        request = {"prompt": prompt, "n_predict": 1, "temperature": 0, "n_probs": vocab_size}
        answer = server.handle_completions(request | forced)["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        row = torch.full((vocab_size,), torch.nan)
        for token in answer:
            row[token["id"]] = token["logprob"]
        found.append(row)
    return found


def expected(model, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)


@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_the_same(name, tmp_path):
    tokenizer = train_tokenizer(TokenizerConfig(type="bpe", vocab_size=300), TEXT)
    model = model_of(name, tokenizer.vocab_size)
    write_gguf(tmp_path / "model.gguf", foreign_of(model, tokenizer.backend.to_str()), "F32")
    torch.manual_seed(1)
    prompts = [torch.randint(tokenizer.vocab_size - 1, (length,)).tolist() for length in (1, 7, 48)]
    letter = tokenizer.encode("t")[0]
    rows = next_token(tmp_path / "model.gguf", prompts, tokenizer.vocab_size, letter)
    for ids, row in zip(prompts, rows, strict=True):
        atol = 1e-2 if name in HALF_GELU else 1e-4
        torch.testing.assert_close(row, expected(model, ids), atol=atol, rtol=0)


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("kind", ["bpe", "byte", "char", "sentencepiece"])
def test_text_becomes_the_same_ids(kind, begins, tmp_path):
    """A text's last token is predicted from all before it: other ids would give other probabilities."""
    import tokenizers

    if kind == "sentencepiece":
        text, bos = sentencepiece(), "<s>"
    else:
        size = 400 if kind == "bpe" else 0
        text, bos = train_tokenizer(TokenizerConfig(type=kind, vocab_size=size), TEXT).backend.to_str(), "<eos>"
    text = begins_with(text, bos) if begins else text
    backend = tokenizers.Tokenizer.from_str(text)
    size = max(backend.get_vocab().values()) + 1
    model = model_of("llama", size)
    write_gguf(tmp_path / "a.gguf", foreign_of(model, text, bos_token=bos, eos_token=bos), "F32")
    lines = [line for line in LINES if line]
    if kind == "bpe":
        lines = [line for line in lines if not set(line) & set("नमرح")]  # combining marks, which llama.cpp cuts off
    if kind == "char":
        lines = ["the cat sat. 12345 你好世界", "  two  spaces\n", "xthe"]  # it joins unknown characters in a row
    letter = backend.token_to_id("t")
    for line, row in zip(lines, next_token(tmp_path / "a.gguf", lines, size, letter), strict=True):
        torch.testing.assert_close(row, expected(model, backend.encode(line).ids), atol=1e-4, rtol=0)


@pytest.mark.parametrize("quantization", ["F16", "Q8_0"])
def test_fewer_bits_are_read_alike(quantization, tmp_path):
    """Against our own reading of the file, whose numbers are the same; llama.cpp rounds activations, too."""
    from nextword.interop.gguf import read_gguf

    tokenizer = train_tokenizer(TokenizerConfig(type="byte"), [])
    model = model_of("llama", tokenizer.vocab_size)
    write_gguf(tmp_path / "a.gguf", foreign_of(model, tokenizer.backend.to_str()), quantization)
    found: Foreign = read_gguf(tmp_path / "a.gguf")
    model.load_state_dict({name: found.tensors[name].float() for name in found.tensors}, strict=False)
    prompts = [list(b"The moon")]
    row = next_token(tmp_path / "a.gguf", prompts, tokenizer.vocab_size, ord("t"))[0]
    torch.testing.assert_close(row, expected(model, prompts[0]), atol=0.05, rtol=0)
