"""Attention of tokens to tokens becomes links of words to words, in scripts with spaces and without."""

import pytest
import torch

from nextword.applied.alignment import Alignment, align, together
from nextword.errors import UsageError
from nextword.generator import TextGenerator
from nextword.models import build_model, model_config
from nextword.tokenizers import TokenizerConfig, train_tokenizer


def generator(kind: str, texts: list[str], attention: dict[str, dict[str, float]] | None = None, model="gru"):
    """A run whose model, asked for its attention, gives {token of the target: {token of the source: weight}}."""
    tokenizer = train_tokenizer(TokenizerConfig(type=kind), texts)
    sizes = {"type": model, "hidden_size": 8, "vocab_size": tokenizer.vocab_size}
    if model == "encoder-decoder":
        sizes |= {"num_layers": 3, "num_heads": 2, "max_seq_len": 16}
    made = build_model(model_config(sizes)).eval()
    if attention is not None:

        def attend(tokens, sources, lengths):
            weights = torch.full((*tokens.shape, sources.size(1)), 0.01)
            for b, (row, source) in enumerate(zip(tokens.tolist(), sources.tolist(), strict=True)):
                assert source[lengths[b] - 1] == row[0] == tokenizer.eos_id
                for t, following in enumerate(row[1:]):  # the weights at t are those of writing what comes next
                    for word, share in attention.get(tokenizer.token_text(following).strip(), {}).items():
                        place = [tokenizer.token_text(id).strip() for id in source[: lengths[b] - 1]].index(word)
                        weights[b, t, place] = share
            return weights

        made.attention_to_source = attend
    return TextGenerator(made, tokenizer)


def test_words_are_linked_by_the_attention_of_their_tokens():
    run = generator("char", ["ab cd", "xy z."], {"x": {"c": 0.9}, "y": {"d": 0.5, "a": 0.6}, "z": {"a": 0.3, "b": 0.3}})
    found, alone = align(run, [("ab cd", "xy z."), ("ab", "z.z")])
    assert (found.source, found.target) == (["ab", "cd"], ["xy", "z."])
    assert found.pharaoh() == "1-0 0-1"  # 0.9 + 0.5 against 0.6
    assert found.links[0][2] == pytest.approx((0.9 + 0.01 + 0.5 + 0.01) / 2)
    assert alone.pharaoh() == "0-0"


def test_characters_are_words_where_a_script_has_no_spaces():
    run = generator("char", ["I love you", "我爱你。"], {"我": {"I": 0.9}, "爱": {"v": 0.9}, "你": {"y": 0.9}})
    (found,) = align(run, [("I love you", "我爱你。")])
    assert found.target == ["我", "爱", "你", "。"]
    assert found.pharaoh().split()[:3] == ["0-0", "1-1", "2-2"]


def test_a_character_of_several_tokens_is_one_word():
    run = generator("byte", ["I", "我"], model="encoder-decoder")
    (found,) = align(run, [("I", "我")])
    assert (found.source, found.target, found.pharaoh()) == (["I"], ["我"], "0-0")
    assert 0 < found.links[0][2] < 1


def test_what_is_empty_or_does_not_fit_has_no_links():
    run = generator("char", ["ab cdefgh"], model="encoder-decoder")
    empty, long = align(run, [("a", ""), ("ab " * 12, "a b")])
    assert empty == Alignment(["a"], [], [])
    assert max(source for source, _, _ in long.links) < 6


def test_sentences_are_joined_with_their_numbers_moved_on():
    parts = [Alignment(["a", "b"], ["x"], [(1, 0, 0.5)]), Alignment(["c"], ["y", "z"], [(0, 1, 0.25)])]
    assert together(parts) == Alignment(["a", "b", "c"], ["x", "y", "z"], [(1, 0, 0.5), (2, 2, 0.25)])


def test_a_model_without_attention_to_a_source_is_told():
    with pytest.raises(UsageError, match="gru"):
        align(generator("char", ["ab"]), [("a", "b")])
