"""Training speed of nextword's recurrent layers beside torch.nn's, forward and backward, in one run.

    python benchmarks/recurrent.py                             # LSTM, GRU and RNN, four shapes
    python benchmarks/recurrent.py --type gru --shape 32x64x512 --threads 2

For each type and shape (rows x steps x hidden size): milliseconds for one layer's outputs and all its gradients by
nextword under bfloat16 autocast, torch.nn under bfloat16 autocast and torch.nn in float32, in turn (A B C A B C ...),
medians, and the medians of the ratios. Beside it the rate of a bfloat16 matrix product, which bounds them all.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as the command line does

import torch
from torch import Tensor

from nextword.cli import keep_freed_memory
from nextword.models import build_model, model_config
from nextword.models.recurrent import LAYERS

SHAPES = ["20x20x200", "24x35x416", "32x64x512", "32x35x1024"]


def seconds(layer: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor, bfloat16: bool) -> float:
    """Of one pass forward and backward."""
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        y = layer(x)
    y.backward(gradient.to(y.dtype))
    return time.perf_counter() - started


def probe() -> float:
    """TFLOP/s of a bfloat16 product of two 1024 x 1024 matrices; the best of five."""
    a = torch.ones(1024, 1024, dtype=torch.bfloat16)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - started)
    return 2 * 1024**3 / min(times) / 1e12


def compare(name: str, shape: str, rounds: int) -> None:
    """One line of the table."""
    B, T, C = map(int, shape.split("x"))
    torch.manual_seed(0)
    model = build_model(model_config({"type": name, "vocab_size": 2, "hidden_size": C}))
    theirs = LAYERS[name](C, C, batch_first=True)
    memory = model.init_state(B).layers[0]
    x, gradient = torch.randn(B, T, C, requires_grad=True), torch.randn(B, T, C)

    def run_ours(x: Tensor) -> Tensor:
        return model._layer(model.layers[0], x, memory)[0]

    def run_theirs(x: Tensor) -> Tensor:
        return theirs(x)[0]

    sides = [(run_ours, True), (run_theirs, True), (run_theirs, False)]
    taken = [[seconds(side, x, gradient, bfloat16) for side, bfloat16 in sides] for _ in range(rounds + 1)][1:]
    ours, same, full = (1000 * statistics.median(column) for column in zip(*taken, strict=True))
    print(
        f"{name:4s} {shape:10s}: {ours:7.1f} ms, torch.nn bfloat16 {same:7.1f}, float32 {full:7.1f}; "
        f"{statistics.median(row[1] / row[0] for row in taken):.2f}x and "
        f"{statistics.median(row[2] / row[0] for row in taken):.2f}x; matmul {probe():.2f} TFLOP/s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--type", choices=LAYERS, action="append", help="default: all")
    parser.add_argument("--shape", action="append", help="rows x steps x hidden size; default: " + ", ".join(SHAPES))
    parser.add_argument("--rounds", type=int, default=9, help="times each side runs, after one that does not count")
    parser.add_argument("--threads", type=int, help="default: what PyTorch finds")
    arguments = parser.parse_args()
    keep_freed_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for name in arguments.type or ["lstm", "gru", "rnn"]:
        for shape in arguments.shape or SHAPES:
            compare(name, shape, arguments.rounds)


if __name__ == "__main__":
    main()
