"""Which readings of Chinese characters poets hardly use: `nextword/verse/data/rare.json.gz`.

    python scripts/rare_readings.py TANG_JSONL

TANG_JSONL: one poem a line with "lines" and "form". Of the poems in form, those places count at which every way to
keep the form asks for one tone; a character that stands in a tone in less than RARELY of at least ENOUGH such places is
hardly read in it. The tables of `scripts/build_verse.py` are to be there already; the table of before has no say.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

from build_verse import write

from nextword.verse.check import against, misfits
from nextword.verse.chinese import RhymeBook, rhyme_book
from nextword.verse.forms import find_form
from nextword.verse.patterns import Form

RARELY, ENOUGH = 0.035, 20


def main(tang: Path) -> None:
    """Write the table; report on standard error how many characters are in it."""
    book = rhyme_book("pingshui")
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for line in tang.read_text(encoding="utf-8").splitlines():
        poem = json.loads(line)
        for character, tone in decided(poem["lines"], find_form(poem["form"]), book):
            seen[character][tone] += 1
    rare = {
        tone: "".join(sorted(c for c, n in seen.items() if n.total() >= ENOUGH and n[tone] < RARELY * n.total()))
        for tone in "平仄"
    }
    folder = Path(__file__).resolve().parent.parent / "nextword" / "verse" / "data"
    write(folder / "rare.json.gz", json.dumps(rare, ensure_ascii=False))
    sys.stderr.write(f"{len(rare['平'])} hardly level, {len(rare['仄'])} hardly oblique\n")


def decided(lines: list[str], form: Form, book: RhymeBook) -> list[tuple[str, str]]:
    """The characters that can be level and oblique, with the tone that each must have; [] for a poem out of form."""
    kept = [pattern for pattern in form.patterns if not against(lines, pattern, book, borrowing=True)[1]]
    found = []
    for i, line in enumerate(lines):
        ways = {beats for pattern in kept for beats in pattern.lines[i].beats if not misfits(line, beats, book)}
        for place, character in enumerate(line):
            tones = {beats[place] for beats in ways}
            both = len({reading.tone == "平" for reading in book.readings(character)}) == 2
            if both and len(tones) == 1 and tones != {"中"}:
                found.append((character, tones.pop()))
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
