"""Models and tokenizers small enough to know every probability by heart, and token files of known tokens."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from nextword.data.token_files import TokenFiles
from nextword.data.token_index import Vocabulary
from nextword.data.token_writer import TokenWriter
from nextword.models.base import LanguageModel, ModelConfig, State


class SumState(State):
    """Row by row, a sum of vectors."""

    def __init__(self, total: Tensor, lengths: Tensor) -> None:
        super().__init__(lengths)
        self.total = total

    def select(self, rows: Tensor) -> SumState:
        return SumState(self.total[rows], self.lengths[rows])

    def tensors(self) -> list[Tensor]:
        return [self.lengths, self.total]

    def with_tensors(self, tensors: Sequence[Tensor]) -> SumState:
        return SumState(tensors[1], tensors[0])

    def _join(self, states: Sequence[SumState]) -> SumState:
        return SumState(torch.cat([s.total for s in states]), torch.cat([s.lengths for s in states]))


class Bigram(LanguageModel):
    """P(next | token) from a table (V, V) of probabilities; with `max_seq_len`, complains of a longer state."""

    def __init__(self, table: Tensor, max_seq_len: int | None = None) -> None:
        super().__init__()
        V = len(table)
        self.config = ModelConfig(type="bigram", vocab_size=V)
        self.table, self.limit, self.reads = table, max_seq_len, []
        self.output = nn.Linear(V, V, bias=False)
        self.output.weight.data = table.log().T.clamp(min=-1e30)  # 0 * -inf would be nan in the product
        self.requires_grad_(False)

    @property
    def max_seq_len(self) -> int | None:
        return self.limit

    def init_state(self, batch_size: int) -> SumState:
        return SumState(torch.zeros(batch_size, len(self.table)), torch.zeros(batch_size, dtype=torch.long))

    def features(
        self, tokens: Tensor, state: State | None = None, starts: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        assert starts is None
        self.reads.append(tuple(tokens.shape))
        B, T = tokens.shape
        given = state
        state = state or self.init_state(B)
        assert isinstance(state, SumState)
        state.spend()
        assert self.limit is None or int(state.lengths.max()) + T <= self.limit
        features, total = self._features(one_hot(tokens, len(self.table)).float(), state)
        return features, None if given is None else SumState(total, state.lengths + T)

    def _features(self, x: Tensor, state: SumState) -> tuple[Tensor, Tensor]:
        return x, state.total


class Bag(Bigram):
    """P(next | all tokens since the state began), so that a test sees what the model has read."""

    def _features(self, x: Tensor, state: SumState) -> tuple[Tensor, Tensor]:
        sums = state.total[:, None] + 0.5 * x.cumsum(1)
        return sums + x, sums[:, -1]


class Recital(Bigram):
    """Says `text` and then `<eos>`, for sure, from wherever the prompt ends; after that, `<eos>` again and again."""

    def __init__(self, text: str, tokenizer: CharTokenizer | ByteTokenizer) -> None:
        super().__init__(torch.ones(tokenizer.vocab_size, tokenizer.vocab_size))
        self.ids = [*tokenizer.encode(text), tokenizer.eos_id]
        self.output = nn.Linear(len(self.ids), tokenizer.vocab_size, bias=False).requires_grad_(False)
        self.output.weight.data = 100.0 * one_hot(torch.tensor(self.ids), tokenizer.vocab_size).float().T

    def _features(self, x: Tensor, state: SumState) -> tuple[Tensor, Tensor]:
        places = state.lengths[:, None] + torch.arange(x.size(1))
        return one_hot(places.clamp(max=len(self.ids) - 1), len(self.ids)).float(), state.total


def write_tokens(
    folder: Path,
    examples: Sequence[tuple[list[int], list[int]]],
    tokenizer: Vocabulary,
    shard_tokens: int = 2**20,
    goes_on: Sequence[bool] = (),
    prefaces: Sequence[int] = (),
) -> TokenFiles:
    """Token files of (prompt ids, target ids), some of which go on; each target id stands for one byte."""
    writer = TokenWriter(folder, tokenizer, shard_tokens)
    for number, (prompt, target) in enumerate(examples):
        if goes_on and goes_on[number]:
            writer.go_on()
        writer.preface(prefaces[number] if prefaces else 0)
        writer.prompt(prompt)
        writer.target(target, num_bytes=len(target))
        writer.end()
    writer.finish()
    return TokenFiles.open(folder)


def random_table(V: int, seed: int = 0) -> Tensor:
    """(V, V) rows that sum to 1, none of them even."""
    return torch.randn(V, V, generator=torch.Generator().manual_seed(seed)).mul(1.5).softmax(-1)


class CharTokenizer:
    """One id a letter; `<eos>` is the last id but one, `<unk>` the last."""

    bos_id = None
    kind = "char"

    def __init__(self, letters: str) -> None:
        self.letters = letters
        self.eos_id, self.unk_id, self.vocab_size = len(letters), len(letters) + 1, len(letters) + 2

    @property
    def source(self) -> CharTokenizer:
        return self

    def encode(self, text: str) -> list[int]:
        return [self.letters.find(c) if c in self.letters else self.unk_id for c in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join("" if id == self.eos_id else self.token_text(id) for id in ids)

    def token_text(self, id: int) -> str:
        return [*self.letters, "<eos>", "<unk>"][id]

    def unknown(self, text: str) -> Counter[str]:
        return Counter(c for c in text if c not in self.letters)

    def stream(self) -> CharStream:
        return CharStream(self)


class CharStream:
    def __init__(self, tokenizer: CharTokenizer) -> None:
        self.tokenizer = tokenizer

    def step(self, id: int) -> str:
        return self.tokenizer.decode([id])

    def flush(self) -> str:
        return ""


class ByteTokenizer:
    """One id a byte of UTF-8, `<eos>` is 256: a Chinese character spans three tokens."""

    bos_id, eos_id, unk_id, vocab_size = None, 256, None, 257

    @property
    def source(self) -> ByteTokenizer:
        return self

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(id for id in ids if id < 256).decode(errors="replace")

    def token_text(self, id: int) -> str:
        return "<eos>" if id == 256 else chr(id) if id < 128 else f"<{id:02X}>"

    def unknown(self, text: str) -> Counter[str]:
        return Counter()

    def stream(self) -> ByteStream:
        return ByteStream()


class ByteStream:
    def __init__(self) -> None:
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def step(self, id: int) -> str:
        return self.decoder.decode(bytes([id]))

    def flush(self) -> str:
        return self.decoder.decode(b"", final=True)
