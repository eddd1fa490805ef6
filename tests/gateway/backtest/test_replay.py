"""A slice as columns, and the last records of a terminal as of a moment."""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.detector import Connected
from gateway.backtest.replay import LAST, LastRecords, columns_of
from gateway.backtest.trace import Ending, Kind


def rows(terminal: list[int], kind: list[int], **more: Any) -> dict[str, Any]:
    n = len(terminal)
    at = np.arange(1, n + 1, dtype=np.int64) * 1_000_000
    return {
        "terminal": np.array(terminal, np.int32), "received": more.pop("received", at), "time": at,
        "kind": np.array(kind, np.int8), "ignition": np.array(more.pop("ignition", [-1] * n), np.int8), **more,
    }  # fmt: skip


def test_connections_are_no_contacts_and_a_heartbeat_has_no_record() -> None:
    columns = columns_of(rows([0, 0, 1, 1, 0], [2, 0, 1, 3, 0], ignition=[-1, 1, -1, -1, 0]))
    assert columns.contacts.terminal.tolist() == [0, 0, 1]
    assert (columns.contacts.received // 1_000_000).tolist() == [2, 5, 3]
    assert columns.contacts.live.tolist() == [True, True, False]
    assert columns["ignition"].tolist() == [1, 0]


def test_columns_have_the_types_that_detectors_know() -> None:
    told = np.array([1.0, np.nan, 0.0])
    columns = columns_of(rows([0, 0, 0], [0, 0, 0], moving=told, satellites=told, voltage=told, lat=told))
    assert columns["moving"].tolist() == [True, False, False]
    assert columns["archive"].tolist() == [False] * 3  # there is none
    assert columns["satellites"].tolist() == [1, -1, 0]
    assert columns["valid"].tolist() == [True, False, True]
    np.testing.assert_array_equal(columns["power.external"], told)
    assert columns_of(rows([0, 0, 0], [0, 0, 0], satellites=told))["valid"].tolist() == [True, True, False]
    assert columns_of(rows([0, 0, 0], [0, 0, 0]))["valid"].tolist() == [True] * 3
    assert np.isnan(columns["fuel.level"]).all()


def test_the_last_records_are_those_before_the_moment() -> None:
    last = LastRecords(2, ["terminal", "voltage"])
    first = rows([0, 1] * 4, [0] * 8, voltage=np.arange(8.0))
    last.begin(first)

    def told(terminal: int, now: float) -> list[float]:
        values = last.past(terminal, now).measure("power.external")
        assert len(values) == LAST
        return values[~np.isnan(values)].tolist()

    assert told(0, 0.5) == []
    assert told(0, 3.5) == [0.0, 2.0]
    assert told(1, 4.0) == [1.0, 3.0]
    later = rows(
        [1] * 20, [0] * 19 + [2], voltage=100 + np.arange(20.0), received=np.arange(20) * 1_000_000 + 20_000_000
    )
    last.begin(later)
    assert told(0, 99) == [0.0, 2.0, 4.0, 6.0]
    assert told(1, 22.5) == [1.0, 3.0, 5.0, 7.0, 100.0, 101.0, 102.0]
    last.begin(rows([], [], voltage=np.zeros(0)))
    assert told(1, 99) == [109.0 + n for n in range(10)]
    assert np.isnan(last.past(1, 99).measure("gsm.signal")).all()
    assert not last.past(1, 99).malformed.any()


def test_how_the_last_connections_went() -> None:
    """One that ended within a minute of its last record ended in order; what came after the last record is later."""
    last = LastRecords(1, [])
    kinds = [Kind.CONNECTED, Kind.RECORD, Kind.DISCONNECTED, Kind.CONNECTED, Kind.RECORD, Kind.DISCONNECTED]
    at = [0, 10, 20, 100, 110, 300]
    last.begin(rows([0] * 6, kinds, received=np.array(at) * 1_000_000))
    in_order = Connected(False, 1, 0, "closed by the terminal")
    assert last.past(0, -1).connections == []
    assert last.past(0, 15).connections == [Connected(False, 1, 0, "")]
    assert last.past(0, 105).connections == [Connected(True, 0, 0, ""), in_order]
    last.begin(rows([0], [Kind.CONNECTED], received=np.array([400_000_000])))
    assert last.past(0, 500).connections == [
        Connected(True, 0, 0, ""),
        Connected(False, 1, 0, "nothing came any more"),
        in_order,
    ]


def test_connections_with_what_they_brought_and_how_they_ended() -> None:
    columns = ["received", "connection.frames", "connection.malformed", "connection.ended"]
    last = LastRecords(1, columns)
    kinds = [Kind.CONNECTED, Kind.RECORD, Kind.DISCONNECTED] * 2 + [Kind.CONNECTED, Kind.DISCONNECTED, Kind.CONNECTED]
    nothing = np.full(9, np.nan)
    frames, malformed, ended = nothing.copy(), nothing.copy(), nothing.copy()
    frames[[2, 5, 7]], malformed[[2, 5, 7]] = [40, 1e300, 0], [0, -1, 2]
    ended[[2, 5, 7]] = [Ending.REPLACED, Ending.IN_ORDER, 99]
    told = dict(zip(columns[1:], (frames, malformed, ended), strict=True))
    last.begin(rows([0] * 9, kinds, **told, received=np.arange(9) * 100_000_000))
    past = last.past(0, 850)
    assert past.connections == [
        Connected(True, 0, 0, ""),
        Connected(True, 0, 2, "nothing came any more"),  # a number that nobody knows
        Connected(False, 0, 0, "closed by the terminal"),
        Connected(False, 40, 0, "replaced by a newer connection"),
    ]
    assert past.malformed.tolist() == [0, 2, 0, 0]
    assert columns_of(rows([0], [0], **{name: np.ones(1) for name in columns[1:]})).measures == frozenset()


def test_the_ignition_is_told_where_it_is_known() -> None:
    last = LastRecords(1, [])
    last.begin(rows([0] * 3, [Kind.RECORD] * 3, ignition=np.array([1, -1, 0])))
    told = last.past(0, 99).measure("ignition")
    assert told[~np.isnan(told)].tolist() == [1.0, 0.0]
