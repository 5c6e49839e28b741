"""Conversations as ids: each reply is learned, given all that was said before it, as a chat template writes that.

A conversation is one thread (`token_files`) as far as the template lets it: where the ids that a reply is given begin
with those of the reply before and of all that it was given, it goes on from that, and they are not stored again. What
the system says at its beginning is its preface.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nextword.errors import DataError, TemplateError
from nextword.text.chat import HERE, QUOTE, TURNS, UNQUOTE, Turn
from nextword.text.turns import Talk, written
from nextword.tokenizers.chat import ChatTokenizer


class EncodedReply(NamedTuple):
    """An example, as token files have it: without the boundary tokens around it."""

    prompt: list[int]
    """What was said since the reply before, or if this does not go on from that, all before it."""
    ids: list[int]
    text: str
    """What is said, without what the template adds."""
    goes_on: bool
    preface: int = 0
    """How many tokens of the prompt are the system's, and the <eos> that closes its turn."""


def replies(talk: Talk, chat: ChatTokenizer) -> Iterator[EncodedReply]:
    """The replies of a conversation, in order. Raises DataError for one that the template refuses."""
    return _turns(talk, chat) if chat.template in ("turns", TURNS) else _templated(talk, chat)


def _turns(talk: Talk, chat: ChatTokenizer) -> Iterator[EncodedReply]:
    """What the template TURNS makes of it, without asking it: as long as no turn spells a control token, a turn is its
    text and <eos>."""
    tokenizer, texts = chat.tokenizer, [written(turn) for turn in talk.turns]
    spelled = re.compile("|".join(map(re.escape, [*chat.format.control, QUOTE, UNQUOTE, HERE])))
    prompt: list[int] = []
    preface = 0
    for at, ids in enumerate(tokenizer.encode_batch(texts)):
        if spelled.search(texts[at]):
            ids = _opened(chat.prompt([talk.turns[at]]), tokenizer.bos_id)[:-1]
        if at in talk.replies:
            goes_on = at != talk.replies[0]
            prompt = prompt if goes_on else _opened(prompt, tokenizer.bos_id)
            yield EncodedReply(prompt, ids, texts[at], goes_on, preface)
            prompt, preface = [], 0
        else:
            prompt = [*prompt, *ids, tokenizer.eos_id]
            preface = len(prompt) if talk.turns[at]["role"] == "system" else preface


def _templated(talk: Talk, chat: ChatTokenizer) -> Iterator[EncodedReply]:
    """What any other template makes of it."""
    read: list[int] = []  # with the reply before
    # Of two people each is the assistant in their own replies: those of one can go on from one another.
    order = talk.replies if talk.told else sorted(talk.replies, key=lambda at: str(talk.turns[at]["role"]))
    for at in order:
        try:
            found = chat.format.with_replies(talk.up_to(at), last_only=True)
        except TemplateError as error:
            raise DataError(f"{talk.source}: {error.message}", error.hint) from None
        ids, mask = chat.encode(found)
        begins, eos = mask.index(True), chat.tokenizer.eos_id
        prompt, reply = _opened(ids[:begins], chat.tokenizer.bos_id), ids[begins:]
        reply = reply[: reply.index(eos)] if eos in reply else reply
        goes_on = bool(read) and prompt[: len(read)] == read
        text = talk.turns[at]["content"].strip()
        if goes_on:
            yield EncodedReply(prompt[len(read) :], reply, text, goes_on)
        else:
            yield EncodedReply(prompt, reply, text, goes_on, _preface(talk.up_to(at), prompt, chat))
        read = [*prompt, *reply, eos]


def _preface(turns: Sequence[Turn], prompt: list[int], chat: ChatTokenizer) -> int:
    """How much of a prompt is the system's, where there is one and its turn is closed by <eos>, as replies are."""
    if turns[0]["role"] != "system":
        return 0
    try:
        ids, _ = chat.encode(chat.format.parted(turns, 0, add_generation_prompt=True)[0])
    except TemplateError:  # it leaves out what the system says
        return 0
    words = [*_opened(ids, chat.tokenizer.bos_id), chat.tokenizer.eos_id]
    return len(words) if prompt[: len(words)] == words else 0


def _opened(ids: list[int], bos: int) -> list[int]:
    """Without what opens a text, which token files leave out."""
    return ids[next((at for at, id in enumerate(ids) if id != bos), len(ids)) :]
