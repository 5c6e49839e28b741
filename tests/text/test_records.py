"""Reading: every format gives the same records, every mistake one error that names its place."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.config import parse
from nextword.errors import DataError, UsageError
from nextword.text import formats
from nextword.text.examples import example_of
from nextword.text.records import Example, ReadConfig, Record, find_files, read_records, source_bytes

POEMS = ["床前明月光\n疑是地上霜", 'A cat 🐈, "quoted", with a comma', "naïve café"]


def write(path: Path, content: str | bytes) -> Path:
    """Write a file, packed as its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    if path.suffix == ".gz":
        data = gzip.compress(data)
    if path.suffix == ".zst":
        data = pytest.importorskip("zstandard").ZstdCompressor().compress(data)
    path.write_bytes(data)
    return path


def texts(*sources, progress=None, **config) -> list[str]:
    return [record["text"] for record in read_records(sources, ReadConfig(**config), progress)]


def table(delimiter: str) -> str:
    import csv

    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerows([["id", "text"], *enumerate(POEMS)])
    return file.getvalue()


CONTENTS = {
    ".txt": "\n\n".join(POEMS) + "\n",
    ".jsonl": "".join(json.dumps({"id": i, "text": p}, ensure_ascii=i == 1) + "\n" for i, p in enumerate(POEMS)),
    ".json": json.dumps([{"text": p} for p in POEMS], indent=1),
    ".csv": table(","),
    ".tsv": table("\t"),
    ".unknown": "\n\n".join(POEMS),
}


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
@pytest.mark.parametrize("extension", CONTENTS)
def test_every_format_gives_the_same_texts(tmp_path, extension, packed):
    assert texts(write(tmp_path / f"poems{extension}{packed}", CONTENTS[extension])) == POEMS


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_parquet(tmp_path, packed):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": range(1000), "text": [f"诗 {i}" for i in range(1000)]}), buffer)
    path = write(tmp_path / f"poems.parquet{packed}", buffer.getvalue())
    records = list(read_records([path]))
    assert [r["text"] for r in records] == [f"诗 {i}" for i in range(1000)]
    assert (records[999]["id"], records[999].source) == (999, f"{path}:1000")


def test_rows_in_memory_and_datasets():
    assert texts([{"text": "a"}, {"text": "b"}]) == ["a", "b"]
    datasets = pytest.importorskip("datasets")
    assert texts(datasets.Dataset.from_list([{"text": p} for p in POEMS])) == POEMS
    assert texts(datasets.Dataset.from_list([{"text": p} for p in POEMS]).to_iterable_dataset()) == POEMS
    with pytest.raises(DataError, match=r"train.*dataset\['train'\]"):
        texts(datasets.DatasetDict(train=datasets.Dataset.from_list([{"text": "a"}])))


def test_a_record_knows_its_line(tmp_path):
    path = write(tmp_path / "a.txt", "\n\none\ntwo\n\n　　\nthree\n")
    assert [(r["text"], r.source) for r in read_records([path])] == [
        ("one\ntwo", f"{path}:3"),
        ("three", f"{path}:7"),
    ]
    rows = write(tmp_path / "a.csv", 'text\n"one\ntwo"\nthree\n')
    assert [r.source for r in read_records([rows])] == [f"{rows}:2", f"{rows}:4"]


def test_what_a_document_is(tmp_path):
    path = write(tmp_path / "a.txt", "one\ntwo\n\nthree\n")
    assert texts(path) == ["one\ntwo", "three"]
    assert texts(path, documents="line") == ["one", "two", "three"]
    assert texts(path, documents="file") == ["one\ntwo\n\nthree\n"]


