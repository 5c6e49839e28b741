"""Draw the output of `nextword demo` as a picture of a terminal, for the README.

    FORCE_COLOR=1 nextword demo > recorded.txt 2>/dev/null
    python scripts/picture.py recorded.txt docs/demo.svg

The picture shows what was recorded, down to the section "Next". It names no font from the network, and gives every
run of characters its exact length, so that columns stand straight in whatever font the reader has.
"""

from __future__ import annotations

import html
import io
import re
import sys
from itertools import groupby
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

WIDTH = 80  # what rich takes where there is no terminal, so the recording's rules are as long
CELL = 12.2  # of a character, in pixels: rich's 20 x 0.61

TEMPLATE = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px ui-monospace, SFMono-Regular, Menlo, Consolas,
  "DejaVu Sans Mono", "Noto Sans Mono CJK SC", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", monospace; }}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""

# What export_svg makes of a run of one style. It counts characters where it should count cells.
RUN = re.compile(r'<text class="([^"]+)" x="([^"]+)" y="([^"]+)" textLength="[^"]+" clip-path="([^"]+)">([^<]*)</text>')


def draw(recorded: str) -> str:
    """An SVG of terminal output with ANSI colours; at least one line, whatever follows "Next" left out."""
    lines = ["\x1b[1m$ nextword demo\x1b[0m", *recorded.rstrip().splitlines()]
    end = next((n for n, line in enumerate(lines) if Text.from_ansi(line).plain.startswith("Next ─")), len(lines))
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines[:end]:
        console.print(Text.from_ansi(line), highlight=False)
    console.print()  # export_svg clips the last line away
    svg = console.export_svg(title="nextword demo", code_format=TEMPLATE, unique_id="demo")
    return RUN.sub(_runs_of_one_width, svg)


def _runs_of_one_width(found: re.Match[str]) -> str:
    """The same text in runs of narrow and of wide characters, each as long as its cells."""
    style, start, y, clip, content = found.groups()
    x = float(start)
    parts = []
    for _, characters in groupby(html.unescape(content), lambda character: cell_len(character) == 2):
        text = "".join(characters)
        length = CELL * cell_len(text)
        shown = html.escape(text, quote=False).replace("\xa0", "&#160;")
        parts.append(
            f'<text class="{style}" x="{x:g}" y="{y}" textLength="{length:g}" clip-path="{clip}">{shown}</text>\n'
        )
        x += length
    return "".join(parts)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python scripts/picture.py RECORDED.txt PICTURE.svg")
    source, target = map(Path, sys.argv[1:])
    target.write_text(draw(source.read_text(encoding="utf-8")), encoding="utf-8")
