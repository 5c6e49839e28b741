"""`nextword data prepare`: text to token files, once, so that many runs can train on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nextword.cli.data import Data, Documents, Encoding, Errors, PromptField, TargetField, TextField
from nextword.cli.options import Json
from nextword.errors import counted

if TYPE_CHECKING:
    from rich.text import Text

    from nextword.data.token_files import TokenFiles
    from nextword.tokenizers import Tokenizer, TokenizerConfig

SHOWN_TOKENS = 64
SHOWN_PROMPT = 32


def prepare(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    tokenizer: Annotated[
        str, typer.Option(help="char, word, byte, bpe or unigram; or a folder that holds a tokenizer.json.")
    ] = "bpe",
    vocab_size: Annotated[int, typer.Option(help="Most tokens in the vocabulary; 0 = by the tokenizer.")] = 0,
    valid: Annotated[
        list[str] | None, typer.Option(help="Validation: a share, 0.05 if left out, or a file. Repeatable.")
    ] = None,
    test: Annotated[list[str] | None, typer.Option(help="Test: a share, 0 if left out, or a file. Repeatable.")] = None,
    split: Annotated[str, typer.Option(help="Hold out whole documents (document) or the end of the text (tail).")] = (
        "document"
    ),
    prompt_field: PromptField = "",
    target_field: TargetField = "",
    separator: Annotated[str, typer.Option(help="Stands between prompt and target.", show_default="a line end")] = "\n",
    documents: Documents = "block",
    text_field: TextField = "text",
    encoding: Encoding = "utf-8",
    errors: Errors = "strict",
    show: Annotated[int, typer.Option(min=0, help="Show this many examples as the model will see them.")] = 0,
    as_json: Json = False,
) -> None:
    """Turn text into token files, with a tokenizer trained on it or one that exists.

    Done again with the same files and options, it does nothing.

    Example: nextword data prepare poems.txt --out prepared --tokenizer char --show 3
    """
    from nextword.cli.console import progress_bars
    from nextword.config import parse
    from nextword.data.prepare import prepare as prepare_data
    from nextword.data.splits import SplitConfig
    from nextword.text.records import ReadConfig
    from nextword.tokenizers import Tokenizer

    valid_share, valid_files = _share_or_files("valid", valid, default=0.05)
    test_share, test_files = _share_or_files("test", test, default=0.0)
    read = {
        "documents": documents, "text_field": text_field, "prompt_field": prompt_field, "target_field": target_field,
        "separator": separator, "encoding": encoding, "errors": errors,
    }  # fmt: skip
    worked = False
    with progress_bars() as bar:

        def progress(stage: str, count: int, total: int | None) -> None:
            nonlocal worked
            worked = True
            bar(stage, count, total)

        splits = prepare_data(
            data,
            out,
            _tokenizer(tokenizer, vocab_size),
            valid_sources=valid_files,
            test_sources=test_files,
            read=parse(ReadConfig, read),
            split=parse(SplitConfig, {"by": split, "valid": valid_share, "test": test_share}, "split"),
            progress=progress,
        )
    made = Tokenizer.load(out)
    if as_json:
        report = {
            "out": str(out),
            "up_to_date": not worked,
            "tokenizer": splits["train"].index.tokenizer.model_dump(),
            "splits": {name: files.counts.model_dump() for name, files in splits.items()},
            "examples": [_as_dict(ids, prompt, made) for ids, prompt in _first(splits["train"], show)],
        }
        print(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        _print_counts(splits, out, worked)
        if show:
            _print_examples(splits["train"], show, made)


def _share_or_files(name: str, values: list[str] | None, default: float) -> tuple[float, list[str]]:
    """What --valid and --test mean: one number is a share of the text, anything else names files."""
    from nextword.errors import UsageError

    if not values:
        return default, []
    try:
        shares = [float(value) for value in values]
    except ValueError:
        return 0.0, values
    if len(shares) > 1:
        raise UsageError(f"--{name}: expected one share, got {' '.join(values)}")
    return shares[0], []


def _tokenizer(name: str, vocab_size: int) -> Tokenizer | TokenizerConfig:
    """A kind to be trained, or one to load. Raises UsageError for what is neither."""
    from nextword.config import parse
    from nextword.errors import UsageError
    from nextword.tokenizers import Tokenizer, TokenizerConfig

    if Path(name).exists():
        if vocab_size:
            raise UsageError(f"--vocab-size is for a tokenizer to be trained, but {name} is trained already")
        return Tokenizer.load(Path(name))
    return parse(TokenizerConfig, {"type": name} | ({"vocab_size": vocab_size} if vocab_size else {}), "tokenizer")


def _first(files: TokenFiles, count: int) -> Iterator[tuple[list[int], int]]:
    """(ids, number of prompt tokens) of the first examples."""
    for (ids, prompt), _ in zip(files.examples(), range(count), strict=False):
        yield ids.tolist(), prompt


def _as_dict(ids: list[int], prompt: int, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "ids": ids,
        "tokens": [tokenizer.token_text(id) for id in ids],
        "loss": [number >= prompt for number in range(len(ids))],
    }


def _print_counts(splits: dict[str, TokenFiles], out: Path, worked: bool) -> None:
    from rich import box
    from rich.table import Table

    from nextword.cli.console import out as console

    table = Table("Split", "Examples", "Tokens", "With loss", "Target bytes", "Unknown", box=box.SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, files in splits.items():
        counts = files.counts
        unknown = f"{counts.unknown_tokens:,} ({counts.unknown_tokens / max(counts.tokens, 1):.2%})"
        table.add_row(
            name, f"{counts.examples:,}", f"{counts.tokens:,}", f"{counts.loss_tokens:,}",
            f"{counts.target_bytes:,}", unknown if counts.unknown_tokens else "0",
        )  # fmt: skip
    made = splits["train"].index.tokenizer
    console.print(table)
    console.print(
        f"{out}: {'written' if worked else 'up to date, nothing to do'}; "
        f"{made.kind} tokenizer of {made.vocab_size:,} tokens",
        markup=False,
    )


def _print_examples(files: TokenFiles, count: int, tokenizer: Tokenizer) -> None:
    """Ids and tokens, those without loss dim and in brackets: the brackets remain where there is no colour."""
    from rich.text import Text

    from nextword.cli.console import out as console

    console.print(
        Text.assemble("\nlearned: ", ("token", "green"), "   read, not learned: ", ("[token]", "dim"), "   space: ␣")
    )
    for number, (ids, prompt) in enumerate(_first(files, count), 1):
        start = max(0, prompt - SHOWN_PROMPT)
        shown = ids[start : start + SHOWN_TOKENS]
        left_out = f", {len(shown)} of them here" if len(shown) < len(ids) else ""
        console.print(f"\nexample {number}: {counted(len(ids), 'token')}{left_out}")
        console.print(_row("ids    ", [str(id) for id in shown], prompt - start, " "))
        console.print(_row("tokens ", [_visible(tokenizer.token_text(id)) for id in shown], prompt - start, "|"))


def _row(label: str, cells: list[str], prompt: int, separator: str) -> Text:
    from rich.text import Text

    row = Text(f"  {label}")
    if prompt > 0:
        row.append(f"[{separator.join(cells[:prompt])}]", "dim")
        row.append(" ")
    row.append(separator.join(cells[prompt:]), "green")
    return row


def _visible(text: str) -> str:
    """Spaces as ␣, and everything unprintable escaped, so that no text can drive the terminal."""
    return "".join("␣" if c == " " else c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
