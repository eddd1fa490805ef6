"""Who may connect, how often an address may log in or bring new terminals, how fast a terminal is read.

Everything counted here is bounded: open connections by descriptors, the rest by what was lately seen (`recent`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import resource
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, Protocol, TypeVar

from gateway.configuration.settings import Limits
from gateway.receive.recent import Recent
from protocols.records import Frame, Message, Reply

DESCRIPTOR_RESERVE = 256  # for the store, the desk, logs and listeners
KEYS = 100_000  # addresses or terminals whose rate is remembered at once, per generation: some 10 MB each
MINUTE = 60.0
GRANTED = 600.0  # s, at least, for which a new terminal need not ask again; longer while few come
BURST = 1.0  # s worth of records that a rested terminal may send at once
LONGEST_HOLD = 60.0  # s a terminal is left unread at most: below the least silence that is worth a ticket

K = TypeVar("K", bound=Hashable)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def within(host: str, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of `networks`; an IPv4 address that came mapped into IPv6 is one of IPv4."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:  # the peer was gone before it could be asked for its address
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


class Gate:
    """Counts connections, those still in their handshake too, and says which are too many.

    Attributes
    ----------
    most : connections at once, after the descriptors that there are.
    """

    def __init__(self, limits: Limits) -> None:
        self.open = 0
        self._per_address: Counter[str] = Counter()
        self.configure(limits)

    def configure(self, limits: Limits) -> None:
        """Take other limits; who is inside stays inside."""
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.most = max(1, min(limits.connections, descriptors - DESCRIPTOR_RESERVE))
        self._per_host = limits.connections_per_address
        self._networks = limits.allow

    def allowed(self, host: str) -> bool:
        """Whether `limits.allow` lets this address in."""
        return not self._networks or within(host, self._networks)

    def enter(self, host: str, *, trusted: bool = False) -> str:
        """Count a connection in; the reason if it is refused, in which case it has to `leave` all the same.

        `trusted`: a proxy's own connection, which speaks for many addresses.
        """
        self.open += 1
        self._per_address[host] += 1
        if not trusted and not self.allowed(host):
            return "not_allowed"
        if self.open > self.most:
            return "limit"
        if self._per_host and not trusted and self._per_address[host] > self._per_host:
            return "address_limit"
        return ""

    def leave(self, host: str) -> None:
        """Count it out."""
        self.open -= 1
        self._per_address[host] -= 1
        if self._per_address[host] <= 0:
            del self._per_address[host]


class Rates(Generic[K]):
    """Token buckets, kept as one number a key: when its bucket will be full again (the generic cell rate algorithm)."""

    def __init__(self, per_second: float, burst: float, longest: float = 0.0, most: int = KEYS) -> None:
        """`burst`: seconds' worth that may come at once; `longest`: seconds of debt that are remembered."""
        self._interval = 1.0 / per_second
        self._burst = burst + 1e-6  # sums of intervals are not exact
        self._longest = longest
        self._full: Recent[K, float] = Recent(self._burst + longest, most)

    def owed(self, key: K, now: float, amount: float = 0.0) -> float:
        """Seconds until `amount` more would be within the rate; not above 0: it is."""
        return max(self._full.get(key) or now, now) + amount * self._interval - now - self._burst

    def take(self, key: K, now: float, amount: float) -> float:
        """Take `amount`, on credit if need be; what is owed then, as above."""
        owed = min(self.owed(key, now, amount), self._longest)
        self._full.put(key, owed + now + self._burst, now)
        return owed


class PerMinute:
    """Events a key may cause in a minute; as many may come at once."""

    def __init__(self, most: int) -> None:
        self._rates: Rates[str] = Rates(most / MINUTE, MINUTE)

    def over(self, key: str, now: float) -> bool:
        """Whether one more is above the limit."""
        return self._rates.owed(key, now, 1) > 0

    def take(self, key: str, now: float) -> bool:
        """Whether one more is within the limit; one that is not counts for nothing."""
        if self.over(key, now):
            return False
        self._rates.take(key, now, 1)
        return True


class RegistrationLimit:
    """New terminals in a minute: of all addresses together, and of each.

    One that was granted is granted for a while: it may have to come again until it is in the registry.
    """

    def __init__(self, together: int, per_address: int) -> None:
        """0: no limit."""
        self._together = PerMinute(together) if together else None
        self._per_address = PerMinute(per_address) if per_address else None
        self._granted: Recent[str, bool] = Recent(GRANTED, KEYS)

    def take(self, terminal: str, host: str, now: float) -> bool:
        """Whether this terminal may be registered; one that may not counts for nothing."""
        if self._granted.get(terminal):
            return True
        if self._per_address is not None and self._per_address.over(host, now):
            return False
        if self._together is not None and not self._together.take("", now):
            return False
        if self._per_address is not None:
            self._per_address.take(host, now)
        self._granted.put(terminal, True, now)
        return True


def _records_of(terminal: str, items: Sequence[Frame | Message | Reply]) -> Counter[str]:
    """How many records of each terminal; `terminal` is whose connection it is."""
    found: Counter[str] = Counter()
    for item in items:
        if type(item) is Frame:
            found[item.terminal or terminal] += (item.records or 1) * item.count
    return found


class Readable(Protocol):
    """A conversation that can be left unread for a while."""

    terminal: str

    def hold(self) -> None:
        """Read no more; what was taken is stored and acknowledged as ever."""

    def let_go(self) -> None:
        """Read on."""


class Pace:
    """Records a terminal may send in a second: above it its socket is left unread, so that nothing is lost."""

    def __init__(self, per_second: int, now: Callable[[], float]) -> None:
        self._rates: Rates[str] = Rates(float(per_second), BURST, LONGEST_HOLD)
        self._now = now
        self._held: dict[Readable, asyncio.TimerHandle] = {}

    def took(self, conversation: Readable, items: Sequence[Frame | Message | Reply]) -> None:
        """Items of `conversation` were committed: count their records, and hold it if they were too many."""
        for terminal, records in _records_of(conversation.terminal, items).items():
            self._hold(conversation, self._rates.take(terminal, self._now(), records))

    def came(self, conversation: Readable) -> None:
        """A terminal logged in: what it owes from before is not forgiven."""
        self._hold(conversation, self._rates.owed(conversation.terminal, self._now()))

    def took_datagram(self, terminal: str, items: Sequence[Frame | Message | Reply]) -> None:
        """Count records that came by datagram."""
        for whose, records in _records_of(terminal, items).items():
            self._rates.take(whose, self._now(), records)

    def over(self, terminal: str) -> bool:
        """Whether a datagram of this terminal should stay unanswered."""
        return self._rates.owed(terminal, self._now()) > 0

    def _hold(self, conversation: Readable, seconds: float) -> None:
        if seconds > 0 and conversation not in self._held:
            conversation.hold()
            loop = asyncio.get_running_loop()
            self._held[conversation] = loop.call_later(seconds, self._release, conversation)

    def _release(self, conversation: Readable) -> None:
        if self._held.pop(conversation, None) is not None:
            conversation.let_go()

    def holds(self, conversation: Readable) -> bool:
        """Whether it is left unread."""
        return conversation in self._held

    def forget(self, conversation: Readable) -> None:
        """It is closed."""
        timer = self._held.pop(conversation, None)
        if timer is not None:
            timer.cancel()

    def release_all(self) -> None:
        """The limit is gone."""
        for timer in self._held.values():
            timer.cancel()
        held, self._held = self._held, {}
        for conversation in held:
            conversation.let_go()
