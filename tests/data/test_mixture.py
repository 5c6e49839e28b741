"""Mixtures: each corpus is read in its share, always, and in an order that can be gone back to."""

import itertools
import json
import math
from collections import Counter

import pytest
import torch
from corpus import equal, write
from hypothesis import given
from hypothesis import strategies as st

from nextword.config import parse, to_toml
from nextword.data.examples import ExampleBatches
from nextword.data.mixture import MixConfig, MixedBatches, Mixture, Schedule
from nextword.data.stream import StreamBatches, WindowBatches
from nextword.errors import RunError, UsageError

IGNORE = -100
weights = st.lists(st.floats(0.01, 1), min_size=1, max_size=6)


@given(weights, st.integers(0, 2**40), st.integers(1, 3000), st.integers(0, 2**45))
def test_every_stretch_of_draws_keeps_to_the_shares(weights, seed, length, begin):
    """Within a few draws, where independent ones would be off by some twenty in a thousand."""
    schedule = Schedule(weights, seed)
    counts = Counter(schedule[k] for k in range(begin, begin + length))
    for i, weight in enumerate(weights):
        assert abs(counts[i] - length * weight / sum(weights)) < 3 + 0.6 * math.log(length)


def test_seeds_differ_in_their_beginning():
    beginnings = {tuple(Schedule([1, 1, 1], seed)[k] for k in range(20)) for seed in range(10)}
    assert len(beginnings) > 5


@pytest.fixture
def mixture(tmp_path) -> Mixture:
    """A few short documents of threes, and many of sevens, some of which have prompts."""
    few = write(tmp_path / "few", [([], [3] * length) for length in (4, 5, 6, 7)])
    many = write(tmp_path / "many", [([8] * (length % 3), [7] * length) for length in (1, 5, 9, 13) * 40])
    return Mixture({"few": few, "many": many}, {"few": 0.25, "many": 0.75})


def mixed(mixture, kind, seed=0) -> MixedBatches:
    make = {
        "windows": lambda files: WindowBatches(files, 1, 16, seed),
        "streams": lambda files: StreamBatches(files, 4, 16),
        "examples": lambda files: ExampleBatches(files, 64, 16, seed),
        "packed": lambda files: ExampleBatches(files, 16, 16, seed, packed=True),
    }[kind]
    draws = {"windows": 4, "packed": 4}.get(kind, 1)
    return MixedBatches(mixture, {name: make(files) for name, files in mixture.files.items()}, draws, seed)


