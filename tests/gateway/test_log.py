"""Logs: a JSON object a line whatever is told, and a log that nobody takes costs nobody anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from protocols.teltonika.declaration import CODEC_8, avl_frame, avl_record, login
from tests.gateway.wire import Link
from tests.harness import ROOT, ServiceProcess, data_directory, give_store

TELLS = r"""
import logging, sys, warnings
import structlog
from gateway import log
log.configure()
_log = structlog.get_logger()
print("begun", flush=True)
input()
_log.info("plain", text="Грузовик \ud800 \x00\n", data=b"\xff", number=1.5, nothing=None, of={"a": [1, {2}]})
_log.debug("not told")
try:
    1 / 0
except ZeroDivisionError:
    _log.exception("a failure")
logging.getLogger("some.library").warning("a %s", "warning")
logging.getLogger("some.library").info("not told")
warnings.warn("old", DeprecationWarning, stacklevel=1)
print("went on", flush=True)
"""


def tell(stderr: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-W", "always", "-c", TELLS],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def test_each_line_is_an_object(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log, tell(log.fileno()) as process:
        out, _ = process.communicate("\n", timeout=30)
    assert (out, process.returncode) == ("went on\n", 0)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["event"].split(":")[0], line["level"]) for line in lines[:3]] == [
        ("plain", "info"), ("a failure", "error"), ("a warning", "warning"),
    ]  # fmt: skip
    assert lines[0]["text"] == "Грузовик \ud800 \x00\n"
    assert (lines[0]["number"], lines[0]["nothing"], lines[0]["of"]["a"][0]) == (1.5, None, 1)
    assert "ZeroDivisionError" in lines[1]["exception"]
    assert lines[2]["logger"] == "some.library"
    assert "DeprecationWarning" in lines[3]["event"]
    assert len(lines) == 4
    assert all(line["timestamp"].endswith("Z") for line in lines)


@pytest.mark.parametrize("where", ["nobody reads", "a full disk"])
def test_a_log_that_is_not_taken_stops_nobody(where: str) -> None:
    """`dozor serve 2>&1 | head`, or the disk of the log is full: frames are acknowledged all the same."""
    if where == "a full disk":
        end = os.open("/dev/full", os.O_WRONLY)
    else:
        read, end = os.pipe()
    with tell(end) as process:
        os.close(end)
        if where != "a full disk":
            os.close(read)
        out, _ = process.communicate("\n", timeout=30)
    assert (out, process.returncode) == ("went on\n", 0)


def test_a_service_whose_log_nobody_reads_serves_on_and_ends_in_order() -> None:
    """Its workers write there too."""
    with data_directory() as folder:
        give_store(folder)
        service = ServiceProcess(folder, DOZOR_WATCH__FIRMWARE__ASK="false")
        try:
            service.process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "serve", "--workers", "2"],
                cwd=ROOT, env=service.environment, stderr=subprocess.PIPE,
            )  # fmt: skip
            service.wait_ready(60)
            assert service.process.stderr is not None
            service.process.stderr.close()
            for n in range(4):
                with Link(service, "teltonika") as link:
                    assert link.send(login(f"35693803565000{n}")).read(1) == b"\x01"
                    record = avl_record(timestamp=1_790_000_000_000 + n, satellites=7)
                    assert link.send(avl_frame(CODEC_8, [record])).read(4) == b"\x00\x00\x00\x01"
                with Link(service, "wialon-ips") as link:
                    assert link.send(b"#P#\r\n").rest() == b"#AL#0\r\n"
            assert service.query("SELECT count(*) FROM telemetry") == [(4,)]
            postgres = service.postgres_pid()
            assert service.stop() == 0
            assert not psutil.pid_exists(postgres)
        finally:
            service.end()
