"""A Mosquitto of a demo's own, where this machine has one: on loopback, gone with whoever started it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # prctl(2)
_SETTINGS = """listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_inflight_messages 1000
max_queued_messages 0
log_dest none
{user}"""


def find() -> Path | None:
    """The program: on the path, where Debian puts it, or where the tests keep theirs; None: there is none."""
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is not None:
        return Path(found)
    cache = Path(os.environ.get("DOZOR_CACHE") or Path.home() / ".cache" / "dozor")
    kept = cache / "parts" / "mosquitto" / "start" / "mosquitto"
    return kept if kept.is_file() else None


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def running(program: Path, port: int, folder: Path) -> Iterator[None]:
    """Run it at that port; its file of settings lies in `folder`."""
    file = folder / "mosquitto.conf"
    file.write_text(_SETTINGS.format(port=port, user="user root\n" if os.geteuid() == 0 else ""), encoding="utf-8")
    process = subprocess.Popen(
        [program, "-c", file], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=_die_with_parent,
    )  # fmt: skip
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
