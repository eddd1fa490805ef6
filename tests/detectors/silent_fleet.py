"""A fleet in virtual time, for tests of who falls silent together: arrays only."""

import numpy as np

from detectors.mass import MassRule, MassSilence

START = 1_000_000.0  # listened seconds; Unix ones are these
HOUR = 3600.0


class SilentFleet:
    """Terminals that report every `interval` seconds, unless they are in `dark`; ticks of `step` seconds.

    `told` are values by dimension. Everything that was decided is kept in `opened`, `joined` and `over`, with its time.
    """

    def __init__(self, interval, told, *, rule=None, seed=1, step=1.0):
        self.interval = np.asarray(interval, np.float64)
        self.n = len(self.interval)
        self.dice = np.random.default_rng(seed)
        self.clock, self.step = START, step
        self.next = self.clock + self.dice.uniform(0, self.interval)
        self.heard = np.full(self.n, np.nan)
        self.dark = np.zeros(self.n, np.bool_)
        self.taken = np.zeros(self.n, np.bool_)
        self.stage = MassSilence(rule or MassRule())
        self.stage.groups.place(range(self.n), told)
        self.opened, self.joined, self.over = [], [], []

    def run(self, seconds):
        for _ in range(int(seconds / self.step)):
            self.clock += self.step
            self.report(np.flatnonzero((self.next <= self.clock) & ~self.dark))
            self.look()
        return self

    def report(self, rows):
        self.heard[rows] = self.clock
        self.taken[rows] = False  # its incident recovers at once here
        self.next[rows] = self.clock + self.interval[rows] * self.dice.uniform(0.9, 1.1, len(rows))
        self.stage.expect(rows, self.heard[rows], self.heard[rows] + self.interval[rows])

    def look(self):
        decided = self.stage.judge(self.clock, self.clock, self.heard, self.taken)
        for group in decided.opened:
            self.taken[group.rows] = True
            self.opened.append((self.clock - START, group, group.rows.copy()))
        for group, rows in decided.joined:
            self.taken[rows] = True
            self.joined.append((self.clock - START, group, rows))
        for over in decided.over:
            self.taken[over.out] = False
            self.over.append((self.clock - START, over))
        return decided

    def silence(self, chosen):
        self.dark[chosen] = True
        return self

    def wake(self, chosen, within=60.0):
        """Back one after the other."""
        rows = np.flatnonzero(self.dark & chosen)
        self.dark[rows] = False
        self.next[rows] = self.clock + self.dice.uniform(0, within, len(rows))
        return self
