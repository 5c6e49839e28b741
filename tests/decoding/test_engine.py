"""The engine's promises, over a recurrent model and a Transformer, on models whose every probability is known."""

from __future__ import annotations

import math

import pytest
import torch
from running import EOS, V, continue_one, request, run, tiny
from toys import Bag, Bigram, random_table

from nextword.decoding.engine import Engine
from nextword.decoding.requests import Drawn, Ended, Failed
from nextword.decoding.sampling import draw, likeliest
from nextword.errors import RunError, UsageError

KINDS = ["lstm", "transformer"]

MIXED = [
    request([EOS, 1, 2], seed=1),
    request([EOS], seed=2, temperature=0.0),
    request([EOS] + [3] * 9, seed=3, top_p=0.9, num_samples=3),
    request([EOS, 5], num_beams=4, num_samples=2),
    request([EOS, 5], contrastive_alpha=0.6),
    request([EOS, 1], guidance_scale=2.0, negative=[EOS, 7, 7], temperature=0.5),
    request([EOS, 1], seed=5, repetition_penalty=1.3, frequency_penalty=0.4, no_repeat_ngram_size=2),
    request([EOS, 4, 4, 1], seed=6, xtc_probability=0.5, dry_multiplier=0.8, min_p=0.02, max_tokens=45),
]
"""Requests of every kind; the last outgrows the Transformer's context."""


def told(continuation) -> tuple:
    """What two runs must agree on: the tokens exactly, the log-probabilities up to the order of summation."""
    return continuation.ids, continuation.reason, [round(p, 3) for p in continuation.log_probs]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "how",
    [{}, {"slice_tokens": 1}, {"cache_tokens": 0}, {"max_rows": 5}, {"max_tokens": 60}],
    ids=["plain", "read token by token", "no prefix is kept", "few rows", "little memory"],
)
def test_a_text_does_not_depend_on_what_runs_beside_it(kind, how):
    model = tiny(kind)
    together = run(Engine(model, **how), MIXED)
    for number, one in enumerate(MIXED):
        alone = run(Engine(model), [one])
        for (_, sample), result in alone.items():
            assert told(together[number, sample]) == told(result)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [{}, {"xtc_probability": 0.5, "min_p": 0.02, "penalty_window": 4}], ids=str)
def test_sample_i_is_drawn_with_seed_plus_i(kind, settings):
    model = tiny(kind)
    three = run(model, [request(seed=7, num_samples=3, **settings)])
    for sample in range(3):
        assert told(three[0, sample]) == told(continue_one(model, seed=7 + sample, **settings))
    assert three[0, 0].ids != three[0, 1].ids


@pytest.mark.parametrize("kind", KINDS)
def test_requests_join_and_leave_a_running_batch(kind):
    model, engine = tiny(kind), Engine(tiny(kind))
    early, late = request(seed=1, max_tokens=30, eos=None), request(seed=2, max_tokens=5, eos=None)
    engine.submit(early)
    for _ in range(7):
        engine.step()
    engine.submit(late)
    results = {}
    while not engine.idle:
        results |= {event.request: event.result for event in engine.step() if isinstance(event, Ended)}
    assert list(results) == [late, early]
    for one in (early, late):
        assert told(results[one]) == told(run(model, [one])[0, 0])


def test_greedy_takes_the_likeliest_with_its_probability():
    table = random_table(V)
    found = continue_one(Bigram(table), prompt=[3], temperature=0.0, eos=None)
    before = 3
    for token, log_prob in zip(found.ids, found.log_probs, strict=True):
        assert token == int(table[before].argmax())
        assert log_prob == pytest.approx(math.log(table[before, token]), abs=1e-5)
        before = token


def test_log_probs_are_the_models_own_whatever_the_settings():
    table = random_table(V)
    found = continue_one(Bigram(table), prompt=[0], temperature=0.3, top_k=3, top_p=0.9, repetition_penalty=1.2)
    for before, token, log_prob in zip([0, *found.ids], found.ids, found.log_probs, strict=False):
        assert log_prob == pytest.approx(math.log(table[before, token]), abs=1e-5)


def test_frequencies_are_the_probabilities():
    """Chi-square over 20,000 draws, 3 degrees of freedom: 16.27 is passed once in a thousand seeds."""
    probs = torch.tensor([0.1, 0.2, 0.3, 0.4])
    chance = torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    counts = torch.bincount(draw(probs.log().expand(20_000, 4), chance), minlength=4)
    assert ((counts - 20_000 * probs) ** 2 / (20_000 * probs)).sum() < 16.27


