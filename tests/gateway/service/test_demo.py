"""`dozor demo` from the outside: its first line, its last line, every fault ticketed once, nothing left behind."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from gateway.commands.demo import _Demo, _Held
from gateway.service.demo import StoreView, demo_settings
from tests.harness import alive
from tests.ticketing.desk_parts import MONDAY, add_terminal, pool_of, raise_one, recover_one

DOZOR = str(Path(sys.executable).with_name("dozor"))
FIRST = {"data_dir", "listen", "desk_url", "metrics_url", "username", "password", "accounts"}
LAST = {
    "terminals", "frames", "records_stored", "malformed", "tickets", "faults", "false_tickets", "ack_p50_ms",
    "ack_p99_ms", "desk_url",
}  # fmt: skip


class Demo:
    """A running demo, its stderr in a file."""

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        # Whatever this machine's environment says of dozor is none of the test's business.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DOZOR_")}
        (folder / "tmp").mkdir()
        self.errors = folder / "stderr"
        self.temporary = folder / "tmp"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [DOZOR, "demo", *arguments],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, cwd=folder, start_new_session=True,
                env={**environment, "TMPDIR": str(self.temporary), **variables},
            )  # fmt: skip

    def first(self, timeout: float = 60.0) -> dict[str, Any]:
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            lines = self.errors.read_text().splitlines(keepends=True)
            if lines and lines[0].endswith("\n"):
                found: dict[str, Any] = json.loads(lines[0])
                return found
            assert self.process.poll() is None, self.errors.read_text()
            time.sleep(0.1)
        raise AssertionError("no first line")

    def wait_for(self, words: str, timeout: float = 30.0) -> None:
        until = time.monotonic() + timeout
        while not re.search(words, self.errors.read_text()):
            assert time.monotonic() < until, self.errors.read_text()
            time.sleep(0.1)

    def last(self, timeout: float) -> dict[str, Any]:
        out, _ = self.process.communicate(timeout=timeout)
        found: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
        return found

    def of_ours(self) -> list[psutil.Process]:
        """Its processes, the store's included: these have detached, but work in its folder."""
        found = []
        for process in psutil.process_iter():
            try:
                here = str(self.temporary) in process.cwd()
            except (psutil.AccessDenied, psutil.NoSuchProcess):
                continue
            if here or process.pid == self.process.pid:
                found.append(process)
        return found


@contextmanager
def demo(folder: Path, *arguments: str, **variables: str) -> Iterator[Demo]:
    running = Demo(folder, *arguments, **variables)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.communicate(timeout=30)


def nothing_left(running: Demo, children: list[psutil.Process], within: float = 15.0) -> None:
    until = time.monotonic() + within
    while True:
        left = alive(children)
        if not left and not list(running.temporary.iterdir()):
            return
        assert time.monotonic() < until, (left, list(running.temporary.iterdir()))
        time.sleep(0.1)


@pytest.mark.slow
def test_every_fault_is_ticketed_exactly_once(tmp_path: Path, mosquitto: Path) -> None:
    with demo(tmp_path, "--duration", "45", "--json") as running:
        first = running.first()
        assert set(first) == FIRST
        assert set(first["listen"]) == {"teltonika", "omnicomm", "wialon-ips"}
        assert Path(first["data_dir"]).is_relative_to(running.temporary)
        assert httpx.get(first["desk_url"] + "/login").status_code == 200
        assert "dozor_frames_total" in httpx.get(first["metrics_url"]).text
        # Its own store, by its folder alone
        dsn = subprocess.run(
            [DOZOR, "dsn"], env={**os.environ, "DOZOR_DATA_DIR": first["data_dir"]}, check=True, capture_output=True
        )
        with psycopg.connect(dsn.stdout.decode().strip()) as link:
            running.wait_for(r" 1\d s  ")  # a busy machine is late with its lines
            row = link.execute("SELECT count(*), count(DISTINCT terminal) FROM telemetry").fetchone()
            assert row is not None
            assert row[0] > 500
            assert row[1] > 150
            published = link.execute("SELECT count(*) FROM connection WHERE listener LIKE 'mqtt %'").fetchone()
            assert published == (6,), "some of its terminals are at a broker"
            tank = link.execute("SELECT measures FROM telemetry WHERE terminal = 'DEMO-TANK'").fetchall()
            assert {"fuel.status.1", "fuel.status.2"} <= tank[0][0].keys()
        assert httpx.get(first["desk_url"] + "/login").status_code == 200
        children = running.of_ours() + psutil.Process(running.process.pid).children(recursive=True)
        last = running.last(timeout=60)
        assert running.process.returncode == 0
        nothing_left(running, children)
    assert set(last) == LAST
    assert [fault for fault in last["faults"] if len(fault["tickets"]) != 1] == []
    assert all(set(fault) == {"terminal", "kind", "injected_at", "tickets"} for fault in last["faults"])
    numbers = [number for fault in last["faults"] for number in fault["tickets"]]
    assert len(set(numbers)) == len(numbers)
    assert last["false_tickets"] == 0
    assert last["tickets"] == Counter(fault["kind"] for fault in last["faults"]) == {"silence": 10, "firmware": 8}
    assert last["terminals"] == 200
    assert last["malformed"] == 0
    assert last["records_stored"] >= last["frames"] > 1000
    assert 0 < last["ack_p50_ms"] <= last["ack_p99_ms"]
    assert last["desk_url"] == first["desk_url"]


