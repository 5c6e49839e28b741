"""Decoding one token at a time: the pieces, put together, are the text that decoding all ids at once would give.

A token may end in the middle of a character (an emoji is four bytes, and bytes are tokens too), so what cannot be
known yet is held back until it can. Work per token does not grow with the text. Knows nothing of models.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nextword.tokenizers.base import Tokenizer


class StreamDecoder:
    """Turns ids into text as they come; made by `Tokenizer.stream`.

    >>> stream = tokenizer.stream()                                        # doctest: +SKIP
    >>> "".join(stream.step(id) for id in ids) + stream.flush() == tokenizer.decode(ids)   # doctest: +SKIP
    True
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # An invalid byte becomes U+FFFD by the same rule (maximal subparts, Unicode 3.9) in Python and in Rust.
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._last: list[int] = []  # the last token given out: spacing depends on the token before, on no other
        self._last_text = ""
        self._held: list[int] = []  # tokens that are single bytes, given out when the run of bytes ends

    def step(self, id: int) -> str:
        """The text that became certain with this token; "" while a character is incomplete."""
        if id in self._tokenizer.special_ids:
            return ""
        if self._tokenizer.is_byte_level:
            return self._utf8.decode(self._tokenizer.token_bytes(id))
        self._held.append(id)
        # Byte fallback (Llama 2): a whole run of <0x..> tokens is decoded together, or is wrong together.
        if self._tokenizer.is_fallback_byte(id):
            return ""
        return self._give_out()

    def flush(self) -> str:
        """What is still held back, to be called after the last token. The decoder is as new afterwards."""
        text = self._utf8.decode(b"", final=True) + (self._give_out() if self._held else "")
        self.__init__(self._tokenizer)  # type: ignore[misc]
        return text

    def _give_out(self) -> str:
        text = self._tokenizer.decode(self._last + self._held)[len(self._last_text) :]
        self._last, self._held = self._held[-1:], []
        self._last_text = self._tokenizer.decode(self._last)
        return text
