"""The loss: the chain rule's arithmetic, its options, and gradients that do not depend on how it is cut up."""

import math

import pytest
import torch
import torch.nn.functional as F

from nextword import loss as loss_module
from nextword.loss import LossTerms, next_token_loss, token_log_probs
from nextword.models import build_model, model_config
from nextword.tokenizers import IGNORE

V = 11


KINDS = {
    "lstm": {"type": "lstm"},
    "transformer": {"type": "transformer", "num_heads": 2},
    "capped": {"type": "transformer", "num_heads": 2, "logit_softcap": 0.05},
}


@pytest.fixture(params=KINDS)
def model(request):
    torch.manual_seed(0)
    settings = {"vocab_size": V, "hidden_size": 16, "num_layers": 1}
    return build_model(model_config(settings | KINDS[request.param]))


def gradients(model, *calls) -> list[torch.Tensor]:
    """Gradients of the summed loss over the calls, divided once by the number of tokens."""
    model.zero_grad()
    count = 0
    for inputs, targets, terms in calls:
        total, _ = next_token_loss(model, inputs, targets, terms=terms)
        total.backward()
        count += int((targets != IGNORE).sum())
    return [parameter.grad / count for parameter in model.parameters()]


def ragged_batch(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    inputs, targets = (torch.randint(V, (rows, 9), generator=rng) for _ in range(2))
    for row, length in enumerate(torch.randint(1, 10, (rows,), generator=rng)):
        targets[row, length:] = IGNORE
    return inputs, targets


def test_log_probs_follow_the_chain_rule():
    logits = torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]]).log() + 7.0  # a constant changes nothing
    log_probs = token_log_probs(logits, torch.tensor([[0, 1]]))
    assert log_probs.tolist() == [[pytest.approx(math.log(0.5)), pytest.approx(math.log(0.8))]]
    assert token_log_probs(logits, torch.tensor([[IGNORE, 1]]))[0, 0] == 0


def test_loss_is_the_negative_sum_of_log_probs(model):
    inputs, targets = ragged_batch(4)
    total, _ = next_token_loss(model, inputs, targets)
    torch.testing.assert_close(total, -token_log_probs(model(inputs)[0], targets).sum())
    with torch.no_grad():
        torch.testing.assert_close(next_token_loss(model, inputs, targets)[0], total)


