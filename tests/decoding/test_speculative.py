from collections.abc import Callable, Sequence

import pytest
import torch
from cases import pairwise
from torch import Tensor
from toys import Bag, Bigram, CharTokenizer, Recital, random_table

from nextword.decoding.sampling import draw, likeliest, uniforms
from nextword.decoding.speculative import Context, DraftModel, Lookup, Process, Proposer, Speculator
from nextword.errors import RunError, UsageError
from nextword.models import LanguageModel, build_model, model_config

V = 5
TINY = {
    "rnn": {"hidden_size": 8, "num_layers": 2},
    "gru": {"hidden_size": 8},
    "lstm": {"hidden_size": 8},
    "transformer": {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "max_seq_len": 12, "tied": False},
}


def tiny(name: str, seed: int = 0, **changes) -> LanguageModel:
    """Of random weights, large enough that the next token depends on many before."""
    torch.manual_seed(seed)
    model = build_model(model_config({"type": name, "vocab_size": V, **TINY[name], **changes})).eval()
    for parameter in model.parameters():
        parameter.data.mul_(10 if name == "transformer" else 4)
    return model


def unchanged(logits: Tensor, history: Tensor) -> Tensor:
    return logits


def less_of_the_last(logits: Tensor, history: Tensor) -> Tensor:
    """A penalty that shows whether each position got the history that belongs to it."""
    return logits.scatter_add(-1, history[:, -1:], torch.full((1, 1), -1.5)) / 0.8


def restless(logits: Tensor, history: Tensor) -> Tensor:
    """Keeps a greedy text from running in circles, and depends on the whole history."""
    return logits - 0.6 * torch.stack([(history[:, -9:] == token).sum(1) for token in range(V)], dim=1)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain(model: LanguageModel, prompt: Sequence[int], count: int, process: Process, greedy: bool, seed: int = 0):
    """[(token, log_prob)]: every token from a fresh state, over what plain decoding has in its context then."""
    ids, start, limit, draws, generator = list(prompt), 0, model.max_seq_len, [], rng(seed)
    for _ in range(count):
        if limit is not None and len(ids) - start > limit:
            start = len(ids) - limit // 2
        logits = model(torch.tensor([ids[start:]]))[0][:, -1]
        wanted = process(logits, torch.tensor([ids]))
        token = int(likeliest(wanted) if greedy else draw(wanted, uniforms([generator])))
        draws.append((token, logits.log_softmax(-1)[0, token].item()))
        ids.append(token)
    return draws


def run(speculator: Speculator, count: int) -> list[tuple[int, float]]:
    draws: list[tuple[int, float]] = []
    while len(draws) < count:
        draws += speculator.step()
    return draws[:count]


class Wrong:
    """Guesses that are no better than chance, certain or not."""

    def propose(self, ids: Sequence[int], most: int) -> tuple[list[int], None]:
        return [(7 * len(ids) + i * i) % V for i in range(most)], None


PROPOSERS: dict[str, Callable[[torch.Generator | None], Proposer]] = {
    "lookup": lambda rng: Lookup(),
    "wrong": lambda rng: Wrong(),
    "rnn": lambda rng: DraftModel(tiny("rnn", seed=1), unchanged, rng),
    "transformer": lambda rng: DraftModel(tiny("transformer", seed=1, max_seq_len=9), unchanged, rng),
}


PROMPTS = {"one": [2], "some": [0, 3, 1, 1], "full": [4] * 12}


@pytest.mark.parametrize(("name", "proposer", "prompt"), pairwise(TINY, PROPOSERS, PROMPTS))
def test_greedy_is_plain_greedy(name, proposer, prompt):
    """Over 40 tokens, so that the Transformers' contexts of 12 and 9 tokens overflow many times."""
    model, prompt = tiny(name), PROMPTS[prompt]
    expected = plain(model, prompt, 40, restless, greedy=True)
    assert len({token for token, _ in expected}) > 2
    for max_draft in (1, 4, 20):
        guesses = PROPOSERS[proposer](rng(5) if max_draft == 4 else None)  # greedy decoding bears drawn guesses
        speculator = Speculator(model, prompt, restless, guesses, max_draft=max_draft, rng=None)
        got = run(speculator, 40)
        assert [token for token, _ in got] == [token for token, _ in expected]
        assert [p for _, p in got] == pytest.approx([p for _, p in expected], abs=1e-3)
        assert speculator.drafted > 0


