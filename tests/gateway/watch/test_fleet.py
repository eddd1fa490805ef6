import time

import numpy as np
import pytest

from detectors.silence import SilenceRule
from gateway.watch.fleet import CHUNK, NOTED, Fleet
from gateway.watch.gaps import RING, decode_gaps, encode_gaps, medians
from gateway.watch.listening import Listening
from protocols.records import IGNITION_KNOWN, IGNITION_ON, TIME_UNKNOWN

T = 1_800_000_000.0
ON, OFF, UNTOLD = IGNITION_KNOWN | IGNITION_ON, IGNITION_KNOWN, 0
RULE = SilenceRule(after=3.0, floor=10.0, ceiling=86_400.0, learn=8)


@pytest.fixture
def fleet():
    listening = Listening()
    listening.advance(T, 0.0)
    return Fleet(listening, RULE)


def apply(fleet, frames, records=None):
    """frames: (terminal, second); records: (terminal, second received, second of its own, flags); live by default."""
    if records is None:
        records = [(terminal, at, at, UNTOLD) for terminal, at in frames]
    fleet.apply(
        np.array([f[0] for f in frames], np.int32),
        np.array([round((T + f[1]) * 1e6) for f in frames], np.int64),
        np.array([r[0] for r in records], np.int32),
        np.array([TIME_UNKNOWN if r[2] is None else round((T + r[2]) * 1e6) for r in records], np.int64),
        np.array([round((T + r[1]) * 1e6) for r in records], np.int64),
        np.array([r[3] for r in records], np.int16),
    )
    fleet.flush()


def test_gaps_survive_their_code():
    seconds = np.array([0.001, 0.5, 1.0, 60.0, 3600.0, 86_400.0, 1e6])
    assert decode_gaps(encode_gaps(seconds)) == pytest.approx(seconds, rel=2e-4)
    assert decode_gaps(encode_gaps(np.array([0.0, 1e12]))).tolist() == pytest.approx([0.001, 1e7], rel=0.05)


def test_medians_of_rings_that_are_not_full():
    codes = np.zeros((4, RING), np.uint16)
    codes[0, :3] = encode_gaps(np.array([100.0, 1.0, 5.0]))
    codes[1, :2] = encode_gaps(np.array([1.0, 3.0]))
    codes[2] = encode_gaps(np.arange(1.0, RING + 1))
    found = medians(codes, np.array([3, 2, 100, 0]))
    assert found[:3] == pytest.approx([5.0, 2.0, 8.5], rel=1e-3)
    assert np.isnan(found[3])


def test_the_interval_counts_after_eight_gaps(fleet):
    for i in range(8):
        apply(fleet, [(5, 60.0 * i)])
    assert fleet.learned[5, 0] == 7
    assert fleet.limit[5] == 86_400.0
    apply(fleet, [(5, 480.0)])
    assert fleet.limit[5] == pytest.approx(180.0, rel=1e-3)
    assert fleet.rhythm(5, 0).recent == pytest.approx([60.0] * 8, rel=1e-3)
    assert fleet.rows == 6
    assert fleet.exists[:6].tolist() == [False] * 5 + [True]


def test_one_batch_learns_as_many_batches_do():
    rng = np.random.default_rng(7)
    frames = sorted(
        ((int(t), float(at)) for t, at in zip(rng.integers(1, 6, 400), rng.integers(0, 20_000, 400) / 4, strict=True)),
        key=lambda frame: frame[1],
    )
    flags = rng.choice([ON, OFF, UNTOLD], 400)
    records = [(t, at, at - 3, int(flag)) for (t, at), flag in zip(frames, flags, strict=True)]
    fleets = []
    for size in (1, 7, 400):
        listening = Listening()
        listening.advance(T, 0.0)
        fleet = Fleet(listening, RULE)
        for at in range(0, 400, size):
            apply(fleet, frames[at : at + size], records[at : at + size])
        fleets.append(fleet)
    for name in ("heard", "received", "live", "contact", "learned", "interval", "off", "limit", "slot", "gaps"):
        first = getattr(fleets[0], name)[:6]
        for other in fleets[1:]:
            np.testing.assert_array_equal(first, getattr(other, name)[:6], err_msg=name)
    assert fleets[0].learned.sum() > 300


def test_batches_noted_one_by_one_are_applied_together(fleet):
    apply(fleet, [(1, 10.0 * i) for i in range(10)])
    noting = Fleet(fleet.listening, RULE)
    for i in range(10):
        at = np.array([round((T + 10.0 * i) * 1e6)])
        row = np.array([1], np.int32)
        noting.note(row, at, row, at, at, np.array([UNTOLD], np.int16))
    assert noting.rows == 0
    noting.flush()
    noting.flush()
    for name in ("heard", "received", "live", "learned", "interval", "limit"):
        np.testing.assert_array_equal(getattr(fleet, name)[:2], getattr(noting, name)[:2], err_msg=name)
    many = np.ones(NOTED, np.int32)
    noting.note(many, at.repeat(NOTED) + 5, many[:0], at[:0], at[:0], many[:0].astype(np.int16))
    assert noting.received[1] == at[0] + 5  # enough to be applied at once


