"""Many prompts at once are answered as each would be alone, and one that is too long is cut as in training."""

import pytest
import torch
from toys import CharTokenizer

from nextword.applied.answers import answers, fitted
from nextword.errors import UsageError
from nextword.generator import TextGenerator
from nextword.models import build_model, model_config

MODELS = {
    "gru": {"type": "gru", "hidden_size": 16},
    "transformer": {"type": "transformer", "hidden_size": 16, "num_layers": 1, "num_heads": 2, "max_seq_len": 8},
    "encoder-decoder": {
        "type": "encoder-decoder",
        "hidden_size": 16,
        "num_layers": 1,
        "num_heads": 2,
        "max_seq_len": 8,
    },
}


@pytest.fixture(params=MODELS)
def generator(request):
    tokenizer = CharTokenizer("abcd")
    torch.manual_seed(0)
    model = build_model(model_config(MODELS[request.param] | {"vocab_size": tokenizer.vocab_size}))
    return TextGenerator(model.eval(), tokenizer)


@pytest.mark.parametrize(
    "settings", [{"num_beams": 3, "max_tokens": 6}, {"max_tokens": 6, "seed": 5}], ids=["beam", "drawn"]
)
def test_together_as_alone(generator, settings):
    prompts, told = ["ab", "c", "dabc", "ab"], []
    found = answers(generator, prompts, settings, told.append)
    for i, (prompt, answer) in enumerate(zip(prompts, found, strict=True)):
        alone = generator.generate(prompt, **settings | ({"seed": 5 + i} if "seed" in settings else {}))
        assert answer.generations[0].text == alone.text
        assert answer.cut == 0
    assert sorted(told) == sorted(prompts)


def test_each_prompt_may_have_settings_of_its_own(generator):
    found = answers(generator, ["ab", "c"], lambda i: {"max_tokens": 2 + i, "ignore_eos": True, "temperature": 0})
    assert [len(answer.generations[0].token_ids) for answer in found] == [2, 3]


def test_a_long_prompt_is_cut_as_in_training(generator):
    ids, cut = fitted(generator, "abcdabcdab")
    text = generator.tokenizer.decode(ids[1:])
    if generator.model.max_seq_len is None:
        assert (text, cut) == ("abcdabcdab", 0)
    elif generator.model.encodes:
        assert (text, cut) == ("abcdabc", 3)  # its beginning
    else:
        assert (text, cut) == ("cdab", 6)  # its end, and room for an answer
    assert answers(generator, ["abcdabcdab"], {"max_tokens": 4})[0].cut == cut


def test_a_mistake_leaves_nothing_under_way(generator):
    with pytest.raises(UsageError, match="num_baems"):
        answers(generator, ["ab", "c"], lambda i: {"num_baems": 2} if i else {})
    assert generator.engine.idle
