"""Conversations as data, whatever shape a file gives them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.errors import DataError
from nextword.text.chat import PLAIN, ChatFormat
from nextword.text.records import Record
from nextword.text.template import ChatTemplate
from nextword.text.turns import example, replies, turns_of

HI = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "Hello!"}]


def row(**fields: object) -> Record:
    return Record(fields, "talk.jsonl:3")


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": HI},
        {"conversations": [{"from": "human", "value": "你好"}, {"from": "gpt", "value": "Hello!"}]},
        {"turns": ["你好", "Hello!"]},
        {"turns": [["Ann", "你好"], ["Bob", "Hello!"]]},
        {"dialog": ["你好", "Hello!"], "id": 7},
    ],
)
def test_every_shape_gives_the_same_turns(fields: dict) -> None:
    assert turns_of(row(**fields)) == HI


def test_a_persona_is_the_first_turn() -> None:
    system = {"role": "system", "content": "I sail. I am old."}
    assert turns_of(row(persona=["I sail.", "I am old."], turns=["你好", "Hello!"])) == [system, *HI]
    assert turns_of(row(messages=[system, *HI])) == [system, *HI]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        (
            {"messages": [*HI, {"role": "asistant", "content": "x"}]},
            "turn 3 has the role 'asistant'. Did you mean assis",
        ),
        ({"messages": [*HI, {"role": "system", "content": "x"}]}, "turn 3 is of the system. Only the first"),
        ({"messages": [{"role": "user"}]}, "turn 1 is"),
        ({"messages": []}, "should be a list of turns"),
        ({"messages": "Hi"}, "should be a list of turns"),
        ({"turns": [3]}, "turn 1 is '3'. Expected"),
        ({"turns": [["A", "x"], "y"]}, "some turns tell who speaks"),
        ({"turns": [["A", "x"], ["B", "y"], ["C", "z"]]}, "3 people speak: A, B, C. Expected two"),
        ({"text": "Hi"}, "no conversation among the columns text. It should be a list under one of: messages"),
    ],
)
def test_what_is_no_conversation_is_one_line(fields: dict, complaint: str) -> None:
    with pytest.raises(DataError) as caught:
        turns_of(row(**fields))
    assert str(caught.value).startswith("talk.jsonl:3: ")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_replies_are_the_assistants_where_roles_are_told() -> None:
    talk = [{"role": "system", "content": "s"}, *HI, *HI]
    assert list(replies(row(messages=talk))) == [talk[:3], talk]


def test_of_two_people_each_answers_the_other() -> None:
    found = list(replies(row(turns=[["A", "a"], ["B", "b"], ["B", "c"], ["A", "d"], ["B", " "]])))
    said = [[(turn["role"], turn["content"]) for turn in turns] for turns in found]
    assert said == [
        [("user", "a"), ("assistant", "b")],
        [("assistant", "a"), ("user", "b"), ("user", "c"), ("assistant", "d")],
    ]


TURNS = st.tuples(
    st.sampled_from(["", "You are kind."]),
    st.lists(st.text(alphabet=" \n中ab:<", max_size=6), min_size=1, max_size=5),
)


@given(TURNS)
def test_an_example_is_what_the_plain_template_writes(drawn: tuple[str, list[str]]) -> None:
    system, texts = drawn
    turns = [{"role": ["assistant", "user"][i % 2], "content": text} for i, text in enumerate(texts)][::-1]
    turns = [{"role": "system", "content": system}] * bool(system) + turns
    found = example(turns)
    whole = ChatFormat(ChatTemplate(PLAIN), {}).with_replies(turns, last_only=True)
    start, end = whole.replies[0]
    assert (found.prompt, found.target.rstrip()) == (whole.text[:start], whole.text[start:end].rstrip())
