"""An even sample of a corpus, where learning a vocabulary from all of it would take too much memory or time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import xxhash


def sample(texts: Iterable[str], budget: int) -> Iterator[str]:
    """All of `texts` while they fit in `budget` bytes of UTF-8, else an even sample of their passages, in order.

    One pass and never more than `budget` in memory. A passage is drawn by the hash of its number, so the same
    corpus gives the same sample.
    """
    kept: list[tuple[int, bytes]] = []
    size, limit = 0, 1 << 64
    for number, passage in enumerate(_passages(texts)):
        draw = xxhash.xxh3_64_intdigest(number.to_bytes(8, "little"))
        if draw >= limit:
            continue
        kept.append((draw, passage.encode()))
        size += len(kept[-1][1])
        while size > budget:
            limit //= 2
            kept = [(draw, passage) for draw, passage in kept if draw < limit]
            size = sum(len(passage) for _, passage in kept)
    return (passage.decode() for _, passage in kept)


def _passages(texts: Iterable[str], length: int = 4096) -> Iterator[str]:
    """The texts, long ones cut near every `length` characters: after a newline, else a space, where there is one."""
    for text in texts:
        start = 0
        while len(text) - start > length:
            ends = (text.rfind(space, start, start + length) + 1 for space in "\n ")
            end = next((end for end in ends if end > start), start + length)
            yield text[start:end]
            start = end
        if start < len(text):
            yield text[start:]
