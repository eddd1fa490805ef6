"""Every worked packet of the manuals over real sockets: replies byte by byte, rows of `telemetry` value by value."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from protocols.omnicomm.declaration import ServerFrames
from protocols.omnicomm.framing import server_frame
from protocols.records import ARCHIVE, VALID
from protocols.teltonika import declaration as teltonika
from protocols.teltonika.declaration import tcp_frame
from tests.gateway.wire import Link, ask_udp, damage, malformed, no_exception, telemetry, wait_for
from tests.harness import ServiceProcess, running_service
from tests.protocols import omnicomm_vectors as omnicomm
from tests.protocols import teltonika_vectors as vectors
from tests.protocols.wialon_ips_vectors import H1, W1, W2, W3, W4, W5, W8, W10, W11, W12

STEPS = [0, 1, 7]  # whole, byte by byte, in small pieces
UNIT = "862531045219738"

DATA_4 = W4[3:-6].decode()
T0815 = 1_742_544_907_000_000  # 2025-03-21T08:15:07Z


def _row(time: int, lat: float | None, lon: float | None, rest: tuple[Any, ...], **measures: Any) -> dict[str, Any]:
    altitude, speed, course, satellites, valid, archive = rest
    return {
        "time": time, "lat": lat, "lon": lon, "altitude": altitude, "speed": speed, "course": course,
        "satellites": satellites, "valid": valid, "archive": archive,
        "measures": {name.replace("__", "."): value for name, value in measures.items()},
    }  # fmt: skip


SD_ROW = _row(T0815, 51.661504, 39.200287, (157, 57, 214, 14, True, False))
D_ROW = _row(
    T0815 + 30_000_000, 51.659871, 39.197442, (158, 61, 219, 15, True, False),
    hdop=0.9, inputs=5, outputs=1, adc__1=12.48, adc__2=0.03, adc__3=4.95, driver__key="0000A1B2C3D4",
    param__lls1=2317, param__lls1t=-4, param__fw="KIT-2.14.3", param__fuel=186.25, param__SOS=0,
)  # fmt: skip
B_ROWS = [
    _row(
        T0815 + 30_000_000, 51.659871, 39.197442, (158, 61, 219, 15, True, True),
        hdop=1.1, inputs=0, outputs=0,
    ),
    _row(T0815 + 53_000_000, -33.905217, -18.421904, (12, 0, 0, 0, True, True)),
    _row(T0815 + 83_000_000, None, None, (None, None, None, None, False, True), param__lls1=65530),
]  # fmt: skip


def _expected(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A decoder's vectors as rows of the view."""
    return [
        {
            **{name: record[name] for name in ("lat", "lon", "altitude", "speed", "course", "measures")},
            "time": record["time"] if record["time"] > 1e12 else record["time"] * 1_000_000,
            "satellites": None if record["satellites"] == -1 else record["satellites"],
            "valid": bool(record["flags"] & VALID),
            "archive": bool(record["flags"] & ARCHIVE),
        }
        for record in records
    ]


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceProcess]:
    with running_service(DOZOR_WATCH__FIRMWARE__ASK="false") as running:
        yield running
        no_exception(running)


def _fresh(service: ServiceProcess) -> None:
    """No terminal has any record."""
    service.query(
        "WITH a AS (DELETE FROM record), b AS (DELETE FROM record_outside) DELETE FROM quarantine RETURNING 1"
    )


# -- Teltonika --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("vector", vectors.AVL, ids=lambda v: v.name)
def test_teltonika_codecs(service: ServiceProcess, vector: vectors.AvlVector, step: int) -> None:
    with Link(service, "teltonika") as link:
        assert link.send(vectors.LOGIN, step).read(1) == b"\x01"
        assert link.send(vector.wire, step).read(4) == vector.ack
        assert link.send(b"\xff" + vector.wire, step).read(4) == vector.ack  # an idle byte; a resend
        assert link.finish() == b""
    times = {record["time"] for record in vector.records}
    found = [row for row in telemetry(service, vectors.IMEI) if row["time"] in times]
    assert found == _expected(vector.records)


def test_teltonika_over_udp(service: ServiceProcess) -> None:
    for _ in range(2):
        assert ask_udp(service, "teltonika", vectors.UDP_8E.wire) == vectors.UDP_8E.ack
    found = [row for row in telemetry(service, vectors.IMEI) if row["time"] == vectors.UDP_8E.records[0]["time"]]
    assert found == _expected(vectors.UDP_8E.records)


@pytest.mark.parametrize("step", STEPS)
def test_teltonika_texts_are_evidence_and_codecs_14_15_unsupported(service: ServiceProcess, step: int) -> None:
    before = malformed(service, "teltonika")["unsupported"]
    kept = service.query("SELECT count(*) FROM message")[0][0]
    with Link(service, "teltonika") as link:
        assert link.send(vectors.LOGIN, step).read(1) == b"\x01"
        link.send(vectors.GETVER_REPLY + vectors.CODEC_13 + vectors.CODEC_14_REFUSAL + vectors.CODEC_15, step)
        assert link.send(vectors.CODEC_8.wire, step).read(4) == vectors.CODEC_8.ack  # the connection went on
        assert link.finish() == b""
    assert malformed(service, "teltonika")["unsupported"] == before + 2
    rows = service.query("SELECT body, kind FROM message WHERE terminal = %s ORDER BY id OFFSET %s", vectors.IMEI, kept)
    assert rows == [(vectors.GETVER_TEXT, "codec 12"), ("LVL=1893;T=-7\r\n", "codec 13")]
    told = "SELECT firmware, model_told FROM terminal WHERE identity = %s"
    wait_for(lambda: service.query(told, vectors.IMEI) == [("03.29.00_05", "FMC130")])


