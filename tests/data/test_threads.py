"""Threads: examples that go on from one another are read once, and each is given all that came before it."""

import json
import tempfile
from bisect import bisect_right
from collections import Counter
from itertools import accumulate, count, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import CodePoints, equal, expected_pairs, flat, pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from test_examples import documents, epoch_of
from toys import write_tokens

from nextword.data.examples import ExampleBatches, examples_in_order
from nextword.data.pairs import pairs_in_order
from nextword.data.token_files import TokenFiles
from nextword.data.token_writer import TokenWriter
from nextword.files import sha256
from nextword.models import build_model, model_config
from nextword.tokenizers import IGNORE
from nextword.training.evaluation import evaluate

threads = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=5), min_size=1, max_size=3
).filter(lambda threads: sum(map(len, threads)) > 1)
"""(prompt tokens, target tokens) of each example of each thread."""


def written(folder, sizes, shard_tokens=2**20, alone=False, system=0):
    """Token files of threads, or of the same examples each `alone`, its whole history with it; and the flat stream of
    threads. All tokens but <eos> differ. With a `system`, each thread begins with so many tokens and <eos>."""
    number = count(2)
    shared, apart, goes_on, prefaces = [], [], [], []
    for thread in sizes:
        before = []
        for at, (prompt, target) in enumerate(thread):
            preface = [*(next(number) for _ in range(system)), 0] if system and not at else []
            prefaces.append(len(preface))
            asked, said = ([next(number) for _ in range(size)] for size in (prompt, target))
            asked = [*preface, *asked]
            shared.append((asked, said))
            apart.append(([*before, *asked], said))
            goes_on.append(at > 0)
            before += [*asked, *said, 0]
    if alone:
        return write_tokens(folder / "apart", apart, CodePoints(), shard_tokens), *flat(shared)
    return write_tokens(folder / "shared", shared, CodePoints(), shard_tokens, goes_on, prefaces), *flat(shared)


def both(folder, sizes):
    """Token files of threads, and of the same examples alone."""
    return written(folder, sizes)[0], written(folder, sizes, alone=True)[0]


def contexts(batches):
    """Each token with loss, with all that its document has before it: how often."""
    return Counter(
        (tuple(inputs[: at + 1]), target)
        for batch in batches
        for inputs, targets in documents(batch)
        for at, target in enumerate(targets)
        if target != IGNORE
    )


@settings(max_examples=30)
@given(threads, st.integers(1, 60), st.integers(1, 40), st.integers(5, 20), st.booleans())
def test_every_token_is_predicted_once_an_epoch(sizes, tokens, context, shard_tokens, packed):
    with tempfile.TemporaryDirectory() as folder:
        files, stream, mask = written(Path(folder), sizes, shard_tokens)
        assert [ids.tolist() for ids in files.threads()] == [
            stream[first:last] for first, last in pairwise(begins(sizes))
        ]
        batches = ExampleBatches(files, tokens, context, 7, packed)
        for _ in range(2):
            assert sorted(pairs(epoch_of(batches))) == expected_pairs(stream, mask)


def begins(sizes):
    """Where each thread begins in the stream, and where the last one ends."""
    return [0, *accumulate(sum(prompt + target + 1 for prompt, target in thread) for thread in sizes)]


@settings(max_examples=30)
@given(threads, st.integers(1, 60), st.integers(2, 40), st.booleans())
def test_training_gives_a_reply_its_history_by_whole_examples(sizes, tokens, context, packed):
    with tempfile.TemporaryDirectory() as folder:
        files, stream, _ = written(Path(folder), sizes)
        place = {id: at for at, id in enumerate(stream) if id}
        borders = begins(sizes)
        starts = {start for start, *_ in files.spans().tolist()}
        for batch in epoch_of(ExampleBatches(files, tokens, min(context, len(stream)), 3, packed)):
            for inputs, targets in documents(batch):
                known = next((at for at, id in enumerate(inputs) if id), None)
                if known is None:
                    continue
                first = place[inputs[known]] - (known - 1)
                last = max(at for at, target in enumerate(targets) if target != IGNORE)
                assert inputs[1 : last + 1] == stream[first : first + last]  # nothing left out, nothing of others
                thread, end = next((a, b) for a, b in pairwise(borders) if a <= first < b)
                if end - thread <= context:
                    assert first == thread
                elif max(length for start, length, *_ in files.spans().tolist() if thread <= start < end) <= context:
                    assert first in starts


