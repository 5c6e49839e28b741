"""A tokenizer of code points and corpora of known tokens, for the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from nextword.data.token_files import TokenFiles, TokenWriter


class CodePoints:
    """Token = code point + 2, up to a limit above which all is unknown; <eos> is 0, unknown is 1."""

    kind = "code points"
    eos_id = 0
    unk_id = 1

    def __init__(self, vocab_size: int = 40_000) -> None:
        self.vocab_size = vocab_size

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
    writer = TokenWriter(folder, tokenizer or CodePoints(), shard_tokens)
    for prompt, target in examples:
        writer.prompt(prompt)
        writer.target(target, num_bytes=len(target))
        writer.end()
    writer.finish()
    return TokenFiles.open(folder)


def flat(examples: Sequence[tuple[list[int], list[int]]]) -> tuple[list[int], list[bool]]:
    """The stream these examples make, token by token, and which of them carry loss: the reference."""
    ids, mask = [], []
    for prompt, target in examples:
        ids += [*prompt, *target, 0]
        mask += [False] * len(prompt) + [True] * (len(target) + 1)
    return ids, mask
