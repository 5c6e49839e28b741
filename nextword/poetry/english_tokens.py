"""The tokens that an English form allows, looked up instead of tried character by character.

A token writes what stands between words (a comma, a space, a line end), then letters. What may stand between words
depends on little (`Turn`). Letters are allowed if they lead to a word that may come: the words that begin so lie side
by side in the lexicon, and of the words that may come it is known how many lie before each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np
import torch
from torch import Tensor

from nextword.poetry.constraint import Node, Vocabulary, spelt
from nextword.poetry.english import BEHIND, EnglishAutomaton, State, Turn
from nextword.poetry.english_line import Words
from nextword.poetry.lexicon import Prefix
from nextword.tokenizers import Tokenizer

RUNS = re.compile(f"[{re.escape(BEHIND)}]|[^{re.escape(BEHIND)}]+")


@dataclass(frozen=True, eq=False)
class Leads:
    """Tokens that write letters on: N tokens, and of each the words that it leads to, from `low` up to `high`."""

    ids: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def among(self, words: Words) -> np.ndarray:
        """The tokens that lead to any word that may come."""
        found: np.ndarray = self.ids[words.before[self.high] > words.before[self.low]]
        return found

    def to(self, words: list[int]) -> np.ndarray:
        """The tokens that lead to any of these words, which are in order."""
        found: np.ndarray = self.ids[np.searchsorted(words, self.high) > np.searchsorted(words, self.low)]
        return found


class Shelf:
    """The tokens of one context, by what they write before their letters."""

    def __init__(self, tokens: Iterable[tuple[int, str, bytes]]) -> None:
        self.marks: dict[str, list[int]] = {}
        """Tokens of no letters."""
        self.letters: dict[str, dict[str, list[int]]] = {}
        """What stands before the letters, the letters -> the tokens, those that end inside an apostrophe included: it
        is the one character that has parts."""
        self.others = Node()
        """Tokens with more behind their letters."""
        for id, text, part in tokens:
            letters = text.lstrip(BEHIND)
            before = text[: len(text) - len(letters)]
            letters = letters.replace("’", "'") + ("'" if part else "")
            if not set(letters).isdisjoint(BEHIND):
                self.others.add(text, part, id)
            elif letters:
                self.letters.setdefault(before, {}).setdefault(letters, []).append(id)
            else:
                self.marks.setdefault(before, []).append(id)


class EnglishVocabulary(Vocabulary[State]):
    """The tokens of a tokenizer under an English form; V of them."""

    def __init__(self, automaton: EnglishAutomaton, tokenizer: Tokenizer) -> None:
        super().__init__(automaton, tokenizer)
        self.english = automaton
        self._shelves: dict[int, Shelf] = {}
        self._turns: dict[tuple[int, Turn], tuple[np.ndarray, list[str]]] = {}
        self._leads = lru_cache(maxsize=1 << 14)(self._find_leads)
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
                self._begin(mask, self._leads(context, before, after.prefix), after)
        else:
            mask = np.zeros(self.pieces.size, dtype=bool)
        if state.place == "word" and state.prefix.letters:
            self._go_on(mask, context, state)
        elif state.place == "word":
            self._begin(mask, self._leads(context, "", state.prefix), state)
        others = self._shelf(context).others
        if others.children:
            mask[self.walk(others, state, self.english.allowed(state))] = True
        return torch.from_numpy(mask)

    def after(self, state: State, text: str) -> State:
        """The letters of a word at once."""
        return reduce(self.english.step, RUNS.findall(text), state)

    def _begin(self, mask: np.ndarray, leads: Leads, state: State) -> None:
        """Allow the tokens that begin a word which may come."""
        for way in state.ways:
            mask |= self._starts(leads, self.english.inside.words(way.stands))
            rhyming, used = self.english.rhyming(state.line, way)
            for words in rhyming:
                mask[leads.to([word for word in words.words if word not in used])] = True

    def _go_on(self, mask: np.ndarray, context: int, state: State) -> None:
        """Allow the tokens that go on with a word towards one which may come."""
        _, _, low, high = prefix = state.prefix
        for way in state.ways:
            words = self.english.inside.words(way.stands)
            if words.before[high] > words.before[low]:
                mask[self._leads(context, "", prefix).among(words)] = True
            rhyming, used = self.english.rhyming(state.line, way)
            for some in rhyming:
                towards = [word for word in some.within(low, high) if word not in used]
                if towards:
                    mask[self._leads(context, "", prefix).to(towards)] = True

    def _find_start(self, leads: Leads, words: Words) -> np.ndarray:
        """(V,) bool: the tokens that may begin a word."""
        mask = np.zeros(self.pieces.size, dtype=bool)
        mask[leads.among(words)] = True
        return mask

    def _between(self, state: State, turn: Turn, context: int) -> tuple[np.ndarray, list[str]]:
        """(V,) bool: the tokens without letters that may come at such a turn as in that state; and what may stand
        before the letters of others."""
        if (context, turn) not in self._turns:
            mask, befores, shelf = np.zeros(self.pieces.size, dtype=bool), [], self._shelf(context)
            for before in {*shelf.marks, *shelf.letters} - {""}:
                after = self._follow(state, before)
                if after is not None:
                    mask[shelf.marks.get(before, [])] = True
                    befores += [before] if after.place == "word" and before in shelf.letters else []
            self._turns[context, turn] = mask, befores
        return self._turns[context, turn]

    def _follow(self, state: State, text: str) -> State | None:
        """Where a text leads; None if it may not come."""
        for character in text:
            if not self.english.allowed(state)[self._index[character]]:
                return None
            state = self.english.step(state, character)
        return state

    def _find_leads(self, context: int, before: str, prefix: Prefix) -> Leads:
        """Where the letters of tokens lead that stand behind a beginning of words."""
        tokens: Mapping[str, list[int]] = self._shelf(context).letters.get(before, {})
        lexicon, texts = self.english.lexicon, tokens.keys()
        if prefix.letters and prefix.high - prefix.longer < len(tokens):
            rests = (word[len(prefix.letters) :] for word in lexicon.words[prefix.longer : prefix.high])
            texts &= {rest[:end] for rest in rests for end in range(1, len(rest) + 1)}
        found: list[tuple[int, int, int]] = []
        for text in texts:
            after = lexicon.beyond(prefix, text)
            if after:
                high = after.longer if self.english.whole else after.high
                found += [(id, after.low, high) for id in tokens[text]]
        return Leads(*np.array(found, dtype=np.int64).reshape(-1, 3).T.copy())

    def _shelf(self, context: int) -> Shelf:
        if context not in self._shelves:
            tokens = spelt(self.pieces, context, b"", self.english.alphabet, self.english.whole)
            self._shelves[context] = Shelf(tokens)
        return self._shelves[context]
