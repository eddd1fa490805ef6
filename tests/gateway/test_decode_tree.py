"""`dozor decode auto` and `--tree`: which protocol it is, and each byte by name before what came of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.test_decode import run
from tests.gateway.test_decode_any import WIRES, spoilt
from tests.protocols.teltonika_vectors import AVL, CODEC_8, LOGIN, UDP_8E
from tests.protocols.wialon_ips_vectors import W1, W4, W6, W11

NOW = ("--now", "2026-11-29T10:00:00Z")


def events(*args: str, stdin: str = "") -> list[dict[str, Any]]:
    """The lines of a run that worked."""
    done = run(*args, "--json", *NOW, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def whole(told: list[dict[str, Any]]) -> bytes:
    """The bytes that were named, which leave no gap."""
    named = [event for event in told if event["event"] == "bytes"]
    at = 0
    for event in named:
        assert set(event) == {"event", "offset", "hex", "field", "value"}
        assert event["offset"] == at
        assert event["hex"]
        at += len(event["hex"]) // 2
    return bytes.fromhex("".join(event["hex"] for event in named))


def kinds(told: list[dict[str, Any]]) -> list[str]:
    """Kinds of events in order, bytes of one unit once."""
    found = [event["event"] for event in told]
    return [kind for place, kind in enumerate(found) if kind != "bytes" or found[place - 1 : place] != ["bytes"]]


@pytest.mark.parametrize("name", WIRES)
def test_auto_is_the_protocol_said_first_and_nothing_else_changes(name: str) -> None:
    for pieces in (WIRES[name], WIRES[name][1:]):  # also from behind the login
        stdin = "\n".join(piece.hex() for piece in pieces)
        told = events("auto", "-", stdin=stdin)
        assert told[0] == {"event": "protocol", "protocol": name}
        assert told[1:] == events(name, "-", stdin=stdin)


def test_auto_over_udp_and_of_text() -> None:
    assert events("auto", UDP_8E.wire.hex(), "--udp")[0]["protocol"] == "teltonika"
    assert events("auto", W11.hex(), "--udp")[0]["protocol"] == "wialon-ips"
    line = "2026-11-21 10:00:00 <- #SD#210325;081507;NA;NA;NA;NA;0;0;0;0"
    assert [event["event"] for event in events("auto", line)] == ["protocol", "record", "reply"]
    assert b"protocol   teltonika" in run("auto", LOGIN.hex()).stdout


@pytest.mark.parametrize(
    ("given", "reason", "note"),
    [
        ("5353482d322e", "structure", b"no protocol that is told by its first bytes begins so: teltonika, omnicomm"),
        ("000f33", "truncated", b"may be teltonika: more bytes would tell"),
        ("", None, b"may be"),
    ],
)
def test_auto_never_guesses(given: str, reason: str | None, note: bytes) -> None:
    done = run("auto", "--json", "--tree", "-", stdin=given)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, told[0]) == (0, {"event": "protocol", "protocol": None})
    assert note in done.stderr
    assert [event["reason"] for event in told if event["event"] == "malformed"] == ([reason] if reason else [])
    assert whole(told).hex() == given


@pytest.mark.parametrize("name", WIRES)
def test_every_byte_is_named_before_what_came_of_it(name: str) -> None:
    stream = b"".join(WIRES[name])
    for pieces in ([stream], [bytes((byte,)) for byte in stream], WIRES[name]):
        stdin = "\n".join(piece.hex() for piece in pieces)
        told = events(name, "-", "--tree", stdin=stdin)
        assert whole(told) == stream
        assert [event for event in told if event["event"] != "bytes"] == events(name, "-", stdin=stdin)


def test_each_frame_s_bytes_stand_before_its_events() -> None:
    told = events("teltonika", (LOGIN + AVL[0].wire + AVL[1].wire).hex(), "--tree")
    records = [["record"] * frame.wire[9] for frame in AVL[:2]]
    assert kinds(told) == ["bytes", "login", "reply", "bytes", *records[0], "reply", "bytes", *records[1], "reply"]
    offsets = [told[place + 1]["offset"] for place, event in enumerate(told[:-1]) if event["event"] == "reply"]
    assert offsets == [len(LOGIN), len(LOGIN) + len(AVL[0].wire)]
    told = events("wialon-ips", (W1 + W6 + W4 + W6).hex(), "--tree")
    assert kinds(told)[:5] == ["bytes", "login", "reply", "bytes", "reply"]
    assert kinds(told)[-2:] == ["bytes", "reply"]


def test_behind_an_assumed_login_offsets_count_what_was_given() -> None:
    for args in ((), ("--terminal", "356307042441013")):
        told = events("teltonika", CODEC_8.wire.hex(), "--tree", *args)
        assert whole(told) == CODEC_8.wire
        assert told[0]["field"] == "preamble"


def test_datagrams_are_named_one_by_one() -> None:
    told = events("teltonika", "-", "--udp", "--tree", stdin=f"{UDP_8E.wire.hex()}\n{UDP_8E.wire.hex()}")
    assert whole(told) == UDP_8E.wire * 2
    assert [event["event"] for event in told].count("login") == 2


def test_what_follows_a_close_is_named_too() -> None:
    data = LOGIN + b"\x01\x02" + CODEC_8.wire
    told = events("teltonika", data.hex(), "--tree")
    assert whole(told) == data
    assert told[-1]["event"] == "malformed"


@pytest.mark.parametrize("name", WIRES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_bytes_are_named_and_their_events_stay(name: str, data: st.DataObject) -> None:
    wire = data.draw(spoilt(WIRES[name]))
    told = events(name, "-", "--tree", stdin=wire.hex())
    assert whole(told) == wire
    assert [event for event in told if event["event"] != "bytes"] == events(name, "-", stdin=wire.hex())


def test_for_people_nothing_from_the_wire_is_printed_unescaped() -> None:
    shown = run("wialon-ips", "-", "--tree", stdin=b"#M#\x1b[2J\xc2\x9b\x07\r\n".hex()).stdout.decode()
    assert shown.replace("\n", "").isprintable()
    assert r"\x1b[2J" in shown
