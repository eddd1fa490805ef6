"""Scores of tiny runs whose answers can be counted on one's fingers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gateway.backtest.events import Event
from gateway.backtest.intervals import Intervals, usual_gap
from gateway.backtest.scores import DAY, Found, Truth, summary, zones_named, zones_right_by_confidence
from gateway.backtest.tables import Fault

HOUR = 3600.0
BEGIN, END = 10 * DAY, 20 * DAY
KNOWN = {"a": {"operator": "north"}, "b": {"operator": "north"}, "c": {"operator": "volga"}, "d": {}}
HEARD = dict.fromkeys(KNOWN, 0.0)
OWN = Fault("silence", "terminal", 12 * DAY, 14 * DAY, terminal="a")
OUTAGE = Fault("mass-silence", "sim-operator", 15 * DAY, 15 * DAY + HOUR, group_by="operator", group_value="north")
OURS = Fault("platform", "gateway", 16 * DAY, 16 * DAY + HOUR, group_by="gateway")


def event(at: float, terminal: str | None, word: str = "opened", kind: str = "silence", **more: Any) -> Event:
    return Event(at, word, kind, terminal, more.pop("incident", 1), **more)


def figures(*events: Event, faults: tuple[Fault, ...] = (OWN, OUTAGE, OURS), **more: Any) -> dict[str, Any]:
    intervals = dict.fromkeys(faults, HOUR) | more.pop("intervals", {})
    truth = Truth(faults, KNOWN, intervals, BEGIN, END)
    return summary(events, {**HEARD, **more}, BEGIN, END, truth)


def test_days_count_from_the_first_contact_and_rates_by_them() -> None:
    told = figures(event(13 * DAY, "a"), event(19 * DAY, "d", kind="power"), b=15 * DAY, c=np.inf, d=30 * DAY)
    assert told["terminal_days"] == 10 + 5
    assert told["tickets"] == {"power": 1, "silence": 1}
    assert told["tickets_per_1000_terminal_days"] == round(2000 / 15, 3)


def test_without_a_truth_nothing_is_scored() -> None:
    told = summary([event(13 * DAY, "a")], HEARD, BEGIN, END, None)
    assert set(told) == {"terminal_days", "tickets", "tickets_per_1000_terminal_days"}


@pytest.mark.parametrize(
    ("what", "false"),
    [
        (event(13 * DAY, "a"), 0),  # its own fault
        (event(14 * DAY + 1, "a"), 1),  # just after it
        (event(11 * DAY, "a"), 1),
        (event(11 * DAY, "a", "relapsed"), 1),
        (event(11 * DAY, "a", "recovered"), 0),
        (event(11 * DAY, "a", "attached"), 0),  # has no ticket
        (event(11 * DAY, "a", kind="power"), 0),  # of silence alone
        (event(13 * DAY, "b"), 1),  # another's fault
        (event(15 * DAY + 60, "b"), 0),  # its group's
        (event(15 * DAY + HOUR + 899, "b"), 0),
        (event(15 * DAY + HOUR + 901, "b"), 1),
        (event(15 * DAY + 60, "c"), 1),  # another group
        (event(15 * DAY + 60, "d"), 1),  # in no group
        (event(16 * DAY + 60, "b"), 1),  # our own absence excuses no ticket
        (event(15 * DAY + 60, None, kind="mass-silence"), 0),
    ],
)
def test_what_is_false(what: Event, false: int) -> None:
    # 40 terminal-days less two in which `a` had its fault
    assert figures(what)["false_per_1000_terminal_days"] == round(1000 * false / 38, 3)


def test_days_with_a_fault_are_counted_once() -> None:
    twice = (OWN, replace(OWN, kind="power", begins=13 * DAY, ends=15 * DAY))
    assert figures(event(11 * DAY, "a"), faults=twice)["false_per_1000_terminal_days"] == round(1000 / 37, 3)
    late = figures(event(11 * DAY, "b"), faults=twice, a=14 * DAY)  # heard first in the middle of it
    assert late["false_per_1000_terminal_days"] == round(1000 / (30 + 6 - 1), 3)


def test_delay_in_seconds_and_in_own_intervals() -> None:
    other = Fault("silence", "sim-operator", 13 * DAY, float("inf"), terminal="b")
    told = figures(
        event(12 * DAY + HOUR, "a", zone="terminal"),
        event(12 * DAY + 2 * HOUR, "a", "relapsed"),  # the first one counts
        event(13 * DAY + 3 * HOUR, "b", "changed", zone="unknown"),
        faults=(OWN, other),
        intervals={OWN: HOUR / 2, other: HOUR},
    )
    assert told["missed"] == 0
    assert told["detect_s"] == {"p50": 2 * HOUR, "p95": 2.9 * HOUR}
    assert told["detect_intervals"] == {"p50": 2.5, "p95": 2.95}
    assert told["zones_right"] == 0.5


@pytest.mark.parametrize(
    ("what", "missed"),
    [
        ((), 1),
        ((event(11 * DAY, "a"),), 1),  # it stood open, and nobody said that its meaning had changed
        ((event(14 * DAY + 1, "a"),), 1),
        ((event(13 * DAY, "b"),), 1),
        ((event(13 * DAY, "a", kind="power"),), 1),
        ((event(13 * DAY, "a", "attached"),), 1),
        ((event(11 * DAY, "a"), event(13 * DAY, "a", "changed")), 0),
        ((event(12 * DAY, "a"),), 0),
    ],
)
def test_what_is_missed(what: tuple[Event, ...], missed: int) -> None:
    told = figures(*what)
    assert told["missed"] == missed
    assert (told["detect_s"]["p50"] is None) == bool(missed)


@pytest.mark.parametrize(
    ("fault", "counts"),
    [
        (OWN, 1),
        (replace(OWN, ends=12 * DAY + 2 * HOUR), 1),  # two reports lost
        (replace(OWN, ends=12 * DAY + 1.9 * HOUR), 0),
        (replace(OWN, begins=END - HOUR, ends=30 * DAY), 0),  # the period ends before two are
        (replace(OWN, begins=BEGIN - 1), 0),
        (replace(OWN, begins=END + 1, ends=END + DAY), 0),
        (replace(OWN, ends=float("inf")), 1),
    ],
)
def test_which_faults_count(fault: Fault, counts: int) -> None:
    assert figures(faults=(fault,))["missed"] == counts


GROUP = {"by": "operator", "value": "north"}


def outage(*more: Event, group: dict[str, str] | None = GROUP) -> dict[str, Any]:
    parent = event(15 * DAY + 90, None, kind="mass-silence", incident=7, group=group)
    told: dict[str, Any] = figures(parent, *more)["mass"]
    return told


def test_an_outage_with_one_ticket() -> None:
    members = [event(15 * DAY + 90, name, "attached", incident=8 + at, parent=7) for at, name in enumerate("abc")]
    assert outage(*members) == {"injected": 1, "one_ticket": 1, "members_purity": round(2 / 3, 4)}
    assert outage(group=None)["one_ticket"] == 1
    assert outage(group={"by": "operator", "value": "volga"})["one_ticket"] == 0
    assert outage(event(15 * DAY + 95, None, kind="platform", word="platform", incident=9))["one_ticket"] == 0  # two
    assert figures()["mass"] == {"injected": 1, "one_ticket": 0, "members_purity": None}
    assert outage(event(13 * DAY, None, kind="mass-silence", incident=9, group=GROUP))["one_ticket"] == 1  # another day


def test_single_tickets_beside_it() -> None:
    known = {name: {"operator": "north"} for name in "abcd"}
    parent = event(15 * DAY + 90, None, kind="mass-silence", incident=7, group=GROUP)
    for singles, one in ((2, 1), (3, 0)):
        events = [parent, *(event(15 * DAY + 60, name, incident=8) for name in "bcd"[:singles])]
        assert Truth((OWN, OUTAGE), known, {}, BEGIN, END).mass(events)["one_ticket"] == one


# Own intervals.


def contacts(*stretches: tuple[int, float, int]) -> tuple[np.ndarray, np.ndarray]:
    """Contacts of stretches (how many, how far apart, state)."""
    gaps = np.concatenate([np.full(count, every) for count, every, _ in stretches])
    states = np.concatenate([np.full(count, state, np.int8) for count, _, state in stretches])
    return np.cumsum(gaps), states


@pytest.mark.parametrize(
    ("stretches", "gap"),
    [
        ([(50, 30.0, 0)], 30.0),
        ([(50, 30.0, 0), (10, 300.0, 1)], 300.0),
        ([(50, 30.0, 0), (10, 300.0, 1), (5, 30.0, 0)], 30.0),
        ([(50, 30.0, 0), (10, 3600.0, 2)], 3600.0),
        ([(3, 30.0, 0), (1, 3600.0, 2)], 30.0),  # one that was never met before: all its gaps
        ([(20, 12 * HOUR, 2)], 12 * HOUR),  # never awake
        ([(50, 30.0, 0), (10, 3600.0, 2), (3, 300.0, -1)], 3600.0),  # pings have the state of before
    ],
)
def test_the_usual_gap_is_that_of_the_last_situation(stretches: list[tuple[int, float, int]], gap: float) -> None:
    assert usual_gap(*contacts(*stretches)) == gap


def test_who_just_stopped_is_not_one_that_stands_for_long() -> None:
    at, state = contacts((20, 60.0, 0), (5, 600.0, 2), (5, 12 * HOUR, 2), (20, 60.0, 0), (5, 600.0, 2))
    assert usual_gap(at, state) == 600.0
    assert usual_gap(at[:30], state[:30]) == 12 * HOUR


def test_the_time_of_day_counts_while_moving() -> None:
    at = np.concatenate([np.arange(20) * 30.0, DAY / 2 + np.arange(8) * 600.0])
    assert usual_gap(at, np.zeros(28, np.int8)) == 600.0
    assert usual_gap(at[:22], np.zeros(22, np.int8)) == 30.0  # too few at noon yet


def test_nothing_is_known_of_one_contact() -> None:
    assert np.isnan(usual_gap(np.array([1.0]), np.zeros(1, np.int8)))


def test_intervals_are_gathered_from_slices_of_live_contacts_before_the_fault() -> None:
    at = np.arange(40) * 60.0
    burst = 60.5 + np.arange(100) * 0.1  # of the black box
    received = np.round(np.concatenate([at[:2], burst, at[2:]]) * 1e6).astype(np.int64)
    time = received.copy()
    time[2:102] -= 3600 * 1_000_000
    rows = {
        "terminal": np.ones(140, np.int32), "received": received, "time": time, "kind": np.zeros(140, np.int8),
        "ignition": np.ones(140, np.int8), "moving": np.ones(140),
    }  # fmt: skip
    faults = [Fault("silence", "terminal", begins, DAY, terminal=name) for begins, name in ((2400.0, "b"), (0.0, "a"))]
    gathered = Intervals([*faults, OUTAGE, replace(OWN, terminal="stranger")], ["a", "b"])
    for part in (slice(0, 25), slice(25, 140)):
        gathered.note({name: column[part] for name, column in rows.items()})
    found = gathered.of_all()
    assert found[faults[0]] == 60.0
    assert np.isnan(found[faults[1]])
    assert set(found) == set(faults)


def test_which_zones_were_named_and_how_sure() -> None:
    other = replace(OWN, zone="sim-operator")
    found = [
        Found(OWN, 13 * DAY, "terminal", HOUR, 1.0),
        Found(OWN, 13 * DAY, "sim-operator", HOUR, 0.8),
        Found(OWN, 13 * DAY, "terminal", HOUR, 0.4),
        Found(other, 13 * DAY, "unknown", HOUR, 0.0),
        Found(other, None, None, HOUR),
    ]
    assert zones_named(found) == {"sim-operator": {"unknown": 1}, "terminal": {"terminal": 2, "sim-operator": 1}}
    assert zones_right_by_confidence(found) == {
        (0.0, 0.4): (0, 0),
        (0.4, 0.6): (1, 1),
        (0.6, 0.8): (0, 0),
        (0.8, 1.0): (1, 2),
    }
    truth = Truth((OWN,), KNOWN, {OWN: HOUR}, BEGIN, END)
    (told,) = truth.found([event(13 * DAY, "a", zone="terminal", zone_confidence=0.7)])
    assert (told.zone, told.confidence) == ("terminal", 0.7)
