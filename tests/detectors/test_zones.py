import numpy as np

from detectors.zones import silence_zone

NONE = np.array([np.nan])
NO_DAMAGE = np.array([0, 0])


def test_a_sag_before_the_silence_points_to_the_power():
    zone, confidence, reason = silence_zone(np.array([24.1, 24.0, np.nan, 12.0]), NONE, NO_DAMAGE)
    assert (zone, confidence) == ("power", 0.7)
    assert "12 V" in reason


def test_damaged_frames_point_to_the_terminal():
    assert silence_zone(np.array([12.6]), NONE, np.array([3, 0, 1]))[0] == "firmware"
    assert silence_zone(np.array([12.6]), NONE, np.array([3, 0, 0]))[0] == "unknown"


def test_a_weak_signal_points_to_the_operator():
    assert silence_zone(NONE, np.array([80.0, 20.0]), NO_DAMAGE)[0] == "operator"


def test_no_sign_is_unknown():
    assert silence_zone(np.array([]), np.array([]), np.array([], np.int64)) == (
        "unknown",
        0.0,
        "no sign in the last records and connections",
    )
