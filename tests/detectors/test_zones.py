"""Zones from last words: single clues, and injected causes with the noise that real ones have."""

from collections import Counter

import numpy as np
import pytest

from detectors.detector import Connected, Past
from detectors.zones import zone_of_silence

RECORDS = 10
FIN, RESET, IDLE = "closed by the terminal", "lost: [Errno 104] Connection reset by peer", "idle timeout"


def past(*, ended=FIN, later=(), damaged=(0, 0), verdicts=None, **measures):
    told = {name.replace("__", "."): np.asarray(values, np.float64) for name, values in measures.items()}
    connections = [Connected(True, frames, 0, IDLE) for frames in later]
    connections += [Connected(False, 40, n, ended) for n in damaged]
    return Past(
        lambda name: told.get(name, np.full(RECORDS, np.nan)),
        np.array([one.malformed for one in connections], np.int64),
        connections,
        verdicts or {},
    )


def test_a_sag_before_the_silence_points_to_the_power():
    zone = zone_of_silence(past(power__external=[24.1, 24.0, np.nan, 12.0]))
    assert zone.zone == "wiring-power"
    assert zone.confidence > 0.8
    assert "12 V" in zone.reason
    assert zone.spoke_for == ("external power fell to 12 V before the silence (usually 24 V)",)


def test_power_gone_with_the_ignition_off_is_a_switch_and_with_it_on_a_fault():
    gone = {"power__external": [13.8, 13.8, 0.1]}
    assert zone_of_silence(past(ignition=[1, 1, 0], **gone)).zone == "expected"
    assert zone_of_silence(past(ignition=[1, 1, 1], **gone)).zone == "wiring-power"
    assert zone_of_silence(past(ignition=[0, 0, 0], moving=[1, 1, 1], **gone)).zone == "wiring-power"


def test_damaged_frames_point_to_the_terminal_and_one_is_chance():
    assert zone_of_silence(past(damaged=(3, 0, 1))).zone == "terminal"
    assert zone_of_silence(past(damaged=(3, 0, 0))).zone == "unknown"


def test_connections_that_bring_nothing_point_to_the_path():
    assert zone_of_silence(past(later=(0, 0, 0))).zone == "network-path"
    assert zone_of_silence(past(later=(5, 0))).zone == "unknown"


def test_a_weak_signal_points_to_the_operator():
    assert zone_of_silence(past(gsm__signal=[80.0, 20.0])).zone == "sim-operator"


def test_restarts_point_to_the_supply_where_it_sags_and_else_to_the_terminal():
    events = {"event": [1, 3, 1, 3], "unit__id": [7, 7, 7, 7]}
    assert zone_of_silence(past(power__external=[13.8] * 4, **events)).zone == "terminal"
    assert zone_of_silence(past(power__external=[13.8, 9.2, 13.8, 12.4], **events)).zone == "wiring-power"
    assert zone_of_silence(past(event=[1, 3, 1, 3])).zone == "unknown"  # another protocol's numbers


def test_what_speaks_against_is_told():
    zone = zone_of_silence(past(power__external=[13.8] * 5, gsm__signal=[80, 60, 10]))
    assert zone.zone == "sim-operator"
    assert zone.spoke_against == ()
    weak = zone_of_silence(past(power__external=[13.8] * 5, verdicts={"power": "fail", "clock": "fail"}))
    assert weak.zone == "terminal"
    assert any(text.startswith("wiring-power: a power finding") for text in weak.spoke_against)


def test_no_sign_is_unknown():
    zone = zone_of_silence(Past(lambda _: np.zeros(0), np.zeros(0, np.int64)))
    assert (zone.zone, zone.confidence) == ("unknown", 0.0)
    assert zone.reason == "no sign in the last records and connections"


# Each cause as it looks in the last ten records and connections, with its noise; what a cause shows is the support
# model's table (S3-15), how often it shows it is a guess from how it comes about, written beside it.


def healthy(random):
    """A vehicle that drives: 12 or 24 V and a charger's ripple, a signal that wanders by a fifth."""
    net = random.choice([13.8, 27.8])
    return {
        "power__external": net + random.normal(0, 0.02 * net, RECORDS),
        "gsm__signal": np.clip(random.normal(75, 10, RECORDS), 45, 100),
        "ignition": np.ones(RECORDS),
        "moving": np.ones(RECORDS),
        "ended": random.choice([RESET, IDLE]),
    }


def power_lost(random):
    told = healthy(random)
    last = random.integers(1, 4)  # records that the own battery still carried
    if random.random() < 0.7:
        told["power__external"][-last:] = random.uniform(0, 1.5, last)
    else:  # a chafed wire sags first
        told["power__external"][-last:] *= random.uniform(0.3, 0.65)
    return told


def sim_blocked(random):
    return healthy(random)  # nothing but the link ends, and never in order


def antenna_cut(random):
    told = healthy(random)
    told["gsm__signal"][-2:] = random.uniform(0, 20, 2)
    return told


def terminal_dying(random):
    told = healthy(random)
    how = random.integers(3)
    if how == 0:
        told["damaged"] = (random.integers(1, 5), random.integers(1, 5), 0)
    elif how == 1:
        told["event"] = random.choice([1.0, 3.0], RECORDS)
        told["event"][-1], told["unit__id"] = 3, np.full(RECORDS, 7)
    else:
        told["verdicts"] = {"clock": "fail"}
    return told


def path_broken(random):
    return {**healthy(random), "later": (0,) * random.integers(2, 6)}


def switched_off(random):
    told = healthy(random)
    told["ignition"][-2:] = told["moving"][-2:] = 0
    if random.random() < 0.5:
        told["power__external"][-1] = random.uniform(0, 1)
    else:
        told["ended"] = FIN
    return told


CAUSES = {
    power_lost: "wiring-power",
    sim_blocked: "sim-operator",
    antenna_cut: "sim-operator",
    terminal_dying: "terminal",
    path_broken: "network-path",
    switched_off: "expected",
}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_injected_causes_are_named_right(seed):
    random = np.random.default_rng(seed)
    named = {cause: Counter(zone_of_silence(past(**cause(random))).zone for _ in range(300)) for cause in CAUSES}
    right = sum(named[cause][zone] for cause, zone in CAUSES.items()) / (300 * len(CAUSES))
    unknown = sum(counted["unknown"] for counted in named.values()) / (300 * len(CAUSES))
    told = {cause.__name__: dict(counted) for cause, counted in named.items()}
    assert right >= 0.9, told
    assert unknown <= 0.1, told
    assert all(named[cause][zone] >= 0.8 * 300 for cause, zone in CAUSES.items()), told


def test_confidence_means_something():
    random = np.random.default_rng(4)
    sure, unsure = [], []
    for cause, its in CAUSES.items():
        for _ in range(200):
            found = zone_of_silence(past(**cause(random)))
            assert 0 <= found.confidence <= 1
            (sure if found.confidence > 0.8 else unsure).append(found.zone == its)
    assert np.mean(sure) >= 0.95
    assert np.mean(sure) >= np.mean(unsure)
