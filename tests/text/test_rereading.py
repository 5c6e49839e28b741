from __future__ import annotations

import io
import os
import sys
from threading import Thread

import pytest

from nextword.text.rereading import rereadable


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_two_pipes_of_one_name_are_two_files(tmp_path):
    pipes = []
    for text in ("一", "二"):
        (tmp_path / text).mkdir()
        pipes.append(tmp_path / text / "poems.txt")
        os.mkfifo(pipes[-1])
        Thread(target=pipes[-1].write_text, args=[text, "utf-8"], daemon=True).start()
    with rereadable([pipes[:1], pipes[1:]]) as ((first,), (second,)):
        assert [file.name for file in (first, second)] == ["poems.txt", "poems.txt"]
        for _ in range(2):
            assert [file.read_text(encoding="utf-8") for file in (first, second)] == ["一", "二"]
    assert not first.exists()


def test_standard_input_named_twice_is_read_once(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"some words")))
    with rereadable([["-"], ["-"]]) as ((first,), (second,)):
        assert first == second
        assert first.read_text() == "some words"


def test_what_can_be_read_again_stays_as_it_is(tmp_path):
    rows = [{"text": "a"}]
    with rereadable([[tmp_path, rows, iter(rows)]]) as ((folder, same, listed),):
        assert folder == tmp_path
        assert same is rows
        assert listed == rows
