"""Sends what one cursor has before it to its consumer, for as long as this service holds the cursor.

    stands by ── the cursor is free ──→ holds it ── connects ──→ a page: read, published, acknowledged; moves on …
        ↑                                 ↑            │
        └── the store's connection lost ──┴────────────┴── the consumer's lost: again, from what it acknowledged

A record that the consumer refuses for itself is set aside and offered again later and later, so that it stops nobody.
A consumer that refuses whatever comes, or whose broker takes records for which nobody subscribes any more, is as good
as away: the cursor stays.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import aiomqtt
import msgspec
import psycopg
import structlog
from numpy.typing import NDArray

from gateway.configuration.carriers import Egress
from gateway.egress.following import BREAKS, PAGE, Follower, LostError, Page, connect
from gateway.egress.platforms import WIALON_IPS, Platform
from gateway.egress.publishing import FAILED, NOBODY, OF_ITSELF, QUOTA, ConsumerError, Publisher
from gateway.egress.relays import SPOKEN, Relay
from gateway.mqtt import context_of
from gateway.tls import CertificateError
from ticketing.channels.secrets import read_secret
from ticketing.core.errors import DeliveryError

_log = structlog.get_logger()

IDLE = 0.25  # s between looks when nothing comes
STANDBY = 2.0  # s between attempts to take the cursor, which another service holds
AGAIN = (0.5, 10.0)  # s before the consumer is tried again: at first, at most
GONE = -1  # in place of a reason code: the record is not in the store any more
PATIENCE = 5  # refusals in a row, of a consumer that takes nothing else, before a record is set aside
TEND = 10.0  # s between looks at what was set aside, and at what everybody has done with


Consumer: TypeAlias = Publisher | Platform | Relay


class Stats(msgspec.Struct):
    """What is known of one consumer; instants are Unix seconds."""

    name: str
    sent: int = 0  # acknowledged, by this process
    lost: int = 0
    aside: int = 0
    oldest: float | None = None  # when the oldest record that waits was stored
    holding: bool = False
    connected: bool = False


class Sender:
    """One `[[egress]]`."""

    def __init__(self, dsn: str, settings: Egress) -> None:
        self._dsn = dsn
        self._settings = settings
        self._took = False  # the consumer took something since it was connected
        self._refused = 0  # times in a row that it refused what came first, and took nothing
        self._broke: tuple[bytes, int] = (b"", 0)  # before which record the connection was lost last, how often
        self._careful = 0  # so many records are sent one by one
        self._tend_at = 0.0
        self._told = ""
        self.stats = Stats(settings.name)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                link = await connect(self._dsn)
                try:
                    await self._follow(link)
                finally:
                    self.stats.holding = self.stats.connected = False
                    await link.close()
            except LostError:
                _log.info("the cursor was begun anew", egress=self.stats.name)
            except (psycopg.Error, OSError) as error:
                self._tell("egress has no store", error)
            await asyncio.sleep(1.0)

    async def _follow(self, link: psycopg.AsyncConnection[Any]) -> None:
        follower = Follower(link, self._settings.name, self._settings.start, self._settings.terminals)
        while not await follower.take():
            self._show(follower)
            await asyncio.sleep(STANDBY)
        self.stats.holding = True
        _log.info("egress holds its cursor", egress=self.stats.name)
        self._pause = AGAIN[0]
        while True:
            self._show(follower)
            try:
                async with await self._publisher(follower.client) as publisher:
                    self.stats.connected, self._took = True, False
                    while True:
                        await self._turn(follower, publisher)
                        self._show(follower)
            except (aiomqtt.MqttError, ConsumerError, CertificateError, DeliveryError) as error:
                self._tell("the consumer is away", error)
            finally:
                self.stats.connected = False
            await follower.look()
            self._show(follower)
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, AGAIN[1])

    async def _publisher(self, client: str) -> Consumer:
        settings = self._settings
        password = (
            ""
            if settings.password_file is None
            else (await read_secret(settings.password_file)).decode("utf-8", "replace")
        )
        if settings.url.scheme == WIALON_IPS:
            return Platform(settings.url, password)
        if settings.url.scheme in SPOKEN:
            return Relay(settings.url)
        tls = await asyncio.to_thread(context_of, settings.url, settings.tls)
        return Publisher(settings.url, f"dozor-{client.replace('-', '')[:16]}", tls, password)

    async def _turn(self, follower: Follower, publisher: Consumer) -> None:
        """A page, or a pause where there is none."""
        now = asyncio.get_running_loop().time()
        if now >= self._tend_at:
            self._tend_at = now + TEND
            await follower.prune()
            if await self._offer_again(follower, publisher):
                self._tend_at = now  # there may be more, after the next page
        page = await follower.page()
        if page is not None:
            await self._send(follower, publisher, page)
            return
        await asyncio.sleep(IDLE)
        publisher.check()

    async def _send(self, follower: Follower, publisher: Consumer, page: Page) -> None:
        codes: list[int | None] = [None] * len(page.keys)
        try:
            await self._publish(follower, publisher, page.keys, codes, one_by_one=self._careful > 0)
        except (ConsumerError, aiomqtt.MqttError) as error:
            first, why = await self._move(follower, page, codes)
            if first < len(codes) and codes[first] is None:
                await self._broken(follower, publisher, page, first)
                raise
            raise ConsumerError(why or str(error)) from error
        _, why = await self._move(follower, page, codes)
        if why:
            raise ConsumerError(why)
        if codes:
            self._careful = max(0, self._careful - len(codes))
            self._progress()

    @staticmethod
    async def _publish(
        follower: Follower, publisher: Consumer, keys: NDArray[Any], codes: list[int | None], *, one_by_one: bool
    ) -> None:
        """Until all are acknowledged; `codes` are filled as they are told.

        One by one until the first is taken; meanwhile nothing is sent behind a terminal's record that nobody read: who
        begins to read in the middle of a page must not have its end before its beginning.
        """
        missed: set[int] = set()
        payloads = await follower.payloads.read(keys)
        for place, payload in enumerate(payloads):
            terminal = int(keys["terminal"][place])
            if terminal in missed:
                codes[place] = NOBODY
                continue
            if payload is None:
                codes[place] = GONE
                continue
            if payload.large:
                await follower.payloads.whole(payload, keys[place])
            await publisher.pass_on(payload, partial(codes.__setitem__, place))
            payloads[place] = None  # its texts need not wait for the page's end
            if one_by_one or not publisher.taken:
                await publisher.acknowledged()
                if codes[place] == NOBODY:
                    missed.add(terminal)
        await publisher.acknowledged()

    async def _move(self, follower: Follower, page: Page, codes: Sequence[int | None]) -> tuple[int, str]:
        """Move behind what is done with: how many, and why the cursor stays before the rest (empty: there is none)."""
        terminals = page.keys["terminal"].tolist()
        takers = {
            terminal for terminal, code in zip(terminals, codes, strict=True) if code is not None and _taken(code)
        }
        if takers:
            self._took, self._refused = True, 0
        refused: list[tuple[bytes, str]] = []
        count = lost = 0
        why = ""
        for code in codes:
            if code is None:
                why = "the connection is lost"
            elif code == NOBODY and self._unread(follower, terminals[count]):
                why = "nobody subscribes to its topics"
            elif code == QUOTA:
                why = "its quota is exceeded"
            elif code >= FAILED and not self._at_fault(code, count):
                why = f"it refuses records (0x{code:02x})"
            if code is None or why:
                break
            if code == GONE:
                lost += 1
            elif code >= FAILED:
                refused.append((page.keys[count].tobytes(), _reason(code)))
            count += 1
        await follower.move(page, 0, count, refused=refused, lost=lost, takers=takers)
        self._count(sent=count - len(refused) - lost, refused=refused, lost=lost)
        return count, why

    def _unread(self, follower: Follower, terminal: int) -> bool:
        """Whether its reader is missing, rather than nobody caring for this terminal."""
        return not follower.takers or terminal in follower.takers

    def _at_fault(self, code: int, place: int) -> bool:
        """Whether the record is refused, and not whatever comes."""
        if code in OF_ITSELF or self._took:
            return True
        if place == 0:
            self._refused += 1
            return self._refused > PATIENCE
        return False

    async def _broken(self, follower: Follower, publisher: Consumer, page: Page, first: int) -> None:
        """The connection was lost before this record was acknowledged: find out whether it is the reason."""
        if not publisher.on_its_way() or not publisher.lost():
            return
        key = page.keys[first].tobytes()
        self._broke = key, self._broke[1] + 1 if self._broke[0] == key else 1
        if not self._careful and self._broke[1] > 1:
            self._careful, self._broke = PAGE, (b"", 0)
        elif self._careful and self._broke[1] > 2:
            await follower.move(page, first, first + 1, refused=[(key, BREAKS)])
            self._count(sent=0, refused=[(key, BREAKS)], lost=0)

    async def _offer_again(self, follower: Follower, publisher: Consumer) -> bool:
        """What was set aside and is due; whether there was any."""
        keys = await follower.offered_again()
        if not len(keys):
            return False
        codes: list[int | None] = [None] * len(keys)
        try:
            await self._publish(follower, publisher, keys, codes, one_by_one=False)
        finally:
            told = list(zip([key.tobytes() for key in keys], codes, strict=True))
            done = [key for key, code in told if code is not None and (code == GONE or _taken(code))]
            # Where the connection broke, that may be the reason: such are offered alone.
            refused = [(key, _reason(code)) for key, code in told if key not in done]
            lost = codes.count(GONE)
            await follower.settle(done, refused, sent=len(done) - lost, lost=lost)
            self._count(sent=len(done) - lost, refused=[], lost=lost)
        return True

    # -- telling ------------------------------------------------------------------------------------------------

    def _show(self, follower: Follower) -> None:
        self.stats.oldest, self.stats.aside = follower.oldest, follower.aside

    def _count(self, *, sent: int, refused: Sequence[tuple[bytes, str]], lost: int) -> None:
        self.stats.sent += sent
        self.stats.lost += lost
        if lost:
            _log.error("retention dropped records before they were passed on", egress=self.stats.name, records=lost)
        if refused:
            reasons = Counter(reason for _, reason in refused)
            _log.warning("records set aside: the consumer refuses them", egress=self.stats.name, reasons=dict(reasons))

    def _tell(self, what: str, error: Exception) -> None:
        """Once for each reason."""
        told = f"{what}: {str(error).strip() or type(error).__name__}"
        if told != self._told:
            self._told = told
            _log.warning(what, egress=self.stats.name, error=str(error).strip() or type(error).__name__)

    def _progress(self) -> None:
        if self._told:
            _log.info("egress goes on", egress=self.stats.name)
        self._told, self._pause = "", AGAIN[0]


def _reason(code: int | None) -> str:
    return BREAKS if code is None else f"0x{code:02x}"


def _taken(code: int) -> bool:
    return code < FAILED and code not in (NOBODY, GONE)
