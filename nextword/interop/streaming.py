"""Writing a safetensors file of any size with one tensor in memory at a time.

The header stands before the data and names each tensor's type and place, which are known only once it has been made.
So room is left for the longest header there can be, and the header is written last, filled up with spaces.

Format: https://github.com/huggingface/safetensors, README
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
"""What weights are kept in; anything else is widened or rounded to float32."""


def write_safetensors(
    path: Path,
    shapes: Mapping[str, Sequence[int]],
    tensors: Iterable[tuple[str, Tensor]],
    metadata: Mapping[str, str],
    sha256_key: str = "",
    progress: Callable[[int], None] = lambda count: None,
) -> str:
    """Write the tensors, which come in the order of `shapes` or any other, one at a time; their main type is returned.

    With `sha256_key` the SHA-256 of their bytes, in the order they come in, goes into the metadata under that name.
    `progress` is told how many values have been written. Not atomic: write into a folder that is.
    """
    notes = dict(metadata) | ({sha256_key: "0" * 64} if sha256_key else {})
    longest: dict[str, Any] = {
        name: {"dtype": "BF16", "shape": list(shape), "data_offsets": [2**63, 2**63]} for name, shape in shapes.items()
    }
    room = -(-len(_encode(longest | {"__metadata__": notes})) // 8) * 8
    header: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    digest, offset = hashlib.sha256(), 0
    with path.open("wb") as file:
        file.seek(8 + room)
        for name, tensor in tensors:
            tensor = tensor if tensor.dtype in DTYPES else tensor.float()
            data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
            assert list(tensor.shape) == list(shapes[name])
            file.write(data)
            digest.update(data)
            dtype = DTYPES[tensor.dtype]
            header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [offset, offset + len(data)]}
            sizes[dtype] = sizes.get(dtype, 0) + len(data)
            offset += len(data)
            progress(tensor.numel())
        assert header.keys() == longest.keys()
        if sha256_key:
            notes[sha256_key] = digest.hexdigest()
        file.seek(0)
        file.write(room.to_bytes(8, "little"))
        file.write(_encode(header | ({"__metadata__": notes} if notes else {})).ljust(room))
    names = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    return names[max(sizes, key=lambda dtype: sizes[dtype])]


def _encode(header: Mapping[str, Any]) -> bytes:
    return json.dumps(header, separators=(",", ":")).encode()