@pytest.mark.parametrize("step", STEPS)
def test_teltonika_codec_7_and_unequal_counts_wait_in_quarantine(service: ServiceProcess, step: int) -> None:
    _fresh(service)
    imei = "356938035643001"
    record = teltonika.avl_record(timestamp=1_773_480_413_000, latitude=557520123, longitude=376175432, satellites=9)
    payload = teltonika.avl_payload(teltonika.CODEC_8, [record, record])
    unequal = tcp_frame(payload[:-1] + b"\x05")
    codec_7 = tcp_frame(b"\x07\x03" + bytes(20) + b"\x03")
    with Link(service, "teltonika") as link:
        link.send(teltonika.login(imei) + unequal + codec_7, step)
        assert link.read(9) == bytes.fromhex("01 00000002 00000003")
        assert link.finish() == b""
    assert telemetry(service, imei) == []
    kept = service.query("SELECT reason, data FROM quarantine WHERE terminal = %s ORDER BY id", imei)
    assert [(reason, bytes(data)) for reason, data in kept] == [("count", unequal), ("codec", codec_7)]  # type: ignore[call-overload]


# -- Omnicomm ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_omnicomm_session(service: ServiceProcess, step: int) -> None:
    with Link(service, "omnicomm") as link:
        assert link.send(omnicomm.E1, step).read(len(omnicomm.ASK)) == omnicomm.ASK
        assert link.send(omnicomm.E3, step).read(len(omnicomm.E4)) == omnicomm.E4
        link.send(omnicomm.E5 + omnicomm.E6, step)  # neither is answered
        told = link.send(omnicomm.E9, step).read(len(omnicomm.E4))
        assert told == server_frame(0x87, bytes.fromhex("12130100"))
        asked = time.time()
        answer = link.send(omnicomm.E7, step).finish()  # whole: the time in it may need escapes
        ((command, told_time),) = ServerFrames().feed(answer)
        assert command == 0x94
        assert abs(told_time + 1_230_768_000 - asked) < 60
    expected = _expected([*omnicomm.E3_RECORDS, omnicomm.E9_RECORD])
    assert telemetry(service, "499178311") == expected
    told_firmware = "SELECT firmware FROM terminal WHERE identity = '499178311'"
    wait_for(lambda: service.query(told_firmware) == [("312",)])


# -- Wialon IPS -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_wialon_1_1(service: ServiceProcess, step: int) -> None:
    _fresh(service)
    with Link(service, "wialon-ips") as link:
        assert link.send(W1, step).read(7) == b"#AL#1\r\n"
        assert link.send(W3, step).read(8) == b"#ASD#1\r\n"
        assert link.send(b"#P#\r\n", step).read(6) == b"#AP#\r\n"
        assert link.finish() == b""
    assert telemetry(service, UNIT) == [SD_ROW]


@pytest.mark.parametrize("login", [W2, H1], ids=["plain", "compressed"])
@pytest.mark.parametrize("step", STEPS)
def test_wialon_2_0(service: ServiceProcess, step: int, login: bytes) -> None:
    _fresh(service)
    with Link(service, "wialon-ips") as link:
        assert link.send(login, step).read(7) == b"#AL#1\r\n"
        link.send(W12 + W4 + W10 + W8 + b"#P#\r\n", step)
        expected = b"#ASD#13\r\n#AD#1\r\n#AM#1\r\n#AI#0;0\r\n#AP#\r\n"
        assert link.read(len(expected)) == expected
        assert link.finish() == b""
    assert telemetry(service, UNIT) == [D_ROW]


@pytest.mark.parametrize("step", STEPS)
def test_wialon_black_box(service: ServiceProcess, step: int) -> None:
    _fresh(service)
    with Link(service, "wialon-ips") as link:
        link.send(W2 + W5, step)
        assert link.finish() == b"#AL#1\r\n#AB#3\r\n"
    assert telemetry(service, UNIT) == B_ROWS


def test_wialon_over_udp(service: ServiceProcess) -> None:
    _fresh(service)
    assert ask_udp(service, "wialon-ips", W11) == b"#ASD#1\r\n"
    assert ask_udp(service, "wialon-ips", W11) == b"#ASD#1\r\n"
    assert telemetry(service, UNIT) == [SD_ROW]


def test_wialon_counts_what_it_refuses(service: ServiceProcess) -> None:
    before = malformed(service, "wialon-ips")
    with Link(service, "wialon-ips") as link:
        assert link.send(W2 + W8 + W12 + W12).finish() == b"#AL#1\r\n#AI#0;0\r\n#ASD#13\r\n#ASD#13\r\n"
    assert damage(before, malformed(service, "wialon-ips")) == {"unsupported": 1, "checksum": 2}


def test_a_wialon_message_is_kept_as_evidence(service: ServiceProcess) -> None:
    text = "SELECT DISTINCT body, kind FROM message WHERE protocol = 'wialon-ips' AND terminal = %s"
    assert service.query(text, UNIT) == [("Refuel stop 12 min", "driver")]
    told = "SELECT firmware FROM terminal WHERE identity = %s"
    wait_for(lambda: service.query(told, UNIT) == [("KIT-2.14.3",)])


def test_the_view_has_the_types_of_the_contract(service: ServiceProcess) -> None:
    rows = service.query(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = 'telemetry'::regclass ORDER BY attnum"
    )
    assert rows == [
        ("terminal", "text"), ("time", "timestamp with time zone"), ("received", "timestamp with time zone"),
        ("lat", "double precision"), ("lon", "double precision"), ("altitude", "real"), ("speed", "real"),
        ("course", "real"), ("satellites", "smallint"), ("valid", "boolean"), ("archive", "boolean"),
        ("measures", "jsonb"),
    ]  # fmt: skip
