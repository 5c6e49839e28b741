"""Dropout on a CPU, forward and backward, beside PyTorch's; both by themselves, and compiled.

    python benchmarks/dropout.py

Milliseconds, medians over rounds in which all are taken in turn, and how many times as long PyTorch's takes as ours.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.models.dropout import dropout

SHAPES = ((2048, 128), (512, 896), (480, 14, 14), (4096, 512))
PLAIN = (F.dropout, dropout)
WAYS = (*PLAIN, *(torch.compile(way, dynamic=False) for way in PLAIN))
ROUNDS = 50


def seconds(way: Callable[[Tensor, float], Tensor], x: Tensor, gradient: Tensor) -> float:
    began = time.perf_counter()
    way(x, 0.3).backward(gradient)
    return time.perf_counter() - began


def main() -> None:
    print(f"{torch.get_num_threads()} threads\n")
    print("| type | shape | PyTorch | ours | ratio | PyTorch, compiled | ours, compiled | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for dtype in (torch.float32, torch.bfloat16):
        for shape in SHAPES:
            x, gradient = torch.randn(shape, dtype=dtype, requires_grad=True), torch.randn(shape, dtype=dtype)
            rounds = [[seconds(way, x, gradient) for way in WAYS] for _ in range(ROUNDS)]
            theirs, ours, *compiled = (1e3 * statistics.median(times) for times in zip(*rounds, strict=True))
            cells = [
                str(dtype)[6:],
                " x ".join(map(str, shape)),
                f"{theirs:.3f}",
                f"{ours:.3f}",
                f"{theirs / ours:.1f}",
            ]
            cells += [*(f"{time:.3f}" for time in compiled), f"{compiled[0] / compiled[1]:.1f}"]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