@settings(max_examples=30)
@given(threads, st.integers(1, 3), st.integers(1, 60), st.integers(8, 30), st.integers(5, 20), st.booleans())
def test_what_begins_anew_begins_with_its_preface(sizes, system, tokens, context, shard_tokens, packed):
    with tempfile.TemporaryDirectory() as folder:
        files, stream, mask = written(Path(folder), sizes, shard_tokens, system=system)
        context = min(context, len(stream))
        batches = list(epoch_of(ExampleBatches(files, tokens, context, 3, packed)))
        assert sorted(pairs(batches)) == expected_pairs(stream, mask)
        place = {id: at for at, id in enumerate(stream) if id}
        spans = files.spans().tolist()
        borders = [start for start, _, _, goes_on, _ in spans if not goes_on]
        for inputs, targets in (document for batch in batches for document in documents(batch)):
            last = max((at for at, target in enumerate(targets) if target != IGNORE), default=0)
            if not last:
                continue
            first = place[next(id for id in inputs if id)]
            number = bisect_right(borders, first)
            of_thread = [span for span in spans if borders[number - 1] <= span[0] < [*borders, len(stream)][number]]
            if inputs[:2] != [0, stream[borders[number - 1]]]:  # a window over an example that is too long
                assert max(length for _, length, *_ in of_thread) + system + 1 > context
                continue
            silent = next(at for at, target in enumerate(targets) if target != IGNORE)
            assert inputs[: system + 2] == [0, *stream[first : first + system + 1]][: len(inputs)]
            after, goes = inputs[system + 2 : last + 1], [first + system + 1, *(start for start, *_ in of_thread)]
            assert any(after == stream[start : start + len(after)] for start in goes)
            assert silent <= max(context // 2, system + 1 + max(prompt for _, _, prompt, *_ in of_thread))


@settings(max_examples=30)
@given(threads, st.integers(0, 3), st.integers(1, 60), st.integers(1, 40))
def test_evaluation_gives_a_reply_what_the_system_said_and_the_last_examples_that_fit(sizes, system, tokens, context):
    with tempfile.TemporaryDirectory() as folder:
        files, stream, _ = written(Path(folder), sizes, system=system)
        context = min(context, len(stream))
        found = contexts(examples_in_order(files, tokens, context))
        place, spans = {id: at for at, id in enumerate(stream) if id}, files.spans().tolist()
        for inputs, target in found:
            if not target:  # all <eos> are alike
                continue
            at = next(at for at, (start, *_) in enumerate(spans) if start <= place[target] < start + spans[at][1])
            thread = max(i for i in range(at + 1) if not spans[i][3])
            first, stop, preface = spans[thread][0], sum(spans[at][:2]), spans[thread][4]
            before = stream[first : place[target]]
            if stop - first > context:
                fits = [start for start, *_ in spans[thread : at + 1] if preface + stop - start <= context]
                if not fits:  # too long by itself: windows
                    continue
                before = stream[first : first + preface] + stream[fits[0] : place[target]]
            assert [*inputs] == [0, *before]


@settings(max_examples=30)
@given(threads, st.integers(1, 60), st.integers(1, 40))
def test_evaluation_of_conversations_that_fit_is_that_of_one_example_a_reply(sizes, tokens, more):
    with tempfile.TemporaryDirectory() as folder:
        shared, apart = both(Path(folder), sizes)
        context = min(max(map(len, shared.threads())) + more, shared.len_tokens)
        found = contexts(examples_in_order(shared, tokens, context))
        assert found == contexts(examples_in_order(apart, tokens, context))
        assert shared.counts.loss_tokens == apart.counts.loss_tokens == sum(found.values())
        assert shared.counts.target_bytes == apart.counts.target_bytes
        assert shared.counts.examples == apart.counts.examples


@settings(max_examples=30)
@given(threads, st.integers(1, 60), st.integers(1, 40))
def test_validation_reads_what_training_reads(sizes, tokens, context):
    with tempfile.TemporaryDirectory() as folder:
        files, *_ = written(Path(folder), sizes)
        context = min(context, files.len_tokens)
        found = contexts(examples_in_order(files, tokens, context, as_trained=True))
        assert found == contexts(epoch_of(ExampleBatches(files, tokens, context)))


@settings(max_examples=30)
@given(threads)
def test_a_source_is_all_that_was_said_before(sizes):
    with tempfile.TemporaryDirectory() as folder:
        shared, apart = both(Path(folder), sizes)

        def sources(files):
            return Counter(
                (tuple(source[:length].tolist()), tuple(targets.tolist()))
                for batch in pairs_in_order(files, 1, files.len_tokens)
                for source, length, targets in zip(*batch.sources, batch.targets, strict=True)
            )

        assert sources(shared) == sources(apart)


def test_a_source_that_is_too_long_loses_its_first_turns(tmp_path):
    files, *_ = written(tmp_path, [[(2, 1), (1, 1), (1, 2)]])  # 2 3 | 4 . 5 | 6 . 7 | 8 9 .
    found = [batch.sources[0][0].tolist() for batch in pairs_in_order(files, 1, 6)]
    assert sorted(found, key=len) == [[2, 3, 0], [5, 6, 0, 7, 0], [2, 3, 4, 0, 5, 0]]


def test_what_the_system_says_is_left_out_of_no_source_that_has_room_for_more(tmp_path):
    files, *_ = written(tmp_path, [[(1, 1), (2, 1), (1, 9)], [(5, 1)]], system=1)  # 2 . 3 | 4 . 5 6 | 7 . 8 | 9 ...
    found = {
        (tuple(source[:length].tolist()), targets[0].item())
        for batch in pairs_in_order(files, 1, 8)
        for source, length, targets in zip(*batch.sources, batch.targets, strict=True)
    }
    assert {source for source, _ in found} == {
        (2, 0, 3, 0),
        (2, 0, 3, 4, 0, 5, 6, 0),
        (2, 0, 5, 6, 7, 0, 8, 0),
        (18, 0, 19, 20, 21, 22, 23, 0),
    }
    assert {target for source, target in found if source[-2] == 8} == {9, 17}  # both parts of the answer


def test_a_preface_of_one_token_is_the_boundary_and_no_part_of_a_source(tmp_path):
    files = write_tokens(tmp_path / "x", [([2, 3, 4], [5]), ([6, 7], [8])], CodePoints(), 20, [False, True], [1, 0])
    assert sorted(ids[0].tolist() for batch in pairs_in_order(files, 1, 6) for ids in [batch.sources[0]]) == [
        [2, 3, 4, 0],
        [6, 7, 0],
    ]
    rows = [batch.inputs[0].tolist() for batch in epoch_of(ExampleBatches(files, 1, 5))]
    assert sorted(rows) == [[0, 0, 6, 7, 8], [0, 2, 3, 4, 5]]


MODELS = [
    {"type": "lstm", "num_layers": 1, "hidden_size": 8},
    {"type": "transformer", "num_layers": 1, "hidden_size": 8, "num_heads": 2, "max_seq_len": 12},
]


@torch.no_grad()
def losses(model, batches):
    """(token, nats) of all that carries loss, in float64."""
    found = []
    for batch in batches:
        state = model.init_state(len(batch.inputs)) if model.max_seq_len is None else None
        logits, _ = model(batch.inputs, state, batch.starts)
        kept = batch.targets != IGNORE
        nats = -logits.log_softmax(-1)[kept].gather(-1, batch.targets[kept][:, None])[:, 0]
        found += zip(batch.targets[kept].tolist(), nats.tolist(), strict=True)
    return np.array(sorted(found))


@pytest.mark.parametrize("kind", MODELS, ids=["lstm", "transformer"])
def test_the_loss_of_each_token_is_that_of_one_example_a_reply(tmp_path, kind):
    torch.manual_seed(0)
    model = build_model(model_config(kind | {"vocab_size": 60})).double().eval()
    sizes = [[(2, 3), (1, 2)], [(3, 1)], [(2, 1), (0, 2), (1, 0), (1, 1)]]
    shared, apart = both(tmp_path, sizes)
    context = model.max_seq_len or shared.len_tokens
    expected = losses(model, examples_in_order(apart, 100, context))
    np.testing.assert_allclose(losses(model, examples_in_order(shared, 100, context)), expected, rtol=1e-9)
    assert evaluate(model, shared, 1).nats == pytest.approx(expected[:, 1].sum(), rel=1e-5)
    packed = model.max_seq_len is not None
    trained = losses(model, epoch_of(ExampleBatches(shared, 100, context, packed=packed)))
    np.testing.assert_allclose(trained, expected, rtol=1e-9)


@pytest.mark.parametrize("packed", [True, False])
def test_a_restored_order_goes_on_as_if_never_interrupted(tmp_path, packed):
    files, *_ = written(tmp_path, [[(3, 6)] * 20, [(1, 2)] * 3, [(2, 2)], [(0, 9)] * 5])
    whole, restored = (ExampleBatches(files, 60, 30, 7, packed) for _ in range(2))
    for _ in range(5):
        next(whole)
    restored.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    for _ in range(25):
        assert equal(next(restored), next(whole))


def test_a_long_conversation_is_read_about_twice_and_not_once_a_reply(tmp_path):
    shared, apart = both(tmp_path, [[(3, 6)] * 60])

    def read(files):
        return sum(batch.inputs.numel() for batch in epoch_of(ExampleBatches(files, 100, 100)))

    assert read(shared) < 2.2 * shared.len_tokens < read(apart) / 4
    validation, evaluation = (examples_in_order(shared, 100, 100, as_trained) for as_trained in (True, False))
    assert sum(batch.inputs.numel() for batch in validation) < 2.2 * shared.len_tokens
    assert sum(batch.inputs.numel() for batch in evaluation) > 8 * shared.len_tokens


def test_a_reply_has_more_before_it_in_an_evaluation_than_in_validation(tmp_path):
    files, *_ = written(tmp_path, [[(1, 2)] * 20])
    model = build_model(model_config({**MODELS[1], "vocab_size": 400}))
    whole, quick = evaluate(model, files, 1), evaluate(model, files, 1, as_trained=True)
    assert whole.tokens == quick.tokens
    assert whole.nats != quick.nats
    assert whole.how.endswith("those of more than 12 tokens in the last turns that fit")
    assert quick.how.endswith("those of more than 12 tokens in rows, as in training")
    recurrent = build_model(model_config({**MODELS[0], "vocab_size": 400}))
    assert evaluate(recurrent, files, 1) == evaluate(recurrent, files, 1, as_trained=True)  # it reads all at one go


@pytest.mark.parametrize("version", [1, 2])
def test_files_of_earlier_versions_are_read_and_know_less_of_threads(tmp_path, version):
    files, *_ = written(tmp_path, [[(2, 3), (1, 2)], [(3, 1)]], shard_tokens=8, alone=version == 1)
    expected = [batch.inputs.tolist() for batch in examples_in_order(files, 10, 10)]
    index = json.loads((files.folder / "index.json").read_text(encoding="utf-8"))
    for number, shard in enumerate(index["shards"]):
        path = files.folder / f"examples-{number:05}.npy"
        np.save(path, np.load(path)[:, : version + 1])
        shard |= {"examples_size": path.stat().st_size, "examples_sha256": sha256(path)}
    (files.folder / "index.json").write_text(json.dumps(index | {"version": version}), encoding="utf-8")
    old = TokenFiles.open(files.folder)
    old.verify()
    assert [batch.inputs.tolist() for batch in examples_in_order(old, 10, 10)] == expected
    assert old.spans()[:, 3].any() == (version > 1)
    assert not old.spans()[:, 4].any()


def test_nothing_goes_on_from_nothing(tmp_path):
    with pytest.raises(AssertionError, match="from another"):
        TokenWriter(tmp_path / "x", CodePoints()).go_on()
