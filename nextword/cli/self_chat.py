"""`nextword self-chat`: have two runs talk with each other, or one with itself, and judge what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nextword.cli.options import Device, Json

if TYPE_CHECKING:
    from nextword.generator.self_chat import Exchange
    from nextword.metrics.score import Score

OPENINGS = ("Hello! How are you?", "What did you do yesterday?", "Do you like music?", "Can you help me?")


def self_chat(
    run: Annotated[Path, typer.Argument(help="Folder written by nextword train or import.", show_default=False)],
    other: Annotated[Path | None, typer.Argument(help="The run it talks with; without: itself.")] = None,
    opening: Annotated[list[str] | None, typer.Option(help="What a conversation begins with. Repeatable.")] = None,
    openings: Annotated[Path | None, typer.Option(help="A text file of openings, one a line.")] = None,
    replies: Annotated[int, typer.Option(help="Replies in a conversation, of both together.", min=1)] = 8,
    system: Annotated[str, typer.Option(help="What both are told before all else.")] = "",
    seed: Annotated[int, typer.Option(help="Same seed, same conversations.", min=0)] = 1,
    mmi: Annotated[float, typer.Option(help="As of nextword chat; it needs --set best_of=8.")] = 0.0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of generation, such as temperature=0.7. Repeatable.")
    ] = None,
    as_json: Json = False,
    device: Device = "cpu",
) -> None:
    """Have two runs talk with each other, or one with itself: A answers the opening, B answers that.

    Behind the conversations stands how varied the replies of each are: distinct-1 and -2 (Li et al. 2016), entropy,
    repetition, and how much they copy of what was said.

    Example: nextword self-chat runs/lstm runs/transformer --opening "What do you do?"
    """
    from nextword.cli.console import counting
    from nextword.cli.inputs import chosen, read_text
    from nextword.errors import UsageError
    from nextword.generator import self_chat as room
    from nextword.generator.chat import Chat

    settings = chosen({}, set_ or []) | {"seed": seed}
    begins = [*(opening or []), *(read_text(openings).splitlines() if openings else [])]
    begins = [line.strip() for line in begins if line.strip()]
    if not begins and (opening or openings):
        raise UsageError(f"{openings or '--opening'} is empty", hint="Give a line for each conversation")
    first = Chat.load(run, system, device=device, mmi=mmi, **settings)
    if other is None:
        second = Chat(first.generator, first.tokenizer, system, mmi=mmi, **settings | {"seed": seed + 1})
    else:
        second = Chat.load(other, system, device=device, mmi=mmi, **settings | {"seed": seed + 1})
    exchanges = []
    with counting("talking", len(begins or OPENINGS)) as advance:
        for begin in begins or OPENINGS:
            exchanges.append(room.self_chat(first, second, begin, replies))
            advance(begin[:40])
    scores = {
        name: room.exchange_scores(exchanges, which)
        for which, name in enumerate("AB")
        if any(len(exchange.replies) > which for exchange in exchanges)
    }
    if as_json:
        _print_json(exchanges, scores)
    else:
        _print(exchanges, scores, {"A": run, "B": other or run})


def _print_json(exchanges: list[Exchange], scores: dict[str, list[Score]]) -> None:
    document: dict[str, Any] = {
        "conversations": [{"messages": exchange.turns()} for exchange in exchanges],
        "scores": {name: {score.name: score.to_dict() for score in found} for name, found in scores.items()},
    }
    print(json.dumps(document, ensure_ascii=False, indent=2))


def _print(exchanges: list[Exchange], scores: dict[str, list[Score]], runs: dict[str, Path]) -> None:
    from rich.table import Table

    from nextword.cli.console import out

    for exchange in exchanges:
        print(f"   {exchange.opening}")
        for number, reply in enumerate(exchange.replies):
            print(f"{'AB'[number % 2]}: {reply.text}")
        print()
    out.print("\n".join(f"{name}: {runs[name]}" for name in scores), markup=False, soft_wrap=True)
    table = Table("", *scores, "", box=None)
    for row in zip(*scores.values(), strict=True):
        table.add_row(row[0].name, *(f"{score.value:.2f}" for score in row), row[0].signature)
    out.print(table)
