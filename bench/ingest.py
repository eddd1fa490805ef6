"""Frames acknowledged after their commit, as a ratio to a server that only answers; and COPY alone.

Each row of the table: the bare server, the gateway, COPY over one connection and over two, one after the other,
several rounds; the medians stand. The gateway starts on a fresh data directory, and before each measurement the table
of records is emptied and PostgreSQL's dirty pages are written, so that every measurement finds the same.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from psutil import cpu_times_percent

from bench import copyalone
from bench.copyalone import Shape
from bench.processes import Gateway, ask, bare
from protocols.registry import PROTOCOLS


@dataclass(frozen=True, slots=True)
class Load:
    """A row: terminals, frames in flight, records in a frame."""

    terminals: int
    window: int
    records: int


_MOST_SPOKEN = 60_000  # frames/s with one in flight that the made ones last for

LOADS = (Load(1000, 1, 1), Load(200, 4, 1), Load(2000, 4, 1), Load(200, 4, 20))


def measure(
    service: Gateway, load: Load, *, rounds: int, seconds: float, until: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """One row of the contract's `ingest`, and what explains it.

    `until` is the `perf_counter` after which no further round begins; the first one always does.
    """
    mine: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    one: list[float] = []
    two: list[float] = []
    shape = Shape(load.terminals, load.records)
    with bare() as (bare_port, bare_pid):
        for turn in range(rounds):
            if turn and time.perf_counter() > until:
                say("  no more rounds: the machine is slow or busy")
                break
            theirs.append(_load(load, bare_port, seconds, service.next_ms, server=bare_pid, wrap=True))
            _same_start(service)
            commits, took = service.metric("dozor_commit_seconds_count"), service.metric("dozor_commit_seconds_sum")
            told = _load(load, service.port, seconds, service.next_ms, server=service.pid, store=service.store_pid)
            commits = service.metric("dozor_commit_seconds_count") - commits
            told["commit_ms"] = 1000 * (service.metric("dozor_commit_seconds_sum") - took) / max(commits, 1)
            told["records_per_commit"] = told["frames"] * load.records / max(commits, 1)
            mine.append(told)
            service.next_ms = int(told["last_ms"]) + 1
            for figures, connections, batch in ((one, 1, 2000), (two, 2, 20_000)):
                _same_start(service)
                figures.append(
                    copyalone.measure(service.dsn, shape, connections=connections, batch=batch, seconds=seconds * 0.6)
                )
            say(
                f"  round {turn + 1}: {told['frames_per_s']:9,.0f} frames/s, bare {theirs[-1]['frames_per_s']:9,.0f},"
                f" COPY alone {one[-1]:9,.0f} and {two[-1]:9,.0f} records/s"
            )
    frames, bare_frames = _median(mine, "frames_per_s"), _median(theirs, "frames_per_s")
    return {
        "protocol": "teltonika",
        "terminals": load.terminals,
        "window": load.window,
        "records_per_frame": load.records,
        "frames_per_s": round(frames, 1),
        "records_per_s": round(frames * load.records, 1),
        "bare_frames_per_s": round(bare_frames, 1),
        "ratio": round(frames / bare_frames, 4),
        "cpu_us_per_frame": round(_median(mine, "cpu_us_per_frame"), 2),
        "bare_cpu_us_per_frame": round(_median(theirs, "cpu_us_per_frame"), 2),
        "copy_records_per_s": round(statistics.median(one), 1),
        "copy2_records_per_s": round(statistics.median(two), 1),
        "store_cpu_us_per_frame": round(_median(mine, "store_cpu_us_per_frame"), 2),
        "commit_ms": round(_median(mine, "commit_ms"), 2),
        "records_per_commit": round(_median(mine, "records_per_commit"), 1),
        "rounds": len(mine),
        "generator_busy": round(_median(mine, "generator_busy"), 2),
        "bare_generator_busy": round(_median(theirs, "generator_busy"), 2),
    }


class Spoken(Gateway):
    """Listens for every protocol."""

    protocols = tuple(PROTOCOLS)


def every(
    service: Spoken, names: Sequence[str], *, terminals: int, rounds: int, seconds: float, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """A row of each protocol: one frame of one record in flight, as a ratio to Teltonika's in turns with it."""
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    next_ms = dict.fromkeys(names, int(time.time()) * 1000 - 780_000)
    for turn in range(rounds):
        for name in names:
            _same_start(service)
            commits, frames = service.metric("dozor_commit_seconds_count"), service.metric("dozor_frames_total")
            beside = () if name == "teltonika" else ("--beside", str(service.ports["teltonika"]))
            its = ask(
                "bench.speakers", "--protocol", name, "--port", str(service.ports[name]), *beside,
                "--terminals", str(terminals), "--seconds", str(seconds), "--start-ms", str(next_ms[name]),
                "--frames", str(int(_MOST_SPOKEN * (seconds + 1))), "--server", str(service.pid),
                "--store", str(service.store_pid), timeout=seconds + 300,
            )  # fmt: skip
            next_ms[name] = min(int(its["last_ms"]), int(time.time()) * 1000)
            commits = service.metric("dozor_commit_seconds_count") - commits
            its["records_per_commit"] = (service.metric("dozor_frames_total") - frames) / max(commits, 1)
            told[name].append(its)
            say(
                f"  round {turn + 1}: {name:20} {its['frames_per_s']:9,.0f} frames/s, "
                f"Teltonika {its['beside_frames_per_s']:9,.0f}, ratio {its['ratio']:.2f}"
            )
    return [
        {
            "protocol": name,
            "terminals": terminals,
            "window": 1,
            "records_per_frame": 1,
            "frames_per_s": round(_median(its, "frames_per_s"), 1),
            "records_per_s": round(_median(its, "frames_per_s"), 1),
            "teltonika_ratio": round(_median(its, "ratio"), 3),
            "cpu_us_per_frame": round(_median(its, "cpu_us_per_frame"), 2),
            "teltonika_cpu_us_per_frame": round(_median(its, "beside_cpu_us_per_frame"), 2),
            "store_cpu_us_per_frame": round(_median(its, "store_cpu_us_per_frame"), 2),
            "records_per_commit": round(_median(its, "records_per_commit"), 1),
            "generator_busy": round(_median(its, "generator_busy"), 2),
            "bytes_per_frame": round(_median(its, "bytes_per_frame"), 1),
            "rounds": rounds,
        }
        for name, its in told.items()
    ]


