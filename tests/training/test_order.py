"""What a run reads, by its settings and its data: trained, evaluated and resumed to the bit."""

from itertools import islice

import pytest
import torch
from cases import pairwise
from songs import Letters, V
from toys import write_tokens

from nextword.data.examples import ExampleBatches
from nextword.data.mixture import MixedBatches, Mixture
from nextword.data.stream import StreamBatches, WindowBatches
from nextword.data.token_files import TokenFiles
from nextword.errors import TrainingError
from nextword.loss import next_token_loss
from nextword.models import build_model, model_config
from nextword.training.config import TrainConfig
from nextword.training.evaluation import evaluate
from nextword.training.events import Evaluated, Step
from nextword.training.logs import read_metrics
from nextword.training.order import batches_for
from nextword.training.resume import latest
from nextword.training.trainer import Trainer

SETTINGS = {
    "lstm": {"type": "lstm", "hidden_size": 16, "vocab_size": V},
    "transformer": {"type": "transformer", "num_layers": 1, "hidden_size": 16, "num_heads": 2, "max_seq_len": 24}
    | {"vocab_size": V},
}


@pytest.fixture
def songs(tmp_path) -> TokenFiles:
    """Plain text: 1 2 3 ... up to a length of its own."""
    return write_tokens(
        tmp_path / "songs", [([], list(range(1, length))) for length in list(range(4, 10)) * 5], Letters()
    )


@pytest.fixture
def pairs(tmp_path) -> TokenFiles:
    """A few letters, and after 11 the same again in reverse."""
    letters = torch.randint(1, 10, (60, 5), generator=torch.Generator().manual_seed(0)).tolist()
    texts = [row[: 2 + i % 4] for i, row in enumerate(letters)]
    return write_tokens(tmp_path / "pairs", [([*text, 11], text[::-1]) for text in texts], Letters())


def mix(*files: TokenFiles) -> Mixture:
    return Mixture({f.folder.name: f for f in files}, {f.folder.name: 1 / len(files) for f in files})


def model_of(name):
    torch.manual_seed(0)
    return build_model(model_config(SETTINGS[name]))


def train(name, files, folder, **settings) -> Trainer:
    config = TrainConfig(**({"batch_size": 4, "precision": "float32", "log_every": 1} | settings))
    return Trainer(model_of(name), files, files, config, folder)


@pytest.mark.parametrize(
    ("name", "data", "settings", "kind", "packed"),
    [
        ("lstm", "songs", {}, StreamBatches, None),
        ("lstm", "songs", {"carry_state": False}, WindowBatches, None),
        ("transformer", "songs", {}, WindowBatches, None),
        ("transformer", "songs", {"rows": "packed"}, ExampleBatches, True),
        ("lstm", "songs", {"rows": "examples"}, ExampleBatches, False),
        ("lstm", "pairs", {}, ExampleBatches, False),
        ("lstm", "pairs", {"rows": "packed"}, ExampleBatches, True),
        ("lstm", "pairs", {"rows": "text"}, StreamBatches, None),
        ("transformer", "pairs", {}, ExampleBatches, True),
        ("transformer", "pairs", {"rows": "text"}, WindowBatches, None),
    ],
)
def test_the_order_suits_model_data_and_settings(name, data, settings, kind, packed, request):
    files = request.getfixturevalue(data)
    config = TrainConfig(**{"batch_size": 4} | settings)
    order = batches_for(files, model_of(name), config)
    assert type(order) is kind
    assert getattr(order, "packed", None) == packed
    assert order.one_shape == (packed is not False)  # else torch.compile would compile for ever
    mixed = batches_for(mix(files), model_of(name), config)
    assert isinstance(mixed, MixedBatches)
    assert type(mixed.orders[data]) is kind
    assert (mixed.carries, mixed.whole_examples) == (order.carries, order.whole_examples)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rows": "packed", "carry_state": True}, "nothing to carry from one batch of packed"),
        ({"rows": "text", "batch_tokens": 100}, "batch_tokens is for batches of whole examples"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message, pairs):
    with pytest.raises(TrainingError, match=message):
        batches_for(pairs, model_of("lstm"), TrainConfig(**settings))


def test_a_batch_has_as_many_tokens_as_one_of_text_or_as_it_is_told(pairs):
    config = TrainConfig(batch_size=2)
    assert next(batches_for(pairs, model_of("transformer"), config)).inputs.shape == (2, 24)
    config = TrainConfig(batch_tokens=120)
    assert next(batches_for(pairs, model_of("transformer"), config)).inputs.shape == (5, 24)
    assert next(batches_for(pairs, model_of("lstm"), config)).inputs.numel() in range(90, 121)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("rows", ["examples", "packed"])
