"""The simulated terminals' frames are those of the declarations, and decode to what was meant."""

from __future__ import annotations

import pytest

from protocols.omnicomm import declaration as omnicomm
from protocols.records import Frame
from protocols.registry import protocol
from protocols.teltonika import declaration as teltonika
from protocols.wialon_ips import packets
from protocols.wialon_ips.wire import V2
from tests.simulation import frames
from tests.simulation.frames import BEGIN, Told

RECORDS = [Told(BEGIN, 5_575_123, 3_761_234, 1234), Told(BEGIN + 59, 1, 17_999_999, 7)]
BUILT = {
    "teltonika": frames.teltonika(RECORDS),
    "omnicomm": frames.omnicomm(5, RECORDS),
    "wialon-ips": frames.wialon(RECORDS),
}


@pytest.mark.parametrize("name", BUILT)
def test_decodes_to_what_was_meant(name: str) -> None:
    sent = BUILT[name]
    variant = V2 if name == "wialon-ips" else 0
    decoded = protocol(name).decode([Frame(sent.forms[0], 2, 0, variant)])
    assert not decoded.quarantined
    assert decoded.batch.time.tolist() == [r.time * 1_000_000 for r in RECORDS]
    assert decoded.batch.lat * 1e5 == pytest.approx([r.lat for r in RECORDS])
    assert decoded.batch.lon * 1e5 == pytest.approx([r.lon for r in RECORDS])


def test_teltonika_as_declared() -> None:
    declared = teltonika.avl_frame(
        teltonika.CODEC_8,
        [
            teltonika.avl_record(
                timestamp=r.time * 1000, latitude=r.lat * 100, longitude=r.lon * 100, altitude=100, angle=90,
                satellites=9, speed=50, event=66, items=[(66, r.serial.to_bytes(2, "big"))],
            )
            for r in RECORDS
        ],
    )  # fmt: skip
    assert BUILT["teltonika"].wire == declared


def test_omnicomm_as_declared() -> None:
    place = {"GPSVel": 500, "GPSDir": 90, "GPSNSat": 9, "GPSAlt": 1000}
    messages = [
        {
            "mID": [1],
            "general": {"Time": r.time - 1_230_768_000, "FLG": 7, "Uboard": r.serial},
            "nav": {"LAT": r.lat * 100, "LON": r.lon * 100, **place},
        }
        for r in RECORDS
    ]
    declared = omnicomm.container(5, BEGIN - 1_230_768_000, messages, command=0x95)
    assert BUILT["omnicomm"].wire == declared


def test_wialon_as_built_for_people() -> None:
    members = BUILT["wialon-ips"].wire.split(b"#")[2].decode().split("|")[:2]
    assert BUILT["wialon-ips"].wire == packets.black_box(members, V2)


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize("where", [0.0, 0.3, 0.7, 0.999])
def test_damage_fails_the_checksum(name: str, where: float) -> None:
    session = protocol(name).new_session(transport="tcp", max_frame=None)
    login = {
        "teltonika": teltonika.login("860000000000001"),
        "omnicomm": omnicomm.identification(7, 1),
        "wialon-ips": packets.login("unit", version="2.0"),
    }[name]
    session.receive_data(login, 0.0)
    session.accept(0.0)
    events = session.receive_data(frames.damage(name, BUILT[name], where), 0.0)
    assert getattr(events[0], "reason", "") == "checksum"
