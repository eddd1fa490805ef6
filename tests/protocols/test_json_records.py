"""JSON payloads: every shape, every rule, and nothing that raises."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.json_records import PROTOCOL, Template, TemplateError, pack, read
from protocols.json_records.reading import MAX_PAYLOAD
from protocols.records import IGNITION_ON, VALID, Batch, Frame
from tests.protocols.examples import examples

OWN = (
    b'{"ts":1773480413000,"lat":55.7520123,"lon":37.6175432,"speed":61,"sats":11,'
    b'"sensors":[{"id":"lls1","level":1893,"temp":-7}]}'
)  # sheet MQTT, section 12, example 3
OWNTRACKS = (
    b'{"_type":"location","lat":55.7520123,"lon":37.6175432,"tst":1773480413,"vel":61,"cog":274,"alt":168,"acc":5,'
    b'"batt":87}'
)  # sheet MQTT, section 12, example 4
FLESPI = (
    b'[{"ident":"352093081429150","timestamp":1773480413.5,"position.latitude":55.75,"position.longitude":37.61,'
    b'"position.speed":61,"position.direction":274,"position.altitude":168,"position.satellites":11,'
    b'"position.valid":true,"engine.ignition.status":true,"external.powersource.voltage":12.6,'
    b'"gps.vehicle.mileage":1234.5,"custom.x":"a"}]'
)  # keys as in traccar/traccar, FlespiProtocolDecoder
TELTONIKA = (
    b'{"state":{"reported":{"ts":1773480413000,"pr":0,"latlng":"55.7520123,37.6175432","alt":168,"ang":274,"sat":11,'
    b'"sp":61,"evt":240,"201":1893,"203":-2,"66":12600,"239":1,"16":1234500,"21":4,"9999":7}}}'
)  # Teltonika wiki, MQTT


def columns(payload: bytes, template: Template | None = None, terminal: str = "") -> tuple[Batch, dict[str, Any]]:
    """The one record of a payload: its columns, and its measures."""
    reading = read(payload, template)
    assert not reading.refused, reading.refused
    ((named, records),) = reading.records.items()
    assert named == terminal
    decoded = PROTOCOL.decode([Frame(pack(records))])
    assert not decoded.quarantined
    batch = decoded.batch
    assert len(batch) == 1
    measures = {
        name: float(group.values[0, n]) for group in batch.groups for n, name in enumerate(group.names)
        if group.values[0, n] == group.values[0, n]
    }  # fmt: skip
    return batch, measures | batch.extra.get(0, {})


@pytest.mark.parametrize(
    ("payload", "terminal", "measures"),
    [
        (OWN, "", {"fuel.level.1": 1893.0, "fuel.temperature.1": -7.0}),
        (OWNTRACKS, "", {"param.acc": 5.0, "battery.level": 87.0}),
        (TELTONIKA, "", {"priority": 0.0, "event": 240.0, "fuel.level.1": 1893.0, "fuel.status.2": -2.0,
                         "power.external": 12.6, "ignition": 1.0, "odometer": 1234500.0, "gsm.signal": 80.0,
                         "io.9999": 7.0}),
    ],
    ids=["own", "owntracks", "teltonika"],
)  # fmt: skip
def test_a_position_in_each_shape(payload: bytes, terminal: str, measures: dict[str, Any]) -> None:
    batch, told = columns(payload, terminal=terminal)
    assert batch.time[0] == 1773480413_000_000
    assert (batch.lat[0], batch.lon[0], batch.speed[0]) == (55.7520123, 37.6175432, 61)
    assert batch.flags[0] & VALID
    assert told == measures


def test_flespi() -> None:
    batch, told = columns(FLESPI, terminal="352093081429150")
    assert (batch.time[0], batch.satellites[0], batch.course[0], batch.altitude[0]) == (
        1773480413_500_000,
        11,
        274,
        168,
    )
    assert batch.flags[0] & IGNITION_ON
    assert told == {"ignition": 1.0, "power.external": 12.6, "odometer": 1234500.0, "param.custom.x": "a"}


@pytest.mark.parametrize(
    ("record", "measures"),
    [
        ({"fuel.level.1": "12"}, {"fuel.level.1": 12.0}),  # numbers may be texts
        ({"temperature": "12"}, {"param.temperature": "12"}),  # of what is unknown a text stays one
        ({"power.external": None, "x": None}, {}),  # null is absent
        ({"door": True}, {"param.door": 1.0}),
        ({"can": {"a": [1, {"b": 2}]}}, {"param.can.a.1": 1.0, "param.can.a.2.b": 2.0}),
        ({"big": 123456789012345678}, {"param.big": 123456789012345678}),
        ({"x": "a\0b"}, {"param.x": "a\ufffdb"}),  # the store holds no NUL
        ({"sensors": [{"id": "lls2", "level": 7, "status": 0}]}, {"fuel.level.2": 7.0, "fuel.status.2": 0.0}),
        ({"sensors": [{"id": "lls2", "level": 0, "status": 5}]}, {"fuel.status.2": 5.0}),  # an error is never 0
        ({"sensors": [{"level": None, "status": 1}]}, {"fuel.status.1": 1.0}),
        ({"sensor": "lls1", "level": 1893, "unit": "N", "temp": -7, "status": 0},
         {"fuel.level.1": 1893.0, "fuel.status.1": 0.0, "fuel.temperature.1": -7.0}),
    ],
)  # fmt: skip
def test_measures(record: dict[str, Any], measures: dict[str, Any]) -> None:
    assert columns(json.dumps({"ts": 1773480413, **record}).encode())[1] == measures


def test_a_time_in_seconds_or_milliseconds() -> None:
    for told, us in (
        (1773480413, 1773480413_000_000),
        (1773480413123, 1773480413_123_000),
        ("1773480413.5", 1773480413_500_000),
    ):
        assert columns(json.dumps({"ts": told}).encode())[0].time[0] == us


def test_without_a_fix() -> None:
    batch, _ = columns(b'{"ts":1773480413,"lat":55.7,"lon":37.6,"valid":false,"speed":3}')
    assert np.isnan(batch.lat[0])
    assert np.isnan(batch.lon[0])
    assert not batch.flags[0] & VALID
    assert batch.speed[0] == 3


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "structure"), (b"\xff", "structure"), (b"null", "structure"), (b"[]", "count"), (b"5", "structure"),
        (b'{"ts":1', "structure"), (b'{"ts":1,"ts":2}', "structure"), (b'{"ts":1,"a":{"b":1,"b":2}}', "structure"),
        (b'{"ts":NaN}', "structure"), (b'{"ts":1,"a":Infinity}', "structure"), (b'{"ts":1,"a":1e999}', "structure"),
        (b"[" * 30_000, "structure"), (b'{"ts":1,"a":' + b"[" * 8 + b"]" * 8 + b"}", "structure"),
        (b"[" + b'{"ts":1},' * 1000 + b'{"ts":1}]', "count"), (b" " * MAX_PAYLOAD + b"{}", "length"),
        (b"{}", "time"), (b'{"ts":null}', "time"), (b'{"ts":0}', "time"), (b'{"ts":1e18}', "time"),
        (b'{"ts":"soon"}', "value"), (b'{"ts":1773480413,"lat":91,"lon":0}', "position"),
        (b'{"ts":1773480413,"speed":1e300}', "value"), (b'{"_type":"encrypted","data":"x"}', "unsupported"),
    ],
    ids=lambda value: str(value[:24]),
)  # fmt: skip
def test_what_is_no_record_is_refused(payload: bytes, reason: str) -> None:
    reading = read(payload)
    assert not reading.records
    assert [(refusal.data, refusal.reason) for refusal in reading.refused] == [(payload, reason)]


def test_the_deepest_and_the_longest_that_is_read() -> None:
    assert columns(b'{"ts":1773480413,"a":' + b"[" * 7 + b"1" + b"]" * 7 + b"}")[1] == {"param.a" + ".1" * 7: 1.0}
    reading = read(b"[" + b",".join(b'{"ts":%d}' % (1773480413 + n) for n in range(1000)) + b"]")
    assert len(reading.records[""]) == 1000
    assert not reading.refused


def test_a_bad_member_costs_its_neighbours_nothing() -> None:
    reading = read(b'[{"ts":1773480413},{"lat":1},{"ts":1773480414},7]')
    assert [record["us"] for record in reading.records[""]] == [1773480413_000_000, 1773480414_000_000]
    assert [(refusal.data, refusal.reason) for refusal in reading.refused] == [
        (b'{"lat":1}', "time"),
        (b"7", "structure"),
    ]


def test_notes_are_evidence() -> None:
    (note,) = read(b'{"RSP":"Ver:03.27.07"}').notes
    assert (note.kind, note.text) == ("teltonika answer", '{"RSP":"Ver:03.27.07"}')
    (note,) = read(b'{"_type":"transition","event":"enter"}').notes
    assert note.kind == "owntracks transition"


def test_many_names_go_to_the_exact_ones() -> None:
    batch, told = columns(json.dumps({"ts": 1773480413, **{f"x{n}": n for n in range(1000)}}).encode())
    assert len(told) == 1000
    assert len(batch.groups[0].names) == 512


@examples(100)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=8) | st.sampled_from(("ts", "lat", "lon", "sensors", "speed", "_type", "state", "valid")),
            inner, max_size=6,
        ),
        max_leaves=30,
    )
)  # fmt: skip
def test_nothing_raises(value: Any) -> None:
    members = value if isinstance(value, list) else [value]
    for payload in (json.dumps(value), json.dumps([{"ts": 1773480413, "a": member} for member in members])):
        for records in read(payload.encode("utf-8", "surrogatepass")).records.values():
            data = pack(records)
            assert PROTOCOL.decode([Frame(data)]).quarantined == []


@examples(100)
@given(st.binary(max_size=200))
def test_bytes_that_are_none_of_ours(data: bytes) -> None:
    decoded = PROTOCOL.decode([Frame(data), Frame(pack([{"us": 1, "m": {}}]))])
    assert len(decoded.batch) >= 1
    read(data)


# -- templates ----------------------------------------------------------------------------------------------------

TABLE = {
    "terminal": "dev.id",
    "records": "items",
    "fields": {
        "ts": "t", "lat": "pos.0", "lon": "pos.1", "alt": "pos.2", "valid": "ok",
        "fuel.level.1": {"path": "tank.raw", "scale": 0.1, "offset": -5},
        "driver": "who",
    },
}  # fmt: skip


def test_a_template() -> None:
    payload = (
        b'{"items":[{"dev":{"id":77},"t":1773480413,"pos":["55.75",37.6,168],"ok":1,"tank":{"raw":"1050"},"who":"A",'
        b'"z":3}]}'
    )
    batch, told = columns(payload, Template.of(TABLE), terminal="77")
    assert (batch.lat[0], batch.lon[0], batch.altitude[0]) == (55.75, 37.6, 168)
    assert told == {"fuel.level.1": 100.0, "param.driver": "A", "param.z": 3.0}
    assert columns(payload, Template.of(TABLE | {"unknown": "drop"}), terminal="77")[1] == {
        "fuel.level.1": 100.0,
        "param.driver": "A",
    }


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"items":[{"t":1773480413}]}', "identity"), (b'{"items":[{"dev":{"id":1}}]}', "time"),
        (b'{"item":[]}', "structure"), (b'{"items":[{"dev":{"id":1},"t":1,"tank":{"raw":"x"}}]}', "value"),
        (b'[1]', "structure"),
    ],
)  # fmt: skip
def test_what_a_template_does_not_find(payload: bytes, reason: str) -> None:
    assert [refusal.reason for refusal in read(payload, Template.of(TABLE)).refused] == [reason]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({}, "fields: is no table of fields"),
        ({"fields": {"lat": "a"}}, "fields: has no ts"),
        ({"fields": {"ts": ""}}, "fields.ts: is no path"),
        ({"fields": {"ts": "a..b"}}, "fields.ts: is no path"),
        ({"fields": {"ts": {"path": "a", "factor": 2}}}, "fields.ts: is no path"),
        ({"fields": {"ts": {"path": "a", "scale": "2"}}}, "fields.ts: scale is not a number"),
        ({"fields": {"ts": "a"}, "unknown": "warn"}, "unknown: is not known"),
        ({"fields": {"ts": "a"}, "topic": "a/{terminal}/{terminal}"}, "topic: is no topic"),
        ({"fields": {"ts": "a"}, "topic": "a/#"}, "topic: is no topic"),
        ({"fields": {"ts": "a"}, "topics": "a"}, "topics: unknown key"),
    ],
)
def test_what_is_wrong_with_a_template_is_named(table: dict[str, Any], told: str) -> None:
    with pytest.raises(TemplateError, match=told.replace(".", r"\.")):
        Template.of(table)


def test_topics_of_a_template() -> None:
    template = Template.of(TABLE | {"topic": "fleet/{terminal}/+/up"})
    assert template.terminal_of(["fleet", "7", "x", "up"]) == "7"
    assert template.terminal_of(["fleet", "7", "x", "down"]) is None
    assert template.terminal_of(["fleet", "7", "up"]) is None
