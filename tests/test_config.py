"""A configuration that is wrong says which key, which value, and what was expected; a right one is typed and frozen."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from nextword.config import Config, assign, parse, read_json, read_toml, to_toml
from nextword.errors import UsageError


class Inner(Config):
    """A section within a section."""

    depth: int = Field(default=2, ge=1, le=8)
    """How deep."""


class Recipe(Config):
    """A configuration for the tests."""

    steps: int = Field(default=10, ge=1)
    """Updates of the weights."""
    learning_rate: float = Field(default=0.1, gt=0, lt=1)
    """Peak."""
    weight: float = 1.0
    """Any number."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Shape."""
    shuffle: bool = True
    """Or in order."""
    name: str = "x"
    """Of the run."""
    stop: list[str] = Field(default=[])
    """Strings that end."""
    inner: Inner = Inner()
    """Nested."""

    @model_validator(mode="after")
    def _no_thirteen(self) -> Recipe:
        if self.steps == 13:
            raise ValueError("13 steps bring bad luck; take 12")
        return self


class Needs(Config):
    """Has a key without a default."""

    vocab: int
    """Size."""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": 3}, "train.step: unknown key. Did you mean steps?"),
        ({"steps": "2k"}, "train.steps: expected an integer, got '2k'"),
        ({"steps": "20"}, "train.steps: expected an integer, got '20'"),
        ({"steps": 2.5}, "train.steps: expected an integer, got 2.5"),
        ({"steps": True}, "train.steps: expected an integer, got True"),
        ({"steps": 0}, "train.steps: expected a number of at least 1, got 0"),
        ({"learning_rate": 0}, "train.learning_rate: expected a number greater than 0"),
        ({"learning_rate": 1.0}, "train.learning_rate: expected a number less than 1"),
        ({"learning_rate": "fast"}, "train.learning_rate: expected a number, got 'fast'"),
        (
            {"schedule": "cosin"},
            "train.schedule: expected one of 'constant' or 'cosine', got 'cosin'. Did you mean cosine?",
        ),
        ({"shuffle": 1}, "train.shuffle: expected true or false, got 1"),
        ({"name": 5}, "train.name: expected a string, got 5"),
        ({"stop": "\n"}, "train.stop: expected a list, got '\\n'"),
        ({"inner": {"depth": 9}}, "train.inner.depth: expected a number of at most 8, got 9"),
        ({"steps": 13}, "train: 13 steps bring bad luck; take 12"),
    ],
)
def test_a_wrong_value_is_explained(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(Recipe, values, section="train")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_choices_are_listed_once() -> None:
    with pytest.raises(UsageError) as caught:
        parse(Recipe, {"schedule": 7})
    assert str(caught.value) == "schedule: expected one of 'constant' or 'cosine', got 7"


def test_a_wrong_key_of_a_nested_section_is_looked_up_there() -> None:
    with pytest.raises(UsageError, match=r"inner\.dept: unknown key\. Did you mean depth\?"):
        parse(Recipe, {"inner": {"dept": 2}})


def test_a_section_that_is_no_section_is_explained() -> None:
    with pytest.raises(UsageError) as caught:
        parse(Recipe, {"inner": 5})
    assert "inner: expected" in str(caught.value)
    assert "got 5" in str(caught.value)
    assert "Inner" not in str(caught.value), "the name of a Python class says nothing to a user"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_must_be_finite(value: float) -> None:
    with pytest.raises(UsageError, match=r"weight: expected a .*number, got -?(nan|inf)"):
        parse(Recipe, {"weight": value})


def test_a_required_key_is_asked_for() -> None:
    with pytest.raises(UsageError, match="vocab: required"):
        parse(Needs, {})


def test_what_is_right_is_typed_frozen_and_comes_back() -> None:
    recipe = parse(Recipe, {"steps": 7, "learning_rate": 3e-3, "inner": {"depth": 1}})
    assert (recipe.steps, recipe.learning_rate, recipe.inner.depth, recipe.schedule) == (7, 0.003, 1, "constant")
    assert parse(Recipe, json.loads(recipe.model_dump_json())) == recipe
    with pytest.raises(ValidationError):
        recipe.steps = 8  # type: ignore[misc]


def test_a_whole_number_will_do_for_a_float() -> None:
    class Rate(Config):
        """One number."""

        rate: float
        """Any."""

    assert parse(Rate, {"rate": 1}).rate == 1.0


def test_docstrings_describe_the_fields() -> None:
    assert Recipe.model_fields["steps"].description == "Updates of the weights."


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("train.steps=20", ("train", "steps"), 20),
        ("train.learning_rate=3e-4", ("train", "learning_rate"), 3e-4),
        ("train.shuffle=false", ("train", "shuffle"), False),
        ("model.type=gru", ("model", "type"), "gru"),
        ('data.stop=["。", "\\n"]', ("data", "stop"), ["。", "\n"]),
        ("data.name=唐诗", ("data", "name"), "唐诗"),
        ("data.name=a=b", ("data", "name"), "a=b"),
        ("a.b.c=1", ("a", "b", "c"), 1),
        ("seed = 3", ("seed",), 3),
        ("data.name=", ("data", "name"), ""),
    ],
)
def test_set_reads_toml_and_else_text(text: str, path: tuple[str, ...], value: Any) -> None:
    values: dict[str, Any] = {}
    assign(values, text)
    for key in path:
        values = values[key]
    assert values == value
    assert type(values) is type(value)


