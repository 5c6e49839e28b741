"""Decoding speed beside `transformers.generate`, on the same random weights, in one run.

    python benchmarks/decode.py                            # 12M parameters: GPT-2 and Llama
    python benchmarks/decode.py --model llama-135m --rounds 3

For each batch size: tokens/s of reading a prompt and of writing after it, each precision of both in turn, round after
round; medians, and the medians of the ratios. Beside it the memory bandwidth that one matrix-vector product reaches,
for a single row reads all weights for one token. Greedy, no end token, so that all do the same work; in float32 both
must write the same tokens.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as the command line does

import torch
import transformers

from nextword.cli import keep_freed_memory
from nextword.decoding.config import GenerationConfig
from nextword.decoding.engine import Engine
from nextword.decoding.requests import Request
from nextword.interop import weights
from nextword.models import LanguageModel
from nextword.models.quantize import quantize

SHAPES = {
    "gpt2-12m": {"layers": 6, "hidden": 384, "heads": 6, "vocab": 4096},
    "llama-12m": {"layers": 6, "hidden": 384, "heads": 6, "vocab": 4096, "kv_heads": 6, "mlp": 1024},
    "llama-135m": {"layers": 30, "hidden": 576, "heads": 9, "vocab": 49152, "kv_heads": 3, "mlp": 1536},
}
CONTEXT = 1024
Runner = Callable[[torch.nn.Module, torch.Tensor, int], tuple[float, float, list[list[int]]]]


def pair(name: str) -> tuple[LanguageModel, torch.nn.Module]:
    """Ours and theirs, with the same weights."""
    shape = SHAPES[name]
    torch.manual_seed(0)
    if name.startswith("gpt2"):
        config = transformers.GPT2Config(
            vocab_size=shape["vocab"],
            n_positions=CONTEXT,
            n_embd=shape["hidden"],
            n_layer=shape["layers"],
            n_head=shape["heads"],
            initializer_range=0.1,
        )
    else:
        config = transformers.LlamaConfig(
            vocab_size=shape["vocab"],
            hidden_size=shape["hidden"],
            intermediate_size=shape["mlp"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            num_key_value_heads=shape["kv_heads"],
            max_position_embeddings=CONTEXT,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            initializer_range=0.1,
        )
    theirs = transformers.AutoModelForCausalLM.from_config(config).eval()
    return weights.build(config.to_dict(), theirs.state_dict()), theirs


def run_ours(model: LanguageModel, prompts: torch.Tensor, tokens: int) -> tuple[float, float, list[list[int]]]:
    """Seconds until every row has its first token, seconds for the others, and what was written."""
    engine = Engine(model, cache_tokens=0)
    requests = [Request(row, GenerationConfig(temperature=0, max_tokens=tokens), seed=0) for row in prompts.tolist()]
    written: dict[Request, list[int]] = {request: [] for request in requests}
    started = time.perf_counter()
    for request in requests:
        engine.submit(request)
    first = 0.0
    while not engine.idle:
        for event in engine.step():
            if hasattr(event, "token"):
                written[event.request].append(event.token)
        if not first and all(written.values()):
            first = time.perf_counter()
    return first - started, time.perf_counter() - first, list(written.values())


@torch.inference_mode()
def run_theirs(model: torch.nn.Module, prompts: torch.Tensor, tokens: int) -> tuple[float, float, list[list[int]]]:
    """The same, by `transformers.generate`: the first token by a call of its own."""
    settings = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0, "attention_mask": torch.ones_like(prompts)}
    started = time.perf_counter()
    model.generate(prompts, max_new_tokens=1, **settings)
    first = time.perf_counter()
    found = model.generate(prompts, max_new_tokens=tokens, **settings)
    whole = time.perf_counter() - first
    return first - started, max(whole - (first - started), 1e-9), found[:, prompts.size(1) :].tolist()


def bandwidth() -> float:
    """GB/s that a float32 matrix-vector product reads its matrix with; the best of ten."""
    matrix, vector = torch.ones(8192, 4096), torch.ones(4096)
    times = []
    for _ in range(10):
        started = time.perf_counter()
        matrix @ vector
        times.append(time.perf_counter() - started)
    return matrix.nbytes / min(times) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SHAPES, action="append", help="default: both of 12M")
    parser.add_argument("--batch", type=int, action="append", help="default: 1, 8 and 32")
    parser.add_argument("--prompt", type=int, default=128, help="tokens of the prompt")
    parser.add_argument("--tokens", type=int, default=32, help="tokens to write")
    parser.add_argument(
        "--rounds", type=int, default=5, help="times each contestant runs, after one that does not count"
    )
    arguments = parser.parse_args()
    keep_freed_memory()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, transformers {transformers.__version__}")
    for name in arguments.model or ["gpt2-12m", "llama-12m"]:
        contestants = prepare(name)
        for batch in arguments.batch or [1, 8, 32]:
            compare(name, contestants, batch, arguments)


def prepare(name: str) -> dict[str, tuple[Runner, torch.nn.Module]]:
    """Every mode of both, on the same weights."""
    ours, theirs = pair(name)
    contestants: dict[str, tuple[Runner, torch.nn.Module]] = {"nextword float32": (run_ours, ours)}
    for precision in ("bfloat16", "int8"):
        lower = copy.deepcopy(ours)
        quantize(lower, precision)
        contestants[f"nextword {precision}"] = (run_ours, lower)
    contestants["transformers float32"] = (run_theirs, theirs)
    contestants["transformers bfloat16"] = (run_theirs, copy.deepcopy(theirs).bfloat16())
    return contestants


def compare(
    name: str, contestants: dict[str, tuple[Runner, torch.nn.Module]], batch: int, arguments: argparse.Namespace
) -> None:
    """One table."""
    prompts = torch.randint(1, SHAPES[name]["vocab"], (batch, arguments.prompt))
    seconds: dict[str, list[tuple[float, float]]] = {label: [] for label in contestants}
    for number in range(arguments.rounds + 1):
        written = {}
        for label, (run, model) in contestants.items():
            reading, writing, written[label] = run(model, prompts, arguments.tokens)
            seconds[label] += [(reading, writing)] if number else []
        if written["nextword float32"] != written["transformers float32"]:
            raise SystemExit(f"{name}, batch {batch}: the two wrote different tokens")
    print(f"\n{name}, batch {batch}, {bandwidth():.1f} GB/s       tokens/s and ratio to transformers float32, bfloat16")
    for label, own in seconds.items():
        line = f"  {label:22s}"
        for place, what, tokens in ((0, "reading", arguments.prompt), (1, "writing", arguments.tokens - 1)):
            rate = batch * tokens / statistics.median(times[place] for times in own)
            ratios = [
                statistics.median(
                    b[place] / a[place] for a, b in zip(own, seconds[f"transformers {dtype}"], strict=True)
                )
                for dtype in ("float32", "bfloat16")
            ]
            line += f"  {what} {rate:8.0f}  {ratios[0]:.2f}x {ratios[1]:.2f}x"
        print(line, flush=True)


if __name__ == "__main__":
    main()
