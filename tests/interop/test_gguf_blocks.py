"""The bits of quantized numbers, against the reference of llama.cpp in Python, the `gguf` package."""

from __future__ import annotations

import numpy as np
import pytest

from nextword.interop.gguf.blocks import BY_NAME, TYPES, WIDENED, to_q8_0, widen

gguf = pytest.importorskip("gguf")


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("name", WIDENED)
def test_every_bit_pattern_is_widened_as_the_reference_does(name):
    """Random bytes: scales that are infinite or no number occur, too."""
    type = BY_NAME[name]
    data = np.random.default_rng(3).integers(0, 256, (2000, type.width), dtype=np.uint8)
    expected = gguf.dequantize(data, gguf.GGMLQuantizationType[name])
    np.testing.assert_array_equal(widen(data.reshape(-1), type), expected.reshape(-1))


def test_more_blocks_than_are_widened_at_once(monkeypatch):
    data = np.random.default_rng(4).integers(0, 64, (37, 18), dtype=np.uint8)
    whole = widen(data.reshape(-1), BY_NAME["Q4_0"])
    monkeypatch.setattr("nextword.interop.gguf.blocks._CHUNK", 5)
    np.testing.assert_array_equal(widen(data.reshape(-1), BY_NAME["Q4_0"]), whole)


def test_numbers_are_quantized_as_the_reference_does():
    numbers = np.random.default_rng(5).standard_normal((100, 64)).astype(np.float32)
    numbers[0], numbers[1, 0], numbers[2] = 0, 1e4, np.linspace(-127, 127, 64) / 2  # zeros, an outlier, halves
    expected = gguf.quantize(numbers, gguf.GGMLQuantizationType.Q8_0)
    np.testing.assert_array_equal(to_q8_0(numbers.reshape(-1)), expected.reshape(-1))


def test_sizes_of_all_types_are_those_of_the_reference():
    known = {int(type): sizes for type, sizes in gguf.constants.GGML_QUANT_SIZES.items() if type.name != "Q8_1"}
    ours = {number: (type.elements, type.width) for number, type in TYPES.items() if type.name != "Q8_1"}
    assert ours == known  # of Q8_1, which no file has, the package has the size of years ago
