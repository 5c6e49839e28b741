"""Two models that talk with each other, or one with itself: what becomes of a conversation without people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nextword.generator.chat import Chat
from nextword.generator.job import Generation
from nextword.metrics.replies import reply_scores
from nextword.metrics.score import Score
from nextword.text.chat import Turn


@dataclass(frozen=True)
class Exchange:
    """What came of an opening: the first chat answers it, the second that, and so on."""

    opening: str
    replies: list[Generation]

    def turns(self) -> list[Turn]:
        """The conversation, as the first chat has it."""
        said = [self.opening, *(reply.text for reply in self.replies)]
        return [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(said)]


def self_chat(first: Chat, second: Chat, opening: str, num_replies: int) -> Exchange:
    """So many replies, or until one of the two says nothing.

    The second takes the opening for its own words. The two may be of one generator, but are not the same chat.
    """
    first.clear()
    second.clear([{"role": "assistant", "content": opening}])
    said, replies = opening, []
    for number in range(num_replies):
        reply = (first, second)[number % 2].say(said)
        said = reply.text
        if not said:
            break
        replies.append(reply)
    return Exchange(opening, replies)


def exchange_scores(exchanges: Sequence[Exchange], which: int) -> list[Score]:
    """How varied the replies of the first (0) or the second chat (1) are, and how likely it found them itself.

    None, if it has not said anything.
    """
    replies, histories = [], []
    for exchange in exchanges:
        turns = exchange.turns()
        for number in range(which, len(exchange.replies), 2):
            replies.append(exchange.replies[number])
            histories.append("\n".join(turn["content"] for turn in turns[: number + 1]))
    if not replies:
        return []
    tokens = sum(len(reply.token_ids) for reply in replies)
    perplexity = math.exp(-math.fsum(reply.log_prob for reply in replies) / tokens)
    own = Score("perplexity", perplexity, "of its own replies, per token", higher_is_better=None)
    return [*reply_scores([reply.text for reply in replies], histories), own]
