import time
from datetime import date

import numpy as np
import pytest

from detectors.columns import NEVER
from detectors.firmware import Catalogue, Firmware, Release
from detectors.gaps import RING, decode_gaps, encode_gaps, medians
from detectors.rhythm import rhythm
from detectors.silence import Silence, SilenceRule
from detectors.verdicts import Verdict
from gateway.receive.pipeline import Accepted
from gateway.store.copy import Rows
from gateway.watch.columns import plain
from gateway.watch.fleet import CHUNK, NOTED, Fleet
from gateway.watch.listening import Listening
from protocols.records import IGNITION_KNOWN, IGNITION_ON, TIME_UNKNOWN, BatchBuilder
from tests.gateway.watch.world import assert_same_state, limit

T = 1_800_000_000.0
ON, OFF, UNTOLD = IGNITION_KNOWN | IGNITION_ON, IGNITION_KNOWN, 0
RULE = SilenceRule(after=3.0, floor=10.0, ceiling=86_400.0, learn=8)
CATALOGUE = Catalogue(30, {"FMB920": [Release("1.0", date(2025, 1, 1)), Release("2.0", date(2026, 1, 1))]})


def fleet_at(now=T):
    listening = Listening()
    listening.advance(now, 0.0)
    return Fleet(listening, [Silence(RULE), Firmware(CATALOGUE)])


@pytest.fixture
def fleet():
    return fleet_at()


def batch(terminals, instants, ahead=0):
    """A committed batch of frames with one live record each; stamps are `ahead` µs of the loop's clock."""
    rows = np.array(terminals, np.int32)
    at = np.array([round(instant * 1e6) for instant in instants], np.int64)
    builder = BatchBuilder()
    for place, own in enumerate(at.tolist()):
        builder.add(frame=place, position=0, time=own, fingerprint=place)
    return Accepted(rows, at, Rows(builder.build(), rows, at, at, np.zeros(len(at), np.int8), []), ahead)


def silence(fleet, column):
    return fleet.view("silence")[column]


def apply(fleet, frames, records=None):
    """frames: (terminal, second); records: (terminal, second received, second of its own, flags); live by default."""
    if records is None:
        records = [(terminal, at, at, UNTOLD) for terminal, at in frames]
    columns = plain(
        np.array([f[0] for f in frames], np.int32),
        np.array([round((T + f[1]) * 1e6) for f in frames], np.int64),
        np.array([r[0] for r in records], np.int32),
        np.array([TIME_UNKNOWN if r[2] is None else round((T + r[2]) * 1e6) for r in records], np.int64),
        np.array([round((T + r[1]) * 1e6) for r in records], np.int64),
        np.array([r[3] for r in records], np.int16),
    )
    fleet.apply(columns)


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
    assert silence(fleet, "learned")[5, 0] == 7
    assert limit(fleet, 5) == 86_400.0
    apply(fleet, [(5, 480.0)])
    assert limit(fleet, 5) == pytest.approx(180.0, rel=1e-3)
    assert rhythm(fleet.view("silence"), 5, 0).recent == pytest.approx([60.0] * 8, rel=1e-3)
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
        fleet = fleet_at()
        for at in range(0, 400, size):
            apply(fleet, frames[at : at + size], records[at : at + size])
        fleets.append(fleet)
    assert_same_state(fleets[0], fleets[1])
    assert_same_state(fleets[0], fleets[2])
    assert silence(fleets[0], "learned").sum() > 300


