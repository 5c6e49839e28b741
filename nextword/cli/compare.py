"""`nextword compare`: is one run better than another, and how sure is that?"""

from __future__ import annotations

import json
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nextword.cli.inputs import chosen
from nextword.cli.options import (
    Columns,
    Device,
    DocumentsAsTrained,
    Json,
    PromptFieldAsTrained,
    TargetFieldAsTrained,
    TextFieldAsTrained,
)
from nextword.errors import counted

if TYPE_CHECKING:
    from nextword.checkpoint import Run
    from nextword.metrics.score import Difference, Score
    from nextword.tasks.base import Item, Task
    from nextword.tokenizers.chat import ChatTokenizer


def compare(
    a: Annotated[Path, typer.Argument(help="Folder written by `nextword train`.")],
    b: Annotated[Path, typer.Argument(help="Another one, for the same task.")],
    data: Annotated[list[str], typer.Argument(help="Text, or the test set of a task, as for `nextword evaluate`.")],
    documents: DocumentsAsTrained = "",
    text_field: TextFieldAsTrained = "",
    prompt_field: PromptFieldAsTrained = "",
    target_field: TargetFieldAsTrained = "",
    columns: Columns = "",
    samples: Annotated[int, typer.Option(help="How many test sets are drawn from this one.", min=100)] = 1000,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Of runs for a task: how both answer, such as num_beams=1.")
    ] = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """The difference between two runs, with its 95 % confidence interval, by paired bootstrap (Koehn 2004).

    Both read the same documents, each by itself, and are compared in bits per byte, whatever their tokenizers; with
    placeholders, if both know them. Runs trained with --task answer the same prompts and are compared in the metrics
    of the task, too.

    Example: nextword compare runs/lstm runs/transformer test.txt
    """
    from nextword.applied.reading import Reading, reading_of
    from nextword.checkpoint import load_run
    from nextword.metrics.score import paired_bootstrap
    from nextword.text.records import Example

    first, second = load_run(a, device), load_run(b, device)
    given = {
        "documents": documents, "text_field": text_field, "prompt_field": prompt_field, "target_field": target_field,
        "columns": columns,
    }  # fmt: skip
    settings = chosen({}, set_ or ())
    task, pairs, test = _test_set(first, second, data, {key: value for key, value in given.items() if value})
    # Where only one knows placeholders, both read the texts without: bits of the same bytes.
    reading = reading_of(first)
    reading = reading if reading == reading_of(second) else Reading()
    pairs = [(one.prompt, one.target) for one in map(reading.pair, starmap(Example, pairs))]
    scores = _scores(first, task, pairs, test, settings)
    others = {one.name: one for one in _scores(second, task, pairs, test, settings)}
    # Some are of poems only where the training data are still there.
    found = [
        paired_bootstrap(one, others[one.name], samples)
        for one in scores
        if one.rows is not None and one.name in others
    ]
    if as_json:
        figures = {"num_documents": len(test or pairs), "samples": samples}
        print(json.dumps(figures | {"metrics": {one.name: one.to_dict() for one in found}}, indent=2))
    else:
        _print(found, a, b, len(test or pairs), samples)


def _test_set(
    first: Run, second: Run, data: list[str], given: dict[str, Any]
) -> tuple[Task | None, list[tuple[str, str]], list[Item]]:
    """What is asked of both runs, the (prompt, text) pairs to predict, and the prompts to answer, if there is a task.

    Raises UsageError if they are not for the same one.
    """
    from nextword.cli.evaluate import task_for
    from nextword.errors import UsageError
    from nextword.tasks.base import items
    from nextword.tasks.languages import check_languages
    from nextword.tasks.setup import reading_as
    from nextword.text.records import read_records, text_of

    task, other = (task_for(run, data, given) for run in (first, second))
    if task is not other:
        names = [one.name if one else "no task" for one in (task, other)]
        raise UsageError(f"{first.folder} is for {names[0]}, {second.folder} for {names[1]}: they cannot be compared")
    read = reading_as(task, first.config.get("data", {}), given, data)
    if task is not None:
        for run in (first, second):
            check_languages(run.config, (read.prompt_field, read.target_field), data)
        test = list(items(task, data, read))
        return task, [(item.prompt, reference) for item in test for reference in item.references], test
    records = read_records(data, read)
    if read.prompt_field:
        texts = [
            (text_of(record, read.prompt_field, "--prompt-field"), text_of(record, read.target_field, "--target-field"))
            for record in records
        ]
    else:
        texts = [("", record[read.text_field]) for record in records]
    return None, [(prompt, text) for prompt, text in texts if text.strip()], []


def _scores(
    run: Run, task: Task | None, pairs: list[tuple[str, str]], test: list[Item], settings: dict[str, Any]
) -> list[Score]:
    from nextword.applied.evaluation import bits_per_byte
    from nextword.cli.console import counting
    from nextword.cli.evaluate import answer, chat_for
    from nextword.generator import TextGenerator

    chat = chat_for(run, test)
    asked = _spoken(run, chat, test) if chat else pairs
    with counting(f"{run.folder} reads", len(pairs)) as advance:
        found = [bits_per_byte(TextGenerator.of(run), asked, lambda said: advance(""))]
    if task is not None:
        found += answer(run, task, test, settings, chat, f"{run.folder} answers").scores
    return found


def _spoken(run: Run, chat: ChatTokenizer, test: list[Item]) -> list[tuple[list[int], str]]:
    """The (prompt, text) pairs of conversations, as the chat template of a run has them, and as far as it can read
    them with the text behind."""
    from nextword.generator.context import room_for_prompt

    found = []
    for item in test:
        text = chat.reply(item.before, item.references[0])
        room = room_for_prompt(run.model, len(run.tokenizer.encode(text)))
        found.append((chat.prompt_within(item.before, room)[0], text))
    return found


def _print(found: list[Difference], a: Path, b: Path, number: int, samples: int) -> None:
    from rich import box
    from rich.table import Table

    from nextword.cli.console import out

    out.print(f"A: {a}\nB: {b}", markup=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "A", "B", "B - A", "95 % interval", "p"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for one in found:
        interval = f"{one.low:+.3f} to {one.high:+.3f}"
        table.add_row(one.name, f"{one.a:.3f}", f"{one.b:.3f}", f"{one.b - one.a:+.3f}", interval, f"{one.p:.3f}")
    out.print(table)
    out.print(f"{counted(number, 'document')}; paired bootstrap, {samples:,} samples")
    unsure = [one.name for one in found if one.low <= 0 <= one.high]
    if unsure:
        out.print(f"may well be chance: {', '.join(unsure)}")
