"""JSON, second reading: one measure is of one type however it is written, and nothing of a payload is lost."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocols.json_records import PROTOCOL, Template, TemplateError, pack, read
from protocols.measures import MEASURES
from protocols.records import VALID, Frame
from tests.protocols.examples import examples
from tests.protocols.test_json_records import columns

TS = 1773480413
PATIENT = examples(150)
TEXTS = {name for name, entry in MEASURES.items() if entry.unit == "text"} | {"vin", "driver.key"}
OPEN = ("param.<name>", "io.<id>", "io.<id>.N")  # numbers or texts, as the terminal has them


def told(**record: Any) -> dict[str, Any]:
    """The measures of one record of our own shape."""
    return columns(json.dumps({"ts": TS, **record}).encode())[1]


def named(entry: str) -> str:
    """A name as a record carries it."""
    return entry.replace("<name>", "x").replace("<id>", "5").replace("SPN", "7").replace(".N", ".1")


NAMES = sorted({named(name) for name in MEASURES if name not in OPEN})
TEXT_NAMES = {named(name) for name in TEXTS}


@pytest.mark.parametrize("name", NAMES)
def test_a_measure_is_of_one_type_however_it_is_written(name: str) -> None:
    """What is no number never stands under the name of one: charts and detectors would meet both."""
    for value in (5, 5.5, "5", "open", "nan", "1_0", " ", True, [1], {"a": "b"}, 2**60, str(2**60)):
        found = told(**{name: value})
        assert all(type(what) is str for at, what in found.items() if at in TEXT_NAMES)
        assert all(isinstance(what, float | int) for at, what in found.items() if at in NAMES and at not in TEXT_NAMES)
        assert found, "and it is not lost"
    assert told(**{name: "5"}) == ({name: "5"} if name in TEXT_NAMES else {name: 5.0})
    if name not in TEXT_NAMES:
        assert told(**{name: "open"}) == {f"param.{name}": "open"}


@pytest.mark.parametrize(
    ("record", "measures"),
    [
        ({"ignition": "true", "movement": "FALSE"}, {"ignition": 1.0, "movement": 0.0}),
        ({"ignition": "on"}, {"param.ignition": "on"}),
        ({"power.external": "true"}, {"param.power.external": "true"}),  # no voltage is true
        ({"driver.key": 0x3D000012AB34CD01}, {"driver.key": "3d000012ab34cd01"}),  # a number is lower-case hex
        ({"driver.key": "3D000012AB34CD01"}, {"driver.key": "3D000012AB34CD01"}),  # a text stays
        ({"vin": 12}, {"vin": "12"}),
        ({"events": 4}, {"events": "4"}),
        ({"odometer": "9007199254740993"}, {"odometer": 2**53 + 1}),  # exact beyond what a float holds
        ({"odometer": "12_345"}, {"param.odometer": "12_345"}),  # Python's own way to write it
        ({"odometer": "١٢"}, {"param.odometer": "١٢"}),
        ({"can": {"engine": {"rpm": 900}}}, {"can.engine.rpm": 900.0}),  # nested names are names
        ({"ignition": {"key": 1}}, {"param.ignition.key": 1.0}),
        ({"io.5": "0a0b", "io.5.2": 7}, {"io.5": "0a0b", "io.5.2": 7.0}),  # an id may be either
    ],
)
def test_types(record: dict[str, Any], measures: dict[str, Any]) -> None:
    assert told(**record) == measures


def test_a_text_never_says_whether_the_ignition_is_on() -> None:
    batch, _ = columns(b'{"ts":1773480413,"ignition":"off"}')
    assert batch.flags[0] == 0


# -- what is lost ---------------------------------------------------------------------------------------------------

keys = st.text(st.characters(codec="ascii", categories=("L", "Nd")), min_size=1, max_size=6).map(lambda k: f"q{k}")
leaves = st.integers(-(2**63) + 1, 2**63 - 1) | st.text(max_size=6) | st.floats(allow_nan=False, allow_infinity=False)
nested = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)


def flat(name: str, value: Any) -> dict[str, Any]:
    """Leaves by their dotted names, counted from 1 in lists; written anew, for comparison."""
    if isinstance(value, dict):
        return {at: leaf for key, inner in value.items() for at, leaf in flat(f"{name}.{key}", inner).items()}
    if isinstance(value, list):
        return {at: leaf for n, inner in enumerate(value) for at, leaf in flat(f"{name}.{n + 1}", inner).items()}
    return {name: value}


def same(found: Any, leaf: Any) -> bool:
    if isinstance(leaf, str):
        return bool(found == leaf.replace("\0", "\ufffd").encode("utf-8", "replace").decode())
    return bool(found == leaf)


@PATIENT
@given(st.dictionaries(keys, nested, max_size=5))
def test_what_nobody_knows_is_kept_leaf_by_leaf(record: dict[str, Any]) -> None:
    found = told(**record)
    wanted = flat("param", record)
    assert found.keys() == wanted.keys()
    assert all(same(found[name], leaf) for name, leaf in wanted.items())


sensors = st.lists(
    st.fixed_dictionaries(
        {"level": st.integers(0, 4095)},
        optional={
            "id": st.sampled_from(["lls1", "A1", "B1", "2", "tank", "x2", 3]),
            "temp": st.integers(-40, 80), "status": st.sampled_from([0, 5]),
        },
    ),
    max_size=5,
)  # fmt: skip


@PATIENT
@given(sensors)
@example([{"id": "A1", "level": 5}, {"id": "B1", "level": 6}])
@example([{"id": "A1", "level": 5, "status": 5}, {"id": "B1", "level": 6}])
def test_two_sensors_never_become_one(told_of: list[dict[str, Any]]) -> None:
    """A number that two claim is the first one's; what the other says stays beside it, whole."""
    found = told(sensors=told_of)
    levels = [sensor["level"] for sensor in told_of if sensor.get("status", 0) == 0]
    kept = [value for name, value in found.items() if name.startswith("fuel.level.")]
    aside = {name: value for name, value in found.items() if name.startswith("param.sensors.")}
    good_aside = [
        value for name, value in aside.items()
        if name.endswith(".level") and aside.get(name.replace(".level", ".status"), 0) == 0
    ]  # fmt: skip
    assert sorted(levels) == sorted(kept + good_aside)
    for name in found:
        if name.startswith("fuel.temperature."):
            number = name.rpartition(".")[2]
            mine = next(s for n, s in enumerate(told_of, 1) if number_of(s, n) == int(number))
            assert found[name] == mine["temp"], "a temperature belongs to its own sensor's level"


