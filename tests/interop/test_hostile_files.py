"""Files made to do harm: each ends in our error, in a process with 1 GB of address space and 5 seconds.

The cases are those of hostile_cases.json that concern files of models. Its chat templates, fields of config.json,
tokenizer.json files and requests to a server are tested where those are read.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import gguf_files
import pytest

HERE = Path(__file__).parent
CASES = json.loads((HERE / "hostile_cases.json").read_text(encoding="utf-8"))

if not hasattr(os, "fork"):
    pytest.skip("limits on a process are of Unix", allow_module_level=True)


class Payload:
    """What a pickle would run."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Payload()))
    return file.getvalue()


def legacy(numbers: tuple[int, ...], data: bytes = b"") -> bytes:
    return struct.pack("<7i", *numbers) + data


GOOD = safetensors({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, b"\0")
MAP = "model.safetensors.index.json"
ALL: dict[str, tuple[str, dict[str, bytes], str]] = {}
"""Case -> its reader, its files, and a pattern of the error; "" where the file is good."""

for case in CASES["safetensors"]:
    good = case["expect"] == "accept"  # of a header that begins with white space, the text of the format decides
    ALL[f"safetensors: {case['name']}"] = (
        "safetensors",
        {"model.safetensors": bytes.fromhex(case["hex"])},
        "" if good else "is damaged",
    )
for name, data in {**gguf_files.REJECT, **gguf_files.EXTRA, **gguf_files.OURS}.items():
    ALL[f"gguf: {name}"] = ("container", {"model.gguf": data}, "is damaged")
    ALL[f"gguf model: {name}"] = ("gguf", {"model.gguf": data}, "is damaged")
for name, data in gguf_files.ACCEPT.items():
    ALL[f"gguf: {name}"] = ("container", {"model.gguf": data}, "")
    ALL[f"gguf model: {name}"] = ("gguf", {"model.gguf": data}, "architecture")
for value in CASES["shard_index"]["weight_map_values"]:
    files = {MAP: json.dumps({"weight_map": {"a": value}}).encode()}
    if "symlink" in value:
        files = {"model.safetensors": b"-> ../outside.safetensors"}
    ALL[f"shards: {value}"] = ("folder", files, "plain name" if "symlink" not in value else "leads out of its folder")
ALL["shards: missing"] = ("folder", {MAP: b'{"weight_map": {"a": "b.safetensors"}}'}, r"b\.safetensors is missing")
ALL["shards: linked"] = (
    "folder",
    {MAP: b'{"weight_map": {"a": "b.safetensors"}}', "b.safetensors": b"-> ../outside.safetensors"},
    "leads out of its folder",
)
ALL["shards: not in its shard"] = (
    "folder",
    {MAP: b'{"weight_map": {"b": "b.safetensors"}}', "b.safetensors": GOOD},
    "does not have it",
)
ALL["shards: good"] = ("folder", {MAP: b'{"weight_map": {"a": "b.safetensors"}}', "b.safetensors": GOOD}, "")
for name, data in {
    "nested": b"[" * 100_000,
    "nested and closed": b"[" * 100_000 + b"]" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "an integer of 10^6 digits": b'{"a": ' + b"9" * 10**6 + b"}",
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "1e999": b'{"a": 1e999}',
    "a lone surrogate": b'{"a": "\\ud800"}',
    "a key twice": b'{"a": 1, "a": 2}',
    "not UTF-8": b'{"a": "\xff"}',
    "empty": b"",
    "a number": b"1",
}.items():
    ALL[f"json: {name}"] = ("config", {"config.json": data}, "is damaged" if name != "a number" else "")
for name, data in {
    "pickle": pickle.dumps(Payload()),
    "zip": zipped(),
    "legacy tar": b"archive.tar\0" * 60 + pickle.dumps(Payload()),
}.items():
    for file in ("pytorch_model.bin", "model.pt", "rng_state.pth", "optimizer.pt"):
        ALL[f"{name} as {file}"] = ("folder", {file: data}, "no weights.*never read")
    ALL[f"{name} as safetensors"] = ("folder", {"model.safetensors": data}, "is damaged")
    ALL[f"{name} as gguf"] = ("gguf", {"model.gguf": data}, "is damaged")
    ALL[f"{name} as llama2.c"] = ("llama2c", {"model.bin": data.ljust(300), "tokenizer.bin": data}, "is damaged")
for name, data in {
    "safetensors: a header of 3 million lists": safetensors(b'{"a": [' + b"[]," * 3_000_000 + b"[]]}"),
    "safetensors: 3 million tensors": safetensors(b"{" + b",".join(b'"%d":{}' % i for i in range(3_000_000)) + b"}"),
    "safetensors: a key twice": safetensors(b'{"a": {}, "a": {}}'),
    "safetensors: an impossible shape of no bytes": safetensors(
        {"a": {"dtype": "U8", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}}
    ),
    "safetensors: a shape of truth values": safetensors(
        {"a": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}}, b"\0"
    ),
    "safetensors: a negative size": safetensors({"a": {"dtype": "U8", "shape": [-1], "data_offsets": [0, -1]}}),
}.items():
    ALL[name] = ("safetensors", {"model.safetensors": data}, "is damaged")