def test_it_learns_to_answer_and_is_judged_by_answers_alone(name, rows, pairs, tmp_path):
    run = train(name, pairs, tmp_path / "run", steps=60, eval_every=59, learning_rate=0.02, rows=rows)
    evaluated = [event.result for event in run.run() if isinstance(event, Evaluated)]
    assert evaluated[-1].tokens == pairs.counts.loss_tokens
    assert evaluated[-1].bytes == pairs.counts.target_bytes
    assert evaluated[-1].how == "each example by itself"
    assert evaluated[-1].loss < 2.0 < 2.3 < evaluate(model_of(name), pairs, 4).loss  # of guesses: ln 12


@pytest.mark.parametrize("name", SETTINGS)
def test_an_evaluation_is_the_chain_rule_of_each_answer(name, pairs):
    model = model_of(name).eval()
    nats = 0.0
    for ids, prompt in pairs.examples():
        log_probs = model(torch.tensor([[0, *ids[:-1].tolist()]]))[0][0].log_softmax(-1)
        nats -= sum(log_probs[at, ids[at]].item() for at in range(prompt, len(ids)))
    assert evaluate(model, pairs, batch_size=3).nats == pytest.approx(nats, rel=1e-5)


def test_a_long_example_is_read_in_parts_with_its_state(songs, monkeypatch):
    model = model_of("lstm").eval()
    whole = evaluate(model, songs, 1, apart=True)
    monkeypatch.setattr("nextword.training.evaluation._EXAMPLE_TOKENS", 5)
    monkeypatch.setattr("nextword.training.evaluation._CARRIED_CONTEXT", 2)
    assert evaluate(model, songs, 1, apart=True).nats == pytest.approx(whole.nats, rel=1e-5)


@pytest.mark.parametrize("name", SETTINGS)
def test_packed_rows_have_the_loss_of_the_same_examples_unpacked(name, pairs):
    model = model_of(name)
    totals = []
    for packed in (True, False):
        batches, loss = ExampleBatches(pairs, 48, 24, packed=packed), torch.zeros(())
        while batches.epoch < 1:
            batch = next(batches)
            loss = loss + next_token_loss(model, batch.inputs, batch.targets, starts=batch.starts)[0]
        totals.append((loss.item(), torch.autograd.grad(loss, list(model.parameters()))))
    assert totals[0][0] == pytest.approx(totals[1][0], rel=1e-5)
    for one, other in zip(totals[0][1], totals[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("name", "rows", "mixed"), pairwise(SETTINGS, ("text", "examples", "packed"), (False, True)))
def test_a_resumed_run_ends_with_the_same_bits(name, rows, mixed, songs, pairs, tmp_path):
    files = mix(songs, pairs) if mixed else pairs
    settings = {"steps": 16, "checkpoint_every": 5, "context": 12, "rows": rows, "accumulate": 2}
    whole = train(name, files, tmp_path / "whole", **settings)
    losses = [event.loss for event in whole.run() if isinstance(event, Step)]
    broken = train(name, files, tmp_path / "broken", **settings)
    list(islice(broken.run(), 12))
    broken = train(name, files, tmp_path / "broken", **settings)
    broken.resume(latest(tmp_path / "broken"))
    done = broken.position.step
    assert 0 < done < 16
    assert losses[:done] + [event.loss for event in broken.run() if isinstance(event, Step)] == losses
    for a, b in zip(whole.model.parameters(), broken.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert broken.best == whole.best
    assert broken.batches.state_dict() == whole.batches.state_dict()


@pytest.mark.parametrize("name", SETTINGS)
def test_each_corpus_of_a_mixture_is_judged_and_all_by_their_shares(name, songs, pairs, tmp_path):
    mixture = Mixture({"songs": songs, "pairs": pairs}, {"songs": 0.25, "pairs": 0.75})
    run = train(name, mixture, tmp_path / "run", steps=40, rows="text", eval_every=40)
    (result,) = [event.result for event in run.run() if isinstance(event, Evaluated)]
    alone = {files.folder.name: evaluate(run.model, files, 4, run.batches.context, apart=False)
             for files in (songs, pairs)}  # fmt: skip
    assert result.parts == alone
    assert result.loss == pytest.approx(0.25 * alone["songs"].loss + 0.75 * alone["pairs"].loss)
    lines = read_metrics(tmp_path / "run/metrics.jsonl")
    assert lines[-1]["loss/songs"] == alone["songs"].loss
    shares = [line["share/pairs"] for line in lines if line["split"] == "train"]
    assert shares[-1] == pytest.approx(run.batches.read_shares()["pairs"], abs=1e-4)
    assert 0.5 < shares[-1] < 0.9