def test_batches_noted_one_by_one_are_applied_together(fleet):
    apply(fleet, [(1, 10.0 * i) for i in range(10)])
    noting = fleet_at()
    anchor = round(noting.listening.anchor * 1e6)  # stamps of a batch lead back to the clock that nobody sets
    for i in range(10):
        noting.note(batch([1], [T + 10.0 * i], ahead=anchor))
    assert noting.rows == 0
    noting.flush()
    noting.flush()
    assert_same_state(fleet, noting)
    noting.note(batch([1] * (NOTED // 2), [T + 95.0] * (NOTED // 2), ahead=anchor))
    assert noting.received[1] == round((T + 95.0) * 1e6)  # enough to be applied at once


def test_the_rhythm_is_learned_apart_for_ignition_off(fleet):
    at = 0.0
    for _ in range(10):
        at += 10
        apply(fleet, [(1, at)], [(1, at, at, ON)])
    assert limit(fleet, 1) == pytest.approx(30.0, rel=1e-3)
    apply(fleet, [(1, at + 10)], [(1, at + 10, at + 10, OFF)])
    assert limit(fleet, 1) == 86_400.0  # nothing learned of it parked
    at += 10
    for _ in range(9):
        at += 3600
        apply(fleet, [(1, at)], [(1, at, at, UNTOLD)])  # not told: as before
    assert limit(fleet, 1) == pytest.approx(10_800.0, rel=1e-3)
    apply(fleet, [(1, at + 5)], [(1, at + 5, at + 5, ON)])
    assert limit(fleet, 1) == pytest.approx(30.0, rel=1e-3)


def test_the_newest_record_of_a_frame_tells_the_ignition(fleet):
    apply(fleet, [(1, 100.0)], [(1, 100.0, 90.0, ON), (1, 100.0, 99.0, OFF), (1, 100.0, 95.0, ON)])
    assert silence(fleet, "off")[1] == 1


def test_an_upload_from_the_black_box_is_life_but_no_rhythm(fleet):
    for i in range(20):
        apply(fleet, [(1, 600.0 * i)])
    at = 600.0 * 19
    for i in range(200):
        apply(fleet, [(1, at + 100 + i / 5)], [(1, at + 100 + i / 5, at - 5000 + i, UNTOLD)])
    assert limit(fleet, 1) == pytest.approx(1800.0, rel=1e-3)
    assert fleet.heard[1] == pytest.approx(fleet.listening.listened(np.array([T + at + 100 + 199 / 5]))[0])
    assert fleet.live[1] == round((T + at) * 1e6)


def test_an_archive_changes_no_live_state(fleet):
    """Neither the ignition nor the newest time known: in a frame of its own, or in one with a live record."""
    apply(fleet, [(1, 60.0)], [(1, 60.0, 60.0, ON)])
    apply(fleet, [(1, 70.0)], [(1, 70.0, -3600.0, OFF)])
    assert silence(fleet, "off")[1] == 0
    apply(fleet, [(1, 80.0)], [(1, 80.0, -3500.0, OFF), (1, 80.0, 80.0, ON), (1, 80.0, -3400.0, OFF)])
    assert silence(fleet, "off")[1] == 0
    apply(fleet, [(1, 90.0)], [(1, 90.0, 30.0, ON)])  # live, but older than what is known
    assert fleet.live[1] == round((T + 80) * 1e6)


@pytest.mark.parametrize("together", [True, False])
def test_a_record_of_minutes_ago_changes_no_ignition_that_a_newer_one_told(fleet, together):
    """It counts as of now, but comes after what is newer: in a frame of its own, in one batch or in several."""
    told = [(100.0, 100.0, OFF), (101.0, 40.0, ON), (102.0, 100.0, UNTOLD), (103.0, 99.0, ON)]
    if together:
        apply(fleet, [(1, at) for at, _, _ in told], [(1, at, own, flags) for at, own, flags in told])
    else:
        for at, own, flags in told:
            apply(fleet, [(1, at)], [(1, at, own, flags)])
    assert silence(fleet, "off")[1] == 1
    assert silence(fleet, "learned")[1].sum() == 3  # they were heard of all the same
    apply(fleet, [(1, 104.0)], [(1, 104.0, 100.0, ON)])  # not older
    assert silence(fleet, "off")[1] == 0


def test_a_wall_clock_that_was_ahead_leaves_no_time_to_come_as_the_newest(fleet):
    fleet.listening.advance(T + 3600, 0.0)
    apply(fleet, [(1, 3600.0)], [(1, 3600.0, None, UNTOLD)])
    fleet.listening.advance(T, 0.0)
    fleet.shift(fleet.listening.jump)
    assert fleet.live[1] == round(T * 1e6)
    apply(fleet, [(1, 1.0)])
    assert fleet.live[1] == round((T + 1) * 1e6)


def test_a_terminal_with_a_wrong_clock_is_learned_all_the_same(fleet):
    for i in range(10):
        apply(fleet, [(1, 60.0 * i)], [(1, 60.0 * i, 60.0 * i - 1e8, UNTOLD)])
    assert limit(fleet, 1) == pytest.approx(180.0, rel=1e-3)
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
    assert silence(fleet, "learned")[1, 0] == 8
    assert limit(fleet, 1) == pytest.approx(180.0, rel=1e-3)


def test_what_a_drained_spool_brings_late_changes_no_rhythm(fleet):
    for i in range(9):
        apply(fleet, [(1, 60.0 * i)])
    apply(fleet, [(1, 30.0), (1, 90.0), (1, 540.0)])
    assert silence(fleet, "learned")[1, 0] == 9
    assert rhythm(fleet.view("silence"), 1, 0).interval == pytest.approx(60.0, rel=1e-3)


def test_absurd_times_do_no_harm(fleet):
    apply(fleet, [(1, 1.0)], [(1, 1.0, 9e12, ON), (1, 1.0, -9e12, OFF)])
    assert fleet.live[1] == 0


def test_an_unknown_terminal_number_grows_the_arrays(fleet):
    fleet.identify([3 * CHUNK], {"model": ["FMB920"], "firmware": ["2.0"]})
    assert fleet.rows == 3 * CHUNK + 1
    assert fleet.view("firmware")["release"][3 * CHUNK] == 2
    assert limit(fleet, 3 * CHUNK) == 86_400.0
    assert np.isnan(fleet.heard[3 * CHUNK])


def test_a_million_terminals_cost_little_memory(fleet):
    fleet.reserve(1_000_000)
    arrays = [array for array in vars(fleet).values() if isinstance(array, np.ndarray)]
    size = sum(array.nbytes for array in arrays if array.base is None)  # columns may be views of one
    assert size < 450 * len(fleet.heard)


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
        fleet.apply(plain(rows, at, rows, at, at, flags))
        costs.append((time.perf_counter() - start) / 4000)
    print(f"fleet state: {min(costs) * 1e6:.2f} µs a frame, batches of 4 000 in a fleet of a million")
    assert min(costs) < 10e-6


def verdict(fleet, row):
    fleet.judge()
    return int(fleet.verdicts("silence")[row])


@pytest.mark.parametrize("again", [[(1, 7.0)], [(1, 7.0), (2, 8.0)]], ids=["the same frame", "another terminal's"])
def test_a_terminal_heard_once_is_unknown_however_long_ago(fleet, again):
    apply(fleet, [(1, 7.0)])
    apply(fleet, again)  # what is read back after a restart has been heard already
    fleet.listening.advance(T + 1, 1.0)
    for second in range(2, 6):
        fleet.listening.advance(T + second, second)
    fleet.listening._base -= 1e6  # listened seconds later
    fleet.listening._index()
    assert verdict(fleet, 1) == Verdict.UNKNOWN
    said = fleet.detectors["silence"].explain(fleet.view("silence"), 1)
    assert (said.verdict, said.reason[:12]) == (Verdict.UNKNOWN, "heard once, ")
    apply(fleet, [(1, 9.0)])
    fleet.listening._base -= 1e6
    fleet.listening._index()
    assert verdict(fleet, 1) == Verdict.FAIL


def test_two_frames_of_one_batch_are_two_reports(fleet):
    apply(fleet, [(1, 7.0), (1, 8.0)])
    fleet.listening.advance(T + 9, 1.0)
    assert verdict(fleet, 1) == Verdict.GOOD


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_the_rhythm_goes_on_after_the_clock_was_set(fleet, jump):
    for second in range(12):
        apply(fleet, [(1, float(second))])
        fleet.listening.advance(T + second, second)
    before = int(silence(fleet, "learned")[1, 0])
    fleet.listening.advance(T + 12 + jump, 12.0)
    fleet.shift(fleet.listening.jump)
    for second in range(13, 18):
        apply(fleet, [(1, second + jump)])
        fleet.listening.advance(T + second + jump, second)
    assert silence(fleet, "learned")[1, 0] == before + 4  # but the gap in which it was set
    assert rhythm(fleet.view("silence"), 1, 0).interval == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_who_never_reported_has_not_done_so_when_the_clock_was_set(fleet, jump):
    apply(fleet, [(1, 5.0)])
    received = fleet.received[1]
    fleet.reserve(3)
    for dirty in fleet.dirty.values():
        dirty[:] = False
    fleet.shift(jump)
    assert fleet.received[1] - received == jump * 1e6
    assert fleet.live[1] <= round(fleet.listening.now * 1e6)  # the terminal's own time: nobody set that clock
    assert fleet.received[2] == fleet.live[2] == NEVER
    assert all(dirty[0] for dirty in fleet.dirty.values()), "and the next snapshot says so"
