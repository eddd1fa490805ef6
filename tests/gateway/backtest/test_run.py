"""The virtual clock: the same incidents as the service's patrol, and nothing of our own doing."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from detectors.mass import RECONNECT
from gateway.backtest.run import GATHER, TICK
from tests.gateway.backtest.traces import START, every, run, run_whole, trace
from tests.gateway.watch.world import World
from tests.ticketing.desk_parts import fetch, pool_of

HOUR, DAY = 3600.0, 86_400.0
LATE = 2 * TICK  # of a hold or a recovery: its beginning and its end are each on the grid


def test_a_terminal_falls_silent_and_comes_back_and_falls_silent_again() -> None:
    heard = {0: [*every(10, 0, 600), *every(10, 1500, 2400)], 1: every(10, 0, 4000)}
    told = run(trace(heard), 2, until=4000)
    assert [(event, terminal) for _, event, terminal in told] == [
        ("opened", "t0"), ("recovered", "t0"), ("relapsed", "t0"),
    ]  # fmt: skip
    for (at, _, _), expected in zip(told, (590 + 60 + 30, 1500 + 300, 2390 + 60 + 30), strict=True):
        assert 0 <= at - expected <= LATE


def test_slices_cut_anywhere_change_nothing() -> None:
    rng = np.random.default_rng(5)
    heard = {n: np.sort(rng.uniform(0, 5000, 120)).tolist() for n in range(6)}
    rows = trace(heard, deaf=[(1000.5, 1300.25), (3000, 3001)])
    whole = run(rows, 6, until=6000)
    assert len(whole) > 20
    for pieces in (2, 7, 300, len(rows["terminal"])):
        assert run(rows, 6, until=6000, pieces=pieces) == whole


def test_what_time_alone_decides_needs_no_contact() -> None:
    (told,) = run(trace({0: every(10, 0, 600)}), 1, until=2 * HOUR)
    assert told[1:] == ("opened", "t0")
    assert run(trace({0: every(10, 0, 600)}), 1, until=600 + 60) == []


@pytest.mark.parametrize("pieces", [1, 40])
def test_our_own_absence_silences_nobody(pieces: int) -> None:
    deaf = [(2000.0, 2000.0 + 2700.0), (6000.0, 6040.0)]
    times = [t for t in every(10, 0, 8000) if not any(a <= t <= b + 5 for a, b in deaf)]
    rows = trace({n: [t + n * 0.1 for t in times] for n in range(8)}, deaf=deaf)
    told = run(rows, 8, until=8000, pieces=pieces)
    # The long one is an incident of ours, over when all had their time to come back; the short one is nothing.
    assert [(event, terminal) for _, event, terminal in told] == [("platform", None), ("recovered", None)]
    assert 4700 <= told[0][0] <= 4700 + LATE
    # The same without the gateway's own rows: the short one is within the limit.
    blamed = run(trace({0: times}), 1, until=8000)
    assert [event for _, event, _ in blamed] == ["opened", "recovered"]


def test_who_died_while_we_were_away_is_not_forgotten() -> None:
    deaf = [(2000.0, 5600.0)]
    rows = trace({0: every(10, 0, 1990), 1: [*every(10, 0, 1990), *every(10, 5610, 9000)]}, deaf=deaf)
    ((at, event, terminal),) = run(rows, 2, until=9000)
    assert (event, terminal) == ("opened", "t0")
    assert 0 <= at - (5600 + RECONNECT) <= LATE + 20  # its limit passes before: it may be on its way back


def test_an_upload_of_a_week_changes_nothing() -> None:
    """It is neither rhythm nor recovery; who uploads goes on as before."""
    burst = (3000 + np.arange(500) * 0.1).tolist()
    old = [t - 7 * DAY + n * 1200 for n, t in enumerate(burst)]
    # One that is parked and reports by the quarter of an hour; one that is silent, and uploads without a live record.
    parked = every(900, 0, 9000)
    silent = every(10, 0, 600)
    rows = trace({0: sorted([*parked, *burst]), 1: [*silent, *burst]}, own={
        0: [told for _, told in sorted([*zip(parked, parked, strict=True), *zip(burst, old, strict=True)])],
        1: [*silent, *old],
    })  # fmt: skip
    told = run(rows, 2, until=9000, watch__silence__learn="3")
    assert [(event, terminal) for _, event, terminal in told] == [("opened", "t1")]  # old records are no news of it


def test_too_many_at_once_are_a_storm_and_leave_it() -> None:
    heard = {n: every(10, 0, 600) + (every(10, 2000, 4000) if n else []) for n in range(10)}
    rows = trace(heard)
    told = run(rows, 10, until=4000, watch__incidents__tickets_per_minute="3", watch__mass_silence__enabled="false")
    words = [event for _, event, _ in told]
    assert words[:4] == ["opened"] * 4
    assert [terminal for _, _, terminal in told[:4]].count(None) == 1
    assert words.count("attached") == 7
    # All but t0 are good again; whether it was a member or had its own, it is nobody else's at the end.
    assert words.count("recovered") == 9 + 1
    assert told[-1][2] is None or told[-1][1] in ("recovered", "opened")


def test_those_who_fall_silent_together_are_one_ticket_and_members() -> None:
    heard = {n: every(10, n / 10, 1000) + (every(10, 4000, 6000) if n > 1 else []) for n in range(12)}
    heard |= {n: every(10, n / 10, 6000) for n in range(12, 40)}
    attributes = {f"t{n}": {"operator": "Nord" if n < 12 else "West"} for n in range(40)}
    told = run_whole(trace(heard), 40, attributes, until=6000)
    parent = told[0]
    assert (parent.event, parent.kind, parent.group) == ("opened", "mass-silence", {"by": "operator", "value": "Nord"})
    assert 60 <= parent.at - START - 1000 <= 180
    assert (parent.zone, parent.zone_confidence) == ("sim-operator", 1.0)
    attached = [event for event in told if event.event == "attached"]
    assert {event.terminal for event in attached} == {f"t{n}" for n in range(12)}
    assert {(event.parent, event.kind) for event in attached} == {(parent.incident, "silence")}
    over = [event for event in told if event.event == "recovered"]
    assert (over[0].incident, over[0].members) == (parent.incident, 12)
    assert {event.terminal for event in over[1:]} == {f"t{n}" for n in range(2, 12)}
    left = [event for event in told if event.event == "detached"]
    assert {(event.terminal, event.parent) for event in left} == {("t0", parent.incident), ("t1", parent.incident)}
    alone = [event for event in told if event.event == "opened" and event is not parent]
    assert sorted(event.terminal or "" for event in alone) == ["t0", "t1"]
    assert all(event.at - START - 4000 >= 60 for event in alone)


@pytest.mark.slow
def test_the_patrol_decides_the_same(postgres_dsn: str) -> None:
    """Half an hour of ten terminals, second by second over a real store, and on the virtual clock."""
    rng = np.random.default_rng(3)
    length = 2400
    heard: dict[int, list[float]] = {}
    for terminal in range(10):
        period = float(rng.choice([7, 20, 45]))
        gone, back = sorted(rng.uniform(400, length - 400, 2).tolist())
        cut = terminal % 3 == 0
        heard[terminal] = [t for t in np.round(every(period, 5, length)).tolist() if not (cut and gone < t < back)]
    deaf = [(1300.0, 1330.0)]
    heard = {n: [t for t in times if not 1300 <= t <= 1330] for n, times in heard.items()}

    async def scenario() -> list[tuple[int, str, float, float | None]]:
        async with pool_of(postgres_dsn) as pool:
            async with pool.connection() as connection:
                await connection.execute("INSERT INTO terminal (identity) SELECT 't' || n FROM generate_series(0, 9) n")
            world = await World(pool, recovery=300.0, now=START).start()
            for second in range(1, length + 1):
                world.clock.now += 1
                world.listening = not 1300 < second <= 1330
                if due := [n + 1 for n, times in heard.items() if second in times]:
                    world.frame(*due)
                world.patrol.tick(world.now, world.now, listening=world.listening)
                if world.listening:
                    await world.patrol.settle(world.now)
            return await fetch(
                pool,
                "SELECT terminal, state, extract(epoch FROM opened_at)::float8, extract(epoch FROM closed_at)::float8"
                " FROM incident ORDER BY id",
            )

    incidents = asyncio.run(scenario())
    told = run(trace(heard, deaf=deaf), 10, until=length)
    assert len(incidents) >= 3
    assert len(told) == len(incidents) + sum(closed is not None for *_, closed in incidents)
    for terminal, _, opened, closed in incidents:
        its: list[Any] = [(at, event) for at, event, name in told if name == f"t{terminal - 1}"]
        assert its[0][1] == "opened"
        assert -1 <= its[0][0] - (opened - START) <= LATE
        if closed is not None:
            assert its[1][1] == "recovered"
            assert -1 <= its[1][0] - (closed - START) <= LATE + GATHER
