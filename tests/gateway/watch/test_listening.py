import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


# -- any history, beside what was listened in truth

steps = st.one_of(
    st.tuples(st.just("listens"), st.integers(1, 60)),
    st.tuples(st.just("deaf"), st.integers(1, 20)),
    st.tuples(st.just("stalls"), st.integers(6, 900)),
    st.tuples(st.just("is set"), st.sampled_from([-86_400, -3600, -3, 3, 3600, 86_400 * 400])),
    st.tuples(st.just("restarts"), st.integers(0, 900)),
    st.tuples(st.just("restarts and is set"), st.sampled_from([-86_400, -60, 60, 86_400])),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(steps, min_size=1, max_size=25))
def test_listened_time_is_what_was_listened_whatever_happens_to_clock_and_process(history):
    """Whoever asks later for any earlier tick is told the same: absences and settings of the clock cost nothing."""
    listening, real, wall, began = Listening(), 0.0, T, 0.0  # wall: what its clock shows; began: this process
    heard = 0.0
    seen = []  # of each tick: wall time, as it reads after all that the clock was set since, and what was listened then

    def tick(*, passed, counts, ok=True):
        nonlocal real, wall, heard
        real, wall = real + passed, wall + passed
        was = listening.now
        listening.advance(wall, real - began, listening=ok)
        if not np.isnan(was):  # what is kept in wall time moves along
            seen[:] = [(at + listening.jump, then) for at, then in seen]
        heard += passed if counts else 0.0
        seen.append((wall, heard))

    tick(passed=0.0, counts=False)
    for what, number in history:
        if what == "listens":
            for _ in range(min(number, 8)):
                tick(passed=1.0, counts=True)
        elif what == "deaf":
            for _ in range(min(number, 4)):
                tick(passed=1.0, counts=False, ok=False)
            assert not listening.trusted
        elif what == "stalls":
            tick(passed=float(number), counts=False)
        elif what == "is set":
            wall += number
            tick(passed=1.0, counts=False)
            assert listening.jump == number
        else:
            kept = listening.dump()
            listening = Listening()
            listening.load(kept)
            began = real = real + (number if what == "restarts" else 30)
            wall += number if what == "restarts" else 30 + number
            tick(passed=0.0, counts=False)
        assert listening.now == pytest.approx(wall)
    first = float(listening.listened(np.array([seen[0][0]]))[0])
    told = listening.listened(np.array([at for at, _ in seen])) - first
    assert told == pytest.approx(np.array([then for _, then in seen]), abs=1e-3)
    assert listening.clock - first == pytest.approx(heard, abs=1e-3)
    assert (np.diff(told) >= -1e-6).all(), "it never runs back"
