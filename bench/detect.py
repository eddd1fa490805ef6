"""The watch at scale: one tick over a whole fleet, a batch's state update, and a start with the fleet registered."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import psutil

from bench import copyalone
from bench.copyalone import Shape
from bench.processes import Gateway
from detectors.expected import Expected
from detectors.firmware import Firmware
from detectors.silence import Silence, SilenceRule
from gateway.watch.columns import plain
from gateway.watch.detecting import DETECTORS
from gateway.watch.fleet import Fleet
from gateway.watch.listening import Listening
from gateway.watch.patrol import Patrol
from protocols.records import IGNITION_KNOWN, IGNITION_ON, VALID
from ticketing.incidents import Incidents

BATCH = 4000  # records, the gateway's largest batch
PER_TICK = 10  # batches of that size between two ticks: fewer records a second make smaller batches
EVERY = 30  # s between the frames of a terminal


class _Nothing:
    """Stands where the store would: ticks and updates ask nothing of it."""


def tick(terminals: int, *, ticks: int = 10) -> dict[str, float]:
    """Milliseconds of one tick over `terminals`, each heard every `EVERY` seconds, and of one batch's state update."""
    nothing: Any = _Nothing()
    now = time.time()
    rule = SilenceRule(after=3.0, floor=300.0, ceiling=86_400.0, learn=8)
    others: list[Any] = [kind for kind in DETECTORS if kind not in (Silence, Firmware)]
    silence = Silence(rule, Expected(false_alarms=10.0, floor=rule.floor))  # as it is by default
    fleet = Fleet(Listening(), [silence, Firmware(None), *(kind() for kind in others)])
    patrol = Patrol(nothing, fleet, Incidents(nothing, policy="integrator-standard", targets=()))
    random = np.random.default_rng(1)
    patrol.tick(now, now)
    fleet.reserve(terminals + 1)
    updates = []
    for _ in range(2):
        now += 30.0
        patrol.tick(now, now)
        for low in range(1, terminals + 1, BATCH * 10):
            _apply(fleet, np.arange(low, min(low + BATCH * 10, terminals + 1)), now)
    for turn in range(100):
        now += 1.0 / PER_TICK
        chosen = np.sort(random.choice(terminals, min(BATCH, terminals), replace=False)) + 1
        if turn % PER_TICK == 0:
            patrol.tick(now, now)
        begun = time.perf_counter()
        _apply(fleet, chosen, now)
        updates.append(time.perf_counter() - begun)
    took = []
    for _ in range(ticks):
        now += 1.0
        _apply(fleet, np.sort(random.choice(terminals, max(1, terminals // EVERY), replace=False)) + 1, now)
        begun = time.perf_counter()
        patrol.tick(now, now)
        took.append(time.perf_counter() - begun)
    return {
        "terminals": terminals,
        "tick_ms": round(statistics.median(took) * 1000, 2),
        "update_ms": round(statistics.median(updates) * 1000, 3),
        "update_records": min(BATCH, terminals),
    }


def _apply(fleet: Fleet, rows: np.ndarray[Any, Any], now: float) -> None:
    terminal = rows.astype(np.int32)
    received = np.full(len(rows), int(now * 1e6))
    flags = np.full(len(rows), VALID | IGNITION_KNOWN | IGNITION_ON, np.int16)
    fleet.apply(plain(terminal, received, terminal, received, received, flags))


def startup(service: Gateway, terminals: int) -> dict[str, float]:
    """Seconds from the start of `dozor serve` to ready with `terminals` registered, and its resident memory then."""
    service.execute(
        "INSERT INTO terminal (identity, protocol) SELECT (353000000000000 + n)::text, 'teltonika' "
        f"FROM generate_series(1, {int(terminals)}) AS n",
        "ANALYZE terminal",
    )
    commit = BATCH / copyalone.measure(service.dsn, Shape(BATCH, 1), connections=1, batch=BATCH, seconds=1.0)
    service.stop()
    took = service.start()
    return {
        "startup_s": round(took, 2),
        "startup_resident_bytes": psutil.Process(service.pid).memory_info().rss,
        "commit_ms": round(commit * 1000, 2),
    }
