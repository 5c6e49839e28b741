"""The tables of families: settings and weights, both ways, against transformers' own configurations and models."""

import copy
from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import LLAMA, MARIAN, T5, TINY, auto_model, build, our_logits, their_logits, theirs, weights_of

from nextword.checkpoint import weights
from nextword.errors import RunError, UsageError
from nextword.interop.families import FAMILIES, canonical, read_config, write_config
from nextword.interop.rules import OTHER_SCALING_KEYS, SCALING_KEYS
from nextword.interop.weights import TheirTensors
from nextword.models import model_config
from nextword.models.transformer_config import GPT2


def transformer(**changes):
    return model_config({"type": "transformer", "vocab_size": 17, "max_seq_len": 32, "hidden_size": 16} | changes)


def test_every_family_has_a_tiny_model():
    assert {family for family, _ in TINY.values()} == set(FAMILIES)


@pytest.mark.parametrize("name", TINY)
def test_there_and_back_gives_every_bit_and_the_same_config(name):
    transformers = pytest.importorskip("transformers")
    model = theirs(name)
    family, _ = TINY[name]
    reading = read_config(model.config.to_dict(), model.state_dict())
    ours = dict(weights(build(model.config.to_dict(), model.state_dict())))
    back = TheirTensors(reading.family, reading.settings, ours)
    expected = weights_of(model)
    assert back.keys() == expected.keys()
    assert all(torch.equal(back[key], value) for key, value in expected.items())

    again, written = write_config(reading.settings, family)
    assert again == family
    config = transformers.AutoConfig.for_model(
        family, **{key: value for key, value in written.items() if key != "model_type"}, pad_token_id=None
    )
    other = auto_model(family).from_config(config).eval()
    if not reading.settings.tied:
        other.get_output_embeddings().weight = torch.nn.Parameter(torch.empty(17, reading.settings.hidden_size))
    other.load_state_dict(model.state_dict())
    tokens = torch.randint(17, (1, 12))
    assert torch.equal(their_logits(other, tokens), their_logits(model, tokens))


@pytest.mark.parametrize("name", ["llama", "llama-linear", "llama-yarn", "gemma3-scaled", "phi3-partial"])
def test_the_way_that_older_versions_wrote_rotary_settings_means_the_same(name):
    _, values = TINY[name]
    new = theirs(name).config.to_dict()
    assert "rope_parameters" in new
    old = {key: value for key, value in new.items() if key != "rope_parameters"} | values
    assert read_config(old).settings == read_config(new).settings


FEW = {
    "gpt2": {"n_embd": 16, "n_head": 4, "vocab_size": 17, "n_layer": 8},
    "t5": {key: T5[key] for key in ("vocab_size", "d_model", "d_ff", "num_layers", "num_heads")},
    "mt5": {key: T5[key] for key in ("vocab_size", "d_model", "d_ff", "num_layers", "num_heads")},
    "marian": {key: value for key, value in MARIAN.items() if key[:3] in ("voc", "d_m", "enc", "dec")},
}
"""The keys that no file leaves out, where they are not those of Llama."""


def test_a_key_left_out_means_what_transformers_takes_for_it():
    """Old files leave out what was the default when they were written."""
    transformers = pytest.importorskip("transformers")
    few = {"vocab_size": 17, "hidden_size": 64, "num_attention_heads": 32, "num_hidden_layers": 8}
    few |= {"intermediate_size": 40}
    for family in FAMILIES:
        values = FEW.get(family, few)
        full = transformers.AutoConfig.for_model(family, **values).to_dict()
        short = read_config({"model_type": family} | values)
        assert canonical(short.settings) == canonical(read_config(full).settings), family


@pytest.mark.parametrize(
    ("changes", "family"),
    [
        ({}, "llama"),
        ({"num_kv_heads": 2, "mlp_size": 40, "tied": False}, "llama"),
        ({"qkv_bias": True}, "qwen2"),
        ({"qkv_bias": True, "out_bias": True, "bias": True}, "llama"),
        ({"qk_norm": True}, "qwen3"),
        ({"window": 7}, "mistral"),
        ({"window": 7, "layer_pattern": ["local", "global"], "qk_norm": True}, "qwen3"),
        ({"rope_share": 0.5}, "llama"),
        (GPT2, "gpt2"),
    ],
)
def test_a_model_of_our_own_finds_its_family(changes, family):
    changes = {"num_heads": 4, **changes}
    name, config = write_config(transformer(**changes))
    assert name == family
    assert config["model_type"] == family


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"positions": "learned"}, "positions = 'learned'"),
        ({"norm": "layer"}, "norm = 'layer'"),
        ({"activation": "gelu"}, "activation = 'gelu'"),
        ({"window": 4, "layer_pattern": ["local", "nope"]}, "layer_pattern"),
    ],
)
def test_what_no_family_can_be_is_named(changes, named):
    with pytest.raises(UsageError) as caught:
        write_config(transformer(num_heads=4, **changes))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


