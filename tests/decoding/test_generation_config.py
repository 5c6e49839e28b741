import json
import subprocess
import sys

import pytest

from nextword.config import parse
from nextword.decoding.config import GenerationConfig
from nextword.errors import UsageError


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("temperature", -0.1, "at least 0"),
        ("temperature", float("nan"), "temperature"),
        ("top_k", -1, "at least 0"),
        ("top_k", 1.5, "integer"),
        ("top_p", 1.01, "at most 1"),
        ("top_p", -0.5, "at least 0"),
        ("min_p", 2, "at most 1"),
        ("repetition_penalty", 0, "greater than 0"),
        ("max_tokens", 0, "at least 1"),
        ("num_samples", 0, "at least 1"),
        ("seed", -1, "at least 0"),
        ("stop", [""], "at least one character"),
        ("stop", "a", "list"),
    ],
)
def test_out_of_range_names_key_value_and_range(key: str, value: object, expected: str) -> None:
    with pytest.raises(UsageError, match=key) as error:
        parse(GenerationConfig, {key: value})
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_misspelt_setting_is_corrected() -> None:
    with pytest.raises(UsageError, match="Did you mean temperature"):
        parse(GenerationConfig, {"temprature": 1.0})


def test_json_round_trip() -> None:
    config = GenerationConfig(temperature=0, stop=("。", "\n"), seed=2**63 - 1)
    assert parse(GenerationConfig, json.loads(config.model_dump_json())) == config


def test_imports_no_torch() -> None:
    code = "import sys, nextword.decoding.config; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
