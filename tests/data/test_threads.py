"""Threads: examples that go on from one another are read once, and each is given all that came before it."""

import json
import tempfile
from collections import Counter
from itertools import accumulate, count, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import CodePoints, expected_pairs, flat, pairs
from hypothesis import given
from hypothesis import strategies as st
from test_examples import documents, epoch_of
from toys import write_tokens

from nextword.data.examples import ExampleBatches, examples_in_order
from nextword.data.pairs import pairs_in_order
from nextword.data.token_files import TokenFiles, TokenWriter
from nextword.files import sha256
from nextword.models import build_model, model_config
from nextword.tokenizers import IGNORE
from nextword.training.evaluation import evaluate

threads = st.lists(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=6), min_size=1, max_size=5
).filter(lambda threads: sum(map(len, threads)) > 1)
"""(prompt tokens, target tokens) of each example of each thread."""


def written(folder, sizes, shard_tokens=2**20):
    """Token files of threads, and of the same examples each with its whole history; all tokens but <eos> differ."""
    number = count(2)
    shared, apart, goes_on = [], [], []
    for thread in sizes:
        before = []
        for at, (prompt, target) in enumerate(thread):
            asked, said = ([next(number) for _ in range(size)] for size in (prompt, target))
            shared.append((asked, said))
            apart.append(([*before, *asked], said))
            goes_on.append(at > 0)
            before += [*asked, *said, 0]
    tokenizer = CodePoints()
    return (
        write_tokens(folder / "shared", shared, tokenizer, shard_tokens, goes_on),
        write_tokens(folder / "apart", apart, tokenizer, shard_tokens),
        flat(shared),
    )


def contexts(batches):
    """Each token with loss, with all that its document has before it: how often."""
    return Counter(
        (tuple(inputs[: at + 1]), target)
        for batch in batches
        for inputs, targets in documents(batch)
        for at, target in enumerate(targets)
        if target != IGNORE
    )


@given(threads, st.integers(1, 60), st.integers(1, 40), st.integers(1, 9), st.booleans())
def test_every_token_is_predicted_once_an_epoch(sizes, tokens, context, shard_tokens, packed):
    with tempfile.TemporaryDirectory() as folder:
        files, _, (stream, mask) = written(Path(folder), sizes, shard_tokens)
        assert [ids.tolist() for ids in files.threads()] == [
            stream[first:last] for first, last in pairwise(begins(sizes))
        ]
        batches = ExampleBatches(files, tokens, context, 7, packed)
        for _ in range(2):
            assert sorted(pairs(epoch_of(batches))) == expected_pairs(stream, mask)


def begins(sizes):
    """Where each thread begins in the stream, and where the last one ends."""
    return [0, *accumulate(sum(prompt + target + 1 for prompt, target in thread) for thread in sizes)]


@given(threads, st.integers(1, 60), st.integers(2, 40), st.booleans())
def test_training_gives_a_reply_its_history_by_whole_examples(sizes, tokens, context, packed):
    with tempfile.TemporaryDirectory() as folder:
        files, _, (stream, _) = written(Path(folder), sizes)
        place = {id: at for at, id in enumerate(stream) if id}
        borders = begins(sizes)
        starts = {start for start, *_ in files.spans().tolist()}
        for batch in epoch_of(ExampleBatches(files, tokens, min(context, len(stream)), 3, packed)):
            for inputs, targets in documents(batch):
                said = [place[id] for id in inputs if id]
                if not said:
                    continue
                first, last = said[0], max(at for at, target in enumerate(targets) if target != IGNORE)
                assert inputs[1 : last + 1] == stream[first : first + last]  # nothing left out, nothing of others
                thread = max(border for border in borders if border <= first)
                whole = next(border for border in borders if border > first) - thread
                if whole <= context:
                    assert stream[thread:first] == [0] * (first - thread)
                elif first - 1 in starts or first in starts:  # cut by whole examples, or amid one too long
                    assert len(inputs) <= context


