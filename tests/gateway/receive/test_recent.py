"""What is remembered for a while, against a memory that forgets nothing; and what relies on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.receive.identity import Alternation
from gateway.receive.limits import RegistrationLimit
from gateway.receive.recent import Recent

PERIOD, MOST = 10.0, 4
KEYS = st.integers(0, 9)


@dataclass
class Said:
    """One entry as somebody with a perfect memory has it."""

    value: int
    at: float
    since: set[int] = field(default_factory=set)  # keys that came after it


class Memory(RuleBasedStateMachine):
    """`Recent` beside a list of all that was ever put."""

    def __init__(self) -> None:
        super().__init__()
        self.recent: Recent[int, int] = Recent(PERIOD, MOST)
        self.now = 100.0
        self.said: dict[int, Said] = {}
        self.count = 0
        self.last_put = 0.0

    @rule(passed=st.floats(0, 3 * PERIOD))
    def wait(self, passed: float) -> None:
        self.now += passed

    @rule(key=KEYS)
    def put(self, key: int) -> None:
        self.count += 1
        self.recent.put(key, self.count, self.now)
        for other, said in self.said.items():
            if other != key:
                said.since.add(key)
        self.said[key] = Said(self.count, self.now)
        self.last_put = self.now

    @precondition(lambda self: self.said)
    @rule(key=KEYS)
    def get(self, key: int) -> None:
        found, said = self.recent.get(key), self.said.get(key)
        if said is None:
            assert found is None, "never said"
            return
        assert found in (None, said.value), "what was said last, or nothing"
        # It is kept until it is a period old when something else is written, unless too many came meanwhile.
        if self.last_put - said.at < PERIOD and len(said.since) < MOST:
            assert found == said.value
        if self.last_put - said.at >= 3 * PERIOD:
            assert found is None, "nothing is older than three periods once something new came"

    @invariant()
    def bounded(self) -> None:
        assert len(self.recent) <= 2 * MOST


Memory.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestMemory = Memory.TestCase


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("xyz"), st.floats(0, 90)), max_size=40))
def test_no_more_new_terminals_than_both_limits_allow(came: list[tuple[str, str, float]]) -> None:
    """In any stretch of time: as many at once, and as many a minute; whoever was let in once is let in again."""
    together, each = 3, 2
    limit, now = RegistrationLimit(together, each), 0.0
    granted: dict[str, tuple[str, float]] = {}
    for terminal, host, passed in came:
        now += passed
        answer = limit.take(terminal, host, now)
        if terminal in granted:
            assert answer, "it may have to come again until it is in the registry"
        elif answer:
            granted[terminal] = host, now
    for begin in (at for _, at in granted.values()):
        for minutes in (0.0, 1.0, 2.5):
            within = [host for host, at in granted.values() if begin <= at <= begin + 60 * minutes]
            assert len(within) <= together * (1 + minutes) + 1e-6
            assert all(within.count(host) <= each * (1 + minutes) + 1e-6 for host in "xyz")


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["t", "u"]), st.sampled_from("abc"), st.floats(1, 900)), max_size=30))
def test_an_alternation_is_told_only_of_an_address_that_came_back(came: list[tuple[str, str, float]]) -> None:
    """A terminal that goes from address to address and never back is one terminal, however often it moves."""
    seen, now = Alternation(600.0), 0.0
    logins: dict[str, list[tuple[str, float]]] = {}
    told: dict[str, float] = {}
    for terminal, host, passed in came:
        now += passed
        before = logins.setdefault(terminal, [])
        other = seen.came(terminal, host, before[-1][0] if before else None, now)
        before.append((host, now))
        if other is None:
            continue
        assert other != host
        hosts = [name for name, _ in before[:-1]]
        assert other == hosts[-1], "where it was until now"
        assert host in hosts, "it was there before"
        left = len(hosts) - hosts[::-1].index(host)  # the login by which it went away
        assert now - before[left][1] <= 600.0, "and not long ago"
        assert now - told.get(terminal, -1e9) > 600.0, "once in a window"
        told[terminal] = now
