"""Photograph the desk of a demo that runs for it: `python tools/demo_screenshot.py docs/desk.png` (`make screenshot`).

Starts `dozor demo`, waits until its faults have their tickets, takes the picture with `tools/screenshot.py`, and stops
it.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
START = 120.0  # s for the demo to say where it is
SETTLE = 20.0  # s without a new ticket: then all are there
PATIENCE = 180.0  # s for the tickets in all


def said(log: Path, demo: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The demo's first line on stderr."""
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        first, newline, _ = log.read_text(encoding="utf-8", errors="replace").partition("\n")
        if newline:
            found: dict[str, Any] = json.loads(first)
            return found
        if demo.poll() is not None:
            break
        time.sleep(0.2)
    sys.exit(f"the demo did not start: {log.read_text(encoding='utf-8', errors='replace')[-500:]}")


def tickets(metrics_url: str) -> int:
    with urlopen(metrics_url, timeout=10) as answer:  # noqa: S310 -- the address comes from our own demo
        text = answer.read().decode()
    return int(sum(float(value) for value in re.findall(r"^dozor_tickets_opened_total\{.*\} (\S+)$", text, re.M)))


def wait_for_tickets(metrics_url: str) -> int:
    deadline = time.monotonic() + PATIENCE
    count, since = 0, time.monotonic()
    while time.monotonic() < deadline and (not count or time.monotonic() - since < SETTLE):
        time.sleep(1)
        if (now := tickets(metrics_url)) != count:
            count, since = now, time.monotonic()
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--terminals", type=int, default=200)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [str(ROOT / ".venv/bin/dozor"), "demo", "--terminals", str(args.terminals)]
        with log.open("wb") as errors:
            demo = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            told = said(log, demo)
            address = str(told["metrics_url"])
            metrics_url = address if address.endswith("/metrics") else address.rstrip("/") + "/metrics"
            count = wait_for_tickets(metrics_url)
            print(f"{count} tickets", file=sys.stderr)
            script = [sys.executable, "-m", "tools.screenshot", told["desk_url"], "--user", told["username"]]
            done = subprocess.run(
                [*script, "--password-stdin", "-o", str(args.output.absolute())],
                input=told["password"] + "\n", text=True, check=False, timeout=120, cwd=ROOT,
            )  # fmt: skip
            return done.returncode if count else 1
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(timeout=60)


if __name__ == "__main__":
    sys.exit(main())
