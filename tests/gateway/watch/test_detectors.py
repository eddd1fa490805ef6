"""A detector costs one file and one line: what a tiny one needs of the watch, from the wire's columns to tickets."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import structlog

from detectors.detector import Column, Detector, Judged, Zone
from detectors.firmware import Catalogue, Firmware, Release
from detectors.silence import Silence
from detectors.verdicts import Explanation, Verdict
from gateway.receive.pipeline import Accepted
from gateway.store.copy import Rows
from gateway.watch import snapshots
from gateway.watch.columns import columns_of
from gateway.watch.contacts import summarise, unpack
from gateway.watch.fleet import CHUNK, Fleet
from gateway.watch.listening import Listening
from gateway.watch.patrol import Patrol
from gateway.watch.registered import Registered
from protocols.records import BatchBuilder
from tests.gateway.watch.world import World, assert_same_state
from tests.ticketing.desk_parts import MONDAY, add_terminal, execute, fetch, pool_of

MICROS = round(MONDAY * 1e6)


class Voltage(Detector):
    """Whose supply has been low for longer than a minute of our listening: the whole of a detector."""

    kind = "voltage"
    words = "Supply"
    columns = (Column("volts", np.float32, fill=np.nan), Column("low_since", np.float64, fill=np.nan))
    summary: ClassVar = {"least": np.float32}

    @staticmethod
    def reduce(columns):
        return {"least": columns.fold(np.fmin, columns["power.external"], np.nan)}

    def absorb(self, view, contacts, before, summary):
        rows, volts = contacts.rows, summary["least"][contacts.last]
        view["volts"][rows] = volts
        since = view["low_since"][rows]
        view["low_since"][rows] = np.where(volts < 9, np.where(np.isnan(since), view.heard[rows], since), np.nan)

    def judge(self, view, rows):
        low = view.clock - view["low_since"][rows] >= 60
        told = ~np.isnan(view["volts"][rows])
        verdicts = np.where(low, Verdict.FAIL, np.where(told, Verdict.GOOD, Verdict.UNKNOWN)).astype(np.int8)
        since = view["low_since"][rows]
        return Judged(verdicts, np.where(low | np.isnan(since), np.inf, since + 60))

    def explain(self, view, row):
        verdict = Verdict(int(self.judge(view, np.array([row])).verdicts[0]))
        volts = float(view["volts"][row])
        return Explanation(verdict, f"supply at {volts:g} V", {"volts": volts})

    def evidence(self, view, row, terminal):
        return {"supply": {"volts": float(view["volts"][row]), "of": terminal["identity"]}}

    def priority(self, explanation):
        return 1

    def zone(self, explanation, past):
        return Zone("wiring-power", 0.9, f"{np.isnan(past.measure('power.external')).sum()} records without a voltage")


def batch(*contacts, at=MICROS, offset=0):
    """A committed batch: one frame, one record for each (terminal, volts)."""
    rows = np.array([terminal for terminal, _ in contacts], np.int32)
    builder = BatchBuilder()
    for place, (_, volts) in enumerate(contacts):
        told = {} if volts is None else {"names": ("adc.1", "power.external"), "values": (1.0, volts)}
        builder.add(frame=place, position=0, time=at, fingerprint=place, **told)
    received = np.full(len(rows), at)
    return Accepted(rows, received, Rows(builder.build(), rows, received, received, rows.astype(np.int8), []), offset)


def play(dsn, scenario, **options):
    async def run():
        async with pool_of(dsn) as pool:
            terminal = await add_terminal(pool, "860000000000001", name="Truck 12")
            world = await World(pool, **options).start()
            return await scenario(world, terminal)

    return asyncio.run(run())


def test_from_the_wire_to_a_ticket(postgres_dsn):
    async def scenario(world, terminal):
        for second in range(130):
            world.clock.now += 1
            # Stamped as the receiving side does it: half a day ahead of the clock that nobody sets.
            stamp = round(world.now * 1e6) + 43_200_000_000
            world.patrol.fleet.note(batch((terminal, 7.5 if second > 20 else 12.0), at=stamp, offset=43_200_000_000))
            world.patrol.tick(world.now, world.now)
            await world.patrol.settle(world.now)
        assert world.patrol.counts()["voltage"] == {"unknown": 0, "good": 0, "suspect": 0, "fail": 1}
        assert world.verdict(terminal, "voltage") == "fail"
        return await world.store.get((await world.store.list(kind="voltage")).items[0].number), world.patrol.kinds

    ticket, kinds = play(postgres_dsn, scenario, also=[Voltage()])
    assert ticket.title == "Truck 12: supply at 7.5 V"
    assert (ticket.zone, ticket.priority) == ("wiring-power", 1)
    assert ticket.evidence["supply"] == {"volts": 7.5, "of": "860000000000001"}
    assert ticket.evidence["rhythm"]["ignition_on_or_unknown"]["gaps"] > 90  # the others tell what they know, too
    assert ticket.evidence["zone"]["reason"] == "0 records without a voltage"
    assert kinds == {"silence": "Silence", "firmware": "Firmware", "voltage": "Supply"}


def fleet_of(*detectors):
    listening = Listening()
    listening.advance(MONDAY, MONDAY)
    return Fleet(listening, detectors)


def test_workers_tell_its_summary():
    batches = [batch((3, 12.0), (1, None)), batch((3, 11.0), (-1, 5.0), at=MICROS + 1_000_000)]
    packed = summarise(columns_of(batches), [Silence, Voltage]).pack()
    heard, alone = fleet_of(Silence(), Voltage()), fleet_of(Silence(), Voltage())
    heard.hear(unpack(packed, [Silence, Voltage]))
    for each in batches:
        alone.note(each)
    heard.flush()
    alone.flush()
    assert_same_state(heard, alone)
    np.testing.assert_array_equal(heard.view("voltage")["volts"][:4], [np.nan, np.nan, np.nan, 11.0])
    assert set(packed) == {"terminal", "received", "own", "silence.ignition", "silence.motion", "voltage.least"}
    assert len(packed["voltage.least"]) == 3 * 4


def test_it_is_judged_when_its_time_comes_and_not_before():
    fleet = fleet_of(Silence(), Voltage())
    looked = []
    judge = Voltage.judge

    class Watched(Voltage):
        def judge(self, view, rows):
            looked.append((round(view.clock - start), rows.tolist()))
            return judge(self, view, rows)

    fleet.reconfigure([Silence(), Watched()])
    start = fleet.listening.clock
    fleet.note(batch((1, 7.0), (2, 12.0)))
    for second in range(100):
        fleet.flush()
        fleet.listening.advance(MONDAY + second, MONDAY + second)
        fleet.judge()
    assert looked == [(0, [1, 2]), (60, [1])]
    assert fleet.verdicts("voltage").tolist() == [0, Verdict.FAIL, Verdict.GOOD]


def test_columns_of_a_set_that_is_new_start_fresh_and_others_are_restored(postgres_dsn):
    async def run():
        async with pool_of(postgres_dsn) as pool:
            both = fleet_of(Silence(), Voltage())
            both.note(batch((1, 7.0), (CHUNK + 5, 12.0)))
            both.flush()
            assert await snapshots.save(pool, both, MONDAY) == 6  # two pieces of each of three sets
            assert await snapshots.save(pool, both, MONDAY) == 0
            same = fleet_of(Silence(), Voltage())
            assert await snapshots.load(pool, same) == MONDAY - snapshots.MARGIN
            assert_same_state(both, same)
            # An earlier release beside it knows nothing of voltages, and loses nothing of what it knows.
            earlier = fleet_of(Silence())
            await snapshots.load(pool, earlier)
            np.testing.assert_array_equal(earlier.heard[: CHUNK + 6], both.heard[: CHUNK + 6])
            np.testing.assert_array_equal(
                earlier.view("silence")["contact"][: CHUNK + 6], both.view("silence")["contact"][: CHUNK + 6]
            )
            await snapshots.save(pool, earlier, MONDAY + 60)
            # Back again: what lies there of voltages is of another time.
            later = fleet_of(Silence(), Voltage())
            assert await snapshots.load(pool, later) == MONDAY + 60 - snapshots.MARGIN
            assert np.isnan(later.view("voltage")["volts"]).all()
            later.note(batch((2, 24.0), at=MICROS + 60_000_000))
            later.flush()
            await snapshots.save(pool, later, MONDAY + 120)
            last = fleet_of(Silence(), Voltage())
            await snapshots.load(pool, last)
            assert_same_state(later, last)

            # Laid out otherwise, it starts fresh as well.
            class Other(Voltage):
                columns = (Column("volts", np.float64, fill=np.nan), Column("low_since", np.float64, fill=np.nan))

            other = fleet_of(Silence(), Other())
            await snapshots.load(pool, other)
            assert np.isnan(other.view("voltage")["volts"]).all()
            assert other.heard[2] == later.heard[2]

    asyncio.run(run())


@pytest.mark.parametrize("step", ["reduce", "absorb", "identify", "judge"])
def test_one_that_fails_costs_the_others_nothing_and_is_told_once(step):
    def bug(*_):
        raise IndexError("a bug")

    broken = type("Broken", (Voltage,), {step: staticmethod(bug)})
    fleet = fleet_of(Silence(), broken())
    with structlog.testing.capture_logs() as logs:
        for second in range(1, 20):
            fleet.note(batch((1, 12.0), (2, 12.0), at=MICROS + second * 1_000_000))
            fleet.identify([1, 2], {"model": [None, None], "firmware": [None, None]})
            fleet.flush()
            fleet.listening.advance(MONDAY + second, MONDAY + second)
            fleet.judge()
    assert fleet.verdicts("silence").tolist() == [0, Verdict.GOOD, Verdict.GOOD]
    assert fleet.view("silence")["learned"][1:3, 0].tolist() == [18, 18]
    if step != "identify":
        assert fleet.verdicts("voltage").tolist() == [0, 0, 0]
    told = [(entry["detector"], entry["step"]) for entry in logs]
    assert set(told) == {("voltage", step)}
    assert len(told) == 1 or step == "reduce"


def releases(*versions):
    days = [MONDAY / 86_400 - 100 * (len(versions) - place) for place in range(len(versions))]
    dates = [np.datetime64(int(day), "D").astype(object) for day in days]
    return Catalogue(30, {"m": [Release(*each) for each in zip(versions, dates, strict=True)]})


@pytest.mark.parametrize("swaps", [(1,), (2,), (1, 2), (1, 1)])
def test_a_catalogue_reloaded_while_terminals_are_read_never_ends_the_watch(postgres_dsn, monkeypatch, swaps):
    """Between two reads of the registry other catalogues come, longer and shorter: no verdict is of two of them."""
    monkeypatch.setattr("gateway.watch.registered.READ_AT_ONCE", 2)
    long, short = releases(*"abcdefgh"), releases("h")

    async def scenario(world, terminal):
        await execute(world.pool, "UPDATE terminal SET model = 'm', firmware = 'h'")
        for place, version in enumerate("abcdef"):
            await add_terminal(world.pool, f"t{place}", model="m", firmware=version)
        # Older than what any look overlaps: what is not told anew to other detectors is never told again.
        await execute(world.pool, "UPDATE terminal SET changed_at = now() - interval '1 day'")
        patrol, fleet = world.patrol, world.patrol.fleet
        patrol._registered = Registered()  # which has told nothing yet
        identify, reads, told = fleet.identify, 0, []

        def between(rows, registered):
            nonlocal reads
            reads += 1
            identify(rows, registered)
            for swap in swaps:
                if swap == reads:
                    catalogue = short if fleet.generation % 2 == 0 else long
                    patrol.reconfigure([Silence(), Firmware(catalogue)], hold=30, recovery=300)
                    told.append(catalogue)
            world.clock.now += 1
            patrol.tick(world.now, world.now)
            for row in range(fleet.rows):
                patrol.explain("firmware", row)

        fleet.identify = between
        generation = fleet.generation
        await patrol._registered.refresh(world.pool, fleet)
        fleet.identify = identify
        assert fleet.generation == generation + len(swaps)
        assert await patrol._registered.refresh(world.pool, fleet) == 7  # all again: to the catalogue there is now
        await world.pass_time(1)
        last = told[-1]
        expected = {"h": "good"} | dict.fromkeys("abcdef", "fail" if last is long else "unknown")
        for row, version in await fetch(world.pool, "SELECT id, firmware FROM terminal"):
            assert world.verdict(row, "firmware") == expected[version], version

    play(postgres_dsn, scenario, catalogue=long)


def test_the_kinds_stay_what_they_are():
    fleet = fleet_of(Silence())
    with pytest.raises(ValueError, match="kinds differ"):
        fleet.reconfigure([Silence(), Voltage()])


def test_a_fleet_that_just_started_is_judged_in_turns(monkeypatch):
    monkeypatch.setattr("gateway.watch.fleet.AT_ONCE", 3)
    fleet = fleet_of(Silence())
    patrol = Patrol(None, fleet, None)
    for second in range(2):
        fleet.note(batch(*((row, None) for row in range(1, 11)), at=MICROS + second * 1_000_000))
    fleet.flush()
    fleet._touched[:] = False
    fleet.look_again()
    good = []
    for second in range(1, 6):
        patrol.tick(MONDAY + second, MONDAY + second)
        good.append(patrol.counts()["silence"]["good"])
    assert good == [2, 5, 8, 10, 10]


def test_one_that_failed_is_asked_again_at_the_next_tick_whoever_is_heard():
    ill = []

    class Moody(Silence):
        def judge(self, view, rows):
            if ill:
                raise IndexError("a bug")
            return Silence.judge(self, view, rows)

    fleet = fleet_of(Moody())
    for second in range(1, 20):
        ill[:] = [True] if second == 18 else []
        if second < 19:
            fleet.note(batch((1, 12.0), at=MICROS + second * 1_000_000))
        fleet.flush()
        fleet.listening.advance(MONDAY + second, MONDAY + second)
        fleet.judge()
        assert fleet.verdicts("silence")[1] == (Verdict.UNKNOWN if second in (1, 18) else Verdict.GOOD)


def test_measures_of_many_batches_and_layouts_are_one_column():
    batches = [batch((3, 12.0), (1, None)), batch((-1, 5.0), (2, 11.0), at=MICROS + 1_000_000), batch((4, 13.0))]
    columns = columns_of(batches)
    assert set(columns.measures) == {"adc.1", "power.external"}
    assert columns["terminal"].tolist() == [3, 1, 2, 4]
    np.testing.assert_array_equal(columns["power.external"], [12.0, np.nan, 11.0, 13.0])
    np.testing.assert_array_equal(columns["adc.1"], [1.0, np.nan, 1.0, 1.0])
    assert np.isnan(columns["gsm.signal"]).all()
    assert columns.of_frames("link").tolist() == [0, 0, 0, 0]
    linked = [replace(each, frame_link=np.arange(1, 3, dtype=np.uint16)) for each in batches[:2]]
    assert columns_of(linked).of_frames("link").tolist() == [2, 2, 1]  # by terminal: 1, 2, 3
