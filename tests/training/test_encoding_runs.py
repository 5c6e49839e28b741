"""Models that encode a source, trained: on answers given their sources, judged by those, resumed to the bit."""

import pytest
import torch
from songs import Letters, V
from toys import CharTokenizer, write_tokens

from nextword.data.mixture import Mixture
from nextword.data.pairs import PairBatches
from nextword.errors import TrainingError
from nextword.models import build_model, model_config
from nextword.scoring import score_text
from nextword.training.config import TrainConfig
from nextword.training.distributed import World
from nextword.training.evaluation import evaluate
from nextword.training.events import Evaluated, Step
from nextword.training.memory import expected_memory
from nextword.training.order import batches_for
from nextword.training.resume import latest
from nextword.training.trainer import Trainer

TRANSFORMER = {"num_layers": 1, "hidden_size": 16, "num_heads": 2, "max_seq_len": 8}
MODELS = {
    "encoder-decoder": {"type": "encoder-decoder", **TRANSFORMER, "dropout": 0.05},
    "prefix-lm": {"type": "prefix-lm", **TRANSFORMER, "dropout": 0.05},
    "gru-attention": {"type": "gru-attention", "hidden_size": 16, "dropout": 0.1},
}


@pytest.fixture
def pairs(tmp_path):
    """A few letters, and the same in reverse."""
    letters = torch.randint(1, 10, (60, 5), generator=torch.Generator().manual_seed(0)).tolist()
    texts = [row[: 2 + i % 4] for i, row in enumerate(letters)]
    return write_tokens(tmp_path / "pairs", [(text, text[::-1]) for text in texts], Letters())


@pytest.fixture(params=MODELS)
def name(request):
    return request.param


def model_of(name, vocab_size=V):
    torch.manual_seed(0)
    return build_model(model_config(MODELS[name] | {"vocab_size": vocab_size}))


HALVES = [(-1, -1)] * 5 + [(1, 2)] * (V - 5)


def trainer(name, files, folder, halves=HALVES, **settings):
    config = TrainConfig(**({"batch_tokens": 64, "precision": "float32", "log_every": 1} | settings))
    return Trainer(model_of(name), files, files, config, folder, halves=halves)


def test_it_learns_to_answer(name, pairs, tmp_path):
    run = trainer(name, pairs, tmp_path / "run", steps=200, eval_every=199, learning_rate=0.02)
    evaluated = [event.result for event in run.run() if isinstance(event, Evaluated)]
    assert evaluated[-1].tokens == pairs.counts.loss_tokens
    assert evaluated[-1].how == "each answer given its source"
    assert evaluated[-1].loss < 1.7 < 2.3 < evaluate(model_of(name), pairs, 4).loss  # without the sources, 1.9 at best


def test_coverage_is_for_models_that_attend_to_their_source(name, pairs, tmp_path):
    if name == "prefix-lm":
        with pytest.raises(TrainingError, match=r"coverage_loss .* source"):
            trainer(name, pairs, tmp_path / "run", steps=2, coverage_loss=1.0)
        return
    first, second = (
        next(trainer(name, pairs, tmp_path / str(weight), steps=2, coverage_loss=weight).run()) for weight in (0.0, 1.0)
    )
    assert second.loss > first.loss


def test_an_evaluation_is_the_chain_rule_of_each_answer(name, pairs):
    model, nats = model_of(name).eval(), 0.0
    for ids, prompt in pairs.examples():
        source, answer = torch.tensor([[*ids[:prompt], 0]]), ids[prompt:]
        state = model.encode(source, torch.tensor([prompt + 1]))
        log_probs = model(torch.tensor([[0, *answer[:-1]]]), state)[0][0].log_softmax(-1)
        nats -= sum(log_probs[at, id].item() for at, id in enumerate(answer))
    assert evaluate(model, pairs, batch_size=3).nats == pytest.approx(nats, rel=1e-5)


