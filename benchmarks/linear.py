"""Products of few rows with a weight matrix on a CPU, float32: where `nextword.models.layers.linear` gets its rule.

    python benchmarks/linear.py

Microseconds, medians over rounds in which each way is taken in turn; every call has a weight matrix of its own, as in a
model, so that none lies in the cache. `W @ x.T` is what `linear` does up to FEW_ROWS rows, oneDNN what it does above.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.models import layers

SHAPES = ((384, 1152), (384, 4096), (512, 2048), (576, 3072), (576, 49152))  # inputs, outputs
BYTES = 60_000_000  # of all matrices of a shape


def other_way(x: Tensor, weight: Tensor) -> Tensor:
    flat = torch.cat([x, x]) if len(x) == 1 else x
    return torch.mm(weight, flat.T)[:, : len(x)].T.contiguous()


def onednn(x: Tensor, weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")


WAYS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "F.linear": F.linear,
    "W @ x.T": other_way,
    "oneDNN": onednn,
    "ours": layers.linear,
}


@torch.inference_mode()
def main() -> None:
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for rows in (1, 2, 4, 8, 16, 32, 128):
        for inputs, outputs in SHAPES:
            x = torch.randn(rows, inputs)
            weights = [torch.randn(outputs, inputs) for _ in range(max(2, BYTES // (4 * inputs * outputs)))]
            times: dict[str, list[float]] = {name: [] for name in WAYS}
            for _ in range(12):
                for name, way in WAYS.items():
                    started = time.perf_counter()
                    for weight in weights:
                        way(x, weight)
                    times[name].append(1e6 * (time.perf_counter() - started) / len(weights))
            medians = "  ".join(f"{name} {statistics.median(taken[2:]):8.1f}" for name, taken in times.items())
            print(f"{rows:3d} x {inputs} by {outputs:5d}:  {medians}", flush=True)


if __name__ == "__main__":
    main()
