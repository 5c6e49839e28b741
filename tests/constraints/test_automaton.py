"""The automaton against Python's `in`, byte by byte, with phrases that overlap and contain each other."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.constraints.automaton import DEAD, phrases

words = st.lists(st.text("ab明", min_size=1, max_size=4), max_size=4, unique=True)


@given(data=st.data(), banned=words, required=words, prefix=st.text("ab明", max_size=4))
@settings(max_examples=300)
def test_phrases_are_seen_where_they_stand(data, banned, required, prefix):
    text = "".join(data.draw(st.lists(st.sampled_from([*"ab明", *banned, *required, prefix]), max_size=6)))
    banned = [word for word in banned if word not in prefix]
    automaton = phrases([w.encode() for w in banned], [w.encode() for w in required], prefix.encode())
    node, said = automaton.start, int(automaton.says[automaton.start])
    for byte in text.encode():
        node = int(automaton.table[node, byte])
        said |= int(automaton.says[node])
    begun = prefix.startswith(text) or text.startswith(prefix)
    assert (node == DEAD) == (any(word in text for word in banned) or not begun)
    if node != DEAD:
        assert [bool(said >> bit & 1) for bit in range(len(required))] == [word in text for word in required]
        assert bool(said >> len(required) & 1) == (bool(prefix) and text.startswith(prefix))
        assert list(automaton.partial[node]) == [longest_beginning(word.encode(), text.encode()) for word in required]


def longest_beginning(word: bytes, text: bytes) -> int:
    return max(length for length in range(len(word) + 1) if text.endswith(word[:length]))


@pytest.mark.parametrize("text", ["", "abab"])
def test_nothing_to_watch_for(text):
    automaton = phrases([], [], b"")
    node = automaton.start
    for byte in text.encode():
        node = int(automaton.table[node, byte])
    assert node == automaton.start