def number_of(sensor: dict[str, Any], place: int) -> int:
    digits = "".join(c for c in str(sensor.get("id", "")) if c.isdigit())
    return int(digits) if digits else place


# -- positions and numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        {"lat": 0, "lon": 0, "sat": 0, "valid": True}, {"lat": 0, "lon": 0, "sats": "0"},
        {"timestamp": TS, "ident": "x", "position.latitude": 0, "position.longitude": 0, "position.satellites": 0,
         "position.valid": True},
    ],
)  # fmt: skip
def test_nought_nought_without_satellites_is_no_position(record: dict[str, Any]) -> None:
    """Whatever else is said of it, in whatever shape."""
    batch, _ = columns(json.dumps({"ts": TS, **record}).encode(), terminal=record.get("ident", ""))
    assert np.isnan(batch.lat[0])
    assert not batch.flags[0] & VALID


def test_nought_nought_is_one_where_satellites_say_so_or_nobody_counts_them() -> None:
    for record in ({"sat": 7}, {}):
        batch, _ = columns(json.dumps({"ts": TS, "lat": 0, "lon": 0, **record}).encode())
        assert batch.lat[0] == 0
        assert batch.flags[0] & VALID


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"ts":1773480413,"x":[1e999]}', "structure"), (b'{"ts":1773480413,"x":[[-1e999]]}', "structure"),
        (b'{"ts":1773480413,"lat":true,"lon":true}', "value"), (b'{"ts":"1_773_480_413"}', "value"),
        (b'{"timestamp":1773480413,"ident":"x","gps.vehicle.mileage":1e307}', "value"),
        (b'{"timestamp":1773480413,"ident":"x","vehicle.vin":{"a":1}}', "value"),
        (b'{"_type":"location","tst":1773480413,"odometer":1e307}', "value"),
    ],
)  # fmt: skip
def test_what_would_not_be_stored_is_refused_as_it_came(payload: bytes, reason: str) -> None:
    """Not after it was changed to something that the decoder refuses: quarantine keeps what the terminal sent."""
    found = read(payload)
    assert not found.records
    assert [(refusal.data, refusal.reason) for refusal in found.refused] == [(payload, reason)]


@PATIENT
@given(
    st.dictionaries(
        st.sampled_from(
            ["odometer", "gps.vehicle.mileage", "alt", "speed", "sat", "hdop", "66", "21", "16", "temp_c-1", "x"]
        ),
        st.floats() | st.integers(-(10**30), 10**30) | st.text(max_size=4),
    ),
    st.sampled_from(["own", "flespi", "owntracks", "teltonika"]),
)
def test_a_record_that_is_read_is_stored(values: dict[str, Any], shape: str) -> None:
    """Reading and decoding agree on what a record is: none is refused by the second."""
    record: dict[str, Any] = {
        "own": {"ts": TS, **values}, "flespi": {"timestamp": TS, "ident": "x", **values},
        "owntracks": {"_type": "location", "tst": TS, **values},
        "teltonika": {"state": {"reported": {"ts": TS, **values}}},
    }[shape]  # fmt: skip
    found = read(json.dumps(record).encode())
    stored = 0
    for records in found.records.values():
        decoded = PROTOCOL.decode([Frame(pack(records))])
        assert decoded.quarantined == []
        stored += len(decoded.batch)
    assert stored + len(found.refused) == 1


