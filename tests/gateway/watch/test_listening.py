import numpy as np
import pytest

from gateway.watch.listening import OUTAGES_KEPT, Listening

T = 1_800_000_000.0


def run(listening, start, end, *, ok=True, wall_ahead=0.0):
    """Ticks of one second; monotonic time is the time without `wall_ahead`."""
    for second in range(int(start), int(end) + 1):
        listening.advance(T + second + wall_ahead, second, listening=ok)


def between(listening, start, end):
    first, last = listening.listened(np.array([T + start, T + end]))
    return pytest.approx(last - first)


def test_time_passes_while_listening():
    listening = Listening()
    run(listening, 0, 10)
    assert between(listening, 0, 10) == 10.0
    assert listening.trusted
    assert listening.clock == listening.listened(np.array([T + 10]))[0]
    before = listening.clock
    run(listening, 11, 12)
    assert listening.clock - before == pytest.approx(2.0)


def test_a_store_that_is_away_stops_the_clock_and_the_trust():
    listening = Listening()
    run(listening, 0, 10)
    run(listening, 11, 40, ok=False)
    assert not listening.trusted
    run(listening, 41, 50)
    assert listening.trusted
    assert between(listening, 0, 50) == 20.0
    assert between(listening, 5, 10) == 5.0
    assert between(listening, 20, 30) == 0.0
    assert between(listening, 45, 50) == 5.0


def test_a_stalled_loop_has_not_listened():
    listening = Listening()
    run(listening, 0, 10)
    listening.advance(T + 70, 70)
    assert not listening.trusted
    run(listening, 71, 80)
    assert between(listening, 0, 80) == 20.0
    assert listening.undisturbed_since == T + 70


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_clock_that_is_set_ages_nobody(jump):
    listening = Listening()
    run(listening, 0, 10)
    heard = listening.listened(np.array([T + 4.0]))[0]
    run(listening, 11, 11, wall_ahead=jump)
    assert listening.jump == pytest.approx(jump)
    assert not listening.trusted
    run(listening, 12, 20, wall_ahead=jump)
    assert listening.trusted
    assert listening.clock - heard == pytest.approx(15.0)  # one second, that of the jump, is not trusted
    assert listening.clock - listening.listened(np.array([T + jump + 18]))[0] == pytest.approx(2.0)


def test_downtime_is_known_after_a_restart():
    listening = Listening()
    run(listening, 0, 10)
    run(listening, 11, 12, ok=False)
    run(listening, 13, 20)
    heard = listening.listened(np.array([T + 15.0]))[0]
    again = Listening()
    again.load(listening.dump())
    again.advance(T + 620, 3.0)
    assert not again.trusted
    again.advance(T + 621, 4.0)
    assert again.trusted
    assert again.clock - heard == pytest.approx(6.0)
    assert between(again, 15, 400) == 5.0


def test_a_restart_with_the_clock_behind_goes_on_from_now():
    listening = Listening()
    run(listening, 0, 10)
    heard = listening.clock
    again = Listening()
    again.load(listening.dump())
    again.advance(T - 500, 0.0)
    again.advance(T - 499, 1.0)
    assert again.clock - heard == pytest.approx(1.0)
    assert again.jump == 0.0


def test_outages_are_bounded():
    listening = Listening()
    for i in range(3 * OUTAGES_KEPT):
        run(listening, 20 * i, 20 * i + 9)
        run(listening, 20 * i + 10, 20 * i + 19, ok=False)
    assert len(listening.dump()) < 64 * OUTAGES_KEPT
    assert between(listening, 20 * 180, 20 * 181) == 9.0 + 1.0


def test_the_clock_knows_at_once_of_an_absence_that_is_told_afterwards():
    listening = Listening()
    run(listening, 0, 10)
    heard = listening.clock
    listening.absent(T + 2, T + 6)
    assert listening.clock - heard == pytest.approx(-4.0)
    again = Listening()
    again.load(listening.dump())
    assert again.clock == listening.clock


def test_a_clock_that_cannot_stall():
    patient, strict = Listening(stall=np.inf), Listening()
    for listening in (patient, strict):
        run(listening, 0, 1)
        listening.advance(T + 3600, 3600)
    assert between(patient, 0, 3600) == 3600.0
    assert patient.trusted
    assert between(strict, 0, 3600) == 1.0
    assert not strict.trusted


def test_the_clock_is_what_was_listened_at_the_last_tick():
    rng = np.random.default_rng(1)
    listening, monotonic, ahead = Listening(), 0.0, 0.0
    for _ in range(300):
        monotonic += float(rng.choice([1, 1, 1, 4.9, 30.25]))
        ahead += float(rng.choice([0, 0, 0, 0, 0, -7.5, 400]))
        listening.advance(T + monotonic + ahead, monotonic, listening=bool(rng.random() < 0.9))
        assert listening.clock == listening.listened(np.array([listening.now]))[0]
        if rng.random() < 0.05:
            listening.absent(listening.now - 0.5, listening.now + 2)  # an end that is yet to come
            assert listening.clock == listening.listened(np.array([listening.now]))[0]
