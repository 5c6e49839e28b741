"""Batches of whole examples: which tokens they predict, from what, and in what order."""

import itertools
import json

import pytest
import torch
from corpus import counting_corpus, equal, expected_pairs, pairs, sizes, write
from hypothesis import given
from hypothesis import strategies as st

from nextword.data.examples import ExampleBatches, examples_in_order

IGNORE = -100


def epoch_of(batches):
    """The batches up to the end of the epoch at hand."""
    end = int(batches.epoch) + 1
    while batches.epoch < end:
        yield next(batches)
    assert batches.epoch == end


def documents(batch):
    """(inputs, targets) of each document in a batch, padding left out of none."""
    for row in range(len(batch.inputs)):
        begins = [0] if batch.starts is None else batch.starts[row].nonzero()[:, 0].tolist()
        if not begins:  # an empty row at the end of an epoch
            assert (batch.targets[row] == IGNORE).all()
            continue
        assert begins[0] == 0
        for first, last in itertools.pairwise([*begins, batch.inputs.size(1)]):
            yield batch.inputs[row, first:last].tolist(), batch.targets[row, first:last].tolist()


@given(sizes, st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**40), st.integers(1, 11), st.booleans())
def test_every_token_is_predicted_once_an_epoch(sizes, tokens, context, seed, shard_tokens, packed):
    with counting_corpus(sizes, shard_tokens) as (files, stream, mask):
        batches = ExampleBatches(files, tokens, context, seed, packed)
        for _ in range(2):
            assert sorted(pairs(epoch_of(batches))) == expected_pairs(stream, mask)
        assert sorted(pairs(examples_in_order(files, tokens, context))) == expected_pairs(stream, mask)


@given(sizes, st.integers(14, 60), st.integers(14, 40), st.booleans())
def test_an_example_that_fits_is_read_whole_and_alone(sizes, tokens, context, packed):
    """Behind an <eos>, its prompt without loss, then its target; what pads a row carries no loss."""
    with counting_corpus(sizes) as (files, _, _):
        context = min(context, files.len_tokens)
        expected = sorted((row.tolist(), prompt) for row, prompt in files.examples())
        found = []
        for batch in epoch_of(ExampleBatches(files, tokens, context, packed=packed)):
            assert batch.inputs.shape == batch.targets.shape
            rows, width = batch.inputs.shape
            assert width <= context
            assert rows * width <= tokens or rows == 1
            assert packed or batch.starts is None
            for inputs, targets in documents(batch):
                prompt = next(at for at, target in enumerate(targets) if target != IGNORE)
                length = max(at for at, target in enumerate(targets) if target != IGNORE) + 1
                assert inputs[0] == 0
                assert inputs[1:length] == [*inputs[1 : prompt + 1], *targets[prompt : length - 1]]
                assert inputs[length:] == [0] * (len(inputs) - length)
                found.append((inputs[1 : prompt + 1] + targets[prompt:length], prompt))
        if max(prompt + target + 1 for prompt, target in sizes) <= context:
            assert sorted(found) == expected


def test_a_prompt_that_is_too_long_gives_its_end(tmp_path):
    files = write(tmp_path, [([11, 12, 13, 14, 15, 16], [21, 22, 23]), ([], [31])])
    rows = {tuple(batch.inputs[0].tolist()): batch.targets[0].tolist() for batch in examples_in_order(files, 4, 4)}
    assert rows == {
        (14, 15, 16, 21): [IGNORE, IGNORE, 21, 22],
        (16, 21, 22, 23): [IGNORE, IGNORE, 23, 0],
        (0, 31): [31, 0],
    }


@given(sizes, st.integers(1, 30), st.integers(1, 12), st.integers(0, 30), st.booleans())
def test_a_restored_order_goes_on_as_if_never_interrupted(sizes, tokens, context, cut, packed):
    with counting_corpus(sizes) as (files, _, _):
        whole, restored = (ExampleBatches(files, tokens, context, 7, packed) for _ in range(2))
        for _ in range(cut):
            next(whole)
        restored.load_state_dict(json.loads(json.dumps(whole.state_dict())))
        assert restored.epoch == whole.epoch
        for _ in range(25):
            assert equal(next(restored), next(whole))
            assert restored.state_dict() == whole.state_dict()


@pytest.fixture
def short(tmp_path):
    """Two thousand documents of 2 to 41 tokens."""
    lengths = torch.randint(1, 41, (2000,), generator=torch.Generator().manual_seed(0)).tolist()
    return write(tmp_path, [([], [7] * length) for length in lengths])


def test_little_is_padding(short):
    for packed, least in ((True, 0.98), (False, 0.94)):
        shapes = [(batch.inputs.numel(), int((batch.targets != IGNORE).sum()))
                  for batch in epoch_of(ExampleBatches(short, 2048, 128, packed=packed))]  # fmt: skip
        read, scored = (sum(column) for column in zip(*shapes, strict=True))
        assert scored == short.len_tokens
        assert scored / read > least


def test_packed_batches_have_one_shape(short):
    batches = list(epoch_of(ExampleBatches(short, 2048, 128, packed=True)))
    assert {tuple(batch.inputs.shape) for batch in batches} == {(16, 128)}
    assert all(batch.starts is not None for batch in batches)


@pytest.mark.parametrize("packed", [True, False])
def test_every_epoch_and_seed_has_its_own_order(tmp_path, packed):
    files = write(tmp_path, [([], [number, number]) for number in range(2, 300)])

    def order(batches):
        return [batch.inputs.tolist() for batch in epoch_of(batches)]

    batches = ExampleBatches(files, 32, 16, seed=1, packed=packed)
    first, second = order(batches), order(batches)
    assert first == order(ExampleBatches(files, 32, 16, seed=1, packed=packed))
    assert first != second
    assert first != order(ExampleBatches(files, 32, 16, seed=2, packed=packed))
    assert {frozenset(map(tuple, batch)) for batch in first} != {frozenset(map(tuple, batch)) for batch in second}


def test_plain_text_to_train_on_is_cut_into_equal_parts_and_scored_with_half_a_context(tmp_path):
    files = write(tmp_path, [([], list(range(2, 21)))])  # 20 tokens
    widths = {batch.inputs.size(1) for batch in epoch_of(ExampleBatches(files, 1, 8))}
    assert widths == {6, 7}
    for batch in list(examples_in_order(files, 1, 8))[1:]:
        assert batch.targets[0].tolist()[:4] == [IGNORE] * 4
