"""A poem as a picture to give away: an SVG drawn by hand, Chinese in columns from right to left, English in lines.

Every character of a column has its own place, so that all programs draw the same; the font is the reader's, the first
that is there of a list. Knows no forms: whoever wants tone marks hands them over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from nextword.errors import UsageError

CJK_FONTS = (
    "'LXGW WenKai', 'Kaiti SC', STKaiti, KaiTi, 'AR PL UKai CN', 'Noto Serif CJK SC', 'Source Han Serif SC', "
    "'Songti SC', SimSun, 'Noto Sans CJK SC', serif"
)
LATIN_FONTS = "'EB Garamond', 'Iowan Old Style', 'Palatino Linotype', Palatino, 'Book Antiqua', Georgia, serif"
PAPER, INK, FAINT, RED = "#f8f4e9", "#2b2622", "#8a7f72", "#a8322a"
SIZE, PITCH, COLUMN = 46, 62, 88  # of a Chinese character, from one to the next, from column to column
LATIN, LEADING = 27, 44
MARGIN = 96
APOSTROPHE = re.compile(r"(?<=[^\W\d_])'")
BASELINE = 0.86  # of a character's height lie above its baseline, near enough in every font


class Card(NamedTuple):
    """What is on a card."""

    stanzas: tuple[tuple[str, ...], ...]
    """Lines of Chinese characters alone, or of Latin text."""
    title: str = ""
    author: str = ""
    seal: str = ""
    """One to four Chinese characters in red; "" for none."""
    marks: tuple[str, ...] = ()
    """Of each line, one letter a character: 平 (a ring), 仄 (a dot), 中 for both (half of each), or a space."""


def chinese_card(card: Card) -> str:
    """The SVG of a poem in columns. Raises UsageError for a seal of more than four characters."""
    columns: list[tuple[str, float]] = []  # text, left edge counted from the right edge of the poem
    offset = 0.0
    for stanza in card.stanzas:
        for line in stanza:
            columns.append((line, offset))
            offset += COLUMN
        offset += COLUMN / 3
    head = 1.2 * COLUMN if card.title or card.author else 0
    poem = offset - COLUMN / 3
    tall = max((len(line) for line, _ in columns), default=1) * PITCH
    heading = len(card.title) * 44 + (len(card.author) * 32 + 40 if card.author else 0)
    height = max(tall, heading) + 2 * MARGIN
    stamp = 1.0 * COLUMN if card.seal else 0
    width = head + poem + stamp + 2 * MARGIN
    right = width - MARGIN
    parts = [paper(width, height)]
    parts += [rule(right - head - at, MARGIN - 18, height - MARGIN + 18) for at in edges(columns)]
    parts.append(column(card.title, right - head / 2 + 8, MARGIN, 34, 44, weight=600))
    start = height - MARGIN - len(card.author) * 32
    parts.append(column(card.author, right - head / 2 + 8, start, 24, 32, fill=FAINT))
    for number, (line, at) in enumerate(columns):
        x = right - head - at - COLUMN / 2
        parts.append(column(line, x, MARGIN, SIZE, PITCH))
        if number < len(card.marks):
            parts += [mark(kind, x, MARGIN + i * PITCH) for i, kind in enumerate(card.marks[number])]
    if card.seal:
        parts.append(seal(card.seal, MARGIN - 6, height - MARGIN))
    return svg(width, height, card, parts, CJK_FONTS)


def latin_card(card: Card) -> str:
    """The SVG of a poem in lines; the spaces at the beginning of a line are kept."""
    lines = [line for stanza in card.stanzas for line in stanza]
    block = max((advance(line) * LATIN for line in lines), default=0)
    width = max(block, advance(card.title) * 38, 360) + 2.4 * MARGIN
    left = (width - block) / 2
    y = MARGIN + 20.0
    parts: list[str] = []
    if card.title:
        parts.append(text(card.title, width / 2, y + 12, 36, anchor="middle"))
        parts.append(ornament(width / 2, y + 56))
        y += 118
    for stanza in card.stanzas:
        for line in stanza:
            indent = (len(line) - len(line.lstrip())) * 0.35 * LATIN
            parts.append(text(line.strip(), left + indent, y + LATIN * 0.8, LATIN))
            y += LEADING
        y += LEADING * 0.6
    y -= LEADING * 0.6
    if card.author:
        parts.append(text(card.author, left + block, y + 44, 23, anchor="end", fill=FAINT, style="italic"))
        y += 50
    height = y + MARGIN
    if card.seal:
        parts.append(seal(card.seal, width - MARGIN - 30, height - 40))
        height += 10
    return svg(width, height, card, [paper(width, height), *parts], LATIN_FONTS)


def html_page(picture: str, card: Card) -> str:
    """A page with nothing but the card; needs no other file."""
    return (
        f'<!doctype html>\n<html lang="mul"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{shown(card.title or 'A poem')}</title>\n"
        "<style>body{margin:0;min-height:100vh;display:grid;place-items:center;background:#e9e2d2}\n"
        "svg{max-width:94vw;max-height:94vh;height:auto;box-shadow:0 6px 30px #0003}</style></head>\n"
        f"<body>\n{picture}</body></html>\n"
    )


def svg(width: float, height: float, card: Card, parts: Sequence[str], fonts: str) -> str:
    """The document around its parts; read aloud, it is the title and the poem."""
    spoken = "\n".join(shown(line) for stanza in card.stanzas for line in stanza)
    name = " · ".join(filter(None, (card.title, card.author))) or "A poem"
    body = "\n".join(filter(None, parts))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" font-family="{escape(fonts)}">\n'
        f"<title>{shown(name)}</title>\n<desc>{spoken}</desc>\n{body}\n</svg>\n"
    )


def paper(width: float, height: float) -> str:
    """The ground and its frame of two lines."""
    outer, inner = 26, 34
    return (
        f'<rect width="{width:g}" height="{height:g}" fill="{PAPER}"/>\n'
        f'<rect x="{outer}" y="{outer}" width="{width - 2 * outer:g}" height="{height - 2 * outer:g}" fill="none" '
        f'stroke="{RED}" stroke-width="2" opacity="0.55"/>\n'
        f'<rect x="{inner}" y="{inner}" width="{width - 2 * inner:g}" height="{height - 2 * inner:g}" fill="none" '
        f'stroke="{RED}" stroke-width="0.8" opacity="0.55"/>'
    )


def edges(columns: Sequence[tuple[str, float]]) -> list[float]:
    """Where the ruled lines of a Chinese page run: beside each column, none in the gap between stanzas."""
    return sorted({at for _, at in columns} | {columns[-1][1] + COLUMN})


def rule(x: float, top: float, bottom: float) -> str:
    """One ruled line."""
    return f'<path d="M{x:g} {top:g}V{bottom:g}" stroke="{RED}" stroke-width="0.8" opacity="0.3"/>'


def column(line: str, x: float, top: float, size: float, pitch: float, fill: str = INK, weight: int = 400) -> str:
    """Characters one below the other, centred on x."""
    return "\n".join(
        text(character, x, top + i * pitch + (pitch - size) / 2 + size * BASELINE, size, "middle", fill, weight=weight)
        for i, character in enumerate(line)
    )


def text(
    line: str,
    x: float,
    y: float,
    size: float,
    anchor: str = "start",
    fill: str = INK,
    style: str = "",
    weight: int = 400,
) -> str:
    """One run of text on its baseline."""
    extra = (f' font-style="{style}"' if style else "") + (f' font-weight="{weight}"' if weight != 400 else "")
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" fill="{fill}"{extra}>'
        f"{shown(line)}</text>"
    )


def shown(line: str) -> str:
    """As XML: no control characters, which it cannot hold, and apostrophes behind letters as printers set them."""
    return escape(APOSTROPHE.sub("’", "".join(filter(str.isprintable, line))))


def mark(kind: str, x: float, top: float) -> str:
    """The sign of a tone to the right of its character."""
    cx, cy, r = x + SIZE * 0.72, top + PITCH / 2, 4.5
    ring = f'<circle cx="{cx:g}" cy="{cy:g}" r="{r}" fill="none" stroke="{FAINT}" stroke-width="1.3"/>'
    dot = f'<circle cx="{cx:g}" cy="{cy:g}" r="{r}" fill="{FAINT}"/>'
    half = f'{ring}<path d="M{cx:g} {cy - r:g}a{r} {r} 0 0 1 0 {2 * r}z" fill="{FAINT}"/>'
    return {"平": ring, "仄": dot, "中": half}.get(kind, "")


def ornament(x: float, y: float) -> str:
    """A lozenge between two strokes."""
    return (
        f'<path d="M{x - 70:g} {y:g}H{x - 14:g}M{x + 14:g} {y:g}H{x + 70:g}" stroke="{RED}" opacity="0.6"/>'
        f'<path d="M{x:g} {y - 5:g}l5 5l-5 5l-5-5z" fill="{RED}" opacity="0.8"/>'
    )


def seal(name: str, left: float, bottom: float) -> str:
    """White characters on red, in two columns from the right where they are three or four; 印 makes three four."""
    if len(name) > 4:
        raise UsageError(f"a seal has room for four characters, not for {name!r}", hint="Shorten it, or give --seal ''")
    name = f"{name}印" if len(name) == 3 else name
    rows = 1 if len(name) == 1 else 2
    cols = -(-len(name) // rows)
    cell, pad = 27, 7
    wide, high = cols * cell + 2 * pad, rows * cell + 2 * pad
    top = bottom - high
    parts = [f'<g transform="rotate(-1.5 {left + wide / 2:g} {top + high / 2:g})">']
    parts.append(f'<rect x="{left:g}" y="{top:g}" width="{wide}" height="{high}" rx="5" fill="{RED}"/>')
    parts.append(
        f'<rect x="{left + 3:g}" y="{top + 3:g}" width="{wide - 6}" height="{high - 6}" rx="3" fill="none" '
        f'stroke="{PAPER}" stroke-width="1.1"/>'
    )
    for i, character in enumerate(name):
        x = left + wide - pad - cell * (i // rows + 0.5)
        y = top + pad + cell * (i % rows) + (cell - 24) / 2 + 24 * BASELINE
        parts.append(
            f'<g font-family="{escape(CJK_FONTS)}">{text(character, x, y, 24, "middle", PAPER, weight=600)}</g>'
        )
    return "\n".join([*parts, "</g>"])


def advance(line: str) -> float:
    """About how wide a line of Latin text is, in ems of a bookish font."""
    return sum(
        0.26
        if c in "iljtfI.,;:'’!| "
        else 0.78
        if c in "mwMW—"
        else 0.66
        if c.isupper()
        else 1
        if ord(c) > 0x2E80
        else 0.46
        for c in line
    )
