"""Automata over bytes that watch a text as it grows. Know no tokens.

A node is what must be known of the text so far; node 0 is a text that must not be. Source: Aho and Corasick 1975,
"Efficient string matching", for all phrases at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DEAD, ROOT = 0, 1


@dataclass(frozen=True)
class Automaton:
    """N nodes, k required phrases. A text begins at node `start`."""

    table: np.ndarray
    """(N, 256): the node after a byte."""
    says: np.ndarray
    """(N,) bits of what is said by reaching a node: bit i the i-th required phrase, bit k the prefix."""
    partial: np.ndarray
    """(N, k): bytes at the end of the text that the i-th required phrase begins with."""
    start: int


class _Trie:
    """Strings that share their beginnings. `strings[node]` is the way to a node; node 0 is left free for DEAD."""

    def __init__(self, strings: Sequence[bytes]) -> None:
        self.strings = [b"", b""]
        self.children: list[dict[int, int]] = [{}, {}]
        self.ends = [self._add(string) for string in strings]

    def _add(self, string: bytes) -> int:
        node = ROOT
        for at, byte in enumerate(string):
            if byte not in self.children[node]:
                self.children[node][byte] = len(self.strings)
                self.strings.append(string[: at + 1])
                self.children.append({})
            node = self.children[node][byte]
        return node


def phrases(banned: Sequence[bytes], required: Sequence[bytes], prefix: bytes) -> Automaton:
    """Watches for phrases: none of `banned` may occur, and the text begins with `prefix`, which itself has none."""
    trie = _Trie([*required, *banned])
    N, k = len(trie.strings), len(required)
    table, says = np.zeros((N, 256), dtype=np.int32), np.zeros(N, dtype=np.int64)
    partial, dead = np.zeros((N, k), dtype=np.int32), np.zeros(N, dtype=bool)
    for bit, end in enumerate(trie.ends[:k]):
        says[end] |= 1 << bit
    dead[trie.ends[k:]] = True
    dead[DEAD] = True
    fail = {ROOT: DEAD}
    queue = [ROOT]
    for node in queue:  # breadth first: the longest proper end of a node's string has its row already
        back = fail[node]
        table[node] = table[back] if back else ROOT
        says[node] |= says[back]
        dead[node] |= dead[back] and back != DEAD
        partial[node] = partial[back]
        for bit, phrase in enumerate(required):
            if phrase.startswith(trie.strings[node]):
                partial[node, bit] = len(trie.strings[node])
        for byte, child in trie.children[node].items():
            fail[child] = int(table[node, byte])
            queue.append(child)
        for byte, child in trie.children[node].items():
            table[node, byte] = child
    table[dead[table]] = DEAD
    table[DEAD] = DEAD
    whole = Automaton(table, says, partial, ROOT)
    return _after_prefix(whole, prefix) if prefix else whole


def _after_prefix(whole: Automaton, prefix: bytes) -> Automaton:
    """The same behind a chain of nodes on which only `prefix` can be said; its end is a node of its own."""
    nodes = [ROOT]
    for byte in prefix:
        nodes.append(int(whole.table[nodes[-1], byte]))
    N, k = len(whole.says), whole.partial.shape[1]
    chain = np.zeros((len(nodes), 256), dtype=np.int32)
    chain[np.arange(len(prefix)), list(prefix)] = N + 1 + np.arange(len(prefix))
    chain[-1] = whole.table[nodes[-1]]
    said = whole.says[nodes]
    said[-1] |= 1 << k
    return Automaton(
        np.concatenate([whole.table, chain]),
        np.concatenate([whole.says, said]),
        np.concatenate([whole.partial, whole.partial[nodes]]),
        N,
    )


def one_of(choices: Sequence[bytes]) -> tuple[Automaton, list[bytes], list[int]]:
    """Only `choices` can be said; also the string that leads to each node, and the node where each choice ends."""
    trie = _Trie(choices)
    N = len(trie.strings)
    table = np.zeros((N, 256), dtype=np.int32)
    for node, children in enumerate(trie.children):
        for byte, child in children.items():
            table[node, byte] = child
    return (
        Automaton(table, np.zeros(N, dtype=np.int64), np.zeros((N, 0), dtype=np.int32), ROOT),
        trie.strings,
        trie.ends,
    )
