"""Constraints on the text itself: banned and required words, a prefix, a choice, however the text is cut into tokens.

`Rules` hold what all rows share: an automaton over bytes, and for each of its states how many tokens it may take until
everything required is said. A token is allowed if what is left to say after it still fits. `TextConstraint` is one row.

The number of tokens is an upper bound by construction: the fewest for the phrase said next, among a choice of tokens
that spell phrases, and for each further phrase the most it takes from any state in which another one ends. From every
state at least one token lowers it, so that a text that begins within the bound can always be finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor

from nextword.constraints.automaton import DEAD, ROOT, Automaton, one_of, phrases
from nextword.constraints.pieces import Pieces
from nextword.decoding.constraints import Constraint

NEVER = 10**6  # tokens until the end, where there is none
MASKS = 1024  # kept by rules: of a vocabulary of 50,000 they are 50 MB
BEYOND = 8  # tokens tried for going on beyond the end of a phrase, where they are many


class Rules:
    """What one set of phrases means for one vocabulary. C contexts, N nodes, S = N x C states, A tokens for spelling.

    The state of a text is node * C + context: where the automaton is, and how the next token joins what there is.
    """

    def __init__(self, pieces: Pieces, automaton: Automaton, lengths: Sequence[int], anything: bool) -> None:
        """`lengths` of required phrases in bytes. `anything`: also tokens that are no exact text, such as `<unk>`."""
        self.pieces, self.automaton, self.lengths = pieces, automaton, lengths
        self.forbidden = [] if anything else sorted(pieces.vague)
        S = len(automaton.says) * pieces.contexts
        self.ended = np.full(S, NEVER, dtype=np.int32)
        """(S,): fewest tokens until the text may end, once all is said."""
        self.ended[(DEAD + 1) * pieces.contexts :] = 0
        self.steps = np.zeros((0, S), dtype=np.int32)
        """(phrases, S): fewest tokens until a phrase is said; the prefix is the last phrase."""
        self.worst = np.zeros(0, dtype=np.int32)
        """(phrases,): the same from the worst state in which another phrase ends."""
        self.spelling = np.zeros(0, dtype=np.int32)
        """(A,): the tokens that `wanted` proposes."""
        self._needs: dict[int, np.ndarray] = {}
        self._masks: dict[tuple[int, int, int], Tensor] = {}
        self._wanted: dict[tuple[int, int], list[int]] = {}

    def need(self, said: int) -> np.ndarray:
        """(S,): tokens that suffice until the text may end, given what is said already; NEVER or more: none do."""
        if said not in self._needs:
            left = [bit for bit in range(len(self.worst)) if not said >> bit & 1]
            later = int(self.worst[left].sum())
            ways = [self.steps[bit] + later - self.worst[bit] for bit in left]
            self._needs[said] = np.maximum(np.minimum.reduce(ways), self.ended) if ways else self.ended
        return self._needs[said]

    def mask(self, state: int, said: int, room: int) -> Tensor:
        """(V,) tokens after which the rest still fits into `room` tokens. Shared: not to be written to."""
        need = int(self.need(said)[state])
        # Where nothing fits, as if there were just room enough: better too long than nothing at all.
        room = max(min(room, self._enough), need if need < NEVER else 0)
        key = state, said, room
        if key not in self._masks:
            if len(self._masks) == MASKS:
                self._masks.pop(next(iter(self._masks)))
            self._masks[key] = torch.from_numpy(self._mask(state, said, room))
        return self._masks[key]

    def _mask(self, state: int, said: int, room: int) -> np.ndarray:
        states, says = self.after(state)
        allowed = np.zeros(len(states), dtype=bool)
        for new in np.unique(says):
            allowed |= (says == new) & (self.need(said | int(new))[states] < room)
        allowed[self.forbidden] = False
        allowed[self.pieces.eos_id] = self.need(said)[state] == 0
        return allowed

    @cached_property
    def _enough(self) -> int:
        """From here on, more room makes no difference."""
        need = self.need(0)
        return int(need[need < NEVER].max(initial=0)) + 1

    def after(self, state: int) -> tuple[np.ndarray, np.ndarray]:
        """(V,) the state after each token, and what is said by it; ids that are no pieces lead to DEAD."""
        node, context = divmod(state, self.pieces.contexts)
        nodes, says = self.pieces.run(self.automaton.table, self.automaton.says, node, context)
        return nodes * self.pieces.contexts + self.pieces.after, says

    def step(self, state: int, token: int) -> tuple[int, int]:
        """The same for one token."""
        node, context = divmod(state, self.pieces.contexts)
        said = 0
        for byte in self.pieces.rows[context].get(token, b""):
            node = int(self.automaton.table[node, byte])
            said |= int(self.automaton.says[node])
        return node * self.pieces.contexts + int(self.pieces.after[token]), said

    def wanted(self, state: int, said: int) -> list[int]:
        """Tokens of the shortest ways to say one of the required phrases that are left."""
        key = state, said
        if key not in self._wanted:
            left = [bit for bit in range(len(self.lengths)) if not said >> bit & 1]
            moves = [(int(token), *self.step(state, int(token))) for token in self.spelling] if left else []
            self._wanted[key] = [
                token
                for token, next, says in moves
                if self.need(said | says)[next] < NEVER
                and any(says >> bit & 1 or self.steps[bit, next] < self.steps[bit, state] for bit in left)
            ]
        return self._wanted[key]


@lru_cache(maxsize=16)
def phrase_rules(pieces: Pieces, banned: tuple[str, ...], required: tuple[str, ...], prefix: str) -> Rules:
    """Rules for banned and required words and a prefix, which itself has no banned word in it.

    Whether they can be kept, `Rules.need(0)` tells of the start.
    """
    words = [word.encode() for word in required]
    automaton = phrases([word.encode() for word in banned], words, prefix.encode())
    rules = Rules(pieces, automaton, [len(word) for word in words], anything=not (required or prefix))
    spelt = [*words, prefix.encode()] if prefix else words
    if spelt:
        rules.spelling = _spelling(rules, spelt)
        rules.steps, rules.worst = _fewest(rules, len(spelt), bool(prefix))
    return rules


def _spelling(rules: Rules, phrases: Sequence[bytes]) -> np.ndarray:
    """(A,): tokens that spell parts of phrases, also after a space or beyond the end, and one for each other effect.

    "Other effect": one token for each state that some token leads to from nowhere, such as any word without a part in
    a phrase, or a word that ends as a phrase begins.
    """
    pieces, found = rules.pieces, set[int]()
    for context, ids_of in enumerate(pieces.ids_of):
        for phrase in phrases:
            for start in range(len(phrase)):
                for end in range(start + 1, min(len(phrase), start + pieces.longest) + 1):
                    found.update(ids_of.get(phrase[start:end], ()))
                    found.update(ids_of.get(b" " + phrase[:end], ()) if start == 0 else ())
                found.update(pieces.beginning(phrase[start:], context, BEYOND))
        states, says = rules.after(ROOT * pieces.contexts + context)
        _, firsts = np.unique(np.stack([states, says]), axis=1, return_index=True)
        found.update(firsts.tolist())
    found &= pieces.rows[0].keys() - pieces.vague
    return np.array(sorted(found), dtype=np.int32)


def _fewest(rules: Rules, count: int, has_prefix: bool) -> tuple[np.ndarray, np.ndarray]:
    """`steps` (count, S) and `worst` (count,) of rules, by relaxation over the tokens in `spelling`."""
    states, says = _moves(rules)
    steps = np.full((count, len(states)), NEVER, dtype=np.int32)
    if has_prefix:  # said wherever one is behind it
        steps[-1, (DEAD + 1) * rules.pieces.contexts : rules.automaton.start * rules.pieces.contexts] = 0
        steps[-1, -rules.pieces.contexts :] = 0
    alive = states >= (DEAD + 1) * rules.pieces.contexts  # (S, A)
    for bit in range(count):
        says_it = alive & (says >> bit & 1).astype(bool)
        while True:
            better = np.minimum(steps[bit], 1 + np.where(says_it, 0, steps[bit][states]).min(1, initial=NEVER))
            if (better == steps[bit]).all():
                break
            steps[bit] = better
    ends = np.unique(states[alive & (says != 0)])
    return steps, steps[:, ends].max(1, initial=0)


def _moves(rules: Rules) -> tuple[np.ndarray, np.ndarray]:
    """(S, A): the state after each token in `spelling`, and what is said by it, from every state."""
    pieces, automaton = rules.pieces, rules.automaton
    N, C, A = len(automaton.says), pieces.contexts, len(rules.spelling)
    states, says = np.zeros((N, C, A), dtype=np.int32), np.zeros((N, C, A), dtype=np.int64)
    for context, row in enumerate(pieces.rows):
        for place, token in enumerate(rules.spelling):
            nodes, said = np.arange(N, dtype=np.int32), np.zeros(N, dtype=np.int64)
            for byte in row.get(int(token), b""):
                nodes = automaton.table[nodes, byte]
                said |= automaton.says[nodes]
            states[:, context, place] = nodes * C + pieces.after[token]
            says[:, context, place] = said
    return states.reshape(N * C, A), says.reshape(N * C, A)


@lru_cache(maxsize=16)
def choice_rules(pieces: Pieces, choices: tuple[str, ...]) -> tuple[Rules, tuple[int, ...]]:
    """Rules under which the text is one of `choices`; also the fewest tokens that spell each, NEVER if none do."""
    automaton, strings, ends = one_of([choice.encode() for choice in choices])
    rules, C = Rules(pieces, automaton, [], anything=False), pieces.contexts
    way = dict(zip(strings[ROOT:], range(ROOT, len(strings)), strict=True))
    moves = []  # (state before, state after), the deepest first
    for string in sorted(way, key=len, reverse=True):
        for length in range(1, min(len(string), pieces.longest) + 1):
            before = way[string[: len(string) - length]] * C
            for context, ids_of in enumerate(pieces.ids_of):
                for token in ids_of.get(string[-length:], ()):
                    moves.append((before + context, way[string] * C + int(pieces.after[token])))
    rules.ended[:] = NEVER
    spelt = np.full(len(rules.ended), NEVER, dtype=np.int32)  # fewest tokens from the beginning
    spelt[automaton.start * C] = 0
    for end in ends:
        rules.ended[end * C : (end + 1) * C] = 0
    for before, next in moves:
        rules.ended[before] = min(rules.ended[before], rules.ended[next] + 1)
    for before, next in reversed(moves):
        spelt[next] = min(spelt[next], spelt[before] + 1)
    return rules, tuple(int(spelt[end * C : (end + 1) * C].min()) for end in ends)


class TextConstraint(Constraint):
    """Rules and where one row is in them. A closing `<eos>` takes one of the row's tokens if `closing`.

    >>> TextConstraint(phrase_rules(token_pieces(tokenizer), ("moon",), (), ""), closing=False)   # doctest: +SKIP
    """

    def __init__(self, rules: Rules, closing: bool, inside: bool = False) -> None:
        """`inside`: the text goes on from other text, and may begin with a space."""
        self.rules, self.closing = rules, closing
        pieces = rules.pieces
        self.state = rules.automaton.start * pieces.contexts + (pieces.joined if inside else 0)
        self.said = 0

    @property
    def need(self) -> int:
        """Tokens that suffice, without `<eos>`, until the text may end; NEVER or more if none do."""
        return int(self.rules.need(self.said)[self.state])

    def mask(self, room: int) -> Tensor:
        """What leaves time for all that is required."""
        return self.rules.mask(self.state, self.said, room - self.closing)

    def accept(self, token: int) -> None:
        """Move on; a token that adds no text leaves all as it is."""
        if token in self.rules.pieces.rows[0]:
            self.state, said = self.rules.step(self.state, token)
            self.said |= said

    def fork(self) -> Self:
        """The rules are shared."""
        copy = type(self).__new__(type(self))
        copy.rules, copy.closing, copy.state, copy.said = self.rules, self.closing, self.state, self.said
        return copy

    def progress(self) -> int:
        """Bytes of required words said so far, and of one begun."""
        lengths, begun = self.rules.lengths, self.rules.automaton.partial[self.state // self.rules.pieces.contexts]
        left = [bit for bit in range(len(lengths)) if not self.said >> bit & 1]
        return sum(lengths) - sum(lengths[bit] for bit in left) + max((int(begun[bit]) for bit in left), default=0)

    def wanted(self) -> list[int]:
        """Tokens that begin a required word that is still to be said, or go on with it."""
        return self.rules.wanted(self.state, self.said)
