"""Weights by the tables of families: which tensors of theirs are one of ours, and how they are joined and split.

Nothing is read before it is asked for, and each tensor only once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from nextword.errors import RunError
from nextword.interop.families import Family
from nextword.models.transformer_config import TransformerConfig
from nextword.tensor_files import LazyTensors

UNUSED_TENSORS = re.compile(
    r".*\.rotary_emb\.inv_freq|(transformer\.)?h\.\d+\.attn\.(masked_)?bias|"
    r"(model\.)?(encoder|decoder)\.embed_positions\.weight|"
    r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight"
)
"""Tables that old files hold beside the weights."""
_BLOCK = re.compile(r"(blocks|encoder|decoder)\.(\d+)\.(.+)")


def their_names(family: Family, ours: str) -> tuple[str, ...]:
    """The tensors of theirs that one of ours joins.

    >>> their_names(FAMILIES["llama"], "blocks.3.mlp.up.weight")
    ('model.layers.3.mlp.gate_proj.weight', 'model.layers.3.mlp.up_proj.weight')
    """
    ours = ours.replace("output.linear.", "output.")
    if ours in family.layers:
        return family.layers[ours]
    layer, kind = ours.rsplit(".", 1)
    prefix = "" if layer == "output" else family.prefix
    if match := _BLOCK.fullmatch(layer):
        prefix += f"{family.blocks[match[1]]}.{match[2]}."
    return tuple(f"{prefix}{name}.{kind}" for name in family.layers[_numberless(layer)])


def our_tensors(
    family: Family, settings: TransformerConfig, hollow: Mapping[str, Tensor], theirs: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Our tensors from theirs, one at a time; `hollow` has ours by name, only for their shapes.

    Raises RunError for one that is missing or does not fit.
    """
    wanted = TheirTensors(family, settings, hollow)
    bare = not any(name.startswith(family.prefix) for name in theirs)  # a folder of the model without its head
    for ours in hollow:
        parts = []
        for full in their_names(family, ours):
            name = full.removeprefix(family.prefix) if bare else full
            if ours == "embedding.weight":
                name = _embedding(family, settings, theirs)
            if name not in theirs:
                raise RunError(f"tensor {name} is missing")
            part = theirs[name]
            if part.shape != wanted[full].shape:
                raise RunError(
                    f"tensor {name} has shape {list(part.shape)}, expected {list(wanted[full].shape)} by the config"
                )
            if not part.is_floating_point():
                raise RunError(f"tensor {name} holds {str(part.dtype).removeprefix('torch.')}, expected numbers")
            parts.append(part)
        joined = torch.cat(parts) if len(parts) > 1 else parts[0]
        if ours == "output.bias":  # their one row
            joined = joined[0]
        yield ours, joined.T if _is_transposed(family, ours) else joined


class TheirTensors(LazyTensors):
    """Our tensors under their names and in their layout, each made when it is asked for."""

    def __init__(self, family: Family, settings: TransformerConfig, ours: Mapping[str, Tensor]) -> None:
        super().__init__({name: (source, i) for source in ours for i, name in enumerate(their_names(family, source))})
        self.family, self.settings, self.ours = family, settings, ours

    def __getitem__(self, name: str) -> Tensor:
        source, i = self.index[name]
        tensor = self.ours[source]
        if source == "output.bias":
            return tensor[None]
        sizes = _parts(self.settings, source, len(their_names(self.family, source)))
        tensor = tensor.split(sizes)[i] if sizes else tensor
        return tensor.T if _is_transposed(self.family, source) else tensor


def check_all_used(
    family: Family, settings: TransformerConfig, hollow: Mapping[str, Any], theirs: Mapping[str, Tensor]
) -> None:
    """Raises RunError if they have a tensor that the model has no place for."""
    wanted = {name for ours in hollow for name in their_names(family, ours)}
    wanted |= {name.removeprefix(family.prefix) for name in wanted}
    embedding, again = _embedding(family, settings, theirs), _again(family, settings)
    for name in theirs:
        if name in again:
            if not torch.equal(theirs[name], theirs[embedding]):
                raise RunError(f"{name} differs from the embedding, and should be the same by the config")
        elif name not in wanted and not UNUSED_TENSORS.fullmatch(name):
            raise RunError(f"tensor {name} is not part of this model, by its config")


def _again(family: Family, settings: TransformerConfig) -> tuple[str, ...]:
    """Other names of the embedding: files have it under one, or under several."""
    return (*family.embeddings, "lm_head.weight") if settings.tied else family.embeddings


def _embedding(family: Family, settings: TransformerConfig, theirs: Mapping[str, Tensor]) -> str:
    """The name under which they have the embedding; its first one if they have none."""
    first = family.layers["embedding"][0] + ".weight"
    names = (family.prefix + first, first, *_again(family, settings))
    return next((name for name in names if name in theirs), names[0])


def _is_transposed(family: Family, ours: str) -> bool:
    layer, kind = ours.rsplit(".", 1)
    return kind == "weight" and _numberless(layer) in family.transposed


def _numberless(layer: str) -> str:
    """Our layer as the tables of families call it."""
    match = _BLOCK.fullmatch(layer)
    if not match:
        return layer
    return match[3] if match[1] == "blocks" else f"{match[1]}.{match[3]}"


def _parts(settings: TransformerConfig, ours: str, count: int) -> list[int]:
    """Rows of each of the `count` tensors that one of ours joins; [] for one."""
    H, G, D = settings.num_heads, settings.G, settings.D
    if ".source_attention.kv." in ours:
        return [G * D, G * D]
    return {1: [], 2: [settings.inner_size] * 2, 3: [H * D, G * D, G * D]}[count]
