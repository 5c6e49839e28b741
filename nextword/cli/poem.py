"""`nextword poem check`: judge a poem against its form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nextword.cli.inputs import read_text

app = typer.Typer(help="Verse: check a poem against a form.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def root() -> None:
    """Verse: check a poem against a form."""


@app.command()
def check(
    file: Annotated[str, typer.Argument(help="One poem in Chinese, without its title (UTF-8); - reads stdin.")],
    form: Annotated[str | None, typer.Option(help="qijue, 七律, 浣溪沙, ...; guessed if not given.")] = None,
    rhyme_book: Annotated[
        str | None, typer.Option(help="pingshui, cilin or xinyun; by default the one of the form.")
    ] = None,
    rescues: Annotated[bool, typer.Option(help="Whether 拗救 counts as in form.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Say of each line of a poem what its pattern is, and of each fault its place.

    Example: nextword poem check poem.txt --form qilü --rhyme-book pingshui
    """
    from nextword.verse import check as checker
    from nextword.verse import chinese, forms

    book = chinese.rhyme_book(rhyme_book) if rhyme_book else None
    wanted = forms.find_form(form, rescues) if form else None
    lines = checker.split_lines(read_text(None if file == "-" else Path(file)))
    wanted = wanted or checker.guess_form(lines, book)
    verdict = checker.check(lines, wanted, book)
    if as_json:
        print(json.dumps(verdict.to_dict(), ensure_ascii=False, indent=2))
        return
    print(f"{wanted.title}  {verdict.pattern}  ({chinese.BOOKS[verdict.rhyme_book]})")
    for number, line in enumerate(lines, start=1):
        beats = verdict.beats[number - 1] if number <= len(verdict.beats) else ""
        print(f"{number:3}  {line}  {beats}")
        for fault in verdict.faults:
            if fault.line == number:
                print(f"     {fault.rule}, place {fault.place}: {fault.message}")
    for note in verdict.notes:
        print(note)
    print("in form" if not verdict.faults else f"faults: {len(verdict.faults)}")
