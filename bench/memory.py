"""Resident memory per connected, logged-in, idle terminal; and how long logins take when the whole fleet comes back."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from bench.processes import Gateway, start

RESERVE = 256  # descriptors that the gateway keeps for itself
_OWN = 64  # descriptors of a client beside its connections
_SETTLE = 2.5  # s: facts beside the records are written once a second
_PER_ADDRESS = 8000  # an address has 28 000 ports, and one that was closed is kept for a minute: a search, then none
_FLAT = 1000  # connections at which the first figure is taken
_BURST = 1000  # frames of one terminal before anything is measured: code and buffers of a batch are no terminal's


def limit(workers: int = 1) -> int:
    """Connections that the descriptor limit gives one gateway process, or several: the kernel deals them unevenly."""
    each = int(resource.getrlimit(resource.RLIMIT_NOFILE)[1]) - RESERVE - _OWN
    return each if workers <= 1 else int(0.96 * each) * workers


def measure(service: Gateway, connections: int, *, reconnect: float) -> dict[str, Any]:
    """The contract's `memory` and what explains it; `reconnect` is how many seconds the whole fleet takes to come back.

    Raises
    ------
    RuntimeError
        If a client ends, or more connections are asked for than the descriptor limit gives.
    """
    most = limit(service.workers)
    if connections > most:
        raise RuntimeError(
            f"{connections} connections, and the descriptor limit gives {most}: raise it (ulimit -n) and try again"
        )
    time.sleep(_SETTLE)  # what only the start needed goes
    few = min(_FLAT, connections // 2)
    told: dict[str, Any] = {"connections": connections, "fresh_bytes": service.resident}
    with _clients(service, 1, few, connections - few) as (alone, first, rest):
        _all(alone, "login")
        _all(alone, "frame")
        _all(alone, f"burst {_BURST}")
        alone[0].kill()
        time.sleep(_SETTLE)
        empty = service.resident
        told["login_p99_ms_at_once"] = 0.0
        for clients, count in ((first, few), (rest, connections)):
            logins = _all(clients, "login")
            told["login_p99_ms_at_once"] = round(max(x["p99_ms"] for x in logins), 1)
            time.sleep(_SETTLE)
            after_login = service.resident
            _all(clients, "frame")
            time.sleep(_SETTLE)
            each = (service.resident - empty) / count
            if clients is first:
                told[f"bytes_per_connection_at_{count}"] = round(each)
        told["bytes_per_connection"] = round(each)
        told["bytes_per_connection_before_data"] = round((after_login - empty) / connections)
        told["empty_bytes"] = empty
        logins = _all(first + rest, f"reconnect {reconnect}")
        told["reconnect_seconds"] = round(max(x["seconds"] for x in logins), 1)
        told["login_p50_ms"] = round(max(x["p50_ms"] for x in logins), 2)
        told["login_p99_ms"] = round(max(x["p99_ms"] for x in logins), 2)
    return told


@contextlib.contextmanager
def _clients(service: Gateway, *counts: int) -> Iterator[tuple[list[subprocess.Popen[bytes]], ...]]:
    """For each count as many processes as hold it, each with a source address of its own."""
    each = int(resource.getrlimit(resource.RLIMIT_NOFILE)[1]) - _OWN
    groups: list[list[subprocess.Popen[bytes]]] = []
    number = 0
    try:
        for count in counts:
            groups.append([])
            while count > 0:
                share = min(count, each, _PER_ADDRESS)
                groups[-1].append(
                    start(
                        "bench.idle", "--port", str(service.port), "--connections", str(share), "--address",
                        f"127.0.{1 + number // 250}.{1 + number % 250}", "--first",
                        str(352_000_000_000_000 + number * 1_000_000), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    )
                )  # fmt: skip
                count -= share
                number += 1
        yield tuple(groups)
    finally:
        for client in [client for group in groups for client in group]:
            client.kill()
            client.communicate()


def _all(clients: list[subprocess.Popen[bytes]], word: str) -> list[dict[str, float]]:
    """Let all work on a stage at the same time."""
    for client in clients:
        assert client.stdin is not None
        client.stdin.write(word.encode() + b"\n")
        client.stdin.flush()
    told = []
    for client in clients:
        assert client.stdout is not None
        line = client.stdout.readline()
        if not line:
            raise RuntimeError(f"a client failed at {word!r}")
        told.append(json.loads(line))
    return told
