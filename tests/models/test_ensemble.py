"""An ensemble gives the mean probability, with and without a state, and generates as any model does."""

import pytest
import torch
from toys import CharTokenizer

from nextword.errors import UsageError
from nextword.generator import TextGenerator
from nextword.models import State, build_model, model_config
from nextword.models.ensemble import Ensemble

KINDS = {
    "gru": [{"type": "gru", "hidden_size": 8}, {"type": "lstm", "hidden_size": 12, "num_layers": 2}],
    "encoder": [
        {
            "type": "encoder-decoder",
            "hidden_size": 8,
            "num_layers": 1,
            "num_heads": 2,
            "max_seq_len": 16,
            "pointer": True,
        },
        {"type": "gru-attention", "hidden_size": 8},
    ],
}
TOKENIZER = CharTokenizer("abcd")


@pytest.fixture(params=KINDS)
def models(request):
    torch.manual_seed(0)
    size = {"vocab_size": TOKENIZER.vocab_size}
    return [build_model(model_config(settings | size)).eval() for settings in KINDS[request.param]]


def state_of(model, sources):
    if not model.encodes:
        return model.init_state(len(sources))
    return model.encode(sources, torch.tensor([sources.size(1), sources.size(1) - 2]))


@torch.no_grad()
def test_it_gives_the_mean_probability(models):
    tokens, sources = torch.randint(0, 4, (2, 5)), torch.randint(0, 4, (2, 6))
    ensemble = Ensemble(models)
    logits, _ = ensemble(tokens, state_of(ensemble, sources))
    mean = sum(model(tokens, state_of(model, sources))[0].softmax(-1) for model in models) / len(models)
    torch.testing.assert_close(logits.softmax(-1), mean)
    torch.testing.assert_close(Ensemble(models[:1])(tokens)[0].softmax(-1), models[0](tokens)[0].softmax(-1))


@torch.no_grad()
def test_one_token_at_a_time_selected_joined_and_kept_as_tensors(models):
    tokens, sources = torch.randint(0, 4, (2, 5)), torch.randint(0, 4, (2, 6))
    ensemble = Ensemble(models)
    whole, _ = ensemble(tokens, state_of(ensemble, sources))
    state = state_of(ensemble, sources)
    steps = []
    for column in tokens.split(1, dim=1):
        state = State.join([state.select(torch.tensor([0])), state.select(torch.tensor([1]))])
        state = state.with_tensors(state.tensors())
        logits, after = ensemble(column, state)
        with pytest.raises(RuntimeError):
            ensemble(column, state)
        steps.append(logits)
        state = after
    torch.testing.assert_close(torch.cat(steps, 1), whole)


@pytest.mark.parametrize("settings", [{"num_beams": 3}, {"temperature": 0}, {"seed": 1}])
def test_it_generates(models, settings):
    generator = TextGenerator(Ensemble(models), TOKENIZER)
    found = generator.generate("ab", max_tokens=6, **settings)
    score = generator.score(found.text, include_eos=found.finish_reason == "eos", prompt="ab") if found.text else None
    if score is not None and not settings.get("num_beams"):
        assert found.log_prob == pytest.approx(score.log_prob, rel=1e-3)


def test_models_of_two_vocabularies_are_none():
    made = [build_model(model_config({"type": "gru", "hidden_size": 8, "vocab_size": size})) for size in (5, 6)]
    with pytest.raises(UsageError, match="one vocabulary"):
        Ensemble(made)
