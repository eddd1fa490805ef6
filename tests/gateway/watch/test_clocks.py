"""A wall clock that is set, at any step of a batch and of an incident's life, hides no silence and invents none."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from detectors.columns import LIVE_WITHIN
from detectors.firmware import Firmware
from detectors.silence import Silence, SilenceRule
from gateway.receive.pipeline import Accepted
from gateway.store.copy import Rows
from gateway.watch.columns import columns_of
from gateway.watch.contacts import summarise, unpack
from gateway.watch.detecting import DETECTORS
from gateway.watch.fleet import Fleet
from gateway.watch.listening import JUMP, Listening
from gateway.watch.patrol import Patrol
from protocols.records import BatchBuilder
from tests.gateway.watch.world import World
from tests.ticketing.desk_parts import MONDAY, add_terminal, pool_of
from ticketing.incidents import Raised
from ticketing.incidents.carrying import Recovered
from ticketing.incidents.decisions import Decision, Reason, Step

EXAMPLES = 60 if os.environ.get("DOZOR_SOAK") else 25

LIMIT, HOLD, RECOVERY = 30.0, 5.0, 20.0
REPORTS = 5  # s between reports
STEADY, FAULTY = 1, 2
# Faulty speaks every five seconds, but not in between.
SILENT, BACK, SILENT_AGAIN, END = 60, 120, 160, 215
PHASES = ("arrived", "stamped", "committed", "ticked")

jumps = st.dictionaries(
    st.tuples(st.integers(0, END - 1), st.sampled_from(PHASES)),
    st.one_of(
        st.floats(-7200, 7200), st.sampled_from([-400 * 86_400.0, -86_400.0, -2.1, -1.9, 0.4, 1.9, 2.1, 86_400.0])
    ),
    max_size=6,
)
# An incident's whole life can only be seen while records are live, so by a clock that is not too wrong.
small = st.dictionaries(
    st.tuples(st.integers(0, END - 1), st.sampled_from(PHASES)), st.floats(-400, 400), min_size=1, max_size=5
)


class Desk:
    """Takes every finding; remembers when it heard of what, on the clock that nobody sets."""

    def __init__(self):
        self.monotonic = 0.0
        self.told = []

    async def raise_finding(self, finding, now, prepare, current):
        if not current():
            return Raised(Decision(Step.STALE, Reason.OVERTAKEN))
        self.told.append(("raised", finding.terminal, self.monotonic))
        return Raised(Decision(Step.OPEN, Reason.FIRST), "T-1")

    async def recover(self, kind, terminal, now, since, text, current):
        if not current():
            return None
        self.told.append(("recovered", terminal, self.monotonic))
        return Recovered(Decision(Step.RECOVER, Reason.PROVEN), "T-1")

    async def mark(self, kind, good, bad):
        pass


def batch(rows, arrived, offset):
    """One live frame of each terminal: its record's time is the true one, its stamp what the wall clock says."""
    terminal = np.array(rows, np.int32)
    received = np.full(len(rows), round(arrived * 1e6) + offset)
    builder = BatchBuilder()
    for place in range(len(rows)):
        builder.add(frame=place, position=0, time=round((MONDAY + arrived) * 1e6), fingerprint=place)
    stored = Rows(builder.build(), terminal, received, received, terminal.astype(np.int8), [])
    return Accepted(terminal, received, stored, offset)


def live_through(jumps: Mapping[tuple[int, str], float], *, workers: bool):
    """The verdicts at every tick, [(monotonic, {terminal: verdict})], and what the desk was told."""

    async def run():
        fleet = Fleet(Listening(), [Silence(SilenceRule(floor=LIMIT, ceiling=LIMIT)), Firmware(None)])
        desk = Desk()
        patrol = Patrol(None, fleet, desk, hold=HOLD, recovery=RECOVERY)
        ahead, seen = MONDAY, []
        patrol.tick(ahead - 1, -1.0)
        for second in range(END):
            rows = [STEADY]
            if second < SILENT or BACK <= second < SILENT_AGAIN:
                rows.append(FAULTY)
            arrived = second if second % REPORTS == 0 else None
            ahead += jumps.get((second, "arrived"), 0.0)
            if arrived is not None:
                made = batch(rows, arrived, round(ahead * 1e6))
            ahead += jumps.get((second, "stamped"), 0.0)
            if arrived is not None:
                if workers:
                    fleet.hear(unpack(summarise(columns_of([made]), DETECTORS).pack(), DETECTORS))
                else:
                    fleet.note(made)
            if second % 3 == 0:
                fleet.flush()  # a page asks
            ahead += jumps.get((second, "committed"), 0.0)
            desk.monotonic = second + 0.5
            patrol.tick(ahead + desk.monotonic, desk.monotonic)
            seen.append((desk.monotonic, patrol.verdicts_of(STEADY)["silence"], patrol.verdicts_of(FAULTY)["silence"]))
            ahead += jumps.get((second, "ticked"), 0.0)
            await patrol.settle(ahead + desk.monotonic)
        return seen, desk.told

    return asyncio.run(run())


def untrusted(jumps) -> int:
    """Ticks that may be lost: those at which a clock is found to have been set; small steps add up to one."""
    return len(jumps)


