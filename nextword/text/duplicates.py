"""Duplicates: a key for documents that are the same to a reader, and indexes that remember what came before.

Exact: equal after trivial normalisation (case, white space, Unicode compatibility), at 8 bytes a document.
Near: estimated Jaccard similarity of character n-grams above a threshold, by MinHash and locality-sensitive
hashing (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3). Characters and
not words, so that Chinese needs no segmentation.
"""

from __future__ import annotations

import unicodedata
from array import array

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest


def normalised(text: str) -> str:
    """The text without what no reader would call a difference: case, white space, NFKC variants.

    >>> normalised("Ｔhe  Moon\\n") == normalised("the moon")
    True
    """
    if not text.isascii():  # folding case and dropping spaces may undo NFKC, so once more
        text = "".join(unicodedata.normalize("NFKC", text).casefold().split())
        text = unicodedata.normalize("NFKC", text)
    return "".join(text.casefold().split())


def text_key(text: str) -> int:
    """64 bits, equal for documents that are equal after `normalised`; stable over machines and versions."""
    return xxh3_64_intdigest(normalised(text).encode("utf-8", "surrogatepass"))


class ExactDuplicates:
    """Remembers every document by its key: 8 bytes each, in a sorted array, and a set of the latest million.

    Two different documents of n are taken for one with probability n**2 / 2**65: 3e-6 for ten million.
    """

    def __init__(self, recent: int = 2**20) -> None:
        self._limit = recent
        self._recent: set[int] = set()
        self._sorted: NDArray[np.uint64] = np.empty(0, np.uint64)

    def add(self, text: str) -> bool:
        """Remember a document; True if it was known already."""
        key = text_key(text)
        place = int(self._sorted.searchsorted(np.uint64(key)))
        if key in self._recent or (place < len(self._sorted) and int(self._sorted[place]) == key):
            return True
        self._recent.add(key)
        if len(self._recent) >= self._limit:
            recent = np.fromiter(self._recent, np.uint64, len(self._recent))
            self._recent.clear()
            self._sorted = np.concatenate([self._sorted, recent])
            self._sorted.sort()
        return False


BANDS, ROWS = 16, 8
"""16 bands of 8 values: two documents share a band with probability 1 - (1 - s**8)**16, which is 0.95 at
similarity 0.8, 0.61 at 0.7 and 0.06 at 0.5. Sharing one makes a candidate; all 128 values then decide."""


class NearDuplicates:
    """Remembers each distinct document by 128 MinHash values of 16 bits and 16 band keys: under 1 KB."""

    def __init__(self, threshold: float = 0.8) -> None:
        self.threshold = threshold
        rng = np.random.default_rng(0)
        self._factors = rng.integers(0, 2**31, BANDS * ROWS, dtype=np.uint32) * 2 + 1  # odd: a permutation
        self._offsets = rng.integers(0, 2**32, BANDS * ROWS, dtype=np.uint32)
        self._band_factors = rng.integers(0, 2**63, ROWS, dtype=np.uint64) * 2 + 1
        self._signatures: NDArray[np.uint16] = np.empty((1024, BANDS * ROWS), np.uint16)
        self._count = 0
        self._bands = _HashMap()

    def add(self, text: str) -> bool:
        """Remember a document; True if one like it was known already (then it is not remembered)."""
        minima = self._minhash(text)
        mixed = (minima.reshape(BANDS, ROWS).astype(np.uint64) * self._band_factors).sum(axis=1, dtype=np.uint64)
        keys = [xxh3_64_intdigest(int(key).to_bytes(8, "little"), band) for band, key in enumerate(mixed)]
        signature = minima.astype(np.uint16)
        documents = {self._bands.setdefault(key, self._count) for key in keys}
        documents.discard(self._count)
        candidates = self._signatures[list(documents)]
        if len(candidates) and (candidates == signature).mean(axis=1).max() >= self.threshold:
            # Its own band keys stay behind, pointing at the next document: a candidate more, never an answer.
            return True
        if self._count == len(self._signatures):
            self._signatures = np.concatenate([self._signatures, np.empty_like(self._signatures)])
        self._signatures[self._count] = signature
        self._count += 1
        return False

    def _minhash(self, text: str) -> NDArray[np.uint32]:
        """For each of 128 random orders of all n-grams, the first one in this text: (128,).

        Two texts agree in a value with probability equal to their Jaccard similarity.
        """
        shingles = _shingles(normalised(text))
        minima = np.full(BANDS * ROWS, 2**32 - 1, np.uint32)
        for start in range(0, len(shingles), 4096):  # 2 MB at a time, however long the document
            orders = shingles[start : start + 4096, None] * self._factors + self._offsets
            np.minimum(minima, orders.min(axis=0), out=minima)
        return minima


def _shingles(text: str) -> NDArray[np.uint32]:
    """Hashes of all character n-grams: n = 3 where most characters are ideographs or kana, else 6.

    A Chinese character says about as much as half an English word.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    width = 3 if np.count_nonzero(codes >= 0x2E80) * 2 > len(codes) else 6
    hashes = np.zeros(max(1, len(codes) - width + 1), np.uint32)
    for shift in range(min(width, len(codes))):
        hashes = _mix(hashes ^ codes[shift : shift + len(hashes)])
    return hashes


def _mix(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A bijection of 32 bits that spreads every bit over all others (the finaliser of MurmurHash3)."""
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))


class _HashMap:
    """64-bit keys to 32-bit values in 12 bytes a slot (open addressing), where a dict takes over 100."""

    def __init__(self) -> None:
        self._mask, self._count = 2**14 - 1, 0
        self._keys, self._values = array("Q", bytes(8 * 2**14)), array("I", bytes(4 * 2**14))

    def setdefault(self, key: int, value: int) -> int:
        """The value of the key; if it has none, from now on this one."""
        key = key or 1  # 0 marks a free slot
        keys, mask = self._keys, self._mask
        slot = key & mask
        while keys[slot] != key:
            if keys[slot] == 0:
                keys[slot], self._values[slot] = key, value
                self._count += 1
                if self._count * 3 > mask * 2:
                    self._grow()
                return value
            slot = (slot + 1) & mask
        return self._values[slot]

    def _grow(self) -> None:
        keys, values = self._keys, self._values
        self._mask, self._count = 2 * len(keys) - 1, 0
        self._keys, self._values = array("Q", bytes(16 * len(keys))), array("I", bytes(8 * len(keys)))
        for key, value in zip(keys, values, strict=True):
            if key:
                self.setdefault(key, value)
