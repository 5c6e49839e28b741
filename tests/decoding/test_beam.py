"""Beam search against `transformers.generate`, against enumeration, and against facts of public test suites."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path

import pytest
import references
import torch
from running import EOS, continue_one, request, run, tiny
from toys import Bigram, random_table

from nextword.decoding.beam import BeamSearch, Group
from nextword.decoding.search import Row

TOY = json.loads((Path(__file__).parent / "sampler_cases.json").read_text())["beam_search"]


@pytest.fixture(scope="module")
def pair():
    return references.pair("gpt2", spread=0.5)


def theirs(model, prompt: list[int], **settings) -> list[list[int]]:
    """What transformers generates after the prompt, best first, without padding."""
    found = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt)),
        do_sample=False,
        eos_token_id=EOS,
        pad_token_id=EOS,
        **settings,
    )[:, len(prompt) :].tolist()
    return [ids[: ids.index(EOS) + 1] if EOS in ids else ids for ids in found]


@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0, -1.0])
@pytest.mark.parametrize("beams", [2, 4])
def test_beams_are_those_of_transformers(pair, beams, length_penalty, early_stopping):
    ours, reference = pair
    settings = {"num_beams": beams, "length_penalty": length_penalty, "early_stopping": early_stopping}
    ended = 0
    for first in range(1, 7):
        prompt = [EOS, first, 5]
        expected = theirs(reference, prompt, max_new_tokens=12, num_return_sequences=beams, **settings)
        found = run(ours, [request(prompt, max_tokens=12, num_samples=beams, **settings)])
        assert [found[0, i].ids for i in range(beams)] == expected
        ended += sum(len(ids) < 12 for ids in expected)
    assert ended > 0  # otherwise half of the rules were not put to the test


def test_greedy_is_that_of_transformers(pair):
    ours, reference = pair
    for first in range(1, 13):
        expected = theirs(reference, [EOS, first], max_new_tokens=15)
        assert [continue_one(ours, prompt=[EOS, first], temperature=0.0, max_tokens=15).ids] == expected


def test_repetition_rules_apply_to_beams_as_in_transformers(pair):
    ours, reference = pair
    rules = {"num_beams": 3, "no_repeat_ngram_size": 2, "repetition_penalty": 1.5}
    expected = theirs(reference, [EOS, 3, 5], max_new_tokens=15, **rules)
    assert [continue_one(ours, max_tokens=15, **rules).ids] == expected


def all_texts(table: torch.Tensor, start: int, most: int) -> list[tuple[list[int], float]]:
    """Every continuation that ends in <eos> or has `most` tokens, with its log-probability."""
    V = len(table)
    found = []
    for length in range(1, most + 1):
        for body in product(range(V), repeat=length):
            complete = body[-1] == EOS or length == most
            if complete and EOS not in body[:-1]:
                path = [start, *body]
                found.append((list(body), sum(math.log(table[a, b]) for a, b in zip(path, body, strict=False))))
    return found


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_a_beam_as_wide_as_the_space_is_exhaustive_search(length_penalty):
    table = random_table(4, seed=2)
    ranked = sorted(all_texts(table, 2, most=4), key=lambda text: -text[1] / len(text[0]) ** length_penalty)
    found = run(
        Bigram(table),
        [
            request(
                [2],
                max_tokens=4,
                num_beams=256,
                num_samples=20,
                length_penalty=length_penalty,
                early_stopping="never",
            )
        ],
    )
    for place in range(20):
        ids, log_prob = ranked[place]
        assert found[0, place].ids == ids
        assert sum(found[0, place].log_probs) == pytest.approx(log_prob, abs=1e-4)
        assert found[0, place].score == pytest.approx(log_prob / len(ids) ** length_penalty, abs=1e-4)


@pytest.mark.parametrize("penalty", TOY["exhaustive_toy"]["best_by_length_penalty"])
def test_the_public_toy(penalty):
    """Tokens: 0 eos, 1 A, 2 B, 3 bos."""
    probs = TOY["exhaustive_toy"]["model_next_token_probs"]
    names = ["eos", "A", "B"]
    rows = [[1.0, 0, 0, 0], *([probs[n][m] for m in names] + [0.0] for n in ("A", "B", "bos"))]
    best = TOY["exhaustive_toy"]["best_by_length_penalty"][penalty]
    found = run(
        Bigram(torch.tensor(rows)),
        [
            request(
                [3],
                max_tokens=3,
                num_beams=27,
                num_samples=len(best),
                length_penalty=float(penalty),
                early_stopping="never",
            )
        ],
    )
    for place, expected in enumerate(best):
        assert [names[id] for id in found[0, place].ids] == expected["sequence"]
        assert found[0, place].score == pytest.approx(expected["score"], abs=1e-5)


def test_the_public_store_of_hypotheses():
    case = TOY["hypothesis_store"][0]
    search = BeamSearch(request(num_beams=4, length_penalty=case["length_penalty"], max_tokens=20))
    group = Group([])
    for total in case["add_sum_logprobs"]:
        search._finish(group, Row([0] * case["hypothesis_length"], 0), total, "eos")
    assert len(group.finished) == 4
    assert group.finished[0][0] == pytest.approx(case["expected_worst_score"])


def test_scores_fall_and_texts_differ():
    for kind in ("lstm", "transformer"):
        found = run(tiny(kind), [request(num_beams=5, num_samples=5)])
        scores = [found[0, i].score for i in range(5)]
        assert scores == sorted(scores, reverse=True)
        assert max(scores) <= 0
        assert len({tuple(found[0, i].ids) for i in range(5)}) == 5


def test_groups_go_different_ways():
    model = tiny("lstm")
    plain = run(model, [request(num_beams=6, num_samples=6, max_tokens=8)])
    diverse = run(
        model,
        [request(num_beams=6, num_samples=6, num_beam_groups=3, diversity_penalty=5.0, max_tokens=8)],
    )
    firsts = [{results[0, i].ids[0] for i in range(6)} for results in (plain, diverse)]
    assert len(firsts[1]) >= 3
    assert len(firsts[1]) > len(firsts[0]) or len(firsts[0]) >= 3


def test_one_group_without_a_penalty_is_plain_beam_search():
    model = tiny("transformer")
    one = run(model, [request(num_beams=2, num_samples=2)])
    two = run(model, [request(num_beams=4, num_samples=4, num_beam_groups=2)])  # both groups find the same
    texts = [two[0, i].ids for i in range(4)]
    assert sorted(texts) == sorted([one[0, 0].ids, one[0, 1].ids] * 2)


def test_a_stop_ends_a_hypothesis():
    found = continue_one(tiny("lstm"), num_beams=3, eos=None, ends=lambda ids: len(ids) == 5)
    assert (found.reason, len(found.ids)) == ("stop", 5)


def test_coverage_needs_a_source():
    from nextword.errors import UsageError

    with pytest.raises(UsageError, match="source"):
        continue_one(tiny("lstm"), num_beams=2, coverage_penalty=0.2, max_tokens=2)
