"""The PROXY header without sockets: any bytes are a client, none, or a `HeaderError`; never one byte too many."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.receive.proxy import MAX_LENGTH, MAX_LINE, SIGNATURE, HeaderError, Source, looks_like_header, read_header
from tests.gateway.receive.outside import header

TAIL = b"\0\x0f860000000000001"


def read(data: bytes, piece: int = 1 << 20) -> tuple[Source | None, bytes]:
    """What a stream of `data` in pieces of at most `piece` bytes says, and what is left of it."""
    rest = bytearray(data)

    async def receive(count: int) -> bytes:
        found = bytes(rest[: min(count, piece)])
        del rest[: len(found)]
        return found

    return asyncio.run(read_header(receive)), bytes(rest)


@pytest.mark.parametrize("piece", [1, 5, 1 << 20])
@pytest.mark.parametrize(
    ("data", "source"),
    [
        (header("198.51.100.7", 80), ("198.51.100.7", 80)),
        (header("2001:db8::1", 65535, tlv=bytes(500)), ("2001:db8::1", 65535)),
        (header("198.51.100.7", command=0x20), None),
        (header("198.51.100.7", family=0x12), None),
        (b"PROXY TCP4 198.51.100.7 192.0.2.1 80 1\r\n", ("198.51.100.7", 80)),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        (b"PROXY UNKNOWN\r\n", None),
    ],
    ids=range(7),
)
def test_what_follows_is_left_alone(data: bytes, source: Source | None, piece: int) -> None:
    assert looks_like_header(data)
    assert read(data + TAIL, piece) == (source, TAIL)


@pytest.mark.parametrize("end", range(0, 28, 3))
def test_a_part_of_a_header_is_none(end: int) -> None:
    with pytest.raises(HeaderError, match="closed"):
        read(header("198.51.100.7")[:end])


@given(
    st.binary(max_size=4)
    | st.builds(lambda data: SIGNATURE + data, st.binary(max_size=300))
    | st.builds(lambda data: b"PROXY " + data, st.binary(max_size=200))
    | st.binary(max_size=200)
)
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    try:
        source, rest = read(data)
    except HeaderError:
        return
    assert data.endswith(rest)
    taken = len(data) - len(rest)
    assert taken <= (16 + MAX_LENGTH if data.startswith(SIGNATURE) else MAX_LINE)
    assert source is None or 0 <= source[1] <= 65535


def test_protocols_do_not_look_like_headers() -> None:
    for data in (TAIL, b"#L#860000000000001;NA\r\n", b"\xc0\x80\x04", b"\x16\x03\x01", b"\r\n#L#", b""):
        assert not looks_like_header(data)
