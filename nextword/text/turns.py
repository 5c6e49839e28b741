"""Conversations as data: a row of a file becomes turns, and its replies become examples. Torch-free.

One schema, {"role": "system" | "user" | "assistant", "content": text}, whatever the file has:

{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}      as OpenAI has it
{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]}           as ShareGPT has it
{"turns": ["Hi", "Hello!"]}                                                                      two people, in turn
{"turns": [["Ann", "Hi"], ["Bob", "Hello!"]]}                                                    two people, by name

A "system" (or "persona") beside it, a text or a list of them, is the first turn.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nextword.errors import DataError, did_you_mean
from nextword.text.chat import Turn
from nextword.text.records import Example, Record

ROLES = ("system", "user", "assistant")
FIELDS = ("messages", "conversations", "conversation", "turns", "dialog", "dialogue")
SYSTEM = ("system", "persona")
ALIASES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatbot": "assistant"}


def turns_of(record: Record) -> list[Turn]:
    """The turns of one row. Raises DataError, naming the row, for a role, a speaker or a shape that is none."""
    field = _field(record)
    said = record[field]
    if not isinstance(said, list | tuple) or not said:
        raise DataError(f"{record.source}: {field!r} should be a list of turns, got {str(said)[:40]!r}")
    pairs = [_pair(turn, f"{record.source}: turn {number}") for number, turn in enumerate(said, 1)]
    if not _tells_roles(said):
        pairs = _with_roles(pairs, record.source)
    turns = check_turns([{"role": role, "content": text} for role, text in pairs], record.source)
    system = next((record[name] for name in SYSTEM if record.get(name)), None)
    if system is None:
        return turns
    text = system if isinstance(system, str) else " ".join(map(str, system))
    return [{"role": "system", "content": text}, *turns]


def check_turns(turns: Sequence[Turn], source: str) -> list[Turn]:
    """The turns, if each has a known role and a text. Raises DataError naming the first that has not."""
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), str):
            raise DataError(
                f"{source}: turn {number} has no text",
                hint='A turn is {"role": "user", "content": "Hi"}',
            )
        role = turn.get("role")
        if role not in ROLES:
            raise DataError(f"{source}: turn {number} has the role {role!r}", hint=did_you_mean(str(role), ROLES))
        if role == "system" and number > 1:
            raise DataError(f"{source}: turn {number} is of the system", hint="Only the first turn may be")
    return list(turns)


@dataclass(frozen=True, slots=True)
class Talk(Example):
    """A conversation up to its last reply. `target` is what its replies say, `prompt` what is said beside, a line each.

    Where the file tells the roles, replies are the assistant's. Of two people every turn but the first is a reply, and
    whoever gives it is the assistant in what comes of it.
    """

    turns: tuple[Turn, ...]
    replies: tuple[int, ...]
    """Which turns."""
    told: bool
    """Whether the file tells the roles."""
    source: str

    def up_to(self, reply: int) -> list[Turn]:
        """The turns up to a reply, as whoever gives it has them."""
        said = self.turns[: reply + 1]
        return list(said) if self.told else [_as_seen_by(said[-1]["role"], turn) for turn in said]

    def texts(self) -> Iterator[str]:
        """What is said, turn by turn."""
        yield from filter(None, map(written, self.turns))


def talk(record: Record) -> Talk:
    """The conversation that a row is. Raises DataError as `turns_of`."""
    turns = turns_of(record)
    told = _tells_roles(record[_field(record)])
    replies = [
        at
        for at in range(1 + (turns[0]["role"] == "system"), len(turns))
        if turns[at]["content"].strip()
        and (turns[at]["role"] == "assistant" if told else turns[at]["role"] != turns[at - 1]["role"])
    ]
    turns = turns[: replies[-1] + 1] if replies else turns
    texts = [written(turn) for turn in turns]
    prompt = "\n".join(text for at, text in enumerate(texts) if at not in replies)
    target = "\n".join(texts[at] for at in replies)
    return Talk(prompt, target, tuple(turns), tuple(replies), told, record.source)


@dataclass(frozen=True, slots=True)
class Reply(Example):
    """A reply, and what was said before it, a line each."""

    before: tuple[Turn, ...]
    """The same, as whoever replies has it."""


def is_conversation(record: Record) -> bool:
    """Whether a row has turns, rather than a text under one of their names.

    >>> is_conversation(Record({"dialogue": "Ann: Hi!", "summary": "Ann says hi."}, "chats.jsonl:1"))
    False
    """
    return any(isinstance(record.get(name), list | tuple) for name in FIELDS)


def replies(record: Record) -> Iterator[Reply]:
    """The replies of a conversation, in order. Raises DataError as `turns_of`."""
    said = talk(record)
    for at in said.replies:
        *before, last = said.up_to(at)
        yield Reply("\n".join(map(written, before)), written(last), tuple(before))


def written(turn: Turn) -> str:
    """What is said in a turn: the layout of `nextword.text.chat.TURNS`, where <eos> closes it."""
    return "System: " * (turn["role"] == "system") + turn["content"].strip()


def first_that_fits(begins: Sequence[int], size: Callable[[int], int], room: float) -> int:
    """Where a text that is too long is to begin, a conversation or a turn: at the first of the places `begins` from
    which on it has at most `room` tokens, `size` tells how many; at the last of them if there is none.

    >>> first_that_fits([0, 2, 4], lambda turn: 50 - 10 * turn, 30)
    2
    """
    return begins[min(bisect_left(begins, True, key=lambda place: size(place) <= room), len(begins) - 1)]


def _field(record: Record) -> str:
    field = next((name for name in FIELDS if name in record), None)
    if field is None:
        raise DataError(
            f"{record.source}: no conversation among the columns {', '.join(map(str, record)) or 'none'}",
            hint=f"It should be a list under one of: {', '.join(FIELDS)}",
        )
    return field


def _tells_roles(said: Sequence[Any]) -> bool:
    return isinstance(said[0], Mapping)


def _as_seen_by(assistant: str, turn: Turn) -> Turn:
    if turn["role"] == "system":
        return turn
    return {"role": "assistant" if turn["role"] == assistant else "user", "content": turn["content"]}


def _pair(turn: Any, where: str) -> tuple[str | None, str]:
    """Who says it, None where that is not told, and what."""
    if isinstance(turn, str):
        return None, turn
    if isinstance(turn, Mapping):
        role, text = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
        if isinstance(role, str) and isinstance(text, str):
            return ALIASES.get(role, role), text
    elif isinstance(turn, list | tuple) and len(turn) == 2 and all(isinstance(part, str) for part in turn):
        return turn[0], turn[1]
    raise DataError(f"{where} is {str(turn)[:60]!r}", hint='Expected {"role": ..., "content": ...}, or a text')


def _with_roles(pairs: Sequence[tuple[str | None, str]], source: str) -> list[tuple[str | None, str]]:
    """Of two people, whoever speaks first is the user."""
    names = list(dict.fromkeys(name for name, _ in pairs))
    if names == [None]:
        return [(ROLES[1 + number % 2], text) for number, (_, text) in enumerate(pairs)]
    if None in names:
        raise DataError(f"{source}: some turns tell who speaks, and some do not")
    if len(names) > 2:
        raise DataError(f"{source}: {len(names)} people speak: {', '.join(map(str, names))}", hint="Expected two")
    return [(ROLES[1 + names.index(name)], text) for name, text in pairs]
