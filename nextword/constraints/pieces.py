"""What each token adds to the text, as bytes: what constraints on text are computed from.

In some vocabularies that depends on the token before, on no other: a space is written between two words, but not after
a bracket or at the beginning. So pieces are kept by context, a number that the token before decides. Knows no model.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property, lru_cache

import numpy as np

from nextword.tokenizers import Tokenizer
from nextword.tokenizers.word import MARK


@lru_cache(maxsize=4)
def token_pieces(tokenizer: Tokenizer) -> Pieces:
    """The pieces of a tokenizer, computed once. A special token adds nothing and counts as no piece."""
    names = {id: name for name, id in tokenizer.backend.get_vocab().items() if id not in tokenizer.special_ids}
    if tokenizer.is_byte_level:
        return Pieces(tokenizer, [{id: tokenizer.token_bytes(id) for id in names}], dict.fromkeys(names, 0))
    return Pieces(tokenizer, *_by_context(tokenizer, names))


def _by_context(tokenizer: Tokenizer, names: dict[int, str]) -> tuple[list[dict[int, bytes]], dict[int, int]]:
    """The pieces in each context, the first being the beginning of a text, and the context after each token.

    Contexts are told apart by how one probe token reads in them: a word that a space may precede, if there is one.
    """
    ids = list(names)
    alone = dict(zip(ids, _decode(tokenizer, [[id] for id in ids]), strict=True))
    probe = next((id for id in ids if names[id].startswith(MARK)), ids[0])
    probed = zip(ids, _decode(tokenizer, [[id, probe] for id in ids]), strict=True)
    reading = {id: text[len(alone[id]) :] for id, text in probed}
    rows = [alone]
    context: dict[str, int] = {}
    for id in ids:
        if reading[id] not in context:
            joined = zip(ids, _decode(tokenizer, [[id, next] for next in ids]), strict=True)
            row = {next: text[len(alone[id]) :] for next, text in joined}
            rows += [] if row in rows else [row]
            context[reading[id]] = rows.index(row)
    fallback = {
        id: bytes.fromhex(names[id][3:5]) for id in ids if tokenizer.is_fallback_byte(id) and names[id] > "<0x7F>"
    }
    spelt = [{id: text.encode() for id, text in row.items()} | fallback for row in rows]
    return spelt, {id: context[reading[id]] for id in ids}


def _decode(tokenizer: Tokenizer, batch: list[list[int]]) -> list[str]:
    return tokenizer.backend.decode_batch(batch, skip_special_tokens=False)


class Pieces:
    """Made by `token_pieces`. C contexts, V ids; a text begins in context 0."""

    def __init__(self, tokenizer: Tokenizer, rows: list[dict[int, bytes]], after: dict[int, int]) -> None:
        self.eos_id, self.unk_id, self.size = tokenizer.eos_id, tokenizer.unk_id, tokenizer.vocab_size
        self.rows = rows
        """[context][id]: the bytes that a token adds to the text; without special tokens and ids never used."""
        self.contexts = len(rows)
        self.after = np.zeros(self.size, dtype=np.int32)
        """(V,): the context after each token."""
        self.after[list(after)] = list(after.values())
        self.vague = frozenset(id for id in rows[0] if id == self.unk_id or tokenizer.is_fallback_byte(id))
        """Tokens that are no exact text: `<unk>`, and bytes that are decoded in runs, which are wrong as a whole if one
        byte is (Llama 2)."""
        self._runs = [_Run(row) for row in rows]

    @cached_property
    def joined(self) -> int:
        """The context inside a text: the one that puts most spaces before tokens."""
        return max(range(self.contexts), key=lambda context: sum(map(len, self.rows[context].values())))

    @cached_property
    def ids_of(self) -> list[dict[bytes, list[int]]]:
        """[context]: the ids, vague ones apart, that add these bytes."""
        found: list[dict[bytes, list[int]]] = [{} for _ in self.rows]
        for row, ids in zip(self.rows, found, strict=True):
            for id, piece in row.items():
                if piece and id not in self.vague:
                    ids.setdefault(piece, []).append(id)
        return found

    @cached_property
    def longest(self) -> int:
        """Bytes of the longest piece."""
        return max(len(piece) for row in self.rows for piece in row.values())

    def beginning(self, text: bytes, context: int, limit: int) -> Iterator[int]:
        """Ids of up to `limit` different pieces that go on beyond `text`."""
        pieces = self._sorted[context]
        at = bisect_left(pieces, text + b"\0")
        for piece in pieces[at : at + limit]:
            if piece.startswith(text):
                yield self.ids_of[context][piece][0]

    @cached_property
    def _sorted(self) -> list[list[bytes]]:
        return [sorted(ids) for ids in self.ids_of]

    def run(self, table: np.ndarray, says: np.ndarray, node: int, context: int) -> tuple[np.ndarray, np.ndarray]:
        """Where an automaton is after each token, and all it said on the way: two (V,) arrays; 0 for no piece.

        `table` (N, 256) is the node after a byte, `says` (N,) what reaching a node says, as bits.
        """
        run = self._runs[context]
        nodes, said = np.full(len(run.ids), node, dtype=np.int32), np.zeros(len(run.ids), dtype=np.int64)
        for column in run.columns:
            here = nodes[: len(column)]
            here[:] = table[here, column]
            said[: len(column)] |= says[here]
        all_nodes, all_said = np.zeros(self.size, dtype=np.int32), np.zeros(self.size, dtype=np.int64)
        all_nodes[run.ids], all_said[run.ids] = nodes, said
        return all_nodes, all_said


class _Run:
    """The pieces of one context, the longest first, byte by byte: the work is the sum of their lengths."""

    def __init__(self, row: dict[int, bytes]) -> None:
        ids = sorted(row, key=lambda id: -len(row[id]))
        lengths = np.array([len(row[id]) for id in ids])
        joined = np.frombuffer(b"".join(row[id] for id in ids), dtype=np.uint8)
        starts = np.cumsum(lengths) - lengths
        self.ids = np.array(ids)
        self.columns = [
            joined[starts[: np.count_nonzero(lengths > at)] + at] for at in range(int(lengths.max(initial=0)))
        ]
