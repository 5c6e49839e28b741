"""`nextword data pairs`: clean a corpus for translation."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from nextword.cli.options import Columns, Json

if TYPE_CHECKING:
    from nextword.text.records import Record

SHOWN = 2
"""Pairs shown for each reason."""
WIDTH = 60


def pairs(
    data: Annotated[list[str], typer.Argument(help="A table of pairs, or two aligned files.")],
    out: Annotated[Path, typer.Option(help="File to write: .tsv or .jsonl, also .gz or .zst.")],
    prompt_field: Annotated[str, typer.Option(help="Column of the source; left out: by its name.")] = "",
    target_field: Annotated[str, typer.Option(help="Column of the target; left out: by its name.")] = "",
    columns: Columns = "",
    max_ratio: Annotated[float, typer.Option(help="Words of the longer side for one of the shorter.")] = 3.0,
    max_words: Annotated[int, typer.Option(help="Most words of a side.")] = 200,
    source_script: Annotated[str, typer.Option(help="Script of the sources, such as Latin; left out: of most.")] = "",
    target_script: Annotated[str, typer.Option(help="Script of the targets, such as Han; left out: of most.")] = "",
    duplicates: Annotated[bool, typer.Option(help="Keep pairs that were there before.")] = False,
    as_json: Json = False,
) -> None:
    """Take out pairs that are no translations, and say how many for which reason.

    Example: nextword data pairs train.en train.de --out clean.tsv
    """
    from nextword.cli.data import check_out, replacing_text
    from nextword.config import parse
    from nextword.errors import DataError, UsageError
    from nextword.tasks.base import records_of
    from nextword.tasks.filters import PairFilter, reasons
    from nextword.tasks.setup import with_columns
    from nextword.tasks.translation import TRANSLATION
    from nextword.text.scripts import SCRIPTS
    from nextword.text.sources import file_format

    check_out(out, data)
    kind = file_format(out)[0]
    if kind not in ("tsv", "jsonl"):
        raise UsageError(f"--out {out}: unknown kind of file", "Known: .tsv .jsonl, also with .gz or .zst")
    for script in filter(None, (source_script, target_script)):
        if script not in SCRIPTS:
            raise UsageError(f"{script!r} is no script that is known", f"Known: {', '.join(SCRIPTS)}")
    config = parse(
        PairFilter,
        {
            "max_ratio": max_ratio, "max_words": max_words, "source_script": source_script,
            "target_script": target_script, "duplicates": duplicates,
        },
    )  # fmt: skip
    given = {"prompt_field": prompt_field, "target_field": target_field, "columns": columns}
    read = with_columns(TRANSLATION, {key: value for key, value in given.items() if value}, data)
    counts: Counter[str] = Counter()
    examples: dict[str, list[Record]] = {}
    records = records_of(TRANSLATION, data, read)
    cut = ((record, example) for record in records for example in TRANSLATION.examples(record, read))
    with replacing_text(out) as file:
        for (record, example), reason in reasons(cut, config):
            counts[reason] += 1
            if reason:
                if len(examples.setdefault(reason, [])) < SHOWN:
                    examples[reason].append(record)
                continue
            row = dict(record) | {read.prompt_field: example.prompt, read.target_field: example.target}
            if kind == "tsv" and counts[""] == 1:
                _write_tsv(list(row), file)
            if kind == "tsv":
                _write_tsv(list(row.values()), file)
            else:
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
        if not counts[""]:
            raise DataError(f"no pair is left of {counts.total():,}", "Nothing was written; loosen what dropped most")
    dropped = {reason: count for reason, count in counts.most_common() if reason}
    if as_json:
        print(json.dumps({"read": counts.total(), "kept": counts[""], "dropped": dropped}, indent=2))
        return
    _print(dropped, examples, (read.prompt_field, read.target_field))
    print(f"{out}: {counts['']:,} of {counts.total():,} pairs")


def _write_tsv(fields: list[Any], file: TextIO) -> None:
    file.write("\t".join(" ".join(str(field).split()) for field in fields) + "\n")


def _print(dropped: dict[str, int], examples: dict[str, list[Record]], columns: tuple[str, str]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from nextword.cli.console import out

    if not dropped:
        return
    table = Table("Reason", "Pairs", "Where", "Source", "Target", box=box.SIMPLE_HEAD)
    table.columns[1].justify = "right"
    for reason, count in dropped.items():
        cells = [reason, f"{count:,}"]
        for record in examples[reason]:
            sides = [Text(str(record[column]).replace("\n", " ")[:WIDTH]) for column in columns]
            table.add_row(*cells, Text(record.source), *sides)
            cells = ["", ""]
    out.print(table)
