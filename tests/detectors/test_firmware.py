from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detectors.firmware import WANTED_MOST, Catalogue, Firmware, Mark, Release, Target, judge_firmware
from detectors.verdicts import Verdict
from tests.detectors.driving import Drive

CATALOGUE = Catalogue(
    grace_days=30,
    models={
        "FMB920": [
            Release("1.0", date(2025, 1, 1)),
            Release("1.1", date(2025, 6, 1), Mark.BROKEN),
            Release("1.2", date(2025, 9, 1)),
            Release("1.3", date(2025, 9, 1)),
            Release("2.0-rc", date(2026, 1, 1), Mark.CRITICAL),
        ]
    },
)


def at(*when: int) -> float:
    return datetime(*when, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("version", "now", "verdict", "word"),
    [
        ("1.0", at(2025, 8, 31), Verdict.GOOD, "current"),  # 1.1 is later but marked; 1.2 not out yet
        ("1.0", at(2025, 10, 1), Verdict.SUSPECT, "in grace"),  # 30 days to the second: not longer
        ("1.0", at(2025, 10, 1, 0, 0, 1), Verdict.FAIL, "stale"),
        ("1.1", at(2025, 6, 1), Verdict.FAIL, "broken"),
        ("2.0-rc", at(2026, 1, 1), Verdict.FAIL, "critical"),
        ("1.2", at(2030, 1, 1), Verdict.GOOD, "current"),  # a release of the same day is not later
        ("9.9", at(2026, 1, 1), Verdict.UNKNOWN, "not in the catalogue"),
        (None, at(2026, 1, 1), Verdict.UNKNOWN, "not told"),
    ],
)
def test_rules(version, now, verdict, word):
    said = judge_firmware("FMB920", version, CATALOGUE, now)
    assert said.verdict == verdict
    assert word in said.reason


def test_a_model_that_is_not_in_the_catalogue_is_unknown():
    said = judge_firmware("protocol:omnicomm", "312", CATALOGUE, at(2026, 1, 1))
    assert said.verdict == Verdict.UNKNOWN
    assert "protocol:omnicomm" in said.reason


def test_grace_runs_from_the_first_later_release():
    catalogue = Catalogue(
        10, {"m": [Release("1", date(2026, 1, 1)), Release("2", date(2026, 2, 1)), Release("3", date(2026, 2, 20))]}
    )
    said = judge_firmware("m", "1", catalogue, at(2026, 2, 21))
    assert said.verdict == Verdict.FAIL
    assert said.numbers["superseded_days"] == 20.0
    assert said.numbers["recommended"] == "3"


TARGETS = Catalogue(
    30,
    CATALOGUE.models,
    [
        Target("FMB920", "1.2", date(2026, 2, 1)),
        Target("FMB920", "1.0", date(2026, 3, 1), customer="North"),
    ],
)


@pytest.mark.parametrize(
    ("version", "customer", "own", "now", "verdict", "word"),
    [
        ("1.2", None, None, at(2027, 1, 1), Verdict.GOOD, "is the target of model FMB920"),
        ("1.3", None, None, at(2026, 1, 31), Verdict.GOOD, "may stay until 2026-02-01"),
        ("1.3", "South", None, at(2026, 3, 3), Verdict.SUSPECT, "in grace"),
        ("1.3", None, None, at(2026, 3, 4), Verdict.FAIL, "update to 1.2, the target of model FMB920"),
        (
            "9.9",
            None,
            None,
            at(2026, 3, 4),
            Verdict.FAIL,
            "not what is wanted since 2026-02-01",
        ),  # no catalogue lists it
        ("1.2", "North", None, at(2026, 4, 1), Verdict.FAIL, "the target of customer North"),
        ("1.0", "North", None, at(2026, 4, 1), Verdict.GOOD, "customer North"),
        ("1.0", "North", "1.3", at(2026, 4, 1), Verdict.FAIL, "the target of this terminal"),
        ("1.0", "North", "7.7", at(2026, 4, 1), Verdict.FAIL, "7.7"),
        ("1.1", "North", "1.1", at(2026, 4, 1), Verdict.FAIL, "marked broken"),
        (None, "North", "1.1", at(2026, 4, 1), Verdict.UNKNOWN, "not told"),
    ],
)
def test_targets(version, customer, own, now, verdict, word):
    said = judge_firmware("FMB920", version, TARGETS, now, TARGETS.wanted("FMB920", customer, own))
    assert said.verdict == verdict
    assert word in said.reason


