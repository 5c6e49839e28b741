"""How many real poems pass each rule of `nextword poem check`: regulated verse by the Pingshui rhyme book.

    python scripts/check_tang.py TANG_JSONL

TANG_JSONL: one poem a line with form (wujue, qijue, wulv, qilv), lines, and tones as its source records them:
平, 仄, and ○ for a character with both. Prints a table for LOG.md.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

from nextword.verse.check import check, level
from nextword.verse.chinese import rhyme_book
from nextword.verse.forms import find_form

RULES = ("length", "tone", "rhyme", "对", "粘", "孤平", "三平尾")


def main(path: Path) -> None:
    """Print the shares per form, and how often our tones are those recorded."""
    poems: Counter[str] = Counter()
    passed: Counter[tuple[str, str]] = Counter()
    tones: Counter[str] = Counter()
    book = rhyme_book("pingshui")
    for row in path.read_text(encoding="utf-8").splitlines():
        poem = json.loads(row)
        form = poem["form"]
        poems[form] += 1
        broken = {fault.rule for fault in check(poem["lines"], find_form(form)).faults}
        passed.update((form, rule) for rule in RULES if rule not in broken)
        passed[form, "all"] += not broken
        passed[form, "all, none borrowed"] += not check(poem["lines"], find_form(form), borrowing=False).faults
        passed[form, "all, no rescues"] += not check(poem["lines"], find_form(form, rescues=False)).faults
        recorded = re.sub("[，。]", "", poem["tones"])
        for character, tone in zip("".join(poem["lines"]), recorded, strict=False):
            ours = level(character, book)
            if not book.readings(character):
                tones["not in our book"] += 1
            elif ours is None or tone not in "平仄":
                tones["both, here or there"] += 1
            else:
                tones["same" if ours == (tone == "平") else "different"] += 1
    columns = (*RULES, "all", "all, none borrowed", "all, no rescues")
    table = [f"| | poems | {' | '.join(columns)} |"]
    for form, count in poems.items():
        table.append(f"| {form} | {count} | {' | '.join(f'{passed[form, rule] / count:.1%}' for rule in columns)} |")
    table.append(", ".join(f"{name}: {count / tones.total():.2%}" for name, count in tones.most_common()))
    sys.stdout.write("\n".join(table) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
