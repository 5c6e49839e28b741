"""GGUF, in and out: against `transformers` reading our files, the `gguf` package's names, and round trips."""

from __future__ import annotations

import json
import re
from pathlib import Path

import gguf_files
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nextword.errors import NextwordError, RunError
from nextword.interop.foreign import Foreign
from nextword.interop.gguf import read_gguf, rotary, write_gguf
from nextword.interop.gguf.container import read_container
from nextword.interop.gguf.families import FAMILIES, family_for
from nextword.interop.huggingface import begins_with
from nextword.tokenizers import TokenizerConfig, train_tokenizer

transformers = pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "weights"
TEXT = ["the cat sat on the mat. it's 12345 hello world 你好世界 Привет Größe naïve 😀\n" * 40]
LINES = [
    *("Hello, world! It's 12345 and 3.14.", "  two  spaces\n\nnew lines\t tabs ", "你好，世界！這是一個測試。"),
    *("Привет, как дела?", "Größe naïve café", "日本語 한국어 😀👩‍🚀", "नमस्ते दुनिया", "مرحبا", "a" * 40, " leading", ""),
]
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
SCALED = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
OTHER = ("model_type", "bos_token_id", "eos_token_id")  # Mistral's files are Llama's; ids are the tokenizer's
IDS = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
MODELS = {
    "llama": ("LlamaConfig", {"tie_word_embeddings": True}),
    "llama, biases, untied": ("LlamaConfig", {"attention_bias": True, "mlp_bias": True, "head_dim": 16}),
    "llama 3": (
        "LlamaConfig",
        {
            "head_dim": 64,
            "max_position_embeddings": 512,
            "rope_scaling": SCALED | {"original_max_position_embeddings": 64},
            "rope_theta": 500_000.0,
        },
    ),
    "llama, linear": ("LlamaConfig", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
    "llama, yarn": (
        "LlamaConfig",
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}},
    ),
    "mistral": ("MistralConfig", {"sliding_window": None}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
    "smollm3": ("SmolLM3Config", {**IDS, "num_hidden_layers": 5}),
    "gemma2": ("Gemma2Config", {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 16}),
    "gemma3": (
        "Gemma3TextConfig",
        {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 16, "num_hidden_layers": 7},
    ),
    "phi3": ("Phi3Config", IDS),
    "phi3, longrope": (
        "Phi3Config",
        {
            **IDS,
            "max_position_embeddings": 2048,
            "original_max_position_embeddings": 512,
            "rope_scaling": {
                "rope_type": "longrope",
                "short_factor": [1.0, 1.5, 2.0, 4.0],
                "long_factor": [1.0, 2, 3, 8],
            },
        },
    ),
    "olmo2": ("Olmo2Config", IDS),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
}
READ_BY_TRANSFORMERS = ("llama", "llama, biases, untied", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2")


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TokenizerConfig(type="bpe", vocab_size=300), TEXT)


def model_of(name: str, vocab_size: int):
    """A tiny model with random weights. Those of norms are multiples of 1/64: GGUF adds one to Gemma's."""
    kind, changes = MODELS[name]
    sizes = {} if kind == "GPT2Config" else SIZES
    config = getattr(transformers, kind)(vocab_size=vocab_size, **{**sizes, **changes})
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1)
            if "norm" in key:
                parameter.copy_((parameter * 64).round() / 64 + 1)
    return model


def foreign_of(model, text: str, **special: str) -> Foreign:
    config = json.loads(model.config.to_json_string(use_diff=False))
    tied = config["tie_word_embeddings"]
    tensors = {key: value for key, value in model.state_dict().items() if not (tied and key == "lm_head.weight")}
    return Foreign(config, tensors, text, special or {"bos_token": "<eos>", "eos_token": "<eos>"})


@pytest.fixture
def written(request, tmp_path, tokenizer):
    """A model, what was handed over, and the file of it."""
    model = model_of(request.param, tokenizer.vocab_size)
    foreign = foreign_of(model, tokenizer.backend.to_str())
    write_gguf(tmp_path / "model.gguf", foreign, "F32")
    return model, foreign, tmp_path / "model.gguf"


