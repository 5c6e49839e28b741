"""Training speed beside its peers, on the same shape and data, in one run.

    python benchmarks/train.py                                  # a Transformer of 12M parameters, on the CPU
    python benchmarks/train.py --model lstm --model gru         # beside torch.nn's, in bfloat16 and float32
    python benchmarks/train.py --device cuda                    # GPT-2 124M, context 1,024

Whole steps: forward, backward, clipping, AdamW. nextword's is the trainer's own step; the peers' are the usual loop.
All take turns, round after round (A B C A B C ...): tokens/s by the medians, and the medians of the ratios to each
peer. Beside it the share of the machine's own rate, that of one large bfloat16 product measured between the rounds: 6
FLOPs a parameter and token, and 12 x layers x width x context for attention (Chowdhery et al. 2022, appendix B).
Compilation is not in the rates; what it took is printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as the command line does

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from nextword.cli import keep_freed_memory
from nextword.data.token_files import TokenFiles
from nextword.data.token_writer import TokenWriter
from nextword.models import build_model, model_config
from nextword.models.transformer_config import GPT2
from nextword.training.config import TrainConfig
from nextword.training.trainer import Trainer

SHAPES = {
    "cpu": {"layers": 6, "width": 384, "heads": 6, "context": 256, "batch": 16, "vocab": 4096},
    "cuda": {"layers": 12, "width": 768, "heads": 12, "context": 1024, "batch": 32, "vocab": 50304},
    "recurrent": {"layers": 2, "width": 512, "heads": 1, "context": 128, "batch": 32, "vocab": 4096},
}
Shape = dict[str, int]
Runner = Callable[[], None]
"""Takes one step."""


class NanoGPT(nn.Module):
    """GPT-2 as people write it in a hundred lines of PyTorch: fused attention, no biases, learned positions."""

    class Block(nn.Module):
        def __init__(self, C: int, H: int) -> None:
            super().__init__()
            self.H = H
            self.norm1, self.norm2 = nn.LayerNorm(C, bias=False), nn.LayerNorm(C, bias=False)
            self.qkv, self.out = nn.Linear(C, 3 * C, bias=False), nn.Linear(C, C, bias=False)
            self.up, self.down = nn.Linear(C, 4 * C, bias=False), nn.Linear(4 * C, C, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            B, T, C = x.shape
            q, k, v = self.qkv(self.norm1(x)).view(B, T, 3, self.H, C // self.H).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(B, T, C))
            return x + self.down(F.gelu(self.up(self.norm2(x))))

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        C = shape["width"]
        self.tokens, self.positions = nn.Embedding(shape["vocab"], C), nn.Embedding(shape["context"], C)
        self.blocks = nn.Sequential(*(self.Block(C, shape["heads"]) for _ in range(shape["layers"])))
        self.norm = nn.LayerNorm(C, bias=False)
        self.head = nn.Linear(C, shape["vocab"], bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, inputs: Tensor) -> Tensor:
        x = self.tokens(inputs) + self.positions.weight[: inputs.size(1)]
        return self.head(self.norm(self.blocks(x)))


class PlainRecurrent(nn.Module):
    """An embedding, torch.nn's own stack of layers, a linear layer."""

    def __init__(self, kind: str, shape: Shape) -> None:
        super().__init__()
        C, V = shape["width"], shape["vocab"]
        self.embedding, self.head = nn.Embedding(V, C), nn.Linear(C, V)
        self.layers = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[kind](C, C, shape["layers"], batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.layers(self.embedding(inputs))[0])