def test_the_rhythm_is_learned_apart_for_ignition_off(fleet):
    at = 0.0
    for _ in range(10):
        at += 10
        apply(fleet, [(1, at)], [(1, at, at, ON)])
    assert fleet.limit[1] == pytest.approx(30.0, rel=1e-3)
    apply(fleet, [(1, at + 10)], [(1, at + 10, at + 10, OFF)])
    assert fleet.limit[1] == 86_400.0  # nothing learned of it parked
    at += 10
    for _ in range(9):
        at += 3600
        apply(fleet, [(1, at)], [(1, at, at, UNTOLD)])  # not told: as before
    assert fleet.limit[1] == pytest.approx(10_800.0, rel=1e-3)
    apply(fleet, [(1, at + 5)], [(1, at + 5, at + 5, ON)])
    assert fleet.limit[1] == pytest.approx(30.0, rel=1e-3)


def test_the_newest_record_of_a_frame_tells_the_ignition(fleet):
    apply(fleet, [(1, 100.0)], [(1, 100.0, 90.0, ON), (1, 100.0, 99.0, OFF), (1, 100.0, 95.0, ON)])
    assert fleet.off[1] == 1


def test_an_upload_from_the_black_box_is_life_but_no_rhythm(fleet):
    for i in range(20):
        apply(fleet, [(1, 600.0 * i)])
    at = 600.0 * 19
    for i in range(200):
        apply(fleet, [(1, at + 100 + i / 5)], [(1, at + 100 + i / 5, at - 5000 + i, UNTOLD)])
    assert fleet.limit[1] == pytest.approx(1800.0, rel=1e-3)
    assert fleet.heard[1] == pytest.approx(fleet.listening.listened(np.array([T + at + 100 + 199 / 5]))[0])
    assert fleet.live[1] == round((T + at) * 1e6)


def test_a_terminal_with_a_wrong_clock_is_learned_all_the_same(fleet):
    for i in range(10):
        apply(fleet, [(1, 60.0 * i)], [(1, 60.0 * i, 60.0 * i - 1e8, UNTOLD)])
    assert fleet.limit[1] == pytest.approx(180.0, rel=1e-3)
    assert fleet.live[1] == 0


def test_a_record_without_a_time_is_live(fleet):
    apply(fleet, [(1, 60.0)], [(1, 60.0, None, UNTOLD)])
    assert fleet.live[1] == round((T + 60) * 1e6)


def test_a_frame_without_records_is_heard(fleet):
    apply(fleet, [(1, 60.0)], [])
    assert not np.isnan(fleet.heard[1])
    assert fleet.live[1] == 0


def test_gaps_over_our_own_absence_are_not_learned(fleet):
    for i in range(9):
        apply(fleet, [(1, 60.0 * i)])
    fleet.listening.advance(T + 480, 480.0)
    fleet.listening.advance(T + 4080, 4080.0)  # the loop stalled for an hour
    apply(fleet, [(1, 4090.0)])
    assert fleet.learned[1, 0] == 8
    assert fleet.limit[1] == pytest.approx(180.0, rel=1e-3)


def test_what_a_drained_spool_brings_late_changes_no_rhythm(fleet):
    for i in range(9):
        apply(fleet, [(1, 60.0 * i)])
    apply(fleet, [(1, 30.0), (1, 90.0), (1, 540.0)])
    assert fleet.learned[1, 0] == 9
    assert fleet.interval[1, 0] == pytest.approx(60.0, rel=1e-3)


def test_absurd_times_do_no_harm(fleet):
    apply(fleet, [(1, 1.0)], [(1, 1.0, 9e12, ON), (1, 1.0, -9e12, OFF)])
    assert fleet.live[1] == 0


def test_an_unknown_terminal_number_grows_the_arrays(fleet):
    fleet.identify([3 * CHUNK], [2])
    assert fleet.rows == 3 * CHUNK + 1
    assert fleet.release[3 * CHUNK] == 2
    assert fleet.limit[3 * CHUNK] == 86_400.0
    assert np.isnan(fleet.heard[3 * CHUNK])


def test_a_million_terminals_cost_little_memory(fleet):
    fleet.reserve(1_000_000)
    arrays = [array for array in vars(fleet).values() if isinstance(array, np.ndarray)]
    size = sum(array.nbytes for array in arrays if array.base is None)  # columns may be views of one
    assert size < 140 * len(fleet.heard)


@pytest.mark.timing
def test_a_batch_touches_its_own_rows_only(fleet):
    """A batch of 4 000 frames costs about the same in a fleet of a million."""
    fleet.reserve(1_000_000)
    rng = np.random.default_rng(1)
    costs = []
    for i in range(8):
        rows = rng.integers(1, 1_000_000, 4000).astype(np.int32)
        at = np.full(4000, round((T + i) * 1e6), np.int64)
        flags = np.full(4000, ON, np.int16)
        start = time.perf_counter()
        fleet.apply(rows, at, rows, at, at, flags)
        costs.append((time.perf_counter() - start) / 4000)
    print(f"fleet state: {min(costs) * 1e6:.2f} µs a frame, batches of 4 000 in a fleet of a million")
    assert min(costs) < 10e-6
