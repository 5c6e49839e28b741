"""Models that encode a source: ragged batches, forks and joins equal each row alone; parity with torch.nn."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_contract import TINY, V, tiny_model, tokens
from torch import nn

from nextword.loss import LossTerms, next_token_loss
from nextword.models import MODELS, State
from nextword.models.ensemble import Ensemble
from nextword.models.prefix import PrefixTransformer
from nextword.models.source import Source
from nextword.tokenizers import IGNORE

ENCODING = [name for name in TINY if MODELS[TINY[name]["type"]].model.encodes]
SOURCES = [[1, 2, 3, 4, 5], [], [6, 7], [8]]


@pytest.fixture(params=ENCODING)
def model(request):
    return tiny_model(request.param)


def filled(sources):
    """(B, S) ids and lengths (B,)."""
    longest = max(map(len, sources))
    ids = torch.tensor([row + [9] * (longest - len(row)) for row in sources], dtype=torch.long)
    return ids.view(len(sources), longest), torch.tensor([len(row) for row in sources])


def encoded(model, sources=SOURCES):
    return model.encode(*filled(sources))


@torch.no_grad()
def test_sources_side_by_side_equal_each_alone(model):
    text = tokens(4, 5)
    together, after = model(text, encoded(model))
    for i, source in enumerate(SOURCES):
        alone, state = model(text[i : i + 1], encoded(model, [source]))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)
        if isinstance(model, PrefixTransformer):  # its source is attended to as the answer is, and not by itself
            assert after.coverage() is None
            continue
        coverage = after.coverage()[i]
        torch.testing.assert_close(coverage[: len(source)], state.coverage()[0], rtol=1e-4, atol=1e-5)
        assert (coverage[len(source) :] == 1).all()
        if source:
            assert coverage[: len(source)].sum() == pytest.approx(5, rel=1e-4)  # all that five tokens could give


def test_an_empty_source_is_the_fresh_start(model):
    text = tokens(2, 4)
    torch.testing.assert_close(model(text)[0], model(text, encoded(model, [[], []]))[0], rtol=0, atol=0)


def test_the_source_is_read_and_its_padding_is_not(model):
    text, lengths = tokens(2, 3), torch.tensor([3, 3])
    first = torch.tensor([[1, 2, 3, 9], [1, 2, 4, 9]])
    logits, _ = model(text[[0, 0]], model.encode(first, lengths))
    assert not torch.allclose(logits[0], logits[1])
    other = first.clone()
    other[:, 3] = 5
    torch.testing.assert_close(model(text[[0, 0]], model.encode(other, lengths))[0], logits, rtol=0, atol=0)


@torch.no_grad()
def test_forks_and_joins_keep_to_their_sources(model):
    """Rows that leave, multiply, meet others and go on, one with its longer source gone."""
    text, rows = tokens(4, 3), torch.tensor([2, 2, 3])
    _, state = model(text, encoded(model))
    joined = State.join([state.select(rows), encoded(model, [[3, 1, 4, 1, 5, 9]])])
    attends = not isinstance(model, PrefixTransformer)
    if attends:
        assert joined.coverage().shape == (4, 6)
        fork = joined.select(torch.tensor([1, 0, 2, 3]))  # the same sources in the same rows
        assert fork.source is joined.source
    more = tokens(4, 2, seed=1)
    logits, after = model(more, joined)
    for i, row in enumerate(rows.tolist()):
        whole = torch.cat([text[row], more[i]])[None]
        alone, state = model(whole, encoded(model, [SOURCES[row]]))
        torch.testing.assert_close(logits[i], alone[0, 3:], rtol=1e-4, atol=1e-5)
        if attends:
            coverage = after.coverage()[i, : len(SOURCES[row])]
            torch.testing.assert_close(coverage, state.coverage()[0], rtol=1e-4, atol=1e-5)
    alone, _ = model(more[3:], encoded(model, [[3, 1, 4, 1, 5, 9]]))
    torch.testing.assert_close(logits[3:], alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["encoder-decoder", "gru-attention"])
def test_forks_share_the_memory_of_their_source(name):
    state = encoded(tiny_model(name))
    beams = state.select(torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))
    assert all(a is b for a, b in zip(beams.source.memory, state.source.memory, strict=True))
    fewer = beams.select(torch.tensor([7, 2, 3]))
    assert fewer.source.lengths.tolist() == [0, 1]
    assert all(part.size(0) == 2 for part in fewer.source.memory)


@given(st.lists(st.integers(0, 5), max_size=12))
def test_rows_stand_beside_those_of_their_source_and_come_back(rows):
    _, origin = torch.tensor(rows, dtype=torch.long).unique(return_inverse=True)
    N = len(set(rows))
    source = Source(torch.zeros(N, 3), torch.full((N,), 3), [], origin)
    x = torch.arange(1.0, 1 + 2 * len(rows)).view(-1, 2)
    spread = source.by_source(x)
    assert spread.size(0) == N
    for i, row in enumerate(spread):
        own = row[row[:, 0] != 0]
        assert torch.equal(own, x[origin == i])
        assert (row[len(own) :] == 0).all()
    assert torch.equal(source.by_row(spread), x)


@torch.no_grad()
def test_a_state_survives_as_tensors_with_its_source(model):
    _, state = model(tokens(4, 3), encoded(model))
    copy = model.init_state(4).with_tensors([tensor.clone() for tensor in state.tensors()])
    if not isinstance(model, PrefixTransformer):
        torch.testing.assert_close(copy.coverage(), state.coverage())
    torch.testing.assert_close(model(tokens(4, 2), copy)[0], model(tokens(4, 2), state)[0], rtol=0, atol=0)


@torch.no_grad()
def test_a_rewound_state_has_forgotten_what_it_attended_to():
    model = tiny_model("encoder-decoder")
    text = tokens(4, 5)
    _, state = model(text, encoded(model))
    _, earlier = model(text[:, :2], encoded(model))
    torch.testing.assert_close(state.rewind(torch.full((4,), 2)).coverage(), earlier.coverage())


@torch.no_grad()
@pytest.mark.parametrize("read", [SOURCES, [[]] * 4], ids=["ragged", "empty"])
def test_a_whole_answer_equals_one_that_goes_on_from_its_source(model, read):
    text = tokens(4, 5)
    sources, lengths = filled(read)
    found, _ = model.answer(text, sources, lengths)
    torch.testing.assert_close(found, model.features(text, model.encode(sources, lengths))[0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_attention_of_an_answer_stays_within_its_source(model):
    text = tokens(4, 5)
    sources, lengths = filled(SOURCES)
    attention = model.attention_to_source(text, sources, lengths)
    if isinstance(model, PrefixTransformer):
        assert attention is None
        return
    for row, source in zip(attention, SOURCES, strict=True):
        if source:
            torch.testing.assert_close(row[:, : len(source)].sum(1), torch.ones(5))
    changed = text.clone()
    changed[:, 3] = (changed[:, 3] + 1) % V
    torch.testing.assert_close(model.attention_to_source(changed, sources, lengths)[:, :3], attention[:, :3])
    both = Ensemble([model, model]).attention_to_source(text, sources, lengths)
    torch.testing.assert_close(both, attention)


@torch.no_grad()
@pytest.mark.parametrize("name", ["encoder-decoder", "gru-attention"])
def test_attention_that_goes_where_it_was_is_counted(name):
    """Step by step, from what each token had received before and what it has after."""
    model = tiny_model(name)
    text = tokens(4, 4)
    state, expected = encoded(model), torch.zeros(4, 4)
    for t in range(4):
        before = state.coverage()
        _, state = model(text[:, t : t + 1], state)
        for row, source in enumerate(SOURCES):
            for i in range(len(source)):
                given = state.coverage()[row, i] - before[row, i]
                expected[row, t] += min(given, before[row, i])
    _, repeated = model.answer(text, *filled(SOURCES))
    torch.testing.assert_close(repeated, expected, rtol=1e-4, atol=1e-5)


def test_the_loss_of_coverage_is_that_of_the_tokens_that_count():
    model = tiny_model("gru-attention")
    text, targets, sources = tokens(4, 5), tokens(4, 5, seed=1), filled(SOURCES)
    targets[2:, 3:] = IGNORE
    plain, _ = next_token_loss(model, text, targets, sources=sources)
    more, _ = next_token_loss(model, text, targets, sources=sources, terms=LossTerms(coverage=0.5))
    _, repeated = model.answer(text, *sources)
    assert repeated[2:, 3:].sum() > 0.1
    torch.testing.assert_close(more - plain, 0.5 * repeated[targets != IGNORE].sum(), rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(more - plain, model.attention.key.weight)
    assert gradient.abs().sum() > 0


def test_a_later_token_of_an_answer_never_changes_an_earlier_one_under_a_soft_cap():
    """Where no fused kernel knows by itself what is causal."""
    model = tiny_model("encoder-decoder", attention_softcap=2.0)
    text, lengths = tokens(2, 6), torch.tensor([3, 2])
    other = text.clone()
    other[:, 3:] = (other[:, 3:] + 1) % V
    for read in (
        lambda ids: model.features(ids, model.encode(tokens(2, 3), lengths))[0],
        lambda ids: model.answer(ids, tokens(2, 3), lengths)[0],
    ):
        torch.testing.assert_close(read(text)[:, :3], read(other)[:, :3])


def test_padding_gives_no_gradient_that_is_not_a_number(model):
    model.train()
    logits, _ = model(tokens(4, 5), encoded(model))
    features, _ = model.answer(tokens(4, 5), *filled(SOURCES))
    (logits.square().sum() + features.square().sum()).backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


@torch.no_grad()
def test_the_transformer_equals_torch():
    """LayerNorm before each part, GELU, learned positions: nn.Transformer with the same weights."""
    model = tiny_model("encoder-decoder-gpt2", num_kv_heads=0, activation="gelu", norm_eps=1e-5)
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape) * 0.1)  # norms and biases, too
    C, config = 16, model.config
    theirs = nn.Transformer(
        C, config.num_heads, 1, config.num_layers, config.inner_size, 0.0, "gelu", norm_first=True, batch_first=True
    ).eval()
    for ours, layer in zip(model.encoder, theirs.encoder.layers, strict=True):
        _copy(layer.self_attn, ours.attention.qkv, ours.attention.out)
        _copy_mlp(layer, ours.mlp)
        layer.norm1.load_state_dict(ours.attention_norm.state_dict())
        layer.norm2.load_state_dict(ours.mlp_norm.state_dict())
    for ours, layer in zip(model.decoder, theirs.decoder.layers, strict=True):
        _copy(layer.self_attn, ours.attention.qkv, ours.attention.out)
        cross = ours.source_attention
        _copy(layer.multihead_attn, cross.q, cross.out, cross.kv)
        _copy_mlp(layer, ours.mlp)
        for theirs_norm, norm in zip(
            (layer.norm1, layer.norm2, layer.norm3), (ours.attention_norm, ours.source_norm, ours.mlp_norm), strict=True
        ):
            theirs_norm.load_state_dict(norm.state_dict())
    theirs.encoder.norm.load_state_dict(model.encoder_norm.state_dict())
    theirs.decoder.norm.load_state_dict(model.norm.state_dict())
    sources, lengths, text = tokens(3, 6), torch.tensor([6, 2, 4]), tokens(3, 5, seed=1)
    nothing = torch.arange(6) >= lengths[:, None]
    read = model.embedding(sources) + model.position_embedding.weight[:6]
    written = model.embedding(text) + model.position_embedding.weight[:5]
    causal = torch.ones(5, 5, dtype=torch.bool).triu(1)
    expected = theirs(read, written, tgt_mask=causal, src_key_padding_mask=nothing, memory_key_padding_mask=nothing)
    found, _ = model.features(text, model.encode(sources, lengths))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_prefix_lm_equals_torch_under_a_prefix_mask():
    """nn.TransformerEncoder over source and answer in one row: a token sees the source, and what is before it."""
    model = tiny_model("prefix-lm-gpt2", num_kv_heads=0, attention_softcap=0.0, activation="gelu")
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape) * 0.1)
    C, config = 16, model.config
    layer = nn.TransformerEncoderLayer(
        C, config.num_heads, config.inner_size, 0.0, "gelu", config.norm_eps, batch_first=True, norm_first=True
    )
    theirs = nn.TransformerEncoder(layer, config.num_layers, nn.LayerNorm(C, config.norm_eps), False).eval()
    for ours, their in zip(model.blocks, theirs.layers, strict=True):
        _copy(their.self_attn, ours.attention.qkv, ours.attention.out)
        _copy_mlp(their, ours.mlp)
        their.norm1.load_state_dict(ours.attention_norm.state_dict())
        their.norm2.load_state_dict(ours.mlp_norm.state_dict())
    theirs.norm.load_state_dict(model.norm.state_dict())
    sources, lengths, text = tokens(3, 6), torch.tensor([6, 0, 4]), tokens(3, 5, seed=1)
    found, _ = model.features(text, model.encode(sources, lengths))
    for row, S in enumerate(lengths.tolist()):
        ids = torch.cat([sources[row, :S], text[row]])
        x = model.embedding(ids) + model.position_embedding.weight[: len(ids)]
        hidden = torch.ones(len(ids), len(ids), dtype=torch.bool).triu(1)
        hidden[:S, :S] = False
        torch.testing.assert_close(found[row], theirs(x[None], hidden)[0, S:], rtol=1e-4, atol=1e-5)


def _copy(attention: nn.MultiheadAttention, first: nn.Linear, out: nn.Linear, second: nn.Linear | None = None) -> None:
    parts = [first] if second is None else [first, second]
    attention.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    attention.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    attention.out_proj.load_state_dict(out.state_dict())


def _copy_mlp(layer: nn.Module, mlp: nn.Module) -> None:
    layer.linear1.load_state_dict(mlp.up.state_dict())
    layer.linear2.load_state_dict(mlp.down.state_dict())


@torch.no_grad()
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_the_recurrent_model_equals_torch_cell_by_cell(kind):
    """nn.GRUCell and nn.LSTMCell over the unpadded source in both directions, and the equations of the attention."""
    model = tiny_model(f"{kind}-attention", num_layers=1, attention="additive", embedding_size=0, tied=False)
    C, source, text = 8, [3, 1, 4], [0, 2, 5]

    def cell(rnn: nn.Module, suffix: str = "") -> nn.Module:
        made = getattr(nn, f"{kind.upper()}Cell")(rnn.input_size, C)
        values = {n: rnn.get_parameter(f"{n}_l0{suffix}") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        made.load_state_dict(values)
        return made

    def steps(rnn: nn.Module, xs: list, state=None) -> list:
        outs = []
        for x in xs:
            state = rnn(x[None], state)
            outs.append((state[0] if kind == "lstm" else state)[0])
        return outs

    words = list(model.embedding.weight[source])
    forward = steps(cell(model.encoder), words)
    backward = steps(cell(model.encoder, "_reverse"), words[::-1])[::-1]
    values = torch.stack([torch.cat(pair) for pair in zip(forward, backward, strict=True)])  # (S, 2C)
    attention = model.attention
    h = model.bridge(backward[0]).tanh()[None]
    state, found, expected = (h, torch.zeros(1, C)) if kind == "lstm" else h, torch.zeros(C), []
    decoder = cell(model.layers[0])
    for e in model.embedding.weight[text]:
        state = decoder(torch.cat([e, found])[None], state)
        h = (state[0] if kind == "lstm" else state)[0]
        scores = torch.stack(
            [attention.energy((attention.query(h) + attention.key(value)).tanh())[0] for value in values]
        )
        found = attention.out(torch.cat([scores.softmax(0) @ values, h])).tanh()
        expected.append(model.output(found))
    padded = torch.tensor([[*source, 9], [7, 7, 7, 7]])
    logits, _ = model(torch.tensor([text, text]), model.encode(padded, torch.tensor([3, 4])))
    torch.testing.assert_close(logits[0], torch.stack(expected), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["encoder-decoder-pointer", "gru-attention-pointer"])
def test_a_pointer_mixes_writing_and_copying(name):
    """Probabilities whatever the gate says; with a gate that is shut, the attention to the places of each token."""
    model = tiny_model(name)
    sources, text = [[3, 5, 3, 7], [2], []], tokens(3, 1)
    probs = model(text, encoded(model, sources))[0].exp()
    torch.testing.assert_close(probs.sum(-1), torch.ones(3, 1))
    model.output.gate.weight.zero_()
    model.output.gate.bias.fill_(-100.0)
    logits, state = model(text, encoded(model, sources))
    probs, attention = logits[:, 0].exp(), state.coverage()
    expected = torch.zeros(V)
    for token, share in zip(sources[0], attention[0], strict=True):
        expected[token] += share
    torch.testing.assert_close(probs[0], expected, rtol=1e-4, atol=1e-6)
    assert probs[1].argmax() == 2
    assert probs[1, 2] == pytest.approx(1.0)
    assert probs[2].max() < 0.9  # nothing to copy: all is written
    torch.testing.assert_close(probs[2].sum(), torch.tensor(1.0))
