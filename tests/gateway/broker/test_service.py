"""A service that reads from a real Mosquitto, seen from outside: what is stored, what is kept raw, what is told."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from protocols.omnicomm.declaration import identification
from protocols.teltonika.declaration import login
from tests.gateway.broker.outside import Mosquitto, broker, frame, now_ms, publish, running, service, subscribed, until
from tests.harness import ROOT, ServiceProcess, free_port

IMEI = "356938035643809"
MOMENT = now_ms() - 60_000
# Sheet teltonika, section 10: one record, id 201 = 1893.
WIALON = "#SD#{};{};5545.1206;N;03737.0529;E;61;274;168;11\r\n"

SCENARIO = """
terminals = 9
duration = 1.5
seed = 4
ramp = 0.5
mix = {teltonika = 1, omnicomm = 1, wialon-ips = 1}
intervals = {moving = 0.3, idling = 0.3, parked = 0.3, sleeping = 0.5}
archive = {share = 0.4, records = 60}
"""


@pytest.fixture(scope="module")
def at(mosquitto: Path) -> Any:
    with broker(mosquitto) as found:
        yield found


@pytest.fixture(scope="module")
def gateway(at: Mosquitto) -> Any:
    with running(at) as found:
        yield found


def stored(gateway: ServiceProcess, terminal: str) -> list[tuple[Any, ...]]:
    return gateway.query(
        "SELECT (extract(epoch FROM time) * 1000)::bigint, lat, lon, measures FROM telemetry WHERE terminal = %s "
        "ORDER BY time",
        terminal,
    )


def kept(gateway: ServiceProcess, terminal: str) -> list[tuple[Any, ...]]:
    return gateway.query("SELECT protocol, reason, data FROM quarantine WHERE terminal = %s ORDER BY id", terminal)


def acknowledged(at: Mosquitto, gateway: ServiceProcess) -> None:
    """Wait until nothing published before is unacknowledged: what comes last has passed the window in order."""
    name = f"last-{time.monotonic_ns()}"
    publish(at.port, (f"telemetry/{name}/json", json.dumps({"ts": 1773480413})))
    until(lambda: stored(gateway, name))


def test_raw_frames(at: Mosquitto, gateway: ServiceProcess) -> None:
    wialon = WIALON.format(*time.strftime("%d%m%y %H%M%S", time.gmtime(MOMENT / 1000)).split())
    publish(
        at.port,
        (f"telemetry/{IMEI}/teltonika", frame(MOMENT)),
        (f"telemetry/{IMEI}/teltonika", frame(MOMENT + 1) + frame(MOMENT + 2)),  # several, exactly
        (f"telemetry/{IMEI}/teltonika", login(IMEI) + frame(MOMENT + 3)),  # with its login
        (f"telemetry/{IMEI}/teltonika", frame(MOMENT)),  # again
        ("telemetry/w1/wialon-ips", wialon),
        ("telemetry/w1/wialon-ips", "#P#\r\n"),  # nothing to store
        ("telemetry/w1/smoke", "x"),  # nor a reason to call it by another protocol
    )
    acknowledged(at, gateway)
    assert [row[:3] for row in stored(gateway, IMEI)] == [(MOMENT + n, 55.752012, 37.617543) for n in range(4)]
    assert len(stored(gateway, "w1")) == 1
    assert kept(gateway, IMEI) == []
    assert kept(gateway, "w1") == [("unknown", "protocol", b"x")]
    protocols = "SELECT protocol FROM terminal WHERE identity = %s"
    assert gateway.query(protocols, IMEI) == [("teltonika",)]
    time.sleep(1.5)  # what terminals tell of themselves is written once a second
    assert gateway.query(protocols, "w1") == [("wialon-ips",)]


def test_qos_0_and_2(at: Mosquitto, gateway: ServiceProcess) -> None:
    publish(at.port, ("telemetry/q0/teltonika", frame(MOMENT)), qos=0)
    publish(at.port, ("telemetry/q2/teltonika", frame(MOMENT)), qos=2)
    acknowledged(at, gateway)
    assert len(stored(gateway, "q0")) == len(stored(gateway, "q2")) == 1


def test_json(at: Mosquitto, gateway: ServiceProcess) -> None:
    record = {"ts": MOMENT, "lat": 55.75, "lon": 37.61, "sat": 9, "fuel.level.1": 1893, "door": "open"}
    publish(
        at.port,
        ("telemetry/j1/json", json.dumps([record, {"lat": 1}, record | {"ts": MOMENT + 1, "fw": "1.2"}])),
        ("j2/data", '{"state":{"reported":{"ts":1773480413000,"sat":5,"239":1}}}'),
    )
    acknowledged(at, gateway)
    rows = stored(gateway, "j1")
    assert [row[0] for row in rows] == [MOMENT, MOMENT + 1]
    assert rows[0][1:] == (55.75, 37.61, {"fuel.level.1": 1893, "param.door": "open"})
    assert kept(gateway, "j1") == [("json", "time", b'{"lat":1}')]
    assert stored(gateway, "j2") == []  # nobody subscribes to that
    until(lambda: gateway.query("SELECT firmware FROM terminal WHERE identity = 'j1'") == [("1.2",)])


POISON = [
    ("telemetry/p1/smoke", b"x", "unknown", "protocol"),
    ("telemetry/p2/json", b"{", "json", "structure"),
    ("telemetry/p3/json", b"[" * 20_000, "json", "structure"),
    ("telemetry/p4/json", b" " * 70_000, "json", "length"),
    ("telemetry/p5/json", b'{"ident":"other","timestamp":1773480413}', "json", "identity"),
    ("telemetry/p6/teltonika", login("352093081429150") + frame(MOMENT), "teltonika", "identity"),
    ("telemetry/p7/teltonika", frame(MOMENT)[:-1] + b"\xff", "teltonika", "checksum"),
    ("telemetry/p8/teltonika", frame(MOMENT)[:-9], "teltonika", "truncated"),
    ("telemetry/p9/teltonika", b"", "teltonika", "login"),
    ("telemetry/p10/omnicomm", b"GET / HTTP/1.1\r\n\r\n", "omnicomm", "structure"),
    ("telemetry/p11/omnicomm", identification(7, 1), "omnicomm", "identity"),
    ("telemetry/p12/wialon-ips", b"*>FLEX\xb0\x14\x14", "wialon-ips", "structure"),  # negotiates first
    ("telemetry/p13/json", b'{"ts":1,"ts":2}', "json", "structure"),
    ("telemetry/p14/wialon-ips", b"\x00" * 3000, "wialon-ips", "structure"),
]


def test_poison_is_kept_and_blocks_nothing(at: Mosquitto, gateway: ServiceProcess) -> None:
    before = gateway.query("SELECT count(*) FROM terminal")
    publish(at.port, *((topic, payload) for topic, payload, _, _ in POISON))
    publish(at.port, ("telemetry/p20/teltonika", frame(MOMENT)), retain=True)
    acknowledged(at, gateway)
    for topic, payload, protocol, reason in POISON:
        terminal = topic.split("/")[1]
        found = kept(gateway, terminal)
        assert [row[1] for row in found] == [reason], (topic, found)
        assert [(row[0], bytes(row[2])) for row in found] == [(protocol, payload)], topic
        assert stored(gateway, terminal) == []
    assert [row[1] for row in kept(gateway, "p20")] == ["retained"]
    after = gateway.query("SELECT count(*) FROM terminal")
    assert after[0][0] == int(str(before[0][0])) + 1, "nothing but the good one is registered"
    text = gateway.get("/metrics")[1]
    assert 'dozor_frames_quarantined_total{protocol="teltonika",reason="retained"} 1.0' in text
    assert 'dozor_frames_malformed_total{protocol="teltonika",reason="checksum"} 1.0' in text


def test_a_status_is_a_connection(at: Mosquitto, gateway: ServiceProcess) -> None:
    def history() -> list[tuple[Any, ...]]:
        return gateway.query(
            "SELECT address, listener, closed_at IS NULL, reason FROM connection WHERE terminal = 's1' ORDER BY id"
        )

    publish(at.port, ("status/s1", '{"online":true,"ts":1}'), retain=True)
    publish(at.port, ("status/s2", '{"online":"perhaps"}'))
    until(lambda: len(history()) == 1)
    address = f"127.0.0.1:{at.port}"
    assert history() == [(address, f"mqtt {address}", True, None)]
    publish(at.port, ("telemetry/s1/teltonika", frame(MOMENT)))
    publish(at.port, ("status/s1", '{"online":true,"ts":2}'), retain=True)  # said again
    publish(at.port, ("status/s1", '{"online":false}'), retain=True)
    until(lambda: not history()[0][2])
    assert history() == [(address, f"mqtt {address}", False, "offline, by its status")]
    assert kept(gateway, "s2") == [("json", "structure", b'{"online":"perhaps"}')]


def test_a_retained_status_is_known_again_after_a_restart(at: Mosquitto, gateway: ServiceProcess) -> None:
    publish(at.port, ("status/s3", '{"online":true}'), retain=True)
    query = "SELECT count(*) FROM connection WHERE terminal = 's3' AND closed_at IS NULL"
    until(lambda: gateway.query(query) == [(1,)])
    gateway.kill()
    gateway.start()
    subscribed(gateway)
    until(lambda: gateway.query(query) == [(1,)])
    assert gateway.query("SELECT count(*) FROM connection WHERE terminal = 's3'") == [(2,)]


def test_a_simulated_fleet_is_stored_value_by_value(at: Mosquitto, gateway: ServiceProcess, tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(SCENARIO)
    done = subprocess.run(
        [
            sys.executable, "-m", "gateway.cli", "simulate", "--target", f"mqtt://127.0.0.1:{at.port}",
            "--scenario", tmp_path / "fleet.toml", "--truth", tmp_path / "truth", "--json",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["violations"] == 0
    assert summary["records_sent"] == summary["records_acked"] > 200
    acknowledged(at, gateway)
    truth = [row for row in map(json.loads, (tmp_path / "truth").read_text().splitlines()) if row["acked"]]
    names = sorted({row["terminal"] for row in truth})
    rows = gateway.query(
        "SELECT terminal, (extract(epoch FROM time) * 1000000)::bigint, lat, lon, valid, measures FROM telemetry "
        "WHERE terminal = ANY(%s)",
        names,
    )
    stored = {row[:2]: row[2:] for row in rows}
    assert len(stored) == len(rows) == len(truth)
    for row in truth:
        lat, lon, valid, measures = stored[row["terminal"], row["time"]]
        assert (lat, lon, valid) == (row["lat"], row["lon"], row["valid"])
        assert {name: measures.get(name) for name in row["measures"]} == row["measures"]  # type: ignore[attr-defined]
    assert gateway.query("SELECT count(*) FROM quarantine WHERE terminal = ANY(%s)", names) == [(0,)]
    history = "SELECT count(DISTINCT terminal), count(closed_at) FROM connection WHERE terminal = ANY(%s)"
    until(lambda: gateway.query(history, names) == [(9, 9)])


@pytest.mark.soak
def test_a_lost_session_is_told_and_a_broker_that_is_away(mosquitto: Path) -> None:
    """Terminals are served whatever brokers do, and nothing secret is told."""
    away = free_port()
    with broker(mosquitto) as at:
        text = (
            f'[[mqtt]]\nurl = "mqtt://127.0.0.1:{at.port}"\n[[mqtt]]\nurl = "mqtt://fleet:hunter2@127.0.0.1:{away}"\n'
        )
        with service(None, text=text) as gateway:
            gateway.start()
            subscribed(gateway)
            until(lambda: "mqtt: no connection" in gateway.log.read_text())
            assert gateway.metric(f'dozor_mqtt_connected{{broker="127.0.0.1:{away}"}}') == 0
            at.stop()
            until(lambda: gateway.metric("dozor_mqtt_connected") == 0)
            assert gateway.get("/readyz")[0] == 200
            (at.folder / "mosquitto.db").unlink()
            at.start()
            subscribed(gateway)
            assert gateway.metric("dozor_mqtt_sessions_lost_total") == 1
            assert "the broker has lost our session" in gateway.log.read_text()
            assert gateway.stop() == 0
            at.stop()
            (at.folder / "mosquitto.db").unlink()  # while nobody looks
            at.start()
            gateway.start()
            subscribed(gateway)
            assert gateway.metric("dozor_mqtt_sessions_lost_total") == 1
            assert gateway.stop() == 0
            log = gateway.log.read_text()
            assert "hunter2" not in log
            assert "Traceback" not in log
