import io
import json
import logging
import os
import sys
import threading

import pytest
from corpus import CodePoints
from hypothesis import given
from hypothesis import strategies as st

from nextword.data import encode
from nextword.data.encode import split_long
from nextword.data.prepare import is_prepared, open_prepared, prepare
from nextword.data.splits import SplitConfig
from nextword.data.token_files import TokenFiles
from nextword.errors import DataError, RunError, UsageError
from nextword.text.records import Example, ReadConfig

POEMS = [f"第{i}首\n床前明月光，疑是地上霜。{'🌙' * (i % 3)}" for i in range(300)]
WHOLE = ReadConfig(documents="file")


@pytest.fixture
def poems(tmp_path):
    path = tmp_path / "poems.txt"
    path.write_text("\n\n".join(POEMS), encoding="utf-8")
    return path


def texts(files, tokenizer=CodePoints(200_000)):  # noqa: B008
    return [tokenizer.decode(row).removesuffix("<eos>") for row, _ in files.examples()]


def make(sources, out, **settings):
    return prepare(sources, out, settings.pop("tokenizer", CodePoints(200_000)), **settings)


# What is written


def test_every_document_lands_in_one_split_and_keeps_its_text(poems, tmp_path):
    splits = make([poems], tmp_path / "out", split=SplitConfig(valid=0.1, test=0.1))
    assert list(splits) == ["train", "valid", "test"]
    assert sorted(text for files in splits.values() for text in texts(files)) == sorted(POEMS)
    assert all(10 <= splits[name].counts.examples <= 60 for name in ("valid", "test"))
    assert sum(files.counts.target_bytes for files in splits.values()) == sum(len(p.encode()) for p in POEMS)


def test_a_document_stays_in_its_split_when_others_are_added(poems, tmp_path):
    before = set(texts(make([poems], tmp_path / "a")["valid"]))
    poems.write_text(poems.read_text() + "\n\n一\n\n二\n\n三")
    after = set(texts(make([poems], tmp_path / "b")["valid"]))
    assert before <= after
    assert len(after - before) <= 3


def test_the_tail_is_the_last_part_by_characters(tmp_path):
    text = "".join(chr(0x4E00 + i) for i in range(1000))
    (tmp_path / "a.txt").write_text(text)
    splits = make(
        [tmp_path / "a.txt"], tmp_path / "out", split=SplitConfig(by="tail", valid=0.1, test=0.05), read=WHOLE
    )
    assert {name: texts(files) for name, files in splits.items()} == {
        "train": [text[:850]],
        "valid": [text[850:950]],
        "test": [text[950:]],
    }


def test_one_document_cannot_be_split_by_hash_and_falls_back_to_the_tail(tmp_path, caplog):
    (tmp_path / "a.txt").write_text("春眠不觉晓" * 20)
    splits = make([tmp_path / "a.txt"], tmp_path / "out", split=SplitConfig(valid=0.1))
    assert "1 document cannot be split by document (valid would be empty)" in caplog.text
    assert texts(splits["train"]) + texts(splits["valid"]) == ["春眠不觉晓" * 18, "春眠不觉晓" * 2]


def test_a_held_out_file_is_the_split_and_the_rest_is_all_for_training(poems, tmp_path):
    valid, test = tmp_path / "valid.txt", tmp_path / "test.txt"
    valid.write_text("鹅鹅鹅")
    test.write_text("白日依山尽")
    splits = make([poems], tmp_path / "out", valid_sources=[valid], test_sources=[test])
    assert texts(splits["valid"]) == ["鹅鹅鹅"]
    assert texts(splits["test"]) == ["白日依山尽"]
    assert texts(splits["train"]) == POEMS


