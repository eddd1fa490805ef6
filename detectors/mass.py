"""Who has fallen silent together, and what they share: asked before any of them is an incident of its own.

    expect    after contacts: by when each terminal is usually heard again
    judge     clock, last contacts → groups that fell silent, who joined one, which are heard again
    returned  we ourselves were away: nobody is late before they have had time to come back
    waits     whether a terminal's own ticket has to wait, and for what
    resume    a group that was silent before a restart

Pure: no store, no loop, no clock of its own. Rows are those of the fleet, instants are listened seconds.

A terminal is *late* when twice its usual interval has passed. Of each group (`groups.DIMENSIONS`) it is counted who
became late within the last ten minutes and who was heard in the last one (`suspicion`). A suspicion that has lasted
`settle` becomes a group: that which explains best; what it explains is taken out, and the rest is asked again. A
listener, or the whole fleet, that is gone as a whole is our own fault: kind `platform`.
Members are those whose silence began together. The group is over when half of those who reported when it began, or of
as many as usually report at this hour, are heard again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detectors.gaps import Floats, Rows
from detectors.groups import DIMENSIONS, NONE, Groups
from detectors.suspicion import Look, together
from detectors.usual import PERIOD, Usual, hour_of

Flags: TypeAlias = NDArray[np.bool_]

MASS, PLATFORM = "mass-silence", "platform"  # kinds of incident

LATE = 2.0  # usual intervals without a word
SLACK = 2.0  # s beyond one interval, at least: a terminal that reports each second may pause
ALIVE = 60.0  # s within which somebody was heard who is there
TOGETHER = 600.0  # s within which those have become late who fell silent together
ROUNDS = 8  # groups that open at once
AT_ONCE = 2_000_000  # terminals × dimensions counted in one tick: of a large fleet the others follow in the next ones

RECONNECT = 180.0  # s, at most, in which terminals come back after we were away; else as long as we were
BRIEF = 60.0  # s away that nobody need know of
OUTAGE = 300.0  # s away that are an outage of ours, with an incident


@dataclass(frozen=True, slots=True)
class MassRule:
    """Attributes
    ----------
    share, terminals : least part and least number of a group that must be late together before it is suspected.
    settle : seconds that a suspicion lasts before it is a group, while single tickets of its terminals wait.
    """

    enabled: bool = True
    share: float = 0.2
    terminals: int = 5
    settle: float = 60.0


@dataclass(slots=True)
class Silent:
    """A group that is silent now.

    Attributes
    ----------
    key : of this run; `kind` is `MASS` or `PLATFORM`.
    by, value : what its terminals share.
    since : when it fell silent, listened seconds.
    share : the part of it that did.
    rows, heard : int64 and float64, shape (members,): who is in it, and when each was last heard before that.
    numbers : those of the decision.
    """

    key: int
    kind: str
    by: str
    value: str
    since: float
    share: float = 1.0
    group: int = NONE
    rows: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    heard: Floats = field(default_factory=lambda: np.zeros(0, np.float64))
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Over:
    """A group is heard again: `back` and `out` are rows of members that were and were not."""

    group: Silent
    back: Rows
    out: Rows


@dataclass(frozen=True, slots=True)
class MassDecisions:
    """What one look decided, in the order in which it is to be done."""

    opened: list[Silent] = field(default_factory=list)
    joined: list[tuple[Silent, Rows]] = field(default_factory=list)
    over: list[Over] = field(default_factory=list)


class MassSilence:
    """The stage. Attributes: `groups`, `usual`, the `rule`, and `silent`, the groups that are silent by key."""

    def __init__(self, rule: MassRule | None = None) -> None:
        self.rule = rule or MassRule()
        self.groups = Groups()
        self.usual = Usual()
        self.silent: dict[int, Silent] = {}
        self._due = np.zeros(0, np.float64)  # when each is late
        self._member = np.zeros(0, np.int32)  # the key of the group that each is in while it is silent
        self._keys = 0
        self._turn = 0  # the dimension whose living are counted next
        self._alive = np.zeros(0, np.int64)
        self._since = np.nan  # of the suspicion
        self._forming: frozenset[int] = frozenset()
        self._learn_at = -np.inf
        self._returned_at = self._quiet_until = -np.inf  # of our last absence, and of the time to come back after it
        self._absence: Silent | None = None

    # -- what is told -------------------------------------------------------------------------------------------

    def expect(self, rows: Rows, heard: Floats, expected: Floats) -> None:
        """These were last heard then and are usually heard again then; listened seconds, NaN where nobody knows."""
        if len(rows):
            self._reserve(int(rows.max()) + 1)
            interval = expected - heard
            self._due[rows] = heard + np.maximum(LATE * interval, interval + SLACK)

    def returned(self, clock: float, away: float) -> None:
        """We were away for so many seconds, and have just come back."""
        if away < BRIEF or not self.rule.enabled:
            return
        grace = min(away, RECONNECT)
        self._returned_at, self._quiet_until = clock, clock + grace
        ahead = self._due > clock
        self._due[ahead] += grace
        if away >= OUTAGE and int(ahead.sum()) >= self.rule.terminals and not self._open("gateway", "absence"):
            self._absence = self._new(PLATFORM, "gateway", "absence", clock, {"away_s": round(away, 1)})

    def resume(self, group: Silent) -> None:
        """A group that was silent before the restart; its `key` is given anew."""
        self._keys += 1
        group.key = self._keys
        if group.by != "gateway":
            group.group = self.groups.find(group.by, group.value)
        self.silent[group.key] = group
        rows, heard = group.rows, group.heard
        group.rows, group.heard = rows[:0], heard[:0]
        self._reserve(int(rows.max(initial=-1)) + 1)
        self.join(group, rows, heard)

    # -- what others ask ----------------------------------------------------------------------------------------

    @property
    def doubts(self) -> bool:
        """Whether terminals are silent because of us, as far as we can tell."""
        return any(group.kind == PLATFORM for group in self.silent.values())

    def due(self, clock: float) -> float:
        """When to look again though nobody is heard: at once while somebody is suspected or silent, else never."""
        busy = self._forming or self.silent or self._absence is not None
        return clock if busy else self._quiet_until if self.quiet(clock) else np.inf

    def quiet(self, clock: float) -> bool:
        """Whether terminals are coming back, because we were away."""
        return clock < self._quiet_until

    @property
    def members(self) -> int:
        """Terminals in groups that are silent."""
        return sum(len(group.rows) for group in self.silent.values())

    def waits(self, row: int, clock: float, heard: float) -> str | None:
        """Why the ticket of a terminal last heard then has to wait now: `reconnecting`, `forming`; None: it has not."""
        if self.quiet(clock) and not heard > self._returned_at:
            return "reconnecting"
        if self._forming and not self._forming.isdisjoint(self.groups.of(row)):
            return "forming"
        return None

    def group_of(self, row: int, heard: float) -> Silent | None:
        """The silent group that may explain why this terminal, last heard then, is silent too.

        Also where it had been late for some minutes by then: it could not have come back.
        """
        for group in self.silent.values():
            if group.group != NONE and self.groups.members(group.group, np.array([row]))[0]:
                due = self._due[row] if row < len(self._due) else np.nan
                if heard + TOGETHER >= group.since or due >= group.since:
                    return group
        return None

    # -- the look -----------------------------------------------------------------------------------------------

    def judge(self, clock: float, now: float, heard: Floats, taken: Flags) -> MassDecisions:
        """Look at the fleet.

        Parameters
        ----------
        clock, now : listened and Unix seconds.
        heard : float64, shape (n,), listened seconds of each terminal's last frame; NaN = never.
        taken : bool, shape (n,), terminals that have an incident, their own or as members.
        """
        decided = MassDecisions()
        n = len(heard)
        self._reserve(n)
        if not self.rule.enabled:
            self._give_up(decided)
            return decided
        if self._absence is not None:
            decided.opened.append(self._absence)
            self.silent[self._absence.key] = self._absence
            self._absence = None
        hour = hour_of(now)
        due = self._due[:n]
        late = due <= clock
        rows = np.flatnonzero(late & (due > clock - TOGETHER) & ~taken)
        for group in list(self.silent.values()):
            self._follow(group, clock, hour, heard, late, decided)
        if self.quiet(clock):
            return decided
        rows = self._join(rows, due, heard, decided)
        learning = clock >= self._learn_at
        if len(rows) < self.rule.terminals and not learning:
            self._since, self._forming = np.nan, frozenset()
            return decided
        self._count_alive(np.flatnonzero((heard > clock - ALIVE) & ~late))
        looked = self._look(rows, hour)
        suspected = bool(looked.suspected.any())
        if learning or (suspected and clock - self._since >= self.rule.settle):
            calm = (looked.score < looked.needed) & (not self.silent)
            self.usual.learn(looked.late, looked.alive, now, self.rule.terminals, calm)
            self._learn_at = clock + PERIOD
        if suspected:
            self._suspect(looked, rows, clock, hour, heard, decided)
        else:
            self._since, self._forming = np.nan, frozenset()
        return decided

    def _count_alive(self, rows: Rows) -> None:
        """Of as many dimensions as there is time for in this tick."""
        dimensions = len(DIMENSIONS)
        some = min(dimensions, max(1, AT_ONCE // max(len(rows), 1)))
        turn, self._turn = self._turn, (self._turn + some) % dimensions
        self._alive = self.groups.count(rows, [(turn + step) % dimensions for step in range(some)], self._alive)

    def _look(self, rows: Rows, hour: int) -> Look:
        usual = self.usual.shares(len(self.groups), hour)
        alive = np.append(self._alive, np.zeros(len(self.groups) - len(self._alive), np.int64))
        rule = self.rule
        looked = Look.of(self.groups, self.groups.count(rows), alive, usual, share=rule.share, terminals=rule.terminals)
        for group in self.silent.values():
            looked.suspected[group.group] = False
        return looked

    def _suspect(
        self, looked: Look, rows: Rows, clock: float, hour: int, heard: Floats, decided: MassDecisions
    ) -> None:
        if np.isnan(self._since):
            self._since = clock
        self._forming = frozenset(np.flatnonzero(looked.suspected).tolist())
        if clock - self._since < self.rule.settle:
            return
        self._forming = frozenset()  # whatever comes of it: nobody waits any longer
        for _ in range(ROUNDS):
            if not looked.suspected.any():
                break
            chosen = looked.best()
            explained = self.groups.members(chosen, rows)
            inside = rows[explained]
            since, whom = together(heard[inside], self._due[inside])
            members = inside[whom]
            if len(members) < self.rule.terminals:
                looked.suspected[chosen] = False
                continue
            group = self._made(chosen, looked, clock, since)
            self.join(group, members, heard[members])
            decided.opened.append(group)
            self.silent[group.key] = group
            rows = rows[~explained]
            looked = self._look(rows, hour)

    def _made(self, chosen: int, looked: Look, clock: float, since: float) -> Silent:
        """What a group says of itself when it opens."""
        by, value = self.groups.name(chosen)
        kind = PLATFORM if looked.ours(chosen) else MASS
        numbers = {
            **looked.numbers(chosen),
            "needed": round(looked.needed, 1),
            "suspected_s": round(clock - self._since, 1),
            "explanations": looked.explanations(),
        }
        group = self._new(kind, by, value, since, numbers)
        group.share, group.group = float(numbers["share"]), chosen
        return group

    # -- a group's life -----------------------------------------------------------------------------------------

    def _join(self, rows: Rows, due: Floats, heard: Floats, decided: MassDecisions) -> Rows:
        """Who becomes late in a group that is silent joins it; returns those who did not."""
        for group in self.silent.values():
            if group.group == NONE or not len(rows):
                continue
            joins = self.groups.members(group.group, rows) & (due[rows] >= group.since)
            if joins.any():
                self.join(group, rows[joins], heard[rows[joins]])
                decided.joined.append((group, rows[joins]))
                rows = rows[~joins]
        return rows

    def join(self, group: Silent, rows: Rows, heard: Floats) -> None:
        """These join, last heard then; perhaps again, having been back."""
        again = self._member[rows] == group.key
        self._member[rows] = group.key
        if again.any():
            order = np.argsort(group.rows)
            group.heard[order[np.searchsorted(group.rows, rows[again], sorter=order)]] = heard[again]
        group.rows = np.append(group.rows, rows[~again])
        group.heard = np.append(group.heard, heard[~again])

    def _follow(
        self, group: Silent, clock: float, hour: int, heard: Floats, late: Flags, decided: MassDecisions
    ) -> None:
        if not len(group.rows):
            if group.by == "gateway" and not self.quiet(clock):  # we are back, and so is whoever wanted to be
                self._end(group, np.zeros(0, np.bool_), decided)
            return
        back = (heard[group.rows] > group.heard) & ~late[group.rows]
        reporting = int((group.heard > group.since - ALIVE).sum())
        if reporting < self.rule.terminals:
            reporting = len(group.rows)
        usual = self.usual.alive(group.group, hour) * group.share
        if back.sum() >= max(min(2, len(back)), min(reporting, usual) / 2):
            self._end(group, back, decided)

    def _end(self, group: Silent, back: Flags, decided: MassDecisions) -> None:
        del self.silent[group.key]
        out = group.rows[~back]
        self._due[out] = np.nan  # nobody expects them before they are heard once more
        decided.over.append(Over(group, group.rows[back], out))

    def dismiss(self, group: Silent) -> None:
        """It was no group after all."""
        self._end(group, np.zeros(len(group.rows), np.bool_), MassDecisions())

    def _give_up(self, decided: MassDecisions) -> None:
        """Switched off: groups are over, their members are on their own."""
        self._since, self._forming, self._absence = np.nan, frozenset(), None
        for group in list(self.silent.values()):
            self._end(group, np.zeros(len(group.rows), np.bool_), decided)

    def _open(self, by: str, value: str) -> bool:
        return any((group.by, group.value) == (by, value) for group in self.silent.values())

    def _new(self, kind: str, by: str, value: str, since: float, numbers: Mapping[str, Any]) -> Silent:
        self._keys += 1
        return Silent(self._keys, kind, by, value, since, numbers=numbers)

    def _reserve(self, rows: int) -> None:
        self.groups.reserve(rows)
        if rows > len(self._due):
            more = max(rows, 2 * len(self._due)) - len(self._due)
            self._due = np.append(self._due, np.full(more, np.nan))
            self._member = np.append(self._member, np.zeros(more, np.int32))