@pytest.mark.parametrize("proposer", ["lookup", "wrong"])
@pytest.mark.parametrize("name", TINY)
def test_certain_guesses_leave_the_text_of_a_seed_as_it_is(name, proposer):
    model = tiny(name)
    expected = plain(model, [1], 60, less_of_the_last, greedy=False, seed=3)
    speculator = Speculator(model, [1], less_of_the_last, PROPOSERS[proposer](None), max_draft=5, rng=rng(3))
    assert [token for token, _ in run(speculator, 60)] == [token for token, _ in expected]
    assert speculator.accepted > 0


def test_the_distribution_is_the_models_whoever_guesses():
    """Chi-square over 8,000 successions of two tokens, 5 x 4 degrees of freedom: 45.3 is passed once in a thousand.

    The law of each token, penalty included, depends on the one before it alone, so all places of a text count. (That of
    certain guesses needs no test of its own: they leave the very text as it is.)
    """
    table = random_table(V)
    guesses = DraftModel(Bigram(random_table(V, seed=9)), unchanged, rng(1))
    counts = torch.zeros(V, V)
    speculator = Speculator(Bigram(table, max_seq_len=500), [0], less_of_the_last, guesses, max_draft=6, rng=rng(2))
    run(speculator, 8_000)
    for before, token in zip(speculator.ids, speculator.ids[1:], strict=False):
        counts[before, token] += 1
    law = torch.cat([less_of_the_last(table[i].log()[None], torch.tensor([[i]])) for i in range(V)]).softmax(-1)
    expected = counts.sum(1, keepdim=True) * law
    assert ((counts - expected) ** 2 / expected).sum() < 45.3
    assert 0.1 < speculator.acceptance_rate < 0.8


@pytest.mark.slow
def test_first_tokens_after_a_prompt_have_their_joint_probability():
    """Chi-square over 20,000 pairs enumerated exactly, 24 degrees of freedom: 51.2 is passed once in a thousand."""
    model, bad = Bag(random_table(V)), Bigram(random_table(V, seed=4))
    first = model(torch.tensor([[3]]))[0][0, -1].softmax(-1)
    second = torch.stack([model(torch.tensor([[3, token]]))[0][0, -1].softmax(-1) for token in range(V)])
    expected = 20_000 * first[:, None] * second
    ours, drafts, counts = rng(1), rng(2), torch.zeros(V, V)
    for _ in range(20_000):
        guesses = DraftModel(bad, unchanged, drafts)
        speculator = Speculator(model, [3], unchanged, guesses, max_draft=1, rng=ours)
        (a, _), (b, _) = run(speculator, 2)
        counts[a, b] += 1
    assert ((counts - expected) ** 2 / expected).sum() < 51.2


@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("name", TINY)
def test_a_model_agrees_with_itself(name, greedy):
    model = tiny(name)
    guesses = DraftModel(model, less_of_the_last, None if greedy else rng(1))
    judge = None if greedy else rng(2)
    speculator = Speculator(model, [1], less_of_the_last, guesses, max_draft=4, rng=judge)
    run(speculator, 12)
    assert speculator.acceptance_rate == 1.0


@pytest.mark.parametrize("name", TINY)
def test_reading_costs_no_more_calls_than_plain_decoding(name, monkeypatch):
    """One call a step whatever is guessed, and, but where a context is full, no token of a prompt twice."""
    model, calls = tiny(name), []
    monkeypatch.setattr(model, "features", lambda t, s: calls.append(t.size(1)) or type(model).features(model, t, s))
    speculator = Speculator(model, [1, 2, 3], unchanged, Wrong(), max_draft=3, rng=None)
    steps = [speculator.step() for _ in range(40)]
    assert len(calls) == len(steps)
    assert max(calls) <= (4 if model.max_seq_len is None else 6)
    assert 0 < speculator.acceptance_rate < 0.6


