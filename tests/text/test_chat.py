"""A conversation is one text, and its replies are what the model has to say."""

# Templates stand as they are.
# ruff: noqa: E501

from __future__ import annotations

import pytest
from chat_templates import CONVERSATIONS, GENERATION, TEMPLATES
from hypothesis import given
from hypothesis import strategies as st

from nextword.errors import DataError, TemplateError
from nextword.text.chat import BUILT_IN, ChatFormat
from nextword.text.template import ChatTemplate

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
SPELLED = ["</s>", "<s>", "<|im_end|>", "<|im_start|>"]
ALL = TEMPLATES | BUILT_IN | {"generation": GENERATION}
TALK = CONVERSATIONS[2]


def chat_format(name: str) -> ChatFormat:
    return ChatFormat(ChatTemplate(ALL[name]), TOKENS, SPELLED)


REPLIES = {
    "chatml": ["two\n\nlines <|im_end|>\n", "six<|im_end|>\n"],
    "llama-2": [" two\n\nlines </s>", " six </s>"],
    "llama-3": ["two\n\nlines<|eot_id|>", "six<|eot_id|>"],
    "mistral": ["two\n\nlines </s>", "six</s>"],
    "gemma": ["two\n\nlines<end_of_turn>\n", "six<end_of_turn>\n"],
    "phi-3": ["two\n\nlines <|end|>\n", "six<|end|>\n</s>"],
    "zephyr": ["two\n\nlines </s>\n", "six</s>\n"],
    "smollm2": ["two\n\nlines <|im_end|>\n", "six<|im_end|>\n"],
    "plain": [" two\n\nlines", " six</s>"],
    "turns": ["two\n\nlines</s>", "six</s>"],
    "generation": ["two\n\nlines </a>", "six</a>"],
}


@pytest.mark.parametrize("name", REPLIES)
def test_replies_are_what_follows_the_prompt_that_asks_for_them(name: str) -> None:
    whole = chat_format(name).with_replies(TALK)
    assert [whole.text[slice(*span)] for span in whole.replies] == REPLIES[name]
    for turn, (start, _) in zip((1, 3), whole.replies, strict=True):
        assert whole.text[:start] == chat_format(name).render(TALK[:turn]).text
    last = chat_format(name).with_replies(TALK, last_only=True)
    assert (last.text, last.replies) == (whole.text, whole.replies[1:])


def test_a_conversation_without_replies() -> None:
    assert chat_format("chatml").with_replies(CONVERSATIONS[0]).replies == ()


def test_a_template_that_rewrites_earlier_turns() -> None:
    forgetful = ChatTemplate(
        "{% for m in messages %}<{{ m.role }}>{{ m.content if loop.last or m.role == 'user' else '...' }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    with pytest.raises(TemplateError, match="turns up to 2"):
        ChatFormat(forgetful, {}).with_replies(TALK)
    last = ChatFormat(forgetful, {}).with_replies(TALK, last_only=True)
    assert [last.text[slice(*span)] for span in last.replies] == ["six"]


@given(st.lists(st.sampled_from([*SPELLED, "a", "中", " ", "<", "|>", "\ufdd0", "\ufdd1"]), max_size=8).map("".join))
def test_words_that_spell_a_control_token_are_quoted(words: str) -> None:
    turns = [{"role": "user", "content": words}, {"role": "assistant", "content": "x" + words + "y"}]
    whole = chat_format("chatml").with_replies(turns)
    said = words.replace("\ufdd0", "").replace("\ufdd1", "")
    expected = f"<s><|im_start|>user\n{said}<|im_end|>\n<|im_start|>assistant\n"
    reply = f"x{said}y<|im_end|>\n"
    assert whole.text == expected + reply
    assert whole.replies == ((len(expected), len(expected + reply)),)
    outside, place = "", 0
    for start, end in whole.quoted:
        assert whole.text[start:end] in SPELLED
        outside += whole.text[place:start] + "·"
        place = end
    outside += whole.text[place:]
    assert sum(outside.count(token) for token in SPELLED) == 5  # the template's own


@pytest.mark.parametrize(
    ("name", "ending"),
    [("chatml", "<|im_end|>\n"), ("plain", "</s>"), ("llama-2", " </s>"), ("gemma", "<end_of_turn>\n")],
)
def test_what_closes_a_reply(name: str, ending: str) -> None:
    assert chat_format(name).ending() == ending


@pytest.mark.parametrize(
    ("name", "between"),
    [
        ("chatml", "<|im_end|>\n<|im_start|>user\n"),
        ("plain", "\nUser: "),
        ("turns", "</s>"),
        ("llama-2", " </s><s>[INST] "),
        ("gemma", "<end_of_turn>\n<start_of_turn>user\n"),
    ],
)
def test_what_stands_between_a_reply_and_the_next_turn(name: str, between: str) -> None:
    assert chat_format(name).between() == between


@pytest.mark.parametrize("name", REPLIES)
def test_a_conversation_parted_within_is_whole_again(name: str) -> None:
    talk = [{**turn, "content": turn["content"].strip()} for turn in TALK]  # some templates do that
    before, after = chat_format(name).parted(talk, 1, add_generation_prompt=True)
    assert before.text + after.text == chat_format(name).render(talk).text
    assert before.text.endswith("two\n\nlines")


def test_the_last_turn_can_be_left_open() -> None:
    talk = [*CONVERSATIONS[0], {"role": "assistant", "content": "I am </s>"}]
    open_end = chat_format("chatml").open_end(talk)
    assert open_end.text == chat_format("chatml").render(CONVERSATIONS[0]).text + "I am </s>"
    assert [open_end.text[slice(*span)] for span in open_end.quoted] == ["</s>"]
    with pytest.raises(DataError, match="no last turn"):
        chat_format("chatml").open_end([])


def test_the_date_is_the_same_in_all_renderings() -> None:
    clock = ChatTemplate(
        "{{ strftime_now('%f') }}{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}{% endif %}"
    )
    assert len(ChatFormat(clock, {}).with_replies(TALK).replies) == 2