class Hugging(nn.Module):
    """A model of `transformers`, its logits only."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(input_ids=inputs, use_cache=False).logits


def hugging(kind: str, shape: Shape) -> nn.Module:
    if kind == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=shape["vocab"],
            n_positions=shape["context"],
            n_embd=shape["width"],
            n_layer=shape["layers"],
            n_head=shape["heads"],
            attn_pdrop=0.0,
            embd_pdrop=0.0,
            resid_pdrop=0.0,
        )
    else:
        config = transformers.LlamaConfig(
            vocab_size=shape["vocab"],
            hidden_size=shape["width"],
            intermediate_size=inner_size(shape),
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            max_position_embeddings=shape["context"],
            tie_word_embeddings=True,
        )
    return Hugging(transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa"))


def inner_size(shape: Shape) -> int:
    return model_config({"type": "transformer", "hidden_size": shape["width"], "num_heads": shape["heads"]}).inner_size


def ours(settings: dict, shape: Shape, files: TokenFiles, device: str, compile: str) -> tuple[nn.Module, Runner]:
    """The trainer's step on a model of our own."""
    sizes = {"vocab_size": shape["vocab"], "num_layers": shape["layers"], "hidden_size": shape["width"]}
    if settings["type"] == "transformer":
        sizes |= {"num_heads": shape["heads"], "max_seq_len": shape["context"]}
    torch.manual_seed(0)
    model = build_model(model_config(settings | sizes)).to(device).train()
    config = TrainConfig(
        steps=10**6,
        batch_size=shape["batch"],
        context=shape["context"],
        learning_rate=3e-4,
        weight_decay=0.1,
        schedule="constant",
        precision="bfloat16",
        compile=compile,
        fresh_share=0.0,
    )
    trainer = Trainer(model, files, None, config, Path(tempfile.mkdtemp()))
    trainer._compile()  # if it is to be, when the first step is taken
    return model, lambda: (trainer._step(), None)[1]


