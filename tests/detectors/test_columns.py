import numpy as np
import pytest

from detectors.columns import LIVE_WITHIN, NEVER, Columns, Contacts, bounded, by_terminal

NOW = 1_800_000_000_000_000


def columns(frames, records):
    """frames: (terminal, second); records: (terminal, second received, second of its own, volts)."""
    terminal, at, own, volts = (np.array(list(column)) for column in zip(*records, strict=True))
    more = {"power.external": volts.astype(np.float64), "own": 5 + own.astype(np.int64)}
    return Columns(
        np.array([f[0] for f in frames], np.int32),
        NOW + np.array([f[1] for f in frames], np.int64) * 1_000_000,
        terminal.astype(np.int32),
        NOW + at.astype(np.int64) * 1_000_000,
        NOW + own.astype(np.int64) * 1_000_000,
        more.__getitem__,
    )


@pytest.mark.parametrize("shuffled", [False, True], ids=["in the wire's order", "in any"])
def test_a_column_of_records_becomes_one_value_a_contact(shuffled):
    frames = [(7, 10), (3, 10), (7, 20), (5, 15), (3, 30)]
    records = [(7, 10, 9, 12.0), (7, 10, 8, 11.0), (3, 10, 10, 24.0), (7, 20, 20, np.nan), (3, 30, 31, 23.5)]
    if shuffled:
        frames, records = frames[::-1], [records[i] for i in (4, 0, 1, 3, 2)]
    its = columns(frames, records)
    contacts = its.contacts
    assert contacts.terminal.tolist() == [3, 3, 5, 7, 7]
    assert ((contacts.received - NOW) // 1_000_000).tolist() == [10, 30, 15, 10, 20]
    assert contacts.live.tolist() == [True, True, False, True, True]
    assert contacts.own.tolist() == [15, 36, 0, 14, 25]
    assert contacts.rows.tolist() == [3, 5, 7]
    assert contacts.last.tolist() == [1, 2, 4]
    least = its.fold(np.fmin, its["power.external"], np.nan)
    np.testing.assert_array_equal(least, [24.0, 23.5, np.nan, 11.0, np.nan])
    newest = its.fold(np.fmax, np.where(its["newest"], its["power.external"], np.nan), np.nan)
    np.testing.assert_array_equal(newest, [24.0, 23.5, np.nan, 12.0, np.nan])
    assert its.fold(np.add, np.ones(len(its), np.int64), 0).tolist() == [1, 1, 0, 2, 1]


def test_a_frame_told_twice_is_one_contact():
    its = columns([(1, 5), (1, 5)], [(1, 5, 5, 12.0), (2, 5, 5, 9.0), (1, 5, 5, 13.0)])
    assert its.contacts.terminal.tolist() == [1, 2]
    assert its.fold(np.fmax, its["power.external"], np.nan).tolist() == [13.0, 9.0]


def test_the_newest_record_is_that_of_the_contact_however_its_frames_lie():
    """Frames of several terminals that came in one turn of the loop: those of one terminal are one contact."""
    records = [(1, 5, 5, 1.0), (2, 5, 5, 2.0), (1, 5, 4, 3.0), (1, 5, 5, 4.0), (2, 5, 3, 5.0)]
    its = columns([(1, 5), (2, 5), (1, 5), (1, 5), (2, 5)], records)
    assert its["newest"].tolist() == [True, True, False, True, False]


def test_a_record_of_now_is_newer_than_one_of_a_time_to_come():
    its = columns([(1, 5), (2, 5)], [(1, 5, 86_400, 1.0), (1, 5, 4, 2.0), (2, 5, 86_400, 3.0), (2, 5, -86_400, 4.0)])
    assert its["newest"].tolist() == [False, True, True, False]


@pytest.mark.parametrize("seed", range(20))
def test_late_is_what_is_older_than_what_was_told_before(seed):
    chance = np.random.default_rng(seed)
    terminal = np.sort(chance.integers(0, 6, 40))
    own = np.where(chance.random(40) < 0.2, NEVER, NOW + chance.integers(0, 30, 40))
    contacts = Contacts(terminal, NOW + np.arange(40), own)
    before = np.where(chance.random(len(contacts.rows)) < 0.5, NEVER, NOW + chance.integers(0, 30, len(contacts.rows)))
    newest = dict(zip(contacts.rows.tolist(), before.tolist(), strict=True))
    expected = []
    for row, at in zip(terminal.tolist(), own.tolist(), strict=True):
        expected.append(at != NEVER and at < newest[row])
        newest[row] = max(newest[row], at)
    assert contacts.late(before).tolist() == expected


def test_what_a_record_claims_cannot_overflow():
    far = bounded(np.array([np.iinfo(np.int64).min, np.iinfo(np.int64).max]))
    at = np.full(2, NOW)
    its = Columns(np.array([1, 2]), at, np.array([1, 2]), at, far, lambda name: np.zeros(2))
    assert its.contacts.live.tolist() == [False, False]
    assert (np.abs(at - far) > LIVE_WITHIN).all()


def test_the_order_is_found_however_far_apart_arrivals_lie():
    terminal = np.array([2, 1, 2, 1])
    received = np.array([NOW, 5, 1, NOW])
    assert by_terminal(terminal, received).tolist() == [1, 3, 2, 0]
    assert by_terminal(terminal[:0], received[:0]).tolist() == []


@pytest.mark.parametrize("shuffled", [False, True], ids=["in the wire's order", "in any"])
def test_what_the_newest_record_of_a_contact_says(shuffled):
    frames = [(7, 10), (3, 10), (7, 20), (5, 15)]
    records = [(7, 10, 9, 12.0), (7, 10, 8, 11.0), (3, 10, 10, 24.0), (7, 20, 20, np.nan)]
    if shuffled:
        frames, records = frames[::-1], [records[i] for i in (3, 1, 0, 2)]
    its = columns(frames, records)
    assert its.contacts.terminal.tolist() == [3, 5, 7, 7]
    np.testing.assert_array_equal(its.told("power.external"), [24.0, np.nan, 12.0, np.nan])
    assert its.told("terminal", -1).tolist() == [3, -1, 7, 7]
    assert (its.latest < 0).tolist() == [False, True, False, False]


def test_a_column_of_frames_follows_its_contacts():
    frames = [(7, 10), (3, 10), (7, 20)]
    links = {(7, 10): 71, (3, 10): 31, (7, 20): 72}
    for order, records in (((0, 1, 2), [(3, 10, 10, 1.0)]), ((2, 0, 1), [(7, 10, 9, 1.0), (9, 10, 9, 1.0)])):
        its = columns([frames[i] for i in order], records)
        its._made["link"] = np.array([links[frames[i]] for i in order], np.uint16)
        told = set(zip(its.contacts.terminal.tolist(), its.of_frames("link").tolist(), strict=True))
        assert told - {(9, 0)} == {(3, 31), (7, 71), (7, 72)}  # 9 brought a record and no frame
