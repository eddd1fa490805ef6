"""The spool's files by themselves: any entries come back, any damage costs what it hit, and nothing raises."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.receive.segments import (
    END_BYTES,
    MAGIC,
    Entry,
    measure,
    pack,
    pack_end,
    read_end,
    segment_name,
    segment_number,
    unpack,
)

texts = st.text(st.characters(codec="utf-8"), max_size=12)
entries = st.builds(
    Entry,
    protocol=texts,
    terminal=texts,
    received=st.integers(0, 2**62 - 1),
    data=st.binary(max_size=60),
    variant=st.integers(0, 9),
    records=st.integers(0, 2**31),
    kind=st.none() | texts,
    text=st.none() | texts,
)


@given(st.lists(entries, max_size=6), st.integers(-1, 7))
def test_what_was_packed_comes_back(kept: list[Entry], limit: int) -> None:
    data = MAGIC + pack(kept)
    assert measure(data) == (len(kept), len(data))
    found, ends = unpack(data, len(MAGIC), limit)
    assert found == kept[: max(0, limit)]
    for number, end in enumerate(ends, 1):  # from each end it goes on
        assert unpack(data, end, 99)[0] == kept[number:]


@settings(max_examples=200)
@given(st.lists(entries, min_size=1, max_size=6), st.data())
def test_damage_costs_what_it_hit(kept: list[Entry], draw: Any) -> None:
    data = bytearray(MAGIC + pack(kept))
    ends = unpack(bytes(data), len(MAGIC), 99)[1]
    starts = [len(MAGIC), *ends[:-1]]
    hit = draw.draw(st.integers(0, len(kept) - 1))
    place = draw.draw(st.integers(starts[hit] + 4, ends[hit] - 1))  # its checksum or its body, not its length
    data[place] ^= draw.draw(st.integers(1, 255))
    found, _ = unpack(bytes(data), len(MAGIC), 99)
    if hit == len(kept) - 1:  # the tail: it was never acknowledged, or a file system lost it
        assert found == kept[:-1]
        return
    assert [entry for number, entry in enumerate(found) if number != hit] == kept[:hit] + kept[hit + 1 :]
    assert (found[hit].protocol, found[hit].terminal) == ("", ""), "kept as bytes"
    assert bytes(data[starts[hit] : ends[hit]]) == found[hit].data
    assert measure(bytes(data)) == (len(kept), ends[-1])


@settings(max_examples=200)
@given(st.binary(max_size=200), st.lists(entries, max_size=2), st.integers(0, 220), st.integers(0, 9))
@example(b"\xff" * 12, [], 0, 1)
@example(bytes(64), [], 8, 9)
def test_any_bytes_are_read(junk: bytes, kept: list[Entry], at: int, limit: int) -> None:
    for data in (junk, MAGIC + junk, MAGIC + pack(kept) + junk, junk + pack(kept)):
        count, good = measure(data)
        assert count >= 0
        assert good <= max(len(data), len(MAGIC))
        found, ends = unpack(data, at, limit)
        assert len(found) == len(ends) <= limit
        assert ends == sorted(ends)
        assert all(at < end <= len(data) for end in ends)
        read_end(data[-END_BYTES:], len(data))


@given(st.integers(1, 2**40), st.integers(1, 2**40), st.integers(0, END_BYTES - 1), st.integers(1, 255))
def test_an_end_is_read_whole_or_not_at_all(size: int, count: int, place: int, flip: int) -> None:
    end = pack_end(size, count)
    assert len(end) == END_BYTES
    assert read_end(end, size + END_BYTES) == (count, size)
    assert read_end(end, size + END_BYTES + 1) is None, "something stands behind it"
    assert read_end(end[1:], size + END_BYTES) is None
    damaged = bytearray(end)
    damaged[place] ^= flip
    assert read_end(bytes(damaged), size + END_BYTES) is None


@given(st.integers(0, 10**17))
def test_a_segment_is_named_by_its_number(number: int) -> None:
    assert segment_number(segment_name(number)) == number
    for other in (
        f"{number}x.spool",
        segment_name(number) + "~",
        "1.spool",
        "\u0661" * 8 + ".spool",
        f"-{number:08d}.spool",
    ):
        assert segment_number(other) is None


@given(st.lists(entries, max_size=3), st.integers(0, 100))
def test_zeros_that_a_file_system_left_are_nothing(kept: list[Entry], zeros: int) -> None:
    data = MAGIC + pack(kept)
    assert measure(data + bytes(zeros)) == (len(kept), len(data))
    assert unpack(data + bytes(zeros), len(MAGIC), 99)[0] == kept


@given(
    entries,
    st.sampled_from([b"", b"\xc1", b"\x93\x01\x02\x03", b"not msgpack"]),
    st.sampled_from([-1, 2**62, 2**64 - 1]),
)
def test_what_another_version_wrote_is_kept_as_bytes(entry: Entry, body: bytes, received: int) -> None:
    """Whole by its checksum, and no entry of ours: it is handed on, and holds up nothing behind it."""
    strange = msgspec.msgpack.encode(msgspec.structs.replace(entry, received=received))
    for content in (body, strange) if body else (strange,):
        data = MAGIC + len(content).to_bytes(4, "little") + zlib.crc32(content).to_bytes(4, "little") + content
        assert unpack(data + pack([entry]), len(MAGIC), 9)[0] == [Entry("", "", 0, content), entry]
