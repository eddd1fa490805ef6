"""The desk while terminals send: what its pages take with a large queue, and what a burst of tickets costs the acks.

    python -m bench.desk --tickets 100000 --rate 20000 --terminals 1000

Starts a gateway of its own in a temporary folder, opens some tickets as people do, copies them by SQL until there are
enough (one in ten open, each with its journal, messages and clocks), and asks for pages in turn without load and under
it. Before that so many terminals send and fall silent at once, each a ticket of its own, while as many others send: the
acks of both are timed. Milliseconds; the median of the answers, and the slowest of twenty.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from bench import processes
from bench.generator import FIRST_IMEI
from bench.processes import Gateway, ask, start
from ticketing.core.numbers import ticket_number

MADE = 100  # tickets that are opened as people do, and then copied
OPEN = 10  # of so many copies one is open
# Their rows go with each ticket; columns that are counted are made anew.
FOLLOW = ("ticket_message", "task", "precheck", "due")
WITHIN = 120.0  # s for the whole burst to become tickets
SILENT_AFTER = 20.0  # s, of the terminals that fall silent together


class Desk(Gateway):
    """With a desk that is asked, and a watch that gives each silent terminal a ticket of its own, soon."""

    def __init__(self, folder: Path, workers: int = 0) -> None:
        super().__init__(folder, workers)
        self.token = ""
        self.environment |= {
            "DOZOR_WATCH__SILENCE__FLOOR": f"{SILENT_AFTER:.0f}s",
            "DOZOR_WATCH__SILENCE__LEARN": "3",
            "DOZOR_WATCH__MASS_SILENCE__ENABLED": "false",
            "DOZOR_WATCH__INCIDENTS__HOLD": "0s",
            "DOZOR_WATCH__INCIDENTS__TICKETS_PER_MINUTE": "0",
        }

    def command(self, *arguments: str, text: str = "") -> str:
        """What a `dozor` command said."""
        done = subprocess.run(
            [sys.executable, "-m", self.module, *arguments],
            cwd=processes.ROOT, env=self.environment, input=text, capture_output=True, text=True, check=True,
            timeout=60,
        )  # fmt: skip
        return done.stdout.strip()

    def sign_in(self) -> None:
        """Somebody who may see all."""
        self.command("user", "add", "bench", "--role", "admin", "--password-stdin", text="a long good password\n")
        self.token = self.command("user", "token", "bench")

    def asked(self, path: str, body: dict[str, Any] | None = None) -> tuple[float, bytes]:
        """Milliseconds until the whole answer was there, and the answer."""
        request = urllib.request.Request(
            f"http://{self.environment['DOZOR_DESK__ADDRESS']}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        begun = time.perf_counter()
        with urllib.request.urlopen(request, timeout=60) as answer:
            read: bytes = answer.read()
        return (time.perf_counter() - begun) * 1000, read


def open_some(desk: Desk) -> list[str]:
    """Tickets of twenty clients, by phone and by mail; their numbers."""
    numbers = []
    clients = [json.loads(desk.asked("/api/organisations", {"name": f"Carrier {n}"})[1])["id"] for n in range(20)]
    for n in range(MADE):
        wanted = {
            "channel": "phone" if n % 2 else "mail", "organisation": clients[n % 20],
            "subject": f"No data from bus {n}",
            "description": "The position stands still since the morning. " * 10, "new": True,
        }  # fmt: skip
        number = json.loads(desk.asked("/api/tickets", wanted)[1])["number"]
        for text in ("Looked at the track.", "Asked the driver.", "The unit answers again."):
            desk.asked(f"/api/tickets/{number}/note", {"text": text})
        numbers.append(number)
    return numbers


def copy_them(dsn: str, tickets: int) -> None:
    """Copies of the tickets there are, until there are so many; one in `OPEN` stays open."""
    with psycopg.connect(dsn, autocommit=True, options="-c synchronous_commit=off") as link:
        (have, last) = link.execute("SELECT count(*), max(id) FROM ticket").fetchone() or (0, 0)
        more = tickets - have
        link.execute("CREATE TEMP TABLE copy (id bigint, old bigint, number text, open boolean)")
        with link.cursor().copy("COPY copy FROM STDIN") as rows:
            for n in range(more):
                rows.write_row((last + 1_000_000 + n, 0, ticket_number(1_000_000 + n), n % OPEN == 0))
        link.execute(
            "UPDATE copy SET old = o.id FROM (SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM ticket) o"
            " WHERE o.n = copy.id %% %s",
            (have,),
        )
        made: dict[str, str] = {
            "id": "c.id", "number": "c.number",
            "state": "CASE WHEN c.open THEN s.state ELSE 'closed' END",
            "queue_key": "CASE WHEN c.open THEN s.queue_key END",
            "closed_at": "CASE WHEN NOT c.open THEN s.opened_at + interval '3 h' END",
            "ended": "CASE WHEN NOT c.open THEN 'consent' END",
            "clock_runs": "c.open AND s.clock_runs",
            "clock_check_at": "CASE WHEN c.open THEN s.clock_check_at + interval '1 day' END",
        }  # fmt: skip
        _copied(link, "ticket", made, "s.id = c.old")
        for table in FOLLOW:
            of = "subject" if table == "due" else "ticket"
            apart = "" if table != "due" else " AND c.open"
            _copied(link, table, {of: "c.id"}, f"s.{of} = c.old{apart}")
        link.execute("ALTER TABLE journal DISABLE TRIGGER ALL")
        _copied(link, "journal", {"ticket": "c.id"}, "s.ticket = c.old")
        link.execute("ALTER TABLE journal ENABLE TRIGGER ALL")
        link.execute("SELECT setval(pg_get_serial_sequence('ticket', 'id'), max(id)) FROM ticket")
        link.execute("VACUUM ANALYZE")


def _copied(link: psycopg.Connection[Any], table: str, made: dict[str, str], where: str) -> None:
    rows = link.execute(
        "SELECT column_name, is_identity = 'YES' FROM information_schema.columns WHERE table_name = %s"
        " AND is_generated = 'NEVER' AND table_schema = 'public'",
        (table,),
    ).fetchall()
    columns = [name for name, counted in rows if name in made or not counted]
    link.execute(
        SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} s JOIN copy c ON {}").format(
            Identifier(table),
            SQL(", ").join(map(Identifier, columns)),
            SQL(", ").join(
                SQL(made[name]) if name in made else SQL("s.{}").format(Identifier(name)) for name in columns
            ),  # type: ignore[arg-type]
            Identifier(table),
            SQL(where),
        )
    )


def pages(desk: Desk, number: str, times: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each page, in turn."""
    asked = {
        "queue": "/tickets", "queue, api": "/api/tickets", "closed": "/tickets?state=closed",
        "search": "/tickets?search=bus+7", "ticket": f"/tickets/{number}", "ticket, api": f"/api/tickets/{number}",
    }  # fmt: skip
    took: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(times):
        for name, path in asked.items():
            took[name].append(desk.asked(path)[0])
    return {
        name: {"ms": round(statistics.median(each), 1), "p95_ms": round(sorted(each)[int(0.95 * len(each))], 1)}
        for name, each in took.items()
    }


