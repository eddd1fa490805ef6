"""Contacts: reduced, packed and merged, they say the same to the fleet as the batches they came from."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.columns import LIVE_WITHIN, Columns
from detectors.firmware import Firmware
from detectors.silence import Silence, SilenceRule
from gateway.watch.columns import plain
from gateway.watch.contacts import Told, merge, summarise, unpack
from gateway.watch.detecting import DETECTORS
from gateway.watch.fleet import Fleet
from gateway.watch.listening import Listening
from protocols.records import IGNITION_KNOWN, IGNITION_ON
from tests.gateway.watch.world import assert_same_state

NOW = 1_800_000_000_000_000  # µs


def _fleet(*, whole: bool = False) -> Fleet:
    """With silence alone, or all kinds."""
    others = [kind() for kind in DETECTORS if kind not in (Silence, Firmware)] if whole else []
    fleet = Fleet(Listening(), [Silence(SilenceRule(after=3, floor=1, ceiling=100, learn=2)), *others])
    fleet.listening.advance(NOW / 1e6, 0.0)
    return fleet


def _columns(seed: int, start: int, frames: int = 300, terminals: int = 20) -> Columns:
    """A batch: frames of one to three records, some old, some that tell the ignition."""
    chance = np.random.default_rng(seed)
    terminal = chance.integers(0, terminals, frames).astype(np.int32)
    received = np.sort(start + chance.integers(0, 60_000_000, frames))
    owner = np.repeat(np.arange(frames), chance.integers(0, 4, frames))
    old = np.where(chance.random(len(owner)) < 0.3, chance.integers(0, 3 * LIVE_WITHIN, len(owner)), 0)
    flags = chance.choice([0, IGNITION_KNOWN, IGNITION_KNOWN | IGNITION_ON], len(owner)).astype(np.int16)
    return plain(terminal, received, terminal[owner], received[owner] - old, received[owner], flags)


SPARSE = [kind.kind for kind in DETECTORS if kind.sparse]


def _told(columns: Columns) -> Told:
    return summarise(columns, DETECTORS)


@pytest.mark.parametrize("seed", range(5))
def test_packed_contacts_say_the_same_as_the_batch(seed: int) -> None:
    told, packed = _fleet(whole=True), _fleet(whole=True)
    for turn in range(3):
        columns = _columns(seed * 10 + turn, NOW + 1 + turn * 60_000_000)
        told.apply(columns)
        data = _told(columns).pack()
        assert sum(map(len, data.values())) == _told(columns).nbytes
        each = {name: len(array) // len(columns.contacts) for name, array in data.items()}
        assert sum(size for name, size in each.items() if "." not in name or name.startswith("silence.")) == 22
        assert sum(each.values()) == 36  # of those that are told: modem, and sparse ones with something to say
        assert not any(name.startswith(("power.", "fuel-sensor.", "restarts.", "identity.")) for name in each)
        packed.absorb(unpack(data, DETECTORS))
    assert_same_state(told, packed)


def test_merged_contacts_say_the_same_as_one_after_the_other() -> None:
    told, merged = _fleet(), _fleet()
    batches = [_columns(seed, NOW + 1 + seed * 60_000_000) for seed in range(4)]
    for batch in batches:
        told.apply(batch)
    (whole,) = merge([_told(batch) for batch in reversed(batches)], SPARSE)
    merged.absorb(whole)
    assert_same_state(told, merged)


def test_who_told_nothing_of_a_sparse_kind_is_merged_with_who_did() -> None:
    rows, at = np.array([1, 2], np.int32), np.array([NOW + 1, NOW + 2], np.int64)
    flags, volts = np.zeros(2, np.int16), {"power.external": np.array([13.5, np.nan])}
    some = _told(plain(rows, at, rows, at, at, flags, volts))
    none = _told(plain(rows, at + 9, rows, at + 9, at + 9, flags))
    assert "power" in some.summaries
    assert "power" not in none.summaries
    (whole,) = merge([none, some], SPARSE)
    assert whole.contacts.terminal.tolist() == [1, 1, 2, 2]
    assert whole.summaries["power"]["external"].tolist() == [1351, 0, 0, 0]
    assert len(merge([none, some])) == 2  # who is not known to be sparse is not filled


def test_the_newest_of_each_terminal_keep_when_it_was_heard_and_live() -> None:
    told, newest = _fleet(), _fleet()
    columns = _columns(7, NOW + 1, frames=2000)
    told.apply(columns)
    kept = _told(columns).newest()
    assert len(kept) <= 3 * 20
    newest.absorb(unpack(kept.pack(), DETECTORS))
    assert_same_state(told, newest, ("heard", "received", "live", "exists"))


def test_the_newest_of_a_terminal_tell_what_its_newest_record_told() -> None:
    """Also where a record of minutes ago came after it."""
    terminal, ages, told = np.zeros(3, np.int32), np.array([0, 60, 960]), [0, IGNITION_ON, IGNITION_ON]
    flags = np.array([IGNITION_KNOWN | its for its in told], np.int16)
    received = NOW + np.arange(3)
    kept = _told(plain(terminal, received, terminal, received - ages * 1_000_000, received, flags)).newest()
    fleet = _fleet()
    fleet.absorb(unpack(kept.pack(), DETECTORS))
    assert fleet.column("silence", "off")[0] == 1
    assert fleet.live[0] == NOW


def test_nothing_is_nothing() -> None:
    empty = np.zeros(0, np.int64)
    none = _told(plain(empty.astype(np.int32), empty, empty.astype(np.int32), empty, empty, empty.astype(np.int16)))
    assert len(none) == len(none.newest()) == len(unpack(none.pack(), DETECTORS)) == 0
    fleet = _fleet()
    fleet.absorb(none)
    assert fleet.rows == 0


def test_what_another_release_tells_is_taken_as_far_as_it_is_known() -> None:
    columns = _columns(3, NOW + 1)
    data = _told(columns).pack()
    silent = {name: data[name] for name in data if not name.startswith("silence.")}
    assert "silence" not in unpack(silent | {"fuel.level": b"1234"}, DETECTORS).summaries
    assert "silence" not in unpack(data | {"silence.ignition": data["silence.ignition"][1:]}, DETECTORS).summaries
    heard = _fleet()
    heard.absorb(unpack(silent, DETECTORS))  # contacts alone are a sign of life
    assert not np.isnan(heard.heard[heard.exists]).any()
    for broken in ("terminal", "received", "own"):
        with pytest.raises(ValueError, match="several lengths"):
            unpack(data | {broken: data[broken][:-8]}, DETECTORS)
