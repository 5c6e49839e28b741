"""An error is one line with the value, what was expected and the remedy; its kind decides the exit code."""

from __future__ import annotations

import pickle

import pytest

from nextword import errors
from nextword.errors import DataError, MissingExtra, NextwordError, UsageError, did_you_mean

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, NextwordError)]


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_usage_exits_with_2_and_all_else_with_1(kind: type[NextwordError]) -> None:
    assert kind.exit_code == (2 if issubclass(kind, UsageError) else 1)
    assert len(KINDS) >= 6


@pytest.mark.parametrize("message", ["x is missing", "x is missing."])
def test_message_and_hint_are_two_sentences(message: str) -> None:
    assert str(DataError(message, hint="Make one.")) == "x is missing. Make one."
    assert str(DataError(message)) == message


def test_a_missing_library_says_what_for_and_how_to_get_it() -> None:
    text = str(MissingExtra("pyarrow", "parquet", "reading data.parquet"))
    assert "reading data.parquet" in text
    assert "pyarrow" in text
    assert 'pip install "nextword[parquet]"' in text


@pytest.mark.parametrize("wrong", ["hiden_size", "hidden_sizes", "hidden-size"])
def test_the_nearest_name_is_offered(wrong: str) -> None:
    assert did_you_mean(wrong, ["num_layers", "hidden_size"]) == "Did you mean hidden_size?"


def test_without_a_near_one_all_are_named() -> None:
    assert did_you_mean("zzz", iter(["gru", "lstm"])) == "Known: gru, lstm"


@pytest.mark.parametrize("error", [DataError("what", "hint"), MissingExtra("a", "b", "c")])
def test_an_error_survives_the_way_between_processes(error: NextwordError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))
