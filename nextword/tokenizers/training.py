"""Which tokenizer to make of a text, and making it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, field_validator

from nextword.config import Config
from nextword.errors import DataError, UsageError
from nextword.tokenizers.base import EOS, Tokenizer
from nextword.tokenizers.byte import byte_tokenizer
from nextword.tokenizers.char import UNK, train_char
from nextword.tokenizers.subword import train_bpe
from nextword.tokenizers.unigram import train_unigram
from nextword.tokenizers.word import train_whitespace, train_words

DEFAULT_SIZE = {"word": 20_000, "bpe": 4096, "unigram": 4096}


class TokenizerConfig(Config):
    """How text is cut into tokens: section [tokenizer] of a recipe."""

    type: Literal["char", "word", "byte", "bpe", "unigram"] = "bpe"
    """char: code points. word: Unicode words, Chinese by jieba. byte: UTF-8 bytes. bpe, unigram: pieces learned."""
    vocab_size: int = Field(default=0, ge=0, le=2**24)
    """Most tokens, special ones included; 0 = 20,000 words, 4,096 pieces, or every character. byte: always 257."""
    min_frequency: int = Field(default=1, ge=1)
    """Rarer characters, words and pairs are left out of the vocabulary."""
    split: Literal["unicode", "whitespace"] = "unicode"
    """Of word: by Unicode's words, or at white space only, for text that is tokenized already."""
    special_tokens: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Further tokens that no text can spell."""

    @field_validator("special_tokens")
    @classmethod
    def _distinct(cls, tokens: tuple[str, ...]) -> tuple[str, ...]:
        if len({*tokens, EOS, UNK, ""}) < len(tokens) + 3:
            raise ValueError(f"special_tokens: expected different names other than {EOS} and {UNK}, got {list(tokens)}")
        return tokens


def train_tokenizer(config: TokenizerConfig, texts: Iterable[str]) -> Tokenizer:
    """Learn a vocabulary from texts, in one pass; the same texts give the same tokenizer.

    A corpus too small for the size asked for gives a smaller vocabulary. Raises DataError if there is no text, and
    UsageError if `vocab_size` is too small for the type, or if the text itself has a token of a special one's name.
    """
    special = [EOS, *config.special_tokens]
    size = (config.vocab_size or DEFAULT_SIZE.get(config.type, 0)) - len(special)
    least = 257 if config.type in ("bpe", "unigram") else 2
    if config.vocab_size and config.type != "byte" and size < least:
        raise UsageError(
            f"tokenizer.vocab_size: expected at least {least + len(special)} for {config.type}, got {config.vocab_size}"
        )
    texts = _some(texts)
    match config.type:
        case "char":
            backend = train_char(texts, size if config.vocab_size else None, config.min_frequency)
        case "word" if config.split == "whitespace":
            backend = train_whitespace(texts, size, config.min_frequency, reserved=special)
        case "word":
            backend = train_words(texts, size, config.min_frequency)
        case "byte":
            backend = byte_tokenizer()
        case "bpe":
            backend = train_bpe(texts, size, config.min_frequency)
        case "unigram":
            backend = train_unigram(texts, size, config.min_frequency)
    for token in special:
        if backend.token_to_id(token) is not None:
            raise UsageError(
                f"tokenizer.special_tokens: {token!r} is a token of the text, too", hint="Choose a name like <name>"
            )
    unknown = [UNK] if backend.token_to_id(UNK) is not None else []
    backend.add_special_tokens([*unknown, *special])
    return Tokenizer(backend, config.type, EOS, EOS)


def _some(texts: Iterable[str]) -> Iterable[str]:
    """The same texts. Raises DataError on the way if all of them are empty."""
    found = False
    for text in texts:
        found = found or bool(text)
        yield text
    if not found:
        raise DataError("There is no text to learn a vocabulary from")
