"""`nextword score`: how likely is a text, token by token."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nextword.cli.inputs import read_text, warn_unknown
from nextword.cli.options import Device, Json
from nextword.errors import DataError, UsageError, counted

if TYPE_CHECKING:
    from nextword.scoring import TextScore


def score(
    run: Annotated[Path, typer.Argument(help="Folder written by nextword train.", show_default=False)],
    text: Annotated[str | None, typer.Argument(help="Text to score; - reads stdin.")] = None,
    file: Annotated[Path | None, typer.Option(help="Score the text of this file (UTF-8).")] = None,
    prompt: Annotated[str, typer.Option(help="Read before the text, and not scored.")] = "",
    include_eos: Annotated[bool, typer.Option("--include-eos", help="Score the end of the text, <eos>, too.")] = False,
    as_json: Json = False,
    html: Annotated[Path | None, typer.Option(help="Write a heat map to this file; no table is printed.")] = None,
    device: Device = "cpu",
) -> None:
    """Score a text by the chain rule: a table of its tokens, then their product, perplexity and bits per byte.

    A newline at the end of a file or of stdin is left out. With --prompt: P(text | prompt).

    Example: nextword score runs/poems "床前明月光" --html score.html
    """
    from nextword.generator import TextGenerator

    if text is not None and file is not None:
        raise UsageError(f"both a text and --file {file} are given", hint="Give one of them")
    if file is not None:
        text = read_text(file)
    elif text == "-" or (text is None and not sys.stdin.isatty()):
        text = read_text(None)
    elif text is None:
        raise UsageError(
            "no text to score", hint='Give one: nextword score RUN "some text", or --file F, or pipe it in'
        )
    generator = TextGenerator.load(run, device=device)
    warn_unknown(generator.tokenizer.source, generator.as_prompt(prompt))
    warn_unknown(generator.tokenizer, text)
    result = generator.score(text, include_eos=include_eos, prompt=prompt)
    if html is not None:
        from nextword.report.heatmap import write_heatmap

        try:
            write_heatmap(result, html)
        except OSError as error:
            raise DataError(
                f"cannot write {html}: {error.strerror}", hint="Choose another place: --html FILE"
            ) from None
    if as_json:
        print(json.dumps(result.to_dict(), ensure_ascii=False, indent=2))
    elif html is not None:
        print(html)
    else:
        print_table(result)


def print_table(result: TextScore) -> None:
    """Print the tokens of a score as a table, and below it their product and what follows from it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from nextword.cli.console import out
    from nextword.report.heatmap import figure, probability, visible

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("token")
    for heading in ("P(token | before)", "log-prob", "rank", "running sum"):
        table.add_column(heading, justify="right", no_wrap=True)
    total = 0.0
    for token in result.tokens:
        total += token.log_prob
        cells = (probability(token.log_prob), f"{token.log_prob:.4f}", f"{token.rank:,}", f"{total:.4f}")
        table.add_row(Text(visible(token.text)), *cells)
    out.print(table)
    name = "P(text | prompt)" if result.prompt else "P(text)"
    out.print(f"{name:16} {probability(result.log_prob)}  = exp({result.log_prob:.4f})")
    out.print(f"perplexity       {figure(result.perplexity)} per token, {counted(result.num_tokens, 'token')}")
    out.print(f"bits per byte    {result.bits_per_byte:.4f}, {counted(result.num_bytes, 'byte')}")
    out.print(Text(result.conditions, style="dim"))
