"""The frame of an offline page: what its head says, the styles that every page shares, its data and its script.

The page works from file://, asks nothing of the network and says so (Content-Security-Policy). Knows nothing of what
it shows.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from nextword.files import write_text


def write_page(out: Path, kind: str, *, data: Any, title: str, **parts: str) -> None:
    """Write the page whose body, style and script are KIND.html, KIND.css and KIND.js.

    `title` and `parts` are HTML for the places of those names in the body; `data` is what the script reads.
    """
    page = Template(resource("page.html")).substitute(
        title=title,
        style=resource("plot.css") + resource("page.css") + resource(f"{kind}.css"),
        body=Template(resource(f"{kind}.html")).substitute(title=title, **parts),
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),  # no text in it can end the element
        script=resource(f"{kind}.js"),
    )
    write_text(out, page)


def standalone(drawing: str, width: int, height: int) -> str:
    """A chart of `svg.plot` as an SVG file of its own, with some paper around it, readable on light and dark pages."""
    style = f"<style>{resource('plot.css')}</style>"
    size = f'width="{width + 28}" height="{height + 24}"'
    paper = f'<rect x="-14" y="-12" {size} fill="var(--paper)"/>'
    frame = f'viewBox="-14 -12 {width + 28} {height + 24}"'
    drawing = drawing.replace(f'viewBox="0 0 {width} {height}"', frame, 1)
    return drawing.replace(">", ">" + style + paper, 1) + "\n"


def resource(name: str) -> str:
    """The text of a file in this folder."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