def sending(desk: Desk, rate: float, seconds: float, *, terminals: int = 1000, first: int = FIRST_IMEI) -> list[str]:
    """Arguments of a load of so many frames a second."""
    return [
        "--port", str(desk.port), "--terminals", str(terminals), "--rate", str(rate), "--seconds", str(seconds),
        "--warm", "1", "--first", str(first), "--server", str(desk.pid), "--start-ms", str(desk.next_ms),
    ]  # fmt: skip


def under_load(desk: Desk, number: str, rate: float, times: int) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """The same pages while frames come, and what the frames met; it lasts as long as the pages take."""
    seconds = 20.0 + 6.0 * times  # six pages, a second each
    load = start("bench.generator", *sending(desk, rate, seconds), stdout=subprocess.PIPE)
    try:
        before = desk.metric("dozor_frames_total")
        while desk.metric("dozor_frames_total") - before < 2 * rate:  # all are connected, and send
            time.sleep(0.2)
        begun, frames = time.perf_counter(), desk.metric("dozor_frames_total")
        told = pages(desk, number, times)
        took = time.perf_counter() - begun
        frames = desk.metric("dozor_frames_total") - frames
        if load.poll() is not None:
            raise RuntimeError(f"the load ended before the pages did, which took {took:.0f} s")
    finally:
        load.kill()
        load.communicate()
    desk.next_ms += int(rate * seconds) + 1000
    return told, {"frames_per_s": round(frames / took), "seconds": round(took, 1)}


