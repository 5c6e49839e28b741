"""A model that encodes its prompts in the engine: each is a source of its own, and an answer goes on from <eos>."""

import pytest
import torch
from running import EOS, V, continue_one, request, run, tiny

from nextword.decoding.engine import Engine
from nextword.models import build_model, model_config

PROMPTS = [(EOS, 3, 5), (EOS,), (EOS, 7, 7, 7, 2, 9), (EOS, 3, 5), (EOS, 1)]


@pytest.fixture(params=["encoder-decoder", "prefix-lm", "gru-attention"])
def model(request):
    torch.manual_seed(4)
    sizes = {"hidden_size": 16, "num_layers": 2, "vocab_size": V}
    sizes |= {"num_heads": 2, "max_seq_len": 32} if request.param != "gru-attention" else {}
    made = build_model(model_config({"type": request.param} | sizes)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(3.0)  # a model with an opinion
    return made


@torch.no_grad()
def by_hand(model, prompt, steps):
    """The likeliest answer, read anew for each token."""
    source = torch.tensor([[*prompt[1:], EOS]])
    ids = [prompt[0]]
    for _ in range(steps):
        logits, _ = model(torch.tensor([ids]), model.encode(source, torch.tensor([source.size(1)])))
        ids.append(int(logits[0, -1].argmax()))
    return ids[1:]


def test_prompts_together_are_answered_as_each_alone(model):
    found = run(model, [request(prompt, temperature=0, eos=None) for prompt in PROMPTS])
    for i, prompt in enumerate(PROMPTS):
        assert found[i, 0].ids == by_hand(model, prompt, 20), prompt


def test_beams_of_more_prompts_than_fit_are_what_each_alone_finds(model):
    """Searches come in portions, share their source among beams of unlike number, and leave one after the other."""
    widths = [5, 2, 3, 1, 5, 4]
    requests = [
        request((EOS, *range(2, 2 + i % 7)), eos=1, num_beams=width, max_tokens=5 + i % 5, temperature=0)
        for i, width in enumerate(widths * 4)
    ]
    alone = [run(model, [one])[0, 0] for one in requests]
    found = run(Engine(model, max_rows=16), requests)
    for i, one in enumerate(alone):
        assert found[i, 0].ids == one.ids
        assert found[i, 0].score == pytest.approx(one.score, abs=1e-4)


def test_a_full_batch_is_refilled_in_portions():
    """One search that ends makes no room for one that joins, as long as others wait as well."""
    engine = Engine(tiny("transformer"), max_rows=32)
    requests = [request(eos=None, max_tokens=4 + i, temperature=0) for i in range(40)]
    for one in requests:
        engine.submit(one)
    joined, before = [], 40
    while not engine.idle:
        engine.step()
        joined.append(before - engine.num_waiting)
        before = engine.num_waiting
    assert [number for number in joined if number] == [32, 4, 4]


def test_eos_closes_a_source_where_an_answer_begins_after_another_token(model):
    """As in T5 and Marian, whose answers begin after <pad>."""
    prompts = [(1, 3, 5), (1,)]
    found = run(model, [request(prompt, temperature=0) for prompt in prompts])
    for i, prompt in enumerate(prompts):
        ids = by_hand(model, prompt, 20)
        assert found[i, 0].ids == (ids[: ids.index(EOS) + 1] if EOS in ids else ids)


def test_a_full_answer_goes_on_with_its_last_half_and_its_source():
    torch.manual_seed(4)
    sizes = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "max_seq_len": 8, "vocab_size": V}
    model = build_model(model_config({"type": "encoder-decoder"} | sizes)).eval()
    ids = continue_one(model, prompt=PROMPTS[2], temperature=0, eos=None, max_tokens=12).ids
    assert ids[:8] == by_hand(model, PROMPTS[2], 8)
    source, kept = torch.tensor([[*PROMPTS[2][1:], EOS]]), ids[4:8]
    with torch.no_grad():
        logits, _ = model(torch.tensor([kept]), model.encode(source, torch.tensor([6])))
    assert ids[8] == int(logits[0, -1].argmax())


def test_an_answer_is_not_taken_for_a_prompt_read_before(model):
    """An engine remembers what it read, for the next prompt; a source and the answer to it are two things."""
    engine = Engine(model)
    (first,) = run(engine, [request((EOS,), temperature=0, eos=None, max_tokens=10, keep=True)]).values()
    longer = (EOS, *first.ids)
    (found,) = run(engine, [request(longer, temperature=0, eos=None)]).values()
    assert found.ids == by_hand(model, longer, 20)


def test_a_wide_beam_is_no_worse_and_its_score_is_the_sum(model):
    greedy = continue_one(model, prompt=PROMPTS[2], temperature=0, eos=None, max_tokens=4)
    best = continue_one(model, prompt=PROMPTS[2], num_beams=V, eos=None, max_tokens=4, length_penalty=0.0)
    assert sum(best.log_probs) >= sum(greedy.log_probs) - 1e-4


def test_coverage_penalty_needs_attention_to_a_source(model):
    settings = {"num_beams": 4, "max_tokens": 6, "length_penalty": 0.0}
    for other in (tiny("lstm"), model) if model.config.type == "prefix-lm" else (tiny("lstm"),):
        with pytest.raises(Exception, match="source"):
            continue_one(other, prompt=PROMPTS[2], coverage_penalty=5.0, **settings)
    if model.config.type != "prefix-lm":
        plain = continue_one(model, prompt=PROMPTS[2], **settings)
        covering = continue_one(model, prompt=PROMPTS[2], coverage_penalty=5.0, **settings)
        assert covering.score < plain.score  # the logarithm of a share


def test_to_say_what_the_source_says_is_no_repetition(model):
    source = (EOS, *range(1, V))
    with torch.no_grad():
        logits, _ = model(torch.tensor([[EOS]]), model.encode(torch.tensor([[*source[1:], EOS]]), torch.tensor([V])))
    likeliest = 1 + int(logits[0, -1, 1:].argmax())  # but for <eos>, which stands before the answer
    for settings in ({"no_repeat_ngram_size": 1}, {"repetition_penalty": 50.0, "no_repeat_ngram_size": 1}):
        found = continue_one(model, prompt=source, temperature=0, eos=None, max_tokens=5, **settings).ids
        assert found[0] == likeliest
        assert len(set(found)) == 5