def test_no_split_is_made_that_was_not_asked_for(poems, tmp_path):
    splits = make([poems], tmp_path / "out", split=SplitConfig(valid=0))
    assert list(splits) == ["train"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tokenizer.json", "train"]


def test_prompts_carry_no_loss_and_stay_whole(tmp_path):
    rows = [{"up": f"上联{i}", "down": f"下联{i}"} for i in range(100)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    couplets = ReadConfig(prompt_field="up", target_field="down", separator="")
    for by in ("document", "tail"):
        splits = make(
            [path],
            tmp_path / by,
            split=SplitConfig(by=by, valid=0.2),
            read=couplets,
        )
        found = []
        for files in splits.values():
            assert files.counts.loss_tokens < files.counts.tokens
            for row, prompt in files.examples():
                found.append((CodePoints().decode(row[:prompt]), CodePoints().decode(row[prompt:])))
        assert sorted(found) == sorted((row["up"], row["down"] + "<eos>") for row in rows)
        assert 0 < splits["valid"].counts.examples < 50


def test_prompts_without_a_target_are_left_out_and_counted(tmp_path, caplog):
    path = tmp_path / "a.csv"
    path.write_text("q,a\none,two\nthree,\nfour,\nfive,six\n")
    read = ReadConfig(prompt_field="q", target_field="a", separator="=")
    splits = make([path], tmp_path / "out", split=SplitConfig(valid=0), read=read)
    assert texts(splits["train"]) == ["one=two", "five=six"]
    assert f"2 without a target left out, the first at {path}:3" in caplog.text


def test_examples_without_a_target_are_left_out(tmp_path):
    rows = [{"a": "?", "b": ""}, {"a": "?", "b": "!"}]
    splits = make(
        [rows],
        tmp_path / "out",
        example=lambda record: Example(record["a"], record["b"]),
        split=SplitConfig(valid=0),
        read=ReadConfig(text_field=""),
    )
    assert splits["train"].counts.examples == 1


def test_a_long_document_spans_pieces_batches_and_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(encode, "PIECE_CHARACTERS", 50)
    monkeypatch.setattr(encode, "BATCH_CHARACTERS", 200)
    text = "\n".join(f"line {i}, 第{i}行" for i in range(400))
    (tmp_path / "a.txt").write_text(text)
    files = make([tmp_path / "a.txt"], tmp_path / "out", split=SplitConfig(valid=0), shard_tokens=999)["train"]
    assert texts(files) == [text]
    assert len(files.index.shards) > 5


@given(st.text(alphabet="ab é。，\n🌙", max_size=200), st.integers(1, 30))
def test_pieces_add_up_and_are_short(text, size):
    pieces = list(split_long(text, size))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= size for piece in pieces)


def test_a_long_text_is_cut_where_words_end():
    text = "The quick brown fox. " * 50
    assert all(piece[-1].isalpha() and piece[0] in " T" for piece in list(split_long(text, 100))[:-1])
    assert all(piece[0] in "床，" for piece in split_long("床前明月光，" * 50, 100))


ENGLISH = "It's a truth (universally acknowledged), that 1,234 men don't  want\n\nthe\tsame: e.g. naïve café. " * 20
CHINESE = "床前明月光，疑是地上霜。\n举头望明月，“低头”思故乡！　　" * 20


@pytest.mark.parametrize("kind", ["char", "byte", "word", "bpe", "unigram"])
@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_pieces_encode_as_the_whole_would(kind, text):
    from nextword.tokenizers import TokenizerConfig, train_tokenizer

    learned = {} if kind == "byte" else {"vocab_size": 400}
    tokenizer = train_tokenizer(TokenizerConfig(type=kind, **learned), [text])
    (whole,) = tokenizer.encode_batch([text])
    for size in (60, 100, 333):
        assert [id for ids in tokenizer.encode_batch(list(split_long(text, size))) for id in ids] == whole


def test_unknown_characters_are_reported(poems, tmp_path, caplog):
    splits = make([poems], tmp_path / "out", tokenizer=CodePoints(60_000))
    assert splits["train"].counts.unknown_tokens > 0
    assert "train: " in caplog.text
    assert "unknown to the tokenizer" in caplog.text


# The second time


def stamps(out):
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.rglob("*")}


def test_a_second_run_changes_nothing_and_reads_nothing_but_hashes(poems, tmp_path):
    out = tmp_path / "out"
    make([poems], out)
    before = stamps(out)
    stages = []
    splits = make([poems], out, progress=lambda *told: stages.append(told))
    assert stamps(out) == before
    assert stages == []
    assert splits["train"].len_tokens > 0


@pytest.mark.parametrize("change", ["text", "split", "read", "tokenizer", "example", "valid", "damage"])
def test_whatever_changes_the_tokens_makes_them_anew(poems, tmp_path, change):
    out, settings = tmp_path / "out", {}
    make([poems], out)
    before = stamps(out)
    match change:
        case "text":
            poems.write_text(poems.read_text().replace("霜", "雪"))
        case "split":
            settings = {"split": SplitConfig(valid=0.2)}
        case "read":
            settings = {"read": ReadConfig(documents="line")}
        case "tokenizer":
            settings = {"tokenizer": CodePoints(190_000)}
        case "example":
            settings = {"example": named}
        case "valid":
            settings = {"valid_sources": [poems]}
        case "damage":
            (out / "train" / "tokens-00000.npy").write_bytes(b"")
    make([poems], out, **settings)
    assert stamps(out) != before
    now = stamps(out)
    make([poems], out, **settings)
    assert stamps(out) == now


def named(record):
    return Example("", record["text"].upper())


def test_a_nameless_function_cannot_be_compared_and_is_never_taken_for_current(poems, tmp_path):
    for word in ("one", "two"):
        splits = make([poems], tmp_path / "out", example=lambda record, word=word: Example("", word + record["text"]))
        assert texts(splits["train"])[0].startswith(word)


