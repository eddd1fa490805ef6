import numpy as np
import pytest

from detectors.silence import SilenceRule, explain_silence, judge_silence
from detectors.verdicts import Verdict, count_verdicts, spell

RULE = SilenceRule(after=3.0, floor=300.0, ceiling=86_400.0, learn=8)


def test_the_limit_is_clamped_and_the_ceiling_applies_until_learned():
    interval = np.array([10.0, 200.0, 1e6, 200.0, np.nan])
    gaps = np.array([8, 8, 100, 7, 0])
    assert RULE.limits(interval, gaps).tolist() == [300.0, 600.0, 86_400.0, 86_400.0, 86_400.0]


@pytest.mark.parametrize(
    ("age", "verdict"),
    [
        (0.0, Verdict.GOOD),
        (400.0, Verdict.GOOD),
        (400.1, Verdict.SUSPECT),
        (600.0, Verdict.SUSPECT),
        (600.001, Verdict.FAIL),
        (np.nan, Verdict.UNKNOWN),
        (-5.0, Verdict.GOOD),
    ],
)
def test_fail_above_the_limit_suspect_above_two_thirds(age, verdict):
    assert judge_silence(np.array([age]), np.array([600.0])).tolist() == [verdict]


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shapes differ"):
        judge_silence(np.zeros(2), np.zeros(3))


def test_reason_and_numbers_explain_the_verdict():
    said = explain_silence(601.0, 600.0, 200.0, 20, ignition_off=True, rule=RULE)
    assert said.verdict == Verdict.FAIL
    assert said.reason == "silent for 10 min 1 s, limit 10 min, usually heard every 3 min 20 s"
    assert said.numbers["age_s"] == 601.0
    assert said.numbers["interval_s"] == 200.0
    assert said.numbers["ignition"] == "off"
    early = explain_silence(90_000.0, 86_400.0, 200.0, 3, ignition_off=False, rule=RULE)
    assert early.reason == "silent for 1 d 1 h, limit 1 d (3 of 8 gaps learned)"
    assert early.numbers["interval_s"] is None
    never = explain_silence(np.nan, 86_400.0, np.nan, 0, ignition_off=False, rule=RULE)
    assert (never.verdict, never.reason, never.numbers["age_s"]) == (Verdict.UNKNOWN, "never heard", None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "0.2 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_are_spelled(seconds, text):
    assert spell(seconds) == text


def test_every_verdict_is_counted():
    verdicts = np.array([0, 3, 3, 1], np.int8)
    assert count_verdicts(verdicts) == {"unknown": 1, "good": 1, "suspect": 0, "fail": 2}
