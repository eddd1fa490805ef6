"""Zones from last words: single clues, and injected causes with the noise that real ones have."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from detectors.detector import Connected, Past
from detectors.zones import SHARES, WEIGHTS, zone_of_silence

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


def test_a_signal_that_fell_points_to_the_terminal_s_antenna():
    moving = {"ignition": [1] * 5, "moving": [1] * 5}
    assert zone_of_silence(past(gsm__signal=[80, 80, 60, 40, 20], ended=IDLE, **moving)).zone == "terminal"
    weak = zone_of_silence(past(gsm__signal=[20, 20, 20, 40, 20], ended=IDLE, **moving))
    assert weak.zone == "terminal"
    assert weak.confidence > zone_of_silence(past(gsm__signal=[80] * 5, ended=IDLE, **moving)).confidence


def test_the_link_gone_without_a_word_is_named_with_little_confidence():
    """A blocked card, a dead terminal and a supply cut in its sleep end alike."""
    fine = {"gsm__signal": [80] * 5, "power__external": [13.8] * 5}
    in_use = zone_of_silence(past(ended=IDLE, ignition=[1] * 5, moving=[1] * 5, **fine))
    at_rest = zone_of_silence(past(ended=IDLE, ignition=[0] * 5, moving=[0] * 5, **fine))
    reset = zone_of_silence(past(ended=RESET, ignition=[1] * 5, moving=[1] * 5, **fine))
    assert in_use.zone == reset.zone == "sim-operator"
    assert max(in_use.confidence, at_rest.confidence) < 0.5 < reset.confidence
    assert any(text.startswith("sim-operator: ") for text in at_rest.spoke_against)


def test_a_connection_ended_in_order_while_in_use_points_to_the_terminal_s_settings():
    zone = zone_of_silence(past(ended=FIN, ignition=[1, 1], moving=[1, 1]))
    assert (zone.zone, zone.reason) == ("terminal", "it ended its connection in order while it was in use")
    asleep = past(ended=FIN, ignition=[0, 0], moving=[0, 0], sleep__mode=[0, 2])
    assert zone_of_silence(asleep).zone == "expected"


def test_an_engine_that_stops_lowers_the_voltage_and_is_no_fault_of_the_supply():
    told = {"ignition": [1, 1, 0, 0, 0], "moving": [1, 0, 0, 0, 0]}
    assert zone_of_silence(past(power__external=[14.1, 14.0, 12.7, 12.5, 12.4], **told)).zone != "wiring-power"


def test_damaged_frames_since_the_last_record_point_to_the_terminal():
    connections = [Connected(True, 0, 3, IDLE), Connected(False, 40, 0, IDLE)]
    told = {"ignition": np.ones(2), "moving": np.ones(2)}
    zone = zone_of_silence(Past(lambda name: told.get(name, np.full(2, np.nan)), np.array([3, 0]), connections))
    assert zone.zone == "terminal"
    assert zone.spoke_for == ("connected since, and brought damaged frames alone (1 times)",)


def test_weights_are_of_signs_and_zones_that_there_are():
    zones = {zone for its in WEIGHTS.values() for zone in its}
    assert zones == set(SHARES)
    assert sum(SHARES.values()) == pytest.approx(1.0)


def test_restarts_point_to_the_supply_where_it_sags_and_else_to_the_terminal():
    events = {"event": [1, 3, 1, 3], "unit__id": [7, 7, 7, 7]}
    assert zone_of_silence(past(power__external=[13.8] * 4, **events)).zone == "terminal"
    assert zone_of_silence(past(power__external=[13.8, 9.2, 13.8, 12.4], **events)).zone == "wiring-power"
    assert zone_of_silence(past(event=[1, 3, 1, 3])).zone == "unknown"  # another protocol's numbers


def test_what_speaks_against_is_told():
    zone = zone_of_silence(past(power__external=[0.4] * 5, gsm__signal=[80, 60, 10], power__backup=[1] * 5))
    assert zone.zone == "wiring-power"
    assert "GSM signal had just fallen from 80 to 10 %, as at the edge of a network" in zone.spoke_against
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
        "ended": RESET if random.random() < 0.06 else IDLE,
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
    told["gsm__signal"][-3:] = random.uniform(0, 20, 3)
    if random.random() < 0.5:  # for long
        told["gsm__signal"][:] = random.uniform(0, 40, RECORDS)
        told["gsm__signal"][-1] = 15
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
        told["ended"], told["sleep__mode"] = FIN, np.full(RECORDS, 2)
    return told


CAUSES = {
    power_lost: "wiring-power",
    sim_blocked: "sim-operator",
    antenna_cut: "terminal",
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


def test_the_page_has_each_sign_with_its_weights():
    page = (Path(__file__).parents[2] / "docs" / "detectors.md").read_text(encoding="utf-8")
    heading, _, *lines = page[page.index("| sign | seen when |") :].partition("\n\n")[0].splitlines()
    zones = re.findall(r"`([a-z-]+)`", heading)
    told = {}
    for line in lines:
        sign, _, *weights = (cell.strip() for cell in line.strip("|").split("|"))
        numbers = {zone: float(cell.replace("−", "-")) for zone, cell in zip(zones, weights, strict=True) if cell}
        told[sign.strip("`")] = numbers
    assert told == {sign: dict(its) for sign, its in WEIGHTS.items()}
