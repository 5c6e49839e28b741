"""Conversations as ids: each reply is learned, given all that was said before it, as a chat template writes that.

A conversation is one thread (`token_files`) as far as the template lets it: where the ids that a reply is given begin
with those of the reply before and of all that it was given, it goes on from that, and they are not stored again. What
the system says at its beginning is its preface. Where turns end otherwise than with <eos>, as ChatML's may, only the
last reply of a thread has one behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

from nextword.errors import DataError, TemplateError
from nextword.text.chat import HERE, QUOTE, TURNS, UNQUOTE, Conversation, Turn
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
    """How many tokens of the prompt stand before whatever of the conversation is read anew: see `token_files`."""
    closed: bool = True
    """By <eos>."""


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
    # Of two people each is the assistant in their own replies: those of one can go on from one another.
    order = talk.replies if talk.told else sorted(talk.replies, key=lambda at: str(talk.turns[at]["role"]))
    eos = chat.tokenizer.eos_id
    found = chain((_asked_and_said(talk, at, chat) for at in order), [([], [])])
    before: list[int] = []  # with the reply before, and what closes it
    for at, ((prompt, reply), (following, _)) in zip(order, pairwise(found), strict=True):
        read, goes_on = [*prompt, *reply], bool(before) and prompt[: len(before)] == before
        closed = reply[-1:] == [eos] or following[: len(read)] != read
        asked, said = prompt[len(before) * goes_on :], reply[: reply.index(eos)] if eos in reply else reply
        preface = 0 if goes_on else _preface(talk.up_to(at), prompt, closed, chat)
        yield EncodedReply(asked, said, talk.turns[at]["content"].strip(), goes_on, preface, closed)
        before = [*prompt, *said, *[eos] * closed]


def _asked_and_said(talk: Talk, at: int, chat: ChatTokenizer) -> tuple[list[int], list[int]]:
    """The ids of all before a reply, and of the reply with what closes it, at most up to <eos>."""
    try:
        found = chat.format.with_replies(talk.up_to(at), last_only=True)
    except TemplateError as error:
        raise DataError(f"{talk.source}: {error.message}", error.hint) from None
    ids, mask = chat.encode(found)
    begins, eos = mask.index(True), chat.tokenizer.eos_id
    reply = ids[begins:]
    return _opened(ids[:begins], chat.tokenizer.bos_id), reply[: reply.index(eos) + 1] if eos in reply else reply


def _preface(turns: Sequence[Turn], prompt: list[int], closed: bool, chat: ChatTokenizer) -> int:
    """How much of a prompt is the system's, where there is one whose turn ends as replies do: with <eos> if they are
    `closed`. Where they are not, the first token at least, which the boundary token stands for."""
    least = int(not closed)
    if turns[0]["role"] != "system":
        return least
    try:
        ids, _ = chat.encode(chat.format.parted(turns, 0, add_generation_prompt=True)[0])
    except TemplateError:  # it leaves out what the system says
        return least
    ending = [chat.tokenizer.eos_id] if closed else chat.encode(Conversation(chat.format.ending()))[0]
    words = [*_opened(ids, chat.tokenizer.bos_id), *ending]
    return len(words) if prompt[: len(words)] == words else least


def _opened(ids: list[int], bos: int) -> list[int]:
    """Without what opens a text, which token files leave out."""
    return ids[next((at for at, id in enumerate(ids) if id != bos), len(ids)) :]
