"""Those that fall silent together, without a store: the stage (`detectors.mass`) fed from the fleet, and what it
decides of each group, in the order in which it is to be written.

A member has an open incident from the moment it is decided, so that no ticket of its own is opened meanwhile. It
recovers by the same proof as any. Once a group is over, the silence of its other members is counted from then on: who
still fails within its own rhythm leaves it for a ticket.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors.gaps import Rows
from detectors.groups import address_ranges
from detectors.mass import MassRule, MassSilence, Over, Silent
from detectors.silence import Silence
from gateway.watch.fleet import Fleet
from ticketing.incidents.groups import Shared, Standing
from ticketing.incidents.hysteresis import Hysteresis

KIND = Silence.kind
STAND_IN = "protocol:"  # what stands for the model of those that never told one: no model, and no group
REGISTERED = ("operator", "customer", "site", "region", "model", "protocol")


@dataclass(slots=True)
class Group:
    """A group as it is carried out: what waits to be written, in order, and who is in it."""

    shared: Shared
    silent: Silent | None
    incident: int | None = None
    joining: list[Rows] = field(default_factory=list)
    over: Over | None = None
    members: Rows = field(default_factory=lambda: np.zeros(0, np.int64))  # left, once it is over


class Together:
    """Attributes: `stage`; `groups` by key, those over while they have members left."""

    def __init__(self, fleet: Fleet, watched: Hysteresis, rule: MassRule) -> None:
        self.stage = MassSilence(rule)
        self.groups: dict[int, Group] = {}
        self._fleet = fleet
        self._watched = watched
        self._group_of: dict[int, int] = {}  # member's row -> key
        self._placed: list[Rows] = []  # of whom the registry told something: they may be expected otherwise
        self._generation = fleet.generation
        self._lost = np.nan  # when we last listened, while we do not

    # -- what is told of terminals ------------------------------------------------------------------------------

    def registered(self, rows: Iterable[int], told: Mapping[str, Sequence[str | None]]) -> None:
        """What the registry says of them."""
        at = list(rows)
        shared = {name: told[name] for name in REGISTERED if name in told}
        if "model" in told and "firmware" in told:
            pairs = zip(told["model"], told["firmware"], strict=True)
            shared["firmware"] = [f"{model} · {version}" if model and version else None for model, version in pairs]
        if "model" in told:
            shared["model"] = [None if model and model.startswith(STAND_IN) else model for model in told["model"]]
        self.stage.groups.place(at, shared)
        self._placed.append(np.array(at, np.int64))

    def connected(self, rows: Iterable[int], addresses: Iterable[str], listeners: Iterable[str | None]) -> None:
        """Where they last came from, and by which listener."""
        ranges = [address_ranges(address.rpartition(":")[0]) for address in addresses]
        told = {"address": [one for one, _ in ranges], "network": [one for _, one in ranges], "port": list(listeners)}
        self.stage.groups.place(list(rows), told)

    def roaming(self, rows: Iterable[int], networks: Iterable[str]) -> None:
        """Which operator's network they told last."""
        self.stage.groups.place(list(rows), {"plmn": list(networks)})

    # -- the round ----------------------------------------------------------------------------------------------

    def deaf(self, now: float) -> None:
        """We do not listen at this tick."""
        if np.isnan(self._lost):
            self._lost = now

    def shift(self, seconds: float) -> None:
        """The wall clock was set."""
        self._lost += seconds

    def look(self, now: float) -> None:
        """After the fleet was judged: who fell silent together, and who is heard again."""
        fleet = self._fleet
        clock = fleet.listening.clock
        if fleet.generation != self._generation:  # other rules, other expectations
            self._generation = fleet.generation
            self._expect(np.arange(fleet.rows))
        for rows in (*self._placed, fleet.heard_anew):
            self._expect(rows)
        self._placed.clear()
        if not np.isnan(self._lost):
            self.stage.returned(clock, now - self._lost)
            self._lost = np.nan
        n = fleet.rows
        self._watched.reserve(n)
        decided = self.stage.judge(clock, now, fleet.heard[:n], self._watched.open[:n])
        for silent in decided.opened:
            since = now - float(silent.numbers.get("away_s", max(clock - silent.since, 0.0)))
            shared = Shared(silent.kind, silent.by, silent.value, since, silent.numbers)
            self.groups[silent.key] = Group(shared, silent)
            self._take(silent.key, silent.rows)
        for silent, rows in decided.joined:
            self._take(silent.key, rows)
        for over in decided.over:
            self._end(over)

    def due(self) -> float:
        """Listened seconds at which time alone may change something of groups; inf: nothing."""
        return self.stage.due(self._fleet.listening.clock)

    def raise_alone(self, rows: Rows) -> Rows:
        """Of terminals that fail, those that may have tickets of their own now: no silent group explains them."""
        alone = []
        clock = self._fleet.listening.clock
        for row in rows.tolist():
            if self.waits(row) is not None:
                continue
            heard = float(self._fleet.heard[row])
            silent = self.stage.group_of(row, heard) if self.stage.silent else None
            if silent is None:
                alone.append(row)
            elif not np.isnan(clock):
                self.stage.join(silent, np.array([row]), np.array([heard]))
                self._take(silent.key, np.array([row]))
        return np.array(alone, np.int64)

    def waits(self, row: int) -> str | None:
        """Why a terminal's own ticket has to wait now; None: it has not."""
        heard = float(self._fleet.heard[row]) if row < self._fleet.rows else np.nan
        return self.stage.waits(row, self._fleet.listening.clock, heard)

    def left(self) -> list[int]:
        """Members of groups that are over, which still fail, for as long as any must before it has a ticket."""
        found: list[int] = []
        watched, clock = self._watched, self._fleet.listening.clock
        for group in self.groups.values():
            if group.silent is None and len(group.members):
                failing = clock - watched.failing_since[group.members] >= watched.hold
                found += group.members[failing].tolist()
        return found

    def split(self, recovered: Rows) -> tuple[Rows, Rows]:
        """Rows that recovered: those on their own, and members."""
        if not self._group_of:
            return recovered, recovered[:0]
        mine = np.array([row in self._group_of for row in recovered.tolist()], np.bool_)
        return recovered[~mine], recovered[mine]

    def released(self, rows: Iterable[int]) -> None:
        """Their incidents in a group are over: they recovered, or have tickets of their own."""
        for row in rows:
            key = self._group_of.pop(row, None)
            group = self.groups.get(key) if key is not None else None
            if group is not None and group.silent is None:
                group.members = group.members[group.members != row]
                if not len(group.members):
                    del self.groups[key or 0]

    def told(self, row: int) -> str | None:
        """What explains a member's silence, in words."""
        key = self._group_of.get(row)
        group = self.groups.get(key) if key is not None else None
        if group is None:
            return None
        return f"with {group.shared.words}" if group.silent else f"counted from the return of {group.shared.words}"

    # -- for whoever writes it ----------------------------------------------------------------------------------

    def waiting(self) -> Iterator[tuple[int, Group]]:
        """Groups of which something is to be written: opened, joined, over, in this order."""
        for key, group in list(self.groups.items()):
            if group.incident is None or group.joining or group.over is not None:
                yield key, group

    def done(self, key: int) -> None:
        """All of a group has been written; one that is over goes when it has no members left."""
        group = self.groups.get(key)
        if group is not None and group.silent is None and group.over is None and not len(group.members):
            del self.groups[key]

    def dismiss(self, key: int) -> None:
        """It was no group: what its members told other services did not reach us."""
        group = self.groups.pop(key)
        if group.silent is not None:
            self.stage.dismiss(group.silent)
        for row in [row for row, its in self._group_of.items() if its == key]:
            self._watched.closed(row)
            del self._group_of[row]

    def recovering(self, rows: Rows) -> dict[int, float]:
        """Those of these members that are good for long enough still, and since when (Unix seconds)."""
        watched = self._watched
        good = {row: float(watched.good_wall[row]) for row in rows.tolist() if row in self._group_of}
        return {row: at for row, at in good.items() if watched.open[row] and not np.isnan(at)}

    def recovered(self, rows: Iterable[int]) -> None:
        """Their incidents are closed."""
        for row in rows:
            self._watched.closed(row)
            self.released([row])

    def resume(self, standing: Standing) -> None:
        """A group that the store knows, after a restart; once the fleet and the open incidents are there."""
        rows = np.array(list(standing.members), np.int64)
        heard = self._fleet.listening.listened(np.array(list(standing.members.values()), np.float64))
        shared = standing.shared
        since = float(self._fleet.listening.listened(np.array([shared.since]))[0])
        silent = Silent(0, shared.kind, shared.by, shared.value, since, rows=rows, heard=heard)
        silent.share = float(shared.numbers.get("share", 1.0))
        silent.numbers = shared.numbers
        if standing.open:
            self.stage.resume(silent)
        key = silent.key or -standing.incident  # one that is over has none in the stage
        self.groups[key] = Group(shared, silent if standing.open else None, standing.incident)
        if not standing.open:
            self.groups[key].members = rows
        self._group_of.update(dict.fromkeys(rows.tolist(), key))

    def expect_all(self) -> None:
        """Nothing is known yet of when anybody is heard again."""
        self._expect(np.arange(self._fleet.rows))

    def away(self, seconds: float) -> None:
        """We have been away for so long before the start."""
        self.stage.returned(self._fleet.listening.clock, seconds)

    # -- inside -------------------------------------------------------------------------------------------------

    def _expect(self, rows: NDArray[np.int64]) -> None:
        fleet = self._fleet
        if len(rows):
            fleet.reserve(int(rows.max()) + 1)
            self.stage.expect(rows, fleet.heard[rows], fleet.expected_next(KIND, rows))

    def _take(self, key: int, rows: Rows) -> None:
        self.groups[key].joining.append(rows)
        self._watched.attached(rows, self._fleet.live[rows])
        self._group_of.update(dict.fromkeys(rows.tolist(), key))

    def _end(self, over: Over) -> None:
        """Those still out are on their own from here on."""
        group = self.groups[over.group.key]
        group.silent, group.over = None, over
        left = np.array([row for row, key in self._group_of.items() if key == over.group.key], np.int64)
        group.members = left
        self._fleet.excuse(np.intersect1d(over.out, left))
