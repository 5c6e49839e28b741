"""`nextword data`: look at a corpus, and clean it."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer

from nextword.cli.options import Json

if TYPE_CHECKING:
    from rich.console import Console

    from nextword.text.clean import CleanReport
    from nextword.text.inspect import CorpusReport
    from nextword.text.records import Record

app = typer.Typer(help="Look at text, clean it, prepare it for training.", no_args_is_help=True)

Data = Annotated[list[str], typer.Argument(help="Files, folders or quoted globs: .txt .jsonl .json .csv .tsv "
                                                ".parquet, also .gz .zst; - reads stdin.")]  # fmt: skip
Documents = Annotated[str, typer.Option(help="A document in a .txt file: block (between blank lines), line, file.")]
TextField = Annotated[str, typer.Option(help="Column that holds the text.")]
PromptField = Annotated[str, typer.Option(help="Column that is read but not learned; goes with --target-field.")]
TargetField = Annotated[str, typer.Option(help="Column that is learned, after the prompt.")]
Encoding = Annotated[str, typer.Option(help="Encoding of text files: utf-8, gb18030 (GBK), big5, ...")]
Errors = Annotated[str, typer.Option(help="Bytes that are not valid: strict (stop) or replace (U+FFFD).")]


@app.command()
def inspect(
    data: Data,
    documents: Documents = "block",
    text_field: TextField = "text",
    encoding: Encoding = "utf-8",
    errors: Errors = "strict",
    as_json: Json = False,
) -> None:
    """Say what a corpus is: size, scripts, duplicates, odd characters, lengths.

    Example: nextword data inspect poems.txt
    """
    from nextword.config import parse
    from nextword.text.inspect import inspect_corpus
    from nextword.text.records import ReadConfig

    values = {"documents": documents, "text_field": text_field, "encoding": encoding, "errors": errors}
    config = parse(ReadConfig, values)
    with _progress("reading", data) as advance:
        report = inspect_corpus(data, config, advance)
    if as_json:
        print(json.dumps(report.to_dict(), ensure_ascii=False, indent=2))
    else:
        _print_corpus(report)


@app.command()
def clean(
    data: Data,
    out: Annotated[Path, typer.Option(help="File to write: .jsonl or .txt, also .gz or .zst.")],
    documents: Documents = "block",
    text_field: TextField = "text",
    encoding: Encoding = "utf-8",
    errors: Errors = "strict",
    mojibake: Annotated[bool, typer.Option(help="Repair UTF-8 once read as another encoding.")] = True,
    unicode: Annotated[str, typer.Option(help="Normalisation: NFC, NFKC (full-width to narrow) or none.")] = "NFC",
    control: Annotated[bool, typer.Option(help="Remove control and zero-width characters.")] = True,
    whitespace: Annotated[bool, typer.Option(help="Collapse white space, remove indentation.")] = True,
    min_chars: Annotated[int, typer.Option(help="Drop shorter documents.")] = 1,
    max_chars: Annotated[int, typer.Option(help="Drop longer documents; 0 = no limit.")] = 0,
    script: Annotated[
        list[str] | None,
        typer.Option(help="Keep documents mostly in this Unicode script, such as Han; may be repeated."),
    ] = None,
    min_script_share: Annotated[float, typer.Option(help="Least share of letters in --script.")] = 0.5,
    duplicates: Annotated[str, typer.Option(help="Duplicates to drop: none, exact, or near (both).")] = "exact",
    near_threshold: Annotated[float, typer.Option(help="Similarity of near duplicates, 0.7 to 1.")] = 0.8,
    as_json: Json = False,
) -> None:
    """Clean text step by step and say what each step did. A .txt file gets its documents apart by a blank line.

    Example: nextword data clean raw/ --out clean.jsonl --script Han --duplicates near
    """  # fmt: skip
    from nextword.config import parse
    from nextword.errors import DataError
    from nextword.text.clean import CleanConfig
    from nextword.text.clean import clean as clean_records
    from nextword.text.records import ReadConfig, read_records

    read = parse(ReadConfig, {"documents": documents, "text_field": text_field, "encoding": encoding, "errors": errors})
    config = parse(
        CleanConfig,
        {
            "mojibake": mojibake, "unicode": unicode, "control": control, "whitespace": whitespace,
            "min_chars": min_chars, "max_chars": max_chars, "scripts": script or [],
            "min_script_share": min_script_share, "duplicates": duplicates, "near_threshold": near_threshold,
        },
    )  # fmt: skip
    write = _writer(out, data, read.documents == "line", text_field)
    with _progress("cleaning", data) as advance, replacing_text(out) as file:
        records, report = clean_records(read_records(data, read, advance), config, text_field)
        for record in records:
            write(record, file)
        if not report.kept:
            worst = max(report.steps, key=lambda step: step.dropped)
            raise DataError(
                f"no document is left of {report.read}: {worst.name} dropped {worst.dropped}",
                "Nothing was written; loosen that step",
            )
    if as_json:
        print(json.dumps(report.to_dict(), ensure_ascii=False, indent=2))
    else:
        _print_clean(report, out)


# Writing


def _writer(out: Path, data: list[str], lines: bool, text_field: str) -> Callable[[Record, TextIO], object]:
    """How a record is written to `out`. Raises UsageError: unknown extension, or `out` is one of the inputs."""
    from nextword.errors import UsageError
    from nextword.text.sources import file_format

    check_out(out, data)
    match file_format(out)[0]:
        case "jsonl":
            return lambda record, file: file.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
        case "text" if lines:
            return lambda record, file: file.write(re.sub(r"\s*\n\s*", " ", record[text_field]) + "\n")
        case "text":  # no blank line inside a document: the file must read back as the same documents
            return lambda record, file: file.write(re.sub(r"\n\s*\n", "\n", record[text_field]) + "\n\n")
        case _:
            raise UsageError(f"--out {out}: unknown kind of file", "Known: .jsonl .txt, also with .gz or .zst")


def check_out(out: Path, data: list[str]) -> None:
    """Raises UsageError if `out` is a folder, or one of the inputs."""
    from nextword.errors import UsageError
    from nextword.text.sources import find_files

    if any(file != "-" and Path(file).resolve() == out.resolve() for file in find_files(data)):
        raise UsageError(f"--out {out} is one of the inputs", "Choose another name")
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder", f"Name a file: --out {out / 'clean.jsonl'}")


@contextmanager
def replacing_text(path: Path) -> Iterator[TextIO]:
    """A UTF-8 text file, packed as its name says, that takes the place of `path` when all went well."""
    from nextword.errors import MissingExtra
    from nextword.files import replacing
    from nextword.text.sources import file_format

    with replacing(path) as temporary, ExitStack() as stack:
        file: Any = stack.enter_context(temporary.open("wb"))
        match file_format(path)[1]:
            case "gzip":  # no name and no time inside: equal text gives equal files
                file = stack.enter_context(gzip.GzipFile("", "wb", fileobj=file, mtime=0))
            case "zstd":
                try:
                    import zstandard
                except ImportError:
                    raise MissingExtra("zstandard", "zstd", "writing .zst files") from None
                file = stack.enter_context(zstandard.ZstdCompressor().stream_writer(file, closefd=False))
        yield cast(TextIO, stack.enter_context(io.TextIOWrapper(file, encoding="utf-8", newline="\n")))


@contextmanager
def _progress(label: str, data: list[str]) -> Iterator[Callable[[int], object]]:
    """A bar that is told the bytes just read."""
    from nextword.cli.console import progress_bars
    from nextword.text.records import source_bytes

    total = source_bytes(list(data))
    with progress_bars() as advance:
        yield lambda count: advance(label, count, total)


# Tables


def _bar(share: float, width: int = 30) -> str:
    """A bar in eighths of a character cell; anything above zero is visible."""
    eighths = max(round(share * width * 8), 1 if share > 0 else 0)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, emoji=False, markup=False)


def _visible(text: str) -> str:
    """The text with everything unprintable escaped, so that no document can drive the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _size(count: int) -> str:
    from rich.filesize import decimal

    return decimal(count)


