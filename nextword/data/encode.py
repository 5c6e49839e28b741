"""Examples to ids, a batch at a time: reading goes on in this thread while another one encodes and writes.

The tokenizers library encodes a batch on all cores and lets go of the interpreter meanwhile, so two threads are
enough. At most two batches are in memory. Knows nothing of files or splits.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from nextword.data.conversations import replies
from nextword.data.token_writer import TokenWriter
from nextword.text.records import Example
from nextword.text.turns import Talk

if TYPE_CHECKING:
    from nextword.tokenizers import Tokenizer
    from nextword.tokenizers.chat import ChatTokenizer

BATCH_CHARACTERS = 2**19
PIECE_CHARACTERS = 2**15  # a longer text is encoded in pieces: the library keeps some 100 bytes for each token


class _Piece(NamedTuple):
    writer: TokenWriter
    text: str
    is_prompt: bool
    ends: bool
    """The last piece of its example."""
    talk: Talk | None = None
    """A whole conversation, which `chat` encodes."""


def encode(
    examples: Iterable[tuple[str, Example]],
    tokenizer: Tokenizer,
    writers: Mapping[str, TokenWriter],
    chat: ChatTokenizer | None = None,
) -> None:
    """Write each (split, example) to the writer of that split, in order. Targets must not be empty.

    `chat` encodes conversations.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode") as pool:
        running: Future[None] | None = None
        for batch in _batches(_pieces(examples, writers)):
            if running:
                running.result()
            running = pool.submit(_write, batch, tokenizer, chat)
        if running:
            running.result()


def _write(pieces: list[_Piece], tokenizer: Tokenizer, chat: ChatTokenizer | None) -> None:
    plain = [piece for piece in pieces if piece.talk is None]
    prompts = iter(tokenizer.source.encode_batch([piece.text for piece in plain if piece.is_prompt]))
    targets = iter(tokenizer.encode_batch([piece.text for piece in plain if not piece.is_prompt]))
    for writer, text, is_prompt, ends, talk in pieces:
        if talk is not None:
            assert chat is not None
            _write_talk(talk, writer, chat)
            continue
        ids = next(prompts if is_prompt else targets)
        if is_prompt:
            writer.prompt(ids)
        else:
            writer.target(ids, num_bytes=len(text.encode()))
        if ends:
            writer.end()


def _write_talk(talk: Talk, writer: TokenWriter, chat: ChatTokenizer) -> None:
    for reply in replies(talk, chat):
        if reply.goes_on:
            writer.go_on()
        writer.preface(reply.preface)
        writer.prompt(reply.prompt)
        writer.target(reply.ids, num_bytes=len(reply.text.encode()))
        writer.end(reply.closed)


def _pieces(examples: Iterable[tuple[str, Example]], writers: Mapping[str, TokenWriter]) -> Iterator[_Piece]:
    for name, example in examples:
        if isinstance(example, Talk):
            yield _Piece(writers[name], example.target, is_prompt=False, ends=True, talk=example)
            continue
        for text in split_long(example.prompt, PIECE_CHARACTERS):
            yield _Piece(writers[name], text, is_prompt=True, ends=False)
        rest = split_long(example.target, PIECE_CHARACTERS)
        text = next(rest)
        for following in rest:
            yield _Piece(writers[name], text, is_prompt=False, ends=False)
            text = following
        yield _Piece(writers[name], text, is_prompt=False, ends=True)


def _batches(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    batch, size = [], 0
    for piece in pieces:
        batch.append(piece)
        prompt = piece.talk.prompt if piece.talk else ""
        size += len(prompt) + len(piece.text) + 16  # so that many tiny texts do not make a huge batch
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def split_long(text: str, size: int) -> Iterator[str]:
    """Pieces of at most `size` characters that add up to the text; nothing for "".

    A cut goes between a letter and white space, else between a line end and a letter, else between a letter and
    punctuation. Pre-tokenizers, GPT-2's and GPT-4's among them, cut there as well, so the pieces encode as the whole
    would; only a text that has no such place for `size` / 2 characters is cut anywhere.
    """
    start = 0
    while len(text) - start > size:
        cut = _last_break(text, start + size // 2, start + size)
        yield text[start:cut]
        start = cut
    if start < len(text):
        yield text[start:]


def _last_break(text: str, low: int, high: int) -> int:
    for is_break in (_word_ends, _line_begins, _clause_ends):
        for at in range(high, low, -1):
            if is_break(text[at - 1], text[at]):
                return at
    return high


def _word_ends(before: str, after: str) -> bool:
    return before.isalpha() and after.isspace()


def _line_begins(before: str, after: str) -> bool:
    return before == "\n" and after.isalpha()


def _clause_ends(before: str, after: str) -> bool:
    return before.isalpha() and unicodedata.category(after)[0] in "PS"