@pytest.mark.parametrize("terms", [LossTerms(), LossTerms(label_smoothing=0.1), LossTerms(z_loss=1e-2)])
def test_chunks_change_neither_loss_nor_gradient(model, terms, monkeypatch):
    inputs, targets = ragged_batch(6)
    whole = gradients(model, (inputs, targets, terms))
    monkeypatch.setattr(loss_module, "CHUNK_ELEMENTS", 3 * V)
    for a, b in zip(gradients(model, (inputs, targets, terms)), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_four_batches_of_eight_rows_give_the_gradient_of_one_of_thirty_two(model):
    inputs, targets = ragged_batch(32)
    terms = LossTerms()
    whole = gradients(model, (inputs, targets, terms))
    parts = gradients(model, *[(i, t, terms) for i, t in zip(inputs.split(8), targets.split(8), strict=True)])
    for a, b in zip(parts, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_label_smoothing_equals_pytorch():
    logits, targets = torch.randn(7, V), torch.randint(V, (7,))
    expected = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.2, reduction="none")
    torch.testing.assert_close(LossTerms(label_smoothing=0.2).token_losses(logits, targets), expected)


def test_z_loss_adds_the_squared_log_partition():
    logits, targets = torch.randn(7, V), torch.randint(V, (7,))
    extra = LossTerms(z_loss=0.5).token_losses(logits, targets) - LossTerms().token_losses(logits, targets)
    torch.testing.assert_close(extra, 0.5 * logits.exp().sum(-1).log().square())


def test_gradients_are_those_of_autograd(model):
    inputs, targets = ragged_batch(4)
    found = gradients(model, (inputs, targets, LossTerms()))
    model.zero_grad()
    (-token_log_probs(model(inputs)[0], targets).sum() / (targets != IGNORE).sum()).backward()
    for gradient, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


@pytest.mark.parametrize("terms", [LossTerms(), LossTerms(label_smoothing=0.1), LossTerms(0.2, z_loss=0.3)])
def test_the_gradient_in_closed_form_is_autograds(terms):
    logits, targets = torch.randn(7, V, requires_grad=True), torch.randint(V, (7,))
    expected = terms.token_losses(logits, targets).sum()
    expected.backward()
    total, gradient = terms.losses_and_gradient(logits.detach(), targets)
    torch.testing.assert_close(total, expected.detach())
    torch.testing.assert_close(gradient, logits.grad)


def test_logits_never_stand_whole(model, monkeypatch):
    """No call of the output layer sees more rows than a chunk has."""
    monkeypatch.setattr(loss_module, "CHUNK_ELEMENTS", 5 * V)
    seen = []

    class Watched(LossTerms):
        def losses_and_gradient(self, logits, targets):
            seen.append(len(logits))
            return super().losses_and_gradient(logits, targets)

    inputs, targets = ragged_batch(8)
    next_token_loss(model, inputs, targets, terms=Watched())[0].backward()
    assert max(seen) <= 5
    assert sum(seen) == int((targets != IGNORE).sum())


@pytest.mark.parametrize("terms", [LossTerms(), LossTerms(r_drop=1.0), LossTerms(unlikelihood=1.0)])
def test_a_batch_without_loss_is_zero(model, terms):
    total, _ = next_token_loss(model, torch.zeros(2, 3, dtype=torch.long), torch.full((2, 3), IGNORE), terms=terms)
    total.backward()
    assert total.item() == 0


@pytest.mark.parametrize("name", KINDS)
def test_r_drop_is_the_papers_loss_of_two_readings_halved(name, monkeypatch):
    """Equation 4 of Wu et al. 2021, by torch's own divergence, and its gradient; logits in chunks or whole."""
    monkeypatch.setattr(loss_module, "CHUNK_ELEMENTS", 4 * V)
    settings = {"vocab_size": V, "hidden_size": 16, "num_layers": 1, "dropout": 0.3}
    model = build_model(model_config(settings | KINDS[name])).train()
    inputs, targets = ragged_batch(3)
    state = model.init_state(3)
    torch.manual_seed(1)
    features, _ = model.features(inputs.repeat(2, 1), state.select(torch.arange(3).repeat(2)))
    p, q = model.output(features)[targets.repeat(2, 1) != IGNORE].log_softmax(-1).chunk(2)
    wanted = targets[targets != IGNORE]
    nll = F.nll_loss(p, wanted, reduction="sum") + F.nll_loss(q, wanted, reduction="sum")
    apart = F.kl_div(p, q, reduction="sum", log_target=True) + F.kl_div(q, p, reduction="sum", log_target=True)
    expected = (nll + 0.7 * apart / 2) / 2
    assert apart > 0.01  # the two do differ

    torch.manual_seed(1)
    loss, after = next_token_loss(model, inputs, targets, state, LossTerms(r_drop=0.7))
    torch.testing.assert_close(loss, expected)
    assert after.lengths.tolist() == [9, 9, 9]
    weights = list(model.parameters())
    for one, other in zip(torch.autograd.grad(loss, weights), torch.autograd.grad(expected, weights), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


END = 2  # a token that parts the replies of a conversation


@pytest.mark.parametrize("name", KINDS)
def test_unlikelihood_is_the_papers_of_what_was_said_before(name, monkeypatch):
    """Equation 6 of Welleck et al. 2020, place by place, and its gradient; logits in chunks or whole."""
    monkeypatch.setattr(loss_module, "CHUNK_ELEMENTS", 4 * V)
    model = build_model(model_config({"vocab_size": V, "hidden_size": 16, "num_layers": 1} | KINDS[name]))
    model.output.weight.data *= 20
    inputs, targets = torch.randint(0, V, (2, 3, 9))
    targets[0, :3] = IGNORE  # a prompt
    targets[2, 3:5] = torch.tensor([END, 5])
    starts = torch.zeros(3, 9, dtype=torch.bool)
    starts[:, 0] = starts[1, 4] = True
    logits, _ = model(inputs, starts=starts)
    probs = logits.softmax(-1)
    expected = torch.zeros(())
    for row in range(3):
        said: set[int] = set()
        for place in range(9):
            wanted = int(targets[row, place])
            said = set() if starts[row, place] else said
            if wanted == IGNORE:
                continue
            for token in said - {wanted}:
                expected = expected - (1 - probs[row, place, token]).log()
            said = set() if wanted == END else said | {wanted}
    plain, _ = next_token_loss(model, inputs, targets, starts=starts)
    loss, _ = next_token_loss(model, inputs, targets, terms=LossTerms(unlikelihood=0.5, end=END), starts=starts)
    assert expected > 1
    torch.testing.assert_close(loss, plain + 0.5 * expected)
    weights = list(model.parameters())
    for one, other in zip(
        torch.autograd.grad(loss, weights), torch.autograd.grad(plain + 0.5 * expected, weights), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_two_readings_without_dropout_agree(model):
    inputs, targets = ragged_batch(3)
    alone, _ = next_token_loss(model, inputs, targets)
    torch.testing.assert_close(next_token_loss(model, inputs, targets, terms=LossTerms(r_drop=5.0))[0], alone)
