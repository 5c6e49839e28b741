"""`nextword import` and `nextword export`: models from elsewhere, and ours for elsewhere, each compared on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nextword.cli.options import Json

if TYPE_CHECKING:
    from nextword.interop.convert import Crossing

FORMATS = ("hf", "gguf", "onnx", "peft")
QUANTIZATIONS: dict[str, Literal["F32", "F16", "Q8_0"]] = {"f32": "F32", "f16": "F16", "q8_0": "Q8_0"}
KEEP = "Keep the result though it is not the same as in transformers."
CHECK = "Compare with transformers, if it is installed."


def import_(
    source: Annotated[
        str,
        typer.Argument(metavar="SRC", help="A Hugging Face folder, a GGUF or llama2.c file, or ORG/NAME of the hub."),
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the run to write.")],
    tokenizer: Annotated[
        Path | None, typer.Option(help="tokenizer.json, tokenizer.model, or a folder of one, in place of its own.")
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of a LoRA or DoRA that peft wrote, to merge into the weights.")
    ] = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help=CHECK, show_default=False)] = True,
    keep: Annotated[bool, typer.Option("--keep", help=KEEP)] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is there.")] = False,
    as_json: Json = False,
) -> int:
    """Make a run of a model from elsewhere, and compare it with transformers, if that is installed.

    Example: nextword import ~/models/SmolLM2-135M runs/smollm2
    """
    import tempfile

    from nextword.interop.convert import import_model
    from nextword.interop.peft import with_adapter
    from nextword.interop.sources import read_source
    from nextword.tasks.registry import task_named

    with tempfile.TemporaryDirectory(prefix="nextword-") as scratch, _progress("weights") as progress:
        found = read_source(source, Path(scratch), tokenizer)
        foreign, name, their_model = found.foreign, found.name, None
        if adapter:
            foreign, their_model = with_adapter(foreign, adapter)
            name = f"{name} with {adapter.resolve().name}"
        crossing = import_model(
            foreign,
            out,
            source=name,
            their_model=their_model,
            their_tokenizers=found.their_tokenizers,
            check=check,
            keep=keep,
            overwrite=overwrite,
            progress=progress,
        )
    task = task_named(foreign.task["name"]) if foreign.task else None
    command = task.command if task else "chat" if foreign.chat_template else "generate"
    return _conclude(crossing, as_json, f"nextword {command} {out}")


def export(
    run: Annotated[Path, typer.Argument(help="Folder written by nextword train or nextword import.")],
    out: Annotated[Path, typer.Argument(help="Folder to write, or file (gguf).")],
    format: Annotated[
        str, typer.Option(help="hf: Hugging Face; gguf: llama.cpp; onnx: onnxruntime; peft: the adapters alone.")
    ] = "hf",
    quantization: Annotated[str, typer.Option(help="Of GGUF: f32, f16 or q8_0.")] = "f16",
    licence: Annotated[str, typer.Option(help="For the model card, such as apache-2.0.")] = "",
    check: Annotated[bool, typer.Option("--check/--no-check", help=CHECK, show_default=False)] = True,
    keep: Annotated[bool, typer.Option("--keep", help=KEEP)] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is there.")] = False,
    as_json: Json = False,
) -> int:
    """Write a run for other programs: transformers, llama.cpp, onnxruntime or peft.

    Example: nextword export runs/poems poems-hf --licence cc0-1.0
    """
    from nextword.errors import UsageError, did_you_mean

    if format not in FORMATS:
        raise UsageError(f"--format {format!r} is unknown. {did_you_mean(format, FORMATS)}")
    if quantization not in QUANTIZATIONS:
        raise UsageError(f"--quantization {quantization!r} is unknown. {did_you_mean(quantization, QUANTIZATIONS)}")
    if format == "hf":
        from nextword.interop.convert import export_huggingface

        with _progress("weights") as progress:
            crossing = export_huggingface(
                run, out, licence=licence, check=check, keep=keep, overwrite=overwrite, progress=progress
            )
        return _conclude(crossing, as_json, "")
    if format == "peft":
        from nextword.interop.peft_export import export_peft

        crossing = export_peft(run, out, check=check, keep=keep, overwrite=overwrite)
        return _conclude(crossing, as_json, "")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists already", hint="Choose another name, or replace it with --overwrite")
    if format == "gguf":
        from nextword.interop.gguf.export import available, export_gguf

        file = export_gguf(run, out, QUANTIZATIONS[quantization], check=check, keep=keep)
        difference = file.proof and file.proof.difference
        found = {"out": str(out), "format": format, "parameters": file.parameters, "difference": difference}
        why = "--no-check" if available() else 'it is not installed (pip install "nextword[llamacpp]")'
        proof = f"the same in llama.cpp: {file.proof}" if file.proof else f"not compared with llama.cpp: {why}"
        if file.proof and not file.proof.holds:
            proof = f"kept, though it is not the same in llama.cpp: {file.proof}"
        print(json.dumps(found) if as_json else f"{out}: {file.parameters:,} parameters, {quantization}\n{proof}")
    else:
        from nextword.interop.onnx import export_onnx

        made = export_onnx(run, out)
        found = {"out": str(out), "format": format, "parameters": made.parameters, "difference": made.difference}
        print(json.dumps(found) if as_json else f"{out}: {made.parameters:,} parameters, float32\n{made}")
    return 0


@contextmanager
def _progress(stage: str) -> Iterator[Callable[[int, int], None]]:
    from nextword.cli.console import progress_bars

    with progress_bars() as advance:

        def tell(count: int, total: int) -> None:
            advance(stage, count, total)

        yield tell


def _conclude(crossing: Crossing, as_json: bool, next_step: str) -> int:
    """Say what came of it, and return the exit code."""
    from nextword.cli.console import err
    from nextword.cli.console import out as console

    parity = crossing.parity
    if as_json:
        document: dict[str, Any] = {
            "out": str(crossing.folder),
            "family": crossing.family,
            "parameters": crossing.parameters,
            "dtype": crossing.dtype,
            "difference": parity and parity.difference,
            "same": parity is not None and crossing.failure is None,
        }
        print(json.dumps(document, ensure_ascii=False, indent=2))
    for key in crossing.ignored:
        err.print(f"Warning: {key} of config.json is not known here, and was ignored", markup=False)
    if crossing.failure is not None:
        err.print(f"Error: {crossing.failure.message}. Kept all the same: --keep", markup=False)
        return 1
    if as_json:
        return 0
    console.print(
        f"{crossing.folder}: {crossing.family}, {crossing.parameters:,} parameters, {crossing.dtype}", markup=False
    )
    console.print(
        "not compared with transformers: " + _why() if parity is None else f"the same as in transformers: {parity}",
        markup=False,
    )
    if next_step:
        console.print(f"try it:      {next_step}", markup=False)
    return 0


def _why() -> str:
    from nextword.interop.parity import available

    return "--no-check" if available() else 'it is not installed (pip install "nextword[hf]")'
