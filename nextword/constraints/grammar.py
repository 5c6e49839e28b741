"""Constraints by a regular expression, a JSON schema or a context-free grammar, through the library llguidance.

Which tokens may come next is exact, and a text may end where the grammar lets it. What the library does not know is
how many tokens an end is away: a text that max_tokens cuts off is the beginning of one that matches.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import regex  # type: ignore[import-untyped]
import torch
from torch import Tensor

from nextword.constraints.pieces import Pieces
from nextword.decoding.config import GenerationConfig
from nextword.decoding.constraints import Constraint
from nextword.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

# Otherwise the library allows one way only to cut a text that is forced, of a tokenizer that it thinks it knows.
ANY_CUT = '\n%llguidance {"no_forcing": true}\n'


def grammar_constraint(config: GenerationConfig, pieces: Pieces) -> GrammarConstraint | None:
    """What `regex`, `json_schema` or `grammar` allow; None without one of them.

    Raises UsageError if it is not valid or nothing can match it, and MissingExtra without the library.
    """
    name = next((name for name in ("regex", "json_schema", "grammar") if getattr(config, name) not in ("", None)), None)
    if name is None:
        return None
    try:
        import llguidance
    except ImportError:
        raise MissingExtra("llguidance", "grammar", name) from None
    match name:
        case "regex":
            source = f"start: /{llguidance.regex_to_lark(config.regex, use_ascii='')}/"
        case "json_schema":
            source = f"start: %json {json.dumps(config.json_schema)}"
        case _:
            source = config.grammar
    return GrammarConstraint(_matcher(pieces, name, source).deep_copy(), pieces)


@lru_cache(maxsize=16)
def _matcher(pieces: Pieces, name: str, source: str) -> LLMatcher:
    """The library's parser at the beginning of a text, to be copied. Raises UsageError as `grammar_constraint` does."""
    from llguidance import LLMatcher

    start = LLMatcher(_ll_tokenizer(pieces), source + ANY_CUT, log_level=0)
    if start.is_error():
        raise UsageError(f"{name}: {_reason(name, start.get_error())}")
    trial = start.deep_copy()
    trial.compute_bitmask()
    if trial.is_error():
        raise UsageError(f"{name}: no text of this tokenizer's tokens matches it")
    return start


def _reason(name: str, error: str) -> str:
    """The one line of an error of the library that says what is wrong.

    >>> _reason("regex", 'at 1(8): invalid regex "(a": regex parse error:\\n (a\\n ^\\nerror: unclosed group')
    'unclosed group'
    """
    first, *rest = error.splitlines()
    told = next((line.removeprefix("error: ") for line in rest if line.startswith("error: ")), first)
    return told if name == "grammar" else regex.sub(r"^at \d+\(\d+\): ", "", told)  # a place in what we have written


@lru_cache(maxsize=4)
def _ll_tokenizer(pieces: Pieces) -> LLTokenizer:
    """The library's view of a vocabulary. In context c, the token `id` has the number c * V + id there."""
    from llguidance import LLTokenizer, TokenizerWrapper

    return LLTokenizer(TokenizerWrapper(_Vocabulary(pieces)))


class _Vocabulary:
    """What the library asks of a tokenizer. A token of no bytes is never allowed."""

    bos_token_id = None

    def __init__(self, pieces: Pieces) -> None:
        self.eos_token_id = pieces.eos_id
        self.special_token_ids = [pieces.eos_id]
        self.tokens = [
            b"" if id == pieces.unk_id else row.get(id, b"") for row in pieces.rows for id in range(pieces.size)
        ]
        self.tokens[pieces.eos_id] = b"<eos>"

    def __call__(self, text: Any) -> list[int]:
        """Only asked for where text is forced, which ANY_CUT turns off."""
        return []


class GrammarConstraint(Constraint):
    """One row's place in a grammar. Made by `grammar_constraint`."""

    def __init__(self, matcher: LLMatcher, pieces: Pieces) -> None:
        self.matcher, self.pieces, self.context = matcher, pieces, 0

    def mask(self, room: int) -> Tensor:
        """What the grammar allows, whatever the room. Nothing at all where the vocabulary cannot spell what follows."""
        allowed = np.frombuffer(self.matcher.compute_logit_bias(), dtype=np.uint8) > 0  # (C * V,)
        here = allowed[self.context * self.pieces.size :][: self.pieces.size]
        here[self.pieces.eos_id] = allowed[self.pieces.eos_id]
        return torch.from_numpy(here & (not self.matcher.is_error()))

    def accept(self, token: int) -> None:
        """Move on; a token that adds no text leaves all as it is."""
        if token in self.pieces.rows[0]:
            self.matcher.consume_token(self.context * self.pieces.size + token)
            self.context = int(self.pieces.after[token])

    def fork(self) -> Self:
        """A copy of the parser's state; the grammar is shared."""
        copy = type(self)(self.matcher.deep_copy(), self.pieces)
        copy.context = self.context
        return copy
