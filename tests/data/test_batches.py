import itertools
import json

import pytest
import torch
from corpus import counting_corpus, equal, expected_pairs, pairs, sizes, write
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.data.batches import fit
from nextword.data.stream import StreamBatches, WindowBatches, stream_in_order, windows_in_order
from nextword.errors import DataError, RunError, UsageError

# Every token once


@settings(deadline=None)
@given(sizes, st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**40), st.integers(1, 11))
def test_windows_predict_every_token_once_an_epoch(sizes, batch_size, context, seed, shard_tokens):
    with counting_corpus(sizes, shard_tokens) as (files, stream, mask):
        batches = WindowBatches(files, batch_size, context, seed)
        epochs = batches.batch_size  # this many epochs are a whole number of batches
        count = round(batches.batches_per_epoch * epochs)
        seen = sorted(pairs(itertools.islice(batches, count)))
        assert seen == sorted(expected_pairs(stream, mask) * epochs)
        assert batches.epoch == epochs


@settings(deadline=None)
@given(sizes, st.integers(1, 5), st.integers(1, 9), st.integers(1, 11))
def test_streams_predict_every_token_once_an_epoch(sizes, batch_size, context, shard_tokens):
    with counting_corpus(sizes, shard_tokens) as (files, stream, mask):
        batches = StreamBatches(files, batch_size, context)
        for epoch in (1, 2):
            assert sorted(pairs(itertools.islice(batches, int(batches.batches_per_epoch)))) == expected_pairs(
                stream, mask
            )
            assert batches.epoch == epoch
        assert sorted(pairs(stream_in_order(files, batch_size, context))) == expected_pairs(stream, mask)


@settings(deadline=None)
@given(sizes, st.integers(1, 5), st.integers(1, 9), st.data())
def test_sliding_windows_score_every_token_once_with_enough_context(sizes, batch_size, context, data):
    stride = data.draw(st.integers(1, context))
    with counting_corpus(sizes) as (files, stream, mask):
        batches = list(windows_in_order(files, batch_size, context, stride))
        assert sorted(pairs(batches)) == expected_pairs(stream, mask)
        assert all(batch.inputs.shape[1] == min(context, len(stream)) for batch in batches)
        assert all(len(batch.inputs) == batch_size for batch in batches[:-1])
        rows = [row for batch in batches for row in batch.targets]
        for row in rows[1:]:
            assert (row[: context - stride] == -100).all()


def test_sliding_windows_by_hand(tmp_path):
    files = write(tmp_path, [([], [11, 12, 13, 14, 15])])  # and <eos>: six tokens
    (batch,) = windows_in_order(files, batch_size=9, context=4, stride=1)
    assert batch.inputs.tolist() == [[0, 11, 12, 13], [11, 12, 13, 14], [12, 13, 14, 15]]
    assert batch.targets.tolist() == [[11, 12, 13, 14], [-100, -100, -100, 15], [-100, -100, -100, 0]]


@pytest.mark.parametrize("stride", [0, 5])
def test_a_stride_outside_the_window_is_refused(tmp_path, stride):
    files = write(tmp_path, [([], [11, 12])])
    with pytest.raises(UsageError, match=f"from 1 to the context of 4, got {stride}"):
        next(windows_in_order(files, 2, 4, stride))


# Streams carry on


@settings(deadline=None)
@given(st.integers(2, 200), st.integers(1, 7), st.integers(1, 20))
def test_each_row_of_a_stream_goes_on_where_it_stopped(tokens, batch_size, context):
    with counting_corpus([(0, tokens - 1)]) as (files, _, _):
        batches = StreamBatches(files, batch_size, context)
        epoch = list(itertools.islice(batches, int(batches.batches_per_epoch)))
        assert [batch.fresh for batch in epoch] == [True] + [False] * (len(epoch) - 1)
        assert next(batches).fresh
        inputs = torch.cat([batch.inputs for batch in epoch], dim=1)
        targets = torch.cat([batch.targets for batch in epoch], dim=1)
        for row_in, row_out in zip(inputs.tolist(), targets.tolist(), strict=True):
            whole = [token for token in row_out if token != -100]
            assert row_in[1 : len(whole)] == whole[:-1]
        lengths = (targets != -100).sum(1)
        assert lengths.max() - lengths.min() <= 1
        widths = [batch.inputs.shape[1] for batch in epoch]
        assert max(widths) <= context
        assert max(widths) - min(widths) <= 1