def test_standard_input_and_rows_in_memory_are_read_though_they_cannot_be_read_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n\n".join(POEMS).encode())))
    splits = make(["-"], tmp_path / "stdin")
    assert splits["train"].counts.examples + splits["valid"].counts.examples == 300
    rows = ({"text": poem} for poem in POEMS)
    splits = make([rows], tmp_path / "rows")
    assert splits["train"].counts.examples + splits["valid"].counts.examples == 300


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_read_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    feed = threading.Thread(target=(tmp_path / "pipe").write_text, args=["\n\n".join(POEMS)])
    feed.start()
    splits = make([tmp_path / "pipe"], tmp_path / "out")
    feed.join()
    assert splits["train"].counts.examples + splits["valid"].counts.examples == 300


@pytest.mark.parametrize("field", ["", "g"])
def test_what_belongs_together_is_held_out_together(tmp_path, field):
    rows = [
        {"g": f"group {n % 40}", "a": f"prompt {n % 40} {n if field else ''}", "b": f"target {n}"} for n in range(400)
    ]
    read = ReadConfig(prompt_field="a", target_field="b", group_field=field)
    splits = make([rows], tmp_path / "out", read=read, split=SplitConfig(valid=0.3))
    for files in splits.values():
        assert files.counts.examples % 10 == 0


# Mistakes


def test_a_folder_with_other_things_is_never_replaced(poems, tmp_path):
    (tmp_path / "mine" / "train").mkdir(parents=True)
    precious = tmp_path / "mine" / "train" / "text.txt"
    precious.write_text("precious")
    with pytest.raises(RunError, match=r"mine holds other things \(train\)"):
        make([poems], tmp_path / "mine")
    with pytest.raises(RunError, match="is a file"):
        make([poems], poems)
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("bad", [b"", b"\n \n", "春".encode("gb18030") * 9, b'{"text": 1}'])
def test_bad_text_raises_and_leaves_nothing_behind(tmp_path, bad):
    path = tmp_path / ("a.jsonl" if bad.startswith(b"{") else "a.txt")
    path.write_bytes(bad)
    with pytest.raises(DataError, match=path.name):
        make([path], tmp_path / "out")
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_text_too_small_to_split_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"train split is empty: there is too little text \(characters: 1\)"):
        make([tmp_path / "a.txt"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_half_a_character_in_a_prompt_is_an_error_with_its_place(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "ok", "b": "ok"}\n{"a": "\\ud83c", "b": "x"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: the text holds half a character \(\\ud83c\)"):
        make(
            [path],
            tmp_path / "out",
            read=ReadConfig(prompt_field="a", target_field="b"),
        )


def test_a_mistake_while_encoding_reaches_the_caller_and_leaves_the_old_folder(poems, tmp_path):
    class Broken(CodePoints):
        def encode_batch(self, texts):
            raise RunError("broken")

    make([poems], tmp_path / "out")
    before = stamps(tmp_path / "out")
    with pytest.raises(RunError, match="broken"):
        make([poems], tmp_path / "out", tokenizer=Broken())
    assert stamps(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "poems.txt"]


def test_a_file_that_grows_while_it_is_read_is_refused(poems, tmp_path):
    def example(record):
        with poems.open("a") as file:
            file.write("x")
        return Example("", record["text"])

    with pytest.raises(DataError, match=r"poems\.txt changed while it was read"):
        make([poems], tmp_path / "out", example=example)
    assert not (tmp_path / "out").exists()


def test_shares_must_leave_something_to_train_on():
    from nextword.config import parse

    with pytest.raises(UsageError, match=r"valid 0\.5 and test 0\.5 leave nothing"):
        parse(SplitConfig, {"valid": 0.5, "test": 0.5})


def test_a_prepared_folder_opens_again_and_other_folders_do_not(poems, tmp_path):
    out = tmp_path / "out"
    made = make([poems], out)
    assert is_prepared(out)
    assert {name: files.digest for name, files in open_prepared(out).items()} == {
        name: files.digest for name, files in made.items()
    }
    assert not is_prepared(tmp_path)
    with pytest.raises(RunError, match="not a prepared folder"):
        open_prepared(tmp_path)
    other = make([poems], tmp_path / "other", tokenizer=CodePoints(190_000))
    (other["valid"].folder).replace(tmp_path / "moved")
    made["valid"].folder.replace(other["valid"].folder)
    with pytest.raises(RunError, match="different tokenizers"):
        open_prepared(tmp_path / "other")


def test_a_changed_source_is_found_by_those_who_ask(poems, tmp_path):
    splits = make([poems], tmp_path / "out")
    poems.write_text("changed")
    with pytest.raises(RunError, match="has changed since"):
        splits["train"].check_sources()
    assert TokenFiles.open(tmp_path / "out" / "train").len_tokens


def test_progress_adds_up_to_the_size_of_the_sources(poems, tmp_path):
    told = []
    make([poems], tmp_path / "out", progress=lambda *args: told.append(args))
    for stage in ("reading", "encoding"):
        assert sum(count for name, count, _ in told if name == stage) == poems.stat().st_size
    assert {total for _, _, total in told} == {poems.stat().st_size}


@pytest.fixture(autouse=True)
def _logged(caplog):
    caplog.set_level(logging.WARNING, logger="nextword")