@given(threads, st.integers(1, 60), st.integers(1, 40))
def test_evaluation_is_that_of_one_example_a_reply(sizes, tokens, context):
    with tempfile.TemporaryDirectory() as folder:
        shared, apart, _ = written(Path(folder), sizes)
        context = min(context, shared.len_tokens)
        found = contexts(examples_in_order(shared, tokens, context))
        assert found == contexts(examples_in_order(apart, tokens, context))
        assert shared.counts.loss_tokens == apart.counts.loss_tokens == sum(found.values())
        assert shared.counts.target_bytes == apart.counts.target_bytes
        assert shared.counts.examples == apart.counts.examples


@given(threads)
def test_a_source_is_all_that_was_said_before(sizes):
    with tempfile.TemporaryDirectory() as folder:
        shared, apart, _ = written(Path(folder), sizes)

        def sources(files):
            return Counter(
                (tuple(source[:length].tolist()), tuple(targets.tolist()))
                for batch in pairs_in_order(files, 1, files.len_tokens)
                for source, length, targets in zip(*batch.sources, batch.targets, strict=True)
            )

        assert sources(shared) == sources(apart)


def test_a_source_that_is_too_long_loses_its_first_turns(tmp_path):
    files, _, _ = written(tmp_path, [[(2, 1), (1, 1), (1, 2)]])  # 2 3 | 4 . 5 | 6 . 7 | 8 9 .
    found = [batch.sources[0][0].tolist() for batch in pairs_in_order(files, 1, 6)]
    assert sorted(found, key=len) == [[2, 3, 0], [5, 6, 0, 7, 0], [2, 3, 4, 0, 5, 0]]


MODELS = [
    {"type": "lstm", "num_layers": 1, "hidden_size": 8},
    {"type": "transformer", "num_layers": 1, "hidden_size": 8, "num_heads": 2, "max_seq_len": 12},
]


@pytest.mark.parametrize("settings", MODELS, ids=["lstm", "transformer"])
def test_the_loss_of_each_reply_is_that_of_one_example_a_reply(tmp_path, settings):
    torch.manual_seed(0)
    model = build_model(model_config(settings | {"vocab_size": 60})).double()
    shared, apart, _ = written(tmp_path, [[(2, 3), (1, 2)], [(3, 1)], [(2, 2), (0, 3), (1, 0), (4, 2)]])
    one, other = evaluate(model, shared, 1), evaluate(model, apart, 1)
    assert one.tokens == other.tokens
    assert one.bytes == other.bytes
    assert one.nats == pytest.approx(other.nats, rel=1e-9)


def test_a_long_conversation_is_read_about_twice_and_not_once_a_reply(tmp_path):
    shared, apart, _ = written(tmp_path, [[(3, 6)] * 60])

    def read(files):
        return sum(batch.inputs.numel() for batch in epoch_of(ExampleBatches(files, 100, 100)))

    assert read(shared) < 2.2 * shared.len_tokens < read(apart) / 4


def test_files_of_version_1_are_read_and_nothing_goes_on_in_them(tmp_path):
    _, files, _ = written(tmp_path, [[(2, 3), (1, 2)], [(3, 1)]], shard_tokens=8)
    expected = [batch.inputs.tolist() for batch in examples_in_order(files, 10, 10)]
    index = json.loads((files.folder / "index.json").read_text(encoding="utf-8"))
    for number, shard in enumerate(index["shards"]):
        path = files.folder / f"examples-{number:05}.npy"
        np.save(path, np.load(path)[:, :2])
        shard |= {"examples_size": path.stat().st_size, "examples_sha256": sha256(path)}
    (files.folder / "index.json").write_text(json.dumps(index | {"version": 1}), encoding="utf-8")
    old = TokenFiles.open(files.folder)
    old.verify()
    assert [batch.inputs.tolist() for batch in examples_in_order(old, 10, 10)] == expected
    assert not old.spans()[:, 3].any()


def test_nothing_goes_on_from_nothing(tmp_path):
    with pytest.raises(AssertionError, match="from another"):
        TokenWriter(tmp_path / "x", CodePoints()).go_on()