class Outer(Config):
    """With a section that may be left out."""

    inner: Inner | None = None
    """Left out, or a table."""


def test_a_section_that_may_be_left_out_is_written_as_a_table_and_read_again() -> None:
    for outer in (Outer(), Outer(inner=Inner(depth=3))):
        text = to_toml({"outer": outer})
        assert parse(Outer, tomllib.loads(text)["outer"]) == outer


def test_its_keys_are_compared_with_its_own() -> None:
    with pytest.raises(UsageError, match=r"outer\.inner\.dept: unknown key\. Did you mean depth"):
        parse(Outer, {"inner": {"dept": 1}}, "outer")


def test_set_keeps_what_is_beside() -> None:
    values = {"train": {"steps": 1, "seed": 2}}
    assign(values, "train.steps=5")
    assert values == {"train": {"steps": 5, "seed": 2}}


@pytest.mark.parametrize("text", ["", "train.steps", "=5", "train.=5", ".steps=5", "a..b=1"])
def test_set_without_key_or_value_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        assign({}, text)


def test_set_below_a_value_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="seed"):
        assign({"seed": 1}, "seed.deeper=5")


@pytest.mark.parametrize("text", ["data.stop=1\nx = 2", "data.stop=1 # note\n[other]\ny=1"])
def test_set_sets_one_value_only(text: str) -> None:
    values: dict[str, Any] = {}
    assign(values, text)
    assert list(values) == ["data"]
    assert list(values["data"]) == ["stop"]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_set_takes_any_text_or_says_why_not(text: str) -> None:
    values: dict[str, Any] = {}
    assign(values, f"data.name={text}")
    assert set(values["data"]) == {"name"}


def test_toml_is_read_and_its_mistakes_are_placed(tmp_path: Path) -> None:
    path = tmp_path / "配方.toml"
    path.write_text('[train]\nname = "唐"\n', encoding="utf-8")
    assert read_toml(path) == {"train": {"name": "唐"}} == tomllib.loads(path.read_text(encoding="utf-8"))
    path.write_text("[train]\nsteps = 2k\n")
    with pytest.raises(UsageError, match=r"配方\.toml: not valid TOML.*line 2"):
        read_toml(path)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"{", b"", b"[" * 100_000, b"\xd5\xc4\xc6\xda"])
def test_json_that_is_none_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(UsageError, match=r"x\.json: not valid JSON"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("data", ["[1]", "null", "3", '"x"'])
def test_json_that_is_no_object_is_named(tmp_path: Path, data: str) -> None:
    (tmp_path / "x.json").write_text(data)
    with pytest.raises(UsageError, match=r"x\.json: expected a JSON object"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("read", [read_toml, read_json])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, read: Any) -> None:
    with pytest.raises(UsageError, match=r"nowhere: No such file"):
        read(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="Is a directory"):
        read(tmp_path)


def test_a_file_windows_wrote_with_a_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('[train]\r\nname = "唐"\r\n', encoding="utf-8-sig")
    assert read_toml(path) == {"train": {"name": "唐"}}