@pytest.mark.parametrize("written", MODELS, indirect=True)
def test_a_round_trip_is_equal_bit_for_bit(written):
    _, foreign, path = written
    found = read_gguf(path)
    assert set(found.tensors) >= set(foreign.tensors)
    for name, tensor in foreign.tensors.items():
        assert torch.equal(found.tensors[name], tensor), name
    for key, value in found.config.items():
        wanted = foreign.config.get(key)
        if key in ("rope_theta", "rope_scaling", "rope_local_base_freq") and wanted is None:
            continue  # transformers 5 says these in rope_parameters; the next test reads them
        assert key not in foreign.config or key in OTHER or wanted in (value, None), key


@pytest.mark.parametrize("written", MODELS, indirect=True)
def test_what_is_read_computes_the_same(written):
    """A model of `transformers` made from what we read: settings and rotary scaling mean what they did."""
    model, _, path = written
    found = read_gguf(path)
    config = {key: value for key, value in found.config.items() if value is not None}
    if found.config["model_type"] == "gemma3_text":
        config["rope_parameters"] = {
            "full_attention": {"rope_type": "default", "rope_theta": config.pop("rope_theta")},
            "sliding_attention": {"rope_type": "default", "rope_theta": config.pop("rope_local_base_freq")},
        }
    again = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**{**IDS, **config})).eval()
    missing, unexpected = again.load_state_dict(dict(found.tensors), strict=False)
    again.tie_weights()
    assert unexpected == []
    assert set(missing) <= {"lm_head.weight"}
    tokens = torch.randint(model.config.vocab_size, (2, 48))
    torch.testing.assert_close(again(tokens).logits, model(tokens).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("written", READ_BY_TRANSFORMERS, indirect=True, ids=READ_BY_TRANSFORMERS)
def test_transformers_reads_the_same_tensors(written):
    """Rows in their order, norms and transposed matrices. Its settings are left out: it takes some for granted."""
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    model, foreign, path = written
    theirs = load_gguf_checkpoint(path, return_tensors=True, model_to_load=model)["tensors"]
    assert set(foreign.tensors) <= set(theirs)
    for name, tensor in foreign.tensors.items():
        assert torch.equal(theirs[name], tensor), name


@pytest.mark.parametrize("written", MODELS, indirect=True)
def test_the_names_are_those_of_the_reference(written):
    """Names of tensors by the tables of the `gguf` package, shapes and settings by its reader."""
    _, foreign, path = written
    reader = gguf.GGUFReader(path)
    architecture = bytes(reader.fields["general.architecture"].parts[-1]).decode()
    number = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[architecture]
    names = gguf.get_tensor_name_map(number, 8)
    wanted = {f"{names.get_name(layer)}.{kind}" for layer, kind in (key.rsplit(".", 1) for key in foreign.tensors)}
    ours = {tensor.name for tensor in reader.tensors if not tensor.name.startswith("rope_")}
    assert ours - {"output.weight"} == wanted - {"output.weight"}
    config = foreign.config
    layers = config.get("num_hidden_layers", config.get("n_layer"))
    assert int(reader.fields[f"{architecture}.block_count"].parts[-1][0]) == layers
    for tensor in reader.tensors:
        assert all(int(size) for size in tensor.shape)


@pytest.mark.parametrize("quantization", ["F16", "Q8_0"])
def test_fewer_bits_are_those_of_the_reference(tmp_path, tokenizer, quantization):
    model = model_of("llama", tokenizer.vocab_size)
    foreign = foreign_of(model, tokenizer.backend.to_str())
    write_gguf(tmp_path / "model.gguf", foreign, quantization)
    found = read_gguf(tmp_path / "model.gguf")
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    embedding = next(tensor for tensor in reader.tensors if tensor.name == "token_embd.weight")
    assert embedding.tensor_type.name == quantization
    expected = gguf.dequantize(embedding.data, embedding.tensor_type)
    np.testing.assert_array_equal(found.tensors["model.embed_tokens.weight"].float().numpy(), expected)
    for name, tensor in foreign.tensors.items():
        step = tensor.abs().max() / (127 if quantization == "Q8_0" else 1024)
        assert (found.tensors[name].float() - tensor).abs().max() <= step, name
    assert torch.equal(found.tensors["model.norm.weight"], foreign.tensors["model.norm.weight"])


def test_rows_that_make_no_blocks_are_written_as_halves(tmp_path, tokenizer):
    """32 numbers of a head make a block, the 48 of the MLP don't."""
    write_gguf(tmp_path / "a", foreign_of(model_of("llama", tokenizer.vocab_size), tokenizer.backend.to_str()), "Q8_0")
    types = {name: place.type.name for name, place in read_container(tmp_path / "a").tensors.items()}
    assert types["blk.0.ffn_up.weight"] == "Q8_0"
    assert types["blk.0.ffn_down.weight"] == "F16"
    assert types["blk.0.ffn_norm.weight"] == "F32"


# -- tokenizers --------------------------------------------------------------------------------------------------------


def sentencepiece() -> str:
    """A small vocabulary of SentencePiece's BPE, as Llama's tokenizer.json has it."""
    from nextword.interop.gguf.vocabulary import added_token, bpe, merges_of, sentencepiece_rules

    words = ["▁the", "▁cat", "▁sat", "lo", "▁hel", "▁hello"]
    parts = {word[:i] for word in words for i in range(2, len(word) + 1)} | {"el", "hel", "▁sa", "at"}
    letters = sorted({letter for word in words for letter in word} | {"▁"})
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocab = {piece: id for id, piece in enumerate([*pieces, *sorted(parts, key=len), *letters])}
    text = {piece: id for piece, id in vocab.items() if id >= 259}
    scores = np.array([-float(id) for id in vocab.values()])
    model = bpe(vocab, merges_of(text, scores), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    special = [added_token(vocab[token], token, special=True) for token in ("<unk>", "<s>", "</s>")]
    return json.dumps(sentencepiece_rules(model, prefix=True) | {"added_tokens": special})


def tokenizers_of() -> dict[str, tuple[str, dict[str, str]]]:
    ours = {"bos_token": "<eos>", "eos_token": "<eos>"}
    found = {}
    for kind, size in (("bpe", 400), ("byte", 0), ("char", 0)):
        text = train_tokenizer(TokenizerConfig(type=kind, vocab_size=size), TEXT).backend.to_str()
        found[kind] = text, ours
        found[f"{kind} after <eos>"] = begins_with(text, "<eos>"), ours
    found["sentencepiece"] = sentencepiece(), {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return found


def file_of(tmp_path: Path, text: str, special: dict[str, str], vocab_size: int = 0, **more) -> Path:
    """A GGUF file of the smallest Llama with this tokenizer."""
    import tokenizers

    size = vocab_size or max(tokenizers.Tokenizer.from_str(text).get_vocab().values()) + 1
    config = {
        **{"model_type": "llama", "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1},
        **{"intermediate_size": 4, "max_position_embeddings": 8, "rms_norm_eps": 1e-5, "vocab_size": size},
    }
    foreign = Foreign(config, {"model.embed_tokens.weight": torch.zeros(size, 4)}, text, special, **more)
    write_gguf(tmp_path / "tokens.gguf", foreign, "F32")
    return tmp_path / "tokens.gguf"


@pytest.mark.parametrize("kind", tokenizers_of())
def test_a_tokenizer_comes_back_with_the_same_ids(kind, tmp_path):
    import tokenizers

    text, special = tokenizers_of()[kind]
    found = read_gguf(file_of(tmp_path, text, special))
    before, after = (tokenizers.Tokenizer.from_str(rules) for rules in (text, found.tokenizer))
    for line in LINES:
        assert after.encode(line).ids == before.encode(line).ids
        assert after.decode(before.encode(line).ids) == before.decode(before.encode(line).ids)
    assert found.special_tokens.items() >= special.items()


def test_the_vocabulary_alone_says_all_of_sentencepiece(tmp_path):
    metadata = read_container(file_of(tmp_path, sentencepiece(), {"bos_token": "<s>"})).metadata
    assert "tokenizer.huggingface.json" not in metadata
    assert metadata["tokenizer.ggml.model"] == "llama"
    assert metadata["tokenizer.ggml.add_bos_token"] is False


def test_conversations_and_ends(tmp_path):
    text, special = tokenizers_of()["byte"]
    path = file_of(tmp_path, text, special, chat_template="{{ 月 }}", generation={"eos_token_id": [256, 10]})
    found = read_gguf(path)
    assert found.chat_template == "{{ 月 }}"
    assert found.generation == {"eos_token_id": [10, 256]}
    assert found.config["eos_token_id"] == 256


def test_an_embedding_may_have_more_rows_than_the_tokenizer_tokens(tmp_path):
    text, special = tokenizers_of()["byte"]
    found = read_gguf(file_of(tmp_path, text, special, vocab_size=300))
    assert found.config["vocab_size"] == 300
    with pytest.raises(RunError, match="has an id 256, but the model has an embedding of 200 rows"):
        file_of(tmp_path, text, special, vocab_size=200)


@pytest.mark.parametrize("kind", ["word", "unigram"])
def test_tokenizers_that_llama_cpp_does_not_know(tmp_path, kind):
    text = train_tokenizer(TokenizerConfig(type=kind, vocab_size=400), TEXT).backend.to_str()
    with pytest.raises(RunError, match=r"whose model is Unigram cannot be written as GGUF\. llama\.cpp knows"):
        file_of(tmp_path, text, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not DATA.is_dir(), reason="no shared data beside the checkout")
def test_minimind_is_written_and_read_again(tmp_path):
    import tokenizers

    text = (DATA / "minimind2-small" / "tokenizer.json").read_text(encoding="utf-8")
    special = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    path = file_of(tmp_path, text, special)
    metadata = read_container(path).metadata
    assert metadata["tokenizer.ggml.pre"] == "gpt-2"
    before, after = (tokenizers.Tokenizer.from_str(rules) for rules in (text, read_gguf(path).tokenizer))
    assert all(before.encode(line).ids == after.encode(line).ids for line in LINES)


# -- rotary positions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", [(8.0, 1.0, 4.0, 8192), (32.0, 1.0, 4.0, 8192), (4.0, 1.0, 2.5, 1000)])
def test_llama_3_is_found_again_from_its_divisors(scaling):
    names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    wanted = dict(zip(names, scaling, strict=True))
    divisors = rotary.llama3_divisors(500_000.0, 128, wanted["original_max_position_embeddings"], wanted)
    assert rotary._llama3(divisors, 500_000.0, 128) == {"rope_type": "llama3"} | wanted


def test_divisors_of_another_kind_are_refused():
    with pytest.raises(RunError, match="no rope_scaling of Llama 3 gives"):
        rotary._llama3(np.linspace(1, 8, 64, dtype=np.float32), 10_000.0, 128)


# -- what cannot be read or written ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "t5"}, "a model of type 't5' cannot be written as GGUF"),
        ({"model_type": "lama"}, r"Did you mean llama\?"),
        ({"hidden_act": "gelu"}, "cannot say hidden_act = 'gelu'"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "cannot say rope_scaling 'dynamic'"),
        ({"rope_scaling": {"rope_type": "linear"}}, "rope_scaling of type 'linear' is incomplete"),
        ({"rms_norm_eps": None}, "rms_norm_eps is None, expected a number"),
        ({"num_hidden_layers": "2"}, "expected 1 to 1000 layers, got '2'"),
        ({"num_hidden_layers": 1}, r"tensor model\.layers\.1\..* has no place"),
    ],
)
def test_what_cannot_be_written(tmp_path, tokenizer, changes, message):
    foreign = foreign_of(model_of("llama", tokenizer.vocab_size), tokenizer.backend.to_str())
    foreign = Foreign({**foreign.config, "rope_parameters": None, **changes}, foreign.tensors, foreign.tokenizer)
    with pytest.raises(RunError, match=message):
        write_gguf(tmp_path / "model.gguf", foreign)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("gemma2", {"query_pre_attn_scalar": 8}, "cannot say query_pre_attn_scalar = 8"),
        ("gemma2", {"attn_logit_softcapping": None}, "attn_logit_softcapping is None"),
        ("gemma3", {"layer_types": ["full_attention"] * 7}, "cannot say layer_types"),
        ("qwen3", {"attention_bias": True}, "cannot say attention_bias = True"),
        ("smollm3", {"no_rope_layers": [1] * 5}, "cannot say no_rope_layers"),
    ],
)
def test_what_llama_cpp_takes_otherwise(tmp_path, tokenizer, name, changes, message):
    foreign = foreign_of(model_of(name, tokenizer.vocab_size), tokenizer.backend.to_str())
    with pytest.raises(RunError, match=message):
        write_gguf(tmp_path / "a", Foreign({**foreign.config, **changes}, foreign.tensors, foreign.tokenizer))