KINDS = ["windows", "streams", "examples", "packed"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_corpus_is_read_in_its_own_order_however_often_its_turn_comes(mixture, kind):
    """What a corpus gives within the mixture is what it gives alone: small ones begin again, large ones go on."""
    batches = mixed(mixture, kind)
    rows = {name: [] for name in mixture.files}
    for batch in itertools.islice(batches, 300):
        for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
            name = "few" if (targets == 3).any() else "many" if (targets == 7).any() else None
            keep = targets != IGNORE
            if name is not None:  # else the row holds nothing but ends of documents
                assert batch.corpus in ("", name)
                rows[name].append((inputs[keep].tolist(), targets[keep].tolist()))
    for name, order in mixed(mixture, kind).orders.items():
        alone = []
        while len(alone) < len(rows[name]):
            batch = next(order)
            for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
                keep = targets != IGNORE
                if {3, 7} & set(targets.tolist()):
                    alone.append((inputs[keep].tolist(), targets[keep].tolist()))
        assert rows[name] == alone[: len(rows[name])]
    assert batches.orders["few"].epoch > 3 * batches.orders["many"].epoch


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokens_keep_to_the_shares_at_any_time(mixture, kind):
    """Also where a corpus is so small that its batches are; and an epoch is as many batches as it says."""
    batches = mixed(mixture, kind)
    for _ in range(10):
        for _ in range(30):
            next(batches)
        assert batches.read_shares() == pytest.approx(mixture.shares, abs=0.04)
    assert batches.epoch == pytest.approx(300 / batches.batches_per_epoch, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_read_and_epochs_are_counted(mixture, kind):
    batches = mixed(mixture, kind)
    tokens = Counter()
    for batch in itertools.islice(batches, 50):
        for name, letter in (("few", 3), ("many", 7)):
            tokens[name] += int((batch.targets == letter).sum())
        tokens["ends"] += int((batch.targets == 0).sum())
    assert sum(batches.tokens.values()) == sum(tokens.values())
    assert all(batches.tokens[name] >= tokens[name] for name in ("few", "many"))
    assert sum(batches.read_shares().values()) == pytest.approx(1)
    sizes = {name: files.counts.loss_tokens for name, files in mixture.files.items()}
    read = sum(batches.read()[name]["epochs"] * size for name, size in sizes.items())
    assert batches.epoch == pytest.approx(read / sum(sizes.values()), abs=1e-2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [0, 1, 7, 40])
def test_a_restored_mixture_goes_on_as_if_never_interrupted(mixture, kind, cut):
    whole, restored = mixed(mixture, kind, 7), mixed(mixture, kind, 7)
    for _ in range(cut):
        next(whole)
    restored.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    for _ in range(25):
        one, other = next(whole), next(restored)
        assert equal(one, other)
        assert one.corpus == other.corpus
    assert restored.state_dict() == whole.state_dict()


def test_a_position_in_other_shares_is_refused(mixture):
    other = Mixture(mixture.files, {"few": 0.5, "many": 0.5})
    with pytest.raises(RunError, match="data was"):
        mixed(other, "windows").load_state_dict(mixed(mixture, "windows").state_dict())


def test_documents_keep_apart_where_rows_of_several_corpora_meet(mixture):
    for batch in itertools.islice(mixed(mixture, "packed"), 30):
        for begins, targets in zip(batch.starts, batch.targets, strict=True):
            assert begins[0]
            documents = int((targets == 0).sum())
            assert int(begins.sum()) in (documents, documents + 1)  # one of them may be cut short


# Settings


def shares(sizes: dict[str, int], **settings: object) -> dict[str, float]:
    corpora = settings.pop("corpora", {name: {"data": "x"} for name in sizes})
    return parse(MixConfig, {"corpora": corpora, **settings}).shares(sizes)


def test_shares_follow_size_temperature_or_weights():
    sizes = {"en": 900, "sw": 100}
    assert shares(sizes) == pytest.approx({"en": 0.9, "sw": 0.1})
    assert shares(sizes, temperature=2.0) == pytest.approx({"en": 0.75, "sw": 0.25})
    weighted = {"en": {"data": "x", "weight": 1.0}, "sw": {"data": ["y", "z"], "weight": 4.0}}
    assert shares(sizes, corpora=weighted, temperature=5.0) == pytest.approx({"en": 0.2, "sw": 0.8})


@pytest.mark.parametrize(
    ("corpora", "message"),
    [
        ({"a": {"data": "x", "weight": 1.0}, "b": {"data": "y"}}, "mix: b has no weight, but others have"),
        ({"a": {"data": "x", "wieght": 1.0}}, "mix.corpora.a.wieght: unknown key. Did you mean weight"),
        ({"a": {"weight": 1.0}}, "mix.corpora.a.data: required"),
        ({"a": {"data": "x", "weight": 0.0}}, "mix.corpora.a.weight: expected a number greater than 0"),
        ({"a/b": {"data": "x"}}, "'a/b' cannot be the name"),
        ({"a": {"data": "-"}}, "standard input"),
        ({"a": {"data": []}}, "names no file"),
    ],
)
def test_a_mistake_in_a_mixture_is_named(corpora, message):
    with pytest.raises(UsageError, match=message):
        parse(MixConfig, {"corpora": corpora}, "mix")


def test_a_mixture_survives_as_toml():
    import tomllib

    mix = parse(
        MixConfig, {"corpora": {"诗": {"data": ["a b.txt"], "read": {"documents": "line"}}}, "temperature": 3.0}
    )
    assert parse(MixConfig, tomllib.loads(to_toml({"mix": mix}))["mix"]) == mix
    assert parse(MixConfig, tomllib.loads(to_toml({"mix": MixConfig()}))["mix"]) == MixConfig()


def test_a_mixture_tells_what_its_files_tell(mixture):
    counts = [files.counts for files in mixture.files.values()]
    assert mixture.len_tokens == sum(each.tokens for each in counts)
    assert mixture.counts.target_bytes == sum(each.target_bytes for each in counts)
    assert mixture.has_prompts
    assert len(list(mixture.examples())) == 164
    assert torch.equal(torch.tensor(mixture.eos_id), torch.tensor(0))
