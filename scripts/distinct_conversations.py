"""Conversations without copies: python scripts/distinct_conversations.py OUT TRAIN.jsonl VALID.jsonl ...

Writes into folder OUT a file of the same name for each, with every conversation once: where it stands first, so that no
later file has one of an earlier. Copies are equal but for case and white space. Of DailyDialog's 11,118 training
conversations 785 are copies, and of the 1,000 for validation 105 stood before: a model that remembers
would seem to understand.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from nextword.files import write_text
from nextword.text.records import ReadConfig, Record, read_records
from nextword.text.turns import turns_of


def distinct(records: Iterable[Record], seen: set[str]) -> Iterator[Record]:
    """The conversations that are not in `seen`, which they join."""
    for record in records:
        words = "".join("".join(turn["content"].split()) + "\n" for turn in turns_of(record)).casefold()
        if words not in seen:
            seen.add(words)
            yield record


def main() -> None:
    """Read the files in order, write what is new in each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    for file in arguments.files:
        records = [*read_records([str(file)], ReadConfig(text_field=""))]
        kept = [json.dumps(record, ensure_ascii=False) + "\n" for record in distinct(records, seen)]
        write_text(arguments.out / file.name, "".join(kept))
        sys.stdout.write(f"{arguments.out / file.name}: {len(kept):,} of {len(records):,} conversations\n")


if __name__ == "__main__":
    main()
