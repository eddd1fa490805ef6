"""What a fault shows of itself before and after it, and what healthy terminals show now and then all the same.

Of each fault it is drawn how it shows: by last words on the terminal's own battery, by a spell before the end (the
supply sags, restarts, damaged frames, a fading signal, a dying battery), by connections that come afterwards, by how
the last one ended; a part shows nothing. Healthy terminals have the same spells at other times. The numbers and their
reasons: docs/simulator.md. All draws are of a generator of its own, so that what is reported when does not depend on
what it shows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from gateway.backtest.trace import Ending
from gateway.simulator.month.activity import State, Timeline
from gateway.simulator.month.facts import (
    ATTEMPT_EVERY,
    BEHIND,
    BUGGY,
    BUGGY_FRAMES,
    CASE_OPENED,
    CHAFED,
    CONNECTS,
    CORRODES,
    DAY,
    DYING,
    EDGE,
    EMPTY,
    GOODBYE,
    HALF_HEARD,
    HEALTHY,
    HOUR,
    IDLE_TIMEOUT,
    IN_HOLE,
    LAST_WORD,
    LAST_WORD_ASLEEP,
    LAST_WORDS,
    MUTTERS,
    NET_RESET,
    NOISE,
    OPENED,
    POOR,
    REBOOTS,
    RESET,
    RESTARTS,
    SHORT_LINK,
    SPELL,
    STRAY,
    SWITCH_TELLS,
    WEAK,
)
from gateway.simulator.month.vehicle import Vehicle

Floats = NDArray[np.float64]
Rows = NDArray[Any]

POWER_UP = 3  # Omnicomm's event
_BREAKS = ("sag", "restarts", "damage")  # spells that cost connections
_LONGEST = 60  # connections that come after a fault
_LASTS = 60.0  # s each, at most
_WITHIN = 12 * HOUR  # in which those of a terminal that is nearly gone come


class Spell(NamedTuple):
    """Something shows from `begins` to `ends`, seconds after the start; `last`: a fault ends it."""

    what: str
    begins: float
    ends: float
    last: bool


class Signs:
    """Of one vehicle.

    Attributes
    ----------
    words : when it says its last words, seconds after the start.
    told : when the first thing reached us that tells its cause from others, seconds after the start; inf: never. Known
        once `mark`, `sessions` and `attempts` were asked.
    """

    def __init__(self, vehicle: Vehicle, line: Timeline, end: float, rng: Generator) -> None:
        self._vehicle, self._rng = vehicle, rng
        self._buggy = bool(rng.random() < BUGGY)
        self._poor = bool(rng.random() < POOR)
        self._short = bool(rng.random() < SHORT_LINK)
        self._omnicomm = vehicle.protocol == "omnicomm"
        self._switch_tells = bool(rng.random() < SWITCH_TELLS)
        self._opened = float(rng.uniform(0, end)) if rng.random() < CASE_OPENED * end / (30 * DAY) else np.inf
        self._spells = [
            Spell(what, begin, begin + float(rng.uniform(*SPELL)), last=False)
            for what, chance in HEALTHY.items()
            if rng.random() < chance * end / (30 * DAY) and (begin := float(rng.uniform(0, end))) >= 0
        ]
        self.words = np.zeros(0)
        self.goodbye = self._in_use = self._reboots = self._woke = False
        self.told = np.inf
        self._attempts = ""
        if vehicle.breakdown is not None:
            self._of_fault(vehicle.breakdown.cause, vehicle.breakdown.begins, line)

    def _of_fault(self, cause: str, begins: float, line: Timeline) -> None:
        rng = self._rng
        state = State(int(line.at(np.array([begins - 1.0]))[0]))
        shows = ""
        if cause in ("power", "removed"):
            chance = {State.ASLEEP: LAST_WORD_ASLEEP, State.OFF: 0.0}.get(state, LAST_WORD)
            tells = bool(rng.random() < chance)
            if tells and state == State.ASLEEP:
                self._woke = True
            elif tells:
                count = int(rng.integers(LAST_WORDS[0], LAST_WORDS[1] + 1))
                self.words = np.sort(begins - rng.uniform(2.0, float(rng.uniform(*BEHIND)), count))
            if cause == "power" and rng.random() < CHAFED:
                shows = "sag"
        elif cause == "dead":
            shows = str(rng.choice([*DYING, ""], p=[*DYING.values(), 1 - sum(DYING.values())]))
            self._attempts = "damage" if shows == "damage" and rng.random() < MUTTERS else ""
        elif cause == "antenna":
            shows = "fade" if rng.random() < CORRODES else ""
            self._attempts = "half" if rng.random() < HALF_HEARD else ""
        elif cause == "moved" and state != State.OFF and rng.random() < GOODBYE:
            self.goodbye = True
            if rng.random() < REBOOTS:
                shows = "reboot"
        elif cause == "path":
            self._attempts = "path" if rng.random() < CONNECTS else ""
        if shows == "battery" and self._vehicle.protocol != "teltonika":
            shows = ""  # only these tell its voltage
        if shows == "reboot":
            self.words = np.array([begins - float(rng.uniform(2.0, 30.0))])
        elif shows:
            self._spells.append(Spell(shows, begins - float(rng.uniform(*SPELL)), begins, last=True))
        self._reboots = shows == "reboot"
        self._in_use = state <= State.IDLING
        if not self._attempts and rng.random() < STRAY:
            self._attempts = "stray"

    def mark(self, rows: Rows, recorded: Floats, state: NDArray[np.int8], waited: NDArray[np.bool_]) -> None:
        """Write into these records what shows; `recorded` are sorted."""
        rng, n = self._rng, len(rows)
        if not n:
            return
        if self._omnicomm:
            rows["unit.id"], rows["event"], rows["power.backup"], rows["case.open"] = 7, 0, 0, 0
        elif self._vehicle.protocol == "teltonika":
            rows["power.battery"] = rng.uniform(3.9, 4.15, n)
        self._signal(rows, waited)
        for spell in self._spells:
            within = np.flatnonzero((recorded >= spell.begins) & (recorded < spell.ends))
            if len(within):
                self._tells(spell.last)
                self._show(spell, rows, recorded, within)
        if self._vehicle.switched and self._vehicle.last_word and self._switch_tells:
            following = np.append(recorded[1:], np.inf) - recorded
            off = (state == State.PARKED) & (following > 5 * HOUR) & (rng.random(n) < 0.5)
            self._cut(rows, off)
        self._fault(rows, recorded)

    def _signal(self, rows: Rows, waited: NDArray[np.bool_]) -> None:
        rng, n = self._rng, len(rows)
        signal = rows["gsm.signal"]
        if self._poor:
            signal[:] = rng.choice(np.array([20, 40, 40, 60]), n)
        signal[waited & (rng.random(n) < IN_HOLE)] = WEAK
        edge = np.concatenate([waited[1:] & ~waited[:-1], [False]]) & (rng.random(n) < EDGE)
        signal[edge] = rng.choice(np.array([20, 40]), int(edge.sum()))

    def _show(self, spell: Spell, rows: Rows, recorded: Floats, within: NDArray[np.intp]) -> None:
        rng = self._rng
        if spell.what == "fade":
            part = (recorded[within] - spell.begins) / (spell.ends - spell.begins)
            level = 80 - 60 * np.minimum(part * 1.2, 1.0) + rng.normal(0, 8, len(within))
            rows["gsm.signal"][within] = np.clip(np.rint(level / 20) * 20, WEAK, 100)
        elif spell.what == "battery":
            if self._vehicle.protocol == "teltonika":
                rows["power.battery"][within] = rng.uniform(*EMPTY, len(within))
        elif spell.what in ("sag", "restarts"):
            hit = rng.choice(within, min(len(within), int(rng.integers(RESTARTS[0], RESTARTS[1] + 1))), replace=False)
            if spell.last:  # it grows worse toward the end
                final = within[recorded[within] > spell.ends - rng.uniform(*BEHIND)]
                hit = np.concatenate([hit, final[rng.random(len(final)) < 0.4], within[-1:][rng.random(1) < 0.5]])
            if self._omnicomm:
                rows["event"][hit] = POWER_UP
            if spell.what == "sag":
                rows["voltage"][hit] *= rng.uniform(0.3, 0.65, len(hit))

    def _fault(self, rows: Rows, recorded: Floats) -> None:
        fault = self._vehicle.breakdown
        if self._omnicomm and np.isfinite(self._opened):
            self._open(rows, recorded, self._opened, self._opened + 2 * HOUR)
        if fault is None:
            return
        if fault.cause == "antenna":
            off = (recorded >= fault.begins) & (recorded < fault.ends)
            rows["gsm.signal"][off] = WEAK
        elif self._reboots:
            if self._omnicomm:
                self._tells(True)
                rows["event"][np.isin(recorded, self.words)] = POWER_UP
        elif len(self.words) or self._woke:
            # Asleep it was lost before the last wake-up, which tells it on the own battery.
            since = (
                self.words[0] if len(self.words) else np.max(recorded, where=recorded < fault.begins, initial=-np.inf)
            )
            dying = (recorded >= since) & (recorded < fault.begins)
            # With the ignition off it looks like a battery switch.
            self._tells(bool(dying.any()) and (self._in_use or not self._vehicle.wired))
            self._cut(rows, dying)
        if fault.cause == "removed" and self._omnicomm and self._rng.random() < OPENED:
            self._tells(bool(((recorded >= fault.begins - 600) & (recorded < fault.begins)).any()))
            self._open(rows, recorded, fault.begins - 600, fault.begins)

    def _cut(self, rows: Rows, which: NDArray[np.bool_]) -> None:
        count = int(which.sum())
        rows["voltage"][which] = self._rng.uniform(0.0, 1.0, count)
        if self._omnicomm:
            rows["power.backup"][which] = 1
        elif self._vehicle.protocol == "teltonika":
            rows["power.battery"][which] = self._rng.uniform(3.6, 4.0, count)

    @staticmethod
    def _open(rows: Rows, recorded: Floats, begins: float, ends: float) -> None:
        rows["case.open"][(recorded >= begins) & (recorded < ends)] = 1

    def sessions(self, rows: Rows, line: Timeline, start: float) -> Floats:
        """Connections that carried these rows (by arrival); float64 array, shape (5, n), in order.

        Begin and end, seconds after the start, frames, damaged frames, `Ending`.

        One is kept until the terminal sleeps, is given up after a while where nothing comes any more, and is replaced
        where a new one comes first.
        """
        rng = self._rng
        at = rows["received"] / 1e6 - start
        gap = np.diff(at)
        waited = rows["archive"] == 1
        breaks = (gap > IDLE_TIMEOUT) | (waited[1:] & ~waited[:-1])
        breaks[self._broken(at)] = True
        cut = np.flatnonzero(breaks)
        first, last = np.append(0, cut + 1), np.append(cut, len(at) - 1)
        n = len(first)
        begins = at[first] - 0.2
        following = np.append(begins[1:], np.inf) - 0.1
        state = line.at(at[last] + 60.0)
        in_order = (state == State.ASLEEP) | (self._short & (state == State.PARKED) & (following - at[last] > 600))
        timed = following > at[last] + IDLE_TIMEOUT
        ended = np.where(timed, Ending.TIMED_OUT, Ending.REPLACED).astype(np.float64)
        ended[rng.random(n) < RESET] = Ending.LOST
        gone = at[last] + np.where(timed & (ended == Ending.TIMED_OUT), IDLE_TIMEOUT, rng.uniform(5.0, 60.0, n))
        ended[in_order], gone[in_order] = Ending.IN_ORDER, at[last][in_order] + 10.0
        self._farewell(at[last], gone, ended)
        arrivals = np.cumsum(np.concatenate([[1], gap > 0]))
        frames = (arrivals[last] - arrivals[first] + 1).astype(np.float64)
        return np.stack([begins, np.minimum(gone, following), frames, self._damage(at, first, last), ended])

    def _broken(self, at: Floats) -> NDArray[np.intp]:
        """Rows after which a restart or a damaged frame costs the connection."""
        found = []
        for spell in self._spells:
            within = np.flatnonzero((at[:-1] >= spell.begins) & (at[1:] < spell.ends))
            if spell.what in _BREAKS and len(within):
                count = min(len(within), int(self._rng.integers(RESTARTS[0], RESTARTS[1] + 1)))
                found.append(self._rng.choice(within, count, replace=False))
        broken: NDArray[np.intp] = np.concatenate(found) if found else np.zeros(0, np.intp)
        return broken

    def _farewell(self, last: Floats, gone: Floats, ended: Floats) -> None:
        """How the fault ends the connection that stood, if one did."""
        fault = self._vehicle.breakdown
        before = np.flatnonzero(last < fault.begins) if fault is not None else last[:0].astype(np.intp)
        if fault is None or not len(before) or gone[before[-1]] < fault.begins:
            return
        which = before[-1]
        if self.goodbye:
            self._tells(self._in_use)
            ended[which], gone[which] = Ending.IN_ORDER, fault.begins
        elif ended[which] != Ending.IN_ORDER:
            reset = self._rng.random() < (NET_RESET if fault.cause == "sim" else RESET)
            ended[which] = Ending.LOST if reset else Ending.TIMED_OUT
            gone[which] = fault.begins + 1.0 if reset else last[which] + IDLE_TIMEOUT

    def _damage(self, at: Floats, first: NDArray[np.intp], last: NDArray[np.intp]) -> Floats:
        rng, n = self._rng, len(first)
        chance = np.full(n, BUGGY_FRAMES if self._buggy else NOISE)
        for spell in self._spells:
            if spell.what == "damage":
                chance[(at[last] >= spell.begins) & (at[first] < spell.ends)] = 0.8
        return np.where(rng.random(n) < chance, rng.integers(1, 6, n), 0).astype(np.float64)

    def attempts(self, recorded: Floats, end: float) -> Floats:
        """Connections after the fault that bring nothing, as of `sessions`; `recorded`: when it would have reported."""
        rng, fault = self._rng, self._vehicle.breakdown
        if fault is None or not self._attempts:
            return np.zeros((5, 0))
        if self._attempts == "path":
            tries = recorded[(recorded >= fault.begins) & (recorded < fault.ends)]
            slots = np.unique(tries // ATTEMPT_EVERY, return_index=True)[1]
            at = tries[slots][:_LONGEST] + 1.0
        else:
            count = int(rng.integers(1, 3 if self._attempts == "stray" else 5))
            at = np.sort(fault.begins + rng.uniform(0, min(_WITHIN, fault.ends - fault.begins), count))
        at = at[at < end - 600]
        n = len(at)
        malformed = rng.integers(1, 6, n) if self._attempts == "damage" else np.zeros(n)
        ended = rng.choice(np.array([Ending.IN_ORDER, Ending.TIMED_OUT, Ending.REPLACED], np.float64), n)
        gone = np.minimum(at + _LASTS, np.append(at[1:], np.inf) - 0.1)
        if n and self._attempts != "stray":
            self.told = min(self.told, float(gone[0]))
        return np.stack([at, gone, np.zeros(n), malformed, ended])

    def _tells(self, something: bool) -> None:
        """Something came before the fault."""
        if something and self._vehicle.breakdown is not None:
            self.told = min(self.told, self._vehicle.breakdown.begins)