def test_it_tells_tickets_recoveries_and_relapses_each_with_its_page(postgres_dsn: str, tmp_path: Path) -> None:
    shown = io.StringIO()

    async def scenario() -> str:
        async with pool_of(postgres_dsn) as pool:
            terminal = await add_terminal(pool, "860000000000001")
            told = _Demo(argparse.Namespace(), demo_settings(None, tmp_path), _Held(shown), tmp_path)
            told.held.release()
            told.desk_url, told.login = "http://desk", "demo / secret"
            view = StoreView(pool)
            await view.begin()
            number = (await raise_one(pool, terminal)).number
            for step in (raise_one(pool, terminal, MONDAY + 1), recover_one(pool, terminal, MONDAY + 600)):
                await told._new_tickets(view)
                await told._new_tickets(view)  # what was told is not told again
                await step
            await told._new_tickets(view)
            await told._new_tickets(view)
            told._progress(12.0)
            await raise_one(pool, terminal, MONDAY + 700)
            await told._new_tickets(view)
            return str(number)

    number = asyncio.run(scenario())
    ticket, back, progress, again = [line.strip() for line in shown.getvalue().splitlines()]
    for line, word in ((ticket, "ticket"), (back, "back"), (again, "again")):
        assert line.startswith(word)
        assert line.endswith(f"http://desk/tickets/{number}")
    assert "860000000000001" in back
    assert "860000000000001" in again
    assert progress.endswith("1 tickets, 1 recovered   http://desk   demo / secret")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.soak)])
def test_a_signal_ends_it_with_its_summary_and_nothing_left(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path, "--terminals", "20", "--json") as running:
        running.first()
        running.wait_for(" 5 s  ")
        children = running.of_ours() + psutil.Process(running.process.pid).children(recursive=True)
        assert len(children) > 3
        os.killpg(running.process.pid, number)  # as a terminal and timeout(1) do it
        last = running.last(timeout=15)
        assert running.process.returncode == 0
        nothing_left(running, children, within=1.0)
    assert set(last) == LAST
    assert last["terminals"] == 20
    assert last["records_stored"] > 0


@pytest.mark.slow
def test_a_killed_demo_takes_its_fleet_its_store_and_its_folder_along(tmp_path: Path) -> None:
    with demo(tmp_path, "--terminals", "20", "--json") as running:
        running.first()
        running.wait_for("fault")
        children = running.of_ours() + psutil.Process(running.process.pid).children(recursive=True)
        running.process.kill()
        running.process.communicate(timeout=10)
        nothing_left(running, children)


@pytest.mark.soak
@pytest.mark.slow
def test_a_configured_folder_stays_and_its_dsn_is_not_used(tmp_path: Path) -> None:
    data = tmp_path / "kept"
    variables = {"DOZOR_DATA_DIR": str(data), "DOZOR_STORE__DSN": "host=/nowhere dbname=theirs"}
    with demo(tmp_path, "--terminals", "9", "--duration", "6", "--json", **variables) as running:
        first = running.first()
        assert first["data_dir"] == str(data)
        last = running.last(timeout=40)
        assert running.process.returncode == 0
    assert (data / "postgres").is_dir()
    assert last["records_stored"] > 0
    assert {fault["kind"] for fault in last["faults"]} == {"firmware"}  # too short for a silence to be seen
    assert list(running.temporary.iterdir()) == []


def test_wrong_arguments_are_told(tmp_path: Path) -> None:
    for arguments in (["--terminals", "0"], ["--duration", "soon"], ["--config", str(tmp_path / "none.toml")]):
        ended = subprocess.run([DOZOR, "demo", *arguments], capture_output=True, cwd=tmp_path, timeout=60)
        assert ended.returncode == 2
        assert b"Traceback" not in ended.stderr
        assert ended.stderr
