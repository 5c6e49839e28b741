"""A GGUF file -> `Foreign`: settings, tensors and tokenizer in Hugging Face's terms.

Tensors are read, widened from their blocks and put into Hugging Face's order when they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nextword.errors import RunError
from nextword.interop.foreign import Foreign
from nextword.interop.gguf import rotary
from nextword.interop.gguf.blocks import PLAIN, WIDENED, widen
from nextword.interop.gguf.container import Container, read_container
from nextword.interop.gguf.families import Family, family_of
from nextword.interop.gguf.settings import read_settings
from nextword.interop.gguf.vocabulary import read_vocabulary
from nextword.tensor_files import LazyTensors, printable

if TYPE_CHECKING:
    from torch import Tensor


def read_gguf(path: Path) -> Foreign:
    """Open a GGUF file.

    Raises RunError, with the path in it, for damage, and for an architecture, a type of numbers, a vocabulary or a
    tensor that is not supported.
    """
    container = read_container(path)
    try:
        return _read(container)
    except RunError as error:
        raise RunError(f"{path}: {printable(error.message)}", hint=error.hint) from None
    except MemoryError:
        raise RunError(f"{path}: its vocabulary is more than the memory at hand") from None


def _read(container: Container) -> Foreign:
    family = family_of(container.metadata.get("general.architecture"))
    names = {}
    for name, (type, _, _) in container.tensors.items():
        if type.name not in PLAIN and type.name not in WIDENED:
            known = ", ".join([*PLAIN, *WIDENED])
            raise RunError(
                f"tensor {name!r} is of type {type.name}, which is not supported", hint=f"Supported: {known}"
            )
        if name in rotary.TENSORS.values():
            continue
        try:
            names[family.theirs(name)] = name
        except KeyError:
            raise RunError(f"tensor {name!r} is not part of a model of architecture {family.architecture}") from None
    shapes = {name: place.shape for name, place in container.tensors.items()}
    config = read_settings(family, container.metadata, shapes, _factors(container))
    vocabulary = read_vocabulary(container.metadata, config["vocab_size"])
    ids = vocabulary.special_ids
    config |= {f"{role}_id": ids[role] for role in ("bos_token", "eos_token", "pad_token") if role in ids}
    ends = vocabulary.ends
    generation = {"eos_token_id": ends[0] if len(ends) == 1 else ends} if ends else {}
    return Foreign(
        config=config,
        tensors=_Tensors(container, family, names, config),
        tokenizer=vocabulary.tokenizer,
        special_tokens=vocabulary.special_tokens,
        chat_template=vocabulary.chat_template,
        generation=generation,
        licence=_licence(container.metadata),
    )


def _licence(metadata: Mapping[str, object]) -> str:
    """What a file names as its licence, if it looks like the name of one."""
    name = metadata.get("general.license")
    return name if isinstance(name, str) and re.fullmatch(r"[\w.+-]{1,60}", name) else ""


def _factors(container: Container) -> rotary.Factors:
    """The tensors of divisors that scale rotary positions."""
    found = {}
    for field, name in rotary.TENSORS.items():
        if name in container.tensors:
            type, shape, _ = container.tensors[name]
            if type.name != "F32" or len(shape) != 1 or shape[0] > 2**16:
                raise RunError(f"{name} is not a list of numbers")
            found[field] = container.read(name).view("<f4")
    return rotary.Factors(**found)


class _Tensors(LazyTensors):
    """The tensors of a file under Hugging Face's names."""

    def __init__(
        self, container: Container, family: Family, names: dict[str, str], config: Mapping[str, object]
    ) -> None:
        super().__init__(names)
        self.container, self.family, self.config = container, family, config

    def __getitem__(self, name: str) -> Tensor:
        import torch

        ours = self.index[name]
        type, shape, _ = self.container.tensors[ours]
        data = self.container.read(ours)
        if type.name == "BF16":
            tensor = torch.from_numpy(data.view("<i2").copy()).view(torch.bfloat16)
        elif type.name in PLAIN:
            tensor = torch.from_numpy(data.view({"F32": "<f4", "F16": "<f2"}[type.name]).copy())
        else:
            tensor = torch.from_numpy(widen(data, type))
        return to_theirs(self.family, self.config, ours, tensor.view(shape))


def to_theirs(family: Family, config: Mapping[str, object], name: str, tensor: Tensor) -> Tensor:
    """A tensor of a GGUF file, by its name there, in Hugging Face's order."""
    layer = name.rsplit(".", 2)[-2]
    if family.offset_norms and layer.endswith("norm"):
        return tensor - 1
    if layer in family.transposed and tensor.dim() == 2:
        return tensor.T.contiguous()
    if family.interleaved and layer in ("attn_q", "attn_k"):
        return _reordered(tensor, _heads(config, layer), (-1, 2))
    return tensor


def to_gguf(family: Family, config: Mapping[str, object], name: str, tensor: Tensor) -> Tensor:
    """The inverse of `to_theirs`."""
    layer = name.rsplit(".", 2)[-2]
    if family.offset_norms and layer.endswith("norm"):
        return tensor.float() + 1
    if layer in family.transposed and tensor.dim() == 2:
        return tensor.T.contiguous()
    if family.interleaved and layer in ("attn_q", "attn_k"):
        return _reordered(tensor, _heads(config, layer), (2, -1))
    return tensor


def _heads(config: Mapping[str, object], layer: str) -> int:
    heads = config["num_attention_heads" if layer == "attn_q" else "num_key_value_heads"]
    assert isinstance(heads, int)
    return heads


def _reordered(tensor: Tensor, heads: int, halves: tuple[int, int]) -> Tensor:
    """Rows of each head as a table of this shape, read by columns. Pairs (i, i + 1) become (i, i + D/2), or back."""
    rows = tensor.size(0)
    if not heads or rows % (2 * heads):
        raise RunError(f"{rows} rows of queries or keys do not make {heads} heads of an even size")
    return tensor.reshape(heads, *halves, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)
