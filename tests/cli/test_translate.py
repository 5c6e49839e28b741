"""`nextword translate`: as many lines out as in, pairs for the other direction, and mistakes in one line."""

import json
from pathlib import Path

import pytest

from nextword.cli import run

TINY = ["--set", "model.hidden_size=8", "--set", "model.num_layers=1", "--steps", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from English to Chinese that has learnt next to nothing, and one for no task."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "n.en").write_text("one\ntwo\nthree\nfour two\n" * 10, encoding="utf-8")
    (folder / "n.zh").write_text("一\n二\n三\n四二\n" * 10, encoding="utf-8")
    data = [str(folder / "n.en"), str(folder / "n.zh")]
    assert run(["train", *data, "--task", "translation", "--out", str(folder / "run"), *TINY]) == 0
    assert run(["train", data[0], "--out", str(folder / "plain"), *TINY]) == 0
    return folder


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    capsys.readouterr()


def test_a_line_in_is_a_line_out(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("one two.\n\nthree\n", encoding="utf-8")
    assert run(["translate", "run", str(text), "--from", "en", "--to", "zh"]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert len(lines) == 4
    assert (lines[1], lines[3]) == ("", "")
    assert run(["translate", "run", "one two.", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["source"] == "one two."
    assert found["translation"] == lines[0]
    assert len(found["sentences"]) == 1


def test_a_text_in_another_script_is_doubted(capsys):
    assert run(["translate", "run", "四二三一"]) == 0
    assert "most letters are Han, and this run translates from en to zh" in capsys.readouterr().err
    assert run(["translate", "run", "Four, two: 17 三!"]) == 0
    assert "most letters" not in capsys.readouterr().err


def test_what_the_run_does_not_know_is_told_and_what_it_is_not_shown_is_not(capsys):
    assert run(["translate", "run", "<keep>one</keep> two\nfour"]) == 0
    assert "vocabulary" not in capsys.readouterr().err  # of <, k, p, / and >
    assert run(["translate", "run", "one\nXX two\nX"]) == 0
    assert "not in the vocabulary, read as <unk>: 'X' ×3" in capsys.readouterr().err


def test_links_of_words_stand_behind_a_line(monkeypatch, capsys):
    from nextword.applied import translator

    align = translator.align
    monkeypatch.setattr(translator, "align", lambda run, pairs: align(run, [(source, "四二") for source, _ in pairs]))
    assert run(["translate", "run", "four two\n\nAh. Oh one", "--alignment"]) == 0
    first, second, third = (line.split("\t")[1] for line in capsys.readouterr().out.splitlines())
    assert [link.split("-")[1] for link in first.split()] == ["0", "1"]
    assert second == ""
    targets = [link.split("-") for link in third.split()]
    assert [target for _, target in targets] == ["0", "1", "2", "3"]  # of both sentences
    assert {source for source, _ in targets[:2]} == {"0"}
    assert {source for source, _ in targets[2:]} <= {"1", "2"}
    assert run(["translate", "run", "four two", "--alignment", "--json"]) == 0
    ((sentence,),) = (line["sentences"] for line in json.loads(capsys.readouterr().out))
    assert sentence["alignment"]["source"] == ["four", "two"]
    assert [link["target"] for link in sentence["alignment"]["links"]] == [0, 1]


def test_several_translations_come_with_their_scores(capsys):
    assert run(["translate", "run", "one", "--nbest", "3"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["1", "1", "1"]
    assert all(float(row[1]) < 0 for row in rows)


def test_pairs_for_the_other_direction_can_be_trained_on(tmp_path, capsys, monkeypatch):
    from nextword.applied import translator

    monkeypatch.setattr(translator, "faults", lambda source, text, ended: [] if source != "two" else ["bad"])
    pairs = tmp_path / "back.tsv"
    assert run(["translate", "run", "one\ntwo\nthree", "--to-data", str(pairs)]) == 0
    header, *rows = pairs.read_text(encoding="utf-8").splitlines()
    assert header == "zh\ten"
    assert [row.split("\t")[1] for row in rows] == ["one", "three"]
    assert all(row.startswith("<BT> ") for row in rows)
    assert "line 2: the translation bad" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plain", "one"], "plain was trained for no task, not for translation"),
        (["run", "one", "--to", "de"], "this run translates from en to zh, not to de"),
        (["run", "nosuch.txt"], "nosuch.txt: no such file"),
        (["run", "one", "--to-data", "x.csv"], "--to-data x.csv: expected a name that ends in .tsv"),
        (["run", "one", "--to-data", "x.tsv", "--nbest", "2"], "--to-data writes pairs, got --nbest"),
        (["run", "one", "--alignment", "--nbest", "2"], "--alignment is of one translation, got --nbest"),
        (["run", "one", "--nbest", "6", "--num-beams", "5"], "6 translations of 5 beams"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    assert run(["translate", *arguments]) == 2
    assert message in capsys.readouterr().err
