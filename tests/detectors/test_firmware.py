from datetime import UTC, date, datetime

import pytest

from detectors.firmware import Catalogue, Mark, Release, judge_firmware
from detectors.verdicts import Verdict

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
