"""`nextword generate`: continue a prompt."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nextword.cli.inputs import chosen, newlines, read_text, warn_unknown
from nextword.cli.options import (
    CONTENT,
    DRAWING,
    ENDING,
    SEARCHING,
    Device,
    Json,
    MinP,
    Precision,
    RepetitionPenalty,
    Settings,
    Stop,
    Temperature,
    TopK,
    TopP,
    option,
)
from nextword.errors import UsageError

if TYPE_CHECKING:
    from nextword.decoding.config import GenerationConfig
    from nextword.generator import Generation, TextGenerator

SEPARATOR = "-" * 8  # between samples


def generate(
    run: Annotated[Path, typer.Argument(help="Folder written by nextword train.", show_default=False)],
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="Text to continue; - reads stdin. Without: what is piped in, else the start of a new text."
        ),
    ] = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    seed: Annotated[int | None, option(DRAWING, "Same seed, same text. Sample i has seed + i.")] = None,
    prefix: Annotated[str | None, option(CONTENT, "It begins with this text.")] = None,
    require: Annotated[list[str] | None, option(CONTENT, "It has this text in it. Repeatable.")] = None,
    ban: Annotated[list[str] | None, option(CONTENT, "It does not have this text in it. Repeatable.")] = None,
    choice: Annotated[list[str] | None, option(CONTENT, "It is one of these texts. Repeatable.")] = None,
    regex: Annotated[str | None, option(CONTENT, "All of it matches this regular expression.")] = None,
    json_schema: Annotated[Path | None, option(CONTENT, "It is JSON that the schema in this file accepts.")] = None,
    grammar: Annotated[Path | None, option(CONTENT, "It follows the grammar in this file (Lark notation).")] = None,
    num_samples: Annotated[int | None, option(SEARCHING, "How many continuations.", "--num-samples", "-n")] = None,
    best_of: Annotated[int | None, option(SEARCHING, "Draw so many, print the likeliest.")] = None,
    mbr: Annotated[int | None, option(SEARCHING, "Draw so many, print the one most like the others.")] = None,
    num_beams: Annotated[int | None, option(SEARCHING, "Beam search with so many hypotheses.")] = None,
    length_penalty: Annotated[float | None, option(SEARCHING, "Of beam search: above 0 favours longer texts.")] = None,
    speculate: Annotated[int | None, option(SEARCHING, "Guess so many tokens ahead: the same, faster.")] = None,
    draft: Annotated[Path | None, option(SEARCHING, "Run that guesses; without: earlier text does.")] = None,
    max_tokens: Annotated[int | None, option(ENDING, "Most tokens to generate.")] = None,
    stop: Stop = None,
    ignore_eos: Annotated[bool | None, option(ENDING, "Go on to --max-tokens.", "--ignore-eos")] = None,
    set_: Settings = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show how the text came about, token by token, or the tree of beams.")
    ] = False,
    trace: Annotated[Path | None, typer.Option(help="Write all that happened to this file, as JSON.")] = None,
    as_json: Json = False,
    device: Device = "cpu",
    precision: Precision = "float32",
) -> None:
    """Continue a prompt, as it is being written. What is not given comes from the run's generation_config.json.

    Example: nextword generate runs/poems "床前明月光，" --temperature 0.8 --seed 1
    """
    from nextword.config import read_json

    given = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
        "prefix": prefix,
        "required_words": require,
        "banned_words": ban,
        "choices": choice,
        "regex": regex,
        "json_schema": read_json(json_schema) if json_schema else None,
        "grammar": read_text(grammar) if grammar else None,
        "num_samples": num_samples,
        "best_of": best_of,
        "mbr": mbr,
        "num_beams": num_beams,
        "length_penalty": length_penalty,
        "speculate": speculate,
        "max_tokens": max_tokens,
        "stop": newlines(stop),
        "ignore_eos": ignore_eos,
    }
    settings = chosen(given, set_ or [])
    if explain and as_json:
        raise UsageError("--explain is for people, --json for programs", hint="Give one of them, or --trace FILE")
    if trace is not None and not trace.parent.is_dir():
        raise UsageError(f"--trace {trace}: there is no folder {trace.parent}")
    if draft is not None and not speculate:
        raise UsageError("--draft needs to know how many tokens to guess", hint="Add --speculate 4")
    from nextword.generator import TextGenerator

    if prompt == "-" or (prompt is None and not sys.stdin.isatty()):
        prompt = read_text(None)
    prompt = prompt or ""
    generator = TextGenerator.load(run, device=device, draft=draft, precision=precision)
    config = generator.settled(settings)
    prompt = generator.as_prompt(prompt)
    warn_unknown(generator.tokenizer.source, prompt)
    before = "" if generator.model.encodes else prompt  # a source is not what an answer begins with
    if not (as_json or explain or trace) and not (config.num_samples > 1 or config.best_of or config.mbr):
        _stream(generator, prompt, settings, before)
        return
    traced = bool(explain or trace)
    if traced and config.num_beams > 1:  # all that a beam search found is part of its story
        settings["num_samples"] = config.num_beams
    found = generator.generate_many(prompt, trace=traced, **settings)
    if trace is not None:
        _write_trace(trace, generator, prompt, config, found)
    if as_json:
        _print_json(prompt, found[: config.num_samples])
    elif explain:
        from nextword.cli.console import out
        from nextword.cli.explain import explain as draw

        draw(found, generator.tokenizer, out)
    else:
        _print_samples(before, found[: config.num_samples])


def _stream(generator: TextGenerator, prompt: str, settings: dict[str, Any], before: str) -> None:
    pieces = generator.stream(prompt, **settings)  # complains of wrong settings before anything is printed
    sys.stdout.write(before)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


def _print_samples(before: str, generations: list[Generation]) -> None:
    for number, generation in enumerate(generations):
        if number:
            print(SEPARATOR)
        print(before + generation.text)


def _print_json(prompt: str, generations: list[Generation]) -> None:
    from nextword.cli.documents import as_dict

    document = {"prompt": prompt, "samples": [as_dict(generation) for generation in generations]}
    print(json.dumps(document, ensure_ascii=False, indent=2))


def _write_trace(
    file: Path, generator: TextGenerator, prompt: str, config: GenerationConfig, generations: list[Generation]
) -> None:
    from nextword.cli.documents import trace_document
    from nextword.files import write_json

    write_json(file, trace_document(generator.tokenizer, prompt, config, generations))
