"""The contract of every architecture: one suite over all of MODELS and over the families a config can express."""

from itertools import accumulate

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nextword.loss import next_token_loss
from nextword.models import MODELS, LanguageModel, State, build_model, model_config
from nextword.models.transformer_config import GPT2

V = 11
RECURRENT = {"hidden_size": 8, "num_layers": 2, "vocab_size": V}
TRANSFORMER = {"hidden_size": 16, "num_layers": 2, "num_heads": 4, "vocab_size": V, "max_seq_len": 32}
SUMS = {"norm": "layer", "norm_place": "sum", "positions": "sinusoidal", "embedding_scale": True, "activation": "silu"}
T5 = {
    "positions": "relative",
    "relative_buckets": 6,
    "relative_distance": 5,
    "attention_scale": 1.0,
    "output_scale": True,
}
TINY = {
    "rnn": {"type": "rnn", **RECURRENT},
    "gru": {"type": "gru", **RECURRENT},
    "lstm": {"type": "lstm", **RECURRENT},
    "lstm-tied-projected": {
        "type": "lstm",
        **RECURRENT,
        "embedding_size": 6,
        "tied": True,
        "variational": True,
    },
    "transformer": {"type": "transformer", **TRANSFORMER},
    "transformer-gpt2": {"type": "transformer", **TRANSFORMER, **GPT2},
    "transformer-gqa": {
        "type": "transformer",
        **TRANSFORMER,
        "num_kv_heads": 2,
        "qk_norm": True,
        "tied": False,
    },
    "transformer-gemma": {
        "type": "transformer",
        **TRANSFORMER,
        "num_layers": 3,
        "num_kv_heads": 2,
        "head_size": 6,
        "norm_place": "both",
        "norm_offset": True,
        "window": 4,
        "layer_pattern": ["local", "global"],
        "rope_local_theta": 100.0,
        "attention_scale": 9.0,
        "attention_softcap": 3.0,
        "logit_softcap": 4.0,
        "embedding_scale": True,
        "activation": "geglu_tanh",
    },
    "transformer-olmo": {
        "type": "transformer",
        **TRANSFORMER,
        "num_kv_heads": 2,
        "norm_place": "after",
        "qk_norm": True,
        "qk_norm_over": "all",
        "layer_pattern": ["global", "nope"],
        "rope_share": 0.5,
        "rope_scaling": {"type": "yarn", "factor": 4.0, "original_len": 8},
    },
    "transformer-sums": {"type": "transformer", **TRANSFORMER, **SUMS, "activation": "relu"},
    "encoder-decoder": {"type": "encoder-decoder", **TRANSFORMER},
    "encoder-decoder-t5": {"type": "encoder-decoder", **TRANSFORMER, **T5, "num_kv_heads": 2},
    "encoder-decoder-sums": {"type": "encoder-decoder", **TRANSFORMER, **SUMS, "output_bias": True},
    "encoder-decoder-gpt2": {"type": "encoder-decoder", **TRANSFORMER, **GPT2, "num_kv_heads": 2, "encoder_layers": 1},
    "prefix-lm": {"type": "prefix-lm", **TRANSFORMER},
    "prefix-lm-gpt2": {"type": "prefix-lm", **TRANSFORMER, **GPT2, "num_kv_heads": 2, "attention_softcap": 3.0},
    "gru-attention": {"type": "gru-attention", **RECURRENT},
    "lstm-attention": {
        "type": "lstm-attention",
        **RECURRENT,
        "attention": "general",
        "embedding_size": 6,
        "tied": True,
    },
    "encoder-decoder-pointer": {"type": "encoder-decoder", **TRANSFORMER, "pointer": True},
    "gru-attention-pointer": {"type": "gru-attention", **RECURRENT, "pointer": True, "embedding_size": 6, "tied": True},
    "transformer-windows": {"type": "transformer", **TRANSFORMER, "window": 3, "out_bias": True},
}


def tiny_model(name: str, **changes) -> LanguageModel:
    torch.manual_seed(0)
    return build_model(model_config(TINY[name] | changes)).eval()


@pytest.fixture(params=TINY)
def model(request) -> LanguageModel:
    return tiny_model(request.param)