def burst(desk: Desk, count: int, rate: float, seconds: float) -> dict[str, Any]:
    """The acks' p99 in quiet; then its `count` terminals fall silent, and meanwhile that of as many others."""
    quiet = ask("bench.generator", *sending(desk, rate, seconds, terminals=count), timeout=seconds + 60)
    desk.next_ms = int(quiet["last_ms"]) + 1
    tickets = "SELECT count(*) FROM ticket WHERE kind = 'silence'"
    deadline = time.monotonic() + WITHIN
    while not desk.execute(tickets)[0][0]:
        if time.monotonic() > deadline:
            raise RuntimeError("nobody fell silent")
        time.sleep(0.05)
    begun, before = time.monotonic(), desk.execute(tickets)[0][0]
    others = sending(desk, rate, seconds, terminals=count, first=FIRST_IMEI + 1_000_000)
    meanwhile = ask("bench.generator", *others, timeout=seconds + 60)
    desk.next_ms = int(meanwhile["last_ms"]) + 1
    opened = desk.execute(tickets)[0][0] - before
    while desk.execute(tickets)[0][0] < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{desk.execute(tickets)[0][0]} of {count} became tickets in {WITHIN:.0f} s")
        time.sleep(0.2)
    return {
        "terminals": count, "opened_meanwhile": opened, "all_s": round(time.monotonic() - begun, 1),
        "frames_per_s": round(meanwhile["frames_per_s"]),
        "quiet_p50_ms": round(quiet["p50_ms"], 1), "p50_ms": round(meanwhile["p50_ms"], 1),
        "quiet_p99_ms": round(quiet["p99_ms"], 1), "p99_ms": round(meanwhile["p99_ms"], 1),
        "ratio": round(meanwhile["p99_ms"] / quiet["p99_ms"], 2),
    }  # fmt: skip


def measure(
    *, tickets: int = 100_000, rate: float = 20_000.0, times: int = 40, terminals: int = 1000,
    burst_rate: float = 5000.0, seconds: float = 8.0, workers: int = 1, say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """All of it: `times` answers of each page at `rate` frames a second, and `terminals` that fall silent together.

    `workers` receive, in processes of their own; 0: all is one process.
    """
    told: dict[str, Any] = {"tickets": tickets, "workers": workers}
    with processes.gateway(Desk, workers) as desk:
        desk.sign_in()
        number = open_some(desk)[0]
        told["burst"] = burst(desk, terminals, burst_rate, seconds)
        say(_line("burst", told["burst"]))
        copy_them(desk.dsn, tickets)
        told["quiet"] = pages(desk, number, times)
        told["loaded"], told["load"] = under_load(desk, number, rate, times)
    for name in told["quiet"]:
        say(_line(name, {"quiet": told["quiet"][name], "under load": told["loaded"][name]}))
    return told


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.desk", description=__doc__)
    parser.add_argument("--tickets", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=20_000.0, help="frames a second while pages are asked for")
    parser.add_argument("--times", type=int, default=40, help="answers of each page")
    parser.add_argument("--terminals", type=int, default=1000, help="that fall silent together")
    parser.add_argument("--burst-rate", type=float, default=5000.0, help="frames a second of the others meanwhile")
    parser.add_argument("--seconds", type=float, default=8.0, help="of the acks, quiet and in the burst")
    parser.add_argument("--workers", type=int, default=1, help="receiving processes; 0: all in one process")
    processes.sweep()
    print(json.dumps(measure(**vars(parser.parse_args()), say=partial(print, file=sys.stderr, flush=True))))


def _line(name: str, figures: dict[str, Any]) -> str:
    return f"  {name:12} " + "  ".join(f"{key} {value}" for key, value in figures.items())


if __name__ == "__main__":
    main()
