"""A draft is the same text, with the same probabilities, whichever way it came about."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Bag, ByteTokenizer, CharTokenizer, Recital, random_table

from nextword.drafting import CHUNK, Draft
from nextword.errors import RunError
from nextword.generator import TextGenerator
from nextword.models import build_model, model_config

LETTERS = CharTokenizer("abcdefgh")
BYTES = ByteTokenizer()
CONTEXT = 12

TINY = [
    {"type": "rnn", "hidden_size": 16},
    {"type": "lstm", "hidden_size": 16},
    {"type": "transformer", "hidden_size": 16, "num_heads": 2, "num_layers": 2, "max_seq_len": CONTEXT},
]


def build(values: dict) -> TextGenerator:
    torch.manual_seed(0)
    model = build_model(model_config(values | {"vocab_size": LETTERS.vocab_size})).eval()
    model.output.weight.data *= 20  # loud enough to prefer some tokens
    return TextGenerator(model, LETTERS)


@pytest.fixture(params=TINY, ids=lambda values: values["type"])
def real(request: pytest.FixtureRequest) -> TextGenerator:
    return build(request.param)


def letters(draft: Draft) -> list[tuple[str, float]]:
    return [(candidate.text, candidate.prob) for candidate in draft.candidates()]


def test_a_text_picked_token_by_token_has_the_probability_of_its_score(real: TextGenerator) -> None:
    draft = Draft(real.model, LETTERS, "ab")
    for letter in "cdeh":
        draft.pick(LETTERS.encode(letter)[0])
    draft.write("gfa")
    score = real.score("abcdehgfa")
    assert (draft.text, draft.num_tokens) == ("abcdehgfa", 9)
    assert draft.log_prob == pytest.approx(score.log_prob, abs=1e-4)
    assert draft.perplexity == pytest.approx(score.perplexity, rel=1e-4)


def test_candidates_are_the_likeliest_tokens_and_their_probabilities(real: TextGenerator) -> None:
    draft = Draft(real.model, LETTERS, "ab", temperature=0.1)
    for candidate in draft.candidates(4):
        if candidate.text in LETTERS.letters:
            assert candidate.prob == pytest.approx(real.score("ab" + candidate.text).tokens[-1].prob, abs=1e-5)
    probs = [candidate.prob for candidate in draft.candidates(LETTERS.vocab_size)]
    assert probs == sorted(probs, reverse=True)
    assert sum(probs) == pytest.approx(1, abs=1e-5)


# Beyond the context (12), too: each step may cross the place where the last half is read anew.
@pytest.mark.parametrize("values", TINY, ids=lambda values: values["type"])
@settings(max_examples=10)
@given(steps=st.lists(st.sampled_from(["pick", "write", "advance", "go_on"]), min_size=1, max_size=12))
def test_undo_gives_identical_candidates(values: dict, steps: list[str]) -> None:
    draft = Draft(build(values).model, LETTERS, "abc", seed=1)
    before = []
    for step in steps:
        if draft.ended:
            break
        before.append((draft.text, draft.log_prob, letters(draft)))
        if step == "pick":
            draft.pick(3)
        elif step == "write":
            draft.write("hgfe")
        else:
            getattr(draft, step)()
    for state in reversed(before):
        assert draft.undo()
        assert (draft.text, draft.log_prob, letters(draft)) == state
    assert not draft.undo()


def test_what_is_undone_leaves_no_trace(real: TextGenerator) -> None:
    """The way through steps that were taken back ends where the direct way ends."""
    direct, winding = (Draft(real.model, LETTERS, "abc") for _ in range(2))
    for token in [1, 5, 2, 7, 0, 3] * 3:
        winding.write("hh")
        winding.pick(4)
        winding.undo()
        winding.undo()
        for draft in (direct, winding):
            draft.pick(token)
        assert [text for text, _ in letters(winding)] == [text for text, _ in letters(direct)]
        assert winding.log_prob == pytest.approx(direct.log_prob, abs=1e-4)


def test_a_full_context_goes_on_as_in_the_engine(real: TextGenerator) -> None:
    text = real.generate("abc", temperature=0, max_tokens=40).text
    draft = Draft(real.model, LETTERS, "abc", temperature=0)
    while len(draft.text) < len("abc" + text):
        draft.advance()
    assert draft.text == "abc" + text


def test_a_long_text_is_read_in_pieces() -> None:
    text = "abcdefgh" * (CHUNK // 4)
    bag = TextGenerator(Bag(random_table(LETTERS.vocab_size)), LETTERS)
    assert Draft(bag.model, LETTERS, text).log_prob == pytest.approx(bag.score(text).log_prob, rel=1e-5)
    small = Bag(random_table(LETTERS.vocab_size), max_seq_len=7)  # complains of a state that grows beyond
    assert Draft(small, LETTERS, text).text == text


def test_each_key_costs_one_call() -> None:
    model = Bag(random_table(LETTERS.vocab_size))
    draft = Draft(model, LETTERS, "abc", seed=1)  # draws no end of the text
    model.reads.clear()
    draft.pick(1)
    draft.advance()
    assert model.reads == [(1, 1), (1, 1)]
    draft.write("abcd")
    draft.undo()
    draft.candidates()
    assert model.reads == [(1, 1), (1, 1), (1, 4)]


def test_redraw_replaces_what_the_model_drew_and_nothing_else() -> None:
    draft = Draft(Bag(random_table(LETTERS.vocab_size)), LETTERS, "ab", seed=3)
    assert not draft.redraw()
    draft.pick(2)
    assert not draft.redraw()
    draft.advance()
    drawn = set()
    for _ in range(30):
        assert draft.redraw()
        drawn.add(draft.ids[-1])
        assert len(draft.ids) == 5
    assert len(drawn) > 1
    draft.undo()
    assert draft.text == "abc"


def test_the_same_seed_draws_the_same() -> None:
    model = Bag(random_table(LETTERS.vocab_size))
    texts = []
    for _ in range(2):
        draft = Draft(model, LETTERS, "ab", seed=7)
        draft.go_on()
        texts.append(draft.text)
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("text", "stations"),
    [
        ("go on. and on\nand stop", ["go on.", "go on. and on\n", "go on. and on\nand stop"]),
        (
            "床前明月光，\n疑是地上霜。举头",
            ["床前明月光，\n", "床前明月光，\n疑是地上霜。", "床前明月光，\n疑是地上霜。举头"][:2],
        ),
        ("\n\nwell!", ["\n\nwell!"]),
    ],
)
def test_going_on_ends_with_the_line_the_sentence_or_the_text(text: str, stations: list[str]) -> None:
    tokenizer = CharTokenizer("".join(dict.fromkeys(text)))
    draft = Draft(Recital(text, tokenizer), tokenizer)
    for station in stations:
        draft.go_on()
        assert draft.text == station
    assert draft.undo()
    assert draft.text == ("" if len(stations) == 1 else stations[-2])


def test_the_end_of_the_text_leaves_only_the_way_back() -> None:
    draft = Draft(Recital("ab", LETTERS), LETTERS, "ab")
    draft.advance()
    assert (draft.text, draft.partial, draft.ended, draft.candidates()) == ("ab", "<eos>", True, [])
    assert draft.undo()
    assert not draft.ended


def test_bytes_of_a_character_show_until_they_join() -> None:
    draft = Draft(Recital("é明!", BYTES), BYTES)
    seen = []
    for _ in range(6):
        draft.advance()
        seen.append((draft.text, draft.partial))
    assert seen == [("", "<C3>"), ("é", ""), ("é", "<E6>"), ("é", "<E6><98>"), ("é明", ""), ("é明!", "")]
    for text, partial in reversed(seen[:-1]):
        draft.undo()
        assert (draft.text, draft.partial) == (text, partial)


def test_a_broken_model_is_an_error() -> None:
    model = Bag(random_table(LETTERS.vocab_size))
    model.output.weight.data.fill_(float("nan"))
    draft = Draft(model, LETTERS, "ab")
    assert draft.candidates() == []
    with pytest.raises(RunError, match="finite"):
        draft.advance()
