"""The tokens that an English form allows, looked up instead of tried character by character.

A token writes what stands between words (a comma, a space, a line end), then letters. What may stand between words
depends on little (`Turn`). Letters are allowed if they lead to a word that may come: the words that begin so lie side
by side in the lexicon, and of the words that may come it is known how many lie before each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, reduce

import numpy as np
import torch
from torch import Tensor

from nextword.poetry.constraint import Node, Vocabulary, spelt
from nextword.poetry.english import BEHIND, EnglishAutomaton, State, Turn
from nextword.poetry.english_line import Rhyming, Words
from nextword.poetry.lexicon import Prefix
from nextword.tokenizers import Tokenizer

APOSTROPHE = "’".encode()  # the one character of the alphabet that tokens may hold a part of


@dataclass(frozen=True, eq=False)
class Leads:
    """Tokens that write letters on: N tokens, and of each the words that it leads to, from `low` up to `high`."""

    ids: np.ndarray
    low: np.ndarray
    high: np.ndarray
    _to: dict[int, np.ndarray] = field(default_factory=dict)
    _to_any: dict[Rhyming, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def among(self, words: Words) -> np.ndarray:
        """The tokens that lead to any word that may come."""
        found: np.ndarray = self.ids[words.before[self.high] > words.before[self.low]]
        return found

    def to(self, word: int) -> np.ndarray:
        """The tokens that lead to a word."""
        if word not in self._to:
            self._to[word] = self.ids[(self.low <= word) & (word < self.high)]
        return self._to[word]

    def to_any(self, rhyming: Rhyming, used: frozenset[int]) -> np.ndarray:
        """The tokens that lead to any of some words, those used apart."""
        if rhyming not in self._to_any:
            tokens = [self.to(word) for word in rhyming.words]
            words = np.repeat(np.array(rhyming.words, dtype=np.int64), [*map(len, tokens)])
            self._to_any[rhyming] = np.concatenate([np.zeros(0, dtype=np.int64), *tokens]), words
        ids, words = self._to_any[rhyming]
        for word in used:
            ids, words = ids[words != word], words[words != word]
        return ids


class Shelf:
    """The tokens of one context, by what they write before their letters."""

    def __init__(self, tokens: Iterable[tuple[int, str, bytes]]) -> None:
        self.trees: dict[str, Node] = {}
        """What stands before the letters -> the letters behind it, down to none at all."""
        self.others = Node()
        """Tokens with more behind their letters."""
        for id, text, part in tokens:
            letters = text.lstrip(BEHIND)
            if set(letters).isdisjoint(BEHIND):
                before = text[: len(text) - len(letters)]
                self.trees.setdefault(before, Node()).add(letters, part, id)
            else:
                self.others.add(text, part, id)
        self.letters = self.trees.pop("", Node())
        """Tokens of letters alone."""


class EnglishVocabulary(Vocabulary[State]):
    """The tokens of a tokenizer under an English form; V of them."""

    def __init__(self, automaton: EnglishAutomaton, tokenizer: Tokenizer) -> None:
        super().__init__(automaton, tokenizer)
        self.english = automaton
        self._shelves: dict[int, Shelf] = {}
        self._leads: dict[tuple[int, str, Prefix], Leads] = {}
        self._turns: dict[tuple[int, Turn], tuple[np.ndarray, list[str]]] = {}
        self._starts = lru_cache(maxsize=256)(self._find_start)

    def mask(self, state: State, context: int, begun: bytes) -> Tensor:
        """(V,) bool: as of `Vocabulary`."""
        if begun or self.english.finished(state):
            return super().mask(state, context, begun)
        behind = self.english.behind(state)
        if any(behind) or state.place == "gap":
            mask, befores = self._between(state, self.english.turn(state, behind), context)
            mask = mask.copy()
            for before in befores:
                after = reduce(self.english.step, before, state)
                self._begin(mask, self.leads(context, before, after.prefix), after)
        else:
            mask = np.zeros(self.pieces.size, dtype=bool)
        if state.place == "word" and state.prefix.depth == 0:
            self._begin(mask, self.leads(context, "", state.prefix), state)
        elif state.place == "word":
            self._go_on(mask, context, state)
        others = self._shelf(context).others
        if others.children:
            mask[self.walk(others, state, self.english.allowed(state))] = True
        return torch.from_numpy(mask)

    def _begin(self, mask: np.ndarray, leads: Leads, state: State) -> None:
        """Allow the tokens that begin a word which may come."""
        for way in state.ways:
            mask |= self._starts(leads, self.english.inside.words(way.stands))
            rhyming, used = self.english.rhyming(state.line, way)
            for words in rhyming:
                mask[leads.to_any(words, used)] = True

    def _go_on(self, mask: np.ndarray, context: int, state: State) -> None:
        """Allow the tokens that go on with a word towards one which may come."""
        prefix = state.prefix
        low, high = prefix.low + prefix.is_word, prefix.high
        for way in state.ways:
            words = self.english.inside.words(way.stands)
            if words.before[high] > words.before[low]:
                mask[self.leads(context, "", prefix).among(words)] = True
            rhyming, used = self.english.rhyming(state.line, way)
            for word in (word for some in rhyming for word in some.within(low, high) if word not in used):
                mask[self.leads(context, "", prefix).to(word)] = True

    def _find_start(self, leads: Leads, words: Words) -> np.ndarray:
        """(V,) bool: the tokens that may begin a word."""
        mask = np.zeros(self.pieces.size, dtype=bool)
        mask[leads.among(words)] = True
        return mask

    def _between(self, state: State, turn: Turn, context: int) -> tuple[np.ndarray, list[str]]:
        """(V,) bool: the tokens without letters that may come at such a turn as in that state; and what may stand
        before the letters of others."""
        if (context, turn) not in self._turns:
            mask, befores = np.zeros(self.pieces.size, dtype=bool), []
            for before, tree in self._shelf(context).trees.items():
                after = self._follow(state, before)
                if after is not None:
                    mask[tree.ids] = True
                    befores += [before] if after.place == "word" and (tree.children or tree.parts) else []
            self._turns[context, turn] = mask, befores
        return self._turns[context, turn]

    def _follow(self, state: State, text: str) -> State | None:
        """Where a text leads; None if it may not come."""
        for character in text:
            if not self.english.allowed(state)[self._index[character]]:
                return None
            state = self.english.step(state, character)
        return state

    def leads(self, context: int, before: str, prefix: Prefix) -> Leads:
        """Where the letters of tokens lead that stand behind a beginning of words."""
        key = context, before, prefix
        if key not in self._leads:
            shelf = self._shelf(context)
            tree = shelf.trees[before] if before else shelf.letters
            found = np.array(list(self._spans(tree, prefix)), dtype=np.int64).reshape(-1, 3)
            self._leads[key] = Leads(*found.T.copy())
        return self._leads[key]

    def _spans(self, tree: Node, prefix: Prefix) -> Iterator[tuple[int, int, int]]:
        """Of each token of a tree: its id, and the words that it leads to from there."""
        for character, after in prefix.children.items():
            if character == "’":
                yield from ((id, after.low, after.high) for id, part in tree.parts if APOSTROPHE.startswith(part))
            child = tree.children.get(character)
            if child:
                high = after.low + after.is_word if self.english.whole else after.high
                yield from ((id, after.low, high) for id in child.ids)
                yield from self._spans(child, after)

    def _shelf(self, context: int) -> Shelf:
        if context not in self._shelves:
            tokens = spelt(self.pieces, context, b"", self.english.alphabet, self.english.whole)
            self._shelves[context] = Shelf(tokens)
        return self._shelves[context]
