"""`nextword poem RUN`: poems by a run, in a form."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nextword.cli.inputs import read_text, warn_unknown
from nextword.cli.options import DRAWING, SEARCHING, Device, Json, Temperature, TopP, option
from nextword.errors import UsageError

if TYPE_CHECKING:
    from nextword.poetry.writer import Poem, Wish, Written
    from nextword.verse.patterns import Form

ASKED, CHINESE, ENGLISH = "What is asked", "Chinese forms", "English forms"
FORCED = 2.0
"""Nats from which on a token counts as forced: to all that the form allows the model gave under a seventh."""


def write(
    run: Annotated[Path, typer.Argument(help="Folder written by nextword train.", show_default=False)],
    form: Annotated[str | None, option(ASKED, "qijue, 浣溪沙, duilian, limerick, ...; left out: of the draft.")] = None,
    theme: Annotated[str, option(ASKED, "What it is about, as a title.")] = "",
    author: Annotated[str, option(ASKED, "In whose manner; for runs of --task poetry.")] = "",
    acrostic: Annotated[str | None, option(ASKED, "藏头: the first characters, or letters, of the lines.")] = None,
    polish: Annotated[
        Path | None,
        option(
            ASKED, "A draft; what is in brackets stays, [白日]依山尽 or [Shall I] compare thee, the rest is rewritten."
        ),
    ] = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many poems, the best first.")] = 1,
    show: Annotated[
        Literal["text", "form"], typer.Option(help="form: tones, rhymes and what the form cost, line by line.")
    ] = "text",
    card: Annotated[Path | None, typer.Option(help="Typeset the best one in this file: .svg, .html or .png.")] = None,
    as_json: Json = False,
    device: Device = "cpu",
    rhyme: Annotated[
        list[str] | None, option(CHINESE, "Rhyme class, by its name or a character; repeat for a second rhyme.")
    ] = None,
    rhyme_book: Annotated[str | None, option(CHINESE, "pingshui, cilin or xinyun; left out: of the form.")] = None,
    pattern: Annotated[str, option(CHINESE, "Which of a form's patterns: 平起, 首句入韵, ...")] = "",
    begin: Annotated[str | None, option(CHINESE, "The first lines; of duilian, the line to answer.")] = None,
    word: Annotated[list[str] | None, option(CHINESE, "To stand anywhere in it. Repeatable.")] = None,
    repeats: Annotated[bool, option(CHINESE, "A character may be written twice.", "--repeats")] = False,
    rescues: Annotated[bool, option(CHINESE, "Whether 拗救 is allowed.")] = True,
    borrowing: Annotated[
        bool,
        option(CHINESE, "The first line of regulated verse may rhyme on a neighbouring class, 借韵.", "--borrowing"),
    ] = False,
    stanzas: Annotated[
        int, typer.Option(min=1, help="Of common metre, ballads and couplets, how many.", rich_help_panel=ENGLISH)
    ] = 1,
    lexicon: Annotated[
        Path | None, option(ENGLISH, "A text whose words alone are written, such as the training text.")
    ] = None,
    feminine: Annotated[bool, option(ENGLISH, "Whether lines may end with one weak syllable more.")] = True,
    elision: Annotated[bool, option(ENGLISH, "Heaven may be one syllable, despised three.", "--elision")] = False,
    slant: Annotated[bool, option(ENGLISH, "Love may rhyme with prove, soul with all.", "--slant")] = False,
    temperature: Temperature = None,
    top_p: TopP = None,
    seed: Annotated[int | None, option(DRAWING, "Same seed, same poems.")] = None,
    num_beams: Annotated[int | None, option(SEARCHING, "Beam search with so many hypotheses.")] = None,
) -> None:
    """Write poems in a form: none breaks it, and what cannot be written is refused at once, with the reason.

    Example: nextword poem runs/tang --form qijue --theme 秋思 --rhyme 东 --acrostic 春夏秋冬 -n 8
    """
    from nextword.verse.card_file import kind_of

    drafted = read_text(polish) if polish is not None else None
    if card is not None:
        kind_of(card)
    wanted = _form(form, begin, drafted, rhyme_book, rescues, feminine)
    if wanted.language == "en":
        of_chinese = {"rhyme": rhyme, "rhyme-book": rhyme_book, "pattern": pattern, "begin": begin, "word": word}
        _refuse(wanted, of_chinese | {"repeats": repeats, "no-rescues": not rescues, "borrowing": borrowing})
        wish = _english(wanted, stanzas, acrostic, drafted, lexicon, elision, slant)
    else:
        of_english = {"stanzas": stanzas != 1, "lexicon": lexicon, "no-feminine": not feminine}
        _refuse(wanted, of_english | {"elision": elision, "slant": slant})
        wish = _chinese(wanted, pattern, rhyme_book, rhyme, acrostic, begin, drafted)
        wish = replace(wish, words=tuple(word or ()), repeats=repeats, borrowing=borrowing)
    wish = replace(wish, theme=theme.strip(), author=author.strip())
    given = {"temperature": temperature, "top_p": top_p, "num_beams": num_beams, "seed": seed}
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    from nextword.cli.console import counting
    from nextword.generator import TextGenerator
    from nextword.poetry import writer

    generator = TextGenerator.load(run, device=device)
    wish = writer.in_script_of(generator.tokenizer, wish)
    warn_unknown(generator.tokenizer, wish.theme, wish.author)
    if number == 1 and show == "text" and not as_json and card is None:
        _print_as_it_comes(writer.stream_poem(generator, wish, **settings))
        return
    costs = as_json or show == "form"
    with counting("writing", number) as advance:
        poems = writer.write_poems(generator, wish, number, costs=costs, told=advance, **settings)
    if card is not None:
        _save_card(poems[0], wish, card, tones=show == "form" and wish.form.language == "zh")
    if as_json:
        print(
            json.dumps({"form": wish.form.title, "poems": [_as_dict(p) for p in poems]}, ensure_ascii=False, indent=2)
        )
        return
    print("\n\n".join(poem.text.rstrip("\n") if show == "text" else _shown(poem, wish) for poem in poems))


def _form(
    name: str | None, begin: str | None, drafted: str | None, book: str | None, rescues: bool, feminine: bool
) -> Form:
    """The form asked for, or that of the draft."""
    from nextword.poetry import given, kept
    from nextword.verse import check, check_english
    from nextword.verse.forms import find_form
    from nextword.verse.regulated import COUPLET
    from nextword.verse.units import LINE, is_chinese

    if name:
        form = find_form(name, rescues, feminine, begin or "", book or "")
        if form.name in COUPLET and (number := len(LINE.findall(begin or ""))) > 1:
            raise UsageError(f"duilian answers one line, not {number}", hint="Give the first with --begin")
        return form
    if drafted is None:
        raise UsageError("no form is named", hint="Give --form, such as qijue, wulü, 浣溪沙 or limerick")
    if is_chinese(drafted):
        return check.guess_form(given.draft(drafted)[0])
    return check_english.guess_form(kept.draft(drafted)[0])


def _english(
    form: Form,
    stanzas: int,
    acrostic: str | None,
    drafted: str | None,
    lexicon: Path | None,
    elision: bool,
    slant: bool,
) -> Wish:
    """What is asked of an English poem; as many stanzas as the acrostic and the draft need."""
    from nextword.poetry import kept
    from nextword.poetry.lexicon import Licences, words_of
    from nextword.poetry.writer import Wish
    from nextword.verse.patterns import in_stanzas

    heads = kept.acrostic(acrostic) if acrostic is not None else {}
    lines, stay = kept.draft(drafted) if drafted is not None else ([], {})
    height = len(form.patterns[0].lines)
    needed = -(-max(len(heads), len(lines)) // height) if form.stanzaic else 1
    whole = in_stanzas(form, max(stanzas, needed))
    if lines and len(lines) != len(whole.patterns[0].lines):
        height = len(whole.patterns[0].lines)
        raise UsageError(
            f"the draft is not in the shape of {form.title}", hint=f"Draft {height} lines, not {len(lines)}"
        )
    known = words_of(read_text(lexicon)) if lexicon is not None else None
    return Wish(whole, kept=kept.together(heads, stay), lexicon=known, licences=Licences(elision, slant))


def _chinese(
    form: Form,
    pattern: str,
    book_name: str | None,
    rhymes: list[str] | None,
    acrostic: str | None,
    begin: str | None,
    drafted: str | None,
) -> Wish:
    """What is asked of a Chinese poem."""
    from nextword.poetry import given
    from nextword.poetry.writer import Wish
    from nextword.verse.check import split_lines
    from nextword.verse.chinese import rhyme_book
    from nextword.verse.patterns import only

    book = rhyme_book(book_name or form.rhyme_book)
    heads = given.acrostic(acrostic) if acrostic is not None else {}
    lines, stay = given.draft(drafted) if drafted is not None else ([], {})
    if lines and [len(line) for line in lines] != form.lengths:
        shape = " ".join(map(str, form.lengths))
        raise UsageError(f"the draft is not in the shape of {form.title}", hint=f"Its lines have {shape} characters")
    first = given.beginning(split_lines(begin) if begin is not None else [])
    return Wish(
        form=only(form, pattern) if pattern else form,
        book=book,
        rhymes=tuple(book.find_rhyme(name) for name in rhymes or ()),
        given=given.together([heads, first, stay]),
    )


def _refuse(form: Form, options: Mapping[str, object]) -> None:
    """Raise UsageError for an option that was given, though it says nothing of this form."""
    if given := [f"--{name}" for name, value in options.items() if value not in (None, False, "", [])]:
        language = "an English" if form.language == "en" else "a Chinese"
        raise UsageError(f"{form.title} is {language} form, and takes no {given[0]}", hint="Leave it out")


def _print_as_it_comes(pieces: Iterable[str]) -> None:
    """A text in pieces, and a newline at its end, if it has none."""
    piece = ""
    for piece in pieces:
        print(piece, end="", flush=True)
    print(end="" if piece.endswith("\n") else "\n")


def _shown(poem: Poem, wish: Wish) -> str:
    """A poem with its tones or stresses, its rhymes and its costs."""
    verdict, costs = poem.verdict, _costs(poem)
    pattern = next(pattern for pattern in wish.form.patterns if pattern.name == verdict.pattern)
    width, feet = (max(map(len, column)) for column in (verdict.lines, verdict.beats))
    chinese = wish.form.language == "zh"
    if chinese:
        width = feet = 0  # a character is as wide as two of the spaces
    rows = [verdict.heading]
    for i, (line, beats) in enumerate(zip(verdict.lines, verdict.beats, strict=True)):
        letter = pattern.lines[i].rhyme
        rhyme = f"{letter:2}" if not chinese else "韵" if letter else "  "
        rows.append(f"{line:{width}}  {beats:{feet}}  {rhyme}  {costs[i] if costs else ''}".rstrip())
    rows += verdict.notes
    told = [f"log-probability {poem.log_prob:.2f} nats a token", f"the form cost {poem.cost:.1f} nats" if costs else ""]
    told += [f"parallelism {poem.parallelism:.2f}"] if poem.parallelism is not None else []
    return "\n".join([*rows, ", ".join(filter(None, told))])


def _save_card(poem: Poem, wish: Wish, file: Path, tones: bool) -> None:
    """Typeset a poem, of ci the stanzas apart, and say where it is."""
    from nextword.verse import card_file

    ci = wish.form.language == "zh" and not wish.form.regulated
    rows = poem.text.replace("\n", "\n\n") if ci else poem.text
    drawn = card_file.poem_card(rows, wish.theme or wish.form.title)
    card_file.save_card(card_file.with_tones(drawn, wish.form, wish.rhyme_book) if tones else drawn, file)
    print(f"Wrote {file}", file=sys.stderr)


def _costs(poem: Poem) -> list[str]:
    """Of each line, in nats, and which token cost the most, where that is more than 2; [] where costs are not known."""
    lines: list[list[Written]] = [[] for _ in poem.verdict.lines]
    for step in poem.steps:
        lines[step.line].append(step)
    told = []
    for steps in lines if poem.steps else ():
        forced = [step for step in steps if step.cost > FORCED]
        most = max(forced, key=lambda step: step.cost, default=None)
        where = f", {most.cost:.1f} at {most.text.strip() or 'the end'}" if most else ""
        told.append(f"{sum(step.cost for step in steps):5.1f} nats{where}")
    return told


def _as_dict(poem: Poem) -> dict[str, Any]:
    return {
        "text": poem.text,
        "score": poem.score,
        "log_prob": poem.log_prob,
        "cost": poem.cost,
        "parallelism": poem.parallelism,
        "seed": poem.seed,
        "steps": [asdict(step) for step in poem.steps],
        "verdict": poem.verdict.to_dict(),
    }
