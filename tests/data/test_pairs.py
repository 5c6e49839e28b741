"""Batches of sources and answers: each pair whole, every answer's token once, within the budget, resumable."""

from collections import Counter

import pytest
import torch
from corpus import write

from nextword.data.pairs import PairBatches, pairs_in_order
from nextword.tokenizers import IGNORE

EOS = 0
EXAMPLES = [([1 + i % 7] * (i % 9), [10 + i % 5] * (1 + i % 6)) for i in range(60)]


@pytest.fixture
def files(tmp_path):
    return write(tmp_path, EXAMPLES)


def pairs(batch):
    """(source, answer) of each row, as they were written."""
    sources, lengths = batch.sources
    for source, length, inputs, targets in zip(sources, lengths, batch.inputs, batch.targets, strict=True):
        answer = targets[targets != IGNORE]
        assert inputs[: len(answer)].tolist() == [EOS, *answer[:-1].tolist()]
        assert source[length - 1] == EOS
        yield tuple(source[: length - 1].tolist()), tuple(answer[:-1].tolist())


def test_an_epoch_has_every_pair_once_within_the_budget(files):
    order = PairBatches(files, tokens=64, context=32)
    found = Counter()
    for epoch in (0, 1):
        while order.state_dict()["epoch"] == epoch:
            batch = next(order)
            assert batch.sources[0].numel() + batch.inputs.numel() <= 64
            found.update(pairs(batch))
    assert found == Counter((tuple(source), tuple(answer)) for source, answer in EXAMPLES * 2)


def test_a_position_restores_the_order(files):
    order, other = PairBatches(files, 64, 32, seed=5), PairBatches(files, 64, 32, seed=5)
    for _ in range(20):
        next(order)
    other.load_state_dict(order.state_dict())
    for _ in range(10):
        a, b = next(order), next(other)
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.sources[0], b.sources[0])


def test_long_sources_lose_their_end_and_long_answers_no_token(tmp_path):
    files = write(tmp_path, [([1, 2, 3, 4, 5, 6], [11, 12, 13, 14, 15, 16])])
    batches = list(pairs_in_order(files, 64, context=4))
    answers = []
    for batch in batches:
        for source, length, targets in zip(*batch.sources, batch.targets, strict=True):
            assert source[:length].tolist() == [1, 2, 3, EOS]
            answers += targets[targets != IGNORE].tolist()
    assert answers == [11, 12, 13, 14, 15, 16, EOS]


def test_a_part_of_a_batch_has_its_sources(files):
    batch = next(PairBatches(files, 64, 32))
    part = batch.part(slice(1, 3))
    assert list(pairs(part)) == list(pairs(batch))[1:3]
