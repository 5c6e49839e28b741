"""The embedded texts are whole, clean and licensed."""

from __future__ import annotations

import gzip
import re
import runpy
from importlib.resources import files
from pathlib import Path

import pytest

from nextword import corpora
from nextword.errors import UsageError

PAIRS = {"tatoeba-en-fr": {"en", "fr", "attribution"}, "python-docs": {"name", "document", "summary"}}
TABLES = [*PAIRS, "chatterbot"]


@pytest.mark.parametrize("name", corpora.names())
def test_documents_are_clean(name: str) -> None:
    documents = corpora.load(name)
    assert len(documents) > 2000
    for document in documents:
        assert document
        assert document == document.strip()
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\ufeff\ufffd\u200b□]|\n\n|  ", document)


def test_moby_dick_begins_and_ends_as_it_should() -> None:
    documents = corpora.load("moby-dick")
    assert documents[0].startswith("CHAPTER 1. Loomings.\nCall me Ishmael. Some years ago")
    assert documents[-1].endswith("as it rolled five thousand years ago.")
    assert sum(document.startswith("CHAPTER ") for document in documents) == 135


def test_prose_is_unwrapped_and_verse_is_not() -> None:
    documents = corpora.load("moby-dick")
    assert not any("\n" in d for d in documents if "harpoon was darted" in d)
    assert any("in the whale,\nArched over me a dismal gloom,\n" in d for d in documents)


def test_a_tang_poem_is_two_couplets() -> None:
    couplet = r"([\u4e00-\u9fff]{%d})，([\u4e00-\u9fff]{%d})。"
    poem = "|".join(rf"{couplet}\n{couplet}" % (n, n, n, n) for n in (5, 7))
    documents = corpora.load("tang")
    assert [d for d in documents if not re.fullmatch(poem, d)] == []
    assert len(set(documents)) == len(documents)


def test_poems_say_whose_they_are() -> None:
    poems = corpora.poems()
    assert len(poems) == len(corpora.load("tang"))
    assert {poem["form"] for poem in poems} == {"wujue", "qijue"}
    assert all(poem["author"] and poem["title"] for poem in poems)
    li_bai = [poem for poem in poems if poem["author"] == "李白" and "蜀道" not in poem["title"]]
    assert any(poem["lines"][0] == "朝辞白帝彩云间" for poem in li_bai)


def test_a_typing_mistake_gets_an_answer() -> None:
    with pytest.raises(UsageError, match=r"'mobydick'.*Did you mean moby-dick"):
        corpora.load("mobydick")


def test_every_file_has_a_licence_and_all_are_small() -> None:
    folder = files(corpora)
    licences = folder.joinpath("LICENSES").read_text(encoding="utf-8")
    shipped = [f for f in folder.iterdir() if f.name.endswith(".gz")]
    assert len(shipped) == len(corpora.names()) + len(TABLES)
    assert all(f.name in licences for f in shipped)
    assert sum(len(f.read_bytes()) for f in shipped) < 3_500_000


@pytest.mark.parametrize("name", PAIRS)
def test_the_rows_of_a_table_are_whole(name: str) -> None:
    rows = corpora.rows(name)
    assert len(rows) > 1000
    assert all(row.keys() == PAIRS[name] and all(map(str.strip, row.values())) for row in rows)


def test_each_pair_says_whose_it_is() -> None:
    assert all(re.match(r"#\d+ \(.+\) & #\d+ \(.+\)$", row["attribution"]) for row in corpora.rows("tatoeba-en-fr"))


def test_conversations_are_whole_and_none_comes_twice() -> None:
    found = [tuple(row["turns"]) for row in corpora.rows("chatterbot")]
    assert len(set(found)) == len(found) > 350
    assert all(len(turns) >= 2 and turn and turn == " ".join(turn.split()) for turns in found for turn in turns)
    assert {len(turns) for turns in found} >= {2, 3, 4}
    assert ("Are you jealous", "I'm multithreaded. How could I get jealous?") in found  # one of several answers


@pytest.mark.parametrize("name", [*corpora.names(), *TABLES])
def test_the_short_licence_is_the_long_one(name: str) -> None:
    licences = " ".join(files(corpora).joinpath("LICENSES").read_text(encoding="utf-8").split())
    section = licences.split(f"{name}.", 1)[1].split("Changes:", 1)[0]
    assert corpora.TITLES[name]
    assert all(part in section for part in corpora.LICENCES[name].split("; "))


def test_the_script_makes_what_is_shipped(tmp_path: Path) -> None:
    data = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    sources = [
        *(data / "lm/moby_dick/moby_dick.txt", data / "poetry/tang/train.jsonl"),
        *(data / "translation/tatoeba/en-fr/train.tsv", data / "summarization/pydoc_train.jsonl"),
        data / "dialogue/chatterbot/en.jsonl",
    ]
    if not all(source.exists() for source in sources):
        pytest.skip("the sources of the embedded texts are not here")
    script = Path(__file__).resolve().parents[2] / "scripts" / "build_corpora.py"
    runpy.run_path(str(script))["main"](*sources, tmp_path)
    assert len(list(tmp_path.iterdir())) == len(corpora.names()) + len(TABLES)
    for made in tmp_path.iterdir():
        shipped = files(corpora).joinpath(made.name).read_bytes()
        assert gzip.decompress(made.read_bytes()) == gzip.decompress(shipped)