def _print_corpus(report: CorpusReport) -> None:
    from rich import box
    from rich.table import Table

    console = _console()
    facts = Table.grid(padding=(0, 2))
    near = "" if report.near_examined == report.documents else f" (of the first {report.near_examined:,})"
    disk = "" if report.bytes_on_disk is None else f", {_size(report.bytes_on_disk)} on disk"
    for name, value in {
        "Files": f"{report.files:,}{disk}",
        "Documents": f"{report.documents:,}",
        "Characters": f"{report.characters:,} ({report.distinct_characters:,} distinct)",
        "Words": f"{report.words:,} (each ideograph and kana counts as one)",
        "Text": f"{_size(report.utf8_bytes)} as UTF-8",
        "Language by script": "; ".join(report.languages) or "no letters",
        "Exact duplicates": f"{report.exact_duplicates:,} ({report.exact_duplicates / report.documents:.1%})",
        "Near duplicates": f"{report.near_duplicates:,} ({report.near_duplicates / report.near_examined:.1%}){near}",
    }.items():
        facts.add_row(name, value)
    console.print(facts)

    scripts = Table("Script", "Letters", "", box=box.SIMPLE_HEAD)
    for script, share in list(report.scripts.items())[:8]:
        scripts.add_row(script, f"{share:.1%}", _bar(share))
    console.print(scripts)

    lengths = Table("Characters", "Documents", "", box=box.SIMPLE_HEAD)
    lengths.columns[0].justify = lengths.columns[1].justify = "right"
    most = max(bin.documents for bin in report.lengths)
    for bin in report.lengths:
        span = f"{bin.low:,}" if bin.low == bin.high else f"{bin.low:,}–{bin.high:,}"
        lengths.add_row(span, f"{bin.documents:,}", _bar(bin.documents / most))
    console.print(lengths)

    ends = Table("", "Characters", "Where", "Begins", box=box.SIMPLE_HEAD)
    for name, documents in {"longest": report.longest, "shortest": report.shortest}.items():
        for document in documents:
            ends.add_row(name, f"{document.characters:,}", document.source, _visible(document.excerpt))
            name = ""
    console.print(ends)

    if report.odd:
        odd = Table("Odd characters", "Count", "First at", "There", box=box.SIMPLE_HEAD)
        for kind, found in report.odd.items():
            odd.add_row(kind, f"{found.count:,}", found.source, _visible(found.excerpt))
        console.print(odd)


def _print_clean(report: CleanReport, out: Path) -> None:
    from rich import box
    from rich.table import Table

    console = _console()
    counts = Table("Step", "Documents", "Changed", "Dropped", box=box.SIMPLE_HEAD)
    for column in counts.columns[1:]:
        column.justify = "right"
    for step in report.steps:
        counts.add_row(step.name, f"{step.seen:,}", f"{step.changed:,}", f"{step.dropped:,}")
    console.print(counts)
    if any(step.examples for step in report.steps):
        examples = Table("Step", "Where", "Before", "After", box=box.SIMPLE_HEAD)
        for step in report.steps:
            for change in step.examples:
                after = "(dropped)" if change.after is None else _visible(change.after)
                examples.add_row(step.name, change.source, _visible(change.before), after)
        console.print(examples)
    console.print(
        f"{out}: {report.kept:,} of {report.read:,} documents, "
        f"{report.characters_kept:,} of {report.characters_read:,} characters",
        soft_wrap=True,
    )
