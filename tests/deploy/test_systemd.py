"""systemd's own tools judge the unit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parent.parent.parent / "deploy" / "systemd" / "dozor.service"


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as if the gateway were installed."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine")
    program = tmp_path / "dozor"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / "dozor.service"
    copy.write_text(UNIT.read_text().replace("/opt/dozor/.venv/bin/dozor", str(program)))
    return copy


def test_the_unit_is_valid(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_is_hardened(unit: Path) -> None:
    """The tool's scale goes from 0 (nothing exposed) to 10; in tenths here."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd-analyze on this machine is too old to judge a file")
    assert done.returncode == 0, done.stdout[-400:]


@pytest.mark.parametrize(
    "line",
    [
        "Type=notify",
        "WatchdogSec=30s",
        "LimitNOFILE=1048576",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "StateDirectory=dozor",
        "KillMode=mixed",
    ],
)
def test_what_the_gateway_relies_on(line: str) -> None:
    assert line in UNIT.read_text().splitlines()
