"""Who may register, and other settings while it runs: SIGHUP, over a real broker."""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path
from typing import Any

from tests.gateway.broker.outside import broker, frame, now_ms, publish, service, subscribed, until
from tests.harness import ServiceProcess

MOMENT = now_ms() - 60_000
TEMPLATE = '[fields]\nts = "t"\n"fuel.level.1" = {path = "raw", scale = 0.1}\n'


def records(gateway: ServiceProcess, terminal: str) -> int:
    return int(str(gateway.query("SELECT count(*) FROM telemetry WHERE terminal = %s", terminal)[0][0]))


def waiting(gateway: ServiceProcess, terminal: str) -> int:
    query = "SELECT count(*) FROM quarantine WHERE terminal = %s AND reason = 'unregistered'"
    return int(str(gateway.query(query, terminal)[0][0]))


def has(gateway: ServiceProcess, terminal: str, stored: int, kept: int) -> bool:
    return (records(gateway, terminal), waiting(gateway, terminal)) == (stored, kept)


def test_policies_limits_topics_and_templates(mosquitto: Path) -> None:
    with broker(mosquitto) as at:
        head = f'[[mqtt]]\nurl = "mqtt://127.0.0.1:{at.port}"\n'
        with service(None, text=head + '[login]\npolicy = "quarantine"\n') as gateway:
            file = Path(gateway.environment["DOZOR_CONFIG"])
            gateway.start()
            subscribed(gateway)

            def reload(text: str) -> None:
                seen = gateway.log.read_text().count("configuration reloaded")
                file.write_text(text)
                assert gateway.process is not None
                gateway.process.send_signal(signal.SIGHUP)
                until(lambda: gateway.log.read_text().count("configuration reloaded") > seen)
                if text:
                    subscribed(gateway)

            def told(terminal: str, stored: int, kept: int) -> None:
                until(partial(has, gateway, terminal, stored, kept))

            publish(at.port, ("telemetry/q/teltonika", frame(MOMENT)))
            told("q", 0, 1)
            assert gateway.command("terminal", "add", "q").returncode == 0
            told("q", 1, 0)

            reload(head + '[login]\npolicy = "known"\n')  # nobody can be refused: the broker has acknowledged it
            publish(at.port, ("telemetry/k/teltonika", frame(MOMENT)), ("telemetry/q/teltonika", frame(MOMENT + 1)))
            told("k", 0, 1)
            told("q", 2, 0)

            reload(head + "[limits]\nregistrations_per_minute_per_address = 1\n")
            publish(at.port, ("telemetry/l1/teltonika", frame(MOMENT)), ("telemetry/l2/teltonika", frame(MOMENT)))
            told("l1", 1, 0)
            told("l2", 0, 1)
            assert gateway.metric('dozor_connections_refused_total{reason="registration_rate"}') == 1
            reload(head)
            publish(at.port, ("telemetry/l2/teltonika", frame(MOMENT + 1)))
            told("l2", 2, 0)  # what was kept is decoded when it is registered

            (file.parent / "t.toml").write_text('topic = "fleet/{terminal}/up"\n' + TEMPLATE)
            reload(head + 'topics = ["fleet/#"]\ntemplate = "t.toml"\n')
            up = json.dumps({"t": MOMENT, "raw": 1893})
            publish(at.port, ("telemetry/q/teltonika", frame(MOMENT + 2)), ("fleet/f/up", up))
            told("f", 1, 0)
            assert measures(gateway, "f") == {"fuel.level.1": 189.3}
            assert records(gateway, "q") == 2, "nobody asked for that any more"
            assert gateway.metric("dozor_mqtt_sessions_lost_total") == 0

            (file.parent / "t.toml").write_text("[fields]\n")  # a file that cannot be used changes nothing
            assert gateway.process is not None
            gateway.process.send_signal(signal.SIGHUP)
            until(lambda: "configuration not reloaded" in gateway.log.read_text())
            publish(at.port, ("fleet/f/up", json.dumps({"t": MOMENT + 1, "raw": 1})))
            told("f", 2, 0)

            reload("")
            assert "dozor_mqtt_connected{" not in gateway.get("/metrics")[1]
            assert gateway.stop() == 0
            assert "Traceback" not in gateway.log.read_text()


def measures(gateway: ServiceProcess, terminal: str) -> Any:
    return gateway.query("SELECT measures FROM telemetry WHERE terminal = %s", terminal)[0][0]
