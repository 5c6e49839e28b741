"""Bytes as tokens: the 256 bytes of UTF-8, id = byte. Learns nothing from the text, and no text is unknown to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tokenizers


def byte_alphabet() -> list[str]:
    """The printable character that stands for each byte in a byte-level vocabulary, at that byte's index.

    The table of GPT-2: printable Latin-1 stands for itself, the rest is moved up from U+0100.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    moved = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(moved)) for byte in range(256)]


def byte_tokenizer() -> tokenizers.Tokenizer:
    """The tokenizer of 256 bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocab = {character: byte for byte, character in enumerate(byte_alphabet())}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
