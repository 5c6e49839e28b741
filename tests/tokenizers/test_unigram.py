"""The unigram trainer of our own: pieces as good as BPE's on text it has not seen, and none for nothing."""

import pytest

from nextword import corpora
from nextword.tokenizers import TokenizerConfig, train_tokenizer


def number_of_tokens(type: str, size: int, seen: list[str], new: list[str]) -> int:
    tokenizer = train_tokenizer(TokenizerConfig(type=type, vocab_size=size), seen)
    return sum(map(len, tokenizer.encode_batch(new)))


@pytest.mark.parametrize(("corpus", "documents"), [("moby-dick", 1500), ("tang", 3000)])
def test_new_text_takes_about_as_many_tokens_as_by_bpe(corpus, documents):
    """The library's trainer takes 10 to 30% more."""
    texts = corpora.load(corpus)[:documents]
    seen, new = texts[: -documents // 10], texts[-documents // 10 :]
    ours, theirs = (number_of_tokens(type, 2000, seen, new) for type in ("unigram", "bpe"))
    assert ours < 1.05 * theirs


def test_frequent_words_are_one_piece_even_if_no_other_word_begins_alike():
    texts = ["the xylophone and the qwerty , and the zebra ."] * 50
    tokenizer = train_tokenizer(TokenizerConfig(type="unigram", vocab_size=300), texts)
    pieces = {tokenizer.token_text(id) for id in tokenizer.encode(texts[0])}
    assert {" and", " the", " xylophone", " ,"} <= pieces


def test_parts_seen_seldom_are_no_pieces():
    texts = ["abcd efgh"] * 9 + ["ijkl mnop"] * 3
    tokenizer = train_tokenizer(TokenizerConfig(type="unigram", min_frequency=5), texts)
    pieces = {tokenizer.token_text(id) for id in range(tokenizer.vocab_size)}
    assert "abcd" in pieces
    assert " efgh" in pieces
    assert not [piece for piece in pieces if len(piece) > 1 and set(piece) & set("ijklmnop") and piece[0] != "<"]
    assert tokenizer.decode(tokenizer.encode("ijkl mnop")) == "ijkl mnop"


def test_pieces_of_chinese_are_whole_characters_or_bytes():
    tokenizer = train_tokenizer(TokenizerConfig(type="unigram", vocab_size=1500), corpora.load("tang")[:1000])
    for id in range(tokenizer.vocab_size - 1):
        found = tokenizer.token_bytes(id)
        assert len(found) == 1 or found.decode()
