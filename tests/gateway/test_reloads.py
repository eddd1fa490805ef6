"""An archive that is asked again, from outside: a service on its store, a FLEX terminal, and a kill in between.

The policy's night is the whole day here: what is shown is the way from the request to the records in the store.
"""

from __future__ import annotations

import json
import struct
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from protocols.flex import declaration as flex
from protocols.flex.wire import HEADER
from tests.gateway.wire import Link, no_exception, wait_for
from tests.harness import ServiceProcess, free_port, running_service
from ticketing import policies

IMEI = "868896040000012"
CHOSEN = flex.selection([1, 2, 3, 7], 69)
SLICE = 900  # s: of a day's 96


def api(service: ServiceProcess, token: str, method: str, path: str, body: Any = None) -> Any:
    """The JSON of a good answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.ports['desk']}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read()) from error


def connect(service: ServiceProcess) -> Link:
    """Logged in, its fields agreed upon."""
    link = Link(service, "flex")
    assert message(link.send(flex.handshake(IMEI))) == b"*<S"
    assert message(link.send(flex.agreement(CHOSEN, 0x0A)))[:6] == b"*<FLEX"
    return link


def message(link: Link) -> bytes:
    """What the gateway says next, out of its frame."""
    head = link.read(HEADER)
    return link.read(struct.unpack_from("<H", head, 12)[0])


def records(link: Link, first: int, times: list[int]) -> None:
    """Out of the black box, acknowledged."""
    made = [flex.record(CHOSEN, {1: first + place, 2: 4688, 3: at, 7: 20}) for place, at in enumerate(times)]
    assert link.send(flex.archive(made)).read(4)[:3] == b"~A" + bytes((len(times),))


def test_an_archive_comes_again_and_a_kill_in_the_middle_asks_no_second_time(tmp_path: Path) -> None:
    text = policies.source("dealer-desk").replace('window = "20:00-06:00"', 'window = "00:00-24:00"')
    (tmp_path / "always.toml").write_text(text, encoding="utf-8")
    port = free_port()
    settings = {"DOZOR_LISTEN": f"flex=127.0.0.1:{port}", "DOZOR_DESK__POLICY": str(tmp_path / "always.toml")}
    with running_service(**settings, DOZOR_WATCH__FIRMWARE__ASK="false") as service:
        service.ports["flex"] = port
        assert service.command("user", "add", "anna", "--role", "engineer", "--password-stdin", text="long enough!!\n")
        token = service.command("user", "token", "anna", "--scope", "full").stdout.strip()
        assert service.command("terminal", "add", IMEI).returncode == 0
        end = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
        begin = end - timedelta(days=1)
        times = [int(begin.timestamp()) + place * SLICE for place in range(96)]
        with connect(service) as link:
            records(link, 1, times[:48])
            wait_for(lambda: service.query("SELECT 1 FROM terminal WHERE protocol = 'flex'"), 10)  # noted soon after
            told = {"channel": "api", "subject": "a gap", "terminal": IMEI}
            number = api(service, token, "POST", "/api/tickets", told)["number"]
            asked = {"ticket": number, "from": begin.isoformat(), "to": end.isoformat()}
            job = api(service, token, "POST", "/api/reloads", asked)
            assert (job["share"], job["place"]) == (0.5, 1)
            half = begin + timedelta(hours=12)
            assert message(link).decode() == f"*!REP_FL 1,{half:%d.%m.%y/%H:%M:%S},{end:%d.%m.%y/%H:%M:%S}"

        path = f"/api/reloads/{job['id']}"
        assert api(service, token, "GET", path)["state"] == "running"
        service.kill()
        service.start()
        with connect(service) as link:  # the terminal carries it out: nothing asks it once more
            records(link, 49, times[48:72])
            time.sleep(1.0)
            more = {**asked, "from": end.isoformat(), "to": (end + timedelta(hours=1)).isoformat()}
            behind = api(service, token, "POST", "/api/reloads", more)  # and makes the engine look at once
            found = wait_for(lambda: (now := api(service, token, "GET", path))["records"] == 24 and now, 10)
            assert (found["state"], found["share"], found["place"]) == ("running", 0.75, 1)
            assert api(service, token, "GET", f"/api/reloads/{behind['id']}")["place"] == 2
        assert service.query("SELECT count(*) FROM command") == [(1,)]
        actions = [entry["action"] for entry in api(service, token, "GET", f"/api/tickets/{number}")["journal"]]
        assert [action for action in actions if action.startswith("reload")] == [
            "reload-asked", "reload-begun", "reload-asked",
        ]  # fmt: skip
        no_exception(service)
