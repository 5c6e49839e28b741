"""`nextword summarize`: a short text for a long one, and what speaks for it."""

from __future__ import annotations

import json
import re
import sys
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from nextword.cli.inputs import chosen, given_text, warn_unknown
from nextword.cli.options import Device, Json, With
from nextword.errors import UsageError


def summarize(
    run: Annotated[Path, typer.Argument(help="Folder written by `nextword train --task summarization`.")],
    text: Annotated[
        str | None, typer.Argument(help="A file, a text, or - for standard input; left out: what is piped in.")
    ] = None,
    with_: With = None,
    length: Annotated[
        str, typer.Option(help="short, medium or long, of a run trained with task.length_buckets; or 1, 2, ...")
    ] = "",
    words: Annotated[str, typer.Option(help="Its length, about: 30, or at least and at most: 10-30.")] = "",
    again: Annotated[
        bool,
        typer.Option("--again", help="Summarize the summaries of the parts of a long document, until one is left."),
    ] = False,
    sources: Annotated[
        bool, typer.Option("--sources", help="Below each sentence, the one of the text that it is nearest to.")
    ] = False,
    num_beams: Annotated[
        int | None, typer.Option(help="Hypotheses of the search; left out: as the run has it.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting of generation, such as length_penalty=2.")
    ] = None,
    as_json: Json = False,
    device: Device = "cpu",
) -> None:
    """Summarize a text. Numbers and names in the summary that the text does not have are told on stderr.

    Example: nextword summarize runs/news article.txt --words 20-40
    """
    from nextword.applied.summarizer import Summarizer
    from nextword.cli.console import counting

    settings = chosen({"num_beams": num_beams}, set_ or ())
    least_and_most = _range(words) if words else None
    summarizer = Summarizer.load(run, with_ or (), device)
    document = given_text(text, "summarize")
    warn_unknown(summarizer.generator.tokenizer.source, summarizer.shown(document).text)
    parts, done = len(summarizer.parts(document, length)), count(1)
    more = again and parts > 1  # of the summaries there is one part at least; how many there are is known once they are
    with counting("summarizing", parts + more) as advance:

        def told(part: str) -> None:
            advance("again" if more and next(done) >= parts else "")

        found = summarizer.summarize(document, length=length, words=least_and_most, again=again, told=told, **settings)
    if not found.text:
        print("Warning: the summary is empty", file=sys.stderr)
    if found.cut:
        print(f"Warning: a sentence is too long for the model; tokens not read: {found.cut:,}", file=sys.stderr)
    for name in found.unsupported:
        print(f"Warning: the text has no {name!r}", file=sys.stderr)
    if as_json:
        print(json.dumps(found.to_dict(), ensure_ascii=False, indent=2))
    elif sources:
        for statement in found.statements:
            print(statement.text)
            near = f"{statement.number} ({statement.support:.0%} of its words): {statement.source}"
            print(f"    {near if statement.support else 'no sentence of the text has any of its words'}")
    else:
        print(found.text)


def _range(words: str) -> tuple[int, int]:
    """(least, most) words. One number is about so many: a quarter more or less."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", words.strip())
    if not match:
        raise UsageError(f"--words {words!r}: expected a number or two, such as 30 or 10-30")
    first = int(match[1])
    return (first, int(match[2])) if match[2] else (first * 3 // 4, -(-first * 5 // 4))
