"""Which arithmetic the matrix products of training use: bfloat16 where it is measured to pay, else float32.

Having the instructions is not enough: some processors emulate bfloat16 more slowly than they run float32.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Literal

import torch

_SIZE = 512
_WORTHWHILE = 1.3  # below this, the casts eat the gain


def choose_precision(
    wanted: Literal["auto", "bfloat16", "float32"], device: torch.device
) -> Literal["bfloat16", "float32"]:
    """Resolve "auto" for a device; a few milliseconds of measurement on a CPU."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device.type != "cpu":
        return "float32"
    faster = _matmul_seconds(torch.float32) / _matmul_seconds(torch.bfloat16)
    return "bfloat16" if faster >= _WORTHWHILE else "float32"


def _matmul_seconds(dtype: torch.dtype) -> float:
    """The best of five products of two square matrices."""
    a = torch.full((_SIZE, _SIZE), 0.5, dtype=dtype)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return min(times)


def autocast(precision: Literal["bfloat16", "float32"], device: torch.device) -> AbstractContextManager[None]:
    """Run the block's matrix products in `precision`; weights and optimizer stay in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
