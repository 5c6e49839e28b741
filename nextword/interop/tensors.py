"""The weights of a Hugging Face folder: one safetensors file, or several and an index that says what lies where.

The index is a claim as well: a name in it that is a path would open any file of this machine (transformers issue
47176), so each must be one plain name, and the file itself must lie in the folder once links are followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextword import strict_json
from nextword.errors import RunError
from nextword.tensor_files import LazyTensors, OpenFile, damaged, read_safetensors

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["member", "read_member", "read_safetensors", "read_sharded"]

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
MOST_SHARDS = 10_000


class Shards(LazyTensors):
    """The tensors of several files: each name with its file."""

    def __getitem__(self, name: str) -> Tensor:
        return self.index[name][name]


def read_sharded(folder: Path) -> Mapping[str, Tensor]:
    """The tensors of a folder, by model.safetensors or by model.safetensors.index.json.

    Raises RunError: neither is there, a shard is missing or damaged, its name is a path, a tensor is not in its shard.
    """
    if (folder / SINGLE).exists() or (folder / SINGLE).is_symlink():
        return read_safetensors(member(folder, SINGLE))
    if not (folder / INDEX).exists():
        raise RunError(f"{folder} has no weights: neither {SINGLE} nor {INDEX}", hint=_other_weights(folder))
    index = read_member(folder, INDEX)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(value, str) for value in places.values()):
        raise damaged(folder / INDEX, "no weight_map from tensors to files")
    names = sorted(set(places.values()))
    if len(names) > MOST_SHARDS:
        raise damaged(folder / INDEX, f"{len(names):,} files, at most {MOST_SHARDS:,} are read")
    paths = {name: member(folder, name) for name in names}  # all names are checked before the first is opened
    shards = {name: read_safetensors(path) for name, path in paths.items()}
    for tensor, name in places.items():
        if tensor not in shards[name]:
            raise damaged(folder / INDEX, f"it says that tensor {tensor!r} is in {name}, which does not have it")
    return Shards({tensor: shards[name] for tensor, name in places.items()})


def member(folder: Path, name: str) -> Path:
    """The path of a file directly in `folder`.

    Raises RunError if `name` is not one plain name, if a link leads out of the folder, or if there is no such file.
    """
    plain = name not in ("", ".", "..") and not any(c in '/\\:*?"<>|' or ord(c) < 32 or ord(c) == 127 for c in name)
    if not plain or len(name.encode("utf-8", "replace")) > 255:
        raise RunError(f"{folder}: {name[:80]!r} is not the plain name of a file in this folder")
    path = folder / name
    try:
        target = path.resolve(strict=True)
    except FileNotFoundError:
        raise RunError(f"{path} is missing", hint="Fetch the folder again") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise RunError(f"{path}: {error}") from None
    if target.parent != folder.resolve():
        raise RunError(f"{path} is a link that leads out of its folder", hint="Copy the file itself there")
    return path


def read_member(folder: Path, name: str) -> Any:
    """The JSON of a file directly in `folder`, by strict rules. Raises RunError naming the file and what is wrong."""
    path = member(folder, name)
    file = OpenFile(path)
    if file.size > strict_json.MOST_BYTES:
        raise damaged(path, f"{file.size:,} bytes of JSON, at most {strict_json.MOST_BYTES:,} are read")
    try:
        return strict_json.loads(file.read(0, file.size))
    except ValueError as error:
        raise damaged(path, str(error)) from None


def _other_weights(folder: Path) -> str:
    """What to say where there are weights, but of a format that can execute what a stranger wrote."""
    found = sorted(path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl"))
    if found:
        return f"{found[0]} is a pickle, which is a program: it is never read. Ask its author for safetensors"
    return "Is it a folder as save_pretrained writes it?"
