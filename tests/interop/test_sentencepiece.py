"""SentencePiece models become tokenizer.json with the same ids, by the sentencepiece library itself."""

import io
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from nextword.errors import RunError
from nextword.interop.sentencepiece import read_model, special_tokens, tokenizer_json

TEXT = [
    "the cat sat on the mat",
    "a  cat   and another  ",
    "床前明月光，疑是地上霜。",
    "Ünïcödé café, ñandú!",
    "1,234.5",
]
KINDS = {
    "llama": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity"}
    | {"remove_extra_whitespaces": False},
    "gemma": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity"}
    | {"remove_extra_whitespaces": False, "add_dummy_prefix": False},
    "plain-bpe": {"model_type": "bpe"},
    "t5": {"model_type": "unigram"},
    "unigram-bytes": {"model_type": "unigram", "byte_fallback": True, "add_dummy_prefix": False},
}


def trained(vocab=340, **settings) -> bytes:
    spm = pytest.importorskip("sentencepiece")
    rng, out = random.Random(0), io.BytesIO()
    words = " ".join(TEXT).split()
    lines = [" ".join(rng.choices(words, k=8)) for _ in range(300)] + TEXT * 3
    size = vocab if settings.get("byte_fallback") else 90
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=out,
        vocab_size=size,
        hard_vocab_limit=False,
        user_defined_symbols=["<user>"],
        minloglevel=2,
        num_threads=1,
        **settings,
    )
    return out.getvalue()


@pytest.fixture(scope="module", params=KINDS)
def both(request):
    data = trained(**KINDS[request.param])
    import sentencepiece

    theirs = sentencepiece.SentencePieceProcessor(model_proto=data)
    return theirs, Tokenizer.from_str(tokenizer_json(read_model(data)))


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("text", ["", " ", *TEXT, "  the  cat ", "猫 é ﬁ ① Ａ\t\n", "🙂🏽" * 3, "a" * 200])
def test_ids_are_those_of_the_library(both, text):
    theirs, ours = both
    assert ids(ours, text) == theirs.encode(text)


def test_symbols_that_users_defined_are_never_cut():
    """Where no space is put before a text. Elsewhere the tokenizers library puts one after the symbol, too."""
    import sentencepiece

    data = trained(**KINDS["gemma"])
    ours = Tokenizer.from_str(tokenizer_json(read_model(data)))
    theirs = sentencepiece.SentencePieceProcessor(model_proto=data)
    for text in ("<user>x", "the <user> cat<user>", "<user"):
        assert ids(ours, text) == theirs.encode(text)


# Marks that combine are left out: where the text is normalized, the tokenizers library treats a letter with its marks
# as one, sentencepiece does not, in transformers' conversions too.
LETTERS = st.characters(exclude_categories=["C", "M"], exclude_characters="▁")


@given(text=st.text(LETTERS | st.sampled_from(" theca"), max_size=40))
def test_ids_of_any_text_are_those_of_the_library(both, text):
    theirs, ours = both
    assert ids(ours, text) == theirs.encode(text)


def test_special_tokens_are_named():
    model = read_model(trained(**KINDS["llama"]))
    assert special_tokens(model) == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    added = Tokenizer.from_str(tokenizer_json(model)).get_added_tokens_decoder()
    assert {token.content: token.special for token in added.values()} == {
        "<unk>": True,
        "<s>": True,
        "</s>": True,
        "<user>": False,
    }


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "expected up to"),
        (b"\x0a", "no SentencePiece model"),
        (b"\x0a\x7f", "no SentencePiece model"),
        (b"PK\x03\x04", "no SentencePiece model"),
        (b"\x0a\x05\x0a\x03abc\x0a\x05\x0a\x03abc", "different pieces"),
        (b"\x0a\x05\x0a\x03abc\x12\x02\x18\x03", "neither unigram nor BPE"),
        (b"\x0a\x05\x0a\x03abc" + b"\x12\x03\xc0\x01\x01", "after words"),
        (b"\xff" * 30, "no SentencePiece model"),
    ],
)
def test_what_is_no_model_is_told(data, told):
    with pytest.raises(RunError, match=told):
        read_model(data)


@settings(max_examples=200)
@given(data=st.data())
def test_damage_is_read_or_refused(data):
    whole = bytearray(trained_once())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    for damaged in (whole, cut):
        text, told = "{}", ""
        try:
            text = tokenizer_json(read_model(bytes(damaged)))
        except RunError as error:
            told = str(error)
        assert bool(told) != ("model" in json.loads(text))
        assert "\n" not in told


_ONCE: list[bytes] = []


def trained_once() -> bytes:
    if not _ONCE:
        _ONCE.append(trained(**KINDS["plain-bpe"]))
    return _ONCE[0]
