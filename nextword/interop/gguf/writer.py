"""`Foreign` -> a GGUF file that llama.cpp loads, in F32, F16 or Q8_0.

Norms, biases and learned positions stay in single precision, as llama.cpp wants them. Under Q8_0 a matrix whose rows
are no multiple of 32 numbers is written as F16.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nextword.errors import RunError
from nextword.interop.foreign import Foreign
from nextword.interop.gguf import rotary
from nextword.interop.gguf.blocks import BY_NAME, BlockType, to_q8_0
from nextword.interop.gguf.container import Tensor as Piece
from nextword.interop.gguf.container import Value, write_container
from nextword.interop.gguf.families import Family, family_for
from nextword.interop.gguf.reader import to_gguf
from nextword.interop.gguf.settings import write_settings
from nextword.interop.gguf.spelling import write_vocabulary

if TYPE_CHECKING:
    from torch import Tensor

Quantization = Literal["F32", "F16", "Q8_0"]
FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7}
"""general.file_type of llama.cpp."""
ALWAYS_OUTPUT = ("olmo2",)  # llama.cpp asks for an output layer, though it may be the embedding


def write_gguf(path: Path, foreign: Foreign, quantization: Quantization = "F16") -> None:
    """Write a GGUF file, atomically.

    Raises RunError for what the format cannot say: a family or a tokenizer that llama.cpp does not know, settings it
    takes otherwise, numbers too large for F16 or not finite. Nothing is written then.
    """
    family = family_for(foreign.config.get("model_type"))
    sources = _sources(family, foreign)
    shapes = {name: tuple(_shape(family, name, foreign.tensors[theirs])) for name, theirs in sources.items()}
    settings, factors = write_settings(family, foreign.config, shapes)
    size = shapes["token_embd.weight"][0]
    metadata: dict[str, Value] = {
        "general.architecture": family.architecture,
        "general.type": "model",
        "general.file_type": FILE_TYPES[quantization],
        "general.quantization_version": 2,
        **settings,
        **write_vocabulary(
            foreign.tokenizer, foreign.special_tokens, size, foreign.chat_template, _ends(foreign.generation)
        ),
    }
    pieces = []
    for name, divisors in zip(rotary.TENSORS.values(), factors, strict=True):
        if divisors is not None:
            pieces.append(Piece(name, BY_NAME["F32"], divisors.shape, [divisors]))
    for name, theirs in sources.items():
        type = _type(name, shapes[name], quantization)
        pieces.append(Piece(name, type, shapes[name], _Lazy(family, foreign, name, theirs, type)))
    write_container(path, metadata, pieces)


def _sources(family: Family, foreign: Foreign) -> dict[str, str]:
    """The tensors of the file, and where each comes from. Raises RunError for one that the family does not have."""
    config = foreign.config
    layers = config.get("num_hidden_layers", config.get("n_layer"))
    if not isinstance(layers, int) or not 1 <= layers <= 1000:
        raise RunError(f"config.json: expected 1 to 1000 layers, got {layers!r}")
    known = family.ours(layers)
    unknown = sorted(set(foreign.tensors) - set(known))
    if unknown:
        raise RunError(f"tensor {unknown[0]} has no place in a GGUF file of architecture {family.architecture}")
    sources = {known[theirs]: theirs for theirs in known if theirs in foreign.tensors}
    if "token_embd.weight" not in sources:
        raise RunError("the model has no embedding")
    if config.get("tie_word_embeddings", "output.weight" not in sources):
        sources.pop("output.weight", None)
        if family.architecture in ALWAYS_OUTPUT:
            sources["output.weight"] = sources["token_embd.weight"]
    return sources


def _shape(family: Family, name: str, tensor: Tensor) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    return shape[::-1] if name.rsplit(".", 2)[-2] in family.transposed and len(shape) == 2 else shape


def _type(name: str, shape: tuple[int, ...], quantization: Quantization) -> BlockType:
    if len(shape) == 1 or name.startswith("position_embd"):
        return BY_NAME["F32"]
    return BY_NAME["F16" if quantization == "Q8_0" and shape[-1] % 32 else quantization]


class _Lazy:
    """The bytes of a tensor, made when they are asked for."""

    def __init__(self, family: Family, foreign: Foreign, name: str, theirs: str, type: BlockType) -> None:
        self.family, self.foreign, self.name, self.theirs, self.type = family, foreign, name, theirs, type

    def __iter__(self) -> Iterator[np.ndarray[Any, Any]]:
        tensor = to_gguf(self.family, self.foreign.config, self.name, self.foreign.tensors[self.theirs])
        numbers = tensor.detach().cpu().float().contiguous().numpy()
        if not np.isfinite(numbers).all():
            raise RunError(f"tensor {self.theirs} holds a number that is not finite")
        if self.type.name == "Q8_0":
            yield to_q8_0(numbers)
        elif self.type.name == "F32":
            yield numbers.astype("<f4")
        else:
            with np.errstate(over="ignore"):
                halves = numbers.astype("<f2")
            if not np.isfinite(halves).all():
                raise RunError(f"tensor {self.theirs} holds a number too large for F16", hint="Write it as F32")
            yield halves


def _ends(generation: Mapping[str, Any]) -> list[int]:
    """The ids that end a text, by generation_config.json."""
    ids = generation.get("eos_token_id")
    ids = ids if isinstance(ids, list) else [ids]
    return [id for id in ids if type(id) is int]