def compare(
    one: Gateway, two: Gateway, load: Load, *, rounds: int, seconds: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """The same load on a gateway with one receiving process and on one with several, in turn."""
    told: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for turn in range(rounds):
        for service, mine in zip((one, two), told, strict=True):
            _same_start(service)
            mine.append(_load(load, service.port, seconds, service.next_ms, server=service.pid))
            service.next_ms = int(mine[-1]["last_ms"]) + 1
        rates = [mine[-1]["frames_per_s"] for mine in told]
        say(f"  round {turn + 1}: one {rates[0]:9,.0f} frames/s, {two.workers} workers {rates[1]:9,.0f}")
    single, several = (_median(mine, "frames_per_s") for mine in told)
    pairs = [b["frames_per_s"] / a["frames_per_s"] for a, b in zip(*told, strict=True)]
    return {
        "terminals": load.terminals,
        "workers": two.workers,
        "one_frames_per_s": round(single, 1),
        "frames_per_s": round(several, 1),
        "ratio": round(statistics.median(pairs), 3),
    }


def latency(service: Gateway, rate: float, *, terminals: int, rounds: int, seconds: float) -> dict[str, Any]:
    """How long frames wait for their ack when `rate` of them come each second, evenly; the bare server's in turn."""
    mine: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []

    def paced(port: int, pid: int) -> dict[str, Any]:
        return ask(
            "bench.generator", "--port", str(port), "--terminals", str(terminals), "--rate", str(rate),
            "--seconds", str(seconds), "--warm", "1", "--server", str(pid), "--start-ms", str(service.next_ms),
            timeout=seconds + 120,
        )  # fmt: skip

    with bare() as (bare_port, bare_pid):
        for _ in range(rounds):
            theirs.append(paced(bare_port, bare_pid))
            _same_start(service)
            cpu_times_percent()  # the next call tells of the time since this one
            mine.append(paced(service.port, service.pid))
            mine[-1]["stolen"] = getattr(cpu_times_percent(), "steal", 0.0) / 100  # told by Linux only
            service.next_ms = int(mine[-1]["last_ms"]) + 1
    names = ("frames_per_s", "p50_ms", "p99_ms", "cpu_us_per_frame")
    return {
        **{name: round(_median(mine, name), 2) for name in names},
        **{f"bare_{name}": round(_median(theirs, name), 2) for name in names[1:]},
        "stolen": round(_median(mine, "stolen"), 3),
        "rounds": rounds,
    }


def _load(
    load: Load, port: int, seconds: float, start_ms: int, *, server: int, store: int = 0, wrap: bool = False
) -> dict[str, Any]:
    most = 130_000 if load.records == 1 else 30_000  # frames/s of the gateway that the made ones last for
    warm = seconds * 0.3
    return ask(
        "bench.generator", "--port", str(port), "--terminals", str(load.terminals), "--window", str(load.window),
        "--records", str(load.records), "--seconds", str(seconds), "--warm", str(warm),
        "--frames", str(int(20_000 if wrap else most * (seconds + warm))), "--start-ms", str(start_ms),
        "--server", str(server), "--store", str(store), *(["--wrap"] if wrap else []), timeout=seconds + 120,
    )  # fmt: skip


def _same_start(service: Gateway) -> None:
    service.execute("TRUNCATE record", "CHECKPOINT")


def _median(told: list[dict[str, Any]], name: str) -> float:
    return statistics.median(float(each[name]) for each in told)
