"""A file is whole or not there, and what was there before stays until then."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from nextword.files import discard_folder, replacing, replacing_folder, sha256, sweep, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=[True, False], ids=["there was an older one", "there was none"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "模型.bin"
    if request.param:
        path.write_text("old")
    return path


def test_it_is_the_old_file_until_the_block_ends(target: Path) -> None:
    before = target.read_text() if target.exists() else None
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert (target.read_text() if target.exists() else None) == before
    assert target.read_text() == "new"
    assert names(target.parent) == [target.name]


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_a_failure_leaves_everything_as_it_was(target: Path, error: BaseException) -> None:
    before = {path.name: path.read_text() for path in target.parent.iterdir()}

    def write() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert {path.name: path.read_text() for path in target.parent.iterdir()} == before


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.write_text"])
def test_a_full_disk_leaves_everything_as_it_was(target: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_text() for path in target.parent.iterdir()}

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(call, full)
        with pytest.raises(OSError, match="No space left"):
            write_text(target, "new")
    assert {path.name: path.read_text() for path in target.parent.iterdir()} == before


def test_text_that_cannot_be_encoded_leaves_everything_as_it_was(target: Path) -> None:
    before = names(target.parent)
    with pytest.raises(UnicodeEncodeError):
        write_text(target, "half a pair: \ud800")
    assert names(target.parent) == before


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "x")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "x")
    with replacing_folder(tmp_path / "folder"):
        pass
    assert os.stat(tmp_path / "file").st_mode & 0o777 == 0o644
    assert os.stat(tmp_path / "folder").st_mode & 0o777 == 0o755


@pytest.mark.parametrize("older", [True, False])
def test_a_folder_is_replaced_whole(tmp_path: Path, older: bool) -> None:
    target = tmp_path / "run"
    if older:
        target.mkdir()
        (target / "stale").write_text("old")
    with replacing_folder(target) as temporary:
        (temporary / "fresh").write_text("new")
        assert target.exists() == older
    assert names(target) == ["fresh"]
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("older", [True, False])
def test_a_folder_that_fails_leaves_the_older_one(tmp_path: Path, older: bool) -> None:
    target = tmp_path / "run"
    if older:
        target.mkdir()
        (target / "kept").write_text("old")

    def write() -> None:
        with replacing_folder(target) as temporary:
            (temporary / "half").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert names(tmp_path) == (["run"] if older else [])
    if older:
        assert (target / "kept").read_text() == "old"


def test_a_folder_that_cannot_be_put_in_place_leaves_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last rename fails, after the older folder was moved aside."""
    target = tmp_path / "run"
    target.mkdir()
    (target / "kept").write_text("old")
    rename = Path.replace

    def fail(self: Path, goal: Path) -> Path:
        if goal == target and (self / "fresh").exists():
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, goal)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="Input/output"), replacing_folder(target) as temporary:
        (temporary / "fresh").write_text("new")
    assert (target / "kept").read_text() == "old"
    assert names(tmp_path) == ["run"]


def test_json_is_readable_and_comes_back(tmp_path: Path) -> None:
    values = {"题": "静夜思", "list": [1, 2.5, None, True]}
    write_json(tmp_path / "x.json", values)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert "静夜思" in text
    assert text.endswith("}\n")
    assert json.loads(text) == values


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", [1])
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"set": {1}})
    assert json.loads((tmp_path / "x.json").read_text()) == [1]
    assert names(tmp_path) == ["x.json"]


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    data = os.urandom(100_000)
    (tmp_path / "x").write_bytes(data)
    assert sha256(tmp_path / "x") == hashlib.sha256(data).hexdigest()


def test_content_is_flushed_before_it_gets_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut in between leaves the old file or the new one, never an empty one (ext4, XFS)."""
    calls: list[tuple[str, int]] = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append(("flush", os.fstat(handle).st_ino)), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append(("rename", os.stat(a).st_ino)), rename(a, b)))
    write_text(tmp_path / "file", "x")
    file, parent = (tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino
    assert calls == [("flush", file), ("rename", file), ("flush", parent)]
    calls.clear()
    with replacing_folder(tmp_path / "folder") as folder:
        (folder / "inside").mkdir()
        (folder / "inside" / "file").write_text("x")
    whole, inside = (tmp_path / "folder").stat().st_ino, (tmp_path / "folder/inside").stat().st_ino
    file = (tmp_path / "folder/inside/file").stat().st_ino
    assert sorted(calls[:3]) == sorted([("flush", whole), ("flush", inside), ("flush", file)])
    assert calls[3:] == [("rename", whole), ("flush", parent)]


def test_a_file_system_that_flushes_no_folders_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def refuse(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    write_text(tmp_path / "file", "x")
    assert (tmp_path / "file").read_text() == "x"


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    process = os.fork()
    if process == 0:
        with replacing(tmp_path / "file") as file, replacing_folder(tmp_path / "folder") as folder:
            file.write_text("half")
            (folder / "half").write_text("half")
            os._exit(0)
    os.waitpid(process, 0)
    (tmp_path / ".hidden").write_text("mine")
    (tmp_path / "notes.tmp").write_text("mine")
    assert len(names(tmp_path)) == 4
    sweep(tmp_path)
    assert names(tmp_path) == [".hidden", "notes.tmp"]


def test_a_folder_is_gone_from_its_name_before_it_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("x")

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            discard_folder(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    sweep(tmp_path)
    assert names(tmp_path) == []
