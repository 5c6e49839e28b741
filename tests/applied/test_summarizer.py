"""A summarizer reads long documents in parts, keeps to a length, and names what speaks for each sentence."""

from types import SimpleNamespace

import pytest
import torch
from toys import CharTokenizer

from nextword.applied import summarizer as module
from nextword.applied.answers import Answer
from nextword.applied.summarizer import Summarizer
from nextword.errors import UsageError
from nextword.generator import TextGenerator
from nextword.metrics.summaries import words
from nextword.models import build_model, model_config
from nextword.text.placeholders import SYMBOLS

TEXT = "Anna went to Paris. It rained all day. She saw 3 museums. Then she took the train home."


@pytest.fixture
def read(monkeypatch):
    """What was read, part by part; a part's summary is its first sentence, without the name of Anna."""
    found: list = []

    def answers(generator, prompts, settings, told=lambda said: None):
        found.append((list(prompts), settings))
        texts = [prompt.partition(".")[0].replace("Anna", "Maria") + "." for prompt in prompts]
        return [Answer([SimpleNamespace(text=text)], 0) for text in texts]

    monkeypatch.setattr(module, "answers", answers)
    return found


def summarizer(max_seq_len=0, bounds=()):
    tokenizer = CharTokenizer("".join(sorted(set(TEXT + "他走了。今天下雨length 3\n:" + SYMBOLS))))
    torch.manual_seed(0)
    kind = {"type": "transformer", "num_heads": 2, "max_seq_len": max_seq_len} if max_seq_len else {"type": "gru"}
    settings = {"hidden_size": 8, "num_layers": 1, "vocab_size": tokenizer.vocab_size, **kind}
    return Summarizer(TextGenerator(build_model(model_config(settings)).eval(), tokenizer), bounds)


def test_each_sentence_has_its_source(read):
    found = summarizer().summarize(TEXT)
    assert found.text == "Maria went to Paris."
    (statement,) = found.statements
    assert (statement.number, statement.source, statement.support) == (1, "Anna went to Paris.", 0.75)
    assert found.parts == 1
    assert found.compression == 18 / 4
    assert 0 < found.novelty < 1


def test_what_is_said_of_a_part_comes_from_there(read):
    found = summarizer(25).summarize(f"{TEXT} {TEXT}")
    assert [one.number for one in found.statements] == list(range(1, 9))


def test_a_line_that_is_too_long_is_cut_between_its_sentences(read):
    found = summarizer(25).summarize(f"Short.\n{TEXT}\n{'He left. ' * 2}")
    assert read[0][0] == ["Short.", *TEXT.replace(". ", ".\n").splitlines(), "He left. He left."]
    assert found.cut == 0


def test_what_is_not_read_is_counted(read, monkeypatch):
    answer = [Answer([SimpleNamespace(text="In Paris.")], cut) for cut in (0, 3)]
    monkeypatch.setattr(module, "answers", lambda *arguments: answer)
    assert summarizer(60).summarize(TEXT).cut == 3


def test_who_speaks_in_a_chat_is_hidden_from_the_model_and_named_in_the_summary(read):
    chat = "Anna: It rained. All day.\nHe: He left."
    one = summarizer(28)
    one.symbols = SYMBOLS
    found = one.summarize(chat)
    assert read[0][0] == ["①: It rained. All day.", "②: ② left."]  # by the whole text, whichever part a name stands in
    assert found.text == "Anna: It rained. He: He left."
    assert [statement.source for statement in found.statements] == ["Anna: It rained.", "He: He left."]
    one.symbols = ""
    one.summarize(chat)
    assert read[1][0] == chat.splitlines()


def test_a_chat_is_read_at_once_where_it_has_room_with_placeholders(read):
    one = summarizer(28)
    chat = "Anna: It rained.\nAnna: Anna left."
    assert len(one.parts(chat)) == 2
    one.symbols = SYMBOLS
    assert one.summarize(chat).parts == len(one.parts(chat)) == 1
    assert read[0][0] == ["①: It rained.\n①: ① left."]


def test_names_and_numbers_that_are_not_there_are_named(read, monkeypatch):
    answer = [Answer([SimpleNamespace(text="In Paris, Maria saw 5 museums.")], 0)]
    monkeypatch.setattr(module, "answers", lambda *arguments: answer)
    assert summarizer().summarize(TEXT).unsupported == ["5", "Maria"]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (100, [TEXT]),
        (60, ["Anna went to Paris. It rained all day.", "She saw 3 museums. Then she took the train home."]),
        (25, ["Anna went to Paris.", "It rained all day.", "She saw 3 museums.", "Then she took the train home."]),
    ],
)
def test_a_long_document_is_read_in_parts(limit, expected, read):
    found = summarizer(limit).summarize(TEXT)
    assert read[0][0] == expected
    assert found.parts == len(expected)
    assert len(found.statements) == len(expected)
    if len(expected) == 4:
        assert [one.number for one in found.statements] == [1, 2, 3, 4]


def test_parts_of_lines_are_cut_between_lines():
    assert summarizer(25).parts("他走了。\n今天下雨。\n" * 3) == [
        "他走了。\n今天下雨。\n他走了。",
        "今天下雨。\n他走了。\n今天下雨。",
    ]


def test_summaries_of_parts_are_summarized_again_until_one_is_left(read):
    found = summarizer(60).summarize(TEXT, again=True)
    assert [len(parts) for parts, _ in read] == [2, 1]
    assert found.text == "Maria went to Paris."
    assert found.parts == 2


def test_every_part_asks_for_the_length_and_has_room_for_it(read):
    found = summarizer(45, (5, 9)).summarize(TEXT, length="long")
    (prompts, _) = read[0]
    assert found.parts == len(prompts) > len(summarizer(45).parts(TEXT))
    assert all(prompt.startswith("length 3\n") and len(prompt) < 44 for prompt in prompts)
    assert found.compression * len(words(found.text)) == 18  # the mark is no word of the text


def test_words_become_tokens(read):
    summarizer().summarize(TEXT, words=(4, 10))
    settings = read[0][1]
    per_word = len(TEXT) / 18  # by characters
    assert (settings["min_tokens"], settings["max_tokens"]) == (round(4 * per_word), round(10 * per_word))


@pytest.mark.parametrize("text", ["", " \n", "..."])
def test_nothing_cannot_be_summarized(text, read):
    with pytest.raises(UsageError, match="nothing to summarize"):
        summarizer().summarize(text)


@pytest.mark.parametrize("limits", [(5, 3), (0, 0)])
def test_a_length_that_is_none(limits, read):
    with pytest.raises(UsageError, match="expected the least and the most"):
        summarizer().summarize(TEXT, words=limits)
