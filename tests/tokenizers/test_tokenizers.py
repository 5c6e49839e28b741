"""Every tokenizer: lossless where it can be, the same ids in transformers, no KeyError, no half characters."""

from collections import Counter
from functools import cache
from itertools import accumulate

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from nextword import corpora
from nextword.config import parse
from nextword.errors import RunError, UsageError
from nextword.tokenizers import Tokenizer, TokenizerConfig, train_tokenizer

LINES = [
    "The dogs' bark — don't you 'hear'? It's 3.14 (see [1]).",
    "我们今天去 Beijing 吃饭。床前明月光，疑是地上霜。",
    "family 👨‍👩‍👧 and flag 🇫🇷, café in both forms: café café",
    "a\tb\r\nc\n\n  d  ",
    "नमस्ते दुनिया, Привет мир, שלום, ありがとう",
    "",
]
MORE_LINES = [
    "👩‍👩‍👧‍👦👍🏽🇨🇳🇫🇷1️⃣ ✌️",
    "cafe\u0301 e\u0301\u0323 \u0301alone ﬁ Å",
    "\ttab\r\nline\rold\u2028sep\u3000全角　空格\xa0nbsp\u200bzero",
    "“你好，”他说：「我用Python写code。」——第3.14章…",
    "한국어 문장 ภาษาไทย العربية مرحبا 日本語テキスト",
    "\x00\ufffd\ufeff𝒳 ▁mark▁ ʼ ꞌ don't don’t '' \"q\"",
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
    assert tokenizer.unknown("zzz'yx, zzz’yx! 犇猋 👩‍🚀") == Counter(["zzz'yx", "zzz’yx", "犇猋", "👩‍🚀"])
    assert trained("whitespace").unknown("the zzz'yx 犇猋") == Counter(["zzz'yx", "犇猋"])
    assert tokenizer.encode("zzzyx") == [tokenizer.unk_id]
    assert tokenizer.decode(tokenizer.encode("the zzzyx of it")) == "the <unk> of it"


def test_an_unseen_word_is_never_cut_into_known_ones():
    """ "whales" without "whale" in the vocabulary must not become "whale" + "s"."""
    tokenizer = train_tokenizer(TokenizerConfig(type="word"), ["dog s dog's cat"])
    assert tokenizer.encode("dogs") == [tokenizer.unk_id]
    assert [tokenizer.token_text(id) for id in tokenizer.encode("dog s cat")] == ["dog", "s", "cat"]


def test_words_join_as_they_stood():
    texts = [*corpora.load("moby-dick")[:500], *corpora.load("tang")[:500]]
    tokenizer = train_tokenizer(TokenizerConfig(type="word", vocab_size=100_000), texts)
    assert [text for text in texts if tokenizer.decode(tokenizer.encode(text)) != text] == []
    assert trained("whitespace").decode(trained("whitespace").encode("The   dogs' bark")) == "The dogs' bark"


def boundaries(words: list[str]) -> set[int]:
    return set(accumulate(map(len, words)))


def test_chinese_words_are_jiebas_dictionary_words():
    """Exactly on text learned from; nearly so on new text, whose rare words are not in the vocabulary."""
    jieba = pytest.importorskip("jieba")
    jieba.setLogLevel("ERROR")
    modern = ["我们今天去北京大学吃饭", "他来到了网易杭研大厦", "小明硕士毕业于中国科学院计算所", "我们都是中国人"]
    poems = [line for poem in corpora.load("tang")[:5000] for line in regex.findall(r"\p{Han}+", poem)]
    seen, new = modern + poems[:-500], poems[-500:]
    tokenizer = train_tokenizer(TokenizerConfig(type="word"), seen)
    for line in [*modern, *seen[-1000:]]:
        assert [tokenizer.token_text(id) for id in tokenizer.encode(line)] == jieba.lcut(line, HMM=False)
    both = found = true = 0
    for line in new:
        ours = {end for _, end in tokenizer.backend.encode(line, add_special_tokens=False).offsets}
        theirs = boundaries(jieba.lcut(line, HMM=False))
        both, found, true = both + len(ours & theirs), found + len(ours), true + len(theirs)
    assert 2 * both / (found + true) > 0.95  # F1 of the boundaries


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


def test_ids_and_text_are_those_of_transformers(tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in [*LINES, *MORE_LINES, *TEXTS[:100]]:
        ids = tokenizer.encode(text)
        assert fast(text, add_special_tokens=False).input_ids == ids
        assert auto(text).input_ids == ids
        assert auto.decode(ids) == tokenizer.decode(ids)
    assert auto.eos_token_id == tokenizer.eos_id
    assert auto.unk_token_id == tokenizer.unk_id


def test_names_of_special_tokens_in_text_are_plain_text_to_transformers_too(tokenizer, tmp_path):
    """By `split_special_tokens`, which the folder sets and a bare tokenizer.json can't: it must be passed."""
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in ["<eos>", "a<eos>b", "the <unk> of <eos>"]:
        ids = tokenizer.encode(text)
        assert auto(text).input_ids == ids
        assert fast(text, split_special_tokens=True).input_ids == ids
        assert tokenizer.eos_id in fast(text).input_ids or "<eos>" not in text


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


def test_frequent_tokens_come_first():
    tokenizer = train_tokenizer(TokenizerConfig(type="char", vocab_size=5), ["banana", "cab"])
    assert [tokenizer.token_text(id) for id in range(5)] == ["<unk>", "a", "b", "n", "<eos>"]


def test_bytes_that_are_no_character_are_shown_in_hexadecimal():
    tokenizer = trained("byte")
    assert [tokenizer.token_text(id) for id in tokenizer.encode("a你")] == ["a", "<0xE4>", "<0xBD>", "<0xA0>"]


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
