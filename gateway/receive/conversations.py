"""What the conversations of a process share, and who speaks for which terminal."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from gateway.configuration.settings import Limits, Settings
from gateway.metrics import ReceiveMetrics
from gateway.receive.admissions import Admissions
from gateway.receive.asking import Asking
from gateway.receive.commanding import Commanding, Talk
from gateway.receive.enrolment import Admission
from gateway.receive.history import History
from gateway.receive.identity import Alternation, Note, remark
from gateway.receive.limited import Limited
from gateway.receive.limits import Pace, PerMinute, Readable, RegistrationLimit
from gateway.receive.pipeline import Pipeline
from gateway.receive.terminals import NO_ROW, PENDING, Terminals
from protocols.records import Malformed, Session
from protocols.registry import WireProtocol

_log = structlog.get_logger()

ADMISSION = 2.0  # s for the registry's answer before another way is looked for


class Speaker(Readable, Talk, Protocol):
    """A conversation, as far as the others are concerned."""

    protocol: int
    row: int
    last: float

    @property
    def address(self) -> str:
        """Where it comes from."""

    @property
    def counted(self) -> tuple[int, int, int]:
        """Its number in the history of connections, frames, and damaged ones."""

    @property
    def host(self) -> str:
        """The address without the port."""

    def supersede(self, reason: str) -> None:
        """A newer one speaks for its terminal: end."""

    def enter(self, row: int) -> None:
        """Its terminal is in the registry now."""


class Conversations:
    """One per process.

    Attributes
    ----------
    offset : wall clock minus the loop's clock, s.
    asking : whom to ask for the firmware version.
    commanding : whom to send commands.
    limited : terminals that are kept raw until they may be registered.
    relayed : questions to the registry for terminals of relays.
    on_login : called with terminal and address of each login: other processes want to know.
    """

    def __init__(
        self,
        settings: Settings,
        protocols: Sequence[WireProtocol],
        pipeline: Pipeline,
        terminals: Terminals,
        history: History,
        metrics: ReceiveMetrics,
        *,
        clock: Callable[[], float] = time.time,
        processes: int = 1,
        secret: bytes = b"",
    ) -> None:
        """`processes` receive on the same ports: each has its share of what new terminals may be registered.

        `secret` is the instance's: some protocols make of it what they give their terminals.
        """
        self.protocols = list(protocols)
        self._numbers = {wire.name: number for number, wire in enumerate(self.protocols)}
        self.pipeline = pipeline
        self.terminals = terminals
        self.history = history
        self.metrics = metrics
        self.admissions = Admissions()
        self.asking = Asking(terminals.pool, clock)
        self.limited = Limited(terminals.pool)
        self.relayed: set[asyncio.Task[None]] = set()
        self.pace: Pace | None = None
        self.offset = 0.0
        self.on_login: Callable[[str, str], None] | None = None
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self.commanding = Commanding(terminals.pool, self.now, self.speaker)
        self._processes = processes
        self._secret = secret
        self._logins: PerMinute | None = None
        self._new: RegistrationLimit | None = None
        self._alternation = Alternation()
        self._links = 0
        self._by_terminal: dict[str, Speaker] = {}
        self._set_up(None, settings)
        self.set_offset()

    def configure(self, settings: Settings) -> None:
        """Take other settings."""
        self._set_up(self._settings.limits, settings)

    def _set_up(self, before: Limits | None, settings: Settings) -> None:
        self._settings = settings
        self._keyed = [self._besides(wire) for wire in self.protocols]
        self.asking.configure(settings.watch.firmware.catalogue, on=settings.watch.firmware.ask)
        self.terminals.policy = settings.login.policy
        limits = settings.limits
        logins, records = limits.logins_per_minute_per_address, limits.records_per_second_per_terminal
        if before is None or before.logins_per_minute_per_address != logins:
            self._logins = PerMinute(logins) if logins else None
        if before is None or before.records_per_second_per_terminal != records:
            if self.pace is not None:
                self.pace.release_all()
            self.pace = Pace(records, self.now) if records else None
        new = limits.registrations_per_minute, limits.registrations_per_minute_per_address
        if before is None or (before.registrations_per_minute, before.registrations_per_minute_per_address) != new:
            self._new = RegistrationLimit(*(-(-most // self._processes) for most in new)) if any(new) else None

    def set_offset(self) -> None:
        """Look at the wall clock."""
        self.offset = self._clock() - self._loop.time()

    def number(self, name: str) -> int:
        """Of a protocol, by its name."""
        return self._numbers[name]

    def new_session(self, protocol: int, transport: str, *, carried: bool = False) -> Session:
        """A session of protocol number `protocol`, with the configured frame limit.

        `carried`: by a broker, which has found out already who it is.
        """
        return self.protocols[protocol].new_session(
            transport=transport,
            max_frame=self._settings.limits.frame_bytes,
            **({} if carried else self._keyed[protocol]),
        )

    def _besides(self, wire: WireProtocol) -> dict[str, Any]:
        """What sessions of a protocol take besides; of most protocols nothing."""
        if not wire.keyed:
            return {}
        table = getattr(self._settings, wire.name.replace("-", "_"), None)
        return {"secret": self._secret, **(msgspec.structs.asdict(table) if table is not None else {})}

    @property
    def deferring(self) -> bool:
        """Whether unknown terminals are accepted without a row: the policy lets them in and the store is away."""
        return self.terminals.policy == "accept" and not self.pipeline.keeper.store_up

    def malformed(self, protocol: int, event: Malformed) -> None:
        """Count damage."""
        self.metrics.malformed[event.reason][protocol] += 1

    # -- who speaks for which terminal --------------------------------------------------------------------------

    def may_log_in(self, conversation: Speaker) -> bool:
        """Whether its address has not made too many logins."""
        if self._logins is None or self._logins.take(conversation.host, self.now()):
            return True
        self.metrics.refused["login_rate"] += 1
        self.metrics.logins["refused"][conversation.protocol] += 1
        return False

    def new_link(self, host: str) -> int:
        """A connection's `Source.link`."""
        self._links = self._links % 255 + 1
        return (zlib.crc32(host.encode()) & 0xFF) << 8 | self._links

    def may_register(self, conversation: Speaker) -> bool:
        """Whether its terminal, a new one, may be registered now."""
        return self._new is None or self._new.take(conversation.terminal, conversation.host, self.now())

    async def let_in(self, speaker: Speaker) -> tuple[Admission, int]:
        """Ask the registry of one that cannot be sent away until later: without an answer it is decided when the spool
        is drained."""
        name = self.protocols[speaker.protocol].name
        try:
            async with asyncio.timeout(ADMISSION):
                return await self.terminals.admit(speaker.terminal, name, lambda: self.may_register(speaker))
        except TimeoutError:  # no store: others must not wait for it behind this one
            return "accepted", PENDING

    def too_many_new(self, conversation: Speaker) -> None:
        """It may not: counted."""
        self.metrics.refused["registration_rate"] += 1
        self.metrics.logins["refused"][conversation.protocol] += 1

    def logged_in(self, conversation: Speaker) -> None:
        """The newest conversation of a terminal ends the one before it."""
        terminal = conversation.terminal
        older = self._by_terminal.get(terminal)
        self._by_terminal[terminal] = conversation
        if older is conversation:
            return
        reason = f"replaced by a newer connection from {conversation.address}"
        host = conversation.host
        other = self._alternation.came(terminal, host, older.host if older is not None else None, self.now())
        if other is not None:
            _log.warning("duplicate identity", terminal=terminal, addresses=[other, host])
            reason = f"duplicate identity: logins alternate between {other} and {host}"
            self.pipeline.put(Note(conversation.protocol, terminal), remark(other, host), self.now())
        if older is not None:
            older.supersede(reason)
        if self.pace is not None:
            self.pace.came(conversation)
        if self.on_login is not None:
            self.on_login(terminal, conversation.address)

    def stand_in(self, speaker: Speaker) -> bool:
        """It says from afar that its terminal is connected, which counts while no conversation speaks for it."""
        return self._by_terminal.setdefault(speaker.terminal, speaker) is speaker

    def stand_down(self, speaker: Speaker) -> None:
        """Its terminal is not connected any more, as far as it knows."""
        if self._by_terminal.get(speaker.terminal) is speaker:
            del self._by_terminal[speaker.terminal]

    def logged_in_elsewhere(self, terminal: str, address: str) -> None:
        """A terminal's newest conversation is another process's: an older one here ends."""
        host = address.rpartition(":")[0]
        older = self._by_terminal.pop(terminal, None)
        # That process tells of an alternation; here it is only followed.
        self._alternation.came(terminal, host, older.host if older is not None else None, self.now())
        self._alternation.left(terminal, host, self.now())
        if older is not None:
            older.supersede(f"replaced by a newer connection from {address}")

    def left(self, conversation: Speaker) -> None:
        """It is over."""
        if self.pace is not None:
            self.pace.forget(conversation)
        if self._by_terminal.get(conversation.terminal) is conversation:
            del self._by_terminal[conversation.terminal]
            self._alternation.left(conversation.terminal, conversation.host, self.now())

    def held(self, conversation: Speaker) -> bool:
        """Whether it is left unread for having sent too much."""
        return self.pace is not None and self.pace.holds(conversation)

    def count(self) -> int:
        """How many terminals are connected and logged in."""
        return len(self._by_terminal)

    def last_contact(self, terminal: str) -> float | None:
        """When its open conversation last brought bytes, Unix seconds; None while it has none."""
        found = self._by_terminal.get(terminal)
        return found.last + self.offset if found is not None else None

    def counted(self, terminal: str) -> tuple[int, int, int] | None:
        """Of its open conversation: number in the history, frames, and damaged ones; None while it has none."""
        found = self._by_terminal.get(terminal)
        return found.counted if found is not None else None

    def speaker(self, terminal: str) -> Speaker | None:
        """Who speaks for it here."""
        return self._by_terminal.get(terminal)

    def unregistered(self) -> Iterator[str]:
        """Terminals that are connected and not in the registry."""
        return (name for name, one in self._by_terminal.items() if one.row == NO_ROW)