def test_what_the_registry_says_of_targets_is_heeded_and_need_not_be_said():
    drive = Drive(Firmware(TARGETS))
    told = {"model": ["FMB920"] * 3, "firmware": ["1.0"] * 3}
    drive.fleet.identify([1, 2, 3], told)
    drive.fleet.judge()
    assert {drive.verdict(row) for row in (1, 2, 3)} == {"fail"}
    drive.fleet.identify([1, 2, 3], {**told, "customer": ["North", None, None], "firmware_target": [None, "1.0", None]})
    drive.fleet.judge()
    assert [drive.verdict(row) for row in (1, 2, 3)] == ["good", "good", "fail"]
    assert "this terminal" in drive.explain(2).reason


def test_invented_versions_stay_bounded():
    drive = Drive(Firmware(TARGETS))
    rows = list(range(1, 5001))
    drive.fleet.identify(rows, {"model": ["FMB920"] * 5000, "firmware": [f"x{n}" for n in rows]})
    drive.fleet.judge()
    verdicts = drive.fleet.verdicts("firmware")[1:5001]
    assert int((verdicts == Verdict.FAIL).sum()) == WANTED_MOST


# -- beside the contract's own words, read once more

days = st.integers(0, 60).map(lambda day: date(2026, 1, 1) + timedelta(days=day))
releases = st.lists(
    st.builds(Release, st.sampled_from("abcdef"), days, st.sampled_from([None, None, *Mark])),
    min_size=1, max_size=6, unique_by=lambda release: release.version,
)  # fmt: skip
instants = st.integers(-86_400, 90 * 86_400).map(lambda second: at(2026, 1, 1) + second)


def by_the_contract(version, its, grace, now):
    """Stale where a later release without a mark is out longer than the grace; a mark of its own fails at once."""
    own = {release.version: release for release in its}.get(version)
    if own is None:
        return Verdict.UNKNOWN
    if own.mark:
        return Verdict.FAIL
    out = [now - at(r.released.year, r.released.month, r.released.day)
           for r in its if r.mark is None and r.released > own.released]  # fmt: skip
    longest = max(out, default=-1.0)
    return Verdict.GOOD if longest < 0 else Verdict.FAIL if longest > grace * 86_400 else Verdict.SUSPECT


@settings(deadline=None)
@given(releases, st.sampled_from("abcdefgh"), st.integers(0, 40), instants)
def test_any_catalogue_is_read_as_the_contract_has_it(its, version, grace, now):
    told = judge_firmware("M", version, Catalogue(grace, {"M": its}), now)
    assert told.verdict == by_the_contract(version, its, grace, now), told.reason
    recommended = told.numbers.get("recommended")
    if recommended is not None:  # nobody is led to what is marked, older than his own, or not out yet
        by_version = {release.version: release for release in its}
        best = by_version[recommended]
        assert best.mark is None
        assert best.released > by_version[version].released
        assert at(best.released.year, best.released.month, best.released.day) <= now


minutes = st.integers(-1440, 90 * 1440).map(lambda minute: at(2026, 1, 1) + 60 * minute)  # a verdict is kept for one
TWO = [Release("a", date(2026, 1, 1)), Release("b", date(2026, 1, 10))]


@settings(deadline=None, max_examples=40)
@given(
    releases, st.lists(st.sampled_from("abcdefgh"), min_size=3, max_size=3), st.lists(minutes, min_size=1, max_size=4)
)
@example(TWO, ["a", "b", "z"], [at(2026, 2, 25), at(2026, 1, 1), at(2026, 1, 10)])  # the clock is set back
def test_the_fleet_is_judged_as_each_of_its_versions_is_whatever_the_clock_does(its, versions, moments):
    drive = Drive(Firmware(Catalogue(10, {"M": its})))
    drive.fleet.identify([1, 2, 3], {"model": ["M"] * 3, "firmware": versions})
    detector = drive.fleet.detectors["firmware"]
    for now in moments:
        view = drive.fleet.view("firmware")
        view.now = now
        rows = np.array([1, 2, 3])
        wanted = [by_the_contract(version, its, 10, now) for version in versions]
        assert detector.judge(view, rows).verdicts.tolist() == wanted
        assert [detector.explain(view, row).verdict for row in rows.tolist()] == wanted
