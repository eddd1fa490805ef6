"""Whose link is half dead: it is there, and of no use.

    pings      frames without a record while it should tell some: its last record said ignition on, or moving
    repeats    the newest record is the one of the contact before, again and again: it hears none of our answers
    weak       GSM signal of `weak` percent or less, for much longer (`weak_lasting`)
    reconnects `reconnects` new connections within `window`, leaking away as in `signs.Buckets`

The first three are counted in a row: `contacts` over `lasting`. Parked, a terminal may ping for days.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike

from detectors.columns import Array, Columns, Contacts
from detectors.detector import Before, Column, Detector, Judged, Past, Summary, View, Zone
from detectors.gaps import Rows
from detectors.signs import (
    BUCKET,
    OWN,
    STATE,
    STREAK,
    Buckets,
    Signs,
    Streaks,
    in_a_row,
    leaky,
    prefixed,
    previous,
    renamed_columns,
    why_of,
)
from detectors.verdicts import Explanation, Verdict, spell

PING, AWAKE, PARKED, OLD = 1, 2, 3, 4  # what a contact brought: no record, a live one awake or parked, old ones alone
STORM = "storm_"  # begins the names of the bucket's columns


class Sign(IntEnum):
    """What a contact says of the link."""

    WORKS = 1
    PINGS = 2
    REPEATS = 3
    WEAK = 4


@dataclass(frozen=True, slots=True)
class ModemRule:
    """Thresholds: contacts, seconds, percent."""

    contacts: int = 5
    lasting: float = 1800.0
    weak: float = 10.0
    weak_lasting: float = 86_400.0
    reconnects: int = 30
    window: float = 3600.0


class Modem(Detector):
    """The detector."""

    kind = "modem"
    words = "Modem and link"
    columns = (
        *STREAK,
        *prefixed(BUCKET, STORM),
        Column("link", np.uint16),  # the last connection; 0 unknown
        Column("stamp", np.uint16),  # of the newest record of the last contact that brought any; 0 none
        Column("signal", np.uint8),  # percent + 1
    )
    summary: ClassVar[Mapping[str, DTypeLike]] = {
        "brought": np.uint8,
        "stamp": np.uint16,
        "signal": np.uint8,
        "link": np.uint16,
    }
    heeds_contacts = False

    def __init__(self, rule: ModemRule | None = None) -> None:
        self.rule = rule or ModemRule()
        lasting = [self.rule.weak_lasting if sign == Sign.WEAK else self.rule.lasting for sign in range(len(Sign) + 1)]
        self._streaks = Streaks(self.rule.contacts, lasting)
        self._buckets = Buckets(self.rule.reconnects, self.rule.window)

    @staticmethod
    def reduce(columns: Columns) -> Summary:
        """What each contact brought, a mark of its newest record's time, signal, and the connection."""
        contacts = columns.contacts
        live = contacts.live
        count = len(contacts)
        nothing: Array = np.zeros(count, np.uint8)
        if not len(columns):
            brought = np.full(count, PING, np.uint8)
            return {"brought": brought, "stamp": nothing, "signal": nothing, "link": columns.of_frames("link")}
        awake = (columns.told("ignition", -1) == 1) | (columns.told("moving", False) != 0)
        some = columns.latest >= 0
        brought = np.where(live, np.where(awake, AWAKE, PARKED), np.where(some, OLD, PING))
        stamp = np.where(some, columns.told("own", 0) // 1_000_000 % 65_521 + 1, 0)
        signal = nothing
        if "gsm.signal" in columns.measures:
            percent = columns.told("gsm.signal")
            with np.errstate(invalid="ignore"):
                fine = (percent >= 0) & (percent <= 100)
            signal = np.where(fine, np.where(fine, percent, 0) + 1, 0)
        return {"brought": brought, "stamp": stamp, "signal": signal, "link": columns.of_frames("link")}

    def absorb(self, view: View, contacts: Contacts, before: Before, summary: Summary) -> Rows:
        """Count signs, and connections."""
        terminal, received = contacts.terminal, contacts.received
        changed = self._streaks.take(view.columns, terminal, received, self._signs(view, contacts, summary))
        linked = summary["link"]
        if not linked.any():
            return changed
        some = np.flatnonzero(linked)
        link, its = linked[some], terminal[some]
        one_before = previous(its, link, view["link"])
        other = np.flatnonzero(link != one_before)
        view["link"][its[other]] = link[other]  # of several the last stays
        again = some[other[one_before[other] != 0]]
        storms = self._buckets.take(renamed_columns(view.columns, STORM), terminal[again], received[again])
        return np.concatenate([changed, storms])

    def _signs(self, view: View, contacts: Contacts, summary: Summary) -> Signs:
        brought, stamp, signal = summary["brought"], summary["stamp"], summary["signal"]
        terminal, marks = contacts.terminal, view["mark"]
        mark = marks[terminal]
        live = (brought == AWAKE) | (brought == PARKED)
        woke = np.flatnonzero(live & ((brought == AWAKE) != ((mark & OWN) > 0)))
        marks[terminal[woke]] = (mark[woke] & ~np.uint8(OWN)) | np.where(brought[woke] == AWAKE, OWN, 0).astype(
            np.uint8
        )
        sign: Signs = live.astype(np.int8) * np.int8(Sign.WORKS)
        weak = np.flatnonzero(live & (signal > 0) & (signal - 1.0 <= self.rule.weak))
        sign[weak] = Sign.WEAK
        view["signal"][terminal[weak]] = signal[weak]
        # Who told of a newer time than before repeats nothing; of the others it is kept what their last record was.
        stale = ~np.repeat(view.news, contacts.runs[1]) & (stamp > 0)
        some = np.flatnonzero(stale)
        if len(some):
            sign[some[stamp[some] == previous(terminal[some], stamp[some], view["stamp"])]] = Sign.REPEATS
            view["stamp"][terminal[some]] = stamp[some]
        ping = np.flatnonzero(brought == PING)
        sign[ping[(marks[terminal[ping]] & OWN) > 0]] = Sign.PINGS
        return sign

    def judge(self, view: View, rows: Rows) -> Judged:
        """The worse of the two counts."""
        storm = leaky(self._buckets, view, rows, STORM)
        streak = (view["mark"][rows] & STATE).astype(np.int8)
        return Judged(np.maximum(storm.verdicts, streak), storm.look)

    def explain(self, view: View, row: int) -> Explanation:
        """With signal and counts."""
        at = np.array([row])
        verdict = Verdict(int(self.judge(view, at).verdicts[0]))
        level = float(self._buckets.level(renamed_columns(view.columns, STORM), at, view.now)[0])
        storm = int(view["storm_state"][row]) == verdict and verdict >= Verdict.SUSPECT
        why = why_of(int(view["mark"][row]))
        signal = None if not view["signal"][row] else int(view["signal"][row]) - 1
        if verdict == Verdict.UNKNOWN:
            reason = "no record of now yet"
        elif verdict == Verdict.GOOD:
            reason = "records come as they are made" + ("" if signal is None else f", GSM signal {signal} %")
        elif storm:
            reason = f"connects again and again: {level:.0f} new connections, {self.rule.reconnects} within "
            reason += f"{spell(self.rule.window)} are too many"
        else:
            what = {
                Sign.PINGS: "pings without a record though its last one said it was awake",
                Sign.REPEATS: "brings the same record again and again: our answers do not reach it",
                Sign.WEAK: f"GSM signal {signal} %",
            }[Sign(why)]
            reason = f"{what}, {in_a_row(view, row)}"
        return Explanation(
            verdict,
            reason,
            {
                "sign": "reconnects" if storm else Sign(why).name.lower() if why else None,
                "signal_percent": signal,
                "contacts": int(view["count"][row]),
                "reconnects": round(level, 1),
                "contacts_needed": self.rule.contacts,
                "lasting_s": self.rule.lasting,
                "weak_percent": self.rule.weak,
                "weak_lasting_s": self.rule.weak_lasting,
                "reconnects_most": self.rule.reconnects,
                "window_s": self.rule.window,
            },
        )

    def zone(self, explanation: Explanation, past: Past) -> Zone:
        """Weak: the operator's coverage or the antenna; one-way: the path; no records: the terminal."""
        sign = explanation.numbers.get("sign")
        if sign == "weak":
            return Zone("sim-operator", 0.6, explanation.reason)
        if sign == "pings":
            return Zone("terminal", 0.8, explanation.reason)
        if sign == "repeats":
            return Zone("network-path", 0.7, explanation.reason)
        return Zone("sim-operator", 0.5, explanation.reason)
