"""Cards: where the characters stand, and the files."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from nextword.cli import run
from nextword.errors import UsageError
from nextword.verse.card import Card
from nextword.verse.card_file import picture, poem_card, save_card, with_tones

POEM = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。\n"
SVG = "{http://www.w3.org/2000/svg}"


def placed(drawn: str) -> dict[str, tuple[float, float]]:
    """Where each text stands."""
    return {
        node.text or "": (float(node.attrib["x"]), float(node.attrib["y"]))
        for node in ET.fromstring(drawn).iter(f"{SVG}text")
    }


def test_chinese_stands_in_columns_from_right_to_left() -> None:
    at = placed(picture(poem_card(POEM, "登鹳雀楼", "王之涣")))
    assert at["登"][0] > at["白"][0] > at["黄"][0] > at["欲"][0] > at["更"][0] > at["印"][0]
    assert at["白"][0] == at["尽"][0]
    assert at["白"][1] < at["日"][1] < at["尽"][1]
    assert at["白"][1] == at["黄"][1]


def test_english_stands_in_lines_and_keeps_its_indents_and_stanzas() -> None:
    drawn = picture(poem_card("One & two <three>\n  four\n\nfive", "Numbers", "A. Poet"))
    at = placed(drawn)
    assert at["One & two <three>"][1] < at["four"][1] < at["five"][1]
    assert at["five"][1] - at["four"][1] > at["four"][1] - at["One & two <three>"][1]
    assert at["One & two <three>"][0] == at["five"][0] < at["four"][0]
    size = ET.fromstring(drawn).attrib
    assert all(0 < x < float(size["width"]) and 0 < y < float(size["height"]) for x, y in at.values())


def test_a_card_is_xml_whatever_the_poem() -> None:
    assert "ab" in placed(picture(poem_card("a\x00b\x1b", 'T"<\x07', "A&\ud800B")))


def test_tones_are_marked_by_the_reading_that_fits() -> None:
    card = with_tones(poem_card(POEM))
    assert card.marks == ("仄仄平平仄", "平平仄仄平", "仄平平仄仄", "中仄仄平平")
    assert picture(card).count("<circle") == 20
    assert "<circle" not in picture(poem_card(POEM))
    with pytest.raises(UsageError, match="Chinese"):
        with_tones(poem_card("one\ntwo"))


@pytest.mark.parametrize(
    ("author", "seal", "shown"), [("李白", None, "李白"), ("李清照", None, "李清照印"), ("李白", "", "")]
)
def test_the_seal_is_that_of_the_author_unless_told(author: str, seal: str | None, shown: str) -> None:
    red = re.findall(r'font-weight="600">(.)</text></g>', picture(poem_card(POEM, "", author, seal)))
    assert "".join(red) == shown


def test_a_seal_has_room_for_four() -> None:
    with pytest.raises(UsageError, match="four"):
        picture(Card((("白日",),), seal="一二三四五"))


def test_the_command_writes_each_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("resvg_py")
    file = tmp_path / "poem.txt"
    file.write_text("Tyger Tyger, burning bright,\nIn the forests of the night;", encoding="utf-8")
    for name, beginning in {"a.svg": b"<svg", "b.html": b"<!doctype html>"}.items():
        assert run(["poem", "card", str(file), "--out", str(tmp_path / name), "--title", "The Tyger"]) == 0
        assert (tmp_path / name).read_bytes().startswith(beginning)
    assert run(["poem", "card", str(file), "--out", str(tmp_path / "c.gif")]) == 2
    file.write_text("海内存知己，天涯若比邻", encoding="utf-8")
    couplet = tmp_path / "couplet.svg"
    assert run(["poem", "card", str(file), "--out", str(couplet), "--tones", "--form", "对联"]) == 0
    assert couplet.exists()
    assert ".png" in capsys.readouterr().err


def test_png_needs_its_library_and_a_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resvg = pytest.importorskip("resvg_py")
    monkeypatch.setattr(resvg, "svg_to_bytes", lambda svg_string, zoom=1: b"\x89PNG" + svg_string.encode()[:0])
    with pytest.raises(Exception, match="no font on this computer has 黄"):
        save_card(poem_card("黄"), tmp_path / "a.png")
    monkeypatch.setattr(resvg, "svg_to_bytes", lambda svg_string, zoom=1: b"\x89PNG" + svg_string.encode())
    save_card(poem_card("黄"), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(Exception, match=r"nextword\[card\]"):
        save_card(poem_card("黄"), tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()
