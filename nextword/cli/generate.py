"""`nextword generate`: continue a prompt."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nextword.cli.inputs import read_text, warn_unknown

if TYPE_CHECKING:
    from nextword.generator import TextGenerator

SEPARATOR = "-" * 8  # between samples


def generate(
    run: Annotated[Path, typer.Argument(help="Folder written by nextword train.", show_default=False)],
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="Text to continue; - reads stdin. Without: what is piped in, else the start of a new text."
        ),
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Below 1 safer, above 1 wilder, 0 = greedy.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw from the k likeliest tokens; 0 = off.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw from the likeliest that make up this probability.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Draw from tokens this fraction as likely as the best.")] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1: what was said becomes less likely.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same text. Sample i has seed + i.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens to generate.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help=r"End before this text; \n is a newline. May be given several times.")
    ] = None,
    num_samples: Annotated[int | None, typer.Option("--num-samples", "-n", help="How many continuations.")] = None,
    ignore_eos: Annotated[bool | None, typer.Option("--ignore-eos", help="Go on to --max-tokens.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, mps.")] = "cpu",
) -> None:
    """Continue a prompt, as it is being written. What is not given comes from the run's generation_config.json.

    Example: nextword generate runs/poems "床前明月光，" --temperature 0.8 --seed 1
    """
    from nextword.generator import TextGenerator

    given = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
        "max_tokens": max_tokens,
        "stop": [s.replace("\\n", "\n") for s in stop] if stop else None,
        "num_samples": num_samples,
        "ignore_eos": ignore_eos,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    if prompt == "-" or (prompt is None and not sys.stdin.isatty()):
        prompt = read_text(None)
    generator = TextGenerator.load(run, device=device)
    warn_unknown(generator.tokenizer, prompt or "")
    if as_json:
        _print_json(generator, prompt or "", settings)
    elif settings.get("num_samples", generator.config.num_samples) == 1:
        _stream(generator, prompt or "", settings)
    else:
        _print_samples(generator, prompt or "", settings)


def _stream(generator: TextGenerator, prompt: str, settings: dict[str, Any]) -> None:
    pieces = generator.stream(prompt, **settings)  # complains of wrong settings before anything is printed
    sys.stdout.write(prompt)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


def _print_samples(generator: TextGenerator, prompt: str, settings: dict[str, Any]) -> None:
    for number, generation in enumerate(generator.generate_many(prompt, **settings)):
        if number:
            print(SEPARATOR)
        print(prompt + generation.text)


def _print_json(generator: TextGenerator, prompt: str, settings: dict[str, Any]) -> None:
    samples = [asdict(generation) for generation in generator.generate_many(prompt, **settings)]
    for sample in samples:
        del sample["prompt"]
    print(json.dumps({"prompt": prompt, "samples": samples}, ensure_ascii=False, indent=2))
