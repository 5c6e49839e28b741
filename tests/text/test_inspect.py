"""Inspection: every figure against the same figure counted the plain way."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.errors import DataError
from nextword.text.inspect import CorpusReport, inspect_corpus
from nextword.text.scripts import share_in


def report_of(*texts: str) -> CorpusReport:
    return inspect_corpus([[{"text": text} for text in texts]])


@settings(deadline=None)  # the first call builds the tables of scripts
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=8))
def test_plain_counts(texts):
    report, whole = report_of(*texts), "".join(texts)
    assert report.documents == len(texts) == sum(bin.documents for bin in report.lengths)
    assert report.characters == len(whole)
    assert report.utf8_bytes == len(whole.encode())
    assert report.distinct_characters == len(set(whole))
    assert report.longest[0].characters == max(map(len, texts))
    assert report.shortest[0].characters == min(map(len, texts))
    assert sum(report.scripts.values()) == pytest.approx(1) if report.scripts else True
    json.dumps(report.to_dict())


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cn"]), min_size=1, max_size=40))
def test_scripts_are_those_of_letters(text):
    """Against Python's own tables; "Cn", what they do not know, may be a letter in a newer Unicode."""
    assert bool(report_of(text).scripts) == any(unicodedata.category(c).startswith("L") for c in text)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", 0), ("one two", 2), ("don't, 3 x", 3), ("床前明月光，", 5), ("GPT模型 v2", 4), ("क्षि नमस्ते", 2)],
)
def test_words(text, words):
    assert report_of(text, "").words == words


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("这个国家的人们来时会说", "Chinese, simplified"),
        ("這個國家的人們來時會說", "Chinese, traditional"),
        ("わたしは日本語を話します", "Japanese"),
        ("안녕하세요", "Korean"),
        ("The quick brown fox", "Latin script"),
        ("Быстрая лиса", "Cyrillic script"),
    ],
)
def test_languages(text, language):
    assert report_of(text).languages == [language]


def test_no_letters():
    assert report_of("123 !?").languages == []


def test_scripts_and_shares():
    assert report_of("月光 ab", "cd").scripts == pytest.approx({"Latin": 4 / 6, "Han": 2 / 6})
    assert share_in("月光 ab 1", ["Han"]) == 0.5
    assert share_in("123", ["Han"]) == 0.0


def test_odd_characters_and_where_they_are(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("fine\n\nschÃ¶n\n\na\ue000b\u200b\x07\ufffd\ufffd\n\n锟斤拷", encoding="utf-8")
    odd = inspect_corpus([path]).odd
    assert {kind: (found.count, found.source) for kind, found in odd.items()} == {
        "mojibake": (2, f"{path}:3"),
        "private use": (1, f"{path}:5"),
        "zero-width": (1, f"{path}:5"),
        "control": (1, f"{path}:5"),
        "replacement U+FFFD": (2, f"{path}:5"),
    }
    assert odd["mojibake"].excerpt == "schÃ¶n"


def test_good_text_has_nothing_odd():
    assert report_of("床前明月光，“疑是”…\n\tnaïve café — 🎉 👨‍👩‍👧").odd == {}


def test_duplicates():
    poem = "床前明月光，疑是地上霜。举头望明月，低头思故乡。" * 5
    report = report_of(poem, poem + " ", poem + "李白", "another text altogether")
    assert (report.exact_duplicates, report.near_duplicates, report.near_examined) == (1, 1, 4)


def test_lengths():
    report = report_of("a", "b" * 9, "c" * 10, "d" * 450)
    assert [(bin.low, bin.high, bin.documents) for bin in report.lengths] == [
        (1, 1, 1), (2, 4, 0), (5, 9, 1), (10, 19, 1), (20, 49, 0), (50, 99, 0), (100, 199, 0), (200, 499, 1),
    ]  # fmt: skip


def test_more_than_one_batch_of_characters():
    texts = [f"{i} " + "月" * 300_000 for i in range(8)]
    report = report_of(*texts)
    assert report.characters == sum(map(len, texts))
    assert report.words == 8 + 8 * 300_000


def test_bad_input(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match="empty"):
        inspect_corpus([tmp_path / "a.txt"])
