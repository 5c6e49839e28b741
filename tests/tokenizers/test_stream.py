"""One token at a time: cheap, never half a character, and the text that decoding all at once gives."""

import pytest

from nextword import corpora
from nextword.tokenizers import Tokenizer, TokenizerConfig, train_tokenizer

TEXTS = [*corpora.load("moby-dick")[:200], *corpora.load("tang")[:200], "👩‍👩‍👧‍👦 🇨🇳 cafe\u0301 नमस्ते\r\n\ttab"]
CONFIGS = [
    {"type": "char"},
    {"type": "word"},
    {"type": "word", "split": "whitespace"},
    {"type": "byte"},
    {"type": "bpe", "vocab_size": 500},
    {"type": "unigram", "vocab_size": 500},
]


@pytest.fixture(scope="module", params=CONFIGS, ids=lambda config: " ".join(map(str, config.values())))
def tokenizer(request) -> Tokenizer:
    return train_tokenizer(TokenizerConfig(**request.param), TEXTS)


def test_real_text_streams_as_it_decodes(tokenizer):
    for text in TEXTS:
        ids, stream = tokenizer.encode(text), tokenizer.stream()
        pieces = [*(stream.step(id) for id in ids), stream.flush()]
        assert "".join(pieces) == tokenizer.decode(ids)
        assert pieces[-1] == ""  # text that ends well leaves nothing behind
        assert "\ufffd" not in "".join(pieces)


def test_a_cut_character_is_shown_at_the_end_only():
    tokenizer = train_tokenizer(TokenizerConfig(type="byte"), ["a"])
    stream = tokenizer.stream()
    ids = [*"猫".encode(), *"猫".encode()[:2]]
    assert [stream.step(id) for id in ids] == ["", "", "猫", "", ""]
    assert stream.flush() == "\ufffd" == tokenizer.decode(ids)[1:]
    assert stream.flush() == ""
    assert stream.step(ord("b")) == "b"  # as new


def test_special_tokens_show_nothing_and_change_nothing(tokenizer):
    ids = tokenizer.encode("the sea 明月")
    stream = tokenizer.stream()
    pieces = [stream.step(id) for pair in ((tokenizer.eos_id, id) for id in ids) for id in pair]
    assert "".join(pieces) + stream.flush() == tokenizer.decode(ids)


def test_a_step_costs_the_same_however_long_the_text(tokenizer, monkeypatch):
    decoded = []
    decode = Tokenizer.decode
    monkeypatch.setattr(Tokenizer, "decode", lambda self, ids: decoded.append(len(ids)) or decode(self, ids))
    stream = tokenizer.stream()
    for id in tokenizer.encode(" ".join(TEXTS))[:5000]:
        stream.step(id)
    assert max(decoded, default=0) <= 2


def test_an_id_outside_the_vocabulary_is_named(tokenizer):
    with pytest.raises(ValueError, match=f"no token has the id {tokenizer.vocab_size}"):
        tokenizer.stream().step(tokenizer.vocab_size)
