"""对仗: how far the two lines of a Chinese couplet answer each other, word for word."""

from __future__ import annotations

import logging
from collections.abc import Sequence


def parallelism(lines: Sequence[str]) -> float:
    """Of the middle couplets of eight lines, 颔联 and 颈联: the mean of `answers`, 0 to 1."""
    return (answers(lines[2], lines[3]) + answers(lines[4], lines[5])) / 2


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
    import jieba.posseg

    jieba.setLogLevel(logging.ERROR)  # it announces on stderr that it loads its dictionary
    return [word.flag[0] for word in jieba.posseg.cut(line, HMM=False) for _ in word.word]
