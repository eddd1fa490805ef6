"""`dozor decode` on damaged and invented bytes: it says what each byte is part of, in valid lines, and never fails."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.registry import PROTOCOLS
from tests.gateway.test_decode import run
from tests.protocols.omnicomm_vectors import E1, E3, E5, E9
from tests.protocols.teltonika_vectors import AVL, LOGIN
from tests.protocols.wialon_ips_vectors import W1, W2, W3, W4, W5

WIRES = {
    "teltonika": [LOGIN, *(vector.wire for vector in AVL)],
    "omnicomm": [E1, E3, E5, E9],
    "wialon-ips": [W1, W2, W3, W4, W5],
}
REASONS = {"checksum", "length", "structure", "login", "truncated", "timeout", "unsupported"}
KEYS = {
    "login": {"event", "terminal", "firmware"},
    "record": {
        "event", "time", "lat", "lon", "altitude", "speed", "course", "satellites", "valid", "archive", "measures",
    },
    "message": {"event", "text", "hex"},
    "malformed": {"event", "reason", "offset"},
    "quarantined": {"event", "reason", "offset"},
    "reply": {"event", "hex", "when"},
}  # fmt: skip
NOW = ("--now", "2026-11-29T10:00:00Z")


def spoilt(wires: list[bytes]) -> st.SearchStrategy[bytes]:
    """Frames in any order, with bytes changed, cut out and put in."""
    change = st.tuples(st.floats(0, 1), st.integers(0, 4), st.binary(max_size=4))

    def apply(chosen: list[bytes], changes: list[tuple[float, int, bytes]]) -> bytes:
        data = bytearray(b"".join(chosen))
        for share, length, new in changes:
            at = int(share * len(data))
            data[at : at + length] = new
        return bytes(data)

    return st.builds(apply, st.lists(st.sampled_from(wires), min_size=1, max_size=4), st.lists(change, max_size=3))


def events(protocol: str, pieces: list[bytes]) -> list[dict[str, Any]]:
    """What `--json` says: valid lines of the contract's shapes."""
    done = run(protocol, "-", "--json", *NOW, stdin="\n".join(piece.hex() for piece in pieces if piece))
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    found = []
    for line in done.stdout.decode().splitlines():
        told = json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
        assert set(told) == KEYS[told["event"]], told
        found.append(told)
    return found


@pytest.mark.parametrize("protocol", sorted(WIRES))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_damage_is_an_event(protocol: str, data: Any) -> None:
    wire = data.draw(spoilt([WIRES[protocol][0]]).flatmap(lambda head: spoilt(WIRES[protocol]).map(lambda b: head + b)))
    told = events(protocol, [wire])
    for event in told:
        match event["event"]:
            case "malformed":
                assert event["reason"] in REASONS
                assert 0 <= event["offset"] <= len(wire)
            case "quarantined":
                assert 0 <= event["offset"] <= len(wire)
            case "record":
                assert event["lat"] is None or (-90 <= event["lat"] <= 90 and -180 <= event["lon"] <= 180)
                assert (event["lat"] is None) == (event["lon"] is None)
                assert event["valid"] is (event["lat"] is not None)
                assert event["satellites"] is None or 0 <= event["satellites"] <= 255
            case "login":
                assert event["terminal"].isprintable()
                assert 0 < len(event["terminal"]) <= 64
            case "reply":
                assert bytes.fromhex(event["hex"])
                assert event["when"] in ("now", "after commit")
    if not any(event["event"] == "malformed" for event in told):  # behind damage, what has come already still counts
        cut = data.draw(st.integers(0, len(wire)))
        assert events(protocol, [wire[:cut], wire[cut:]]) == told, "however the stream was cut"
    text = run(protocol, wire.hex() or "-", *NOW)
    assert text.returncode == 0, text.stderr
    assert all(line.isprintable() for line in text.stdout.decode().splitlines())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(PROTOCOLS)), st.binary(max_size=80))
def test_any_bytes_are_told(protocol: str, wire: bytes) -> None:
    for event in events(protocol, [wire]):
        assert event["event"] != "record" or event["time"] is None or event["time"].endswith("Z")
