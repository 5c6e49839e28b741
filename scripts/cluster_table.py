"""What training takes on 1, 8 and 64 GPUs, by calculation: the tables of docs/cluster.md.

    python scripts/cluster_table.py

Memory and traffic follow from the shapes; nothing is measured here. Bytes throughout; N weights, G GPUs, C hidden
size, V vocabulary.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from nextword.checkpoint import outline
from nextword.loss import CHUNK_ELEMENTS
from nextword.models.transformer_config import TransformerConfig

GPUS = (1, 8, 64)
TOKENS = 8192  # a GPU reads in a batch
FP32, BF16 = 4, 2
ROOM = 80e9  # of a GPU
LINK = 50e9  # bytes per second that a GPU sends to another machine: a 400 Gbit/s card for each
ARITHMETIC = 400e12  # operations per second: 40 % of what an H100 can do in bfloat16

SHAPES = {
    "125M": TransformerConfig(vocab_size=50_304, num_layers=12, hidden_size=768, num_heads=12, max_seq_len=1024),
    "1.3B": TransformerConfig(vocab_size=50_304, num_layers=24, hidden_size=2048, num_heads=16, max_seq_len=2048),
    "7B": TransformerConfig(
        vocab_size=32_000, num_layers=32, hidden_size=4096, num_heads=32, max_seq_len=4096, mlp_size=11_008, tied=False
    ),
}


@dataclass(frozen=True)
class Counts:
    """Weights of a model: all, those of a block, and those outside of blocks."""

    all: int
    block: int
    rest: int


def count(config: TransformerConfig) -> Counts:
    """From the model itself, without its memory."""
    model = outline(config)
    total = model.num_parameters()
    block = sum(p.numel() for p in model.blocks[0].parameters())
    return Counts(total, block, total - config.num_layers * block)


def states(n: float) -> float:
    """Weight, gradient and AdamW's two moments of `n` weights, in float32: 16 bytes each."""
    return 4 * FP32 * n


def block_activations(config: TransformerConfig, residual: int) -> int:
    """What a block keeps of each token for its gradients, with fused attention, RMSNorm, a gate and no dropout.

    `residual`: bytes of a number in the residual stream. Under autocast it is float32: a norm keeps its input (4C),
    the input over its length (4C) and its output for the product (2C). With bfloat16 weights, as FSDP gathers them, it
    keeps the input as float32 (4C), the input over its length (2C) and its output (2C).
    """
    C, inner, H, G, D = config.hidden_size, config.inner_size, config.num_heads, config.G, config.D
    norm = (2 * FP32 + BF16) * C if residual == FP32 else (FP32 + 2 * BF16) * C
    qkv = BF16 * (H + 2 * G) * D  # kept for the values, which are a part of it
    turned = BF16 * (H + G) * D  # queries and keys
    attended = BF16 * H * D + FP32 * H  # and the log of its normaliser
    mlp = BF16 * 4 * inner  # gate and up, silu(gate), product
    return 2 * norm + qkv + turned + attended + mlp


def activations(config: TransformerConfig, residual: int, recompute: bool) -> float:
    """Of all blocks for TOKENS tokens; recomputed, of one, and the input of each."""
    block = block_activations(config, residual)
    kept = block + config.num_layers * residual * config.hidden_size if recompute else config.num_layers * block
    return TOKENS * kept


def loss(config: TransformerConfig) -> float:
    """A chunk of logits: bfloat16, their log-probabilities in float32, the gradient in bfloat16; and features twice."""
    return (2 * BF16 + FP32) * CHUNK_ELEMENTS + 2 * BF16 * config.hidden_size * TOKENS


def ddp_memory(config: TransformerConfig, recompute: bool) -> float:
    """All states, a bfloat16 copy of the weights (autocast keeps it for a pass), activations, loss."""
    n = count(config).all
    return states(n) + BF16 * n + activations(config, FP32, recompute) + loss(config)


def fsdp_memory(config: TransformerConfig, gpus: int, recompute: bool) -> float:
    """A share of the states, what is gathered meanwhile, activations, loss.

    Gathered in bfloat16: what is outside of blocks, and two blocks, the one at work and the next. Of the largest of
    these there is a gradient too, in bfloat16 and, to be summed, in float32.
    """
    counts = count(config)
    gathered = BF16 * (counts.rest + 2 * counts.block) + (BF16 + FP32) * max(counts.rest, counts.block)
    return states(counts.all) / gpus + gathered + activations(config, BF16, recompute) + loss(config)


def ddp_traffic(n: float, gpus: int) -> float:
    """Bytes that a GPU sends in a step: gradients in float32, summed around a ring (each goes round twice)."""
    return 2 * FP32 * n * (gpus - 1) / gpus


def fsdp_traffic(n: float, gpus: int, accumulate: int = 1) -> float:
    """Bytes that a GPU sends in a step: weights in bfloat16, forward and backward, for each of `accumulate` batches;
    gradients in float32 once, each to whom it belongs.
    """
    return (2 * BF16 * accumulate + FP32) * n * (gpus - 1) / gpus


def seconds(n: float) -> float:
    """Of arithmetic in a step: 6 operations a weight and token."""
    return 6 * n * TOKENS / ARITHMETIC


def gigabytes(size: float) -> str:
    """With a mark where it is more than a GPU has."""
    return f"{size / 1e9:,.1f}" + (" ✗" if size > ROOM else "")


def memory_table() -> str:
    """GB on each GPU: each way, without and with activation checkpointing."""
    lines = [
        "| weights | GPUs | ddp | ddp, recomputing | fsdp | fsdp, recomputing |",
        "|---|---|---|---|---|---|",
    ]
    for name, config in SHAPES.items():
        for gpus in GPUS:
            cells = [ddp_memory(config, recompute) for recompute in (False, True)]
            if gpus > 1:
                cells += [fsdp_memory(config, gpus, recompute) for recompute in (False, True)]
            row = [gigabytes(size) for size in cells] + ["", ""] * (gpus == 1)
            lines.append(f"| {name} | {gpus} | {' | '.join(row)} |")
    return "\n".join(lines)


def traffic_table() -> str:
    """GB that each GPU sends in a step, the time that takes between machines, and the time of the arithmetic."""
    lines = [
        "| weights | GPUs | tokens in a step | ddp | fsdp | fsdp, 4 batches a step | sending | computing |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, config in SHAPES.items():
        n = count(config).all
        for gpus in GPUS[1:]:
            sent = [ddp_traffic(n, gpus), fsdp_traffic(n, gpus), fsdp_traffic(n, gpus, accumulate=4)]
            times = [1000 * sent[1] / LINK, 1000 * seconds(n)]
            cells = [f"{size / 1e9:,.1f}" for size in sent] + [f"{time:,.0f} ms" for time in times]
            lines.append(f"| {name} | {gpus} | {gpus * TOKENS:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shape_table() -> str:
    """What the names stand for."""
    lines = ["| | layers x width | context | vocabulary | weights |", "|---|---|---|---|---|"]
    for name, c in SHAPES.items():
        layers = f"{c.num_layers} x {c.hidden_size:,}"
        lines.append(
            f"| {name} | {layers} | {c.max_seq_len:,} | {c.vocab_size:,} | {count(c).all / 1e6:,.0f} million |"
        )
    return "\n".join(lines)


def tables() -> str:
    """All three, as they stand in the page."""
    return "\n\n".join([shape_table(), memory_table(), traffic_table()])


if __name__ == "__main__":
    sys.stdout.write(tables() + "\n")
