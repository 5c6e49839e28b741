"""The tokens that an English form allows, looked up instead of tried character by character.

A token writes what stands between words (a comma, a space, a line end), then letters. What may stand between words
depends on little (`Turn`). Letters are allowed if they lead to a word that may come: the words that begin with those
written so far lie side by side in the lexicon, and the tokens that write each of them on are known (`Steps`).
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from functools import lru_cache, reduce

import numpy as np
import torch
from torch import Tensor

from nextword.poetry.constraint import Node, Vocabulary, spelt
from nextword.poetry.english import BEHIND, EnglishAutomaton, State, Turn, Way
from nextword.poetry.english_letters import Steps, Tree
from nextword.poetry.english_line import Words
from nextword.poetry.lexicon import LETTERS
from nextword.tokenizers import Tokenizer

MOST_OPENINGS, OPENINGS_MEMORY = 1 << 12, 1 << 27
"""How many are kept, and how many bytes they may take: each has one for every token."""
RUN = re.compile(f"[{re.escape(BEHIND)}]|[^{re.escape(BEHIND)}]+")


@lru_cache(maxsize=1 << 14)
def runs(text: str) -> list[str]:
    """Letters at once, what stands between words character by character."""
    return RUN.findall(text)


class Shelf:
    """The tokens of one context, by what they write before their letters."""

    def __init__(self, tokens: Iterable[tuple[int, str, bytes]]) -> None:
        self.marks: dict[str, list[int]] = {}
        """Tokens of no letters."""
        self.letters: dict[str, list[tuple[str, int]]] = {}
        """What stands before letters -> the letters, and the token. One that ends inside an apostrophe, the only
        character that has parts, counts as if it wrote it."""
        self.others = Node()
        """Tokens with more behind their letters."""
        for id, text, part in tokens:
            letters = text.lstrip(BEHIND)
            before = text[: len(text) - len(letters)]
            letters = letters.replace("’", "'") + ("'" if part else "")
            if not set(letters).isdisjoint(BEHIND):
                self.others.add(text, part, id)
            elif letters:
                self.letters.setdefault(before, []).append((letters, id))
            else:
                self.marks.setdefault(before, []).append(id)


class EnglishVocabulary(Vocabulary[State]):
    """The tokens of a tokenizer under an English form; V of them."""

    def __init__(self, automaton: EnglishAutomaton, tokenizer: Tokenizer) -> None:
        super().__init__(automaton, tokenizer)
        self.english = automaton
        self._shelves: dict[int, Shelf] = {}
        self._turns: dict[tuple[int, Turn], tuple[np.ndarray, list[str]]] = {}
        self._openings: dict[Hashable, np.ndarray] = {}
        self._nothing = np.zeros(self.pieces.size, dtype=bool)
        self._most_openings = max(1, min(MOST_OPENINGS, OPENINGS_MEMORY // self.pieces.size))
        self._tree = lru_cache(maxsize=16)(self._find_tree)
        self._steps = lru_cache(maxsize=64)(self._find_steps)
        self._starts = lru_cache(maxsize=256)(self._find_start)

    def mask(self, state: State, context: int, begun: bytes) -> Tensor:
        """(V,) bool: as of `Vocabulary`."""
        if begun or self.english.finished(state):
            return super().mask(state, context, begun)
        amid = state.prefix.letters and not any(state.behind)
        mask = self._nothing if amid else self._opening(state, context)
        others = self._shelf(context).others
        goes_on = state.prefix.letters and state.prefix.longer < state.prefix.high
        if goes_on or others.children:
            mask = mask.copy()
        if goes_on:
            self._go_on(mask, self._steps(context, "", len(state.prefix.letters)), state)
        if others.children:
            mask[self.walk(others, state, self.english.allowed(state))] = True
        return torch.from_numpy(mask)

    def after(self, state: State, text: str) -> State:
        """As of `Vocabulary`, the letters of a word at once."""
        return reduce(self.english.step, runs(text), state)

    def _opening(self, state: State, context: int) -> np.ndarray:
        """(V,) bool: the tokens that do not go on with a word begun. Not to be written to: it is kept, by all that
        decides about it, and most of that is the same in many poems."""
        line, ways, behind, prefix, _ = state
        turn, begun = self.english.turn(state), () if prefix.letters else ways
        onwards, next_line = behind.ways, self.english.beginnings(line, behind.ended)
        key = context, turn, _asked(line, begun), _asked(line, onwards), _asked(line + 1, next_line)
        if key not in self._openings:
            if len(self._openings) == self._most_openings:
                del self._openings[next(iter(self._openings))]  # the oldest
            self._openings[key] = self._find_opening(state, turn, context)
        return self._openings[key]

    def _find_opening(self, state: State, turn: Turn, context: int) -> np.ndarray:
        between, befores = self._between(state, turn, context)
        mask = between.copy()
        for before in befores:
            self._begin(mask, self._steps(context, before, 0), reduce(self.english.step, before, state))
        if state.place == "word" and not state.prefix.letters:
            self._begin(mask, self._steps(context, "", 0), state)
        return mask

    def _begin(self, mask: np.ndarray, steps: Steps, state: State) -> None:
        """Allow the tokens that begin a word which may come."""
        for words in self._words(state):
            mask |= self._starts(steps, words)
        self._rhyme(mask, steps, state)

    def _go_on(self, mask: np.ndarray, steps: Steps, state: State) -> None:
        """Allow the tokens that go on with a word towards one which may come."""
        for words in self._words(state):
            mask[steps.among(words, state.prefix.low, state.prefix.high)] = True
        self._rhyme(mask, steps, state)

    def _words(self, state: State) -> set[Words]:
        """Which words may come, those apart that end a line by a class already chosen; several ways often ask the
        same."""
        return {self.english.inside.words(way.stands) for way in state.ways}

    def _rhyme(self, mask: np.ndarray, steps: Steps, state: State) -> None:
        """Allow the tokens that lead to a word which ends the line by a class already chosen."""
        for way in state.ways:
            words = self.english.rhyming(state.line, way, state.prefix.low, state.prefix.high)
            if words:
                mask[steps.to(words)] = True

    def _find_start(self, steps: Steps, words: Words) -> np.ndarray:
        """(V,) bool: the tokens that may begin a word."""
        mask = np.zeros(self.pieces.size, dtype=bool)
        mask[steps.among(words, 0, len(words.may))] = True
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

    def _find_steps(self, context: int, before: str, depth: int) -> Steps:
        """The tokens that go on behind so many letters of words."""
        return self._tree(context, before, depth == 0).steps(self.english.lexicon.letters[depth:], self.english.whole)

    def _find_tree(self, context: int, before: str, first: bool) -> Tree:
        """The tokens of letters behind what stands before them. `first`: the first letter may be a capital."""
        tokens: Iterable[tuple[str, int]] = self._shelf(context).letters.get(before, [])
        if first:
            tokens = ((letters[0].lower() + letters[1:], id) for letters, id in tokens)
        return Tree((letters, id) for letters, id in tokens if set(letters).issubset(LETTERS))

    def _shelf(self, context: int) -> Shelf:
        if context not in self._shelves:
            tokens = spelt(self.pieces, context, b"", self.english.alphabet, self.english.whole)
            self._shelves[context] = Shelf(tokens)
        return self._shelves[context]


def _asked(line: int, ways: tuple[Way, ...]) -> tuple[Hashable, ...]:
    """All that decides which words may begin in a line: what rhymes are chosen only where a word could end it."""
    return tuple((line, way) if way.stands.closed else way.stands for way in ways)
