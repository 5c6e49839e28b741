"""Duplicate indexes against plain definitions: a set, and the exact Jaccard similarity of n-grams."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.text.duplicates import ExactDuplicates, NearDuplicates, _HashMap, normalised

HAN = [chr(code) for code in range(0x4E00, 0x4E00 + 3000)]


def random_text(rng: random.Random, alphabet: list[str], length: int) -> str:
    return "".join(rng.choices(alphabet, k=length))


def edited(rng: random.Random, text: str, edits: int, alphabet: list[str]) -> str:
    characters = list(text)
    for place in rng.sample(range(len(text)), edits):
        characters[place] = rng.choice(alphabet)
    return "".join(characters)


def jaccard(a: str, b: str, n: int) -> float:
    first, second = ({normalised(t)[i : i + n] for i in range(len(normalised(t)) - n + 1)} for t in (a, b))
    return len(first & second) / len(first | second)


@given(st.lists(st.text("ab \n", max_size=4)))
def test_exact_index_is_a_set(documents):
    index, known = ExactDuplicates(recent=3), set()  # 3: the sorted array is used as well
    for document in documents:
        assert index.add(document) == (normalised(document) in known)
        known.add(normalised(document))


def test_exact_forgives_case_space_and_width():
    index = ExactDuplicates()
    assert not index.add("Ｈello,  World\n床前明月光")
    assert index.add("hello, world 床前　明月光")
    assert not index.add("hello, world! 床前明月光")


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 9))))
def test_hash_map_is_a_dict(items):
    ours, theirs = _HashMap(), {}
    for key, value in items:
        assert ours.setdefault(key, value) == theirs.setdefault(key or 1, value)


def test_hash_map_grows():
    rng = random.Random(0)
    ours, keys = _HashMap(), [rng.getrandbits(64) for _ in range(50_000)]
    assert [ours.setdefault(key, i) for i, key in enumerate(keys)] == list(range(50_000))
    assert [ours.setdefault(key, 0) for key in keys] == list(range(50_000))


@pytest.mark.parametrize(("alphabet", "n"), [(HAN, 3), (list("abcdefghijklmnopqrstuvwxyz"), 6)])
def test_near_index_agrees_with_jaccard(alphabet, n):
    rng = random.Random(0)
    found = {"near": 0, "far": 0}
    for _ in range(50):
        text = random_text(rng, alphabet, 600)
        near, far = edited(rng, text, 4, alphabet), edited(rng, text, 100, alphabet)
        assert jaccard(text, near, n) > 0.9 > 0.6 > jaccard(text, far, n)
        index = NearDuplicates(threshold=0.8)
        assert not index.add(text)
        found["near"] += index.add(near)
        found["far"] += index.add(far)
    assert found["near"] >= 48
    assert found["far"] <= 1


def test_near_index_keeps_different_documents_apart():
    rng = random.Random(1)
    index = NearDuplicates()
    texts = [random_text(rng, HAN, rng.randint(5, 300)) for _ in range(2000)]
    assert not any(index.add(text) for text in texts)
    assert all(index.add(text) for text in texts)


@pytest.mark.parametrize("text", ["", "a", "好", "床前明月光", "🎉" * 5000])
def test_near_index_takes_any_length(text):
    index = NearDuplicates()
    assert not index.add(text)
    assert index.add(text)
