"""Dropout on a CPU, forward and backward, beside PyTorch's.

    python benchmarks/dropout.py

Milliseconds, medians over rounds in which both are taken in turn.
"""

from __future__ import annotations

import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.models.dropout import dropout

SHAPES = ((2048, 128), (512, 896), (480, 14, 14), (4096, 512))
WAYS = {"PyTorch": F.dropout, "ours": dropout}
ROUNDS = 50


def seconds(way: str, x: Tensor, gradient: Tensor) -> float:
    began = time.perf_counter()
    WAYS[way](x, 0.3).backward(gradient)
    return time.perf_counter() - began


def main() -> None:
    print(f"{torch.get_num_threads()} threads\n\n| type | shape | {' | '.join(WAYS)} | ratio |\n|---|---|---|---|---|")
    for dtype in (torch.float32, torch.bfloat16):
        for shape in SHAPES:
            x, gradient = torch.randn(shape, dtype=dtype, requires_grad=True), torch.randn(shape, dtype=dtype)
            rounds = [[seconds(way, x, gradient) for way in WAYS] for _ in range(ROUNDS)]
            theirs, ours = (1e3 * statistics.median(times) for times in zip(*rounds, strict=True))
            name = " x ".join(map(str, shape))
            print(f"| {str(dtype)[6:]} | {name} | {theirs:.3f} | {ours:.3f} | {theirs / ours:.1f} |")


if __name__ == "__main__":
    main()
