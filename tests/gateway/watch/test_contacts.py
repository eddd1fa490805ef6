"""Contacts: reduced, packed and merged, they say the same to the fleet as the batches they came from."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.silence import SilenceRule
from gateway.watch.contacts import LIVE_WITHIN, contacts, merge, unpack
from gateway.watch.fleet import KEPT, Fleet
from gateway.watch.listening import Listening
from protocols.records import IGNITION_KNOWN, IGNITION_ON

NOW = 1_800_000_000_000_000  # µs


def _fleet() -> Fleet:
    fleet = Fleet(Listening(), SilenceRule(after=3, floor=1, ceiling=100, learn=2))
    fleet.listening.advance(NOW / 1e6, 0.0)
    return fleet


def _columns(seed: int, start: int, frames: int = 300, terminals: int = 20):
    """A batch: frames of one to three records, some old, some that tell the ignition."""
    chance = np.random.default_rng(seed)
    terminal = chance.integers(0, terminals, frames).astype(np.int32)
    received = np.sort(start + chance.integers(0, 60_000_000, frames))
    owner = np.repeat(np.arange(frames), chance.integers(0, 4, frames))
    old = np.where(chance.random(len(owner)) < 0.3, chance.integers(0, 3 * LIVE_WITHIN, len(owner)), 0)
    flags = chance.choice([0, IGNITION_KNOWN, IGNITION_KNOWN | IGNITION_ON], len(owner)).astype(np.int16)
    return terminal, received, terminal[owner], received[owner] - old, received[owner], flags


def _assert_same(one: Fleet, other: Fleet, names: tuple[str, ...] = KEPT) -> None:
    one.flush()
    other.flush()
    assert one.rows == other.rows
    for name in names:
        left, right = getattr(one, name)[: one.rows], getattr(other, name)[: other.rows]
        np.testing.assert_array_equal(left, right, err_msg=name)


@pytest.mark.parametrize("seed", range(5))
def test_packed_contacts_say_the_same_as_the_batch(seed: int) -> None:
    told, packed = _fleet(), _fleet()
    for turn in range(3):
        columns = _columns(seed * 10 + turn, NOW + 1 + turn * 60_000_000)
        told.apply(*columns)
        data = contacts(*columns).pack()
        assert len(data) % 13 == 0
        packed.apply(*unpack(data))
    _assert_same(told, packed)


def test_merged_contacts_say_the_same_as_one_batch() -> None:
    told, merged = _fleet(), _fleet()
    batches = [_columns(seed, NOW + 1) for seed in range(4)]
    told.apply(*(np.concatenate(column) for column in zip(*batches, strict=True)))
    merged.apply(*unpack(merge([contacts(*batch) for batch in batches]).pack()))
    _assert_same(told, merged)


def test_the_newest_of_each_terminal_keep_when_it_was_heard_and_live() -> None:
    told, newest = _fleet(), _fleet()
    columns = _columns(7, NOW + 1, frames=2000)
    told.apply(*columns)
    kept = contacts(*columns).newest()
    assert len(kept) <= 2 * 20
    newest.apply(*unpack(kept.pack()))
    _assert_same(told, newest, ("heard", "received", "live", "exists"))


def test_nothing_is_nothing() -> None:
    empty = np.zeros(0, np.int32)
    none = contacts(empty, empty.astype(np.int64), empty, empty.astype(np.int64), empty.astype(np.int64), empty)
    assert none.pack() == b""
    assert [len(column) for column in unpack(b"")] == [0] * 6
    assert len(none.newest()) == 0
