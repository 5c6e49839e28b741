"""Files of llama2.c: written here as its export.py does, and the real stories260K."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from references import build

from nextword.errors import NextwordError, RunError
from nextword.interop.llama2c import read_llama2c
from nextword.loss import token_log_probs

STORIES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "weights" / "stories260K"
C, INNER, LAYERS, HEADS, KV, V, LONGEST = 8, 12, 2, 2, 1, 262, 16
D = C // HEADS
PER_LAYER = {
    **{"attention_norm": (C,), "wq": (C, C), "wk": (KV * D, C), "wv": (KV * D, C), "wo": (C, C)},
    **{"ffn_norm": (C,), "w1": (INNER, C), "w2": (C, INNER), "w3": (INNER, C)},
}


def tensors() -> dict[str, np.ndarray]:
    """By the names of llama2.c: embedding, norm, output, and each tensor of the layers with its number."""
    rng = np.random.default_rng(0)
    shapes = {"embedding": (V, C), "norm": (C,), "output": (V, C)}
    shapes |= {f"{name}.{i}": shape for name, shape in PER_LAYER.items() for i in range(LAYERS)}
    return {name: rng.standard_normal(shape).astype("<f4") for name, shape in shapes.items()}


def model_file(version: int, shared: bool, group: int = 4) -> tuple[bytes, dict[str, np.ndarray]]:
    """A file, and the numbers in it as they should come back."""
    values = tensors()
    every = lambda name: [f"{name}.{i}" for i in range(LAYERS)]  # noqa: E731
    layers = itertools.chain.from_iterable
    end = [] if shared else ["output"]
    sizes = (C, INNER, LAYERS, HEADS, KV, V if shared or version else -V, LONGEST)
    if version == 0:
        order = ["embedding", *layers(map(every, PER_LAYER)), "norm"]
        data = struct.pack("<7i", *sizes) + b"".join(values[name].tobytes() for name in order)
        data += np.zeros((2, LONGEST, D // 2), "<f4").tobytes()
        return data + b"".join(values[name].tobytes() for name in end), values
    head = struct.pack("<Ii7iB", 0x616B3432, version, *sizes, shared)
    head += struct.pack("<i", group) if version == 2 else b""
    matrices = ["embedding", *layers(every(name) for name in PER_LAYER if name.startswith("w")), *end]
    norms = [*every("attention_norm"), *every("ffn_norm"), "norm"]
    data = head.ljust(256, b"\0") + b"".join(values[name].tobytes() for name in norms)
    for name in matrices:
        if version == 1:
            data += values[name].tobytes()
            continue
        groups = values[name].reshape(-1, group)
        scales = (np.abs(groups).max(axis=1) / 127).astype("<f4")
        whole = np.round(groups / scales[:, None]).astype(np.int8)
        data += whole.tobytes() + scales.tobytes()
        values[name] = (whole.astype(np.float32) * scales[:, None]).reshape(values[name].shape)
    return data, values


def vocabulary() -> bytes:
    pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % byte for byte in range(256)), b"a", b" ", b" a"]
    return struct.pack("<i", 8) + b"".join(struct.pack("<fi", -i, len(p)) + p for i, p in enumerate(pieces))


@pytest.fixture
def files(tmp_path):
    (tmp_path / "tokenizer.bin").write_bytes(vocabulary())
    return tmp_path / "model.bin", tmp_path / "tokenizer.bin"


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_each_layout_gives_the_same_model(files, version, shared):
    data, values = model_file(version, shared)
    files[0].write_bytes(data)
    found = read_llama2c(*files)
    config = found.config
    assert config["tie_word_embeddings"] is shared
    assert ("lm_head.weight" in found.tensors) is not shared
    assert (config["hidden_size"], config["num_key_value_heads"], config["vocab_size"]) == (C, KV, V)
    theirs = {"embed_tokens": "embedding", "norm": "norm"}
    for name, wanted in theirs.items():
        assert torch.equal(found.tensors[f"model.{name}.weight"], torch.from_numpy(values[wanted]))
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        assert torch.equal(found.tensors[f"{layer}mlp.down_proj.weight"], torch.from_numpy(values[f"w2.{i}"]))
        for name, heads in (("q", HEADS), ("k", KV)):
            # Row 2j of a head turns with row 2j + 1 there, row j with row j + D/2 here.
            rows = torch.from_numpy(values[f"w{name}.{i}"]).view(heads, D, C)
            wanted = torch.cat([rows[:, 0::2], rows[:, 1::2]], dim=1).reshape(-1, C)
            assert torch.equal(found.tensors[f"{layer}self_attn.{name}_proj.weight"], wanted)


def test_the_vocabulary(files):
    import tokenizers

    files[0].write_bytes(model_file(1, True)[0])
    tokenizer = tokenizers.Tokenizer.from_str(read_llama2c(*files).tokenizer)
    assert tokenizer.encode("a a").tokens == ["<s>", "▁a", "▁a"]
    assert tokenizer.encode("月").ids == [1, 260, *(3 + byte for byte in "月".encode())]
    assert tokenizer.decode(tokenizer.encode("a 月\n").ids) == "a 月\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model, words: (model[:-1], words), "its header announces"),
        (lambda model, words: (model + b"\0", words), "its header announces"),
        (lambda model, words: (model, words[:-1]), "token 261 has 2 bytes"),
        (lambda model, words: (model, words + b"\0"), "1 bytes follow"),
        (lambda model, words: (model, words[:100]), "no vocabulary of 262 tokens"),
        (lambda model, words: (model, words.replace(b" a", b" \xff")), "token 261 is not UTF-8"),
        (lambda model, words: (b"", words), "are no model"),
    ],
)
def test_damage_is_named(files, change, message):
    model, words = change(model_file(1, True)[0], vocabulary())
    files[0].write_bytes(model)
    files[1].write_bytes(words)
    with pytest.raises(RunError, match=message):
        read_llama2c(*files)


def test_a_missing_vocabulary_is_named(files):
    files[0].write_bytes(model_file(1, True)[0])
    assert read_llama2c(files[0]).tokenizer == read_llama2c(*files).tokenizer
    files[1].unlink()
    with pytest.raises(RunError, match=r"tokenizer\.bin is missing$"):
        read_llama2c(*files)
    with pytest.raises(RunError, match=r"tokenizer\.bin is missing: .*--tokenizer FILE"):
        read_llama2c(files[0])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2), st.data())
def test_changed_bytes_end_in_our_error_or_in_a_model(files, version, data):
    contents = [bytearray(model_file(version, True)[0]), bytearray(vocabulary())]
    for content in contents:
        for _ in range(data.draw(st.integers(0, 2))):
            at = data.draw(st.integers(0, min(300, len(content) - 1)))
            content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    for path, content in zip(files, contents, strict=True):
        path.write_bytes(content)
    tensors, told = {}, ""
    try:
        tensors = dict(read_llama2c(*files).tensors)
    except NextwordError as error:
        told = str(error)
    assert "\n" not in told
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())


@pytest.mark.skipif(not STORIES.is_dir(), reason="no shared data beside the checkout")
def test_stories_are_told():
    """260,000 parameters: about 0.7 nats a token on a story nobody wrote before, and how it goes on by itself."""
    import tokenizers

    found = read_llama2c(STORIES / "stories260K.bin", STORIES / "tok512.bin")
    model = build(found.config, found.tensors)
    tokenizer = tokenizers.Tokenizer.from_str(found.tokenizer)
    story = (
        "Once upon a time, there was a little boy named Tim. He had a red ball. One day, Tim went to the park with his "
        "mom. He saw a big dog. The dog wanted to play with the ball. Tim was happy and they played all day."
    )
    tokens = torch.tensor([tokenizer.encode(story).ids])
    with torch.no_grad():
        logits, _ = model(tokens[:, :-1])
        assert 0.5 < -token_log_probs(logits, tokens[:, 1:]).mean() < 0.9
        text = torch.tensor([tokenizer.encode("Once upon a time").ids])
        for _ in range(40):
            text = torch.cat([text, model(text)[0][:, -1:].argmax(-1)], dim=1)
    wanted = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
    assert tokenizer.decode(text[0].tolist()).startswith(wanted)
