"""Learned structures: rows, templates and fingerprints."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from protocols.structures import MAX_RECORD, Rows, Template, record_dtype
from tests.protocols.examples import examples


@examples(100)
@given(st.integers(1, 70).flatmap(lambda n: st.lists(st.binary(min_size=n, max_size=n), min_size=1, max_size=8)))
def test_rows_keep_their_bytes(records: list[bytes]) -> None:
    rows = Rows.of(records)
    assert [row.tobytes() for row in rows.bytes] == records
    taken = rows.take(np.arange(len(records))[::-1])
    assert [row.tobytes() for row in taken.bytes] == records[::-1]
    assert taken.fingerprints().tolist() == rows.fingerprints().tolist()[::-1]


def test_a_view_reads_fields_at_their_offsets() -> None:
    rows = Rows.of([bytes.fromhex("01fffe0000000a"), bytes.fromhex("02000100000100")])
    view = rows.view(record_dtype([("a", 0, "u1"), ("b", 1, ">i2"), ("c", 3, ">u4")], 7))
    assert view["a"].tolist() == [1, 2]
    assert view["b"].tolist() == [-2, 1]
    assert view["c"].tolist() == [10, 256]


@examples(100)
@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_template_compares_structural_bytes_only(record: bytes, data: st.DataObject) -> None:
    structural = data.draw(st.sets(st.integers(0, len(record) - 1)))
    template = Template(record, [(at, 1) for at in structural])
    at = data.draw(st.integers(0, len(record) - 1))
    changed = bytearray(record)
    changed[at] ^= data.draw(st.integers(1, 255))
    assert template.matches(Rows.of([record, bytes(changed)])).tolist() == [True, at not in structural]


@examples(100)
@given(st.binary(min_size=1, max_size=64), st.data())
def test_a_changed_bit_changes_the_fingerprint(record: bytes, data: st.DataObject) -> None:
    changed = bytearray(record)
    for bit in data.draw(st.sets(st.integers(0, 8 * len(record) - 1), min_size=1, max_size=3)):
        changed[bit // 8] ^= 1 << bit % 8
    first, second = Rows.of([record, bytes(changed)]).fingerprints().tolist()
    assert first != second


def test_high_bits_of_several_words_do_not_cancel() -> None:
    # a plain sum of words times odd numbers cannot tell an even number of flipped top bits
    records = []
    for flipped in range(1 << 8):
        record = bytearray(64)
        for word in range(8):
            record[8 * word + 7] = 0x80 if flipped >> word & 1 else 0
        records.append(bytes(record))
    assert len(set(Rows.of(records).fingerprints().tolist())) == 256


def test_fingerprints_of_many_small_changes_are_distinct() -> None:
    base = bytearray(88)
    records = []
    for a in range(88):
        for b in range(a):
            record = bytearray(base)
            record[a] ^= 1
            record[b] ^= 1
            records.append(bytes(record))
    prints = Rows.of(records).fingerprints()
    assert len(np.unique(prints)) == len(records)
    assert len(np.unique(prints & 0xFFFFFFFF)) > len(records) - 5  # the low half alone spreads too


def test_padding_does_not_hide_a_difference_in_length() -> None:
    assert Rows.of([b"\x01" * 9]).fingerprints()[0] != Rows.of([b"\x01" * 9 + b"\0"]).fingerprints()[0]


def test_fingerprints_are_stored_and_must_never_change() -> None:
    assert Rows.of([bytes(range(75))]).fingerprints().tolist() == [5556162818810525463]


def test_the_largest_record_has_a_fingerprint() -> None:
    assert Rows.of([bytes(MAX_RECORD)]).fingerprints().shape == (1,)
