"""Weights in safetensors files, one or many, as a mapping that reads a tensor when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from nextword.errors import RunError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


class LazyTensors(Mapping[str, Tensor]):
    """Name -> tensor, read from its file at each look-up."""

    def __init__(self, files: Mapping[str, Any]) -> None:
        self._files = files

    def __getitem__(self, name: str) -> Tensor:
        return self._files[name].get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def read_safetensors(path: Path) -> Mapping[str, Tensor]:
    """The tensors of one file. Raises RunError if it is missing or damaged."""
    try:
        file = safe_open(path, "pt")
        return LazyTensors(dict.fromkeys(file.keys(), file))
    except FileNotFoundError:
        raise RunError(f"{path} is missing") from None
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is damaged: {error}") from None


def read_sharded(folder: Path) -> Mapping[str, Tensor]:
    """The tensors of a folder: of model.safetensors, or of all the files that its index names."""
    index = folder / INDEX
    if not index.exists():
        return read_safetensors(folder / WEIGHTS)
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = set(names.values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RunError(f"{index} is damaged: {error}") from None
    for shard in shards:
        if not isinstance(shard, str) or Path(shard).name != shard or "\\" in shard or "\0" in shard or ":" in shard:
            raise RunError(f"{index} names {shard!r}, which is no file of its folder")
        if not (folder / shard).resolve().is_relative_to(folder.resolve()):
            raise RunError(f"{index} names {shard!r}, which leads out of its folder")
    files = {shard: read_safetensors(folder / shard) for shard in sorted(shards)}
    for name, shard in names.items():
        if name not in files[shard]:
            raise RunError(f"{folder / shard} lacks tensor {name}, which {INDEX} places there")
    return LazyTensors({name: files[shard]._files[name] for name, shard in names.items()})  # type: ignore[attr-defined]
