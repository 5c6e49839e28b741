"""Learning a vocabulary: the same everywhere, of the size asked for, in bounded memory."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from cases import rarely
from hypothesis import given
from hypothesis import strategies as st

from nextword import corpora
from nextword.errors import DataError, UsageError
from nextword.tokenizers import Tokenizer, TokenizerConfig, train_tokenizer
from nextword.tokenizers.sample import sample

TYPES = ["char", "word", "bpe", "unigram"]
MIXED = [*corpora.load("moby-dick")[:600], *corpora.load("tang")[:1500]]


def python(code: str, **environment: str) -> str:
    """What a fresh process prints."""
    ran = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return ran.stdout


def test_every_process_learns_the_same_file():
    """Hash seeds and thread counts differ between machines; the vocabulary may not."""
    code = f"""
import hashlib
from pathlib import Path
from tempfile import mkdtemp
from nextword import corpora
from nextword.tokenizers import TokenizerConfig, train_tokenizer
texts = [*corpora.load("moby-dick")[:200], *corpora.load("tang")[:400]]
for type in {TYPES}:
    tokenizer, folder = train_tokenizer(TokenizerConfig(type=type, vocab_size=1000), texts), Path(mkdtemp())
    tokenizer.save(folder)
    files = sorted(folder.iterdir())
    print(tokenizer.fingerprint(), *(hashlib.sha256(file.read_bytes()).hexdigest() for file in files))