def test_windows_and_old_mac_files(tmp_path):
    expected = ["一\n二", "三"]
    assert texts(write(tmp_path / "dos.txt", "\ufeff一\r\n二\r\n\r\n三\r\n")) == expected
    assert texts(write(tmp_path / "mac.txt", "一\r二\r\r三\r")) == expected
    assert texts(write(tmp_path / "dos.csv", "\ufefftext\r\n一\r\n")) == ["一"]


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\ufeff\0")), min_size=1))
def test_lines_come_back_as_written(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_text("".join(json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    assert texts(path) == lines


def test_folders_globs_and_stdin(tmp_path, monkeypatch):
    write(tmp_path / "b" / "2.txt", "two")
    write(tmp_path / "a" / "1.jsonl.gz", '{"text": "one"}\n')
    write(tmp_path / "3.txt", "three")
    write(tmp_path / "image.png", b"\x89PNG\0")
    write(tmp_path / ".hidden" / "x.txt", "hidden")
    assert sorted(texts(tmp_path)) == ["one", "three", "two"]
    assert texts(tmp_path) == texts(str(tmp_path))
    assert texts(f"{tmp_path}/**/*.txt") == ["three", "two"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("一\n\n二".encode())))
    assert texts("-") == ["一", "二"]
    assert not sys.stdin.buffer.closed


def test_a_file_whose_name_is_a_pattern(tmp_path):
    assert texts(write(tmp_path / "poem[1].txt", "one")) == ["one"]


def test_progress_counts_every_byte_on_disk(tmp_path):
    paths = [write(tmp_path / "a.txt", "一\n" * 1000), write(tmp_path / "b.txt.gz", "二\n" * 1000)]
    counts: list[int] = []
    texts(*paths, progress=counts.append)
    assert sum(counts) == source_bytes(paths) == sum(p.stat().st_size for p in paths)
    assert source_bytes(["-"]) is None
    assert source_bytes([[{"text": "a"}]]) is None


def test_a_list_of_lines_is_text(tmp_path):
    path = write(tmp_path / "a.json", '[{"paragraphs": ["一", "二"]}]')
    assert [r["paragraphs"] for r in read_records([path], ReadConfig(text_field="paragraphs"))] == ["一\n二"]


def test_another_column_and_rows_as_they_are(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"prompt": "p", "answer": 1}\n')
    assert list(read_records([path], ReadConfig(text_field=""))) == [{"prompt": "p", "answer": 1}]
    assert example_of(Record({"poem": "x"}, "a:1"), ReadConfig(text_field="poem")) == Example("", "x")


PAIRS = ReadConfig(prompt_field="q", target_field="a", separator=" = ")


def test_two_columns_make_prompt_and_target(tmp_path):
    path = write(tmp_path / "a.tsv", "q\ta\n一加一\t二\n")
    (record,) = read_records([path], PAIRS)
    assert example_of(record, PAIRS) == Example("一加一 = ", "二")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "1", "a": "2"}, r"a\.jsonl:7: no column 'q'. Columns: question, a. Choose with --prompt-field"),
        ({"q": "1", "answer": "2"}, r"no column 'a'. Columns: q, answer. Choose with --target-field"),
        ({"q": "1", "a": 2}, r"'a' should be text, got int '2'"),
        ({"q": "\ud83c", "a": "2"}, r"half a character \(\\ud83c\). Read it with --errors replace"),
    ],
)
def test_what_is_wrong_with_a_pair_is_told_with_its_place(row, message):
    with pytest.raises(DataError, match=message):
        example_of(Record(row, "a.jsonl:7"), PAIRS)


def test_half_a_pair_is_refused():
    with pytest.raises(UsageError, match=r"data: prompt_field and target_field go together"):
        parse(ReadConfig, {"prompt_field": "q"}, "data")


def test_a_very_long_line_is_cut_between_characters(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "LONGEST", 1000)
    path = write(tmp_path / "a.txt", "床前明月光🎉" * 200)
    pieces = texts(path)
    assert len(pieces) > 1
    assert "".join(pieces) == "床前明月光🎉" * 200
    assert texts(path, documents="file") == ["床前明月光🎉" * 200]


def test_other_encodings(tmp_path):
    path = write(tmp_path / "gbk.txt", "床前明月光\n疑是地上霜".encode("gbk"))
    with pytest.raises(DataError, match=r"gbk.txt:1: not valid utf-8: byte 0x.. at offset 0.*--encoding gb18030"):
        texts(path)
    assert texts(path, encoding="gb18030") == ["床前明月光\n疑是地上霜"]
    for name, message in {"gbk2": "unknown encoding", "utf-16": "does not extend ASCII"}.items():
        with pytest.raises(UsageError, match=message):
            parse(ReadConfig, {"encoding": name})