def test_removed_tokens_are_never_drawn():
    logits = torch.full((5_000, 7), -torch.inf)
    logits[:, [1, 4]] = torch.tensor([0.0, 3.0])
    chance = torch.rand(5_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    chance[:2] = torch.tensor([0.0, 1 - 2**-53])  # the ends
    assert set(draw(logits, chance).tolist()) == {1, 4}


def test_likeliest_takes_the_lowest_id_among_equals():
    assert likeliest(torch.tensor([[1.0, 3.0, 3.0]])).tolist() == [1]


def test_a_prompt_is_read_once_for_all_its_samples():
    model = Bigram(random_table(V))
    run(model, [request([0, 1, 2, 3], num_samples=5, max_tokens=3, eos=None)])
    assert model.reads == [(1, 4), (5, 1), (5, 1)]


def test_prompts_of_different_lengths_are_read_side_by_side():
    model = Bigram(random_table(V))
    run(model, [request([0] * n, max_tokens=1, eos=None) for n in (2, 5, 3)])
    assert model.reads == [(3, 2), (2, 1), (1, 2)]


def test_a_long_prompt_does_not_hold_up_the_others():
    """While one runs, at most a slice is read between its steps."""
    engine = Engine(Bag(random_table(V)), slice_tokens=4)
    running, long = request(seed=1, max_tokens=60, eos=None), request([1] * 40, max_tokens=2, eos=None)
    engine.submit(running)
    engine.step()
    engine.submit(long)
    steps = 0
    while {event.request for event in engine.step()} == {running}:
        steps += 1
    assert steps == 9


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_that_begins_like_an_earlier_one_is_not_read_again(kind):
    engine = Engine(tiny(kind))
    run(engine, [request([EOS, 1, 2, 3, 4], max_tokens=2)])
    reads = []
    features = engine.model.features
    engine.model.features = lambda tokens, state: reads.append(tokens.numel()) or features(tokens, state)
    run(engine, [request([EOS, 1, 2, 3, 4, 5, 6], max_tokens=1)])
    run(engine, [request([EOS, 1, 2, 3, 4, 5, 6], max_tokens=1, seed=9)])
    assert reads == [2]


def test_a_transformer_shares_the_beginning_of_a_longer_prompt():
    engine = Engine(tiny("transformer"))
    run(engine, [request([EOS, 1, 2, 3, 4], max_tokens=2)])
    found = run(engine, [request([EOS, 1, 2, 9], seed=3)])[0, 0]
    assert told(found) == told(run(tiny("transformer"), [request([EOS, 1, 2, 9], seed=3)])[0, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_at_the_end_serves_the_next_prompt(kind):
    engine = Engine(tiny(kind))
    first = run(engine, [request([EOS, 1], keep=True, max_tokens=6, eos=None)])[0, 0]
    reads = []
    features = engine.model.features
    engine.model.features = lambda tokens, state: reads.append(tokens.numel()) or features(tokens, state)
    run(engine, [request([EOS, 1, *first.ids, 2, 2], max_tokens=1)])
    assert reads == [3]  # its last token was drawn, but not read


def test_cancelling_frees_the_row_at_the_next_step():
    model = Bigram(random_table(V))
    engine = Engine(model)
    one, two = request(seed=1, max_tokens=50, eos=None), request(seed=2, max_tokens=50, eos=None)
    engine.submit(one)
    engine.submit(two)
    engine.step()
    engine.cancel(one)
    events = engine.step()
    assert {event.request for event in events} == {two}
    assert model.reads[-1] == (1, 1)
    engine.cancel(two)
    engine.step()
    assert engine.idle


def test_cancelling_before_the_prompt_is_read():
    engine = Engine(Bigram(random_table(V)), slice_tokens=1)
    one, two = request([1] * 40), request([2], max_tokens=3, eos=None)
    engine.submit(one)
    engine.submit(two)
    engine.cancel(one)
    assert {event.request for _ in range(6) for event in engine.step()} == {two}
    assert engine.idle


def test_requests_wait_for_room_in_their_order():
    engine = Engine(Bigram(random_table(V)), max_rows=2)
    requests = [request(seed=i, max_tokens=4, eos=None) for i in range(5)]
    for one in requests:
        engine.submit(one)
    order = []
    while not engine.idle:
        order += [event.request for event in engine.step() if isinstance(event, Ended)]
        assert engine.num_running <= 2
    assert order == requests


def test_where_nothing_is_to_be_read_a_row_is_taken_as_soon_as_it_is_free():
    engine, lengths = Engine(tiny("lstm"), max_rows=16), [20, *range(3, 40)]
    for seed, tokens in enumerate(lengths):
        engine.submit(request(seed=seed, max_tokens=tokens, eos=None))
    engine.step()  # reads the prompt, once for all
    while engine.num_waiting:
        assert sum(isinstance(event, Drawn) for event in engine.step()) == 16


def test_a_request_too_large_for_the_memory_runs_alone():
    found = run(Engine(tiny("transformer"), max_tokens=10, max_rows=1), [request(num_samples=2), request(num_beams=3)])
    assert len(found) == 3


@pytest.mark.parametrize("limit", [1, 2, 3, 8])
def test_a_full_context_goes_on_from_its_last_half(limit):
    """Against the definition: when `limit` tokens are in, start again from the last half."""
    free, bounded = Bag(random_table(V)), Bag(random_table(V), max_seq_len=limit)
    prompt = [0, 1, 2][:limit]
    found = continue_one(bounded, prompt=prompt, seed=5, max_tokens=30, eos=None)
    text, begin = [*prompt], 0
    for token, log_prob in zip(found.ids, found.log_probs, strict=True):
        if len(text) - begin > limit:
            begin = len(text) - max(1, limit // 2)
        logits, _ = free(torch.tensor([text[begin:]]))
        assert log_prob == pytest.approx(float(logits[0, -1].log_softmax(-1)[token]), abs=1e-4)
        text.append(token)


def test_the_penalty_sees_prompt_and_text():
    table = torch.full((V, V), 1 / V)
    settings = {"temperature": 0.0, "repetition_penalty": 100.0, "max_tokens": V - 1, "eos": None}
    found = continue_one(Bigram(table), prompt=[2], **settings)
    assert sorted([2, *found.ids]) == list(range(V))


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {}, {"num_beams": 2}])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_broken_logits_stop_their_request_and_no_other(settings, bad):
    """Token 3 is poison: after it, the model's logits are no numbers."""

    class Poisoned(Bigram):
        def features(self, tokens, state=None):
            features, state = super().features(tokens, state)
            return torch.where((tokens == 3)[..., None], bad, features), state

    engine = Engine(Poisoned(random_table(V)))
    poisoned = request([3], **settings)
    healthy = request([1], temperature=0.0, eos=None, max_tokens=1)
    engine.submit(poisoned)
    engine.submit(healthy)
    events = engine.step()
    failed = [event for event in events if isinstance(event, Failed)]
    assert [event.request for event in failed] == [poisoned]
    assert isinstance(failed[0].error, RunError)
    assert any(isinstance(event, Ended) and event.request is healthy for event in events)


def test_nothing_left_to_draw_is_an_error():
    from nextword.decoding.config import TokenSettings
    from nextword.decoding.requests import Request

    one = request()
    nothing = Request(one.prompt, one.config, 0, TokenSettings(forbidden=tuple(range(V))))
    with pytest.raises(UsageError, match="forbid"):
        run(Bigram(random_table(V)), [nothing])


def test_a_prompt_longer_than_the_context_is_refused():
    with pytest.raises(UsageError, match="33 tokens"):
        Engine(tiny("transformer")).submit(request([1] * 33))


def test_guidance_by_its_formula():
    """Scale 0 is the negative prompt alone, 1 the prompt alone; between and beyond by the formula."""
    model = tiny("lstm")
    prompt, negative = [EOS, 1], [EOS, 7, 7]
    after = [model(torch.tensor([ids]))[0][0, -1].log_softmax(-1) for ids in (prompt, negative)]
    for scale in (0.0, 0.5, 2.0):
        expected = int((after[1] + scale * (after[0] - after[1])).argmax())
        found = continue_one(
            model, prompt=prompt, negative=negative, guidance_scale=scale, temperature=0.0, max_tokens=1
        )
        assert found.ids == [expected]


def test_contrastive_search_by_its_definition():
    model = tiny("transformer")
    prompt, alpha, k = [EOS, 3, 5], 0.6, 4
    found = continue_one(model, prompt=prompt, contrastive_alpha=alpha, top_k=k, max_tokens=6, eos=None)
    text = [*prompt]
    model.requires_grad_(False)
    for token in found.ids:
        probs = model(torch.tensor([text]))[0][0, -1].softmax(-1).topk(k)
        past = torch.nn.functional.normalize(model.features(torch.tensor([text]))[0][0], dim=-1)
        scores = []
        for p, candidate in zip(probs.values, probs.indices, strict=True):
            new = model.features(torch.tensor([[*text, int(candidate)]]))[0][0, -1]
            likeness = (past @ torch.nn.functional.normalize(new, dim=-1)).max()
            scores.append(float((1 - alpha) * p - alpha * likeness))
        assert token == int(probs.indices[max(range(k), key=lambda i: scores[i])])
        text.append(token)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trace_tells_of_every_step(kind):
    found = continue_one(tiny(kind), trace=True, temperature=0.7, top_k=5, top_p=0.9, seed=3)
    assert [step.token for step in found.trace.steps] == found.ids
    assert [step.log_prob for step in found.trace.steps] == found.log_probs
    for step in found.trace.steps:
        assert [stage.name for stage in step.stages] == ["model", "temperature", "top_k", "top_p"]
        model, heat, top_k, top_p = step.stages
        assert (model.kept, heat.kept, top_k.kept) == (V, V, 5)
        assert top_k.removed == pytest.approx(1 - sum(p for _, p in heat.top[:5]), abs=1e-6)
        assert dict(model.top)[step.token] == pytest.approx(math.exp(step.log_prob), abs=1e-6)
        assert model.top[step.rank - 1][0] == step.token
        assert step.token in dict(top_p.top)


def test_the_tree_of_a_beam_search():
    found = continue_one(tiny("lstm"), trace=True, num_beams=3, eos=None, max_tokens=4)
    assert [entry["step"] for entry in found.trace.beams] == [0, 1, 2, 3]
    assert all(parent in range(3) for entry in found.trace.beams for parent, _, _ in entry["beams"])
