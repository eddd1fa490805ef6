"""The own interval of a terminal before a fault: the usual gap of the situation in which it was last heard.

Situation: moving · ignition on · stopped for less than two hours · for longer; while not stopped also the time of day
in blocks of four hours (UTC), where there are enough gaps. Known from live contacts of the two weeks before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.columns import LIVE_WITHIN
from gateway.backtest.tables import Fault
from gateway.backtest.trace import Kind, Slice

BEFORE = 14 * 86_400.0  # s before a fault that are looked at
ENOUGH = 3  # gaps of one situation
_JUST = 2 * 3600.0  # s that "just stopped" lasts
_BLOCK = 4 * 3600.0
_SLOW = 3.0  # km/h: below it a satellite's wandering


class Intervals:
    """Gathers what it needs while a trace is read; ask it afterwards."""

    def __init__(self, faults: Sequence[Fault], names: Sequence[str]) -> None:
        place = {name: at for at, name in enumerate(names)}
        self._faults: list[tuple[int, Fault]] = [
            (place[fault.terminal], fault) for fault in faults if fault.terminal is not None and fault.terminal in place
        ]
        self._wanted = np.zeros(len(names) + 1, np.bool_)  # the last one is the gateway's
        self._wanted[[row for row, _ in self._faults]] = True
        self._parts: list[tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int8]]] = []

    def note(self, rows: Slice) -> None:
        """Take note of a slice."""
        live = np.abs(rows["received"] - rows["time"]) <= LIVE_WITHIN
        chosen = np.flatnonzero(self._wanted[rows["terminal"]] & (rows["kind"] <= Kind.FRAME) & live)
        if len(chosen):
            of = {name: column[chosen] for name, column in rows.items()}
            self._parts.append((of["terminal"], of["received"], _states(of)))

    def of_all(self) -> dict[Fault, float]:
        """Seconds, by fault; NaN where nothing was heard before it."""
        if not self._parts:
            return {fault: np.nan for _, fault in self._faults}
        terminal, received, state = (np.concatenate(columns) for columns in zip(*self._parts, strict=True))
        order = np.argsort(terminal, kind="stable")
        terminal, at, state = terminal[order], received[order] / 1e6, state[order]
        found = {}
        for row, fault in self._faults:
            first, end = np.searchsorted(terminal, [row, row + 1])
            lo, hi = first + np.searchsorted(at[first:end], [fault.begins - BEFORE, fault.begins], "right")
            found[fault] = usual_gap(at[lo:hi], state[lo:hi])
        return found


def usual_gap(at: NDArray[np.float64], state: NDArray[np.int8]) -> float:
    """The median gap after contacts in the situation of the last one.

    Parameters
    ----------
    at : float64 array, shape (n,), Unix seconds of contacts in order.
    state : int8 array, shape (n,): 0 moving, 1 ignition on, 2 stopped, -1 not told (a ping: as before it).

    Returns
    -------
    seconds; NaN where there are less than two contacts
    """
    if len(at) < 2:
        return np.nan
    told = np.maximum.accumulate(np.where(state >= 0, np.arange(len(state)), 0))
    state = state[told]
    awake = np.where(state != 2, at, -np.inf)
    stopped = at - np.maximum.accumulate(awake)  # inf: never awake
    situation = np.where((state == 2) & (stopped > _JUST), 3, state)
    block = np.where(state == 2, 0, at % 86_400 // _BLOCK).astype(np.int64)
    gaps = np.diff(at)
    alike = (situation[:-1] == situation[-1]) & (gaps > 0)
    close = alike & (block[:-1] == block[-1])
    for chosen, enough in ((close, ENOUGH), (alike, ENOUGH), (gaps > 0, 1)):
        if chosen.sum() >= enough:
            return float(np.median(gaps[chosen]))
    return np.nan


def _states(rows: Mapping[str, NDArray[np.generic]]) -> NDArray[np.int8]:
    nothing = np.full(len(rows["kind"]), np.nan)
    moving, speed = (np.asarray(rows.get(name, nothing), np.float64) for name in ("moving", "speed"))
    with np.errstate(invalid="ignore"):
        moves = np.where(np.isnan(moving), speed > _SLOW, moving > 0)
    record, ignition = rows["kind"] == Kind.RECORD, rows["ignition"]
    state = np.where(moves, 0, np.where(ignition == 1, 1, 2))
    states: NDArray[np.int8] = np.where(record, state, -1).astype(np.int8)
    return states
