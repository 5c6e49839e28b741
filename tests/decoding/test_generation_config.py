import json
import subprocess
import sys

import pytest

from nextword.config import parse
from nextword.decoding.config import SAMPLING, GenerationConfig
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
        ("repetition_penalty", 0, "at least 0.01"),
        ("repetition_penalty", 1e300, "at most 100"),
        ("temperature", 1e300, "at most 1000000"),
        ("dynamic_exponent", 0, "greater than 0"),
        ("top_k", 10**400, "at most 2147483648"),
        ("typical_p", 0, "greater than 0"),
        ("epsilon_cutoff", 1, "less than 1"),
        ("eta_cutoff", 1.5, "less than 1"),
        ("top_n_sigma", -1, "at least 0"),
        ("top_h", 0, "greater than 0"),
        ("xtc_probability", 1.1, "at most 1"),
        ("frequency_penalty", 2.5, "at most 2"),
        ("presence_penalty", -2.5, "at least -2"),
        ("dry_base", 0.5, "at least 1"),
        ("dry_allowed_length", 0, "at least 1"),
        ("dry_breakers", ["\n", ""], "at least one character"),
        ("banned_words", [""], "at least one character"),
        ("logit_bias", {"42": float("inf")}, "logit_bias.42"),
        ("logit_bias", {"42": "much"}, "a number"),
        ("guidance_scale", -1, "at least 0"),
        ("num_beams", 0, "at least 1"),
        ("length_penalty", 11, "at most 10"),
        ("early_stopping", "first", "'never'"),
        ("contrastive_alpha", 1.5, "at most 1"),
        ("speculate", 65, "at most 64"),
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


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"min_tokens": 9, "max_tokens": 8}, "min_tokens 9 is more than max_tokens 8"),
        ({"dynamic_temperature": 0.6, "temperature": 0.5}, "dynamic_temperature 0.6 would reach below 0"),
        ({"num_beams": 4, "best_of": 3}, "num_beams and best_of are different searches"),
        ({"num_beams": 4, "num_samples": 5}, "num_samples 5 is more than num_beams 4"),
        ({"mbr": 4, "num_samples": 5}, "num_samples 5 is more than mbr 4"),
        ({"num_beams": 4, "num_beam_groups": 3}, "num_beams 4 is not a multiple of num_beam_groups 3"),
        ({"contrastive_alpha": 0.5, "num_samples": 2}, "contrastive search finds one text"),
        ({"regex": "a+", "json_schema": {}}, "regex and json_schema: give one of them"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_settings_that_do_not_go_together(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(UsageError, match=expected) as error:
        parse(GenerationConfig, settings)
    assert "\n" not in str(error.value)


def test_settings_about_drawing_are_settings() -> None:
    assert set(SAMPLING) <= set(GenerationConfig.model_fields)


def test_a_misspelt_setting_is_corrected() -> None:
    with pytest.raises(UsageError, match="Did you mean temperature"):
        parse(GenerationConfig, {"temprature": 1.0})


def test_json_round_trip() -> None:
    config = GenerationConfig(
        temperature=0, stop=("。", "\n"), seed=2**63 - 1, logit_bias={" the": 2.5}, json_schema={}, dry_breakers=()
    )
    assert parse(GenerationConfig, json.loads(config.model_dump_json())) == config


def test_imports_no_torch() -> None:
    code = "import sys, nextword.decoding.config; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