def theirs(model: nn.Module, shape: Shape, device: str, bfloat16: bool, compiled: bool) -> tuple[nn.Module, Runner]:
    """The loop that everyone writes."""
    model = model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.1, fused=True)
    run = torch.compile(model) if compiled else model
    rng = torch.Generator().manual_seed(0)

    def step() -> None:
        tokens = torch.randint(0, shape["vocab"], (shape["batch"], shape["context"] + 1), generator=rng).to(device)
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            logits = run(tokens[:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()

    return model, step


def contestants(kind: str, shape: Shape, files: TokenFiles, device: str) -> dict[str, tuple[nn.Module, Runner]]:
    """Every mode by name; those that are no peers but our own come first."""
    if kind != "transformer":
        return {
            f"nextword {kind}": ours({"type": kind}, shape, files, device, "never"),
            f"torch.nn {kind} bfloat16": theirs(PlainRecurrent(kind, shape), shape, device, True, False),
            f"torch.nn {kind} float32": theirs(PlainRecurrent(kind, shape), shape, device, False, False),
        }
    llama, gpt2 = {"type": "transformer"}, {"type": "transformer"} | GPT2
    return {
        "nextword Llama eager": ours(llama, shape, files, device, "never"),
        "nextword Llama compiled": ours(llama, shape, files, device, "always"),
        "nextword GPT-2 eager": ours(gpt2, shape, files, device, "never"),
        "nextword GPT-2 compiled": ours(gpt2, shape, files, device, "always"),
        "nanoGPT eager": theirs(NanoGPT(shape), shape, device, True, False),
        "nanoGPT compiled": theirs(NanoGPT(shape), shape, device, True, True),
        "transformers Llama eager": theirs(hugging("llama", shape), shape, device, True, False),
        "transformers Llama compiled": theirs(hugging("llama", shape), shape, device, True, True),
        "transformers GPT-2 eager": theirs(hugging("gpt2", shape), shape, device, True, False),
        "transformers GPT-2 compiled": theirs(hugging("gpt2", shape), shape, device, True, True),
    }


def flops_per_token(model: nn.Module, shape: Shape, attends: bool) -> float:
    """Of a step: 6 a weight that is multiplied with (a tied embedding is), and attention's scores and sums."""
    looked_up = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    multiplied = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
    weights = sum(p.numel() for p in model.parameters() if p.dim() >= 2 and id(p) not in looked_up - multiplied)
    return 6 * weights + (12 * shape["layers"] * shape["width"] * shape["context"] if attends else 0)


def probe(device: str) -> float:
    """FLOP/s of one large bfloat16 product; the best of five."""
    size = 2048 if device == "cpu" else 8192
    a = torch.ones(size, size, dtype=torch.bfloat16, device=device)
    return 2 * size**3 / min(timed(lambda: a @ a, device) for _ in range(5))


def timed(run: Callable[[], object], device: str) -> float:
    """Seconds, until the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def compare(kind: str, shape: Shape, only: list[str], arguments: argparse.Namespace) -> None:
    """One table."""
    device = arguments.device
    with tempfile.TemporaryDirectory() as folder:
        files = random_files(Path(folder), shape)
        chosen = contestants(kind, shape, files, device)
        chosen = {name: c for name, c in chosen.items() if not only or any(word in name for word in only)}
        warm = {name: timed(step, device) for name, (_, step) in chosen.items()}
        for _, step in chosen.values():
            step()
        taken: dict[str, list[float]] = {name: [] for name in chosen}
        rates = []
        for _ in range(arguments.rounds):
            for name, (_, step) in chosen.items():
                taken[name].append(statistics.median(timed(step, device) for _ in range(arguments.steps)))
            rates.append(probe(device))
    rate = statistics.median(rates)
    tokens = shape["batch"] * shape["context"]
    print(f"\n{kind}, {shape}; matmul {rate / 1e12:.2f} TFLOP/s ({min(rates) / 1e12:.2f} to {max(rates) / 1e12:.2f})")
    peers = [name for name in chosen if not name.startswith("nextword")]
    for name, (model, _) in chosen.items():
        speed = tokens / statistics.median(taken[name])
        share = speed * flops_per_token(model, shape, kind == "transformer") / rate
        line = f"  {name:28s} {speed:9,.0f} tokens/s, {share:4.0%} of matmul, first step {warm[name]:5.1f} s"
        if name not in peers:
            ratios = {
                peer: statistics.median(b / a for a, b in zip(taken[name], taken[peer], strict=True)) for peer in peers
            }
            line += "  " + ", ".join(f"{ratio:.2f}x {peer}" for peer, ratio in ratios.items())
        print(line, flush=True)


class Numbers:
    """What the token files ask of a tokenizer, for tokens that are no text."""

    kind, eos_id, unk_id = "numbers", 0, None

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def fingerprint(self) -> str:
        return f"numbers below {self.vocab_size}"


def random_files(folder: Path, shape: Shape) -> TokenFiles:
    """A few hundred batches of random tokens."""
    writer = TokenWriter(folder / "tokens", Numbers(shape["vocab"]))
    ids = torch.randint(1, shape["vocab"], (2**21,), generator=torch.Generator().manual_seed(0))
    writer.target(ids.tolist(), num_bytes=len(ids))
    writer.end()
    writer.finish()
    return TokenFiles.open(folder / "tokens")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--model", choices=["transformer", "lstm", "gru", "rnn"], action="append")
    parser.add_argument("--only", action="append", default=[], help="names that contain this, such as 'compiled'")
    parser.add_argument("--rounds", type=int, default=5, help="times each one runs, after two steps that do not count")
    parser.add_argument("--steps", type=int, default=3, help="steps of a round; their median counts")
    for name in SHAPES["cpu"]:
        parser.add_argument(f"--{name}", type=int, help="default: " + ", ".join(str(s[name]) for s in SHAPES.values()))
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no GPU here")
    keep_freed_memory()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, transformers {transformers.__version__}")
    for kind in arguments.model or ["transformer"]:
        shape = dict(SHAPES[arguments.device if kind == "transformer" else "recurrent"])
        shape |= {name: value for name in shape if (value := getattr(arguments, name)) is not None}
        compare(kind, shape, arguments.only, arguments)


if __name__ == "__main__":
    main()
