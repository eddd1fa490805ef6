"""Restarts, lost snapshots, clocks that are set and weeks that are uploaded: nothing is invented, nothing forgotten."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.columns import LIVE_WITHIN, Columns, bounded
from detectors.firmware import Firmware
from detectors.silence import Silence, SilenceRule
from gateway.watch import snapshots
from gateway.watch.contacts import summarise
from gateway.watch.fleet import CHUNK, Fleet
from gateway.watch.listening import Listening
from gateway.watch.round import Round
from tests.ticketing.desk_parts import MONDAY
from ticketing.incidents.ledger import Ledger

STEP, END = 15, 10_800
HOLD, RECOVERY, FLOOR, CEILING = 30.0, 300.0, 120.0, 900.0
STEADY = {0: 15, 1: 30, 2: 45, 3: 60}
DEAD, BACK = 4, 5  # one dies for good, one comes back
DIES, RETURNS = 3000, 6000
DETECTORS = (Silence(SilenceRule(floor=FLOOR, ceiling=CEILING)), Firmware(None))
WEEK = 7 * 86_400

steps = st.dictionaries(
    st.integers(4, END // STEP - 1).map(lambda n: n * STEP),
    st.one_of(
        st.tuples(st.just("restart"), st.sampled_from([STEP, 60, 600, 1800])),
        st.tuples(st.just("snapshot lost"), st.sampled_from([STEP, 60, 600])),
        st.tuples(st.just("clock set"), st.sampled_from([-200, -30, -3, 3, 30, 200])),
        st.tuples(st.just("upload"), st.sampled_from([0, 3, DEAD, BACK])),
        st.tuples(st.just("deaf"), st.sampled_from([STEP, 300, 1500])),
    ),
    max_size=5,
)


class Service:
    """The watch without a store: the ledger and the records outlive its restarts, as tables do."""

    def __init__(self) -> None:
        self.at = 0.0  # seconds of the clock that nobody sets
        self.ahead = MONDAY  # what the wall clock shows beyond it
        self.ledger = Ledger()
        self.told: list[tuple[str, int, float]] = []
        self.records: list[tuple[int, int, int, int]] = []  # as `snapshots.catch_up` reads them
        self.begin(Fleet(Listening(stall=np.inf), DETECTORS))
        self.tick()

    def begin(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.round = Round(fleet, hold=HOLD, recovery=RECOVERY)

    @property
    def wall(self) -> float:
        return self.at + self.ahead

    def hear(self, rows: list[int], own: list[float]) -> None:
        """Records, each with its true time; arrivals are stamped on the clock that nobody sets."""
        terminal = np.array(rows, np.int32)
        received = np.full(len(rows), round(self.at * 1e6))
        told = bounded(np.array([round((MONDAY + at) * 1e6) for at in own]))
        at_rest = {"moving": np.zeros(len(rows), np.bool_), "speed": np.zeros(len(rows))}
        made = {"own": told, "ignition": np.ones(len(rows), np.int8), **at_rest}
        columns = Columns(terminal, received, terminal, received, told - round(self.ahead * 1e6), made.__getitem__)
        self.fleet.hear(summarise(columns, map(type, DETECTORS)))
        self.records += [(row, int(t), round(self.wall * 1e6), 6) for row, t in zip(rows, told, strict=True)]

    def tick(self, *, listening: bool = True) -> None:
        for kind, decided in self.round.tick(self.wall, self.at, listening=listening).items():
            for row in decided.raised.tolist():
                finding = self.round.finding(kind, row)
                outcome = None if finding is None else self.ledger.raise_finding(finding, self.wall)
                if outcome is not None and outcome.incident is not None and outcome.is_open:
                    self.round.watched[kind].opened(row, outcome.incident.flaps)
                    self.told.append(("opened", row, self.at))
            for row in decided.recovered.tolist():
                if self.round.proof(kind, row) and self.ledger.recover(kind, row, self.wall):
                    self.round.watched[kind].closed(row)
                    self.told.append(("recovered", row, self.at))

    def restart(self, down: float, *, snapshot: bool) -> None:
        """As `patrol.start` does it, by the same pieces."""
        old, new = self.fleet, Fleet(Listening(stall=np.inf), DETECTORS)
        old.flush()
        new.listening.load(old.listening.dump())
        since = 0.0
        if snapshot:
            new.reserve(old.rows)
            for name in old.sets:
                for piece in range(-(-old.rows // CHUNK)):
                    if kept := [column.name for column in snapshots._kept(old, name)]:
                        snapshots._restore(new, name, piece, snapshots._piece(old, name, piece), old.rows, kept)
            new.look_again()
            since = self.wall - snapshots.MARGIN
        self.at += down
        if found := self._newest(since):
            snapshots._apply(new, found)
        new.listening.advance(self.wall, self.at)
        if new.listening.jump:
            new.shift(new.listening.jump)
        self.begin(new)
        for incident in self.ledger.incidents:
            if incident.open and incident.terminal is not None:
                row = incident.terminal
                self.round.watched[incident.kind].resume(row, int(new.live[row]), None, incident.flaps)

    def _newest(self, since: float) -> list[tuple[int, int, int, int]]:
        found = []
        for row in range(6):
            its = sorted((r for r in self.records if r[0] == row), key=lambda r: r[1])[-snapshots.RECORDS_EACH :]
            found += [r for r in its if r[2] > since * 1e6 and (not since or r[1] > since * 1e6 - LIVE_WITHIN)]
        return found


def live_through(events: dict[int, tuple[str, int]]) -> Service:
    service, deaf_until, second = Service(), 0, 0
    for second in range(STEP, END + 1, STEP):
        if second <= service.at:
            continue  # the service is down
        service.at = float(second)
        what, amount = events.get(second, ("", 0))
        if what == "deaf":
            deaf_until = second + amount
        listening = second > deaf_until
        if listening:
            speak = [row for row, every in STEADY.items() if second % every == 0]
            speak += [DEAD] * (second < DIES) + [BACK] * (second < DIES or second >= RETURNS)
            if what == "upload":
                old = [second - WEEK + n * (WEEK - 7200) / 200 for n in range(200)]
                service.hear([amount] * 200, old)
            service.hear(speak, [float(second)] * len(speak))
        if what == "clock set":
            service.ahead += amount
        service.tick(listening=listening)
        if what in ("restart", "snapshot lost"):
            service.restart(float(amount), snapshot=what == "restart")
    return service


EXAMPLES = 400 if os.environ.get("DOZOR_SOAK") else 6


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=steps)
def test_nothing_is_invented_and_nothing_forgotten(events: dict[int, tuple[str, int]]) -> None:
    service = live_through(events)
    told = _of(service, DEAD)
    assert [row for _, row, _ in service.told if row in STEADY] == []
    away = sum(amount for what, amount in events.values() if what in ("restart", "snapshot lost", "deaf"))
    assert [word for word, _ in told] == ["opened"]
    assert DIES < told[0][1] <= DIES + CEILING + HOLD + away + 10 * STEP
    its = _of(service, BACK)
    if its:  # it was away for long enough in time in which we listened
        assert [word for word, _ in its] == ["opened", "recovered"]
        assert its[1][1] >= RETURNS + RECOVERY - STEP
    else:
        assert away > RETURNS - DIES - CEILING - HOLD - 10 * STEP
    assert sum(incident.open for incident in service.ledger.incidents) == 1


def _of(service: Service, row: int) -> list[tuple[str, float]]:
    return [(word, at) for word, its, at in service.told if its == row]


def test_what_is_open_is_raised_again_only_as_a_member_that_is_given_back() -> None:
    service = live_through({})
    finding = service.round.finding("silence", DEAD, member=True)
    assert finding is not None
    assert finding.observed_until == service.wall
    assert finding.detected_at < MONDAY + DIES + FLOOR + 3 * STEP
    assert service.round.finding("silence", DEAD) is None
    assert service.round.finding("silence", BACK, member=True) is None  # it does not fail
    assert service.round.proof("silence", DEAD) is None


def test_without_any_of_it() -> None:
    service: Any = live_through({})
    assert [(word, row) for word, row, _ in service.told] == [
        ("opened", DEAD), ("opened", BACK), ("recovered", BACK),
    ]  # fmt: skip
    assert service.told[0][2] - DIES < FLOOR + HOLD + 3 * STEP