def tokens(rows: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(V, (rows, length), generator=torch.Generator().manual_seed(seed))


def read(model: LanguageModel, row: list[int]) -> State:
    """The state of one row after reading its tokens."""
    return model.features(torch.tensor([row]), model.init_state(1))[1]


def test_every_architecture_is_under_contract():
    assert {settings["type"] for settings in TINY.values()} == set(MODELS)


def test_shapes_and_state(model):
    logits, state = model(tokens(3, 5))
    assert logits.shape == (3, 5, V)
    assert state is None
    logits, state = model(tokens(3, 5), model.init_state(3))
    assert logits.shape == (3, 5, V)
    assert state.lengths.tolist() == [5, 5, 5]


def test_a_later_token_never_changes_an_earlier_logit(model):
    first = tokens(2, 7)
    second = first.clone()
    second[:, 4:] = (second[:, 4:] + 1) % V
    before, after = model(first)[0], model(second)[0]
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


@pytest.mark.parametrize("sizes", [[1] * 19, [19], [4, 1, 13, 1], [2, 17], [18, 1]])
def test_one_by_one_in_chunks_and_all_at_once_agree(model, sizes):
    """Long enough that a recurrent model takes its way for many steps as well as that for few."""
    text = tokens(2, 19)
    whole, _ = model(text)
    state, parts = model.init_state(2), []
    for chunk in text.split(sizes, dim=1):
        logits, state = model(chunk, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-5)
    assert state.lengths.tolist() == [19, 19]


def test_few_tokens_can_be_read_in_bfloat16(model):
    """As an evaluation of short examples does."""
    with torch.autocast("cpu", torch.bfloat16):
        logits, _ = model(tokens(2, 5), model.init_state(2))
    torch.testing.assert_close(logits.float(), model(tokens(2, 5))[0], rtol=0.1, atol=0.1)


def test_select_equals_running_those_rows_alone(model):
    text, more = tokens(3, 6), tokens(4, 3, seed=1)
    rows = torch.tensor([2, 0, 2, 1])
    _, state = model(text, model.init_state(3))
    selected, after = model(more, state.select(rows))
    alone, _ = model(torch.cat([text[rows], more], dim=1))
    torch.testing.assert_close(selected, alone[:, 6:], rtol=1e-4, atol=1e-5)
    assert after.lengths.tolist() == [9] * 4


def test_ragged_rows_joined_equal_each_alone(model):
    rows = [[1], [2, 3, 4, 5, 6], [7, 8, 9]]
    joined = State.join([read(model, row) for row in rows])
    assert joined.lengths.tolist() == [1, 5, 3]
    more = [tokens(3, 2, seed=2), tokens(3, 1, seed=3), tokens(3, 4, seed=4)]
    parts = []
    for chunk in more:
        logits, joined = model(chunk, joined)
        parts.append(logits)
    together = torch.cat(parts, dim=1)
    for i, row in enumerate(rows):
        alone, _ = model(torch.tensor([row + torch.cat(more, dim=1)[i].tolist()]))
        torch.testing.assert_close(together[i], alone[0, len(row) :], rtol=1e-4, atol=1e-5)


def test_select_from_a_join_gives_the_row_back(model):
    states = [read(model, [1, 2]), read(model, [3, 4, 5])]
    joined = State.join([state.select(torch.tensor([0])) for state in states])
    for i, state in enumerate(states):
        back, _ = model(tokens(1, 3), joined.select(torch.tensor([i])))
        direct, _ = model(tokens(1, 3), state)
        torch.testing.assert_close(back, direct, rtol=1e-4, atol=1e-5)


def test_a_fork_leaves_the_original_intact(model):
    _, state = model(tokens(2, 4), model.init_state(2))
    fork = state.select(torch.tensor([0, 1]))
    model(tokens(2, 3, seed=1), fork)
    after_fork, _ = model(tokens(2, 3, seed=2), state)
    _, fresh = model(tokens(2, 4), model.init_state(2))
    untouched, _ = model(tokens(2, 3, seed=2), fresh)
    torch.testing.assert_close(after_fork, untouched, rtol=0, atol=0)


@pytest.mark.parametrize("lengths", [[2, 6, 0], [4, 4, 4], [6, 6, 6], [0, 0, 0]])
def test_rewinding_equals_having_read_only_so_much(model, lengths):
    text, more = tokens(3, 6), tokens(3, 3, seed=1)
    _, state = model(text, model.init_state(3))
    fork = state.select(torch.arange(3))
    rewound = state.rewind(torch.tensor(lengths))
    assert (rewound is None) == (model.max_seq_len is None)  # a memory of fixed size cannot go back
    if rewound is None:
        torch.testing.assert_close(model(more, state)[0], model(more, fork)[0], rtol=0, atol=0)
        return
    assert rewound.lengths.tolist() == lengths
    first, rewound = model(more[:, :2], rewound)
    second, rewound = model(more[:, 2:], rewound)
    logits = torch.cat([first, second], dim=1)
    for i, length in enumerate(lengths):
        alone, _ = model(torch.cat([text[i, :length], more[i]])[None])
        torch.testing.assert_close(logits[i], alone[0, length:], rtol=1e-4, atol=1e-5)
    assert rewound.lengths.tolist() == [length + 3 for length in lengths]
    with pytest.raises(RuntimeError, match="select"):
        model(more, state)
    kept, _ = model(more, fork)
    whole, _ = model(torch.cat([text, more], dim=1))
    torch.testing.assert_close(kept, whole[:, 6:], rtol=1e-4, atol=1e-5)


def test_a_spent_state_cannot_be_rewound(model):
    state = model.init_state(1)
    if state.select(torch.tensor([0])).rewind(torch.tensor([0])) is None:
        pytest.skip("recurrent states do not rewind at all")
    model(tokens(1, 2), state)
    with pytest.raises(RuntimeError, match="select"):
        state.rewind(torch.tensor([0]))


def test_a_state_survives_as_tensors(model):
    _, state = model(tokens(2, 4), model.init_state(2))
    copy = model.init_state(2).with_tensors([tensor.clone() for tensor in state.tensors()])
    assert copy.lengths.tolist() == [4, 4]
    torch.testing.assert_close(model(tokens(2, 3), copy)[0], model(tokens(2, 3), state)[0], rtol=0, atol=0)


def test_detach_cuts_the_graph_and_keeps_the_memory(model):
    if model.max_seq_len is not None:
        pytest.skip("only recurrent models carry gradients through their state")
    _, state = model(tokens(2, 4), model.init_state(2))
    assert any(tensor.requires_grad for tensor in state.tensors())
    assert not any(tensor.requires_grad for tensor in state.detach().tensors())


def test_a_spent_state_raises(model):
    state = model.init_state(1)
    model(tokens(1, 2), state)
    with pytest.raises(RuntimeError, match="select"):
        model(tokens(1, 2), state)


@settings(max_examples=8)
@given(
    lengths=st.lists(st.lists(st.integers(1, 8), min_size=1, max_size=4), min_size=1, max_size=3), seed=st.integers(0)
)
@pytest.mark.parametrize("name", TINY)
def test_documents_in_one_row_are_read_as_if_each_stood_alone(name, lengths, seed):
    """Logits, and the gradient of every weight; padding behind the last document changes nothing."""
    model = tiny_model(name)
    if model.encodes:
        pytest.skip("an answer to a source has a row of its own")
    generator = torch.Generator().manual_seed(seed % 2**32)
    rows = [[torch.randint(V, (length,), generator=generator) for length in row] for row in lengths]
    T = max(map(sum, lengths))
    packed, starts = torch.zeros(len(rows), T, dtype=torch.long), torch.zeros(len(rows), T, dtype=torch.bool)
    for i, row in enumerate(rows):
        packed[i, : sum(lengths[i])] = torch.cat(row)
        starts[i, list(accumulate(lengths[i][:-1], initial=0))] = True
    starts[0, 0] = seed % 2 == 0  # the beginning of a row is that of a document, whether said or not
    together, state = model(packed, starts=starts)
    assert state is None
    pieces = [
        piece for i, row in enumerate(rows) for piece in together[i].split([*lengths[i], T - sum(lengths[i])])[:-1]
    ]
    alone = [model(document[None])[0][0] for row in rows for document in row]
    for one, other in zip(pieces, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    weights = list(model.parameters())
    grads = [torch.autograd.grad(torch.cat(parts).square().sum(), weights) for parts in (pieces, alone)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_every_parameter_gets_a_gradient(model):
    model.train()
    text = tokens(8, 13)
    state = model.encode(text, torch.full((8,), 13)) if model.encodes else None
    loss, _ = next_token_loss(model, text[:, :-1], text[:, 1:], state)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("name", ["transformer", "transformer-gpt2", "prefix-lm", "encoder-decoder"])
def test_blocks_computed_again_give_the_same_gradients_and_keep_less(name):
    """Dropout included: the second time it drops the same."""
    text = tokens(8, 33)
    results = []
    for recompute in (False, True):
        model = tiny_model(name, dropout=0.3, num_layers=4).train()
        model.recompute = recompute
        sources = (tokens(8, 24, seed=1), torch.full((8,), 24)) if model.encodes else None
        kept = []
        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.nbytes) or tensor, lambda t: t):  # noqa: B023
            loss, _ = next_token_loss(model, text[:, :-1], text[:, 1:], sources=sources)
        loss.backward()
        results.append((loss, [parameter.grad for parameter in model.parameters()], sum(kept)))
    (loss, gradients, kept), (loss_again, gradients_again, kept_again) = results
    assert torch.equal(loss, loss_again)
    assert all(torch.equal(a, b) for a, b in zip(gradients, gradients_again, strict=True))
    assert kept_again < kept / 2


def test_weights_saved_and_loaded_give_identical_logits(model, tmp_path):
    from safetensors.torch import load_model, save_model

    save_model(model, tmp_path / "model.safetensors")
    other = build_model(model.config).eval()
    load_model(other, tmp_path / "model.safetensors")
    torch.testing.assert_close(other(tokens(2, 5))[0], model(tokens(2, 5))[0], rtol=0, atol=0)


def test_four_lines_can_be_overfitted(model):
    model.train()
    text = tokens(4, 9)
    text[:, 0] = torch.arange(4)  # lines that begin alike could not be told apart
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(300):
        loss, _ = next_token_loss(model, text[:, :-1], text[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss / 32 < 0.15:
            break
    assert loss / 32 < 0.15, f"loss is still {loss / 32:.2f} nats a token"


def test_context_is_a_limit_only_where_it_is_declared(model):
    if model.max_seq_len is None:
        assert model(tokens(1, 100))[0].shape == (1, 100, V)
    else:
        with pytest.raises(ValueError, match=str(model.max_seq_len)):
            model(tokens(1, model.max_seq_len + 1))
