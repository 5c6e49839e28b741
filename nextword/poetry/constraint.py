"""What an automaton over characters allows, in tokens: whole characters, several at once, and parts of one.

A token is allowed if its text is a path through the automaton, however the vocabulary cuts it: characters, words, byte
pairs. Where tokens hold parts of characters (byte-level BPE), a part is allowed if an allowed character begins so.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, reduce
from typing import Generic, Self

import numpy as np
import torch
from torch import Tensor

from nextword.constraints.pieces import Pieces, token_pieces
from nextword.decoding.constraints import Constraint
from nextword.poetry.automaton import Automaton, State
from nextword.tokenizers import Tokenizer


def spellable(tokenizer: Tokenizer) -> set[str] | None:
    """The characters that can be written wherever they are allowed: those with a token of their own. None: all, since
    each byte has one."""
    if tokenizer.is_byte_level:
        return None
    pieces = token_pieces(tokenizer)
    singles = ({piece.decode() for piece in ids if is_character(piece)} for ids in pieces.ids_of)
    return set.intersection(*singles)


def is_character(piece: bytes) -> bool:
    """Whether it is one character in UTF-8."""
    try:
        return len(piece.decode()) == 1
    except UnicodeDecodeError:
        return False


@dataclass
class Node:
    """In a tree of tokens of several characters: those that end here, and those that go on."""

    ids: list[int] = field(default_factory=list)
    parts: list[tuple[int, bytes]] = field(default_factory=list)
    """Tokens that end inside the next character, with the bytes of it that they hold."""
    children: dict[str, Node] = field(default_factory=dict)

    def add(self, text: str, part: bytes, id: int) -> None:
        """A token that writes a text, and behind it part of a character."""
        node = self
        for character in text:
            node = node.children.setdefault(character, Node())
        if part:
            node.parts.append((id, part))
        else:
            node.ids.append(id)


def spelt(pieces: Pieces, context: int, begun: bytes, alphabet: str, whole: bool) -> Iterator[tuple[int, str, bytes]]:
    """The tokens that could come behind some bytes of a character begun: what each writes, and the part of a character
    behind it.

    `whole`: words are tokens of their own, and one must be able to follow: behind some punctuation no space is written.
    """
    known = set(alphabet)
    begun_characters = {data[:end] for data in map(str.encode, alphabet) for end in range(1, len(data))}
    for id, piece in pieces.rows[context].items():
        if id in pieces.vague or not piece or (begun and not 0x80 <= piece[0] < 0xC0):
            continue
        text, part = cut(begun + piece)
        if text is None or not known.issuperset(text) or (part and part not in begun_characters):
            continue
        if whole and pieces.after[id] != pieces.joined and not text.endswith("\n"):
            continue
        yield id, text, part


class Spelling:
    """What each token writes behind some bytes of a character begun: V ids, A characters of the alphabet."""

    def __init__(self, pieces: Pieces, context: int, begun: bytes, alphabet: str, whole: bool) -> None:
        """As for `spelt`."""
        index = {character: i for i, character in enumerate(alphabet)}
        self.places = np.full(pieces.size, len(index), dtype=np.int32)
        """(V,): the character that a token writes; A for all other tokens."""
        self.tree = Node()
        """Of the others: those that write several characters, or part of one."""
        for id, text, part in spelt(pieces, context, begun, alphabet, whole):
            if len(text) == 1 and not part:
                self.places[id] = index[text]
            else:
                self.tree.add(text, part, id)
        self.plain = not (self.tree.children or self.tree.parts)
        """There are no others."""


spelling_of = lru_cache(maxsize=256)(Spelling)
"""The same spelling again: many poems are written in one alphabet."""


@lru_cache(maxsize=1 << 14)
def cut(data: bytes) -> tuple[str | None, bytes]:
    """The whole characters, and the bytes of one that is begun behind them; None for what is no UTF-8.

    >>> cut("月光".encode()[:5]) == ("月", "光".encode()[:2])
    True
    """
    for end in range(len(data), max(-1, len(data) - 4), -1):
        try:
            whole = data[:end].decode()
        except UnicodeDecodeError:
            continue
        return whole, data[end:]
    return None, b""


class Vocabulary(Generic[State]):
    """The tokens of a tokenizer under an automaton, tried character by character; shared by all poems of a request."""

    def __init__(self, automaton: Automaton[State], tokenizer: Tokenizer) -> None:
        self.automaton, self.pieces = automaton, token_pieces(tokenizer)
        self._begins: dict[bytes, slice] = {}

    def mask(self, state: State, context: int, begun: bytes) -> Tensor:
        """(V,) bool: the tokens allowed in a state, behind some bytes of a character begun."""
        if self.automaton.finished(state):
            mask = np.zeros(self.pieces.size, dtype=bool)
            mask[self.pieces.eos_id] = True
            return torch.from_numpy(mask)
        spelling = spelling_of(self.pieces, context, begun, self.automaton.alphabet, self.automaton.whole)
        allowed = self.automaton.allowed(state)
        mask = np.append(allowed, False)[spelling.places]
        if self.automaton.whole:
            for id in np.flatnonzero(mask):
                after = self.automaton.step(state, self.automaton.alphabet[spelling.places[id]])
                mask[id] = self.automaton.rests(after)
        if not spelling.plain:
            mask[self.walk(spelling.tree, state, allowed)] = True
        return torch.from_numpy(mask)

    def after(self, state: State, text: str) -> State:
        """Where an allowed text leads."""
        return reduce(self.automaton.step, text, state)

    def walk(self, node: Node, state: State, allowed: np.ndarray) -> list[int]:
        """The tokens of a tree that are paths."""
        ends_here = not self.automaton.whole or self.automaton.rests(state)
        found = [*(node.ids if ends_here else ()), *(i for i, part in node.parts if allowed[self.begins(part)].any())]
        for character, child in node.children.items():
            if allowed[self._index[character]]:
                after = self.automaton.step(state, character)
                onwards = self.automaton.whole or child.parts or child.children
                found += self.walk(child, after, self.automaton.allowed(after)) if onwards else child.ids
        return found

    def begins(self, part: bytes) -> slice:
        """The characters of the alphabet that begin with these bytes: UTF-8 keeps the order of code points."""
        if part not in self._begins:
            self._begins[part] = slice(bisect_left(self._bytes, part), bisect_left(self._bytes, part + b"\xff"))
        return self._begins[part]

    @cached_property
    def most_tokens(self) -> int:
        """Of a poem, with its `<eos>`: one for each byte."""
        return max(map(len, self._bytes)) * self.automaton.longest + 1

    @cached_property
    def _bytes(self) -> list[bytes]:
        return [character.encode() for character in self.automaton.alphabet]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {character: i for i, character in enumerate(self.automaton.alphabet)}


class VerseConstraint(Constraint, Generic[State]):
    """One poem on its way through an automaton; the text ends where the automaton does."""

    def __init__(self, vocabulary: Vocabulary[State]) -> None:
        self.vocabulary = vocabulary
        self.state = vocabulary.automaton.start()
        self.context, self.begun = 0, b""

    def mask(self, room: int) -> Tensor:
        """Whatever the room: give a poem `most_tokens` of its vocabulary."""
        return self.vocabulary.mask(self.state, self.context, self.begun)

    def accept(self, token: int) -> None:
        """Write the characters of a token."""
        pieces = self.vocabulary.pieces
        if token not in pieces.rows[self.context]:
            return
        whole, self.begun = cut(self.begun + pieces.rows[self.context][token])
        self.state = self.vocabulary.after(self.state, whole or "")
        self.context = int(pieces.after[token])

    def fork(self) -> Self:
        """States are not changed, only replaced."""
        copy = type(self)(self.vocabulary)
        copy.state, copy.context, copy.begun = self.state, self.context, self.begun
        return copy
