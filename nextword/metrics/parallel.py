"""对仗: how far the two lines of a Chinese couplet answer each other, word for word."""

from __future__ import annotations

from collections.abc import Sequence

from nextword.text.chinese_words import tagged


def parallelism(lines: Sequence[str]) -> float | None:
    """0 to 1: `answers` of a couplet, and of eight lines the mean for the middle couplets, 颔联 and 颈联. None for
    poems of another length, which need not have any."""
    couplets = {2: (0,), 8: (2, 4)}.get(len(lines), ())
    return sum(answers(lines[i], lines[i + 1]) for i in couplets) / len(couplets) if couplets else None


def answers(first: str, second: str) -> float:
    """The share of places where the lines have words of one kind and not the same character.

    Kinds are parts of speech by jieba, as coarse as its first letter; it was made for modern prose, so a place counts
    by the word it stands in and by itself, whichever agrees.
    """
    kinds = [(kinds_of(line), [kinds_of(c)[0] for c in line]) for line in (first, second)]
    (in_words, alone), (in_words_2, alone_2) = kinds
    agreeing = [
        a != b and (x == x2 or y == y2)
        for a, b, x, x2, y, y2 in zip(first, second, in_words, in_words_2, alone, alone_2, strict=False)
    ]
    return sum(agreeing) / max(len(first), len(second), 1)


def kinds_of(line: str) -> list[str]:
    """For each character, the part of speech of its word."""
    return [kind[0] for word, kind in tagged(line, guessing=False) for _ in word]
