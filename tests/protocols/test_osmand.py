"""OsmAnd: worked requests, HTTP within bounds, answers in their turn, fields that cannot be, proxies."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.osmand import PROTOCOL, declaration
from protocols.osmand.declaration import JSON, QUERY, get, post, terminal_of
from protocols.osmand.http import MAX_BODY, MAX_HEAD
from protocols.osmand.session import new_session
from protocols.records import (
    IGNITION_KNOWN,
    IGNITION_ON,
    MOVING,
    TIME_UNKNOWN,
    VALID,
    Close,
    Declining,
    Frame,
    Login,
    Malformed,
    Relaying,
    Reply,
)
from protocols.selfnamed import decode_each
from tests.protocols import helpers
from tests.protocols import osmand_vectors as v
from tests.protocols.examples import examples, some
from tests.protocols.helpers import CUTS, of_kind, rows

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def feed(*given: Any, **options: Any) -> list[Any]:
    """Events whose kinds the tests know."""
    return list(helpers.feed(*given, **options))


def place(n: int = 0, **more: Any) -> bytes:
    fields: dict[str, Any] = {"id": v.IMEI, "timestamp": 1_773_480_413 + n, "lat": 55.75, "lon": 37.61}
    return get(**(fields | more))


def read(data: bytes, variant: int = QUERY) -> dict[str, Any]:
    decoded = PROTOCOL.decode([Frame(data, 1, 0, variant)])
    assert decoded.quarantined == []
    (row,) = rows(decoded.batch)
    return row


def reason(data: bytes, variant: int = QUERY) -> str:
    (bad,) = PROTOCOL.decode([Frame(data, 1, 0, variant)]).quarantined
    assert bad.data is None
    return bad.reason


def code(event: Any) -> int:
    return int(event.data.split()[1])


# -- worked requests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", CUTS)
def test_a_connection_of_all(step: int) -> None:
    session = new_session()
    events = feed(session, b"".join(packet.wire for packet in v.VECTORS), step)
    assert [type(event) for event in events] == [Login, Frame, Frame, Reply, Frame, Frame]
    assert events[0] == Login(v.IMEI)
    assert events[3].data == OK
    assert [session.acknowledge(frame) for frame in of_kind(events, Frame)] == [OK] * 4


def test_values() -> None:
    query, pair, form, document = (
        read(frame.data, frame.variant)
        for packet in (v.PLACE, v.PAIR, v.FORM, v.JSON)
        for frame in of_kind(feed(new_session(), packet), Frame)
    )
    assert query == {
        "frame": 0, "position": 0, "time": 1_773_480_413_000_000, "lat": 55.7520123, "lon": 37.6175432,
        "altitude": 168, "speed": pytest.approx(32.94 * 1.852), "course": 274, "satellites": -1,
        "flags": VALID | MOVING,
        "measures": {"accuracy": 5, "battery.level": 87, "param.fuel1": 1893},
    }  # fmt: skip
    assert (pair["time"], pair["lat"], pair["lon"]) == (query["time"], -34.6037, -58.3816)
    assert pair["measures"] == {"driver.key": "A1"}
    assert (form["time"], form["lat"]) == (1_773_480_413_250_000, None)  # milliseconds; not valid
    assert form["flags"] == IGNITION_KNOWN | IGNITION_ON
    assert form["measures"] == {"ignition": 1, "cell": "250,1,8092,42194"}
    assert document["time"] == 1_773_480_413_500_000
    assert (document["altitude"], document["speed"]) == (168.25, pytest.approx(16.95 * 3.6))
    assert document["measures"] == {
        "movement": 1, "odometer": 148_356.5, "accuracy": 5, "battery.level": 87, "param.fuel1": 1893,
        "activity": "in_vehicle", "param.event": "motionchange", "param.note": "x",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("", TIME_UNKNOWN), ("1773480413", 1_773_480_413_000_000), ("1773480413.5", 1_773_480_413_500_000),
        ("2147483647", 2_147_483_647_000_000), ("2147483648", 2_147_483_648_000), ("0", 0),
        ("2026-03-14T09:26:53Z", 1_773_480_413_000_000), ("2026-03-14T12:26:53%2B03:00", 1_773_480_413_000_000),
        ("2026-03-14 09:26:53", 1_773_480_413_000_000), ("x", None), ("2026-02-30 00:00:00", None),
        ("0001-01-01T00:00:00%2B10:00", None), ("99999999999999999", None), ("-5", None),
        ("１７７３４８０４１３", None),
    ],
)  # fmt: skip
def test_times(text: str, time: int | None) -> None:
    data = f"id=1&lat=1&lon=2&timestamp={text}".encode()
    assert reason(data) == "time" if time is None else read(data)["time"] == time


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ("lat=nan&lon=2", "number"), ("lat=inf&lon=2", "number"), ("lat=1_0&lon=2", "number"),
        ("lat=x&lon=2", "number"),
        ("lat=1", "place"), ("lat=90.1&lon=2", "place"), ("lat=1&lon=-180.1", "place"), ("location=1", "place"),
        ("lat=1&lon=2&bearing=361", "course"), ("lat=1&lon=2&speed=nan", "number"),
        ("&".join(f"a{n}=1" for n in range(200)), "structure"),
    ],
)  # fmt: skip
def test_fields_that_cannot_be(fields: str, why: str) -> None:
    assert reason(f"id=1&{fields}".encode()) == why


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"location": None}, "structure"), ({"location": {"coords": 5}}, "structure"),
        ({"location": {"coords": {"latitude": "1"}}}, "number"),
        ({"location": {"coords": {"latitude": True}}}, "number"),
        ({"location": {"coords": {"latitude": 10**400, "longitude": 1}}}, "number"),
        ({"location": {"timestamp": [], "coords": {}}}, "time"),
        ({"location": {"coords": {"latitude": 1}}}, "place"),
    ],
)  # fmt: skip
def test_json_that_cannot_be(change: dict[str, Any], why: str) -> None:
    assert reason(json.dumps(v.DOCUMENT | change).encode(), JSON) == why


def test_json_that_tells_little() -> None:
    told = {"device_id": 7, "location": {"coords": {"latitude": 1, "longitude": 2, "speed": -1, "heading": -1}}}
    row = read(json.dumps(told).encode(), JSON)
    assert (row["time"], row["speed"], row["course"], row["measures"]) == (TIME_UNKNOWN, None, None, {})
    assert terminal_of(json.dumps(told).encode(), JSON) == "7"
    for text in (b"[]", b"{", b"[" * 100_000, b'{"device_id": true}', b"\xff", b'{"device_id": ""}'):
        assert terminal_of(text, JSON) == ""


# -- HTTP --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status", "why"),
    [
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400, "structure"),
        (b"BREW /?id=1 HTTP/1.1\r\n\r\n", 400, "structure"),
        (b"\0\0\0\0\0\0", 400, "structure"),
        (b"GET /?id=1 HTTP/2.0\r\n\r\n", 400, "structure"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD, 431, "length"),
        (f"POST / HTTP/1.1\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n".encode(), 413, "length"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "structure"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "structure"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411, "unsupported"),
    ],
)
def test_what_is_wrong_ends_the_connection_behind_its_answer(request_: bytes, status: int, why: str) -> None:
    for step in CUTS:
        events = feed(new_session(), place() + request_ + place(1), step)
        assert [type(event) for event in events] == [Login, Frame, Malformed, Reply, Close]
        assert (events[2].reason, events[2].offset) == (why, len(place()))
        assert code(events[3]) == status
        assert b"Connection: close" in events[3].data


@pytest.mark.parametrize(
    "request_", [get(lat=1, lon=2), get(id=""), get(id="x" * 65), get(id="a\nb"), b"GET / HTTP/1.1\r\n\r\n"]
)
def test_nobody_is_told_so_and_the_next_request_is_read(request_: bytes) -> None:
    events = feed(new_session(), request_ + place())
    assert [type(event) for event in events] == [Malformed, Reply, Login, Frame]
    assert (events[0].reason, code(events[1])) == ("login", 400)


def test_connections_stay_or_end_as_the_client_wishes() -> None:
    old = place().replace(b"HTTP/1.1", b"HTTP/1.0")
    closing = place().replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    for last in (old, closing):
        session = new_session()
        events = feed(session, place() + last + place(2))
        assert [type(event) for event in events] == [Login, Frame, Frame, Close]
        answers = [session.acknowledge(frame) for frame in of_kind(events, Frame)]
        assert [b"Connection: close" in answer for answer in answers] == [False, True]
    kept = old.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n")
    assert len(of_kind(feed(new_session(), kept + kept), Frame)) == 2


def test_expect_continue() -> None:
    head, body = v.FORM.split(b"\r\n\r\n")
    session = new_session()
    events = feed(session, head + b"\r\nExpect: 100-continue\r\n\r\n", close=False)
    assert [event.data for event in events] == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    assert [type(event) for event in feed(session, body)] == [Login, Frame]


def test_a_cut_request_is_truncated_at_every_byte() -> None:
    for cut in range(1, len(v.FORM)):
        (event,) = feed(new_session(), v.FORM[:cut])
        assert (event.reason, event.offset) == ("truncated", 0)


def test_bodies_are_told_from_queries() -> None:
    body = b"id=2&lat=1&lon=2"
    (frame,) = of_kind(feed(new_session(), post(body, "text/plain")), Frame)
    assert (frame.data, frame.variant) == (body, QUERY)
    document = json.dumps(v.DOCUMENT).encode()
    (frame,) = of_kind(feed(new_session(), post(document, "text/plain")), Frame)
    assert (frame.data, frame.variant) == (document, JSON)


# -- answers -----------------------------------------------------------------------------------------------------------


def test_refusals_and_a_store_that_refuses() -> None:
    for request_, status in ((place(), 400), (v.JSON, 404)):
        session = new_session()
        session.receive_data(request_, 0.0)
        reply, close = session.refuse()
        assert (code(reply), type(close)) == (status, Close)
    session = new_session()
    assert isinstance(session, Declining)
    assert isinstance(session, Relaying)
    first, *_ = of_kind(feed(session, place() + place(1) + place(2), close=False), Frame)
    assert session.acknowledge(first) == OK
    told = session.decline()
    assert told.count(b" 503 ") == 2
    assert told.count(b"Connection: close") == 1
    assert told.endswith(b"Connection: close\r\n\r\n")


def test_what_cannot_be_decoded_is_kept_and_answered_400() -> None:
    session = new_session()
    (frame,) = of_kind(feed(session, place(lat="x")), Frame)
    decoded = PROTOCOL.decode([frame])
    assert b" 400 " in session.acknowledge(frame, decoded.quarantined)


def test_behind_a_proxy_each_request_names_its_own() -> None:
    session = new_session()
    events = feed(session, place() + place(id="other") + place(1))
    frames = of_kind(events, Frame)
    assert [frame.terminal for frame in frames] == ["", "other", ""]
    assert len(of_kind(events, Login)) == 1
    assert session.acknowledge(frames[0]) == OK
    assert b" 400 " in session.reject(frames[1])


def test_nobody_pins_memory_before_its_login_is_decided() -> None:
    session = new_session()
    session.receive_data(place(), 0.0)
    told: list[Any] = [event for _ in range(100) for event in session.receive_data(bytes(16384), 0.0)]
    assert [type(event) for event in told] == [Malformed, Reply, Close]
    assert not session._buffer


@examples(200)
@given(
    st.floats(-90, 90), st.floats(-180, 180), st.floats(0, 300), st.integers(0, 360),
    st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=4),
)  # fmt: skip
def test_what_is_built_is_read(lat: float, lon: float, speed: float, course: int, more: dict[str, str]) -> None:
    fields: dict[str, Any] = {f"x{name}": value for name, value in more.items()}
    (frame,) = of_kind(feed(new_session(), place(lat=lat, lon=lon, speed=speed, bearing=course, **fields)), Frame)
    row = read(frame.data)
    assert (row["lat"], row["lon"], row["course"]) == (lat, lon, course)
    assert row["speed"] == pytest.approx(speed * 1.852, rel=1e-6, abs=1e-9)
    for value in row["measures"].values():
        assert isinstance(value, str) or math.isfinite(value)


def test_mutated_requests_never_raise() -> None:
    dice = random.Random(13)
    for _ in range(some(3000)):
        data = bytearray(dice.choice(v.VECTORS).wire)
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        wire = bytes(data) + place()
        frames = of_kind(feed(new_session(), wire), Frame)
        decoded = PROTOCOL.decode(frames)
        assert len(decoded.batch) + len(decoded.quarantined) == len(frames)
        assert PROTOCOL.anatomy is not None
        assert sum(unit.size for unit in PROTOCOL.anatomy(wire)) == len(wire)


def test_beginnings() -> None:
    assert PROTOCOL.begins is not None
    assert all(PROTOCOL.begins(packet.wire, "tcp") for packet in v.VECTORS)
    assert [PROTOCOL.begins(data, "tcp") for data in (b"", b"G", b"POST ", b"P")] == [None] * 4
    assert [PROTOCOL.begins(data, "tcp") for data in (b"X", b"GET x", b"\0", b"HEAD /", b"GET / ")] == [False] * 5
    assert (PROTOCOL.command_problem, new_session().encode_command("x")) == (None, b"")


_VALUES = {
    "id": ["a", "b"],
    "timestamp": ["1700000000", "1700000000123", "0", "99999999999999", "2023-01-01T00:00:00Z", "", "253402300800000"],
    "lat": ["1.5", "-91", "90", "", "x", "1_0", "nan", "0"],
    "lon": ["1.5", "181", "-180", "2"],
    "speed": ["1.5", "0", "1e308", "inf", "-1", ""],
    "bearing": ["0", "360", "361", "-1", "5"],
    "altitude": ["10", "5", " 5"],
    "valid": ["true", "false", "0", "1", ""],
    "ignition": ["true", "1", "0"],
    "charge": ["true", "x"],
    "hdop": ["1", "nan", "9e15"],
    "batt": ["50", "9007199254740991", "9007199254740992"],
    "foo": ["1", "bar", "1_0", ""],
    "accuracy": ["5"],
    "x" * 50: ["3"],
    "x" * 51: ["4"],
    "heading": ["5"],
    "driverUniqueId": ["q"],
    "location": ["1,2"],
    "": ["5"],
    "a%20b": ["1"],
    "é": ["1"],
}  # fmt: skip


@pytest.mark.parametrize("seed", range(some(40)))
def test_queries_read_together_say_what_each_says_alone(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(10):
        usual = chance.random() < 0.8
        names = chance.sample(list(_VALUES)[: 14 if usual else None], chance.randint(1, 9))
        odd = chance.choice([0, 0.02, 0.2])
        frames = []
        for _ in range(chance.randint(8, 30)):
            told = [f"{name}={_VALUES[name][0]}" if chance.random() >= odd else f"{name}={chance.choice(_VALUES[name])}"
                    for name in names]  # fmt: skip
            behind = chance.choice(["&", "&b", "=", "&id=x", "&lat=5"]) if chance.random() < 0.02 else ""
            frames.append(Frame(("&".join(told) + behind).encode(), 1, 0, QUERY))
        together, alone = PROTOCOL.decode(frames), decode_each(frames, declaration.read)
        assert rows(together.batch) == rows(alone.batch)
        assert sorted((one.frame, one.reason) for one in together.quarantined) == [
            (one.frame, one.reason) for one in alone.quarantined
        ]


@pytest.mark.parametrize("digits", range(10, 25))
def test_times_of_any_length_read_together_are_what_each_is_alone(digits: int) -> None:
    frames = [Frame(f"id=a&timestamp={9 * 10 ** (digits - 1) + n}&lat=1.5&lon=1.5".encode(), 1, 0, QUERY)
              for n in range(12)]  # fmt: skip
    together, alone = PROTOCOL.decode(frames), decode_each(frames, declaration.read)
    assert rows(together.batch) == rows(alone.batch)
    assert [(one.frame, one.reason) for one in together.quarantined] == [
        (one.frame, one.reason) for one in alone.quarantined
    ]


@pytest.mark.parametrize(
    "query",
    [
        "id=a&id=b&lat=1",
        "id=a&device_id=b&lat=1",
        "id=a&%69d=b&lat=1",
        "id=a%26lat=1",
        "id=a&",
        "id=a&&id",
        "lat=1&id=b",
    ],
)
def test_what_a_read_takes_at_once_is_for_certain_of_who_logged_in(query: str) -> None:
    session = new_session()
    session.receive_data(get(id="a", lat=1, lon=1), 0)
    session.accept(0)
    head = b" HTTP/1.1\r\nHost: dozor\r\n\r\n"
    assert session.run(b"GET /?id=a&lat=1" + head) is not None
    assert session.run(b"GET /?" + query.encode() + head) is None
    assert session.run(b"GET /?id=a&lat=1 HTTP/1.0\r\n\r\n") is None  # it closes