LLAMA_JSON = LLAMA | {"model_type": "llama"}
T5_JSON = T5 | {"model_type": "t5"}
MARIAN_JSON = MARIAN | {"model_type": "marian"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_type": "qwen"}, r"'qwen' is not supported\. Did you mean qwen\d\? Supported: llama, gpt2"),
        ({"intermediate_size": None}, "lacks intermediate_size"),
        ({"model_type": "bert"}, "Supported: llama, gpt2"),
        ({"model_type": None}, "model_type None"),
        ({"model_type": ["llama"]}, "not supported"),
        ({"hidden_size": -1}, "hidden_size: .*-1"),
        ({"hidden_size": 2**40}, "hidden_size"),
        ({"hidden_size": 15}, "15 is not a multiple"),
        ({"hidden_size": "16"}, "hidden_size: expected an integer, got '16'"),
        ({"num_hidden_layers": 10**9}, "num_layers"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"rms_norm_eps": float("nan")}, "norm_eps"),
        ({"rope_theta": float("inf")}, "rope_theta"),
        ({"hidden_act": "relu"}, "hidden_act 'relu' is not supported"),
        ({"rope_scaling": {"type": "lineal", "factor": 2.0}}, "Did you mean linear"),
        ({"rope_scaling": {"type": "linear", "factr": 2.0}}, "Did you mean factor"),
        ({"rope_scaling": {"type": "linear", "factor": "2"}}, "factor"),
        ({"rope_scaling": "linear"}, "rope_scaling: expected an object"),
        ({"rope_scaling": {"type": "yarn", "original_max_position_embeddings": -1}}, "original_max_position"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized"),
        ({"pretraining_tp": 2}, "pretraining_tp 2"),
        ({"model_type": "qwen2", "use_sliding_window": True, "layer_types": ["chunked_attention"] * 3}, "layer_types"),
        ({"model_type": "qwen2", "use_sliding_window": True, "layer_types": ["full_attention"]}, "list of 3 names"),
        ({"model_type": "smollm3", "no_rope_layers": [1]}, "no_rope_layers"),
        ({"model_type": "smollm3", "no_rope_layer_interval": 0}, "no_rope_layer_interval"),
        ({"model_type": "smollm3", "use_sliding_window": True}, "use_sliding_window True"),
        ({**MARIAN_JSON, "decoder_ffn_dim": 41}, "decoder_ffn_dim 41: both halves are alike"),
        ({**MARIAN_JSON, "decoder_vocab_size": 18}, "decoder_vocab_size 18 is not vocab_size"),
        ({**MARIAN_JSON, "share_encoder_decoder_embeddings": False}, "share_encoder_decoder_embeddings False"),
        ({**T5_JSON, "feed_forward_proj": "gated-relu"}, "feed_forward_proj 'gated-relu' is not supported"),
        ({**T5_JSON, "num_decoder_layers": 0}, "num_decoder_layers: expected an integer from 1"),
        ({**T5_JSON, "relative_attention_max_distance": 4}, "relative_distance 4 must be more than half"),
        ({**T5_JSON, "d_ff": None}, "lacks d_ff"),
        ({**MARIAN_JSON, "encoder_attention_heads": None}, "encoder_attention_heads: expected an integer"),
        ({**MARIAN_JSON, "d_model": 15, "encoder_attention_heads": 3, "decoder_attention_heads": 3}, "an even hidden"),
        ({"model_type": "gemma2", "use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ({"model_type": "gemma2", "query_pre_attn_scalar": None}, "query_pre_attn_scalar|attention_scale"),
        ({"model_type": "gemma3_text", "rope_parameters": {"sliding_attention": {"rope_type": "yarn"}}}, "local"),
    ],
)
def test_a_config_that_cannot_be_is_told_in_one_line(changes, told):
    with pytest.raises(RunError, match=told) as caught:
        read_config(LLAMA_JSON | changes)
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "factor", "a"]), inner),
    max_leaves=4,
)


