"""Conversations as data, whatever shape a file gives them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.errors import DataError
from nextword.text.chat import TURNS, ChatFormat
from nextword.text.records import Record
from nextword.text.template import ChatTemplate
from nextword.text.turns import Reply, replies, talk, turns_of, written

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


def said(turns) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in turns]


def test_replies_are_the_assistants_where_roles_are_told() -> None:
    whole = [{"role": "system", "content": "s"}, *HI, *HI]
    assert list(replies(row(messages=whole))) == [
        Reply("System: s\n你好", "Hello!", tuple(whole[:2])),
        Reply("System: s\n你好\nHello!\n你好", "Hello!", tuple(whole[:4])),
    ]


def test_of_two_people_each_answers_the_other() -> None:
    record = row(turns=[["A", "a"], ["B", "b"], ["B", "c"], ["A", "d"], ["B", " "]])
    found = [(said(reply.before), reply.target) for reply in replies(record)]
    assert found == [
        ([("user", "a")], "b"),
        ([("assistant", "a"), ("user", "b"), ("user", "c")], "d"),
    ]
    whole = talk(record)
    assert (whole.prompt, whole.target) == ("a\nc", "b\nd")
    assert list(whole.texts()) == ["a", "b", "c", "d"]


def test_a_conversation_without_a_reply_has_nothing_to_learn() -> None:
    found = talk(row(turns=["你好"]))
    assert (found.prompt, found.target, found.replies) == ("你好", "", ())


TURNS_DRAWN = st.tuples(
    st.sampled_from(["", "You are kind."]),
    st.lists(st.text(alphabet=" \n\t\xa0\u3000中ab:<", max_size=6), min_size=1, max_size=5),
)


@given(TURNS_DRAWN)
def test_turns_are_written_as_the_template_has_them(drawn: tuple[str, list[str]]) -> None:
    system, texts = drawn
    turns = [{"role": ["user", "assistant"][i % 2], "content": text} for i, text in enumerate(texts)]
    turns = [{"role": "system", "content": system}] * bool(system) + turns
    found = ChatFormat(ChatTemplate(TURNS), {"eos_token": "</s>"}).render(turns)
    assert found.text == "".join(written(turn) + "</s>" for turn in turns)
