"""Learned structures: records whose bytes lie at the same offsets, read as columns.

A record's *structure* is where its bytes lie. The exact parser learns one from a record; afterwards records of
the same structure are laid side by side as a byte matrix, one masked comparison verifies for each row that every
structural byte (tag, count) is where the structure says, and whole columns are read through numpy views. A row
that fails the comparison belongs to another structure. Wrong guesses cost time, never correctness.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Bytes2D = NDArray[np.uint8]

_SEED = np.random.Generator(np.random.PCG64(0x646F7A6F72))  # fixed: fingerprints are stored
_MULTIPLIERS = _SEED.integers(1, 2**63, 8192, dtype=np.uint64) * np.uint64(2) + np.uint64(1)  # odd: no bit is lost
_MIX = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))
_LENGTH = int(_MULTIPLIERS[-1])
_32, _33 = np.uint64(32), np.uint64(33)
CANDIDATES = 16  # structures of one length that are tried before each record is read for itself
_FEW = 4  # words of a template: a column of one costs as much as some six in a matrix
MAX_RECORD = (len(_MULTIPLIERS) - 1) * 8  # just below 64 KiB, the largest frame; the last is the length's


class Rows:
    """Records of one length side by side, zero-padded to whole 64-bit words.

    Attributes
    ----------
    length : bytes of a record.
    bytes : uint8, shape (n, length).
    words : uint64 little-endian, shape (n, ceil(length / 8)).
    """

    __slots__ = ("_padded", "bytes", "length", "words")

    def __init__(self, matrix: Bytes2D) -> None:
        n, self.length = matrix.shape
        self._padded = np.empty((n, (self.length + 7) // 8 * 8), np.uint8)
        self._padded[:, : self.length] = matrix
        self._padded[:, self.length :] = 0
        self.bytes = self._padded[:, : self.length]
        self.words = self._padded.view("<u8")

    @classmethod
    def of(cls, records: Sequence[bytes]) -> Rows:
        """Lay equally long byte strings side by side."""
        return cls(np.frombuffer(b"".join(records), np.uint8).reshape(len(records), -1))

    def __len__(self) -> int:
        return len(self.bytes)

    def take(self, rows: NDArray[Any]) -> Rows:
        """The rows selected by a boolean mask or an index array."""
        taken = object.__new__(Rows)
        taken.length = self.length
        taken._padded = self._padded[rows]
        taken.bytes = taken._padded[:, : self.length]
        taken.words = taken._padded.view("<u8")
        return taken

    def view(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """The rows as a structured array, shape (n,); `dtype` comes from `record_dtype(…, length)`."""
        return self._padded.view(dtype)[:, 0]

    def fingerprints(self) -> NDArray[np.int64]:
        """A 64-bit hash of each record's bytes and length, shape (n,).

        A sum of words times odd numbers alone lets differences in the words' highest bits cancel, so each
        word is mixed first (the finaliser of MurmurHash3).
        """
        shifted = self.words >> _33
        mixed = self.words ^ shifted
        for multiplier in _MIX:
            mixed *= multiplier
            np.right_shift(mixed, _33, out=shifted)
            mixed ^= shifted
        hashed: NDArray[np.uint64] = mixed @ _MULTIPLIERS[: mixed.shape[1]]
        hashed += np.uint64(self.length * _LENGTH & 0xFFFF_FFFF_FFFF_FFFF)
        hashed ^= hashed >> _32  # carry the high half, where every byte had its say, into the low one
        return hashed.view(np.int64)


def record_dtype(fields: Sequence[tuple[str, int, str]], length: int) -> np.dtype[Any]:
    """A structured dtype of (name, offset, format) fields over padded records of `length` bytes."""
    return np.dtype(
        {
            "names": [name for name, _, _ in fields],
            "formats": [fmt for _, _, fmt in fields],
            "offsets": [offset for _, offset, _ in fields],
            "itemsize": (length + 7) // 8 * 8,
        }
    )


class Template:
    """The structural bytes of one structure: where they stand and what they are."""

    __slots__ = ("_few", "_mask", "_words", "length")

    def __init__(
        self, record: bytes, structural: Sequence[tuple[int, int]], bits: Sequence[tuple[int, int]] = ()
    ) -> None:
        """`structural` are (offset, size) spans of `record` that any record of this structure repeats; `bits` are
        (offset, mask) of single bits that it repeats."""
        self.length = len(record)
        mask = np.zeros((self.length + 7) // 8 * 8, np.uint8)
        for offset, size in structural:
            mask[offset : offset + size] = 0xFF
        for offset, some in bits:
            mask[offset] |= some
        padded = np.zeros_like(mask)
        padded[: self.length] = np.frombuffer(record, np.uint8)
        self._mask = mask.view("<u8")
        self._words = (padded & mask).view("<u8")
        told = np.flatnonzero(self._mask)
        self._few = told.tolist() if len(told) <= _FEW else None  # words by themselves, where the others say nothing

    def matches(self, rows: Rows) -> NDArray[np.bool_]:
        """Which rows have each structural byte where this structure says, shape (n,)."""
        matched: NDArray[np.bool_] = ((rows.words & self._mask) == self._words).all(axis=1)
        return matched

    def fits(self, rows: Rows) -> bool:
        """Whether every row matches."""
        if self._few is not None:
            columns, mask, words = rows.words, self._mask, self._words
            return not any(np.count_nonzero(columns[:, n] & mask[n] != words[n]) for n in self._few)
        return not np.count_nonzero((rows.words & self._mask) != self._words)


class Structured(Protocol):
    """What a decoder learned of records of one structure; `weight` is what keeping it costs."""

    key: bytes
    length: int
    weight: int


S = TypeVar("S", bound=Structured)


class Remembering(Generic[S]):
    """A decoder that remembers the structures it has seen, by their length and what they repeat, within bounds."""

    def __init__(self, most: int, heaviest: int) -> None:
        """At most `most` structures, of no more than `heaviest` in all unless there is but one."""
        self._most, self._heaviest = most, heaviest
        self._by_key: dict[tuple[int, bytes], S] = {}
        self._by_length: dict[int, list[S]] = {}
        self._weight = 0

    def _remembered(self, length: int, key: bytes) -> S | None:
        structure = self._by_key.get((length, key))
        if structure is not None:
            siblings = self._by_length[length]
            if len(siblings) > CANDIDATES:  # in use: must not stay behind those somebody invented once
                siblings.remove(structure)
                siblings.insert(0, structure)
        return structure

    def _remember(self, structure: S) -> S:
        while self._by_key and (len(self._by_key) >= self._most or self._weight + structure.weight > self._heaviest):
            self._forget(next(iter(self._by_key.values())))
        self._by_key[structure.length, structure.key] = structure
        self._by_length.setdefault(structure.length, []).append(structure)
        self._weight += structure.weight
        return structure

    def _forget(self, structure: S) -> None:
        del self._by_key[structure.length, structure.key]
        self._weight -= structure.weight
        siblings = self._by_length[structure.length]
        siblings.remove(structure)
        if not siblings:
            del self._by_length[structure.length]
