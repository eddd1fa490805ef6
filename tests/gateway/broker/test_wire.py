"""MQTT 5 on the wire: packets cut anywhere, and bytes that no broker should send."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.receive.broker import wire

# MQTT 5.0, sections 3.2, 3.3, 3.9, 3.13, 3.14; the sheet's worked example 1 for the message.
CONNACK = bytes.fromhex("20 13 01 00 10 21 0014 13 001e 11 00000064 1f 0002 6f6b".replace(" ", ""))
SUBACK = bytes.fromhex("90 05 0001 00 01 87".replace(" ", ""))
PUBLISH = bytes.fromhex("32 0f 0003 612f62 0007 05 01 00 23 0001 00 ff".replace(" ", ""))
QOS_0 = bytes.fromhex("31 06 0001 61 00 4142".replace(" ", ""))
DISCONNECT = bytes.fromhex("e0 02 8e 00".replace(" ", ""))
PONG = bytes.fromhex("d000")
STREAM = CONNACK + SUBACK + PUBLISH + QOS_0 + PONG + DISCONNECT
PACKETS = [
    wire.Connected(session_present=True, reason=0, told="ok", keep_alive=30, expiry=100),
    wire.Subscribed(1, (1, 0x87)),
    wire.PublishIn(b"a/b", b"\x00\xff", 7, retain=False),
    wire.PublishIn(b"a", b"AB", 0, retain=True),
    wire.Pong(),
    wire.Disconnected(wire.TAKEN_OVER),
]


def test_the_vectors_are_whole() -> None:
    assert CONNACK[1] == len(CONNACK) - 2
    assert PUBLISH[1] == len(PUBLISH) - 2


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_packets_do_not_depend_on_how_the_stream_was_cut(step: int) -> None:
    reader, found = wire.Reader(1 << 20), []
    for at in range(0, len(STREAM), step):
        reader.feed(STREAM[at : at + step])
        while some := reader.packets(2):
            found += some
    assert found == PACKETS
    assert reader.waiting == 0


def test_no_more_packets_than_asked_for() -> None:
    reader = wire.Reader(1 << 20)
    reader.feed(PONG * 5)
    assert len(reader.packets(3)) == 3
    assert reader.waiting == 4


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("3480", None),  # a length that goes on
        ("34050001610001", "QoS 2"), ("320400016100", "cut short"), ("30020001", "cut short"),
        ("3205000161 0000", "identifier 0"), ("30050001 61 0541", "properties cut short"),
        ("20020000", "is it MQTT 5"), ("9002 0001", "SUBACK cut short"), ("40020001", "does not expect"),
        ("f000", "does not expect"), ("3080808001", "and it was told"), ("30ffffffff01", "more than four bytes"),
        ("2006 0000 03 7f 0000", "unknown property"), ("2005 0000 02 13 00", "a property cut short"),
    ],
)  # fmt: skip
def test_what_no_broker_should_send_ends_it(data: str, told: str | None) -> None:
    reader = wire.Reader(1 << 20)
    reader.feed(bytes.fromhex(data.replace(" ", "")))
    if told is None:
        assert reader.packets(9) == []
        return
    with pytest.raises(wire.WireError, match=told):
        reader.packets(9)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 255))
def test_no_bytes_raise_anything_else(data: bytes, head: int) -> None:
    for each in (data, bytes([head, len(data)]) + data):
        reader = wire.Reader(50)
        reader.feed(each)
        try:
            reader.packets(100)
        except wire.WireError:
            continue


def test_what_we_say() -> None:
    hello = wire.connect("dozor", "u", b"p", keep_alive=60, receive_maximum=5, max_packet=9)
    assert hello == bytes.fromhex(
        "10 25 0004 4d515454 05 c0 003c 0d 11 00093a80 21 0005 27 00000009 0005 646f7a6f72 0001 75 0001 70".replace(
            " ", ""
        )
    )
    filters = [wire.Filter("a/+"), wire.Filter("b", wire.Retained.ALWAYS)]
    assert wire.subscribe(2, filters) == bytes.fromhex("82 0d 0002 00 0003 612f2b 19 0001 62 09".replace(" ", ""))
    assert wire.unsubscribe(2, ["a"]) == bytes.fromhex("a2 06 0002 00 0001 61".replace(" ", ""))
    assert wire.puback([1, 0x1234]) == bytes.fromhex("4002000140021234")
    assert wire.disconnect() == bytes.fromhex("e000")
    assert wire.disconnect(forget=True) == bytes.fromhex("e007 00 05 11 00000000".replace(" ", ""))
