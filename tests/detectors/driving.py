"""Drives one detector over contacts in virtual time, as the fleet does, without a store."""

import numpy as np

from detectors.verdicts import Verdict
from gateway.watch.columns import plain
from gateway.watch.fleet import Fleet
from gateway.watch.listening import Listening
from protocols.records import IGNITION_KNOWN, IGNITION_ON, MOVING, VALID

NOW = 1_800_000_000.0
ON, OFF = IGNITION_KNOWN | IGNITION_ON, IGNITION_KNOWN
DRIVES = ON | MOVING | VALID


class Drive:
    """Terminal 1 unless named otherwise; `contact` lets `after` seconds pass, then it is heard."""

    def __init__(self, *detectors):
        self.listening = Listening()
        self.now = NOW
        self.fleet = Fleet(self.listening, detectors)
        self.kind = detectors[0].kind
        self.listening.advance(self.now, self.now)
        self.seen = []  # the verdict after each contact

    def contact(self, after=60.0, *, flags=DRIVES, ahead=0.0, terminal=1, record=True, **measures):
        """`ahead`: seconds by which the record's own time is ahead; `__` in a name of a measure is its `.`."""
        self.wait(after)
        at = np.array([round(self.now * 1e6)], np.int64)
        row = np.array([terminal], np.int32)
        told = {name.replace("__", "."): np.array([value]) for name, value in measures.items()}
        none = slice(0, 1 if record else 0)
        own = at + round(ahead * 1e6)
        columns = plain(row, at, row[none], own[none], at[none], np.full(1, flags, np.int16)[none], told)
        self.fleet.apply(columns)
        self.fleet.judge()
        self.seen.append(self.verdict(terminal))
        return self

    def wait(self, seconds):
        """In steps in which the gateway listens all the time."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.now + 4.0, until)
            self.listening.advance(self.now, self.now)
        self.fleet.judge()
        return self

    def verdict(self, terminal=1):
        return Verdict(int(self.fleet.verdicts(self.kind)[terminal])).label

    def explain(self, terminal=1):
        detector = self.fleet.detectors[self.kind]
        return detector.explain(self.fleet.view(self.kind), terminal)

    def times(self, count, after=60.0, **contact):
        for _ in range(count):
            self.contact(after, **contact)
        return self
