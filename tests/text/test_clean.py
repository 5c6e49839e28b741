"""Cleaning: what each step does, what it leaves alone, and that the report adds up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.config import parse
from nextword.errors import DataError, UsageError
from nextword.text.clean import CleanConfig, clean, collapse_whitespace, fix_mojibake, remove_control
from nextword.text.records import Record

NOTHING = {
    "mojibake": False, "unicode": "none", "control": False, "whitespace": False,
    "min_chars": 0, "duplicates": "none",
}  # fmt: skip


def cleaned(texts: list[str], **config) -> list[str]:
    records = [Record({"text": text}, f"a:{i}") for i, text in enumerate(texts, 1)]
    return [record["text"] for record in clean(records, CleanConfig(**{**NOTHING, **config}))[0]]


FINE = [
    "床前明月光，疑是地上霜。",
    "“Curly” quotes — and dashes… don’t change",
    "naïve café, Ångström, ¿qué?",
    "Привет, мир",
    "👨‍👩‍👧 🇩🇪 ☎️ क्षि می‌خواهم",
    "全角，！？（）１２３",
    "ÄÖÜ äöü ß",
]


@pytest.mark.parametrize("text", FINE)
def test_good_text_is_left_alone(text):
    assert cleaned([text], **CleanConfig().model_dump()) == [text]


@pytest.mark.parametrize("text", ["schön", "“quoted”", "床前明月光", "naïve — café", "Привет", "🎉"])
@pytest.mark.parametrize("wrong", ["latin-1", "sloppy-windows-1252"])
def test_mojibake_is_undone(text, wrong):
    import ftfy  # noqa: F401  (registers the sloppy codecs)

    broken = text.encode().decode(wrong)
    assert fix_mojibake(f"明月\n{broken} {broken}\nfine") == f"明月\n{text} {text}\nfine"


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_the_quick_look_for_mojibake_misses_nothing(text):
    import ftfy

    line = text.replace("\n", " ")
    assert fix_mojibake(line) == (ftfy.fix_encoding(line) if ftfy.badness.is_bad(line) else line)


@settings(deadline=None)
@given(st.text(max_size=20), st.sampled_from(["latin-1", "sloppy-windows-1252", "macroman", "cp437", "cp1251"]))
def test_the_quick_look_catches_what_ftfy_calls_bad(text, wrong):
    import ftfy

    broken = text.encode("utf-8", "ignore").decode(wrong, "ignore").replace("\n", " ")
    assert fix_mojibake(broken) == (ftfy.fix_encoding(broken) if ftfy.badness.is_bad(broken) else broken)


def test_unicode_forms():
    assert cleaned(["e\u0301", "Ａ，"], unicode="NFC") == ["é", "Ａ，"]
    assert cleaned(["e\u0301", "Ａ，"], unicode="NFKC") == ["é", "A,"]


def test_control_characters():
    assert remove_control("a\r\nb\rc\x85d\u2028e\x0cf") == "a\nb\nc\nd\ne\nf"
    assert remove_control("\ufeffa\x00b\x1b[31m\u200bc\u00ad\x7f\tend") == "ab[31mc\tend"


def test_whitespace():
    assert (
        collapse_whitespace("　　床前　　明月\n  the   cat\tsat \n\n\n\nend\u00a0x  ")
        == "床前　明月\nthe cat sat\n\nend x"
    )


@settings(deadline=None)
@given(st.text(st.sampled_from("a \t\n\u3000\u00a0\u2003好"), max_size=30))
def test_whitespace_once_is_enough(text):
    once = collapse_whitespace(text)
    assert collapse_whitespace(once) == once
    assert "".join(once.split()) == "".join(text.split())


def test_length():
    assert cleaned(["", "a", "ab", "abc"], min_chars=1, max_chars=2) == ["a", "ab"]


def test_scripts():
    texts = ["床前明月光 moon", "the moon 月", "123", "Луна", "ひらがな"]
    assert cleaned(texts, scripts=["Han"]) == texts[:1]
    assert cleaned(texts, scripts=["Han"], min_script_share=0.1) == texts[:2]
    assert cleaned(texts, scripts=["Han", "Hiragana"], min_script_share=0.5) == [texts[0], texts[4]]
    with pytest.raises(UsageError, match=r"scripts: unknown script 'Hann'. Did you mean Han\?"):
        parse(CleanConfig, {"scripts": ["Hann"]})


def test_duplicates():
    poem = "床前明月光，疑是地上霜。举头望明月，低头思故乡。" * 5
    texts = [poem, poem.replace("，", "， "), poem + "李白", "另一首诗"]
    assert cleaned(texts, duplicates="exact") == [poem, poem + "李白", "另一首诗"]
    assert cleaned(texts, duplicates="near") == [poem, "另一首诗"]


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=12))
def test_the_report_adds_up(texts):
    records = [Record({"text": text, "id": i}, f"a:{i}") for i, text in enumerate(texts)]
    stream, report = clean(records, CleanConfig())
    kept = list(stream)
    assert report.read == len(texts)
    assert report.kept == len(kept) == len(texts) - sum(step.dropped for step in report.steps)
    assert report.characters_kept == sum(len(record["text"]) for record in kept)
    for before, after in zip(report.steps, report.steps[1:], strict=False):
        assert after.seen == before.seen - before.dropped
    assert all(record.source == f"a:{record['id']}" for record in kept)
    assert [records[i]["text"] for i in range(len(texts))] == texts  # the input is not touched


def test_examples_show_the_first_difference():
    long = "好" * 500
    stream, report = clean([Record({"text": f"{long}\x07坏"}, "a.txt:7"), Record({"text": "\x07"}, "a.txt:9")])
    list(stream)
    control = next(step for step in report.steps if step.name == "control")
    assert control.examples[0].source == "a.txt:7"
    assert "\x07坏" in control.examples[0].before
    assert "坏" in control.examples[0].after
    length = next(step for step in report.steps if step.name == "length")
    assert (length.examples[0].source, length.examples[0].after) == ("a.txt:9", None)


def test_a_record_without_text():
    with pytest.raises(DataError, match=r"a:1: no column 'text'\. Columns: body"):
        list(clean([Record({"body": "a"}, "a:1")])[0])
