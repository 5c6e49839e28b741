"""Every tokenizer: lossless where it can be, the same ids in transformers, no KeyError, no half characters."""

import json
import os
import subprocess
import sys
from collections import Counter
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword import corpora
from nextword.config import parse
from nextword.errors import DataError, RunError, UsageError
from nextword.tokenizers import Tokenizer, TokenizerConfig, train_tokenizer

LINES = [
    "The dogs' bark — don't you 'hear'? It's 3.14 (see [1]).",
    "我们今天去 Beijing 吃饭。床前明月光，疑是地上霜。",
    "family 👨‍👩‍👧 and flag 🇫🇷, café in both forms: café café",
    "a\tb\r\nc\n\n  d  ",
    "नमस्ते दुनिया, Привет мир, שלום, ありがとう",
    "",
]
TEXTS = [*corpora.load("moby-dick")[:300], *corpora.load("tang")[:300], *LINES[:-1]]
CONFIGS = {
    "char": {"type": "char"},
    "word": {"type": "word"},
    "whitespace": {"type": "word", "split": "whitespace"},
    "byte": {"type": "byte"},
    "bpe": {"type": "bpe", "vocab_size": 600},
    "unigram": {"type": "unigram", "vocab_size": 600},
}
LOSSLESS = ["byte", "bpe", "unigram"]
any_text = st.text() | st.sampled_from(["<eos>", "<unk> <eos>", "\ufffd", "\x00", "\u0301x", "▁", *LINES])


@cache
def trained(name: str) -> Tokenizer:
    return train_tokenizer(TokenizerConfig(**CONFIGS[name]), TEXTS)


@pytest.fixture(params=CONFIGS)
def tokenizer(request) -> Tokenizer:
    return trained(request.param)


@pytest.mark.parametrize("name", LOSSLESS)
@given(text=any_text)
def test_any_text_comes_back(name, text):
    assert trained(name).decode(trained(name).encode(text)) == text


@given(data=st.data())
def test_seen_characters_come_back(data):
    tokenizer = trained("char")
    text = data.draw(st.text(sorted(set("".join(TEXTS)))))
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert not tokenizer.unknown(text)


@pytest.mark.parametrize("name", CONFIGS)
@given(text=any_text)
def test_no_text_is_an_error_or_makes_a_special_token(name, text):
    tokenizer = trained(name)
    ids = tokenizer.encode(text)
    assert tokenizer.eos_id not in ids
    assert all(0 <= id < tokenizer.vocab_size for id in ids)
    assert sum(tokenizer.unknown(text).values()) == (ids.count(tokenizer.unk_id) if tokenizer.unk_id is not None else 0)


def test_the_unseen_becomes_unk_with_a_count():
    assert trained("char").unknown("a龘b龘") == Counter({"龘": 2})
    assert trained("word").unknown("the zzzyx of the zzzyx") == Counter({"zzzyx": 2})
    tokenizer = trained("word")
    assert tokenizer.encode("zzzyx") == [tokenizer.unk_id]
    assert tokenizer.decode(tokenizer.encode("the zzzyx of it")) == "the <unk> of it"


def test_an_unseen_word_is_never_cut_into_known_ones():
    """ "whales" without "whale" in the vocabulary must not become "whale" + "s"."""
    tokenizer = train_tokenizer(TokenizerConfig(type="word"), ["dog s dog's cat"])
    assert tokenizer.encode("dogs") == [tokenizer.unk_id]
    assert [tokenizer.token_text(id) for id in tokenizer.encode("dog s cat")] == ["dog", "s", "cat"]


def test_words_join_naturally():
    tokenizer = trained("word")
    for text in ["床前明月光，疑是地上霜。", "Call me Ishmael. Some years ago, I went to sea; it was good (for me)!"]:
        known = tokenizer.decode(tokenizer.encode(text))
        if "<unk>" not in known:
            assert known == text
    assert tokenizer.decode(tokenizer.encode("don't")) == "don't"
    assert trained("whitespace").decode(trained("whitespace").encode("The   dogs' bark")) == "The dogs' bark"


def test_chinese_words_are_jiebas():
    jieba = pytest.importorskip("jieba")
    lines = ["我们今天去北京大学吃饭", "他来到了网易杭研大厦", "小明硕士毕业于中国科学院计算所", "我们都是中国人"] * 5
    tokenizer = train_tokenizer(TokenizerConfig(type="word"), lines)
    for line in set(lines):
        assert [tokenizer.token_text(id) for id in tokenizer.encode(line)] == list(jieba.cut(line))


def test_penn_treebank_words_keep_their_unk():
    tokenizer = train_tokenizer(TokenizerConfig(type="word", split="whitespace"), ["the <unk> of N <unk> n't"])
    assert tokenizer.encode("the <unk> N")[1] == tokenizer.unk_id
    assert tokenizer.vocab_size == 6  # the of N n't <unk> <eos>
    assert tokenizer.decode(tokenizer.encode("the <unk> N n't")) == "the <unk> N n't"


def test_pieces_of_words_carry_their_space():
    tokenizer = train_tokenizer(TokenizerConfig(type="bpe", vocab_size=2000), corpora.load("moby-dick"))
    assert [tokenizer.token_text(id) for id in tokenizer.encode("The whale of the sea")] == [
        "The",
        " whale",
        " of",
        " the",
        " sea",
    ]


