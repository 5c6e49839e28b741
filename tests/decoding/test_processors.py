"""Processors against facts from public test suites, against `transformers`, and against their own laws."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nextword.decoding import processors
from nextword.decoding.config import GenerationConfig
from nextword.decoding.processors import REMOVED, min_p, process, repetition_penalty, temperature, top_k, top_p

FACTS = json.loads((Path(__file__).parent / "sampler_cases.json").read_text(encoding="utf-8"))
OPS = {
    "temperature": lambda x, p: temperature(x, p["temperature"]),
    "top_k": lambda x, p: top_k(x, p["k"]),
    "top_p": lambda x, p: top_p(x, p["p"]),
    "min_p": lambda x, p: min_p(x, p["min_p"]),
}
# These ask for several survivors or fill with 0.0 instead of -inf: options of their source that we do not have.
CASES = [c for c in FACTS["cases"] if c["op"] in OPS and "filter_value" not in c["params"]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_public_cases(case: dict[str, Any]) -> None:
    probs = case["input"].get("probs")
    logits = torch.tensor(case["input"]["logits"]).float() if probs is None else torch.tensor([probs]).log()
    got = OPS[case["op"]](logits, case["params"])
    if "removed_mask" in case["expected"]:
        assert (got == REMOVED).int().tolist() == case["expected"]["removed_mask"]
        return
    expected = torch.zeros_like(logits)
    for id, prob in case["expected"]["probs_by_id"].items():
        expected[0, int(id)] = prob
    torch.testing.assert_close(got.softmax(-1), expected, atol=case["tol"], rtol=0)


def test_public_cases_are_there() -> None:
    assert len(CASES) >= 14


@pytest.mark.parametrize(
    "chain", FACTS["sampler_chain"]["chains"], ids=lambda chain: f"{chain['order']}-{chain['top_p']}"
)
def test_public_chains(chain: dict[str, Any]) -> None:
    """10,000 tokens whose probability is proportional to their id, so the survivors are the highest ids."""
    logits = torch.arange(10_000).double().log().float()[None]
    fraction = eval(str(chain["min_p"]))  # "9997.9/9999"
    apply = {
        "k": lambda x: top_k(x, chain["top_k"]),
        "p": lambda x: top_p(x, chain["top_p"]),
        "m": lambda x: min_p(x, fraction),
    }
    for step in chain["steps"]:
        logits = apply[step["after"]](logits)
        ids = (logits[0] != REMOVED).nonzero().flatten().tolist()
        ids += [0] * (step["min_id"] == 0)  # id 0 has probability 0 from the start
        assert (len(ids), max(ids), min(ids)) == (step["size"], step["max_id"], step["min_id"])


def test_public_repetition_penalty() -> None:
    case = next(c for c in FACTS["cases"] if c["id"] == "repetition_penalty.hf_logits_process.1")
    logits = torch.tensor(case["input"]["logits"])
    expected = logits.clone()
    for row, changes in enumerate(case["expected"]["changed"].values()):
        for id, value in changes.items():
            expected[row, int(id)] = value
    got = repetition_penalty(logits, torch.tensor(case["input"]["history"]), 2.0)
    torch.testing.assert_close(got, expected)


def test_top_k_keeps_ties_and_off_values() -> None:
    logits = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0]])
    assert (top_k(logits, 2) == REMOVED).tolist() == [[True, False, False, False, True]]
    for k in (0, -1, 5, 99):
        assert top_k(logits, k).equal(logits)


def test_repeats_in_the_history_count_once() -> None:
    logits = torch.tensor([[2.0, -2.0, 1.0]])
    once = repetition_penalty(logits, torch.tensor([[0, 1]]), 2.0)
    assert once.tolist() == [[1.0, -4.0, 1.0]]
    assert repetition_penalty(logits, torch.tensor([[0, 1, 0, 0, 1]]), 2.0).equal(once)


@pytest.mark.parametrize("value", [1e-3, 1e-10, 1e-38, 1e-300])
def test_tiny_temperatures_become_greedy_without_overflow(value: float) -> None:
    assert temperature(torch.tensor([[-900.0, 50.0, 50.5]]), value).softmax(-1).tolist() == [[0.0, 0.0, 1.0]]


shapes = st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(0, 10_000))


def random_logits(shape: tuple[int, int, int]) -> Tensor:
    rows, V, seed = shape
    return torch.randn(rows, V, generator=torch.Generator().manual_seed(seed)) * 3


@settings(deadline=None)  # the first example imports transformers
@given(shapes, st.floats(0.05, 5), st.integers(1, 50), st.floats(0.01, 0.99), st.floats(0.01, 1), st.floats(0.3, 3))
def test_equals_transformers(
    shape: tuple[int, int, int], t: float, k: int, p: float, fraction: float, penalty: float
) -> None:
    theirs = pytest.importorskip("transformers.generation.logits_process")
    logits = random_logits(shape)
    ids = torch.randint(shape[1], (shape[0], 7), generator=torch.Generator().manual_seed(shape[2]))
    pairs = [
        (theirs.RepetitionPenaltyLogitsProcessor(penalty), lambda x: repetition_penalty(x, ids, penalty)),
        (theirs.TemperatureLogitsWarper(t), lambda x: temperature(x, t)),
        (theirs.TopKLogitsWarper(k), lambda x: top_k(x, k)),
        (theirs.TopPLogitsWarper(p), lambda x: top_p(x, p)),
        (theirs.MinPLogitsWarper(fraction), lambda x: min_p(x, fraction)),
    ]
    for their, our in pairs:
        torch.testing.assert_close(our(logits).softmax(-1), their(ids, logits).softmax(-1))
    config = GenerationConfig(temperature=t, top_k=k, top_p=p, min_p=fraction, repetition_penalty=penalty)
    whole = logits
    for their, _ in pairs:
        whole = their(ids, whole)
    torch.testing.assert_close(process(logits, ids, config).softmax(-1), whole.softmax(-1), rtol=1e-3, atol=1e-5)


@given(shapes, st.integers(1, 50), st.floats(0, 0.999), st.floats(0.001, 1))
def test_filters_only_remove_and_never_the_likeliest(
    shape: tuple[int, int, int], k: int, p: float, fraction: float
) -> None:
    logits = random_logits(shape)
    before = logits.clone()
    for got in (top_k(logits, k), top_p(logits, p), min_p(logits, fraction)):
        assert ((got == logits) | (got == REMOVED)).all()
        assert (got.argmax(-1) == logits.argmax(-1)).all()
    assert logits.equal(before)


@given(shapes, st.floats(0.01, 0.99))
def test_the_nucleus_is_the_smallest_that_reaches_p(shape: tuple[int, int, int], p: float) -> None:
    logits = random_logits(shape)
    kept = top_p(logits, p) != REMOVED
    probs = logits.double().softmax(-1)
    for row in range(len(logits)):
        mine = probs[row][kept[row]]
        assert mine.sum() > p - 1e-5
        assert mine.sum() - mine.min() < p + 1e-5


def test_rows_do_not_touch_each_other() -> None:
    logits, history = random_logits((5, 30, 1)), torch.arange(5)[:, None] * 3
    config = GenerationConfig(temperature=0.7, top_k=9, top_p=0.8, min_p=0.05, repetition_penalty=1.3)
    together = process(logits, history, config)
    alone = [process(logits[i : i + 1], history[i : i + 1], config) for i in range(5)]
    assert together.equal(torch.cat(alone))


def test_the_defaults_change_nothing() -> None:
    logits = random_logits((2, 8, 3))
    assert process(logits, torch.zeros(2, 1, dtype=torch.long), GenerationConfig()) is logits


def test_forbidden_tokens_have_no_chance() -> None:
    logits = random_logits((2, 8, 3))
    for value in (0.0, 1.0):
        config = GenerationConfig(temperature=value)
        got = process(logits, torch.zeros(2, 1, dtype=torch.long), config, forbidden=torch.tensor([2, 5]))
        assert got[:, [2, 5]].tolist() == [[-math.inf] * 2] * 2


def test_every_processor_is_documented() -> None:
    assert all(f.__doc__ for f in vars(processors).values() if callable(f) and f.__module__ == processors.__name__)
