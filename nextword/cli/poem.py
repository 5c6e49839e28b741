"""`nextword poem`: write a poem in a form, judge one against its form, put it on a card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nextword.cli.inputs import read_text
from nextword.cli.options import Grouped, Json
from nextword.cli.verse import write
from nextword.errors import DataError, UsageError, nearest

HELP = "Verse: write poems in a form, check a poem against a form, put it on a card. `nextword poem RUN` is write."


class WithRun(TyperGroup):
    """A group in which what is no command is the run to write with."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `write` before it. Raises UsageError for a command misspelt, where no such run is."""
        known = (*self.commands, *ctx.help_option_names)
        near = nearest(args[0], [*self.commands]) if args and args[0] not in known else ""
        if near and not Path(args[0]).exists():
            raise UsageError(f"there is no command {args[0]!r}, nor such a run", hint=near)
        return super().parse_args(ctx, args if not args or args[0] in known else ["write", *args])


app = typer.Typer(cls=WithRun, help=HELP, no_args_is_help=True, rich_markup_mode=None)
app.command(cls=Grouped)(write)


@app.callback()
def root() -> None:
    """Verse: write poems in a form, check a poem against a form, put it on a card."""


@app.command()
def check(
    file: Annotated[str, typer.Argument(help="One poem, without its title (UTF-8); - reads stdin.")],
    form: Annotated[
        str | None, typer.Option(help="qijue, 浣溪沙, sonnet, limerick, '10:iambic abab', ...; guessed if not given.")
    ] = None,
    rhyme_book: Annotated[
        str | None, typer.Option(help="Chinese: pingshui, cilin or xinyun; by default the one of the form.")
    ] = None,
    rescues: Annotated[bool, typer.Option(help="Chinese: whether 拗救 counts as in form.")] = True,
    borrowing: Annotated[
        bool, typer.Option(help="Chinese: whether the first line may rhyme on a neighbouring class, 借韵.")
    ] = True,
    feminine: Annotated[bool, typer.Option(help="English: whether lines may end with one weak syllable more.")] = True,
    elision: Annotated[bool, typer.Option(help="English: whether heaven may be one syllable, despised three.")] = True,
    slant: Annotated[bool, typer.Option(help="English: whether love may rhyme with prove.")] = False,
    as_json: Json = False,
) -> None:
    """Say of each line of a poem what its pattern is, and of each fault its place.

    Example: nextword poem check poem.txt --form qilü --rhyme-book pingshui
    """
    from nextword.verse import check as chinese_checker
    from nextword.verse import check_english as english_checker
    from nextword.verse import chinese, forms, units

    book = chinese.rhyme_book(rhyme_book) if rhyme_book else None
    text = read_text(None if file == "-" else Path(file))
    if not text.strip():
        raise DataError(f"{file} is empty", hint="Give a poem, without its title")
    wanted = forms.find_form(form, rescues, feminine, text, rhyme_book or "") if form else None
    if wanted.language == "zh" if wanted else units.is_chinese(text):
        verdict = chinese_checker.judge(text, wanted, book, borrowing)
    else:
        if book:
            raise UsageError("English verse has no rhyme book", hint="Leave out --rhyme-book, or name a Chinese --form")
        verdict = english_checker.judge(text, wanted, elision, slant)
    if as_json:
        print(json.dumps(verdict.to_dict(), ensure_ascii=False, indent=2))
        return
    print(verdict.heading)
    for number, line in enumerate(verdict.lines, start=1):
        beats = verdict.beats[number - 1] if number <= len(verdict.beats) else ""
        print(f"{number:3}  {line}  {beats}")
        for fault in verdict.faults:
            if fault.line == number:
                place = f", place {fault.place}" if fault.place else ""
                print(f"     {fault.rule}{place}: {fault.message}")
    for note in verdict.notes:
        print(note)
    print("in form" if not verdict.faults else f"faults: {len(verdict.faults)}")


@app.command()
def card(
    file: Annotated[str, typer.Argument(help="One poem, without its title (UTF-8); - reads stdin.")],
    out: Annotated[Path, typer.Option(help="The card: .svg, .html or .png.")],
    title: Annotated[str, typer.Option(help="Its title.")] = "",
    author: Annotated[str, typer.Option(help="Its author.")] = "",
    seal: Annotated[
        str | None, typer.Option(help="One to four Chinese characters; by default the author, '' for none.")
    ] = None,
    tones: Annotated[bool, typer.Option("--tones", help="Chinese: mark level and oblique tones.")] = False,
    form: Annotated[
        str | None, typer.Option(help="By whose rhyme book and pattern tones are read; guessed if not given.")
    ] = None,
) -> None:
    """Typeset a poem as a picture: Chinese in columns with a seal, others in lines. A blank line parts stanzas.

    Example: nextword poem card poem.txt --out card.svg --title 登鹳雀楼 --author 王之涣 --tones
    """
    from nextword.verse import card_file, forms

    text = read_text(None if file == "-" else Path(file))
    drawn = card_file.poem_card(text, title, author, seal)
    if tones:
        drawn = card_file.with_tones(drawn, forms.find_form(form, answered=text) if form else None)
    card_file.save_card(drawn, out)
    print(f"Wrote {out}")
