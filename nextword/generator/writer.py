"""From tokens to text, as they come: never half a character, and nothing behind a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nextword.decoding.requests import FinishReason

if TYPE_CHECKING:
    from nextword.tokenizers import Tokenizer


class TextWriter:
    """Turns the tokens of one sample into text, and knows when the text is over."""

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int], stops: Sequence[str]) -> None:
        """`before`: ids of the text it goes on from, without the boundary; what joins two words depends on the one
        before."""
        self.eos_id = tokenizer.eos_id
        self.decoder = tokenizer.stream()
        for id in before:
            self.decoder.step(id)
        self.stops = StopStrings(stops)
        self.text = ""
        self.token_ids: list[int] = []
        self.log_probs: list[float] = []
        self.finish_reason: FinishReason | None = None

    def write(self, token: int, log_prob: float) -> str:
        """The text that is certain now that this token is drawn."""
        self.token_ids.append(token)
        self.log_probs.append(log_prob)
        return "" if token == self.eos_id else self._add(self.decoder.step(token))

    def end(self, reason: FinishReason) -> str:
        """All that was held back: no token follows."""
        text = self._add(self.decoder.flush())
        if self.finish_reason is None:  # no stop string was completed by it
            self.finish_reason = reason
            held = self.stops.release()
            self.text += held
            text += held
        return text

    def _add(self, text: str) -> str:
        text = self.stops.push(text)
        self.text += text
        if self.stops.found is not None:
            self.finish_reason = "stop"
        return text


class StopStrings:
    """Lets text through up to the stop string that is completed first; ties go to the first in the list.

    >>> stops = StopStrings(["own fox"])
    >>> stops.push("The quick br"), stops.push("own"), stops.push(" fox jumps"), stops.found
    ('The quick br', '', '', 'own fox')
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = stops
        self.found: str | None = None
        self._held = ""  # the longest end of the text that a stop string begins with

    def push(self, text: str) -> str:
        """Add text; get what cannot belong to a stop string any more. Nothing once one was found."""
        if not self.stops:
            return text
        if self.found is not None:
            return ""
        text = self._held + text
        ends = [(start + len(stop), stop) for stop in self.stops if (start := text.find(stop)) >= 0]
        if ends:
            end, self.found = min(ends, key=lambda found: found[0])
            return text[: end - len(self.found)]
        longest = max((len(stop) - 1 for stop in self.stops), default=0)
        possible = (text[at:] for at in range(max(0, len(text) - longest), len(text)))
        self._held = next((end for end in possible if any(stop.startswith(end) for stop in self.stops)), "")
        return text[: len(text) - len(self._held)]

    def release(self) -> str:
        """What is still held back, when no more text comes."""
        return "" if self.found is not None else self._held