def test_a_text_that_repeats_itself_needs_few_calls():
    tokenizer = CharTokenizer("abcdefgh ")
    verse = "abc defg hab " * 8
    model = Recital(verse, tokenizer)
    prompt = [tokenizer.eos_id, *tokenizer.encode(verse[:13])]
    speculator = Speculator(model, prompt, unchanged, Lookup(), max_draft=16, rng=rng())
    draws = run(speculator, len(verse) - 13)
    assert tokenizer.decode([token for token, _ in draws]) == verse[13:]
    assert speculator.acceptance_rate > 0.8
    assert len(model.reads) < 20


def test_lookup_takes_the_longest_then_the_latest_match():
    assert Lookup().propose([1, 2, 3, 4, 9, 2, 3, 7, 1, 2, 3], 2) == ([4, 9], None)
    assert Lookup().propose([5, 1, 6, 5, 1, 7, 5, 1], 2) == ([7, 5], None)
    for nothing in ([1], [1, 1], [1, 2, 3], [3, 1, 2, 3], [2, 3, 1, 3]):
        assert Lookup().propose(nothing, 4) == ([], None)


def test_lookup_goes_round_in_a_loop():
    assert Lookup().propose([8, 1, 2, 1, 2], 5) == ([1, 2, 1, 2, 1], None)


def test_lookup_of_a_growing_text_is_lookup_of_the_whole():
    ids = torch.randint(3, (200,), generator=rng()).tolist()
    growing = Lookup()
    for end in [1, 2, 5, 6, 50, 51, 120, 200]:
        assert growing.propose(ids[:end], 6) == Lookup().propose(ids[:end], 6)


def test_guesses_grow_while_right_and_shrink_when_wrong():
    class Told:
        def __init__(self) -> None:
            self.asked: list[int] = []

        def propose(self, ids: Sequence[int], most: int) -> tuple[list[int], None]:
            self.asked.append(most)
            place = len(ids) - 1
            return [(place + i + 1) % V if place + i < 22 else 0 for i in range(most)], None

    model, told = Bigram(torch.eye(V).roll(1, dims=1)), Told()
    speculator = Speculator(model, [0], unchanged, told, max_draft=8, rng=None)
    run(speculator, 30)
    assert told.asked[:4] == [1, 2, 4, 8]
    assert told.asked[5] < 8


def test_a_step_ends_at_eos_and_process_sees_every_token_once():
    seen: list[list[int]] = []

    def remember(logits: Tensor, history: Tensor) -> Tensor:
        seen.append(history[0].tolist())
        return logits

    model = Bigram(torch.eye(V).roll(1, dims=1))  # counts 0 1 2 3 4 0 1 ...
    prompt = [0, 1, 2, 3, 4, 0, 1]
    speculator = Speculator(model, prompt, remember, Lookup(), max_draft=8, rng=None, eos_id=4)
    steps = [[token for token, _ in speculator.step()] for _ in range(4)]
    assert steps == [[2, 3], [4], [0, 1, 2], [3, 4]]
    text = prompt + [token for step in steps for token in step]
    assert seen == [text[:end] for end in range(len(prompt), len(text))]


def test_a_long_prompt_is_read_in_chunks():
    model = Bigram(random_table(V))
    speculator = Speculator(model, [1] * 5000, unchanged, Lookup(), max_draft=4, rng=None)
    speculator.step()
    assert model.reads == [(1, 2048), (1, 2048), (1, 904)]


def test_where_nothing_can_be_chosen_is_an_error():
    good, broken = Bigram(random_table(V)), Bigram(torch.full((V, V), torch.nan))
    for model, draft in [(good, broken), (broken, good)]:
        guesses = DraftModel(draft, unchanged, rng())
        with pytest.raises(RunError, match="not finite"):
            Speculator(model, [1], unchanged, guesses, max_draft=2, rng=rng()).step()
    with pytest.raises(UsageError, match="forbid all"):
        Speculator(good, [1], lambda logits, history: logits - torch.inf, Wrong(), max_draft=2, rng=rng()).step()


@pytest.mark.parametrize("name", TINY)
def test_what_is_taken_back_was_never_read(name):
    model = tiny(name)
    context = Context(model)
    context.read([1, 2, 3], 1)
    context.mark()
    context.read([1, 2, 3, 4, 4, 4], 1)
    context.take_back(4)
    got = context.read([1, 2, 3, 4, 0, 1], 2)
    expected = model(torch.tensor([[1, 2, 3, 4, 0, 1]]))[0][0, -2:]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
