"""Chinese words and their parts of speech, by jieba (its dictionary, and a hidden Markov model for what that lacks)."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any


@cache
def segmenter() -> Any:
    """jieba, which would announce on stderr that it loads its dictionary, silent."""
    import jieba

    jieba.setLogLevel(logging.ERROR)
    return jieba


def tagged(text: str, guessing: bool) -> list[tuple[str, str]]:
    """(word, part of speech) of a text. `guessing`: at words outside the dictionary, too; else these are characters.

    >>> tagged("王老师去上海", guessing=True)
    [('王老师', 'nr'), ('去', 'v'), ('上海', 'ns')]
    """
    segmenter()
    import jieba.posseg

    return [(word.word, word.flag) for word in jieba.posseg.cut(text, HMM=guessing)]
