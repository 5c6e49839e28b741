"""Tasks read records as examples, find columns and languages by themselves, and name what is wrong in one line."""

import json
from pathlib import Path

import pytest

from nextword import corpora
from nextword.decoding.config import GenerationConfig
from nextword.errors import DataError, UsageError
from nextword.tasks.base import items
from nextword.tasks.dialogue import DIALOGUE
from nextword.tasks.registry import TASKS, task_named
from nextword.tasks.setup import ENCODING, set_up, with_columns
from nextword.tasks.summarization import SUMMARIZATION
from nextword.tasks.translation import TRANSLATION
from nextword.text.records import ReadConfig
from nextword.tokenizers import TokenizerConfig, train_tokenizer


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, text):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")
    return name


def pairs_of(setup):
    read = setup.values["data"]
    return [(row[read["prompt_field"]], row[read["target_field"]]) for row in setup.sources[0]]


def setup_for(*sources, task="translation", **data):
    return set_up({"task": {"name": task}, "data": data}, sources)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_settings_of_a_task_are_settings(task):
    GenerationConfig(**task.generation)
    assert set(task.recipe) <= {"data", "model", "train", "tokenizer"}
    assert all(name in ReadConfig.model_fields for name in task.columns)
    if task.example:
        setup = set_up({"task": {"name": task.name}}, [corpora.rows(task.example)])
        rows = iter(setup.sources[0])
        assert all(next(rows).values() for _ in range(100))


@pytest.mark.parametrize(
    ("name", "text", "data"),
    [
        ("a.tsv", "source\ttarget\n早\tmorning\n", {}),
        ("a.csv", "id,reference,src\n7,morning,早\n", {}),
        ("a.jsonl", '{"x": 1, "zh": "早", "en": "morning"}', {}),
        ("a.csv", "a,b,c\n早,morning,\n", {"prompt_field": "a", "target_field": "b"}),
        ("a.tsv", "早\tmorning\n", {"columns": "zh,en"}),
        ("a.csv", "en,zh,fr\nmorning,早,matin\n", {"prompt_field": "zh", "target_field": "en"}),
        ("a.tsv", "zh\ttarget\n 早 \tmorning\n", {"prompt_field": "zh"}),
    ],
)
def test_the_columns_of_a_table_are_found(name, text, data):
    assert pairs_of(setup_for(write(name, text), **data)) == [("早", "morning")]


def test_two_files_are_read_side_by_side():
    write("c/train.zh", "早\n\n天\n晚\n")
    write("c/train.en", "morning\nlost\nday\n \n")
    setup = setup_for("c/train.zh", "c/train.en")
    assert pairs_of(setup) == [("早", "morning"), ("天", "day")]
    assert [row.source for row in setup.sources[0]] == ["c/train.zh:1", "c/train.zh:3"]
    assert setup.task.languages == ("zh", "en")


def test_what_is_left_out_is_told_once(caplog):
    setup = setup_for(write("a.tsv", "source\ttarget\n早\t\n晚\tnight\n\tday\n"))
    assert pairs_of(setup) == pairs_of(setup) == [("晚", "night")]
    assert [record.message for record in caplog.records] == ["left out, for a side is empty: 2, the first at a.tsv:2"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("tatoeba/en-fr/train.tsv",), ("en", "fr")),
        (("news.de-en.tsv",), ("de", "en")),
        (("pairs.tsv",), ()),
        (("pre-lim.tsv",), ()),
    ],
)
def test_languages_by_the_name_of_the_file(names, expected):
    setup = setup_for(*(write(name, "source\ttarget\na\tb\n") for name in names))
    assert setup.task.languages == expected


