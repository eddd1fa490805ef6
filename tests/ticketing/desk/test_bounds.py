"""What the desk remembers of strangers and of what was typed: bounded, fair, and nobody else's. Any order of events."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ticketing.kit import kept as kept_module
from ticketing.kit import throttle as throttle_module
from ticketing.kit.kept import ENTRIES, LIFETIME, Kept, Told
from ticketing.kit.throttle import FORGET, LIMITS, Throttle

NAMES = st.sampled_from(["ann", "Ann", "bob", "x" * 200, ""])
ADDRESSES = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"])


class Guessing(RuleBasedStateMachine):
    """People and strangers at the login, beside a plain account of who failed how often, and when last."""

    def __init__(self):
        super().__init__()
        self.now = 1000.0
        self.throttle = Throttle(lambda: self.now)
        self.failed = {}  # (kind, key): times in a row, when last

    def keys(self, name, address):
        name = name.lower()[:64]
        return {"name and address": (name, address), "address": address, "name": name}

    def wait(self, kind, key):
        times, last = self.failed.get((kind, key), (0, 0.0))
        limit = LIMITS[kind]
        if times < limit.free or self.now - last > FORGET:
            return 0.0
        return max(0.0, last + min(limit.first * 2.0 ** min(times - limit.free, 32), limit.longest) - self.now)

    @rule(name=NAMES, address=ADDRESSES, good=st.booleans(), times=st.integers(1, 12))
    def attempts(self, name, address, good, times):
        for _ in range(times):
            keys = self.keys(name, address)
            expected = max(self.wait(kind, key) for kind, key in keys.items())
            wait = self.throttle.begin(name, address)
            assert wait == expected
            assert 0 <= wait <= max(limit.longest for limit in LIMITS.values())
            if wait:
                return
            for kind, key in keys.items():
                before, last = self.failed.get((kind, key), (0, 0.0))
                self.failed[kind, key] = (before + 1 if self.now - last <= FORGET else 1), self.now
            if good:
                self.throttle.succeeded(name, address)
                for kind, key in keys.items():
                    before, last = self.failed[kind, key]
                    self.failed[kind, key] = (0 if kind == "name and address" else before - 1), last

    @rule(seconds=st.sampled_from([0.5, 9.0, 60.0, 901.0, FORGET + 1]))
    def time_passes(self, seconds):
        self.now += seconds

    @invariant()
    def nobody_waits_for_ever(self):
        now, self.now = self.now, self.now + max(limit.longest for limit in LIMITS.values()) + 1
        assert all(self.wait(kind, key) == 0 for kind, key in self.failed)
        self.now = now


TestGuessing = Guessing.TestCase
TestGuessing.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


class Remembering(RuleBasedStateMachine):
    """Texts of actions that were refused, by token."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.kept = Kept(lambda: self.now)
        self.put = []  # (token, user, until, told), oldest first

    @rule(user=NAMES, text=st.text(max_size=5), times=st.sampled_from([1, 3, 150]))
    def refused(self, user, text, times):
        for _ in range(times):
            told = Told("why", text)
            self.put.append((self.kept.put(user, told), user, self.now + LIFETIME, told))

    @rule(seconds=st.sampled_from([1.0, LIFETIME / 2, LIFETIME]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(stranger=NAMES)
    def asked(self, stranger):
        for place, (token, user, until, told) in enumerate(reversed(self.put[-ENTRIES - 5 :])):
            there = place < ENTRIES and self.now < until
            assert self.kept.get(user, token) == (told if there else None)
            if stranger != user:
                assert self.kept.get(stranger, token) is None
        assert self.kept.get(stranger, "no token") is None
        assert self.kept.get("", "") is None

    @invariant()
    def it_is_bounded(self):
        assert len(self.kept._entries) <= ENTRIES
        assert len({token for token, *_ in self.put}) == len(self.put)


TestRemembering = Remembering.TestCase
TestRemembering.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


def test_a_flood_of_invented_names_forgets_the_oldest(monkeypatch):
    monkeypatch.setattr(throttle_module, "MAX_KEYS", 50)
    throttle = Throttle(lambda: 0.0)
    for n in range(400):
        throttle.begin(f"name {n}", f"2001:db8::{n:x}")
        assert len(throttle._counters) <= 50
    for _ in range(5):
        assert throttle.begin("ann", "192.0.2.1") == 0
    assert throttle.begin("ann", "192.0.2.1") > 0, "who guesses now is not forgotten"


def test_the_text_of_the_last_one_is_there_however_many_there_were(monkeypatch):
    monkeypatch.setattr(kept_module, "ENTRIES", 3)
    kept = Kept(lambda: 0.0)
    tokens = [kept.put("ann", Told("why", str(n))) for n in range(10)]
    assert [kept.get("ann", token) is not None for token in tokens] == [False] * 7 + [True] * 3
