"""The strict reader of safetensors and of JSON."""

from __future__ import annotations

import json
import os
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file

from nextword import strict_json
from nextword.errors import RunError
from nextword.interop.tensors import member, read_sharded
from nextword.tensor_files import DTYPES, read_safetensors

FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
SHAPES = st.lists(st.integers(0, 3), max_size=3)


def some(dtype: str, shape: list[int]) -> torch.Tensor:
    numbers = torch.arange(torch.Size(shape).numel()).view(shape)
    return (numbers % 2 if dtype == "bool" else numbers).to(getattr(torch, dtype))


@FOLDER
@given(st.dictionaries(st.text(max_size=9), st.tuples(st.sampled_from(sorted(DTYPES)), SHAPES), max_size=5))
def test_what_the_library_writes_is_read_bit_for_bit(tmp_path, parts):
    parts.pop("__metadata__", None)
    tensors = {name: some(DTYPES[code][0], shape) for name, (code, shape) in parts.items()}
    save_file(tensors, tmp_path / "a", {"of": "月"})
    found = read_safetensors(tmp_path / "a")
    assert found.metadata == {"of": "月"}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found.entries[name].shape == tensor.shape
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@FOLDER
@given(st.data())
def test_what_we_accept_the_library_accepts(tmp_path, data):
    """Differential: a good file with a few bytes changed, taken away or put in."""
    save_file({"a": torch.arange(6.0).view(2, 3), "b": torch.arange(4)}, tmp_path / "good", {"x": "y"})
    content = bytearray((tmp_path / "good").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    (tmp_path / "a").write_bytes(content)
    try:
        ours = dict(read_safetensors(tmp_path / "a"))
    except RunError:
        return
    theirs = load(bytes(content))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name].nan_to_num(), theirs[name].nan_to_num()) for name in ours)


def test_the_library_accepts_more(tmp_path):
    """Where the text of the format is stricter than the library: the tests above are not vacuous."""
    data = struct.pack("<Q", 6) + b"\t\n{}\r "
    (tmp_path / "a").write_bytes(data)
    assert load(data) == {}
    with pytest.raises(RunError, match="does not begin with"):
        read_safetensors(tmp_path / "a")


def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path):
    save_file({"a": torch.zeros(100_000)}, tmp_path / "a")
    found = read_safetensors(tmp_path / "a")
    os.truncate(tmp_path / "a", 200)
    with pytest.raises(RunError, match="became shorter"):
        found["a"]


def test_truth_values_are_zero_and_one(tmp_path):
    save_file({"a": torch.tensor([True, False])}, tmp_path / "a")
    content = bytearray((tmp_path / "a").read_bytes())
    content[-1] = 7
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(RunError, match="tensor 'a' of truth values holds 7"):
        read_safetensors(tmp_path / "a")["a"]


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing"])
def test_what_is_no_file(tmp_path, kind):
    path = tmp_path / "a"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("pipes with names are of Unix")
        os.mkfifo(path)
    with pytest.raises(RunError, match="is missing" if kind == "missing" else "is not a file"):
        read_safetensors(path)


def test_shards_are_one_mapping(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "1.safetensors")
    save_file({"b": torch.zeros(2), "unlisted": torch.zeros(1)}, tmp_path / "2.safetensors")
    places = {"a": "1.safetensors", "b": "2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    found = read_sharded(tmp_path)
    assert sorted(found) == ["a", "b"]
    assert "unlisted" not in found
    assert found["a"].sum() == 2
    (tmp_path / "2.safetensors").unlink()
    with pytest.raises(RunError, match=r"2\.safetensors is missing"):
        read_sharded(tmp_path)


def test_one_file_is_read_before_an_index(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text("nonsense")
    assert list(read_sharded(tmp_path)) == ["a"]


def test_a_link_inside_the_folder_is_fine(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "real")
    (tmp_path / "model.safetensors").symlink_to("real")
    assert list(read_sharded(tmp_path)) == ["a"]


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\\b", "a\0b", "C:a", "/a", "x" * 300, "a\nb"])
def test_names_that_are_not_plain(tmp_path, name):
    with pytest.raises(RunError, match="not the plain name"):
        member(tmp_path, name)


def test_links_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(RunError):
        member(tmp_path, "a")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)  # no halves of characters
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
)


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_good_json_is_read_as_json_reads_it(value, escaped, indent):
    text = json.dumps(value, ensure_ascii=escaped, indent=indent)
    data = text.encode()
    assert strict_json.loads(data) == json.loads(text)


@pytest.mark.parametrize("depth", [63, 64, 65])
def test_depth_is_counted_outside_of_strings(depth):
    text = "[" * depth + r'"\"[[[[\\"' + ', "]]{{"' + "]" * depth
    if depth <= 64:
        assert strict_json.loads(text.encode())
    else:
        with pytest.raises(ValueError, match="nested deeper than 64"):
            strict_json.loads(text.encode())


def test_errors_of_the_library_are_of_its_own_kind():
    """What `test_what_we_accept_the_library_accepts` would let through if it were ours."""
    with pytest.raises(SafetensorError):
        load(b"")


def test_a_run_is_read_back_by_the_library(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "a")
    assert torch.equal(load_file(tmp_path / "a")["a"], read_safetensors(tmp_path / "a")["a"])


@pytest.mark.parametrize("digits", [31, 40, 41])
def test_long_integers(digits):
    """transformers writes model_max_length as 10^30."""
    text = b'{"model_max_length": ' + b"1" + b"0" * (digits - 1) + b"}"
    if digits <= 40:
        assert strict_json.loads(text) == {"model_max_length": 10 ** (digits - 1)}
    else:
        with pytest.raises(ValueError, match="an integer of 41 digits"):
            strict_json.loads(text)
