"""Files of llama2.c: a Llama in one file of numbers, its vocabulary in another.

Three layouts: the first one without a name, version 1 with a header of 256 bytes, and version 2 with matrices in int8
and a scale for each group of numbers. All sizes follow from seven numbers at the beginning, so that a file has exactly
one possible length.

Source: https://github.com/karpathy/llama2.c, export.py, run.c and tokenizer.py.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nextword.errors import RunError
from nextword.interop.foreign import Foreign
from nextword.interop.gguf.families import FAMILIES
from nextword.interop.gguf.reader import to_theirs
from nextword.interop.gguf.vocabulary import MARK, added_token, bpe, merges_of, sentencepiece_rules
from nextword.interop.huggingface import first_token
from nextword.tensor_files import LazyTensors, OpenFile, damaged

if TYPE_CHECKING:
    from torch import Tensor

MAGIC = 0x616B3432  # "ak42"
HEADER = 256  # bytes of it in versions 1 and 2
UNKNOWN, BOS, EOS, BYTES = 0, 1, 2, 3  # ids; a byte's is BYTES + byte
MOST = 2**24  # of any number in the header
MOST_TOKEN = 2**12  # bytes
NAME_IT = "Name it: --tokenizer FILE"
Shapes = list[tuple[str, tuple[int, ...]]]


class Sizes(NamedTuple):
    """The seven numbers."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    longest: int


class Part(NamedTuple):
    """One tensor of the file."""

    name: str
    """Hugging Face's."""
    shape: tuple[int, ...]
    start: int
    group: int
    """Numbers to a scale; 0 where they are float32."""

    @property
    def bytes(self) -> int:
        count = math.prod(self.shape)
        return count + count // self.group * 4 if self.group else 4 * count


def read_llama2c(model: Path, tokenizer: Path | None = None) -> Foreign:
    """Read a model and its vocabulary, such as stories15M.bin and tokenizer.bin beside it.

    Text is begun and ended by `<s>`, as run.c does. Raises RunError naming the file that is missing or damaged, or if
    the two do not fit each other.
    """
    if tokenizer is None:
        tokenizer = model.with_name("tokenizer.bin")
        if not tokenizer.exists():
            raise RunError(
                f"{tokenizer} is missing: a llama2.c model has its vocabulary in a file of its own", hint=NAME_IT
            )
    file = OpenFile(model)
    try:
        sizes, version, shared, group = _header(file)
        parts = _parts(sizes, version, shared, group)
    except (ValueError, struct.error) as error:
        raise damaged(model, str(error)) from None
    end = parts[-1].start + parts[-1].bytes
    if end != file.size:
        raise damaged(model, f"{file.size:,} bytes, its header announces {end:,}")
    config = {
        "model_type": "llama",
        "hidden_act": "silu",
        "vocab_size": sizes.vocab,
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.inner,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "max_position_embeddings": sizes.longest,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": shared,
        "bos_token_id": BOS,
        "eos_token_id": BOS,
    }
    return Foreign(
        config=config,
        tensors=_Tensors(file, {part.name: part for part in parts if not part.name.startswith(UNUSED)}, config),
        tokenizer=_tokenizer(tokenizer, sizes.vocab),
        special_tokens={"bos_token": "<s>", "eos_token": "<s>", "unk_token": "<unk>"},
        generation={"eos_token_id": [BOS, EOS]},
    )


def _header(file: OpenFile) -> tuple[Sizes, int, bool, int]:
    """Sizes, version, whether output and embedding are one, numbers to a scale."""
    if file.size < HEADER:
        raise ValueError(f"{file.size} bytes are no model")
    data = file.read(0, HEADER)
    magic, version, *numbers = struct.unpack_from("<Ii7i", data)
    group, shared = 0, bool(data[36])
    if magic == MAGIC:
        if version not in (1, 2):
            raise ValueError(f"version {version}, 0 to 2 are read")
        if data[36] > 1 or data[41 if version == 2 else 37 :].strip(b"\0"):
            raise ValueError("its header is not filled up with zeros")
        group = int.from_bytes(data[37:41], "little") if version == 2 else 0
    else:
        version, numbers = 0, list(struct.unpack_from("<7i", data))
        shared, numbers[5] = numbers[5] > 0, abs(numbers[5])  # a negative vocabulary: an output layer of its own
    sizes = Sizes(*numbers)
    if not all(0 < number <= MOST for number in sizes) or sizes.layers > 1000:
        raise ValueError(f"no llama2.c model: its sizes would be {', '.join(map(str, sizes))}")
    if sizes.hidden % sizes.heads or sizes.heads % sizes.kv_heads or sizes.hidden // sizes.heads % 2:
        raise ValueError(f"{sizes.hidden} numbers do not make {sizes.heads} heads for {sizes.kv_heads} of keys")
    if version == 2 and not 0 < group <= MOST:
        raise ValueError(f"{group} numbers to a scale")
    return sizes, version, shared, group


UNUSED = "freq_cis"  # tables of angles in the first layout: they follow from the sizes


