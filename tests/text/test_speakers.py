"""The names of those who speak in a chat stand before a model as symbols, and come back exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.text.records import Example
from nextword.text.speakers import are_chats, hidden, hidden_pair, speakers

NAMES = st.sampled_from(["Ann", "Anna", "Ann Lee", "Dr. No", "小明", "小红", "Jean-Luc", "O'Neil", "bob"])
SAID = st.lists(st.sampled_from(["Ann", " ", "Anna's", "hi", ":", "小明", "小红来了", "10:30", "①", "Lee"])).map(
    "".join
)


@given(st.lists(st.tuples(NAMES, SAID), max_size=8))
def test_what_is_hidden_comes_back(lines):
    chat = "\n".join(f"{name}: {text}" for name, text in lines)
    shown = hidden(chat)
    again = shown.restored(shown.text)
    assert hidden(again).text == shown.text
    if "Ann Lee" not in speakers(chat):  # else its parts may have come back as the whole
        assert again == chat
    assert set(shown.unused).isdisjoint(shown.text)
    if len(lines) > 1 and "①" not in chat and any(name != "bob" for name, _ in lines):
        assert "①" in shown.text


@pytest.mark.parametrize(
    ("chat", "expected"),
    [
        ("Ann: Hi!\nBob: Hello.\nAnn: Bye.", ["Ann", "Bob"]),
        ("Dr. Ann Lee: Hi!\nAnn: Hello.", ["Dr", "Ann Lee", "Ann"]),
        ("[10:30] Ann: Hi!\n[10:31] Bob: Hello.", ["Ann", "Bob"]),
        (
            "[12/31/23, 10:30:12 PM] Ann: Hi!\n[31.12.23, 下午10:31] Bob: Hello.\n10:31 p. m. - Cy: Hi",
            ["Ann", "Bob", "Cy"],
        ),
        ("Ann (10:30): Hi!\nBob [10:31 AM]: Hello.", ["Ann", "Bob"]),
        ("Ann: Hi!\nBob: When?\nAt 10:30, or\nToday 10:45 AM", ["Ann", "Bob"]),  # a time tells of nobody
        ("ANN (V.O.): Hi!\nBOB (CONT'D): Hello.\n[ANN]: Bye.", ["ANN", "BOB"]),
        ("**Ann**: Hi!\n#Person1#: Hello.\n【小明】：你好", ["Ann", "Person1", "小明"]),
        ("小明：你好\n小红：你好", ["小明", "小红"]),
        ("王：国王来了\nA: A man!", []),  # single characters, too
        ("the boss: Hi!\nyou: Hello.", []),  # small words are everywhere in a text
        ("Ann: Hi!", []),
        ("Ann: Hi!\nthere\nyou\nare", []),
        ("http://a.b\nhttp://c.d", []),
        ("In short: it rained.\n\nIt was cold.\nNobody came.", []),
        ("", []),
    ],
)
def test_who_speaks(chat, expected):
    assert speakers(chat) == expected


def test_names_are_whole_words_and_as_many_as_there_are_symbols():
    assert hidden("Ann: Anna, Ann's!\nAnna: Ann?").text == "①: ②, ①'s!\n②: ①?"
    assert hidden("สมชาย: ดี\nสมหญิง: สวัสดีสมชาย").text == "①: ดี\n②: สวัสดี①"  # where words have no spaces
    chat = "\n".join(f"{letter}x: hi" for letter in "ABCDEFGHIJK")
    assert hidden(chat).text.splitlines()[8:] == ["⑨: hi", "Jx: hi", "Kx: hi"]
    assert hidden(chat, symbols="①③").text.splitlines()[:3] == ["①: hi", "③: hi", "Cx: hi"]


def test_a_part_of_a_name_is_the_one_who_has_it_if_only_one_does():
    chat = "Ann Lee Ray: Is Bob there?\nBob Ray: Yes, Ann Lee!\nCy: Lee, Ann Ray, Ray and Anna"
    assert hidden(chat).text == "①: Is ② there?\n②: Yes, ①!\n③: ①, ① Ray, Ray and Anna"
    assert hidden("Ann Lee: Bob?\nAnn: Lee!").text == "①: Bob?\n②: ①!"  # another's whole name is no part
    assert hidden_pair(Example(chat, "Ann asks Bob Ray.")).target == "① asks ②."
    assert hidden(chat).restored("① asks ②.") == "Ann Lee Ray asks Bob Ray."


def test_a_summary_is_as_the_chat_has_the_names():
    shown = hidden("小明：去吗？\n小红：去！")
    assert shown.restored("①②去。③") == "小明小红去。"  # without a space where there are none; ③ is nobody
    assert hidden("Ann: ①!\nBob: ?").text == "②: ①!\n③: ?"  # what a chat says itself is no name


def test_a_pair_has_the_same_symbols_on_both_sides():
    chat = "Ann: Lunch?\nBob: Yes, Ann!"
    assert hidden_pair(Example(chat, "Bob and Ann eat.")) == Example("①: Lunch?\n②: Yes, ①!", "② and ① eat.")
    for plain in (Example("Ann likes Bob.", "Ann loves."), Example(chat, "① eats.")):
        assert hidden_pair(plain) == plain
    assert hidden_pair(Example(chat, "Ann eats."), "") == Example(chat, "Ann eats.")


def test_a_corpus_is_of_chats_if_most_texts_are():
    chat = "Ann: Lunch?\nBob: Yes, Ann!"
    assert are_chats([chat, chat, "a text"])
    assert not are_chats([chat, "a text", "another"])
    assert not are_chats([])
    assert are_chats(iter([chat] * 200))
