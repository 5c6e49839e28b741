"""LoRA beside `transformers` + `peft`, on a model of SmolLM2-135M's shape: tokens/s, and the peak of memory.

    python benchmarks/finetune.py                       # base weights in float32, bfloat16 and int8, beside peft's two
    python benchmarks/finetune.py --rounds 1 --steps 3  # a look

Whole steps on the very same batches: forward, backward, clipping, AdamW over adapters of rank 8 on all linear layers of
the blocks. A batch has four examples or more of 128 to 256 tokens, padded to the longest, of which the last eighth
carries loss (prompts and targets of SAMSum are about so). nextword's is the trainer's own step; peft's is the usual
loop, in its best case: fused AdamW, sdpa without a mask (rows are padded on the right, and causal).

Each way runs in a process of its own, because the peak of memory is a process's, with all that the libraries take to be
there at all. They take turns, round after round; printed are medians, and the ratios to the fastest of peft's ways.
Padding is not counted. The weights are random: they make no difference to either.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as the command line does

VOCAB, LAYERS, WIDTH, HEADS, KV_HEADS, INNER, CONTEXT = 49152, 30, 576, 9, 3, 1536, 2048
RANK, ALPHA, ROWS, LONGEST, EXAMPLES = 8, 16.0, 4, 256, 64
OURS, PEFT = ("float32", "bfloat16", "int8"), ("float32", "bfloat16")


def examples() -> list[tuple[list[int], list[int]]]:
    """(prompt, target) ids, always the same."""
    rng = random.Random(0)
    made = []
    for _ in range(EXAMPLES):
        length = rng.randint(LONGEST // 2, LONGEST - 1)
        ids = [rng.randrange(1, VOCAB) for _ in range(length)]
        made.append((ids[: length * 7 // 8], ids[length * 7 // 8 :]))
    return made


def token_files(folder: Path) -> Any:
    """The examples as nextword has them."""
    from nextword.data.token_files import TokenFiles
    from nextword.data.token_writer import TokenWriter

    class Vocabulary:
        kind, vocab_size, eos_id, unk_id = "numbers", VOCAB, 0, None

        def fingerprint(self) -> str:
            return "numbers"

    writer = TokenWriter(folder, Vocabulary())
    for prompt, target in examples():
        writer.prompt(prompt)
        writer.target(target, 0)
        writer.end()
    writer.finish()
    return TokenFiles.open(folder)


def ours(base: str, folder: Path) -> tuple[Callable[[], int], int]:
    """The trainer's step, which returns the tokens it read, and the number of trained weights."""
    import torch

    from nextword.cli import keep_freed_memory
    from nextword.data.examples import ExampleBatches
    from nextword.models import build_model, model_config
    from nextword.training.adapting import adapt
    from nextword.training.config import TrainConfig
    from nextword.training.freezing import num_trainable
    from nextword.training.trainer import Trainer

    keep_freed_memory()
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCAB, "num_layers": LAYERS, "hidden_size": WIDTH, "num_heads": HEADS}
    sizes |= {"num_kv_heads": KV_HEADS, "mlp_size": INNER, "max_seq_len": CONTEXT}
    model = build_model(model_config({"type": "transformer"} | sizes))
    config = TrainConfig(
        steps=10**6,
        rows="examples",
        batch_tokens=ROWS * LONGEST,
        learning_rate=1e-4,
        schedule="constant",
        precision="bfloat16",
        compile="never",
        adapter={"rank": RANK, "alpha": ALPHA, "base": base},  # type: ignore[arg-type]
    )
    adapt(model, config.adapter)
    files = token_files(folder)
    trainer = Trainer(model, files, None, config, folder)
    model.train()
    read = ExampleBatches(files, ROWS * LONGEST, CONTEXT)  # what the trainer takes, once more

    def step() -> int:
        trainer._step()
        return _tokens(next(read).inputs)

    return step, num_trainable(model)


def _tokens(inputs: Any) -> int:
    """Those of a batch that are no padding: <eos>, which is 0, begins a row and fills it up."""
    return int((inputs != 0).sum()) + len(inputs)


def theirs(dtype: str, folder: Path) -> tuple[Callable[[], int], int]:
    """The same by `transformers` and `peft`."""
    import peft
    import torch
    import torch.nn.functional as F
    import transformers

    from nextword.data.examples import ExampleBatches

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
    )
    model = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="sdpa", dtype=getattr(torch, dtype)
    )
    lora = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, lora).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    batches = ExampleBatches(token_files(folder), ROWS * LONGEST, CONTEXT)

    def step() -> int:
        batch = next(batches)
        logits = model(input_ids=batch.inputs, use_cache=False).logits
        # As the library's own loss: all logits, in float32.
        loss = F.cross_entropy(logits.float().flatten(0, 1), batch.targets.flatten(), ignore_index=-100)
        loss.backward()
        loss.item()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return _tokens(batch.inputs)

    return step, sum(p.numel() for p in parameters)


def run_one(way: str, steps: int) -> dict[str, Any]:
    """One way, in this process."""
    side, kind = way.split("-")
    with tempfile.TemporaryDirectory() as folder:
        step, trained = (ours if side == "nextword" else theirs)(kind, Path(folder))
        step()  # the first takes memory and plans products
        rates = []
        for _ in range(steps):
            began = time.perf_counter()
            tokens = step()
            rates.append(tokens / (time.perf_counter() - began))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"rate": statistics.median(rates), "peak": peak, "trained": trained}


def main() -> None:
    """Run all ways in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--way", help="one of them, in this process; printed as JSON")
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(run_one(arguments.way, arguments.steps)))
        return
    ways = [*(f"peft-{dtype}" for dtype in PEFT), *(f"nextword-{base}" for base in OURS)]
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for number in range(arguments.rounds):
        for way in ways:
            command = [sys.executable, __file__, "--way", way, "--steps", str(arguments.steps)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
            rate, peak = found[way][-1]["rate"], found[way][-1]["peak"] / 2**20
            print(f"round {number + 1}: {way:18} {rate:7.1f} tokens/s {peak:7.0f} MiB", file=sys.stderr)
    best = max((way for way in ways if way.startswith("peft")), key=lambda way: median(found[way], "rate"))
    print(f"beside {best}, the fastest of peft's ways on this machine; {found[best][0]['trained']:,} weights trained")
    print(f"{'':18} {'tokens/s':>9} {'peak MiB':>9} {'speed':>7} {'memory':>7}")
    for way, runs in found.items():
        speed = statistics.median(a["rate"] / b["rate"] for a, b in zip(runs, found[best], strict=True))
        memory = median(runs, "peak") / median(found[best], "peak")
        print(f"{way:18} {median(runs, 'rate'):9.1f} {median(runs, 'peak') / 2**20:9.0f} {speed:6.2f}x {memory:6.2f}x")


def median(runs: list[dict[str, Any]], key: str) -> float:
    """Of one figure over the rounds."""
    return statistics.median(run[key] for run in runs)


if __name__ == "__main__":
    main()