"""
    one = python(code, PYTHONHASHSEED="1", RAYON_NUM_THREADS="1")
    two = python(code, PYTHONHASHSEED="2", RAYON_NUM_THREADS="3")
    assert one == two
    assert len(one.split()) == len(TYPES) * 3


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("size", [300, 2000, rarely(5000)])
def test_a_vocabulary_keeps_to_its_size_and_its_fingerprint(type, size, tmp_path):
    tokenizer = train_tokenizer(TokenizerConfig(type=type, vocab_size=size, special_tokens=("<a>", "<b>")), MIXED)
    assert tokenizer.vocab_size <= size
    assert tokenizer.vocab_size == size or type in ("char", "unigram")  # as many as there are; as many as help
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).fingerprint() == tokenizer.fingerprint()


@pytest.mark.parametrize(("type", "least"), [("char", 3), ("word", 3), ("bpe", 258), ("unigram", 258)])
def test_the_smallest_vocabulary_is_told_and_works(type, least):
    with pytest.raises(UsageError, match=f"vocab_size: expected at least {least} for {type}, got {least - 1}"):
        train_tokenizer(TokenizerConfig(type=type, vocab_size=least - 1), MIXED)
    tokenizer = train_tokenizer(TokenizerConfig(type=type, vocab_size=least), MIXED)
    assert tokenizer.vocab_size <= least
    assert tokenizer.encode("the whale 明月")


@pytest.mark.parametrize("type", [*TYPES, "byte"])
def test_texts_are_read_once_and_may_be_few(type):
    tokenizer = train_tokenizer(TokenizerConfig(type=type), iter(["", "a"]))
    assert tokenizer.decode(tokenizer.encode("a")) == "a"
    for nothing in ([], ["", ""]):
        if type != "byte":
            with pytest.raises(DataError, match="no text"):
                train_tokenizer(TokenizerConfig(type=type), iter(nothing))


@pytest.mark.parametrize("type", TYPES)
def test_white_space_alone_is_text(type):
    tokenizer = train_tokenizer(TokenizerConfig(type=type), [" ", "\n\n", "\t \r\n"])
    assert tokenizer.encode(" \n a 我")


@pytest.mark.parametrize(
    "config", [*({"type": type} for type in [*TYPES, "byte"]), {"type": "word", "split": "whitespace"}]
)
def test_special_tokens_cannot_be_spelt(config):
    """Not by text that holds their very names, during learning or after."""
    names = ("<sep>", "<|user|>", "<标题>")
    config = TokenizerConfig(**config, special_tokens=names)
    texts = ["a <sep> b <eos> c <|user|> <标题> d", "<sep><eos><unk> 新标题", *MIXED[:20]]
    tokenizer = train_tokenizer(config, texts * 3)
    ids = [tokenizer.backend.token_to_id(name) for name in names]
    assert None not in ids
    assert {*ids, tokenizer.eos_id} <= tokenizer.special_ids
    for text in [*texts, "<sep>", "<eos>", "<标题>", "<|user|><|user|>"]:
        assert not tokenizer.special_ids & {*tokenizer.encode(text)}
    plain = tokenizer.encode("a b")
    assert tokenizer.decode([tokenizer.eos_id, *ids, *plain, ids[0]]) == tokenizer.decode(plain)


@pytest.mark.parametrize(
    ("type", "name"), [("char", "|"), ("word", "标题"), ("byte", "a"), ("bpe", "A"), ("unigram", "A")]
)
def test_a_special_token_that_text_would_spell_is_refused(type, name):
    config = TokenizerConfig(type=type, special_tokens=(name,))
    with pytest.raises(UsageError, match="special_tokens"):
        train_tokenizer(config, ["a | b | A", "标题，标题"])


@given(texts=st.lists(st.text(max_size=30), max_size=20), budget=st.integers(0, 200))
def test_a_sample_is_everything_or_fits(texts, budget):
    kept = "".join(sample(texts, budget))
    whole = "".join(texts)
    assert kept == whole or len(kept.encode()) <= budget < len(whole.encode())


def test_a_sample_is_spread_over_the_corpus():
    kept = [int(text) for text in sample((f"{n:08d}" for n in range(100_000)), 80_000)]
    assert kept == sorted(kept)
    assert 4_000 <= len(kept) <= 10_000
    for start in range(0, 100_000, 10_000):
        assert sum(start <= n < start + 10_000 for n in kept) == pytest.approx(len(kept) / 10, rel=0.3)


def test_a_sample_cuts_no_word():
    """A passage is 4,096 characters: of one long line some passages, of words none but whole ones."""
    words = [f"word{n}" for n in range(10_000)]
    assert {*"".join(sample([" ".join(words)], 20_000)).split()} < {*words}


PEAK = """
import random, resource, sys
from nextword.tokenizers import TokenizerConfig, train_tokenizer
rng = random.Random(0)
letters = [chr(c) for c in range(*{alphabet})]
words = ["".join(rng.choices(letters, k=rng.randint(1, 9))) for _ in range(100_000)]
weights = [1 / n for n in range(1, len(words) + 1)]
def texts():
    size = 0
    while size < {size}:
        text = {space!r}.join(rng.choices(words, weights, k=1000))
        size += len(text.encode())
        yield text
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
train_tokenizer(TokenizerConfig(type={type!r}), texts())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000)  # MB, of Linux
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in other units elsewhere")
@pytest.mark.parametrize(("type", "size"), [("word", 20e6), ("bpe", 20e6), ("unigram", 4e6)])
@pytest.mark.parametrize(("alphabet", "space"), [((0x61, 0x7B), " "), ((0x4E00, 0x5700), "")])
def test_memory_is_bounded_also_without_spaces(type, size, alphabet, space):
    """BPE that takes each unbroken sentence for a word needs 100 bytes of memory a byte of Chinese: 2 GB here."""
    code = PEAK.format(type=type, alphabet=alphabet, space=space, size=size)
    assert float(python(code, RAYON_NUM_THREADS="1")) < 1500


def test_names_of_files(tmp_path: Path):
    train_tokenizer(TokenizerConfig(type="byte"), ["a"]).save(tmp_path / "deep" / "folder")
    assert sorted(file.name for file in (tmp_path / "deep" / "folder").iterdir()) == [
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_order_of_texts_does_not_matter_to_counts():
    shuffled = MIXED[:200]
    random.Random(0).shuffle(shuffled)
    for type in ["char", "word", "bpe"]:
        config = TokenizerConfig(type=type, vocab_size=1000)
        assert train_tokenizer(config, shuffled).fingerprint() == train_tokenizer(config, MIXED[:200]).fingerprint()