def test_a_window_that_llama_cpp_lacks_limits_the_context(tmp_path, tokenizer):
    foreign = foreign_of(model_of("mistral", tokenizer.vocab_size), tokenizer.backend.to_str())
    foreign = Foreign({**foreign.config, "sliding_window": 16}, foreign.tensors, foreign.tokenizer)
    write_gguf(tmp_path / "a", foreign)
    assert read_gguf(tmp_path / "a").config["max_position_embeddings"] == 16


@pytest.mark.parametrize(
    ("value", "quantization", "message"),
    [
        (1e6, "F16", "too large for F16. Write it as F32"),
        (torch.nan, "F32", "not finite"),
        (torch.inf, "Q8_0", "not fin"),
    ],
)
def test_numbers_that_do_not_fit(tmp_path, tokenizer, value, quantization, message):
    foreign = foreign_of(model_of("llama", tokenizer.vocab_size), tokenizer.backend.to_str())
    foreign.tensors["model.layers.1.mlp.up_proj.weight"].data[0, 0] = value
    with pytest.raises(RunError, match=re.escape(message)):
        write_gguf(tmp_path / "a", foreign, quantization)
    assert list(tmp_path.iterdir()) == []


def small(**changes: bytes) -> bytes:
    """The smallest file that says all of a Llama; a key in `changes` replaces or removes an entry."""
    import struct

    g = gguf_files
    tokens = b"".join(g.text(token) for token in ("<s>", "a", "b", "ab"))
    entries = {
        "architecture": g.entry("general.architecture", g.STRING, g.text("llama")),
        "context": g.number("llama.context_length", 8),
        "hidden": g.number("llama.embedding_length", 2),
        "layers": g.number("llama.block_count", 1),
        "inner": g.number("llama.feed_forward_length", 2),
        "heads": g.number("llama.attention.head_count", 1),
        "eps": g.entry("llama.attention.layer_norm_rms_epsilon", g.FLOAT32, struct.pack("<f", 1e-5)),
        "model": g.entry("tokenizer.ggml.model", g.STRING, g.text("gpt2")),
        "pre": g.entry("tokenizer.ggml.pre", g.STRING, g.text("qwen2")),
        "tokens": g.entry("tokenizer.ggml.tokens", g.ARRAY, g.array(g.STRING, 4, tokens)),
        "merges": g.entry("tokenizer.ggml.merges", g.ARRAY, g.array(g.STRING, 1, g.text("a b"))),
        "bos": g.number("tokenizer.ggml.bos_token_id", 0),
        "tensor": g.tensor("token_embd.weight", [2, 4]),
    } | changes
    return g.gguf([v for k, v in entries.items() if k != "tensor" and v], [entries["tensor"]], bytes(32))