def test_one_track_reads_the_stream_from_the_first_token_to_the_last(tmp_path):
    files = write(tmp_path, [([], [11, 12, 13]), ([], [14])])
    batches = list(stream_in_order(files, batch_size=1, context=3))
    assert [batch.inputs.tolist() for batch in batches] == [[[0, 11, 12]], [[13, 0, 14]]]
    assert [batch.targets.tolist() for batch in batches] == [[[11, 12, 13]], [[0, 14, 0]]]


# Order and resumption


@settings(deadline=None)
@given(st.integers(2, 60), st.integers(1, 4), st.integers(1, 8), st.integers(0, 30), st.sampled_from("ws"))
def test_a_restored_order_goes_on_as_if_never_interrupted(tokens, batch_size, context, cut, kind):
    def make(files):
        return (
            WindowBatches(files, batch_size, context, 7) if kind == "w" else StreamBatches(files, batch_size, context)
        )

    with counting_corpus([(0, tokens - 1)]) as (files, _, _):
        whole = make(files)
        for _ in range(cut):
            next(whole)
        state = json.loads(json.dumps(whole.state_dict()))  # plain JSON values
        restored = make(files)
        restored.load_state_dict(state)
        assert restored.epoch == whole.epoch
        for _ in range(25):
            assert equal(next(restored), next(whole))
            assert restored.state_dict() == whole.state_dict()


def test_every_epoch_and_seed_has_its_own_order(tmp_path):
    files = write(tmp_path, [([], list(range(2, 500)))])
    batches = WindowBatches(files, 1, 10, seed=1)
    first, second = ([next(batches).inputs.tolist() for _ in range(50)] for _ in range(2))
    other = [batch.inputs.tolist() for batch in itertools.islice(WindowBatches(files, 1, 10, seed=2), 50)]
    again = [batch.inputs.tolist() for batch in itertools.islice(WindowBatches(files, 1, 10, seed=1), 50)]
    assert first == again
    assert first != second
    assert first != other
    assert first != sorted(first)
    # The borders moved: a token that began a window does not begin one again.
    assert {row[0][0] for row in first} != {row[0][0] for row in second}


def test_a_position_in_other_data_or_order_is_refused(tmp_path):
    files = write(tmp_path / "a", [([], list(range(2, 50)))])
    other = write(tmp_path / "b", [([], list(range(3, 51)))])
    state = WindowBatches(files, 2, 4, seed=1).state_dict()
    for wrong, name in [
        (WindowBatches(other, 2, 4, seed=1), "data"),
        (WindowBatches(files, 2, 5, seed=1), "context"),
        (WindowBatches(files, 2, 4, seed=2), "seed"),
        (StreamBatches(files, 2, 4), "order"),
    ]:
        with pytest.raises(RunError, match=f"cannot be restored: {name} was"):
            wrong.load_state_dict(state)
    WindowBatches(files, 3, 4, seed=1).load_state_dict(state)  # positions count windows, whatever the batch


# Small corpora


@given(st.integers(2, 5000), st.integers(1, 100), st.integers(1, 600))
def test_fit_gives_what_the_stream_can_fill(tokens, batch_size, context):
    fitting_size, fitting_context, note = fit(tokens, batch_size, context)
    assert 1 <= fitting_size <= batch_size
    assert 1 <= fitting_context <= context
    assert fitting_size * fitting_context <= tokens
    assert bool(note) == ((fitting_size, fitting_context) != (batch_size, context))


@pytest.mark.parametrize("tokens", [0, 1])
def test_less_than_two_tokens_are_too_few(tokens):
    with pytest.raises(DataError, match=f"too small: {tokens} token"):
        fit(tokens, 1, 1)


def test_batches_are_long_tensors_of_batch_by_time(tmp_path):
    files = write(tmp_path, [([], list(range(2, 100)))])
    for batch in (next(WindowBatches(files, 3, 8)), next(StreamBatches(files, 3, 8))):
        assert batch.inputs.shape == batch.targets.shape == (3, batch.inputs.shape[1])
        assert batch.inputs.dtype == batch.targets.dtype == torch.int64
        assert batch.fresh
