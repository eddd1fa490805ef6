"""Each kind over a real store: a fault becomes one ticket with its evidence, and recovers with live records."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from detectors.silence import SilenceRule
from gateway.configuration.reading import load
from gateway.watch.detecting import DETECTORS, detectors_of
from gateway.watch.fleet import Fleet
from gateway.watch.listening import Listening
from protocols.records import IGNITION_KNOWN, IGNITION_ON, MOVING, VALID
from tests.gateway.watch.world import World
from tests.ticketing.desk_parts import add_terminal, pool_of
from ticketing.incidents.hysteresis import Hysteresis

DRIVES = IGNITION_KNOWN | IGNITION_ON | MOVING | VALID
WEEKS_1024 = 1024 * 7 * 86_400
SHORT = {
    "watch.fuel.lasting": "10s",
    "watch.power.lasting": "10s",
    "watch.gnss.moving": "10s",
    "watch.modem.lasting": "10s",
    "watch.modem.reconnects": 5,
    "watch.modem.window": "20s",
    "watch.restarts.most": 4,
    "watch.restarts.window": "20s",
    "watch.backlog.behind": "1h",
    "watch.backlog.lasting": "10s",
    "watch.identity.most": 3,
    "watch.identity.window": "20s",
}


def detectors(tmp_path, **settings):
    """As a configuration makes them, but for silence and firmware, which the world has of its own."""
    path = tmp_path / "dozor.toml"
    told = {**SHORT, **settings}
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in told.items()))
    return detectors_of(load(path, {}))[2:]


def play(dsn, scenario, **options):
    async def run():
        async with pool_of(dsn) as pool:
            terminal = await add_terminal(pool, "860000000000001", name="Truck 12")
            world = await World(pool, hold=2.0, recovery=4.0, **options).start()
            return await scenario(world, terminal)

    return asyncio.run(run())


async def tell(world, terminal, seconds, **told):
    """A record a second: `flags`, `ahead` and `record` as they are, all else measures."""
    for _ in range(seconds):
        world.clock.now += 1
        flags, ahead = told.get("flags", DRIVES), told.get("ahead", 0.0)
        ahead = ahead() if callable(ahead) else ahead
        measures = {
            name.replace("__", "."): np.array([value() if callable(value) else value])
            for name, value in told.items()
            if name not in ("flags", "ahead")
        }
        world.frame(terminal, own_time=world.now + ahead, flags=flags, measures=measures)
        world.patrol.tick(world.now, world.now)
        await world.patrol.settle(world.now)


class Turn:
    """Values in turn."""

    def __init__(self, *values):
        self.values, self.at = values, 0

    def __call__(self):
        self.at += 1
        return self.values[self.at % len(self.values)]


class Later:
    """A black box that grows: every second ten more behind."""

    def __init__(self):
        self.behind = 2 * 3600

    def __call__(self):
        self.behind += 30
        return -self.behind


WELL = {"power__external": 13.9, "fuel__level__1": Turn(2000.0, 2010.0), "fuel__level__2": Turn(900.0, 910.0)}
# kind: what is told while it is sick, what the ticket says, its zone, a key of its evidence, when it is well again.
FAULTS = {
    "power": ({"power__external": 0.2}, "external power is gone (0.2 V", "wiring-power", "power"),
    "gnss": ({"flags": DRIVES & ~VALID}, "moves without a valid position", "gnss-antenna", None),
    "clock": ({"ahead": 3 * 3600.0}, "clock is 3 h ahead", "terminal", None),
    "fuel-sensor": ({"fuel__level__2": 65_530.0}, "sensor 2: error code 65530", "sensor", "fuel"),
    "modem": ({"link": Turn(1, 2, 3)}, "connects again and again", "sim-operator", None),
    "restarts": ({"event": 3.0, "unit__id": 7.0}, "restarts again and again", "terminal", None),
    "backlog": ({"ahead": Later()}, "the black box grows", "terminal", None),
    "identity": ({"link": Turn(1, 2), "lat": Turn(55.0, 58.0), "lon": 37.0}, "km apart", "terminal", None),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_becomes_one_ticket_and_recovers(postgres_dsn, tmp_path, kind):
    fault, words, zone, evidence = FAULTS[kind]

    async def scenario(world, terminal):
        await tell(world, terminal, 12, **WELL)
        assert await world.tickets() == []
        assert world.verdict(terminal, kind) in ("good", "unknown")
        await tell(world, terminal, 25, **{**WELL, **fault})
        assert world.verdict(terminal, kind) == "fail"
        mine = await world.store.list(kind=kind)
        assert mine.total == 1
        ticket = await world.store.get(mine.items[0].number)
        assert words in ticket.title
        assert ticket.zone == zone
        assert ticket.evidence["verdict"]["verdict"] == "fail"
        assert ticket.evidence["zone"]["confidence"] > 0
        if evidence is not None:
            assert ticket.evidence[evidence]["verdict"] == "fail"
        await tell(world, terminal, 60, **WELL)
        assert world.verdict(terminal, kind) == "good"
        after = await world.store.get(ticket.number)
        assert after.state == "awaiting_consent"
        others = [row for row in await world.tickets() if row[1] not in (kind, "silence")]
        assert [row[1] for row in others] in ([], ["clock"]), "one fault, one ticket"

    # Two that push each other out connect again and again, which the other kind sees too.
    also = {"watch.modem.enabled": False} if kind == "identity" else {}
    play(postgres_dsn, scenario, also=detectors(tmp_path, **also))


@pytest.mark.parametrize("ahead", [-WEEKS_1024, 3 * 3600.0], ids=["1024 weeks behind", "3 h ahead"])
def test_a_silence_ends_though_the_clock_is_wrong(postgres_dsn, tmp_path, ahead):
    async def scenario(world, terminal):
        await tell(world, terminal, 7, ahead=ahead)
        await world.pass_time(14)
        assert world.verdict(terminal) == "fail"
        (silence,) = [row for row in await world.tickets() if row[1] == "silence"]
        assert silence[0] == "new"
        await tell(world, terminal, 10, ahead=ahead)
        (silence,) = [row for row in await world.tickets() if row[1] == "silence"]
        assert silence[0] == "recovering"  # three times the recovery, not once
        await tell(world, terminal, 12, ahead=ahead)
        (silence,) = [row for row in await world.tickets() if row[1] == "silence"]
        assert silence[0] == "awaiting_consent"
        (clock,) = [row for row in await world.tickets() if row[1] == "clock"]
        assert clock[0] == "new"
        ticket = await world.store.get((await world.store.list(kind="silence")).items[0].number)
        assert any("off by a constant" in (entry.text or "") for entry in ticket.journal)

    rule = SilenceRule(after=3.0, floor=6.0, ceiling=20.0, learn=3)
    play(postgres_dsn, scenario, also=detectors(tmp_path), rule=rule)


def test_a_black_box_that_is_read_ends_no_silence(postgres_dsn, tmp_path):
    async def scenario(world, terminal):
        await tell(world, terminal, 10)
        await world.pass_time(14)
        assert world.verdict(terminal) == "fail"
        start = world.now
        box = iter(range(10_000))
        await tell(world, terminal, 60, ahead=lambda: start - world.now - 3600 + 60 * next(box))
        (silence,) = [row for row in await world.tickets() if row[1] == "silence"]
        assert silence[0] == "new"

    rule = SilenceRule(after=3.0, floor=6.0, ceiling=20.0, learn=3)
    play(postgres_dsn, scenario, also=detectors(tmp_path), rule=rule)


def test_a_constant_that_breaks_off_proves_nothing(postgres_dsn, tmp_path):
    async def scenario(world, terminal):
        await tell(world, terminal, 7, ahead=3 * 3600.0)
        await world.pass_time(14)
        for hours in (3, 4, 5, 6, 7):
            await tell(world, terminal, 8, ahead=hours * 3600.0)
        (silence,) = [row for row in await world.tickets() if row[1] == "silence"]
        assert silence[0] == "recovering"

    rule = SilenceRule(after=3.0, floor=6.0, ceiling=20.0, learn=3)
    play(postgres_dsn, scenario, also=detectors(tmp_path), rule=rule)


def test_a_restart_forgets_no_fault_and_no_streak(postgres_dsn, tmp_path):
    async def scenario(world, terminal):
        await tell(world, terminal, 5, **WELL)
        await tell(world, terminal, 8, **{**WELL, "power__external": 0.2})
        assert world.verdict(terminal, "power") == "suspect"
        await world.restart(down=30)
        await tell(world, terminal, 6, **{**WELL, "power__external": 0.2})
        assert world.verdict(terminal, "power") == "fail"
        await world.restart(down=30)
        await tell(world, terminal, 2, **{**WELL, "power__external": 0.2})
        assert world.verdict(terminal, "power") == "fail"
        assert [row[1] for row in await world.tickets() if row[1] == "power"] == ["power"]
        await tell(world, terminal, 30, **WELL)
        assert [row[0] for row in await world.tickets() if row[1] == "power"] == ["awaiting_consent"]

    play(postgres_dsn, scenario, also=detectors(tmp_path))


def test_every_kind_can_be_switched_off(tmp_path):
    tables = ("fuel", "power", "gnss", "clock", "modem", "restarts", "backlog", "identity")
    off = detectors(tmp_path, **{f"watch.{table}.enabled": False for table in tables})
    assert [each.kind for each in off] == [kind.kind for kind in DETECTORS][2:]
    assert {type(each).__name__ for each in off} == {"Off"}


def test_the_whole_watch_keeps_little_of_a_terminal(tmp_path):
    listening = Listening()
    listening.advance(1.0, 1.0)
    file = tmp_path / "dozor.toml"
    file.write_text("")
    fleet = Fleet(listening, detectors_of(load(file, {})), 8192)
    hysteresis = Hysteresis("any", hold=1.0, recovery=1.0, proof=())
    hysteresis.judge(np.zeros(8192, np.int8), 1.0, fleet.received, fleet.live, fleet.heard)
    its = sum(array.nbytes for array in vars(hysteresis).values() if isinstance(array, np.ndarray)) / 8192
    columns = sum(fleet.column(name, c.name)[:1].nbytes for name, each in fleet.sets.items() for c in each)
    each_kind = its + 1 + 8  # its verdict, and when to look
    assert columns + len(fleet.detectors) * each_kind + 1 <= 1536