def _parts(sizes: Sizes, version: int, shared: bool, group: int) -> list[Part]:
    """All tensors in the order of the file."""
    C, inner, V = sizes.hidden, sizes.inner, sizes.vocab
    keys = C // sizes.heads * sizes.kv_heads
    norms = {"input_layernorm": (C,), "post_attention_layernorm": (C,)}
    attention = {
        "self_attn.q_proj": (C, C),
        "self_attn.k_proj": (keys, C),
        "self_attn.v_proj": (keys, C),
        "self_attn.o_proj": (C, C),
    }
    mlp = {"mlp.gate_proj": (inner, C), "mlp.down_proj": (C, inner), "mlp.up_proj": (inner, C)}
    first: Shapes = [("model.embed_tokens", (V, C))]
    last: Shapes = [("model.norm", (C,))]
    head: Shapes = [] if shared else [("lm_head", (V, C))]
    if version == 0:
        tables: Shapes = [(f"{UNUSED}_{part}", (sizes.longest, C // sizes.heads // 2)) for part in ("real", "imag")]
        layers = {"input_layernorm": (C,), **attention, "post_attention_layernorm": (C,), **mlp}
        order = first + _each(sizes.layers, layers) + last + tables + head
    else:
        order = _each(sizes.layers, norms) + last + first + _each(sizes.layers, attention | mlp) + head
    parts: list[Part] = []
    place = HEADER if version else struct.calcsize("<7i")
    for name, shape in order:
        own = group if len(shape) == 2 else 0
        if own and math.prod(shape) % own:
            raise ValueError(f"{math.prod(shape):,} numbers of {name} do not make groups of {own}")
        parts.append(Part(f"{name}.weight", shape, place, own))
        place += parts[-1].bytes
    return parts


def _each(layers: int, shapes: Mapping[str, tuple[int, ...]]) -> Shapes:
    """One kind of tensor after the other, of each the layers in turn."""
    return [(f"model.layers.{i}.{name}", shape) for name, shape in shapes.items() for i in range(layers)]


class _Tensors(LazyTensors):
    """The tensors, each read when it is asked for."""

    def __init__(self, file: OpenFile, parts: Mapping[str, Part], config: Mapping[str, object]) -> None:
        super().__init__(parts)
        self.file, self.config = file, config

    def __getitem__(self, name: str) -> Tensor:
        import torch

        part = self.index[name]
        data = self.file.read(part.start, part.bytes)
        if part.group:
            count = math.prod(part.shape)
            whole = np.frombuffer(data, np.int8, count).reshape(-1, part.group)
            numbers = whole.astype(np.float32) * np.frombuffer(data, "<f4", offset=count)[:, None]
        else:
            numbers = np.frombuffer(data, "<f4").copy()
        llama = FAMILIES["llama"]
        ours = llama.ours(int(str(self.config["num_hidden_layers"])))[name]
        return to_theirs(llama, self.config, ours, torch.from_numpy(numbers).view(part.shape))


def _tokenizer(path: Path, size: int) -> str:
    """The text of a tokenizer.json for a tokenizer.bin of `size` tokens."""
    file = OpenFile(path)
    if file.size < 4 + size * 9 or file.size > 4 + size * (8 + MOST_TOKEN):
        raise RunError(f"{path} is no vocabulary of {size:,} tokens, which its model has")
    data = file.read(0, file.size)
    pieces: dict[str, int] = {"<unk>": UNKNOWN, "<s>": BOS, "</s>": EOS}
    pieces |= {f"<0x{byte:02X}>": BYTES + byte for byte in range(256)}
    scores, place = np.zeros(size), 4  # behind the length of the longest token, which nobody needs
    for id in range(size):
        if place + 8 > len(data):
            raise damaged(path, f"it ends before token {id:,} of {size:,}")
        scores[id], length = struct.unpack_from("<fi", data, place)
        place += 8
        if not 0 < length <= min(MOST_TOKEN, len(data) - place) or not math.isfinite(scores[id]):
            raise damaged(path, f"token {id:,} has {length:,} bytes and the score {scores[id]}")
        try:
            piece = data[place : place + length].decode().replace(" ", MARK)
        except UnicodeDecodeError:
            raise damaged(path, f"token {id:,} is not UTF-8") from None
        place += length
        if id >= BYTES + 256 and pieces.setdefault(piece, id) != id:
            raise damaged(path, f"the token {piece!r} stands there twice, as {pieces[piece]} and {id}")
    if place != len(data):
        raise damaged(path, f"{len(data) - place:,} bytes follow its {size:,} tokens")
    if size < BYTES + 256:
        raise damaged(path, f"{size} tokens, at least {BYTES + 256} are special tokens and bytes")
    text = {piece: id for piece, id in pieces.items() if id >= BYTES + 256}
    model = bpe(pieces, merges_of(text, scores), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    rules = sentencepiece_rules(model, prefix=True)
    rules["added_tokens"] = [added_token(id, token, special=True) for token, id in list(pieces.items())[:BYTES]]
    return json.dumps(rules | {"post_processor": first_token("<s>", BOS)}, ensure_ascii=False)
