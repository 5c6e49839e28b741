"""Poems onto cards: from text to what is drawn, and into a file of the kind that its name says."""

from __future__ import annotations

import re
from pathlib import Path

from nextword.errors import DataError, MissingExtra, NextwordError, UsageError
from nextword.files import replacing, write_text
from nextword.verse.card import CJK_FONTS, Card, chinese_card, html_page, latin_card
from nextword.verse.check import check, guess_form, split_lines, tones
from nextword.verse.chinese import RhymeBook, rhyme_book
from nextword.verse.patterns import Form
from nextword.verse.units import HAN, is_chinese


def poem_card(text: str, title: str = "", author: str = "", seal: str | None = None) -> Card:
    """What goes on the card of a poem; a blank line parts its stanzas.

    `seal`: None for the author, where the name is Chinese and short enough. Raises DataError for a text of no letters.
    """
    stanzas = [stanza for stanza in re.split(r"\n\s*\n", text) if stanza.strip()]
    if is_chinese(text):
        lines = tuple(tuple(split_lines(stanza)) for stanza in stanzas if is_chinese(stanza))
    else:
        lines = tuple(tuple(line.rstrip() for line in stanza.splitlines() if line.strip()) for stanza in stanzas)
    if not lines:
        raise DataError("there is no poem in this text", hint="Give its lines, a blank line between stanzas")
    own = author if 1 <= len(author) <= 4 and len(HAN.findall(author)) == len(author) else ""
    return Card(lines, title, author, own if seal is None else seal)


def with_tones(card: Card, form: Form | None = None, book: RhymeBook | None = None) -> Card:
    """The card with the sign of its tone at each character: by a rhyme book, that of the form for None, and of several
    readings that one which fits; the form is guessed for None. Raises UsageError for a poem that is not Chinese."""
    lines = [line for stanza in card.stanzas for line in stanza]
    if not is_chinese("".join(lines)):
        raise UsageError("tone marks are for Chinese poems", hint="Leave out --tones")
    form = form or guess_form(lines)
    book = book or rhyme_book(form.rhyme_book)
    beats = check(lines, form, book).beats
    return card._replace(marks=tuple(tones(line, kept, book) for line, kept in zip(lines, beats, strict=False)))


def picture(card: Card) -> str:
    """The SVG: in columns if there is Chinese in the poem, else in lines."""
    return chinese_card(card) if is_chinese("".join(map("".join, card.stanzas))) else latin_card(card)


def kind_of(path: Path) -> str:
    """svg, html or png, by the ending of its name. Raises UsageError for another."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("svg", "html", "htm", "png"):
        raise UsageError(f"{path.name!r} is no kind of card", hint="Name it .svg, .html or .png")
    return "html" if kind == "htm" else kind


def save_card(card: Card, path: Path) -> None:
    """Write the card as .svg, .html or .png. Raises UsageError for another ending, and for PNG MissingExtra without its
    library and NextwordError without a font."""
    kind = kind_of(path)
    drawn = picture(card)
    if kind == "png":
        image = png(drawn, card)
        with replacing(path) as unfinished:
            unfinished.write_bytes(image)
    else:
        write_text(path, drawn if kind == "svg" else html_page(drawn, card))


def png(drawn: str, card: Card) -> bytes:
    """The picture in pixels, two to a unit."""
    try:
        import resvg_py
    except ImportError:
        raise MissingExtra("resvg-py", "card", "writing a card as PNG") from None
    rarest = max("".join(map("".join, card.stanzas)) + card.title + card.author + card.seal)
    sample = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40"><text y="30" font-family="{}">{}</text></svg>'
    )
    drawn_one, drawn_none = (
        resvg_py.svg_to_bytes(svg_string=sample.format(CJK_FONTS, character)) for character in (rarest, "")
    )
    if drawn_one == drawn_none:
        raise NextwordError(
            f"no font on this computer has {rarest}",
            hint="Install one, Noto Serif CJK for Chinese, or write .svg or .html",
        )
    return bytes(resvg_py.svg_to_bytes(svg_string=drawn, zoom=2))
