"""Dialogue: what to say next. Each reply of a conversation is an example, with all that was said before as its prompt.

The layout is that of the built-in template `plain`: a line a turn, and a reply ends where the text does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nextword.errors import DataError
from nextword.metrics.replies import reply_scores
from nextword.metrics.score import Score
from nextword.tasks.base import GROUP, Item, Task, tidy
from nextword.text.records import Example, ReadConfig, Record

ROLES = ("system", "user", "assistant")
_ALIASES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}

Turns = Sequence[Mapping[str, str]]


def reply_examples(record: Record, read: ReadConfig) -> list[Example]:
    """An example for each reply: those of the assistant, or where nobody says who speaks, each turn after the first.

    Turns are {"role", "content"} or {"from", "value"}, or texts, or [speaker, text]. Raises DataError for others.
    """
    if read.text_field not in record:
        columns = ", ".join(map(str, record)) or "none"
        raise DataError(f"{record.source}: no column {read.text_field!r}", f"Columns: {columns}. See --text-field")
    turns = record[read.text_field]
    if not isinstance(turns, list) or not turns:
        raise DataError(f"{record.source}: {read.text_field!r} should be a list of turns, got {str(turns)[:40]!r}")
    if all(isinstance(turn, Mapping) for turn in turns):
        said = [_turn(turn, f"{record.source}: turn {number}") for number, turn in enumerate(turns, 1)]
        replies = [i for i, turn in enumerate(said) if turn["role"] == "assistant" and i]
        return [reply_example(said[: i + 1]) for i in replies]
    texts = [_text(turn, f"{record.source}: turn {number}") for number, turn in enumerate(turns, 1)]
    return [
        reply_example([
            {"role": "assistant" if (last - i) % 2 == 0 else "user", "content": text}
            for i, text in enumerate(texts[: last + 1])
        ])
        for last in range(1, len(texts))
    ]  # fmt: skip


def reply_example(turns: Turns) -> Example:
    """The last turn, given those before it.

    >>> reply_example([{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Hello."}])
    Example(prompt='User: Hi!\\nAssistant:', target=' Hello.')
    """
    *before, last = turns
    prompt = "".join(f"{turn['role'].capitalize()}: {tidy(turn['content'])}\n" for turn in before)
    reply = tidy(last["content"])
    return Example(f"{prompt}{last['role'].capitalize()}:" if before else "", f" {reply}" if reply else "")


def _turn(turn: Mapping[str, Any], where: str) -> Mapping[str, str]:
    role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    role = _ALIASES.get(str(role), role)
    if role not in ROLES:
        raise DataError(f"{where} has the role {role!r}, expected one of {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise DataError(f"{where} should have a text as its content, got {str(content)[:40]!r}")
    return {"role": str(role), "content": content}


def _text(turn: Any, where: str) -> str:
    text = turn[1] if isinstance(turn, list) and len(turn) == 2 else turn
    if not isinstance(text, str):
        raise DataError(f"{where} should be a text, [speaker, text] or {{role, content}}, got {str(turn)[:40]!r}")
    return text


def _scores(outputs: Sequence[str], items: Sequence[Item]) -> list[Score]:
    return reply_scores(outputs, [item.prompt for item in items])


DIALOGUE = Task(
    name="dialogue",
    columns={"text_field": ("messages", "turns", "conversations", "conversation", "dialogue", "dialog")},
    examples=reply_examples,
    scores=_scores,
    recipe={"data": {"separator": "", "prompt_field": "prompt", "target_field": "target", "group_field": GROUP}},
    generation={"temperature": 0.8, "top_p": 0.95, "max_tokens": 100, "stop": ["\nUser:"]},
    pairs=False,
)
