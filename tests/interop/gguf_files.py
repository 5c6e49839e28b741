"""GGUF files by hand, byte by byte: for the tests that need one which no writer would write."""

from __future__ import annotations

import struct
from collections.abc import Sequence

F32, I8, I64 = 0, 24, 27
UINT8, INT32, UINT32, FLOAT32, BOOL, STRING, ARRAY = 0, 5, 4, 6, 7, 8, 9


def text(value: str | bytes, length: int | None = None) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data) if length is None else length) + data


def entry(key: str | bytes, kind: int, payload: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + payload


def array(kind: int, count: int, payload: bytes) -> bytes:
    return struct.pack("<IQ", kind, count) + payload


def number(key: str, value: int, kind: int = UINT32) -> bytes:
    return entry(key, kind, struct.pack("<I", value))


def tensor(name: str, sizes: Sequence[int], kind: int = F32, offset: int = 0, dimensions: int | None = None) -> bytes:
    count = len(sizes) if dimensions is None else dimensions
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", count, *sizes, kind, offset)


def gguf(
    entries: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    data: bytes = b"",
    magic: bytes = b"GGUF",
    version: int = 3,
    num_tensors: int | None = None,
    num_keys: int | None = None,
    alignment: int = 32,
) -> bytes:
    counts = (len(tensors) if num_tensors is None else num_tensors, len(entries) if num_keys is None else num_keys)
    head = magic + struct.pack("<IQQ", version, *counts) + b"".join(entries) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data


ALIGNED_TO_ONE = [number("general.alignment", 1)]
TWO = [tensor("a", [8]), tensor("b", [4], offset=32)]  # 32 and 16 bytes
KEYS = [
    *(entry(f"my_key_{kind}", kind, struct.pack(f"<{letter}", 1)) for kind, letter in enumerate("BbHhIif")),
    *(entry(f"my_key_{kind}", kind, struct.pack(f"<{letter}", 1)) for kind, letter in enumerate("Qqd", 10)),
    entry("truth", BOOL, b"\1"),
    entry("text", STRING, text("月")),
    entry("numbers", ARRAY, array(UINT32, 2, bytes(8))),
    entry("texts", ARRAY, array(STRING, 2, text("") + text("a"))),
    entry("truths", ARRAY, array(BOOL, 3, b"\0\1\0")),
]

REJECT = {
    "HEADER_BAD_MAGIC": gguf(magic=b"FUGG"),
    "HEADER_BAD_VERSION_0": gguf(version=0),
    "HEADER_BAD_VERSION_1": gguf(version=1),
    "HEADER_BAD_VERSION_FUTURE": gguf(version=4),
    "HEADER_BAD_N_TENSORS": gguf(num_tensors=2**64 - 1),
    "HEADER_BAD_N_KV": gguf(num_keys=2**64 - 1),
    "KV_BAD_KEY_SIZE": gguf([text("my_key", 2**64 - 1) + struct.pack("<II", UINT32, 1)]),
    "KV_EMPTY_KEY": gguf([number("", 1)]),
    "KV_BAD_TYPE": gguf([number("my_key", 1, kind=13)]),
    "KV_DUPLICATE_KEY": gguf([number("my_key", 1), number("my_key", 2)]),
    "KV_BAD_ALIGN": gguf([number("general.alignment", 13)]),
    "KV_WRONG_TYPE_ALIGN": gguf([number("general.alignment", 32, kind=INT32)]),
    "TENSORS_BAD_NAME_SIZE": gguf([], [tensor("a" * 64, [8])], bytes(32)),
    "TENSORS_BAD_N_DIMS": gguf([], [tensor("a", [8, 1, 1, 1], dimensions=5)], bytes(32)),
    "TENSORS_BAD_SHAPE": gguf([], [tensor("a", [2**64 - 1])], bytes(32)),
    "TENSORS_NE_TOO_BIG": gguf([], [tensor("a", [4 * (2**31 - 1)] * 2)], bytes(32)),
    "TENSORS_NBYTES_TOO_BIG": gguf([], [tensor("a", [1_533_916_891] * 2, I64)], bytes(32)),
    "TENSORS_BAD_TYPE": gguf([], [tensor("a", [8], kind=99)], bytes(32)),
    "TENSORS_BAD_OFFSET": gguf([], [tensor("a", [8], offset=2**64 - 1)], bytes(32)),
    "TENSORS_DUPLICATE_NAME": gguf([], [tensor("a", [8]), tensor("a", [8], offset=32)], bytes(64)),
    "TENSORS_BAD_ALIGN": gguf([number("general.alignment", 13)], TWO, bytes(64), alignment=13),
    "TENSORS_INCONSISTENT_ALIGN": gguf([], [tensor("a", [9]), tensor("b", [4], offset=36)], bytes(64), alignment=1),
    "DATA_NOT_ENOUGH_DATA": gguf([], TWO, bytes(63)),
    "DATA_BAD_ALIGN": gguf([number("general.alignment", 13)], TWO, bytes(52), alignment=13),
    "DATA_INCONSISTENT_ALIGN": gguf([], [tensor("a", [9]), tensor("b", [4], offset=36)], bytes(52), alignment=1),
    "DATA_MEM_SIZE_OVERFLOW": gguf(
        [], [tensor("a", [2**63 - 64], I8), tensor("b", [2**63 - 64], I8, offset=2**63 - 64)], bytes(32)
    ),
}
"""The files that llama.cpp's own test refuses, by its names for them."""

ACCEPT = {
    "HEADER_EMPTY": gguf(),
    "KV_SUCCESS": gguf(KEYS),
    "TENSORS_SUCCESS": gguf(KEYS, TWO, bytes(64)),
    "TENSORS_CUSTOM_ALIGN (alignment 1)": gguf(
        ALIGNED_TO_ONE, [tensor("a", [9]), tensor("b", [4], offset=36)], bytes(52), alignment=1
    ),
    "TENSORS_ZERO_DIM": gguf([], [tensor("a", [8, 0])]),
    "DATA_SUCCESS": gguf(KEYS, TWO, bytes(range(64))),
    "DATA_CUSTOM_ALIGN": gguf(
        ALIGNED_TO_ONE, [tensor("a", [3], I8), tensor("b", [1], offset=3)], bytes(7), alignment=1
    ),
}
"""What it accepts. Its TENSORS files have no data, which only a reader of headers accepts: here they have some."""

EXTRA = {
    "I8 shape (2^63-1, 2, 1, 1): element product wraps negative": gguf(
        [], [tensor("a", [2**63 - 1, 2, 1, 1], I8)], bytes(32)
    ),
    "F32 shape [4, 2^30-1, 2^30+1, 1]: padded size wraps to 0": gguf(
        [], [tensor("a", [4, 2**30 - 1, 2**30 + 1, 1])], bytes(32)
    ),
    "declared offset+size beyond the end of file": gguf([], [tensor("a", [1000])], bytes(32)),
}
"""From advisories and issues, by their words."""

OURS = {
    "an array of arrays": gguf([entry("a", ARRAY, array(ARRAY, 1, array(UINT32, 1, bytes(4))))]),
    "an array of 2^62 texts": gguf([entry("a", ARRAY, array(STRING, 2**62, b""))]),
    "an array of 2^61 numbers": gguf([entry("a", ARRAY, array(UINT32, 2**61, b""))]),
    "a text of 2^63 bytes": gguf([entry("a", STRING, text(b"", 2**63))]),
    "a text that is not UTF-8": gguf([entry("a", STRING, text(b"\xff\xfe"))]),
    "a truth value of 2": gguf([entry("a", BOOL, b"\2")]),
    "bytes after the last tensor": gguf([], TWO, bytes(64) + b"PK\3\4"),
    "a hole between tensors": gguf([], [tensor("a", [8]), tensor("b", [4], offset=64)], bytes(96)),
    "two tensors in one place": gguf([], [tensor("a", [8]), tensor("b", [8])], bytes(64)),
    "rows that are no multiple of a block": gguf([], [tensor("a", [33], kind=8)], bytes(64)),
    "one part of several": gguf([entry("split.count", 2, struct.pack("<H", 3))]),
    "for big-endian machines": gguf(version=3 << 24),
    "cut in the header": gguf(KEYS)[:60],
    "empty": b"",
}
"""Further ones."""
