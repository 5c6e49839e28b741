"""A tokenizer of code points and corpora of known tokens, for the tests of this folder."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from hypothesis import strategies as st
from toys import write_tokens

from nextword.data.token_files import TokenFiles

sizes = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=12).filter(
    lambda sizes: sum(prompt + target + 1 for prompt, target in sizes) >= 2
)
"""(prompt tokens, target tokens) of each example."""


class CodePoints:
    """Token = code point + 2, up to a limit above which all is unknown; <eos> is 0, unknown is 1."""

    kind = "code points"
    eos_id = 0
    unk_id = 1

    def __init__(self, vocab_size: int = 40_000) -> None:
        self.vocab_size = vocab_size

    @property
    def source(self) -> CodePoints:
        return self

    def fingerprint(self) -> str:
        return f"code points {self.vocab_size}"

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[ord(c) + 2 if ord(c) + 2 < self.vocab_size else self.unk_id for c in text] for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        return "".join("<eos>" if i == self.eos_id else chr(int(i) - 2) for i in ids)

    def save(self, folder: Path) -> None:
        (folder / "tokenizer.json").write_text(json.dumps({"vocab_size": self.vocab_size}), encoding="utf-8")


def write(
    folder: Path,
    examples: Sequence[tuple[list[int], list[int]]],
    shard_tokens: int = 2**20,
    tokenizer: CodePoints | None = None,
) -> TokenFiles:
    """Token files of (prompt ids, target ids); each target id stands for one byte."""
    return write_tokens(folder, examples, tokenizer or CodePoints(), shard_tokens)


def flat(examples: Sequence[tuple[list[int], list[int]]]) -> tuple[list[int], list[bool]]:
    """The stream these examples make, token by token, and which of them carry loss: the reference."""
    ids, mask = [], []
    for prompt, target in examples:
        ids += [*prompt, *target, 0]
        mask += [False] * len(prompt) + [True] * (len(target) + 1)
    return ids, mask


@contextmanager
def counting_corpus(sizes, shard_tokens=2**20):
    """Token files where every token but <eos> is different, and their flat stream and mask."""
    number = itertools.count(2)
    corpus = [([next(number) for _ in range(p)], [next(number) for _ in range(t)]) for p, t in sizes]
    with tempfile.TemporaryDirectory() as folder:
        yield write(Path(folder), corpus, shard_tokens), *flat(corpus)


def pairs(batches):
    """(input, target) of every position that carries loss."""
    for batch in batches:
        keep = batch.targets != -100
        yield from zip(batch.inputs[keep].tolist(), batch.targets[keep].tolist(), strict=True)


def expected_pairs(stream, mask):
    """Each token with loss, predicted from the one before; the first from <eos>."""
    return sorted((before, token) for before, token, loss in zip([0, *stream], stream, mask, strict=False) if loss)


def equal(one, other):
    tensors = ((getattr(batch, name) for name in ("inputs", "targets", "starts")) for batch in (one, other))
    return one.fresh == other.fresh and all(
        a is b if a is None or b is None else torch.equal(a, b) for a, b in zip(*tensors, strict=True)
    )
