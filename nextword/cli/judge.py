"""`nextword judge`: a page on which people judge, blind, the replies of two runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nextword.cli.options import Device, Json
from nextword.errors import counted

if TYPE_CHECKING:
    from nextword.text.chat import Turn


def judge(
    a: Annotated[Path, typer.Argument(help="Folder written by nextword train or import.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="Another one.", show_default=False)],
    data: Annotated[
        Path, typer.Argument(help="What is to be answered: a text, a line each, or conversations.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("judge.html"),
    num: Annotated[int, typer.Option("--num", "-n", help="Most questions on the page.", min=1)] = 50,
    seed: Annotated[int, typer.Option(help="Of the replies, and of who is on the left.", min=0)] = 1,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of generation for both, such as temperature=0.7.")
    ] = None,
    as_json: Json = False,
    device: Device = "cpu",
) -> None:
    """Have two runs answer the same words, and write a page that asks people which reply is better.

    The page works offline and does not tell who is who. It counts the votes and saves them as JSON. Of a conversation,
    what is answered are the last words of the user. Equal replies are left out.

    Example: nextword judge runs/lstm runs/transformer test.jsonl --out judge.html
    """
    from itertools import islice

    from nextword.cli.console import counting
    from nextword.cli.inputs import chosen
    from nextword.errors import DataError, UsageError
    from nextword.generator.chat import Chat
    from nextword.report.judging import Rivals, write_judging

    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}")
    settings = chosen({}, set_ or []) | {"seed": seed}
    questions = [*islice(_questions(data), num)]
    if not questions:
        raise DataError(f"{data} has nothing to answer")
    chats = [Chat.load(run, device=device, **settings) for run in (a, b)]
    items = []
    with counting("answering", len(questions)) as advance:
        for *before, last in questions:
            replies = []
            for chat in chats:
                chat.clear(before)
                replies.append(chat.say(last["content"]).text)
            items.append(Rivals([*before, last], *replies))
            advance(last["content"][:40])
    different = [item for item in items if item.a != item.b]
    if not different:
        raise DataError("all replies of the two are equal", hint="Compare different runs, or draw at a temperature")
    write_judging(different, (str(a), str(b)), out, seed)
    equal = len(items) - len(different)
    if as_json:
        print(json.dumps({"page": str(out), "questions": len(different), "equal": equal}, indent=2))
    else:
        count = counted(len(different), "question")
        print(f"{out}: {count}" + (f"; {equal} left out, for the replies are equal" * (equal > 0)))


def _questions(data: Path) -> Iterator[list[Turn]]:
    """What was said up to the last words of the user: of each conversation, or a line of text each."""
    from nextword.text.records import ReadConfig, read_records, text_of
    from nextword.text.turns import FIELDS, turns_of

    for record in read_records([str(data)], ReadConfig(documents="line", text_field="")):
        if any(name in record for name in FIELDS):
            turns = turns_of(record)
            while turns and turns[-1]["role"] != "user":
                del turns[-1]
            if turns:
                yield turns
        elif text := text_of(record, "text").strip():
            yield [{"role": "user", "content": text}]
