"""Whatever terminals tell, no detector raises, and none makes a finding of one sample."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.columns import LIVE_WITHIN
from detectors.verdicts import Verdict
from gateway.watch.columns import plain
from gateway.watch.contacts import summarise
from gateway.watch.detecting import DETECTORS
from gateway.watch.fleet import Fleet
from gateway.watch.listening import Listening
from tests.detectors.test_kinds import KINDS

NOW = 1_800_000_000.0
MEASURES = (
    "power.external", "power.battery", "power.backup", "fuel.level.1", "fuel.status.1", "fuel.level.3", "param.lls2",
    "gsm.signal", "gnss.jamming", "speed.sensor", "movement", "can.engine.rpm", "event", "unit.id", "satellites",
    "lat", "lon",
)  # fmt: skip
VALUES = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 1.0, 3.0, -1.0, 65_530.0, 65_535.0, 4095.0, 1e300, -1e300, 90.0, 180.0, np.nan]),
)
RECORD = st.fixed_dictionaries(
    {
        "terminal": st.integers(0, 3),
        "after": st.integers(0, 2 * LIVE_WITHIN),
        "ahead": st.one_of(st.just(0), st.integers(-(2**62), 2**62)),
        "flags": st.integers(0, 63),
        "link": st.integers(0, 65_535),
        "record": st.booleans(),
        "told": st.dictionaries(st.sampled_from(MEASURES), VALUES, max_size=6),
    }
)


class World:
    def __init__(self):
        self.listening = Listening()
        self.now = NOW
        self.listening.advance(NOW, 0.0)
        self.fleet = Fleet(self.listening, [kind() for kind in KINDS])

    def batch(self, records):
        """All of them at once: contacts of several terminals, several of one."""
        passed = np.cumsum([record["after"] for record in records])
        at = np.round(self.now * 1e6).astype(np.int64) + passed
        terminal = np.array([record["terminal"] for record in records], np.int32)
        some = np.array([record["record"] for record in records], np.bool_)
        ahead = np.array([record["ahead"] for record in records], np.int64)
        measures = {name: np.array([record["told"].get(name, np.nan) for record in records])[some] for name in MEASURES}
        measures["link"] = np.array([record["link"] for record in records], np.uint16)
        flags = np.array([record["flags"] for record in records], np.int16)[some]
        own = np.where(ahead == 0, at, np.clip(ahead, -(2**61), 2**61))[some]
        columns = plain(terminal, at, terminal[some], own, at[some], flags, measures)
        self.listening.advance(at[-1] / 1e6, at[-1] / 1e6 - NOW)
        self.now = at[-1] / 1e6
        self.fleet.absorb(summarise(columns, KINDS))
        self.fleet.judge()

    def verdicts(self):
        return {kind: self.fleet.verdicts(kind) for kind in self.fleet.detectors}

    def explained(self):
        for kind, detector in self.fleet.detectors.items():
            for row in range(self.fleet.rows):
                told = detector.explain(self.fleet.view(kind), row)
                assert told.reason
                assert all(value is None or isinstance(value, int | float | str) for value in told.numbers.values())
                detector.evidence(self.fleet.view(kind), row, {})


@pytest.fixture(autouse=True)
def _failing_detectors_fail_the_test(monkeypatch):
    def failed(_fleet, kind, step):
        raise AssertionError(f"{kind} failed in {step}")

    monkeypatch.setattr(Fleet, "_failed", failed)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.lists(RECORD, min_size=1, max_size=6), min_size=1, max_size=5))
@pytest.mark.filterwarnings("error")
def test_anything_can_be_told(batches):
    world = World()
    for records in batches:
        world.batch(records)
    world.explained()


@settings(deadline=None, max_examples=120)
@given(RECORD, st.integers(0, 30 * 86_400))
def test_one_sample_is_never_a_finding(record, later):
    world = World()
    world.batch([record])
    assert not any((its >= Verdict.SUSPECT).any() for its in world.verdicts().values())
    world.listening.advance(world.now + later, world.now + later - NOW)
    world.fleet.look_again()
    world.fleet.judge()
    assert not any((its >= Verdict.SUSPECT).any() for its in world.verdicts().values())


def test_kinds_are_those_of_the_list():
    assert set(KINDS) == set(list(DETECTORS)[2:])
