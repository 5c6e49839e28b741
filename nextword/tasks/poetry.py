"""Poetry, Chinese and English: a poem by its form, rhyme, author and title."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from nextword.errors import DataError, UsageError
from nextword.metrics.score import Score
from nextword.metrics.verse import verse_scores
from nextword.tasks.base import Item, Task
from nextword.text.records import Example, ReadConfig, Record
from nextword.verse import check, check_english
from nextword.verse.forms import find_form
from nextword.verse.layout import header, layout, said_in
from nextword.verse.patterns import Form
from nextword.verse.units import is_chinese


def _examples(record: Record, read: ReadConfig) -> list[Example]:
    """The poem, after a row that says what it is. Of each in two, by its hash, the rhyme is left out of that row, also
    the author, and of each in eight the title: so a model learns to do without them."""
    lines = record.get("lines") or _lines_in(str(record.get("text", "")))
    if not lines or not isinstance(lines, list) or not all(isinstance(line, str) and line for line in lines):
        raise DataError(f"{record.source}: no poem in column 'lines' or 'text'", hint="Name them so")
    form = _form_of(record, lines)
    if form and form.language == "zh":
        lines = check.part(lines, form)
    dice = sha256("".join(lines).encode()).digest()
    said = {
        "rhyme": _rhyme_of(lines, form) if form and dice[0] % 2 else "",
        "author": str(record.get("author", "")) if dice[1] % 2 else "",
        "title": str(record.get("title", "")) if dice[2] % 8 else "",
    }
    return [Example(header(form.title if form else "", **said), layout(lines, form))]


def _lines_in(text: str) -> list[str]:
    try:
        return check.split_lines(text) if is_chinese(text) else check_english.split_lines(text)
    except DataError:
        return []


def _rhyme_of(lines: list[str], form: Form) -> str:
    """The first of its rhymes; "" of an English poem."""
    return next(iter(check.rhymes_of(lines, form)), "") if form.language == "zh" else ""


def _form_of(record: Record, lines: list[str]) -> Form | None:
    """The form of these line lengths, in English of so many lines, whether its tones or stresses are kept or not; None
    for other shapes."""
    try:
        if record.get("form"):
            return find_form(str(record["form"]), answered=lines[0])
        return check.guess_form(lines) if is_chinese("".join(lines)) else check_english.guess_form(lines)
    except (UsageError, DataError):
        return None


def _scores(outputs: Sequence[str], items: Sequence[Item], tokenized: bool) -> list[Score]:
    said = [said_in(item.prompt) for item in items]
    return verse_scores(outputs, [form for form, *_ in said], [title for *_, title in said])


POETRY = Task(
    name="poetry",
    command="poem",
    columns={},
    examples=_examples,
    scores=_scores,
    headline=("in-form",),
    recipe={"data": {"prompt_field": "prompt", "target_field": "target"}, "tokenizer": {"type": "char"}},
    generation={"temperature": 0.8, "top_p": 0.95, "max_tokens": 200},
    example="tang",
    pairs=False,
)