# -- templates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "levels", "terminal"),
    [
        ("/fleet/{terminal}/up", "/fleet/T1/up", "T1"), ("/fleet/{terminal}/up", "other/fleet/T1/up", None),
        ("fleet/{terminal}/", "fleet/T1/", "T1"), ("fleet/{terminal}/", "fleet/T1/x", None),
        ("/{terminal}", "/T1", "T1"), ("/{terminal}", "x/T1", None), ("fleet//up", "fleet//up", ""),
        ("fleet//up", "fleet/T1/up", None), ("+/{terminal}", "/T1", "T1"),
    ],
)  # fmt: skip
def test_an_empty_level_is_a_level(topic: str, levels: str, terminal: str | None) -> None:
    """Many devices publish under a leading slash: what stands before it is nothing, and nothing else fits."""
    template = Template.of({"topic": topic, "fields": {"ts": "t"}})
    assert template.terminal_of(levels.split("/")) == terminal


@pytest.mark.parametrize(
    ("table", "told_of"),
    [
        ({"topic": "fleet/{imei}/up"}, "topic: is no topic"), ({"topic": "fleet/{terminal"}, "topic: is no topic"),
        ({"topic": "fleet/x{terminal}"}, "topic: is no topic"), ({"topic": "fleet/a+/b"}, "topic: is no topic"),
        ({"fields": {"ts": {"path": "t", "scale": 10**400}}}, "fields.ts: scale is out of range"),
        ({"fields": {"ts": {"path": "t", "offset": math.nan}}}, "fields.ts: offset is out of range"),
        ({"fields": {"ts": {"path": "t", "scale": -math.inf}}}, "fields.ts: scale is out of range"),
    ],
)  # fmt: skip
def test_a_template_that_could_take_nothing_is_refused(table: dict[str, Any], told_of: str) -> None:
    with pytest.raises(TemplateError, match=told_of.replace(".", r"\.")):
        Template.of({"fields": {"ts": "t"}, **table})


def test_what_stands_beside_a_field_is_kept_too() -> None:
    table = {"fields": {"ts": "t", "lat": "pos.lat", "lon": "pos.lon", "fuel.level.1": "tanks.0.raw"}}
    payload = (
        b'{"t":1773480413,"pos":{"lat":1,"lon":2,"hdop":3},"tanks":[{"raw":7,"name":"A"},{"raw":8}],"q":[1],'
        b'"none":null}'
    )
    batch, found = columns(payload, Template.of(table))
    assert (batch.lat[0], batch.lon[0]) == (1, 2)
    assert found == {
        "fuel.level.1": 7.0, "param.pos.hdop": 3.0, "param.tanks.1.name": "A", "param.tanks.2.raw": 8.0,
        "param.q.1": 1.0,
    }  # fmt: skip
    assert columns(payload, Template.of({**table, "unknown": "drop"}))[1] == {"fuel.level.1": 7.0}


@PATIENT
@given(
    st.dictionaries(keys, leaves, max_size=4), st.lists(keys, max_size=3), st.booleans(),
    st.sampled_from(["", "records", "data.items"]),
)  # fmt: skip
def test_a_template_moves_names_and_changes_no_values(
    record: dict[str, Any], above: list[str], fix: bool, records: str
) -> None:
    """However deep the same fields stand, what is stored is what our own shape would have stored."""
    inner: dict[str, Any] = {"time": TS * 1000 + 7, **record}
    if fix:
        inner |= {"y": 55.5, "x": "37.25", "sats": 4}
    where = ".".join([*above, ""])
    fields = {name: where + name for name in record}
    fields |= {"ts": where + "time", "lat": where + "y", "lon": where + "x", "sat": where + "sats"}
    member: Any = inner
    for key in reversed(above):
        member = {key: member}
    payload: Any = member
    for key in reversed(records.split(".") if records else []):
        payload = {key: [payload] if key == records.rpartition(".")[2] else payload}
    table = {"fields": fields, **({"records": records} if records else {})}
    own = {"ts": TS * 1000 + 7, **record, **({"lat": 55.5, "lon": "37.25", "sat": 4} if fix else {})}
    by_template = read(json.dumps(payload).encode(), Template.of(table))
    plain = read(json.dumps(own).encode())
    assert by_template.refused == plain.refused == []
    assert by_template.records == plain.records
