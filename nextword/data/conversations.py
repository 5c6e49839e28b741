"""Conversations to examples by a chat template: each reply is learned, given all that was said before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nextword.errors import DataError, TemplateError
from nextword.text import turns
from nextword.text.chat import Conversation
from nextword.text.records import Example, Record
from nextword.tokenizers.chat import ChatTokenizer


@dataclass(frozen=True, slots=True)
class Reply(Example):
    """A reply: `target` is what the template makes of it, `prompt` what stands before it."""

    conversation: Conversation
    """Both, and which of it are control tokens."""


def replies(record: Record, chat: ChatTokenizer) -> Iterator[Reply]:
    """The replies of a conversation, in order.

    Raises DataError for what is no conversation, and for one that the template refuses.
    """
    for said in turns.replies(record):
        try:
            found = chat.format.with_replies(said, last_only=True)
        except TemplateError as error:
            raise DataError(f"{record.source}: {error.message}", error.hint) from None
        ((start, end),) = found.replies
        yield Reply(found.text[:start], found.text[start:end], found)


def encode_reply(reply: Reply, chat: ChatTokenizer) -> tuple[list[int], list[int]]:
    """The ids of prompt and target, as token files have them: without the boundary tokens around them."""
    ids, mask = chat.encode(reply.conversation)
    begins, eos, bos = mask.index(True), chat.tokenizer.eos_id, chat.tokenizer.bos_id
    prompt, target = ids[:begins], ids[begins:]
    if prompt[:1] == [bos]:
        prompt = prompt[1:]
    return prompt, target[: target.index(eos)] if eos in target else target