BAD = {
    "empty.txt": ("", "empty"),
    "blank.txt": (" \n\n　\n", "empty"),
    "header.csv": ("text\n", "empty"),
    "picture.txt": (b"\x89PNG\r\n\0\0\0", "a binary file"),
    "utf16.txt": ("床前".encode("utf-16"), "UTF-16"),
    "bytes.txt": (b"good\nab\xffcd\n", r"bytes.txt:2: not valid utf-8: byte 0xff at offset 7.*--errors replace"),
    "a.jsonl": ('{"text": "a"}\n{"text": \n', "a.jsonl:2: not valid JSON"),
    "b.jsonl": ('["a"]\n', 'b.jsonl:1: expected an object such as {"text"'),
    "c.jsonl": ('{"txt": "a", "id": 1}\n', "c.jsonl:1: no column 'text'. Columns: txt, id"),
    "d.jsonl": ('{"text": null}\n', "d.jsonl:1: 'text' should be text, got NoneType"),
    "half.jsonl": ('{"text": "\\ud83d"}\n', "half.jsonl:1: .*half a character"),
    "e.json": ('{"text": "a"}', "e.json: expected a list of objects"),
    "a.csv": ("text,id\na,1\nb\n", r"a.csv:3: 1 fields, but the header has 2 \(text, id\)"),
    "b.csv": ("id,body\n1,a\n", "b.csv:2: no column 'text'. Columns: id, body"),
    "c.csv": ('text\n"never closed\n', "c.csv:2: not valid CSV"),
    "a.parquet": (b"no parquet here" * 10, "a.parquet: not a valid Parquet file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(tmp_path, name):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    content, message = BAD[name]
    with pytest.raises(DataError, match=message) as caught:
        texts(write(tmp_path / name, content))
    assert "\n" not in str(caught.value)


def test_errors_replace_reads_on(tmp_path):
    assert texts(write(tmp_path / "a.txt", b"ab\xffcd"), errors="replace") == ["ab\ufffdcd"]
    half = write(tmp_path / "a.jsonl", '{"text": "a\\ud83d"}\n')
    assert texts(half, errors="replace")[0].encode() == "a\ufffd".encode()


@pytest.mark.parametrize("damage", ["short", "wrong"])
@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_damaged_packed_files(tmp_path, packed, damage):
    path = write(tmp_path / f"a.txt{packed}", "".join(f"line {i * i}\n" for i in range(5000)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == "short" else b"plain text, no archive")
    with pytest.raises(DataError, match=f"a.txt{packed}: damaged"):
        texts(path)


def test_zst_of_several_frames(tmp_path):
    compress = pytest.importorskip("zstandard").ZstdCompressor().compress
    path = tmp_path / "a.txt.zst"
    path.write_bytes(compress("一\n\n".encode()) + compress("二".encode()))
    assert texts(path) == ["一", "二"]


def test_sources_are_looked_for_before_any_is_read(tmp_path):
    good = write(tmp_path / "a.txt", "one")
    (tmp_path / "none").mkdir()
    for source, message in {
        tmp_path / "typo.txt": "no such file or folder",
        f"{tmp_path}/*.nothing": "no file matches",
        tmp_path / "none": "no file that can be read in this folder",
    }.items():
        with pytest.raises(DataError, match=message):
            read_records([good, source])  # not even iterated over
    assert find_files([good, "-"]) == [good, "-"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "most"), [("a.txt", 100e6), ("a.jsonl", 100e6), ("one-line.txt", 250e6), ("a.parquet", 250e6)]
)
def test_memory_stays_bounded(tmp_path, name, most):
    """200 MB pass in less memory than they take; a 1 GB file was measured at the same 45 MB."""
    if not Path("/proc/self/status").exists():
        pytest.skip("reads the peak memory from /proc")
    path, line = tmp_path / name, "床前明月光，疑是地上霜。" * 20
    if name == "a.parquet":
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        with pq.ParquetWriter(path, pa.schema([("text", pa.string())]), use_dictionary=False) as writer:
            for start in range(0, 270_000, 10_000):
                writer.write_table(pa.table({"text": [f"{start + i} {line}" for i in range(10_000)]}))
    else:
        with path.open("w", encoding="utf-8") as file:
            for _ in range(270_000):
                row = json.dumps({"text": line}, ensure_ascii=False) if name == "a.jsonl" else line
                file.write(row + ("" if name == "one-line.txt" else "\n" if name == "a.jsonl" else "\n\n"))
    code = (
        "import re, sys; from nextword.text.records import read_records\n"
        "count = sum(len(r['text']) for r in read_records(sys.argv[1:]))\n"
        "assert count >= 270_000 * 240\n"
        # getrusage would count the parent's memory too
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < most


def test_in_tsv_a_quotation_mark_is_one_of_the_text_unless_it_encloses_a_field(tmp_path):
    lines = [
        "a\tb",
        '"Look," she said.\t« Regarde »',
        '"Says who?" "Me."\t"x ""y"""',
        '"tab\there"\tb',
        '"two\nlines"\tz',
    ]
    path = write(tmp_path / "a.tsv", "\n".join(lines) + "\n")
    rows = [tuple(record.values()) for record in read_records([path], ReadConfig(text_field=""))]
    assert rows == [
        ('"Look," she said.', "« Regarde »"), ('"Says who?" "Me."', 'x "y"'), ("tab\there", "b"), ("two\nlines", "z"),
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "delimiter"), [("a.tsv", "\t"), ("a.csv", ",")])
def test_a_table_without_names_is_given_them(tmp_path, name, delimiter):
    path = write(tmp_path / name, f"一{delimiter}one\n二{delimiter}two\n")
    records = list(read_records([path], ReadConfig(text_field="zh", columns="zh, en")))
    assert records == [{"zh": "一", "en": "one"}, {"zh": "二", "en": "two"}]
    assert [record.source for record in records] == [f"{path}:1", f"{path}:2"]
    with pytest.raises(DataError, match=r"1: 2 fields, but 1 columns are named \(zh\)"):
        list(read_records([path], ReadConfig(text_field="zh", columns="zh")))
