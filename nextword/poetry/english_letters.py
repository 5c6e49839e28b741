"""Which tokens write the words of a lexicon, from any letter on: arrays over all words at once.

W words of a lexicon, in its order; letters are numbers, as in `Lexicon.letters`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nextword.poetry.english_line import Words
from nextword.poetry.lexicon import LETTERS, number


class Steps:
    """The tokens that may be next where a word is spelt: P pairs of a word and a token, in the order of the words."""

    def __init__(self, words: np.ndarray, ids: np.ndarray, size: int) -> None:
        """`words` and `ids` (P,); `size`: W."""
        self.words, self.ids = words, ids
        self.first = np.concatenate([[0], np.bincount(words, minlength=size).cumsum()])
        """(W + 1,): the pairs of word w are first[w] up to first[w + 1]."""

    def among(self, words: Words, low: int, high: int) -> np.ndarray:
        """The tokens that lead to a word which may come, from word `low` up to `high`."""
        here = slice(self.first[low], self.first[high])
        found: np.ndarray = self.ids[here][words.may[self.words[here]]]
        return found

    def to(self, words: list[int]) -> np.ndarray:
        """The tokens that lead to any of these words."""
        found: np.ndarray = self.ids[ranges(self.first, np.array(words, dtype=np.int64))]
        return found


class Tree:
    """Tokens by their letters: N beginnings of them, as nodes of a tree, the first being its root."""

    def __init__(self, tokens: Iterable[tuple[str, int]]) -> None:
        """Letters, in lower case, and the id of the token that writes them."""
        nodes = {"": 0}
        ends: list[tuple[int, int]] = []
        for text, id in tokens:
            for end in range(1, len(text) + 1):
                nodes.setdefault(text[:end], len(nodes))
            ends.append((nodes[text], id))
        self.children = np.zeros((len(nodes), len(LETTERS) + 1), dtype=np.int32)
        """[node, letter]: the node that a letter leads to; 0: none."""
        for text, node in nodes.items():
            if text:
                self.children[nodes[text[:-1]], number(text[-1])] = node
        ends.sort()
        self.ids = np.array([id for _, id in ends], dtype=np.int64)
        self.first = np.searchsorted([node for node, _ in ends], np.arange(len(nodes) + 1))
        """(N + 1,): `ids` from first[n] up to first[n + 1] end at node n."""

    def steps(self, letters: np.ndarray, whole: bool) -> Steps:
        """In words (L, W), of which the last row is 0. `whole`: only tokens that write all of a word."""
        words, nodes = np.arange(letters.shape[1], dtype=np.int32), np.zeros(letters.shape[1], dtype=np.int32)
        found = [(words[:0], nodes[:0])]
        for place, row in enumerate(letters):
            nodes = self.children[nodes, row[words]]
            words, nodes = words[nodes > 0], nodes[nodes > 0]
            if not len(words):
                break
            ends = letters[place + 1, words] == 0 if whole else slice(None)
            found.append((words[ends], nodes[ends]))
        words, nodes = map(np.concatenate, zip(*found, strict=True))
        order = np.argsort(words, kind="stable")
        words, nodes = words[order], nodes[order]
        counts = self.first[nodes + 1] - self.first[nodes]
        return Steps(np.repeat(words, counts), self.ids[ranges(self.first, nodes)], letters.shape[1])


def ranges(first: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The numbers from first[i] up to first[i + 1], for each place i.

    >>> ranges(np.array([0, 2, 2, 5]), np.array([2, 0])).tolist()
    [2, 3, 4, 0, 1]
    """
    low, counts = first[places], first[places + 1] - first[places]
    ends = counts.cumsum()
    found: np.ndarray = np.repeat(low + counts - ends, counts) + np.arange(counts.sum())
    return found