def test_ids_are_those_of_transformers(tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in [*LINES, *TEXTS[:100]]:
        ids = tokenizer.encode(text)
        assert fast(text, add_special_tokens=False).input_ids == ids
        assert auto(text, add_special_tokens=False).input_ids == ids
    assert auto.eos_token_id == tokenizer.eos_id
    assert auto.unk_token_id == tokenizer.unk_id


def test_a_batch_is_each_text_alone(tokenizer):
    assert tokenizer.encode_batch(LINES) == [tokenizer.encode(line) for line in LINES]


@pytest.mark.parametrize("name", CONFIGS)
@given(data=st.data())
def test_a_stream_gives_what_decoding_all_at_once_gives(name, data):
    tokenizer = trained(name)
    ids = data.draw(
        st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=40) | st.sampled_from(LINES).map(tokenizer.encode)
    )
    stream = tokenizer.stream()
    pieces = [stream.step(id) for id in ids]
    pieces.append(stream.flush())
    whole = tokenizer.decode(ids)
    assert "".join(pieces) == whole
    assert "".join(pieces).count("\ufffd") == whole.count("\ufffd")


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_stream_never_shows_half_a_character(name):
    tokenizer = trained(name)
    for line in LINES:
        stream = tokenizer.stream()
        assert not any("\ufffd" in stream.step(id) for id in tokenizer.encode(line))


def test_saved_and_loaded_it_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.fingerprint() == tokenizer.fingerprint()
    assert (again.kind, again.eos_id, again.unk_id) == (tokenizer.kind, tokenizer.eos_id, tokenizer.unk_id)
    assert again.encode_batch(LINES) == tokenizer.encode_batch(LINES)


def test_tokenizers_differ_in_their_fingerprint():
    assert len({trained(name).fingerprint() for name in CONFIGS}) == len(CONFIGS)


def test_the_same_text_gives_the_same_file_in_every_process(tmp_path):
    code = (
        "import sys, json; from pathlib import Path; from nextword.tokenizers import *\n"
        "texts = ['the cat sat on the mat', '我们今天去吃饭', 'b a c d e f g h'] * 20\n"
        "configs = [dict(type='char'), dict(type='word'), dict(type='bpe', vocab_size=280),"
        " dict(type='unigram', vocab_size=280)]\n"
        "print([train_tokenizer(TokenizerConfig(**c), texts).fingerprint() for c in configs])"
    )
    prints = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout
        for seed in "12"
    }
    assert len(prints) == 1
    assert prints.pop().count("'") == 8


def test_frequent_tokens_come_first():
    tokenizer = train_tokenizer(TokenizerConfig(type="char", vocab_size=5), ["banana", "cab"])
    assert [tokenizer.token_text(id) for id in range(5)] == ["<unk>", "a", "b", "n", "<eos>"]


def test_further_special_tokens_are_never_read_from_text():
    config = TokenizerConfig(type="bpe", vocab_size=300, special_tokens=("<sep>",))
    tokenizer = train_tokenizer(config, ["a b c <sep> d"] * 5)
    sep = tokenizer.backend.token_to_id("<sep>")
    assert sep is not None
    assert sep not in tokenizer.encode("a <sep> b")
    assert tokenizer.decode([*tokenizer.encode("a"), sep, *tokenizer.encode("b")]) == "ab"


def test_bytes_that_are_no_character_are_shown_in_hexadecimal():
    tokenizer = trained("byte")
    assert [tokenizer.token_text(id) for id in tokenizer.encode("a你")] == ["a", "<0xE4>", "<0xBD>", "<0xA0>"]


def test_too_small_a_vocabulary_is_told_its_minimum():
    with pytest.raises(UsageError, match="at least 258"):
        train_tokenizer(TokenizerConfig(type="bpe", vocab_size=100), TEXTS)


@pytest.mark.parametrize("name", ["char", "word", "bpe", "unigram"])
def test_no_text_is_told(name):
    with pytest.raises(DataError, match="no text"):
        train_tokenizer(TokenizerConfig(**CONFIGS[name]), ["", ""])


def test_a_type_misspelt():
    with pytest.raises(UsageError, match="char"):
        parse(TokenizerConfig, {"type": "chars"}, "tokenizer")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": {}}', '{"version": "1.0", "model": {"type": "BPE"}}'])
def test_a_damaged_file_is_one_line(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(RunError, match=r"tokenizer\.json") as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunError, match=r"tokenizer\.json: No such file"):
        Tokenizer.load(tmp_path)


def test_a_byte_fallback_tokenizer_from_elsewhere(tmp_path):
    """Llama 2's kind: unigram pieces with ▁ for spaces, and <0x..> for what has no piece."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers

    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *((f"<0x{b:02X}>", 0.0) for b in range(256))]
    pieces += [("▁", -3.0), ("▁the", -2.0), ("▁cat", -2.5), *((c, -5.0) for c in "abcdefghijklmnopqrstuvwxyz")]
    backend = Backend(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["<s>", "</s>"])
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}}))
    tokenizer = Tokenizer.load(tmp_path)
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)
    for text in ["the cat sat", "the 猫 sat 👍"]:
        ids = tokenizer.encode(text)
        stream = tokenizer.stream()
        pieces_of_text = [stream.step(id) for id in ids]
        pieces_of_text.append(stream.flush())
        assert "".join(pieces_of_text) == tokenizer.decode(ids) == text
        assert not any("\ufffd" in piece for piece in pieces_of_text)
