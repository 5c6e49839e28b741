"""Files that are whole or not there: atomic writes that outlive a power cut, and hashes that name content.

What is being written has a name `.NAME.RANDOM.tmp` beside its place. It is flushed to the disk, renamed, and the rename
is flushed too. A process that is killed leaves such names behind; `sweep` removes them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

TEMPORARY = ".tmp"  # ends the name of what is being written or deleted; a dot begins it


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path; renamed to `path` when the block ends well, removed when it does not.

    >>> with replacing(Path("model.bin")) as temporary:      # doctest: +SKIP
    ...     temporary.write_bytes(data)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = _hidden(path)  # a folder, because a library may write beside the path it is given
    temporary = folder / path.name
    try:
        yield temporary
        temporary.chmod(0o644)  # after: a library may have put a private file of its own in this place
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As `replacing`, for a whole folder: an older `path` gives way only when the new one is complete.

    Killed between the two renames of that, it leaves the older and the newer one under temporary names.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _hidden(path)
    temporary.chmod(0o755)
    try:
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                _flush(Path(folder, name))
            _flush(Path(folder))
        if path.exists():
            old = _hidden(path)
            path.replace(old)
            try:
                temporary.replace(path)
            except BaseException:
                old.replace(path)
                raise
            _flush(path.parent)
            _delete(old)
        else:
            temporary.replace(path)
            _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def discard_folder(path: Path) -> None:
    """Delete a folder: at no time is a part of it there under its name. A failure is a warning, not an error."""
    hidden = path.with_name(f".{path.name}.old{TEMPORARY}")  # no new folder: a full disk may have no room for one
    try:
        path.replace(hidden)
    except OSError as error:
        logger.warning("%s cannot be deleted: %s", path, error.strerror or error)
        return
    _delete(hidden)


def sweep(folder: Path) -> None:
    """Remove what a killed process left in `folder` under temporary names."""
    for path in folder.glob(f".*{TEMPORARY}"):
        _delete(path)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Any) -> None:
    """Write JSON atomically: indented, Chinese left readable, a newline at the end."""
    write_text(path, json.dumps(values, ensure_ascii=False, indent=2) + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hidden(path: Path) -> Path:
    """A new, empty folder beside `path`, under a temporary name."""
    return Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY))


def _flush(path: Path) -> None:
    """Have the content of a file, or the names in a folder, outlive a power cut."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems flush no folders
            raise
    finally:
        os.close(handle)


def _delete(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        logger.warning("%s cannot be deleted: %s", path, error.strerror or error)