@settings(max_examples=100)
@given(data=st.data())
def test_whatever_stands_in_a_config_it_is_read_or_refused(data):
    family, values = data.draw(st.sampled_from(list(TINY.values())))
    config = copy.deepcopy(values) | {"model_type": family}
    known = sorted(FAMILIES[family].known | {"model_type", "quantization_config"})
    config |= data.draw(st.dictionaries(st.sampled_from(known), JSON, max_size=2))
    if isinstance(config.get("rope_scaling"), dict):
        key = st.sampled_from([*SCALING_KEYS, *OTHER_SCALING_KEYS])
        config["rope_scaling"] |= data.draw(st.dictionaries(key, JSON, max_size=2))
    with suppress(RunError):
        assert read_config(config).settings.vocab_size > 0


def test_keys_that_name_code_or_that_nobody_knows_are_reported_and_have_no_effect():
    strange = {"auto_map": {"AutoModel": "evil.Model"}, "_attn_implementation_internal": "org/kernel", "foo_layers": 3}
    reading = read_config(LLAMA_JSON | strange)
    assert set(reading.ignored) == set(strange)
    assert reading.settings == read_config(LLAMA_JSON).settings


UP = "model.layers.0.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda t: t.pop("model.layers.1.mlp.up_proj.weight"), r"model\.layers\.1\.mlp\.up_proj\.weight is missing"),
        (lambda t: t.update({"model.norm.weight": torch.ones(15)}), r"model\.norm\.weight has shape \[15\]"),
        (
            lambda t: t.update({UP: torch.ones(41, 16)}),
            r"\[41, 16\], expected \[40, 16\]",
        ),
        (lambda t: t.update({UP: torch.ones(40, 15)}), r"\[40, 15\], expected"),
        (lambda t: t.update({UP: torch.ones(40, 16).long()}), "int64"),
        (lambda t: t.update({UP: torch.tensor(1.0)}), r"\[\], expected"),
        (lambda t: t.update({"model.layers.7.mlp.up_proj.weight": torch.ones(1)}), r"layers\.7.* is not part"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(damage, told):
    model = theirs("llama")
    tensors = model.state_dict()
    damage(tensors)
    with pytest.raises(RunError, match=told):
        build(model.config.to_dict(), tensors)


def test_an_output_layer_beside_a_tied_embedding_must_be_the_same():
    model = theirs("llama-biases")
    tensors = model.state_dict()
    assert build(model.config.to_dict(), tensors)
    tensors["lm_head.weight"] = tensors["lm_head.weight"] + 1
    with pytest.raises(RunError, match="lm_head"):
        build(model.config.to_dict(), tensors)


@pytest.mark.parametrize("name", ["llama-biases", "marian", "t5"])
def test_a_tied_embedding_is_found_under_any_of_its_names(name):
    """Files have one of the tensors that are the same, and not always the first."""
    model = theirs(name)
    tensors = model.state_dict()
    expected = our_logits(build(model.config.to_dict(), tensors), torch.arange(9)[None])
    same = [key for key in tensors if key.endswith(("embed_tokens.weight", "shared.weight", "lm_head.weight"))]
    for only in same:
        some = {key: value for key, value in tensors.items() if key == only or key not in same}
        assert torch.equal(our_logits(build(model.config.to_dict(), some), torch.arange(9)[None]), expected)
    for key in same:
        del tensors[key]
    with pytest.raises(RunError, match=r"\.weight is missing"):
        build(model.config.to_dict(), tensors)


def test_names_without_the_prefix_of_the_model_with_a_head_are_known():
    """As the first GPT-2 files have them, with a table beside the weights."""
    model = theirs("gpt2")
    bare = {key.removeprefix("transformer."): value for key, value in model.state_dict().items()}
    bare.pop("lm_head.weight")
    bare["h.0.attn.bias"] = torch.ones(1, 1, 32, 32)
    ours = build(model.config.to_dict(), bare)
    tokens = torch.randint(17, (1, 9))
    torch.testing.assert_close(ours(tokens)[0], model(tokens).logits, rtol=1e-4, atol=1e-4)