def test_a_score_is_the_chain_rule_given_the_prompt(name):
    letters = CharTokenizer("abcd")
    model = model_of(name, letters.vocab_size).eval()
    score = score_text(model, letters, "cab", include_eos=True, prompt="bd")
    state = model.encode(torch.tensor([[1, 3, letters.eos_id]]), torch.tensor([3]))
    log_probs = model(torch.tensor([[letters.eos_id, 2, 0, 1]]), state)[0][0].log_softmax(-1)
    expected = [log_probs[at, id].item() for at, id in enumerate([2, 0, 1, letters.eos_id])]
    assert [token.log_prob for token in score.tokens] == pytest.approx(expected, rel=1e-4)
    longer = score_text(model, letters, "cabcabcabcabcab", prompt="bd")  # than max_seq_len
    assert [token.log_prob for token in longer.tokens[:3]] == pytest.approx(expected[:3], rel=1e-4)
    assert longer.num_tokens == 15


def test_a_resumed_run_ends_as_one_that_was_never_interrupted(name, pairs, tmp_path):
    settings = {"steps": 12, "token_dropout": 0.3, "r_drop": 1.0}
    whole = trainer(name, pairs, tmp_path / "a", **settings)
    losses = [event.loss for event in whole.run() if isinstance(event, Step)]
    part = trainer(name, pairs, tmp_path / "b", **settings)
    for event in part.run():
        if isinstance(event, Step) and event.step == 5:
            part.interrupt()
    again = trainer(name, pairs, tmp_path / "b", **settings)
    again.resume(latest(tmp_path / "b"))
    assert [event.loss for event in again.run() if isinstance(event, Step)] == losses[5:]


def test_token_dropout_needs_a_source_and_tokens_with_parts(name, pairs, tmp_path):
    with pytest.raises(TrainingError, match="have no parts"):
        trainer(name, pairs, tmp_path / "run", halves=None, steps=2, token_dropout=0.1)
    model, config = build_model(model_config({"type": "gru", "hidden_size": 8, "vocab_size": V})), TrainConfig(steps=2)
    with pytest.raises(TrainingError, match="a gru reads no source"):
        Trainer(model, pairs, None, config.model_copy(update={"token_dropout": 0.1}), tmp_path, halves=HALVES)


def test_it_reads_pairs_from_one_corpus_or_several_and_nothing_else(name, pairs, tmp_path):
    assert isinstance(batches_for(pairs, model_of(name), TrainConfig()), PairBatches)
    mixed = next(batches_for(Mixture({"pairs": pairs}, {"pairs": 1.0}), model_of(name), TrainConfig()))
    assert mixed.sources is not None
    with pytest.raises(TrainingError, match="prompt and a target"):
        batches_for(pairs, model_of(name), TrainConfig(rows="packed"))
    plain = write_tokens(tmp_path / "plain", [([], [1, 2, 3])], Letters())
    with pytest.raises(TrainingError, match="prompt and a target"):
        batches_for(plain, model_of(name), TrainConfig())


@pytest.mark.parametrize("more", [{}, {"encoder_layers": 6}])
def test_the_memory_expected_is_about_what_torch_keeps(name, more):
    """Of a batch of sources and answers, weights and optimizer apart."""
    if more and name != "encoder-decoder":
        pytest.skip("it has no halves")
    config = model_config(MODELS[name] | {"hidden_size": 128, "num_layers": 2, "vocab_size": 50} | more)
    torch.manual_seed(0)
    model, storages = build_model(config).train(), {}
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes(), tensor  # kept, so that no other takes its place
        return tensor

    sources, answers = torch.randint(50, (3, 8)), torch.randint(50, (3, 5))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.features(answers, model.encode(sources, torch.full((3,), 8)))
    kept = sum(size for size, _ in storages.values())
    alone, with_batch, twice = (
        expected_memory(config, TrainConfig(r_drop=r_drop), tokens, World(torch.device("cpu")))[0]
        for tokens, r_drop in ((0, 0.0), (39, 0.0), (39, 1.0))
    )
    assert 0.7 < (with_batch - alone) / kept < 2
    assert twice - alone == 2 * (with_batch - alone)