@pytest.mark.parametrize("workers", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["one process", "workers"])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(jumps=jumps)
def test_silence_is_found_within_its_limit_and_never_invented(workers, jumps):
    seen, _ = live_through(jumps, workers=workers)
    late = LIMIT + 1 + untrusted(jumps)
    for begun, back in ((SILENT - 5, BACK), (SILENT_AGAIN - 5, END)):
        failing = [at for at, _, verdict in seen if verdict == "fail" and begun <= at < back]
        assert begun + LIMIT <= failing[0] <= begun + late
        assert all(
            verdict in ("fail", "unknown") for at, _, verdict in seen if begun + late < at < back
        )  # and stays found
    assert not any(steady == "fail" for _, steady, _ in seen)
    assert not any(verdict == "fail" for at, _, verdict in seen if at < SILENT or BACK + 1 < at < SILENT_AGAIN)


@settings(max_examples=EXAMPLES, deadline=None)
@given(jumps=small)
@example(jumps={(BACK, "arrived"): -65.0})
@example(jumps={(175, "arrived"): 3.0, (176, "arrived"): 57.0})
def test_an_incident_opens_recovers_and_comes_back_in_time(jumps):
    _, told = live_through(jumps, workers=False)
    lost = untrusted(jumps)
    assert {terminal for _, terminal, _ in told} == {FAULTY}
    ahead = np.cumsum([sum(jumps.get((second, phase), 0.0) for phase in PHASES) for second in range(END)])
    wrong = np.abs(ahead[BACK - 2 : SILENT_AGAIN]).max() * 1e6 > LIVE_WITHIN - 10_000_000
    steps = [step for step, _, _ in told]
    assert steps == (["raised"] if wrong and len(steps) == 1 else ["raised", "recovered", "raised"])
    raised = told[0][2]
    assert SILENT - 5 + LIMIT + HOLD <= raised <= SILENT - 5 + LIMIT + HOLD + 2 + 2 * lost
    if not wrong:
        _, recovered, again = (at for _, _, at in told)
        # A report that comes as the clock is set back is one of a time to come, and proves nothing: the next one does.
        assert BACK + RECOVERY <= recovered <= BACK + RECOVERY + 2 + 2 * lost + (REPORTS if lost else 0)
        assert SILENT_AGAIN - 5 + LIMIT + HOLD <= again <= SILENT_AGAIN - 5 + LIMIT + HOLD + 2 + 2 * lost


def test_steps_too_small_to_be_noticed_add_up_to_one_that_is():
    listening = Listening()
    listening.advance(MONDAY, 0.0)
    start, found = listening.clock, 0.0
    for second in range(1, 21):
        listening.advance(MONDAY + 1.3 * second, second)
        found += listening.jump
        assert abs(listening.anchor + second - (MONDAY + 1.3 * second)) <= JUMP + 1e-6
    assert listening.clock - start == pytest.approx(20 - 3 * (found > 0), abs=1.0)
    assert found == pytest.approx(6.0, abs=JUMP)


@pytest.mark.parametrize("ahead", [800.0, -800.0, 600.0])
@pytest.mark.parametrize("restart", [None, "wrong", "right"])
def test_a_recovery_under_a_wrong_clock_makes_no_relapse_wait(postgres_dsn, ahead, restart):
    """Ahead while the terminal recovers, right again before it relapses; over the real store."""

    async def run():
        async with pool_of(postgres_dsn) as pool:
            terminal = await add_terminal(pool, "860000000000001")
            world = await World(pool, rule=SilenceRule(floor=30, ceiling=30), hold=5, recovery=20).start()
            clock = {"true": world.now}

            async def pass_time(seconds, *, speaks, wrong=0.0):
                for _ in range(seconds):
                    clock["true"] += 1
                    world.clock.now = clock["true"] + wrong
                    if speaks and clock["true"] % 5 == 0:
                        world.patrol.fleet.note(
                            batch([terminal], clock["true"] - MONDAY, round((MONDAY + wrong) * 1e6))
                        )
                    world.patrol.tick(world.now, clock["true"] - MONDAY)
                    await world.patrol.settle(world.now)

            # The clock that nobody sets runs from the begin.
            world.patrol.fleet.listening.anchor = MONDAY
            world.patrol.fleet.listening._monotonic = 0.0
            await pass_time(30, speaks=True)
            await pass_time(45, speaks=False)
            assert [state for state, _, _ in await world.tickets()] == ["new"]
            await pass_time(15, speaks=True, wrong=ahead)
            now_wrong = 0.0 if restart == "right" else ahead
            if restart:
                world.clock.now = clock["true"] + now_wrong
                await world.restart(monotonic=clock["true"] - MONDAY)
            await pass_time(15, speaks=True, wrong=now_wrong)
            assert [state for state, _, _ in await world.tickets()] == ["awaiting_consent"]
            await pass_time(5, speaks=True)
            await pass_time(45, speaks=False)
            return await world.tickets()

    ((state, _, actions),) = asyncio.run(run())
    assert (state, actions) == ("new", ["opened", "recovering", "recovered", "relapsed"])
