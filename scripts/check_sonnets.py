"""How many real sonnets pass each rule of `nextword poem check`, and which words break the metre most often.

    python scripts/check_sonnets.py SONNETS [FORM ...]

SONNETS: one poem a line, `<eos>` after each verse, words apart from their punctuation, as in the Deep-speare corpus
(Lau et al. 2018). FORM: those to try, of which each poem is judged by the one it breaks least; by default the two
sonnets. Prints a table for LOG.md.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

from sonnet_lines import joined

from nextword.verse.check_english import check
from nextword.verse.forms import find_form
from nextword.verse.spoken import guessed, spoken

RULES = ("length", "stress", "rhyme", "repeat")


def main(path: Path, names: list[str]) -> None:
    """Print the shares of lines and of poems, strict and with slant rhymes."""
    forms = [find_form(name) for name in names]
    best: Counter[str] = Counter()
    lines = broken_lines = unknown = words = 0
    line_faults: Counter[str] = Counter()
    passed: Counter[tuple[str, str]] = Counter()
    stressed: Counter[str] = Counter()
    unrhymed: Counter[str] = Counter()
    poems = [joined(row) for row in path.read_text(encoding="utf-8").splitlines()]
    for poem in poems:
        verdict = min((check(poem, form) for form in forms), key=lambda verdict: len(verdict.faults))
        best[verdict.form] += 1
        lines += len(poem)
        broken_lines += len({fault.line for fault in verdict.faults})
        for rule in RULES:
            line_faults[rule] += len({fault.line for fault in verdict.faults if fault.rule == rule})
        broken = {fault.rule for fault in verdict.faults}
        passed.update(("perfect rhymes", rule) for rule in RULES if rule not in broken)
        passed["perfect rhymes", "all"] += not broken
        slant = check(poem, find_form(verdict.form), slant=True).faults
        passed.update(("slant rhymes too", rule) for rule in RULES if rule not in {fault.rule for fault in slant})
        passed["slant rhymes too", "all"] += not slant
        stressed.update(fault.message.split(" is ")[0].lower() for fault in verdict.faults if fault.rule == "stress")
        unrhymed.update(
            re.sub(" in line.*", "", fault.message).lower() for fault in verdict.faults if fault.rule == "rhyme"
        )
        tokens = re.findall(r"[^\W\d_][\w'’]*", " ".join(poem))
        words += len(tokens)
        unknown += sum(guessed(spoken(token)[0]) for token in tokens)
    nearest = ", ".join(f"{form} {count}" for form, count in best.most_common())
    table = [
        f"{len(poems)} poems of {lines} lines, nearest to {nearest}",
        f"words guessed: {unknown / words:.1%}",
        f"lines with no fault: {1 - broken_lines / lines:.1%}",
        "| | " + " | ".join((*RULES, "all")) + " |",
        "| lines | " + " | ".join(f"{1 - line_faults[rule] / lines:.1%}" for rule in RULES) + " | |",
    ]
    for rhymes in ("perfect rhymes", "slant rhymes too"):
        shares = (f"{passed[rhymes, rule] / len(poems):.1%}" for rule in (*RULES, "all"))
        table.append(f"| poems, {rhymes} | " + " | ".join(shares) + " |")
    table.append("against the metre: " + ", ".join(f"{word} {count}" for word, count in stressed.most_common(20)))
    table.append("rhymes: " + ", ".join(f"{pair} {count}" for pair, count in unrhymed.most_common(20)))
    sys.stdout.write("\n".join(table) + "\n")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:] or ["shakespearean-sonnet", "petrarchan-sonnet"])