for name, numbers in {
    "sizes of 2^31": (2**31 - 1,) * 7,
    "negative sizes": (-64, 172, 5, 8, 4, 512, 512),
    "no heads": (64, 172, 5, 0, 4, 512, 512),
    "a billion layers": (64, 172, 10**9, 8, 4, 512, 512),
    "heads that do not fit": (64, 172, 5, 7, 4, 512, 512),
    "cut": (64, 172, 5, 8, 4, 512, 512),
}.items():
    ALL[f"llama2.c: {name}"] = (
        "llama2c",
        {"model.bin": legacy(numbers, bytes(300)), "tokenizer.bin": b""},
        "is damaged",
    )
ALL["llama2.c: version 9"] = (
    "llama2c",
    {"model.bin": struct.pack("<Ii", 0x616B3432, 9).ljust(256, b"\0"), "tokenizer.bin": b""},
    "version 9",
)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What became of every case."""
    folder = tmp_path_factory.mktemp("hostile")
    cases = folder / "cases"
    (folder / "outside.safetensors").write_bytes(GOOD)
    for i, (reader, files, _) in enumerate(ALL.values()):
        (case := cases / f"{i:04}").mkdir(parents=True)
        (case / "reader").write_text(reader)
        for name, data in files.items():
            if data.startswith(b"-> "):
                (case / name).symlink_to(Path("..") / data.removeprefix(b"-> ").decode())
            else:
                (case / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, HERE / "hostile_runner.py", cases],
        capture_output=True,
        text=True,
        cwd=HERE.parents[1],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(ALL, lines, strict=True))


def test_no_case_of_the_list_is_left_out():
    assert {case["name"] for case in CASES["gguf"]["reject"]} == gguf_files.REJECT.keys()
    assert set(CASES["gguf"]["accept"]) == gguf_files.ACCEPT.keys()
    assert {case["detail"] for case in CASES["gguf"]["extra"]} == gguf_files.EXTRA.keys()


@pytest.mark.parametrize("name", ALL)
def test_a_hostile_file_ends_in_our_error(name, outcomes):
    import re

    _, files, pattern = ALL[name]
    outcome = outcomes[name]
    assert outcome["code"] == (1 if pattern else 0), outcome
    assert re.search(pattern, outcome["message"]), outcome
    assert "\n" not in outcome["message"]
    assert outcome["created"] == []
    assert outcome["seconds"] < 5
    inside = {Path(path).name for path in outcome["opened"] if "hostile" in path}
    assert inside <= files.keys(), "nothing but the files of the case is opened"
    assert not any(path.startswith("/etc") for path in outcome["opened"])


@pytest.mark.parametrize("name", [name for name in ALL if name.startswith("shards: ") and "good" not in name])
def test_the_names_of_shards_are_checked_before_any_is_opened(name, outcomes):
    opened = [path for path in outcomes[name]["opened"] if path.endswith(".safetensors")]
    assert opened == [] or name == "shards: not in its shard"
