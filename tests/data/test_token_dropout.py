"""Tokens taken apart: the same text in more pieces, so many of them as asked, the same each time a run comes by."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nextword.data.batches import Batch
from nextword.data.token_dropout import TokenDropout
from nextword.tokenizers import Tokenizer, TokenizerConfig, train_tokenizer

TEXTS = ["the whale and the sea, the white whale", "床前明月光，疑是地上霜。举头望明月，低头思故乡。"] * 20
ENDINGS = [
    f"{word}{ending}" for word in ("walk", "talk", "hunt", "sail") for ending in ("", "s", "ed", "ing", "er")
] * 9


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def tokenizer(request):
    return train_tokenizer(TokenizerConfig(type=request.param, vocab_size=320), TEXTS + ENDINGS)


def rng(seed=0):
    return np.random.RandomState(seed)


def test_the_halves_of_a_token_make_its_bytes(tokenizer):
    halves = tokenizer.halves()
    parted = [id for id, (first, _) in enumerate(halves) if first >= 0]
    assert len(halves) == tokenizer.vocab_size
    assert len(parted) >= 5
    if tokenizer.kind == "bpe":
        assert len(parted) == tokenizer.vocab_size - 257  # the bytes and <eos> are no merges
    for id in parted:
        assert tokenizer.token_bytes(id) == b"".join(map(tokenizer.token_bytes, halves[id]))


@pytest.mark.parametrize("type", ["char", "byte"])
def test_others_have_none(type):
    assert train_tokenizer(TokenizerConfig(type=type), TEXTS).halves() is None


def test_unigram_pieces_are_cut_where_it_is_likeliest():
    from tokenizers import Tokenizer as Backend
    from tokenizers.models import Unigram

    pieces = [("<unk>", 0.0), ("<eos>", 0.0), ("<0x41>", -1.0), ("<", -1.0), ("0x41>", -1.0)]
    pieces += [("abc", -2.0), ("a", -3.0), ("bc", -3.0), ("ab", -1.0), ("c", -4.0), ("", -9.0), ("de", -1.0)]
    halves = Tokenizer(Backend(Unigram(pieces, unk_id=0)), "unigram", eos="<eos>", bos="<eos>").halves()
    assert halves is not None
    assert {pieces[id][0]: at for id, at in enumerate(halves) if at[0] >= 0} == {"abc": (8, 9)}


@given(text=st.text(alphabet="the whale明月光", max_size=30), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_it_is_the_same_text_in_no_fewer_pieces(tokenizer, text, share, seed):
    ids = np.array(tokenizer.encode(text), dtype=np.int64)
    found = TokenDropout(tokenizer.halves(), share, 0).apart(ids, rng(seed))
    assert len(found) >= len(ids)
    assert tokenizer.decode(found.tolist()) == text
    if share == 0:
        assert found.tolist() == ids.tolist()
    if share == 1:
        assert all(tokenizer.halves()[id] == (-1, -1) for id in found)


def test_so_many_merges_are_undone_as_asked():
    """Token 2 is 1 + 0, and 1 is 0 + 0: undone once it leaves a 1, twice none."""
    ids = np.full(20_000, 2)
    found = TokenDropout([(-1, -1), (0, 0), (1, 0)], 0.3, 0).apart(ids, rng())
    counts = np.bincount(found) / 20_000
    assert counts[2] == pytest.approx(0.7, abs=0.015)  # four standard deviations and more
    assert counts[1] == pytest.approx(0.3 * 0.7, abs=0.015)


def test_a_batch_keeps_its_answers_and_the_end_of_each_source():
    parts = [(-1, -1)] * 3 + [(1, 2)] * 2
    sources = torch.tensor([[3, 4, 3, 0], [0, 0, 0, 0], [1, 3, 0, 0]]), torch.tensor([4, 1, 3])
    batch = Batch(torch.zeros(3, 2, dtype=torch.long), torch.ones(3, 2, dtype=torch.long), sources=sources)
    whole = TokenDropout(parts, 1.0, 0)(batch, 1, context=9)
    assert whole.sources[0].tolist() == [[1, 2, 1, 2, 1, 2, 0], [0] * 7, [1, 1, 2, 0, 0, 0, 0]]
    assert whole.sources[1].tolist() == [7, 1, 4]
    assert whole.targets is batch.targets
    cut = TokenDropout(parts, 1.0, 0)(batch, 1, context=4)
    assert cut.sources[0].tolist() == [[1, 2, 1, 0], [0] * 4, [1, 1, 2, 0]]
    some = [TokenDropout(parts, 0.5, seed)(batch, number, 9).sources[1].tolist() for seed, number in
            [(0, 1), (0, 1), *((0, n) for n in range(2, 9)), (1, 1)]]  # fmt: skip
    assert some[0] == some[1]
    assert len({tuple(lengths) for lengths in some}) > 2
