"""Processors against facts from public test suites and against `transformers`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from logits import few, random_history, random_logits, shapes
from torch import Tensor

from nextword.decoding import processors as ours
from nextword.decoding.processors import REMOVED

FACTS = json.loads((Path(__file__).parent / "sampler_cases.json").read_text(encoding="utf-8"))
Op = Callable[[Tensor, dict[str, Any], Tensor], Tensor]


# -- facts -------------------------------------------------------------------------------------------------------------


def marks(ids: list[Any], size: int) -> Tensor:
    """(1, V) bool, True at `ids`."""
    return torch.zeros(1, size, dtype=torch.bool).index_fill(1, torch.tensor(ids, dtype=torch.long), True)


def penalties(x: Tensor, p: dict[str, Any], history: Tensor) -> Tensor:
    seen = ours.recent(history, torch.tensor([p["window"]]))
    x = ours.repetition_penalty(x, seen, p["repetition_penalty"])
    x = ours.frequency_penalty(x, seen, p["frequency_penalty"])
    return ours.presence_penalty(x, seen, p["presence_penalty"])


def dry(x: Tensor, p: dict[str, Any], history: Tensor) -> Tensor:
    seen = ours.recent(history, torch.tensor([p["penalty_last_n"]]))
    breakers = marks([id for (id,) in p["sequence_breakers_token_ids"]], x.size(1))
    return ours.dry(x, seen, p["multiplier"], p["base"], p["allowed_length"], breakers)


def sequence_bias(x: Tensor, p: dict[str, Any], history: Tensor) -> Tensor:
    for sequence, value in p["bias"]:
        x = ours.sequence_bias(x, history, sequence, value)
    return x


def source(p: dict[str, Any]) -> Tensor:
    return torch.tensor(p["encoder_input_ids"]).repeat_interleave(p.get("beams_per_item", 1), 0)


def keep(p: dict[str, Any]) -> int:
    return int(p.get("min_tokens_to_keep", 1))


OPS: dict[str, Op] = {
    "temperature": lambda x, p, h: ours.temperature(x, p["temperature"]),
    "dynamic_temperature": lambda x, p, h: ours.dynamic_temperature(x, p["temperature"], p["delta"], p["exponent"]),
    "top_k": lambda x, p, h: ours.top_k(x, max(p["k"], keep(p)) if p["k"] else 0),
    "top_p": lambda x, p, h: ours.top_p(x, p["p"], keep(p)),
    "min_p": lambda x, p, h: ours.min_p(x, p["min_p"], keep(p)),
    "xtc": lambda x, p, h: ours.xtc(x, torch.tensor([0.5]), p["probability"], p["threshold"]),
    "typical": lambda x, p, h: ours.typical(x, p["mass"], keep(p)),
    "epsilon_cutoff": lambda x, p, h: ours.epsilon_cutoff(x, p["epsilon"], keep(p)),
    "eta_cutoff": lambda x, p, h: ours.eta_cutoff(x, p["eta"], keep(p)),
    "top_n_sigma": lambda x, p, h: ours.top_n_sigma(x, p["n"]),
    "top_h": lambda x, p, h: ours.top_h(x, p["top_h"]),
    "p_less": lambda x, p, h: ours.p_less(x),
    "penalties": penalties,
    "dry": dry,
    "repetition_penalty": lambda x, p, h: ours.repetition_penalty(
        x, h[:, p.get("prompt_ignore_length", 0) :], p["penalty"]
    ),
    "encoder_repetition_penalty": lambda x, p, h: ours.repetition_penalty(x, source(p), 1 / p["penalty"]),
    "no_repeat_ngram": lambda x, p, h: ours.no_repeat_ngram(x, h, p["n"]),
    "encoder_no_repeat_ngram": lambda x, p, h: ours.no_repeat_ngram(x, h, p["n"], source(p)),
    "sequence_bias": sequence_bias,
    "prefix_constraint": lambda x, p, h: ours.constraint(
        x, torch.cat([marks(ids, x.size(1)) for ids in p["allowed_per_row"]])
    ),
    "inf_nan_clean": lambda x, p, h: ours.clean(x),
}
# Their inputs are lengths, or two tensors: each has a test of its own below.
OTHERS = {"min_length", "min_new_tokens", "forced_bos", "forced_eos", "classifier_free_guidance"}
EXTREMES = {"dtype max": torch.finfo().max, "dtype min": torch.finfo().min}


def case_of(op: str) -> dict[str, Any]:
    return next(case for case in FACTS["cases"] if case["op"] == op)


def read(values: Any) -> Any:
    """Nested lists in which "nan", "inf" and "dtype max" stand for numbers."""
    if isinstance(values, list):
        return [read(value) for value in values]
    return EXTREMES[values] if values in EXTREMES else float(values)


def expected_logits(before: Tensor, got: Tensor, expected: dict[str, Any], renormalised: bool) -> tuple[Tensor, Tensor]:
    """What we got, and what the case expects in its place: logits, probabilities or counts."""
    match expected:
        case {"probs_by_id": probs}:
            want = torch.zeros_like(before)
            for id, prob in probs.items():
                want[0, int(id)] = prob
            return (got.softmax(-1) if renormalised else got.exp()), want
        case {"exp_of_filtered_logits": probs}:
            return got.exp(), torch.tensor(probs, dtype=torch.float32)
        case {"removed_mask": mask} | {"banned_mask": mask}:
            return got, before.masked_fill(torch.tensor(mask).bool(), REMOVED)
        case {"banned_ids": ids}:
            return got, before.masked_fill(torch.cat([marks(row, before.size(1)) for row in ids]), REMOVED)
        case {"zeroed_count_per_row": counts}:  # the source fills with 0.0
            return (got.masked_fill(got == REMOVED, 0) == 0).sum(-1), torch.tensor(counts)
        case {"nonzero_count_per_row": counts}:
            return (got.masked_fill(got == REMOVED, 0) != 0).sum(-1), torch.tensor(counts)
        case {"changed": rows}:
            want = before.clone()
            for row, changes in enumerate(rows.values()):
                for id, value in changes.items():
                    want[row, int(id)] = value
            return got, want
        case {"unchanged": True}:
            return got, before
        case {"logits": logits}:
            return got, torch.tensor(read(logits), dtype=torch.float32)
    raise AssertionError(f"no such expectation: {expected}")


@pytest.mark.parametrize("case", [c for c in FACTS["cases"] if c["op"] not in OTHERS], ids=lambda case: case["id"])
def test_public_cases(case: dict[str, Any]) -> None:
    given = case["input"]
    values = torch.tensor(read(given["probs"] if "probs" in given else given["logits"]), dtype=torch.float32)
    logits = values.log() if "probs" in given else values
    logits = logits if logits.dim() == 2 else logits[None]
    history = torch.tensor(given.get("history", [[]] * len(logits)), dtype=torch.long).view(len(logits), -1)
    before = logits.clone()
    got = OPS[case["op"]](logits, case["params"], history)
    torch.testing.assert_close(
        *expected_logits(before, got, case["expected"], case.get("renormalised", False)), atol=case["tol"], rtol=1e-6
    )
    torch.testing.assert_close(logits, before, rtol=0, atol=0, equal_nan=True)


def test_all_public_cases_are_there() -> None:
    assert len(FACTS["cases"]) == 62
    assert {case["op"] for case in FACTS["cases"]} == OPS.keys() | OTHERS


UNIFORM = torch.full((4, 20), 1 / 20)


@pytest.mark.parametrize("name", ["min_length", "min_new_tokens"])
def test_public_minimal_lengths(name: str) -> None:
    params, expected = case_of(name)["params"], case_of(name)["expected"]
    if name == "min_length":
        eos, least, banned, free = [params["eos_token_id"]], params["min_length"], [5], [15]
    else:
        eos, least = params["eos_token_ids"], params["min_new_tokens"] + params["prompt_length"]
        banned, free = expected["eos_banned_at_total_length"], expected["not_banned_at_total_length"]
    for length in banned + free:
        got = ours.min_length(UNIFORM, marks(eos, 20), torch.full((4,), length), least)
        assert got.equal(UNIFORM.index_fill(1, torch.tensor(eos), REMOVED) if length in banned else UNIFORM)


@pytest.mark.parametrize(("name", "at", "others"), [("forced_bos", 1, [4]), ("forced_eos", 4, [3])])
def test_public_forced_tokens(name: str, at: int, others: list[int]) -> None:
    assert "logit" in case_of(name)["expected"][f"at_length_{at}"]
    got = ours.forced(UNIFORM, marks([0], 20), torch.full((4,), at), at)
    assert (got[:, 0] == 0).all()
    assert (got[:, 1:] == REMOVED).all()
    for length in others:
        assert ours.forced(UNIFORM, marks([0], 20), torch.full((4,), length), at).equal(UNIFORM)


def test_public_guidance() -> None:
    case = case_of("classifier_free_guidance")
    c, u = (torch.tensor([case["input"]["logits"][name]], dtype=torch.float32) for name in ("cond", "uncond"))
    want = u.log_softmax(-1) + 1.5 * (c.log_softmax(-1) - u.log_softmax(-1))
    torch.testing.assert_close(ours.guidance(c, u, case["params"]["scale"]), want)
    assert ours.guidance(c, u, 1.0).equal(c)


def test_an_empty_constraint_leaves_nothing() -> None:
    """The source raises ValueError; here the row is empty, and whoever draws from it says so."""
    got = ours.constraint(UNIFORM, marks([], 20))
    assert (got == REMOVED).all()


@pytest.mark.parametrize(
    "chain", FACTS["sampler_chain"]["chains"], ids=lambda chain: f"{chain['order']}-{chain['top_p']}"
)
def test_public_chains(chain: dict[str, Any]) -> None:
    """10,000 tokens whose probability is proportional to their id, so the survivors are the highest ids."""
    logits = torch.arange(10_000).double().log().float()[None]
    dividend, _, divisor = str(chain["min_p"]).partition("/")  # "9997.9/9999"
    apply = {
        "k": lambda x: ours.top_k(x, chain["top_k"]),
        "p": lambda x: ours.top_p(x, chain["top_p"]),
        "m": lambda x: ours.min_p(x, float(dividend) / float(divisor or 1)),
    }
    for step in chain["steps"]:
        logits = apply[step["after"]](logits)
        ids = (logits[0] != REMOVED).nonzero().flatten().tolist()
        ids += [0] * (step["min_id"] == 0)  # id 0 has probability 0 from the start
        assert (len(ids), max(ids), min(ids)) == (step["size"], step["max_id"], step["min_id"])


def test_public_logit_bias() -> None:
    case = FACTS["logit_bias"]["case"]
    logits = torch.tensor([case["logits"]])
    values = torch.zeros_like(logits)
    for id, value in case["bias"].items():
        values[0, int(id)] = value
    assert logits.argmax() == case["greedy_before"]
    assert ours.bias(logits, values).argmax() == case["greedy_after"]


def test_an_allowed_token_is_forced_and_a_bad_phrase_never_said() -> None:
    logits, text = random_logits((1, 5, 7)), torch.tensor([[0]])
    assert all(ours.constraint(logits, marks([id], 5)).argmax() == id for id in range(5))
    for _ in range(50):
        x = ours.sequence_bias(random_logits((1, 5, text.size(1))), text, [1, 2], REMOVED)
        text = torch.cat([text, x.argmax(-1, keepdim=True)], 1)
    assert (1, 2) not in zip(text[0].tolist(), text[0, 1:].tolist(), strict=False)
    assert {1, 2} <= set(text[0].tolist())


# -- transformers ------------------------------------------------------------------------------------------------------


def share(least: float = 0.01) -> st.SearchStrategy[float]:
    return st.floats(least, 0.99)


Ours = Callable[[Tensor, Tensor, Any], Tensor]
PAIRS: dict[str, tuple[Ours, Callable[[Any, Any, Tensor], Any], st.SearchStrategy[Any]]] = {
    "temperature": (
        lambda x, h, v: ours.temperature(x, v).log_softmax(-1),
        lambda t, v, h: lambda ids, x: t.TemperatureLogitsWarper(v)(ids, x).log_softmax(-1),
        st.floats(0.05, 5),
    ),
    "top_k": (lambda x, h, v: ours.top_k(x, v), lambda t, v, h: t.TopKLogitsWarper(v), st.integers(1, 50)),
    "top_p": (lambda x, h, v: ours.top_p(x, v), lambda t, v, h: t.TopPLogitsWarper(v), share()),
    "min_p": (lambda x, h, v: ours.min_p(x, v), lambda t, v, h: t.MinPLogitsWarper(v), share()),
    "typical": (lambda x, h, v: ours.typical(x, v), lambda t, v, h: t.TypicalLogitsWarper(v), share()),
    "epsilon": (lambda x, h, v: ours.epsilon_cutoff(x, v), lambda t, v, h: t.EpsilonLogitsWarper(v), share(1e-4)),
    "eta": (lambda x, h, v: ours.eta_cutoff(x, v), lambda t, v, h: t.EtaLogitsWarper(v), share(1e-4)),
    "top_h": (lambda x, h, v: ours.top_h(x, v), lambda t, v, h: t.TopHLogitsWarper(v), share()),
    "repetition": (
        lambda x, h, v: ours.repetition_penalty(x, h, v),
        lambda t, v, h: t.RepetitionPenaltyLogitsProcessor(v),
        st.floats(0.3, 3),
    ),
    "encoder_repetition": (
        lambda x, h, v: ours.repetition_penalty(x, h, 1 / v),
        lambda t, v, h: t.EncoderRepetitionPenaltyLogitsProcessor(v, h),
        st.floats(0.3, 3),
    ),
    "no_repeat_ngram": (
        lambda x, h, v: ours.no_repeat_ngram(x, h, v),
        lambda t, v, h: t.NoRepeatNGramLogitsProcessor(v),
        st.integers(1, 15),
    ),
    "encoder_no_repeat_ngram": (
        lambda x, h, v: ours.no_repeat_ngram(x, h, v, h.flip(1)),
        lambda t, v, h: t.EncoderNoRepeatNGramLogitsProcessor(v, h.flip(1)),
        st.integers(1, 15),
    ),
    "sequence_bias": (
        lambda x, h, v: ours.sequence_bias(x, h, [i % x.size(1) for i in v], -2.5),
        lambda t, v, h: lambda ids, x: t.SequenceBiasLogitsProcessor([[[i % x.size(1) for i in v], -2.5]])(ids, x),
        st.lists(st.integers(0, 2), min_size=1, max_size=4),
    ),
    "min_length": (
        lambda x, h, v: ours.min_length(x, marks([0], x.size(1)), torch.full((len(x),), h.size(1)), v),
        lambda t, v, h: t.MinLengthLogitsProcessor(v, 0),
        st.integers(0, 20),
    ),
    "forced_bos": (
        lambda x, h, v: ours.forced(x, marks([0], x.size(1)), torch.full((len(x),), v), 1),
        lambda t, v, h: lambda ids, x: t.ForcedBOSTokenLogitsProcessor(0)(ids[:, :v], x),
        st.integers(1, 3),
    ),
    "forced_eos": (
        lambda x, h, v: ours.forced(x, marks([0], x.size(1)), torch.full((len(x),), h.size(1)), v - 1),
        lambda t, v, h: t.ForcedEOSTokenLogitsProcessor(v, 0),
        st.integers(11, 15),
    ),
    "guidance": (
        lambda x, h, v: ours.guidance(x, x.flip(1), v),
        lambda t, v, h: (
            lambda ids, x: t.ClassifierFreeGuidanceLogitsProcessor(v)(
                ids, torch.cat([x.log_softmax(-1), x.flip(1).log_softmax(-1)])
            )
        ),
        st.floats(1.1, 5),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
@few
@given(st.data(), shapes)
def test_equals_transformers(name: str, data: st.DataObject, shape: tuple[int, int, int]) -> None:
    theirs = pytest.importorskip("transformers.generation.logits_process")
    mine, their, values = PAIRS[name]
    value, logits, history = data.draw(values), random_logits(shape), random_history(shape)
    got, want = mine(logits, history, value), their(theirs, value, history)(history, logits)
    if "ngram" in name:  # where nothing would be left, our row stays as it was
        want = torch.where((want == REMOVED).all(-1, keepdim=True), logits, want)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
