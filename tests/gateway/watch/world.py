"""A watch in virtual time, over a real store."""

import numpy as np

from detectors.firmware import Firmware
from detectors.rhythm import settle
from detectors.silence import Silence, SilenceRule
from gateway.watch.columns import plain
from gateway.watch.fleet import Fleet
from gateway.watch.listening import Listening
from gateway.watch.patrol import Patrol
from gateway.watch.snapshots import save
from protocols.records import IGNITION_KNOWN, IGNITION_ON
from tests.ticketing.desk_parts import MONDAY, Clock, fetch
from ticketing.incidents import Incidents
from ticketing.tickets.store import TicketStore

RULE = SilenceRule(after=3.0, floor=60.0, ceiling=3600.0, learn=8)
ON = IGNITION_KNOWN | IGNITION_ON


def state_of(fleet):
    """Every column that is kept, as (set, column): values of the rows there are; medians as of now."""
    settle(fleet.view("silence"), np.arange(fleet.rows))
    return {
        (name, column.name): fleet.column(name, column.name)[: fleet.rows]
        for name, columns in fleet.sets.items()
        for column in columns
        if column.kept
    }


def assert_same_state(one, other, names=None):
    """`names`: of these columns alone."""
    left, right = state_of(one), state_of(other)
    for key in left if names is None else [key for key in left if key[1] in names]:
        np.testing.assert_array_equal(left[key], right[key], err_msg=str(key))


def limit(fleet, row):
    """Seconds of silence it may keep now, whether or not we trust our ears."""
    return fleet.detectors["silence"].explain(fleet.view("silence"), row).numbers["limit_s"]


class World:
    """One gateway's watch. `pass_time` ticks every second; `reporting` maps terminals to their interval in seconds."""

    def __init__(
        self,
        pool,
        *,
        rule=RULE,
        hold=30.0,
        recovery=300.0,
        catalogue=None,
        mass=None,
        targets=(),
        now=MONDAY,
        also=(),
        **limits,
    ):
        self.pool = pool
        self.options = {"hold": hold, "recovery": recovery, "mass": mass}
        self.targets = targets
        self.limits = limits  # of `Incidents`
        self.detectors = (Silence(rule), Firmware(catalogue), *also)
        self.clock = Clock(now)
        self.store = TicketStore(pool, clock=self.clock)
        self.reporting = {}
        self.listening = True
        self.patrol = self._new_patrol()

    def _new_patrol(self):
        return Patrol(
            self.pool,
            Fleet(Listening(), self.detectors),
            Incidents(self.pool, targets=self.targets, **self.limits),
            **self.options,
        )

    @property
    def now(self):
        return self.clock.now

    async def start(self):
        await self.patrol.start(self.now, self.now)
        return self

    async def restart(self, *, down=0.0, saved=True, monotonic=None):
        """The service dies without a word, and comes back."""
        if saved:
            await save(self.pool, self.patrol.fleet, self.now)
        self.clock.now += down
        self.patrol = self._new_patrol()
        await self.patrol.start(self.now, self.now if monotonic is None else monotonic)

    def frame(self, *terminals, own_time=None, flags=ON, measures=None):
        rows = np.array(terminals, np.int32)
        at = np.full(len(rows), round(self.now * 1e6), np.int64)
        own = at if own_time is None else np.full(len(rows), round(own_time * 1e6), np.int64)
        self.patrol.fleet.apply(plain(rows, at, rows, own, at, np.full(len(rows), flags, np.int16), measures))

    async def pass_time(self, seconds):
        for _ in range(int(seconds)):
            self.clock.now += 1
            due = [terminal for terminal, every in self.reporting.items() if self.now % every == 0]
            if due and self.listening:
                self.frame(*due)
            self.patrol.tick(self.now, self.now, listening=self.listening)
            if self.listening:
                await self.patrol.settle(self.now)

    def verdict(self, terminal, kind="silence"):
        return self.patrol.verdicts_of(terminal)[kind]

    async def tickets(self):
        """(state, kind, actions) of every ticket, oldest first."""
        found = []
        for (number,) in await fetch(self.pool, "SELECT number FROM ticket ORDER BY id"):
            ticket = await self.store.get(number)
            found.append((ticket.state.value, ticket.kind, [entry.action for entry in ticket.journal]))
        return found
