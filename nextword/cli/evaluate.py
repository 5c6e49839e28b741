"""`nextword evaluate`: what a run makes of a text it has not seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder written by `nextword train`.")],
    data: Annotated[list[str], typer.Argument(help="Text files, folders or globs, as for `nextword train`.")],
    documents: Annotated[str, typer.Option(help="block, line or file; left out: as in training.")] = "",
    text_field: Annotated[str, typer.Option(help="Column that holds the text; left out: as in training.")] = "",
    prompt_field: Annotated[str, typer.Option(help="Column of the prompt; left out: as in training.")] = "",
    target_field: Annotated[str, typer.Option(help="Column of the target; left out: as in training.")] = "",
    encoding: Annotated[str, typer.Option(help="Encoding of text files; left out: as in training.")] = "",
    errors: Annotated[str, typer.Option(help="Bytes that are no valid text: strict or replace.")] = "strict",
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Perplexity and bits per byte of a text: every token predicted once, each document's end counted.

    Of a run trained on prompts and targets: of the targets, given their prompts.

    Example: nextword evaluate runs/ptb ptb/test.txt
    """
    import tempfile

    from nextword.checkpoint import load_run
    from nextword.cli.console import out as console
    from nextword.cli.console import progress_bars
    from nextword.config import parse
    from nextword.data.prepare import SplitConfig, is_prepared, prepare
    from nextword.errors import UsageError
    from nextword.text.records import ReadConfig
    from nextword.training.evaluation import evaluate as evaluate_files

    for source in data:
        if is_prepared(source):
            raise UsageError(f"{source} is a prepared folder, expected text", hint="Name the files it was made from")
    loaded = load_run(run, device)
    given = {
        "documents": documents, "text_field": text_field, "prompt_field": prompt_field, "target_field": target_field,
        "encoding": encoding, "errors": errors,
    }  # fmt: skip
    plain = {"prompt_field": "", "target_field": ""} if text_field else {}
    settings = loaded.config.get("data", {}) | plain | {key: value for key, value in given.items() if value}
    read = parse(ReadConfig, settings, "data")
    with tempfile.TemporaryDirectory(prefix="nextword-") as folder, progress_bars() as progress:
        splits = prepare(
            data,
            Path(folder) / "data",
            loaded.tokenizer,
            read=read,
            split=SplitConfig(valid=0.0),
            progress=progress,
        )
        files = splits["train"]
        # One row reads a carried state from end to end; windows do not depend on how many are read at once.
        result = evaluate_files(
            loaded.model,
            files,
            1 if loaded.model.max_seq_len is None else 16,
            apart=loaded.config.get("corpus", {}).get("apart") or None,
        )
    figures = result.to_dict() | {"num_documents": files.counts.examples, "unknown": files.counts.unknown_tokens}
    if as_json:
        print(json.dumps(figures, ensure_ascii=False, indent=2))
        return
    console.print(
        f"perplexity {result.perplexity:.2f} per token, {result.bits_per_byte:.4f} bits per byte "
        f"({result.loss:.4f} nats per token)"
    )
    console.print(
        f"{result.tokens:,} tokens, {result.bytes:,} bytes, {files.counts.examples:,} documents; each document's "
        f"closing boundary token counts; {result.how}"
    )
    if files.counts.unknown_tokens:
        console.print(f"{files.counts.unknown_tokens:,} tokens are unknown to the tokenizer and scored as <unk>")
