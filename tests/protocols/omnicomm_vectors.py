"""Omnicomm: worked packets with their values, and what the tests share.

Generated from the published protocol description and verified with the public `omnicomm` Python library.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from protocols.omnicomm import PROTOCOL, declaration
from protocols.omnicomm.decoder import decode
from protocols.omnicomm.fields import EPOCH
from protocols.omnicomm.framing import unstuff
from protocols.omnicomm.session import OmnicommSession
from protocols.records import (
    ARCHIVE,
    EVENT,
    IGNITION_KNOWN,
    IGNITION_ON,
    VALID,
    Close,
    Decoded,
    Event,
    Frame,
    Login,
)
from tests.protocols.vectors import Vector

NOW = EPOCH + 495_783_642  # 2024-09-17T05:40:42Z

E1 = bytes.fromhex("c080080047dbdddbdc1d38010000296d")
E2 = bytes.fromhex("c0850400111301002061")
E3 = bytes.fromhex(
    "c086c90011130100b00e8d1d0060000a01011308b09db4ec01200728cb1c30e40438c80b409102486450d0016005680470c401142b0886ccde88"
    "0410e0f2ac940418e70420f701280d30ba162c330884de011000180020dcaa03280030003443080d109f091804200b289f0d3004445c00080408"
    "091308ce9db4ec01200728d8093000389606409402486450ca016005680470c401142b08e8dede8804108abfac9404180c20fb01280c30c2162c"
    "330800100018002098b003280030003443080d10001806200b28c50d300444ba61"
)
E4 = bytes.fromhex("c087040011130100c301")
E5 = bytes.fromhex("c0880400111301008b2a")
E6 = bytes.fromhex("c08600004566")
E7 = bytes.fromhex("c0930000edf5")
E8 = bytes.fromhex("c0940400da0e8d1ddadf")
E9 = bytes.fromhex("c095270012130100e20e8d1d001c000a01121308e29db4ec011483010a0b56657233313220525354318401bc5d")
DESCRIPTION = "pikhovkin/omnicomm, description and .proto files"
LIBRARY = "pikhovkin/omnicomm"
VECTORS = [
    Vector("identification", source=DESCRIPTION, wire=E1, checked_with=LIBRARY),
    Vector("archive of two messages", source=DESCRIPTION, wire=E3, checked_with=LIBRARY),
    Vector("delete confirmation", source=DESCRIPTION, wire=E5, checked_with=LIBRARY),
    Vector("archive exhausted", source="traccar/traccar, recorded frame", wire=E6, checked_with=LIBRARY),
    Vector("time request", source=DESCRIPTION, wire=E7, checked_with=LIBRARY),
    Vector("live message with a log line", source=DESCRIPTION, wire=E9, checked_with=LIBRARY),
]
IMPOSSIBLE = {"unsupported": "a command nobody knows is passed over: it holds no records as far as is public"}
ASK = bytes.fromhex("c0850400000000003125")
LOGIN = Login("499178311", firmware="312")

E3_RECORDS: list[dict[str, Any]] = [
    {
        "time": 495_783_600 + EPOCH,
        "lat": 54.6034435,
        "lon": 55.8210224,
        "altitude": 143.7,
        "speed": 61.5,
        "course": 247.0,
        "satellites": 13,
        "flags": VALID | IGNITION_KNOWN | IGNITION_ON | ARCHIVE,
        "measures": {
            "event": 1,
            "flags": 7,
            "ignition": 1,
            "gsm.registered": 1,
            "gsm.roaming": 0,
            "power.backup": 0,
            "alarm.panic": 0,
            "case.open": 0,
            "output.1": 0,
            "mileage.delta": 3659,
            "speed.sensor": 612,
            "engine.rpm": 1480,
            "power.external": 27.3,
            "battery.level": 100,
            "acceleration": 1.04,
            "acceleration.x": -0.03,
            "acceleration.y": 0.02,
            "acceleration.z": 0.98,
            "universal.1": 14210,
            "universal.2": 0,
            "universal.3": 0,
            "universal.4": 27310,
            "universal.5": 0,
            "universal.6": 0,
            "fuel.temperature.1": -7,
            "fuel.level.1": 1183,
            "fuel.status.1": 2,
            "fuel.temperature.2": -6,
            "fuel.level.2": 1695,
            "fuel.status.2": 2,
        },
    },
    {
        "time": 495_783_630 + EPOCH,
        "lat": 54.6035636,
        "lon": 55.8206917,
        "altitude": 144.1,
        "speed": 1.2,
        "course": 251.0,
        "satellites": 12,
        "flags": VALID | IGNITION_KNOWN | IGNITION_ON | ARCHIVE | EVENT,
        "measures": {
            "event": 4,
            "events": "4,9",
            "flags": 7,
            "ignition": 1,
            "gsm.registered": 1,
            "gsm.roaming": 0,
            "power.backup": 0,
            "alarm.panic": 0,
            "case.open": 0,
            "output.1": 0,
            "mileage.delta": 1240,
            "speed.sensor": 0,
            "engine.rpm": 790,
            "power.external": 27.6,
            "battery.level": 100,
            "acceleration": 1.01,
            "acceleration.x": -0.03,
            "acceleration.y": 0.02,
            "acceleration.z": 0.98,
            "universal.1": 0,
            "universal.2": 0,
            "universal.3": 0,
            "universal.4": 27660,
            "universal.5": 0,
            "universal.6": 0,
            "fuel.status.1": 3,
            "fuel.temperature.2": -6,
            "fuel.level.2": 1733,
            "fuel.status.2": 2,
        },
    },
]
E9_RECORD = {
    "time": 495_783_650 + EPOCH,
    "lat": None,
    "lon": None,
    "altitude": None,
    "speed": None,
    "course": None,
    "satellites": -1,
    "flags": EVENT,
    "measures": {"event": 18, "log": "Ver312 RST1"},
}

# --- helpers ---------------------------------------------------------------------------------------------------------


def body(wire: bytes) -> bytes:
    return unstuff(wire[1:])


def number(value: float) -> float | None:
    return None if math.isnan(value) else value


def records(decoded: Decoded) -> list[dict[str, Any]]:
    """Rows in wire order, as `dozor decode` tells them."""
    batch = decoded.batch
    measures: list[dict[str, Any]] = [{} for _ in range(len(batch))]
    for group in batch.groups:
        assert group.values.shape == (len(group.rows), len(group.names))
        for row, values in zip(group.rows.tolist(), group.values.tolist(), strict=True):
            assert len(set(group.names)) == len(group.names)
            measures[row] = {n: v for n, v in zip(group.names, values, strict=True) if not math.isnan(v)}
    for row, extra in batch.extra.items():
        measures[row] |= extra
    order = sorted(range(len(batch)), key=lambda i: (batch.frame[i], batch.position[i]))
    return [
        {
            "time": int(batch.time[i]) / 1e6,
            "lat": number(float(batch.lat[i])),
            "lon": number(float(batch.lon[i])),
            "altitude": number(float(str(batch.altitude[i]))),
            "speed": number(float(str(batch.speed[i]))),
            "course": number(float(str(batch.course[i]))),
            "satellites": int(batch.satellites[i]),
            "flags": int(batch.flags[i]),
            "measures": measures[i],
        }
        for i in order
    ]


def decoded_of(*messages: Any, command: int = 0x86, time: int = 495_783_600) -> Decoded:
    return decode([Frame(body(declaration.container(1, time, messages, command=command)))])


def measures_of(message: Any, **more: Any) -> dict[str, Any]:
    (record,) = records(decoded_of(message, **more))
    measures: dict[str, Any] = record["measures"]
    return measures


@dataclass
class Told:
    """What a session told of a stream."""

    events: list[Event] = field(default_factory=list)
    session: OmnicommSession = field(default_factory=lambda: PROTOCOL.new_session(transport="tcp", max_frame=None))

    def feed(self, wire: bytes, step: int = 1 << 30) -> Told:
        for at in range(0, len(wire), step):
            self._take(self.session.receive_data(wire[at : at + step], NOW))
        return self

    def end(self) -> Told:
        self._take(self.session.end_of_stream())
        return self

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            self.events.append(event)
            if isinstance(event, Login):
                self._take(self.session.accept(NOW))

    def frames(self) -> list[Frame]:
        return [e for e in self.events if isinstance(e, Frame)]

    def without_close(self) -> list[Event]:
        return [e for e in self.events if not isinstance(e, Close)]
