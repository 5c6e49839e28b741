"""Sonnets of the Deep-speare corpus (Lau et al. 2018) as text in lines, to train on: an empty line between two poems.

    python scripts/sonnet_lines.py SONNETS > train.txt

SONNETS: one poem a line, `<eos>` after each verse, in lower case, words apart from their punctuation. Verses begin with
a capital again; names do not, since the corpus has lost them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def joined(row: str) -> list[str]:
    """The verses of a row, with `aim 'd`, `do n't`, `o ’ er` and `th ’ art` made words again, and `day ,` as in print.

    >>> joined("i aim 'd at th ’ sun , <eos> and did n't hit <eos>")
    ["I aim'd at th' sun,", "And didn't hit"]
    """
    row = re.sub(r"(?<=\w) ?[’'] ?(?=(?:d|s|st|er|en|ll|re|ve|m|t|ring|ry)\b)", "'", row)
    row = re.sub(r" n't\b", "n't", re.sub(r"\b(th|t) [’']", r"\1'", row))
    row = re.sub(r"\bi\b", "I", re.sub(r" ([,.;:!?)])", r"\1", row))
    verses = (verse.strip() for verse in row.split("<eos>"))
    return [verse[0].upper() + verse[1:] for verse in verses if verse]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    rows = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    sys.stdout.write("\n\n".join("\n".join(joined(row)) for row in rows) + "\n")