def test_languages_that_are_given_count():
    write("a.tsv", "en\tfr\na\tb\n")
    setup = set_up({"task": {"name": "translation", "languages": ["la", "it"]}}, ["a.tsv"])
    assert setup.task.languages == ("la", "it")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: setup_for("a.txt", "b.txt"), DataError,
         r"a.txt has 3 lines, but b.txt has 2: line 3 of a.txt belongs to none"),
        (lambda: setup_for("b.txt", "a.txt"), DataError, r"line 3 of a.txt belongs to none"),
        (lambda: setup_for("none.txt", "none.txt"), DataError, r"none.txt, none.txt: empty, there is no text to read"),
        (lambda: setup_for("a.tsv"), DataError, r"a.tsv:2: no column for the prompt of translation. Columns: q, a\."),
        (lambda: setup_for("a.tsv", prompt_field="quest"), DataError, r"no column 'quest'. Columns: q, a. .*--prompt"),
        (lambda: setup_for("a.tsv", prompt_field="q", target_field="x"), DataError, r"'x'. Columns: q, a.*--target-f"),
        (lambda: setup_for("a.tsv", task="transaltion"), UsageError, r"unknown task 'transaltion'. Did you mean"),
        (lambda: setup_for("-"), UsageError, r"--task reads files, got standard input"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(call, error, message):
    write("a.txt", "1\n2\n3\n")
    write("b.txt", "1\n2\n")
    write("none.txt", "")
    write("a.tsv", "q\ta\n1\t2\n")
    with pytest.raises(error, match=message):
        pairs_of(call())


def test_the_settings_of_a_model_go_with_the_model():
    write("a.tsv", "source\ttarget\na\tb\n")
    chosen = setup_for("a.tsv", task="summarization").values
    assert chosen["model"] == SUMMARIZATION.recipe["model"]
    assert chosen["data"]["separator"] == ""
    other = set_up({"task": {"name": "summarization"}, "model": {"type": "transformer"}}, ["a.tsv"]).values
    assert other["model"] == {"type": "transformer"}
    assert "separator" not in other["data"]
    given = set_up({"task": {"name": "translation"}, "train": {"label_smoothing": 0.0}}, ["a.tsv"]).values
    assert given["train"] == {"label_smoothing": 0.0}


def test_no_separator_stands_behind_a_source():
    from nextword.models import MODELS

    assert {name for name, kind in MODELS.items() if kind.model.encodes} == set(ENCODING)
    write("a.tsv", "source\ttarget\na\tb\n")
    settled = set_up({"task": {"name": "translation"}, "model": {"type": "gru-attention"}}, ["a.tsv"]).values
    assert settled["data"]["separator"] == ""


def test_several_targets_are_several_examples_and_one_item():
    row = {"source": ["One.", "Two."], "target": ["1", " 2 "]}
    write("a.jsonl", json.dumps(row))
    setup = setup_for("a.jsonl", task="summarization")
    assert pairs_of(setup) == [("One.\nTwo.", "1"), ("One.\nTwo.", "2")]
    read = with_columns(SUMMARIZATION, {}, ["a.jsonl"])
    assert [(item.prompt, item.references) for item in items(SUMMARIZATION, ["a.jsonl"], read)] == [
        ("One.\nTwo.", ("1", "2"))
    ]


def test_a_test_set_does_not_shrink_unseen():
    write("a.tsv", "source\ttarget\na\tb\nc\t\n")
    read = with_columns(TRANSLATION, {}, ["a.tsv"])
    with pytest.raises(DataError, match=r"a.tsv:3: the target is empty"):
        list(items(TRANSLATION, ["a.tsv"], read))


def test_conversations_are_learned_as_they_are_and_each_reply_is_answered():
    talk = {"turns": ["a", "b", "再见"]}
    setup = set_up({"task": {"name": "dialogue"}}, [[talk]])
    assert setup.values["data"] == {"conversations": True}
    assert list(setup.sources) == [[talk]]
    found = [(item.prompt, item.references, [turn["role"] for turn in item.before])
             for item in items(DIALOGUE, [[talk]], ReadConfig())]  # fmt: skip
    assert found == [("a", ("b",), ["user"]), ("a\nb", ("再见",), ["assistant", "user"])]


def test_replies_are_measured_beside_those_of_the_data():
    rows = [{"turns": ["a", "yes sir"]}, {"turns": ["再见", "yes sir"]}, {"turns": ["b", "no madam no"]}]
    (said,) = DIALOGUE.baselines(list(items(DIALOGUE, [rows], ReadConfig()))).values()
    assert said == ["yes sir", "yes sir", "no madam no"]


def test_an_unknown_task_is_a_usage_error():
    with pytest.raises(UsageError, match=r"unknown task 'x'. Known: translation, summarization, dialogue"):
        task_named("x")


def test_placeholders_are_of_new_runs_and_of_those_begun_with_one_that_has_them(tmp_path):
    rows = [{"en": f"In {year} it was good.", "fr": f"En {year}, c'était bon."} for year in range(1900, 2000)]

    def setup_from(run=None, name="translation", **settings):
        return set_up({"task": {"name": name} | settings}, [rows], init_from=run)

    assert sum("①" in target for _, target in pairs_of(setup_from())) > 2
    assert all(prompt.startswith("In 1") for prompt, _ in pairs_of(setup_from(placeholders=False)))
    for known in ({}, {"placeholders": False}, {"placeholders": True}):
        write("run/config.json", json.dumps({"model": {"type": "encoder-decoder"}, "task": known}))
        assert setup_from(Path("run")).task.placeholders is known.get("placeholders", False)
    train_tokenizer(TokenizerConfig(type="char"), ["a①"]).save(Path("run"))
    assert setup_from(Path("run"), placeholders=True).task.placeholders
    train_tokenizer(TokenizerConfig(type="char"), ["a"]).save(Path("run"))
    with pytest.raises(UsageError, match=r"the tokenizer of run has no tokens for ①②"):
        setup_from(Path("run"), placeholders=True)
    assert setup_from(Path("run"), placeholders=False).task.placeholders is False
    assert set_up({"task": {"name": "dialogue"}}, []).task.placeholders is False
    with pytest.raises(UsageError, match=r"task.placeholders = true: there are none of dialogue"):
        set_up({"task": {"name": "dialogue", "placeholders": True}}, [])


def test_placeholders_of_a_summarizer_are_of_chats():
    chats = [{"text": f"Ann: Hi {i}!\nBob: Hi.", "summary": f"Bob meets Ann {i}."} for i in range(9)]
    texts = [{"text": f"This is text {i}. It rains.", "summary": f"Rain {i}."} for i in range(9)]
    for rows, expected in ((chats, True), (texts, False)):
        setup = set_up({"task": {"name": "summarization"}}, [rows])
        assert setup.task.placeholders is expected
    setup = set_up({"task": {"name": "summarization", "length_buckets": 2, "length_bounds": (4,)}}, [chats])
    shown = dict(pairs_of(setup))  # both at once
    assert set(shown.values()) == {f"② meets ① {i}." for i in range(9)}
    assert {"length 2\n" in prompt for prompt in shown} == {True, False}
    assert all(prompt.endswith("!\n②: Hi.") for prompt in shown)
    assert set_up({"task": {"name": "summarization"}}, []).task.placeholders is None


def test_a_run_begun_with_another_reads_prompts_as_that_did():
    rows = [{"en": "Go.", "fr": "Va."}]
    for config, expected in (
        ({"model": {"type": "encoder-decoder"}}, ""),
        ({"model": {"type": "transformer"}, "data": {"prompt_field": "a", "separator": " -> "}}, " -> "),
        ({"model": {"type": "transformer"}}, None),
    ):
        write("run/config.json", json.dumps(config))
        setup = set_up({"task": {"name": "translation"}}, [rows], init_from=Path("run"))
        assert setup.values["data"].get("separator") == expected