def test_the_smallest_file(tmp_path):
    import tokenizers

    (tmp_path / "a").write_bytes(small())
    found = read_gguf(tmp_path / "a")
    assert found.config["rms_norm_eps"] == 1e-5, "not the nearest number of single precision"
    assert tokenizers.Tokenizer.from_str(found.tokenizer).encode("abb").tokens == ["ab", "b"]


@pytest.mark.parametrize(("named", "known"), [("apache-2.0", "apache-2.0"), ("mit\n---\nx: y", ""), ("", "")])
def test_its_licence_is_a_name_or_none(named, known, tmp_path):
    g = gguf_files
    (tmp_path / "a").write_bytes(small(licence=g.entry("general.license", g.STRING, g.text(named))))
    assert read_gguf(tmp_path / "a").licence == known


BAD = {
    "a typing error in the architecture": ({"architecture": ("general.architecture", "lama")}, r"Did you mean llama\?"),
    "no architecture": ({"architecture": b""}, "architecture None"),
    "no layers": ({"layers": b""}, r"no llama\.block_count"),
    "a size that is a fraction": (
        {"hidden": gguf_files.number("llama.embedding_length", 1, gguf_files.FLOAT32)},
        "whole",
    ),
    "a size that is negative": ({"hidden": gguf_files.number("llama.embedding_length", 2**32 - 1, 5)}, "whole number"),
    "no heads": ({"heads": gguf_files.number("llama.attention.head_count", 0)}, "head_count: expected at least 1"),
    "a number that is none": (
        {"eps": gguf_files.number("llama.attention.layer_norm_rms_epsilon", 0x7FC00000, 6)},
        "nan",
    ),
    "an id beyond the vocabulary": ({"bos": gguf_files.number("tokenizer.ggml.bos_token_id", 4)}, "4 is no token of 4"),
    "unknown cuts": ({"pre": ("tokenizer.ggml.pre", "mine")}, "'mine' is not supported.*Known: gpt-2"),
    "an unknown kind": ({"model": ("tokenizer.ggml.model", "bert")}, "type 'bert' is not supported"),
    "no vocabulary": ({"tokens": b""}, "has no vocabulary"),
    "no scores": ({"model": ("tokenizer.ggml.model", "llama")}, "scores"),
    "a merge that makes nothing": ({"merges": ["b a"]}, "'b a' does not make a token"),
    "a token twice": ({"tokens": ["<s>", "a", "b", "a"]}, "'a' stands in the vocabulary twice, as 1 and 3"),
    "too few tokens": ({"tokens": ["<s>", "a"]}, "2 tokens, the embedding 4 rows"),
    "a foreign tensor": ({"tensor": gguf_files.tensor("blk.0.ssm_a", [2, 4])}, "ssm_a. is not part of a model"),
    "a type that cannot be widened": (
        {"tensor": gguf_files.tensor("token_embd.weight", [2, 4], 26)},
        "type I32, which is not supported. Supported: F32",
    ),
    "one row": ({"tensor": gguf_files.tensor("token_embd.weight", [8])}, "of two dimensions"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(tmp_path, name):
    changes, message = BAD[name]
    g = gguf_files
    for key, value in changes.items():
        if isinstance(value, tuple):
            changes[key] = g.entry(value[0], g.STRING, g.text(value[1]))
        elif isinstance(value, list):
            texts = b"".join(g.text(text) for text in value)
            changes[key] = g.entry(f"tokenizer.ggml.{key}", g.ARRAY, g.array(g.STRING, len(value), texts))
    (tmp_path / "bad.gguf").write_bytes(small(**changes))
    with pytest.raises(RunError, match=message) as caught:
        read_gguf(tmp_path / "bad.gguf")
    assert str(caught.value).startswith(str(tmp_path / "bad.gguf"))
    assert "\n" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.data())
def test_changed_bytes_end_in_our_error_or_in_a_model(tmp_path, data):
    content = bytearray(small())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    (tmp_path / "a").write_bytes(content)
    tensors, told = {}, ""
    try:
        tensors = dict(read_gguf(tmp_path / "a").tensors)
    except NextwordError as error:
        told = str(error)
    assert "\n" not in told
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())


def test_every_family_is_found_both_ways():
    for architecture, family in FAMILIES.items():
        for model_type in family.model_types:
            assert family_for(model_type).architecture == architecture
        assert len(set(family.names.values())) == len(family.names)
