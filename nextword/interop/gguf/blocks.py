"""How numbers lie in the bytes of a GGUF tensor: the quantized forms of ggml, and their widening to float32.

A row is cut into blocks of 32 or 256 numbers; a block keeps a few bits of each and one or two scales for all of them.
Widening is exact: the same float32 operations in the same order as ggml's, so that every bit agrees.

Source: ggml-quants.c and ggml-common.h of https://github.com/ggml-org/ggml.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


class BlockType(NamedTuple):
    """One of ggml's types."""

    number: int
    name: str
    elements: int
    """Numbers in a block."""
    width: int
    """Bytes of a block."""

    def bytes_of(self, count: int) -> int:
        """Bytes of `count` numbers, a multiple of `elements`."""
        return count // self.elements * self.width


_ALL = [
    *((0, "F32", 1, 4), (1, "F16", 1, 2), (2, "Q4_0", 32, 18), (3, "Q4_1", 32, 20), (6, "Q5_0", 32, 22)),
    *((7, "Q5_1", 32, 24), (8, "Q8_0", 32, 34), (9, "Q8_1", 32, 36), (10, "Q2_K", 256, 84), (11, "Q3_K", 256, 110)),
    *((12, "Q4_K", 256, 144), (13, "Q5_K", 256, 176), (14, "Q6_K", 256, 210), (15, "Q8_K", 256, 292)),
    *((16, "IQ2_XXS", 256, 66), (17, "IQ2_XS", 256, 74), (18, "IQ3_XXS", 256, 98), (19, "IQ1_S", 256, 50)),
    *((20, "IQ4_NL", 32, 18), (21, "IQ3_S", 256, 110), (22, "IQ2_S", 256, 82), (23, "IQ4_XS", 256, 136)),
    *((24, "I8", 1, 1), (25, "I16", 1, 2), (26, "I32", 1, 4), (27, "I64", 1, 8), (28, "F64", 1, 8)),
    *((29, "IQ1_M", 256, 56), (30, "BF16", 1, 2), (34, "TQ1_0", 256, 54), (35, "TQ2_0", 256, 66)),
    *((39, "MXFP4", 32, 17), (40, "NVFP4", 64, 36), (41, "Q1_0", 128, 18)),
]
TYPES = {number: BlockType(number, name, elements, width) for number, name, elements, width in _ALL}
"""All types by number: the sizes of those that can't be widened must be known, too, to check a file."""
BY_NAME = {type.name: type for type in TYPES.values()}
PLAIN = ("F32", "F16", "BF16")
"""Read as they are."""

_CHUNK = 2**16  # blocks widened at a time: their bytes, halves and products together take some tens of megabytes


def widen(data: Bytes, type: BlockType) -> Floats:
    """The numbers of a quantized tensor: (bytes,) -> (numbers,). `type` is one of WIDENED."""
    blocks = data.reshape(-1, type.width)
    numbers = np.empty((len(blocks), type.elements), np.float32)
    for start in range(0, len(blocks), _CHUNK):
        part = blocks[start : start + _CHUNK]
        with np.errstate(invalid="ignore", over="ignore"):  # a damaged scale may be no number
            numbers[start : start + _CHUNK] = WIDENED[type.name](part)
    return numbers.reshape(-1)


def to_q8_0(numbers: Floats) -> Bytes:
    """(numbers,), a multiple of 32 -> (bytes,): the nearest of 255 steps between the extremes of each block."""
    blocks = numbers.reshape(-1, 32)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    with np.errstate(divide="ignore"):
        inverse = np.where(scale == 0, np.float32(0), np.float32(1) / scale)
    steps = blocks * inverse
    whole = np.floor(np.abs(steps))
    whole += np.floor(2 * (np.abs(steps) - whole))  # halves go away from zero, as C's roundf has it
    quants = (np.sign(steps) * whole).astype(np.int8)
    return np.hstack([scale.astype("<f2").view(np.uint8), quants.view(np.uint8)]).reshape(-1)


def _half(blocks: Bytes, place: int) -> Floats:
    """A half-precision number of each block: (blocks, 1)."""
    return np.ascontiguousarray(blocks[:, place : place + 2]).view("<f2").astype(np.float32)


def _nibbles(data: Bytes) -> Bytes:
    """(..., n) -> (..., 2n): the low halves of all bytes, then the high ones."""
    return np.concatenate([data & 15, data >> 4], axis=-1)


def _fifth_bits(blocks: Bytes, place: int) -> Bytes:
    """The 32 bits at `place`, as 0 or 16: (blocks, 32)."""
    bits: Bytes = np.unpackbits(blocks[:, place : place + 4], axis=1, bitorder="little")
    return bits << np.uint8(4)


def _q4_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:]).astype(np.float32) - 8)


def _q4_1(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]).astype(np.float32) + _half(blocks, 2)


def _q5_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * ((_nibbles(blocks[:, 6:]) | _fifth_bits(blocks, 2)).astype(np.float32) - 16)


def _q5_1(blocks: Bytes) -> Floats:
    quants = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks, 4)
    return _half(blocks, 0) * quants.astype(np.float32) + _half(blocks, 2)


def _q8_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * blocks[:, 2:].view(np.int8).astype(np.float32)


def _six_bit_scales(blocks: Bytes) -> tuple[Floats, Floats]:
    """Scales and offsets of the eight parts of a Q4_K or Q5_K block: twice (blocks, 8, 1).

    Twelve bytes hold sixteen numbers of six bits. Byte i < 4 has scale i, byte 4 + i offset i, both with two bits on
    top that belong to number i + 4, whose low four bits are in byte 8 + i: the scale's below, the offset's above.
    """
    packed = blocks[:, 4:16].reshape(-1, 3, 4)
    first, second, third = packed[:, 0], packed[:, 1], packed[:, 2]
    scales = np.concatenate([first & 63, third & 15 | first >> 6 << 4], axis=1)
    offsets = np.concatenate([second & 63, third >> 4 | second >> 6 << 4], axis=1)
    d, m = _half(blocks, 0), _half(blocks, 2)
    return (d * scales.astype(np.float32))[..., None], (m * offsets.astype(np.float32))[..., None]


def _q4_k(blocks: Bytes) -> Floats:
    scales, offsets = _six_bit_scales(blocks)
    quants = _nibbles(blocks[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    return (scales * quants.astype(np.float32) - offsets).reshape(-1, 256)


def _q5_k(blocks: Bytes) -> Floats:
    scales, offsets = _six_bit_scales(blocks)
    quants = _nibbles(blocks[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    # Bit i of byte j is the fifth bit of number j in part i.
    fifth = np.unpackbits(blocks[:, 16:48, None], axis=2, bitorder="little").transpose(0, 2, 1)
    return (scales * (quants | fifth << 4).astype(np.float32) - offsets).reshape(-1, 256)


def _q6_k(blocks: Bytes) -> Floats:
    low = _nibbles(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, 32)
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3
    quants = (low | high << 4).astype(np.float32) - 32
    scales = _half(blocks, 208) * blocks[:, 192:208].view(np.int8).astype(np.float32)
    return (scales[..., None] * quants.reshape(-1, 16, 16)).reshape(-1, 256)


WIDENED: dict[str, Callable[[Bytes], Floats]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}
"""Quantized type -> blocks (blocks, bytes) to numbers (blocks, elements)."""
