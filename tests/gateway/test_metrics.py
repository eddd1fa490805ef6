"""/metrics with a fleet at work: few series, no terminal in a label, names and types as documented."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from protocols.registry import RECEIVED
from tests.gateway.wire import no_exception, wait_for
from tests.harness import ROOT, ServiceProcess, free_port, running_service

LABELS = {
    "protocol", "reason", "kind", "verdict", "detector", "result", "channel", "directory", "calendar", "version", "le",
    "name", "state", "clock", "port", "broker", "source", "mailbox",
}  # fmt: skip
FLEET = {"teltonika": 80, "omnicomm": 60, "wialon-ips": 60}

# The name with its labels as the documentation writes them, and the type.
PROMISED = {
    "dozor_connections": ("gauge", {"protocol"}),
    "dozor_connections_accepted": ("counter", {"protocol"}),
    "dozor_logins": ("counter", {"protocol", "result"}),
    "dozor_frames": ("counter", {"protocol"}),
    "dozor_records": ("counter", {"protocol"}),
    "dozor_records_duplicate": ("counter", {"protocol"}),
    "dozor_frames_malformed": ("counter", {"protocol", "reason"}),
    "dozor_frames_quarantined": ("counter", {"protocol", "reason"}),
    "dozor_connections_refused": ("counter", {"reason"}),
    "dozor_ack_seconds": ("histogram", {"protocol", "le"}),
    "dozor_commit_seconds": ("histogram", {"le"}),
    "dozor_batch_records": ("histogram", {"le"}),
    "dozor_queue_frames": ("gauge", set()),
    "dozor_line_requests": ("counter", {"port", "result"}),
    "dozor_spool_bytes": ("gauge", set()),
    "dozor_spool_frames": ("gauge", set()),
    "dozor_store_up": ("gauge", set()),
    "dozor_terminals": ("gauge", {"detector", "verdict"}),
    "dozor_incidents_open": ("gauge", {"kind"}),
    "dozor_mass_silence_members": ("gauge", set()),
    "dozor_watch_tick_seconds": ("histogram", {"le"}),
    "dozor_listening": ("gauge", set()),
    "dozor_incidents_refused": ("counter", {"kind"}),
    "dozor_tickets_open": ("gauge", {"kind"}),
    "dozor_tickets_opened": ("counter", {"kind"}),
    "dozor_tickets": ("gauge", {"state"}),
    "dozor_tickets_overdue": ("gauge", set()),
    "dozor_tickets_unowned": ("gauge", set()),
    "dozor_ticket_breaches": ("counter", {"clock"}),
    "dozor_clock_overdue_seconds": ("gauge", set()),
    "dozor_commands": ("counter", {"protocol", "state"}),
    "dozor_outbox_pending": ("gauge", {"channel"}),
    "dozor_outbox_failed": ("counter", {"channel"}),
    "dozor_letters": ("counter", {"kind", "result"}),
    "dozor_mail_in": ("counter", {"verdict"}),
    "dozor_engine_failed": ("counter", {"kind"}),
    "dozor_mail_kept": ("counter", {"source"}),
    "dozor_mail_put_off": ("counter", set()),
    "dozor_mailbox_up": ("gauge", {"mailbox"}),
    "dozor_disk_free_bytes": ("gauge", {"directory"}),
    "dozor_not_ready": ("gauge", {"reason"}),
    "dozor_mqtt_connected": ("gauge", {"broker"}),
    "dozor_mqtt_sessions_lost": ("counter", {"broker"}),
    "dozor_part_failures": ("counter", {"name"}),
    "dozor_items_failed": ("counter", {"kind"}),
    "dozor_egress_lag_seconds": ("gauge", {"name"}),
    "dozor_egress_records": ("counter", {"name"}),
    "dozor_egress_lost": ("counter", {"name"}),
    "dozor_egress_aside": ("gauge", {"name"}),
    "dozor_egress_connected": ("gauge", {"name"}),
    "dozor_egress_holding": ("gauge", {"name"}),
    "dozor_watch_active": ("gauge", set()),
    "dozor_build_info": ("gauge", {"version"}),
    "process_resident_memory_bytes": ("gauge", set()),
    "process_cpu_seconds": ("counter", set()),
}


@pytest.fixture(scope="module")
def busy() -> Iterator[tuple[ServiceProcess, str]]:
    """A service with 200 terminals connected, and its metrics; of each part, one that is away too."""
    # /dev/null is no line: readings that could not be asked for are counted too.
    with running_service(
        DOZOR_EGRESS__NAME="region",
        DOZOR_EGRESS__URL="mqtt://127.0.0.1:9",
        DOZOR_MQTT__URL=f"mqtt://127.0.0.1:{free_port()}",
        DOZOR_MAILBOX__HOST="127.0.0.1",
        DOZOR_MAILBOX__PORT="9",
        DOZOR_MAILBOX__USER="desk",
        DOZOR_MAILBOX__PASSWORD_FILE=__file__,
        DOZOR_LMTP__ADDRESS=f"127.0.0.1:{free_port()}",
        DOZOR_SERIAL__PORT="/dev/null",
        DOZOR_SERIAL__TERMINAL="TANK",
    ) as service:
        fleets = [
            subprocess.Popen(
                [
                    sys.executable, "-m", "gateway.cli", "simulate", "--protocol", protocol, "--terminals", str(count),
                    "--target", f"127.0.0.1:{service.ports[protocol]}", "--duration", "20", "--seed", "7", "--json",
                ],
                cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )
            for protocol, count in FLEET.items()
        ]  # fmt: skip
        try:
            wait_for(lambda: service.metric("dozor_logins_total") >= 200, 40)
            wait_for(lambda: service.metric("dozor_records_total") >= 200, 40)
            yield service, service.get("/metrics")[1]
            for fleet, (protocol, count) in zip(fleets, FLEET.items(), strict=True):
                told = json.loads(fleet.communicate(timeout=60)[0].splitlines()[-1])
                assert fleet.returncode == 0
                assert told["terminals"] == count, (protocol, told)
        finally:
            for fleet in fleets:
                fleet.kill()
                fleet.communicate()
        no_exception(service)


def test_series_are_few_and_name_no_terminal(busy: tuple[ServiceProcess, str]) -> None:
    service, text = busy
    samples = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert 100 < len(samples) < 200 + 70 * len(RECEIVED)
    known = {str(name) for (name,) in service.query("SELECT identity FROM terminal")}
    assert len(known) >= 200
    values = set(re.findall(r'[a-z_]+="([^"]*)"', text))
    assert not values & known
    assert set(re.findall(r'([a-z_]+)="', text)) <= LABELS | {"implementation", "major", "minor", "patchlevel"}


def test_names_labels_and_types(busy: tuple[ServiceProcess, str]) -> None:
    families = {family.name: family for family in text_string_to_metric_families(busy[1])}
    for name, (kind, labels) in PROMISED.items():
        assert name in families, name
        assert families[name].type == kind, name
        assert {label for sample in families[name].samples for label in sample.labels} == labels, name
        assert families[name].documentation
    reasons = {s.labels["reason"] for s in families["dozor_frames_malformed"].samples}
    assert reasons == {"checksum", "length", "structure", "login", "truncated", "timeout", "unsupported"}
    ours = {name for name in families if name.startswith("dozor_")}
    assert ours <= set(PROMISED) | {"dozor_calendar_known_until_seconds"}, "a name that is documented nowhere"


def test_figures_agree_with_the_store(busy: tuple[ServiceProcess, str]) -> None:
    service, _ = busy
    families = {family.name: family for family in text_string_to_metric_families(service.get("/metrics")[1])}
    frames = {s.labels["protocol"]: s.value for s in families["dozor_frames"].samples if s.name.endswith("_total")}
    observed = {
        s.labels["protocol"]: s.value for s in families["dozor_ack_seconds"].samples if s.name.endswith("_count")
    }
    assert all(frames[protocol] > 0 for protocol in FLEET)
    assert observed == frames  # one observation per frame
    before = service.metric("dozor_records_total")
    rows = service.query("SELECT count(*) FROM telemetry")[0][0]
    assert before <= int(str(rows)) <= service.metric("dozor_records_total") + 4000


def test_promtool_has_no_complaint(busy: tuple[ServiceProcess, str], promtool: Path) -> None:
    done = subprocess.run(
        [promtool, "check", "metrics"], input=busy[1], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_rules_and_dashboard_ask_for_what_there_is(busy: tuple[ServiceProcess, str]) -> None:
    told = set(re.findall(r"^(\w+?)(?:\{| )", busy[1], re.MULTILINE))
    files = [*ROOT.glob("deploy/prometheus/*.y*ml"), *ROOT.glob("deploy/grafana/**/*.json")]
    asked = {name for file in files for name in re.findall(r"\b(?:dozor|process)_[a-z_]+\b", file.read_text())}
    assert asked
    assert {name for name in asked if name not in told and not name.startswith("dozor_calendar")} == set()


def test_every_scrape_is_a_text_that_prometheus_knows(busy: tuple[ServiceProcess, str]) -> None:
    names = [line.split()[2] for line in busy[1].splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
