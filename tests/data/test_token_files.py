import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from corpus import CodePoints, flat, write
from hypothesis import given
from hypothesis import strategies as st

from nextword.data import token_writer
from nextword.data.token_files import TokenFiles
from nextword.data.token_index import source
from nextword.data.token_writer import TokenWriter
from nextword.errors import RunError

ids = st.integers(2, 39_999)
examples = st.lists(st.tuples(st.lists(ids, max_size=9), st.lists(ids, max_size=9)), min_size=1, max_size=12)


@pytest.fixture
def files(tmp_path):
    return write(tmp_path / "x", [([5, 6], [7, 8, 9]), ([], [10]), ([11], [12, 13])], shard_tokens=4)


@given(examples, st.integers(1, 7), st.integers(1, 8), st.data())
def test_any_window_and_mask_are_those_of_the_flat_stream(corpus, shard_tokens, flush, data):
    token_writer._FLUSH_TOKENS, before = flush, token_writer._FLUSH_TOKENS
    try:
        with tempfile.TemporaryDirectory() as folder:
            files = write(Path(folder), corpus, shard_tokens)
            stream, mask = flat(corpus)
            start = data.draw(st.integers(-1, len(stream)))
            length = data.draw(st.integers(0, len(stream) - start))
            assert files.window(start, length).tolist() == ([0, *stream])[start + 1 : start + 1 + length]
            assert files.loss_mask(start, length).tolist() == ([False, *mask])[start + 1 : start + 1 + length]
            assert [(row.tolist(), prompt) for row, prompt in files.examples()] == [
                ([*prompt, *target, 0], len(prompt)) for prompt, target in corpus
            ]
            assert files.counts.tokens == files.len_tokens == len(stream)
            assert files.counts.loss_tokens == sum(mask)
            assert files.counts.examples == len(corpus)
            assert files.counts.target_bytes == sum(len(target) for _, target in corpus)
            files.verify()
    finally:
        token_writer._FLUSH_TOKENS = before


def test_a_target_may_come_in_parts_and_be_larger_than_a_shard(tmp_path):
    writer = TokenWriter(tmp_path, CodePoints(), shard_tokens=10)
    for part in range(5):
        writer.target([part + 2] * 9, num_bytes=9)
    writer.end()
    writer.finish()
    files = TokenFiles.open(tmp_path)
    ((row, prompt),) = files.examples()
    assert row.tolist() == [2] * 9 + [3] * 9 + [4] * 9 + [5] * 9 + [6] * 9 + [0]
    assert prompt == 0


def test_a_window_outside_the_stream_is_refused(files):
    for start, length in [(-2, 1), (0, files.len_tokens + 1), (files.len_tokens + 1, 0)]:
        with pytest.raises(IndexError):
            files.window(start, length)


def test_the_smallest_type_that_holds_the_vocabulary(tmp_path):
    for vocab_size, dtype in [(2**16, np.uint16), (2**16 + 1, np.uint32)]:
        folder = tmp_path / str(vocab_size)
        files = write(folder, [([], [vocab_size - 1])], tokenizer=CodePoints(vocab_size))
        assert np.load(folder / "tokens-00000.npy").dtype == dtype
        assert files.window(0, 2).tolist() == [vocab_size - 1, 0]


def test_the_tokens_are_plain_npy_that_anyone_can_read(files):
    assert np.load(files.folder / "tokens-00000.npy").tolist() == [5, 6, 7, 8]
    # The first example runs on into the second shard, which lists it with a negative start.
    assert np.load(files.folder / "examples-00001.npy").tolist() == [[-4, 2, 0, 0], [2, 0, 0, 0]]


def test_an_empty_corpus_opens(tmp_path):
    files = write(tmp_path, [])
    assert files.len_tokens == 0
    assert list(files.examples()) == []
    assert files.window(-1, 1).tolist() == [0]


def test_unknown_tokens_are_counted(tmp_path):
    assert write(tmp_path, [([1], [1, 5, 1])]).counts.unknown_tokens == 3


def test_another_tokenizer_is_refused(files):
    TokenFiles.open(files.folder, CodePoints())
    with pytest.raises(RunError, match=r"another tokenizer \(code points, 40,000 tokens\).*\(code points, 50,000"):
        TokenFiles.open(files.folder, CodePoints(50_000))


def test_a_folder_without_index_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunError, match=r"holds no token files.*index\.json"):
            TokenFiles.open(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "damaged"),
        (lambda text: "[1, 2]", "damaged"),
        (lambda text: "{}", "not an index of token files"),
        (lambda text: text.replace('"version": 3', '"version": 99'), "of version 99, this nextword reads 1 to 3"),
        (lambda text: text.replace('"tokens": 12', '"tokens": 13'), "do not add up"),
        (lambda text: text.replace('"tokens": 12', '"tokens": "12"'), "counts.tokens: expected an integer"),
    ],
)
def test_a_damaged_index_is_refused_in_one_line(files, damage, message):
    path = files.folder / "index.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(RunError, match=message) as caught:
        TokenFiles.open(files.folder)
    assert "\n" not in str(caught.value)


def test_a_shard_that_is_missing_cut_or_swapped_is_refused(files):
    path = files.folder / "tokens-00001.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(RunError, match=r"tokens-00001\.npy is damaged: \d+ bytes instead of"):
        TokenFiles.open(files.folder)
    path.write_bytes(b"?" * len(whole))
    with pytest.raises(RunError, match=r"tokens-00001\.npy is damaged"):
        TokenFiles.open(files.folder)
    path.unlink()
    with pytest.raises(RunError, match=r"tokens-00001\.npy is missing"):
        TokenFiles.open(files.folder)


def test_verify_finds_a_flipped_bit(files):
    path = files.folder / "tokens-00001.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"tokens-00001\.npy is damaged.*SHA-256"):
        TokenFiles.open(files.folder).verify()


def test_a_source_that_changed_is_named_and_one_that_is_gone_is_not(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("one")
    writer = TokenWriter(tmp_path / "x", CodePoints())
    writer.finish([source(text)])
    files = TokenFiles.open(tmp_path / "x")
    files.check_sources()
    text.write_text("two")  # of the same size
    with pytest.raises(RunError, match=r"a\.txt has changed since"):
        files.check_sources()
    text.unlink()
    files.check_sources()


def test_the_digest_names_the_content(tmp_path):
    one, same, other = (write(tmp_path / name, [([], [c])]) for name, c in [("a", 5), ("b", 5), ("c", 6)])
    assert one.digest == same.digest != other.digest


def test_the_index_is_readable_json_and_says_what_made_it(files):
    index = json.loads((files.folder / "index.json").read_text())
    assert index["tokenizer"] == {
        "kind": "code points", "fingerprint": "code points 40000", "vocab_size": 40_000, "eos_id": 0, "unk_id": 1,
        "bos_id": None,
    }  # fmt: skip
