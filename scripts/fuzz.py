"""Coverage-guided fuzzing of what reads bytes from strangers: nothing but our own error may come out of it.

    pip install "nextword[fuzz]"
    python scripts/fuzz.py gguf -max_total_time=300

Targets: gguf, llama2c, safetensors, folder, json, tokenizer, run. What stands behind the target goes to libFuzzer. It
begins with small good files, changes their bytes, and keeps what reaches new lines; an input that breaks the rule is
left in the working folder as `crash-...`, and the exit code is not 0.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris
import torch

with atheris.instrument_imports(include=["nextword"]):
    from nextword.checkpoint import read_config
    from nextword.errors import NextwordError
    from nextword.interop.foreign import Foreign
    from nextword.interop.gguf import read_gguf, write_gguf
    from nextword.interop.llama2c import read_llama2c
    from nextword.interop.tensors import read_member, read_safetensors, read_sharded
    from nextword.tokenizers import Tokenizer, TokenizerConfig, train_tokenizer


def all_tensors(tensors) -> None:
    """Read each."""
    for name in tensors:
        tensors[name]


def fuzz_gguf(folder: Path, data: bytes) -> None:
    """A GGUF file."""
    (folder / "model.gguf").write_bytes(data)
    all_tensors(read_gguf(folder / "model.gguf").tensors)


def fuzz_llama2c(folder: Path, data: bytes) -> None:
    """Two bytes that say where the model ends, a model, a vocabulary."""
    cut = 2 + int.from_bytes(data[:2], "little")
    (folder / "model.bin").write_bytes(data[2:cut])
    (folder / "tokenizer.bin").write_bytes(data[cut:])
    all_tensors(read_llama2c(folder / "model.bin", folder / "tokenizer.bin").tensors)


def fuzz_safetensors(folder: Path, data: bytes) -> None:
    """A safetensors file."""
    (folder / "model.safetensors").write_bytes(data)
    all_tensors(read_safetensors(folder / "model.safetensors"))


def fuzz_folder(folder: Path, data: bytes) -> None:
    """The index of a folder with one shard."""
    (folder / "model.safetensors.index.json").write_bytes(data)
    (folder / "1.safetensors").write_bytes(SAFETENSORS)
    all_tensors(read_sharded(folder))


def fuzz_json(folder: Path, data: bytes) -> None:
    """A config.json."""
    (folder / "config.json").write_bytes(data)
    read_member(folder, "config.json")


def fuzz_tokenizer(folder: Path, data: bytes) -> None:
    """A tokenizer.json."""
    (folder / "tokenizer.json").write_bytes(data)
    tokenizer = Tokenizer.load(folder)
    tokenizer.decode(tokenizer.encode("a b\n月"))


def fuzz_run(folder: Path, data: bytes) -> None:
    """The config.json of a run folder."""
    (folder / "config.json").write_bytes(data)
    read_config(folder)


HEADER = json.dumps(
    {"a": {"dtype": "F16", "shape": [1, 2], "data_offsets": [0, 4]}, "__metadata__": {"a": "b"}}
).encode()
SAFETENSORS = struct.pack("<Q", len(HEADER)) + HEADER + bytes(4)


def gguf_seeds() -> list[bytes]:
    """Tiny models of some families, with tokenizers of each kind."""
    llama = {
        **{"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1},
        **{"intermediate_size": 32, "max_position_embeddings": 8, "rms_norm_eps": 1e-5},
    }
    found = []
    for kind, model_type in (("byte", "llama"), ("char", "qwen2"), ("bpe", "olmo2")):
        tokenizer = train_tokenizer(TokenizerConfig(type=kind), ["a bb ccc"])
        tensors = {
            "model.embed_tokens.weight": torch.zeros(tokenizer.vocab_size, 32),
            "model.layers.0.self_attn.q_proj.weight": torch.ones(32, 32),
        }
        special = {"bos_token": "<eos>", "eos_token": "<eos>"}
        foreign = Foreign({**llama, "model_type": model_type}, tensors, tokenizer.backend.to_str(), special, "{{ x }}")
        with tempfile.TemporaryDirectory() as folder:
            for quantization in ("F32", "F16", "Q8_0"):
                write_gguf(Path(folder, "a"), foreign, quantization)
                found.append(Path(folder, "a").read_bytes())
    return found


def llama2c_seeds() -> list[bytes]:
    """The smallest model of two layouts."""
    pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % byte for byte in range(256)), b"a"]
    words = struct.pack("<i", 8) + b"".join(
        struct.pack("<fi", -i, len(piece)) + piece for i, piece in enumerate(pieces)
    )
    sizes = (2, 1, 1, 1, 1, len(pieces), 1)
    first = struct.pack("<7i", *sizes) + bytes(4 * (len(pieces) * 2 + 2 + 16 + 2 + 6 + 2 + 2))
    second = struct.pack("<Ii7iB", 0x616B3432, 1, *sizes, 1).ljust(256, b"\0")
    second += bytes(4 * (len(pieces) * 2 + 2 + 16 + 2 + 6 + 2))
    return [struct.pack("<H", len(model)) + model + words for model in (first, second)]


def json_seeds() -> list[bytes]:
    """What the parts of JSON look like."""
    values = {"a": [1, -2.5e3, True, None, "月"], "b": {"c": {}}}
    return [json.dumps(values).encode(), json.dumps(values, ensure_ascii=False).encode(), b'{"a": "\\ud83d\\ude00"}']


def tokenizer_seeds() -> list[bytes]:
    """Tokenizers of each kind, with little in them."""
    kinds = ("byte", "char", "bpe", "word", "unigram")
    trained = [train_tokenizer(TokenizerConfig(type=kind), ["a bb ccc. 月"]) for kind in kinds]
    return [tokenizer.backend.to_str().encode() for tokenizer in trained]


RUN = {"format_version": 1, "model": {"type": "lstm", "vocab_size": 3}, "tokenizer": {"type": "char", "vocab_size": 3}}
TARGETS: dict[str, tuple[Callable[[Path, bytes], None], Callable[[], list[bytes]]]] = {
    "gguf": (fuzz_gguf, gguf_seeds),
    "llama2c": (fuzz_llama2c, llama2c_seeds),
    "safetensors": (fuzz_safetensors, lambda: [SAFETENSORS]),
    "folder": (fuzz_folder, lambda: [b'{"weight_map": {"a": "1.safetensors"}}']),
    "json": (fuzz_json, json_seeds),
    "tokenizer": (fuzz_tokenizer, tokenizer_seeds),
    "run": (fuzz_run, lambda: [json.dumps(RUN).encode()]),
}


def main() -> None:
    """Fuzz the target that the command line names."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: fuzz.py {'|'.join(TARGETS)} [options of libFuzzer]")
    target, seeds = TARGETS[sys.argv[1]]
    memory = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    folder, corpus = (Path(tempfile.mkdtemp(dir=memory)) for _ in range(2))
    for i, seed in enumerate(seeds()):
        (corpus / str(i)).write_bytes(seed)

    def check(data: bytes) -> None:
        try:
            target(folder, data)
        except NextwordError as error:
            if "\n" in str(error):
                raise ValueError("an error of several lines") from error

    atheris.Setup([sys.argv[0], *sys.argv[2:], os.fspath(corpus)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
