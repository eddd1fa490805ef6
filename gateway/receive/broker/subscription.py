"""One `[[mqtt]]` of one process: connect, subscribe, take, connect again.

refused, lost → after a pause, longer each time
neither store nor spool takes anything → not connected: the broker keeps what comes
session not present, and it was there before → told, counted: the broker has lost what it kept for us
"""

from __future__ import annotations

import asyncio
import random
import ssl
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from gateway.configuration.carriers import Mqtt
from gateway.receive.broker import wire
from gateway.receive.broker.link import Link
from gateway.receive.broker.payloads import Payloads
from gateway.receive.broker.presence import Presences
from gateway.receive.broker.sessions import Noted, Sessions
from gateway.receive.broker.topics import JSON, Kind, Route, Topics, status_filters
from gateway.receive.conversations import Conversations
from protocols.json_records import Template
from protocols.registry import PROTOCOLS, protocol
from ticketing.channels.secrets import read_secret
from ticketing.core.errors import DeliveryError

_log = structlog.get_logger()

KEEP_ALIVE = 60  # s; a NAT forgets after some minutes
PATIENCE = 10.0  # s for TCP, TLS and each answer of the broker
PAUSE = (0.5, 30.0)  # s before the next attempt: at first, at most
LIVED = 10.0  # s after which a connection counted as one, and the next pause is short again
UNHEARD = 60.0  # s without a broker after which nobody is known to be connected to it
IDLE = 3.0  # s without a message after which a session that is left behind counts as empty
_ROUTES = 50_000  # topics remembered; a fleet's, or what a stranger invents
_REMEMBERED = 256  # bytes of the longest topic that is
Answer = TypeVar("Answer", wire.Connected, wire.Subscribed)
_AWAY = (OSError, ssl.SSLError, TimeoutError, DeliveryError)
_NO_STORE = (psycopg.Error, PoolTimeout, OSError)


class RefusedError(Exception):
    """The broker does not let us in, or does not give us what we ask for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A broker with all that was read for it."""

    entry: Mqtt
    client_id: str
    filters: tuple[wire.Filter, ...]
    context: ssl.SSLContext | None
    template: Template | None

    @property
    def address(self) -> str:
        """The broker's, as metrics name it."""
        return str(self.entry.url)

    @property
    def noted(self) -> Noted:
        """Its session."""
        return Noted(self.address, self.client_id, [topic for topic, _ in self.filters])


def largest_packet() -> int:
    """Bytes of the largest message that can be a frame: the payload, the longest topic, properties."""
    return max(protocol(name).max_frame for name in PROTOCOLS) + (128 << 10)


def filters_of(entry: Mqtt, worker: int, workers: int) -> tuple[wire.Filter, ...]:
    """What a process subscribes to. Workers share the load; who is connected is heard by the first of them."""
    group = entry.share or (entry.client_id if workers > 1 else "")
    prefix = f"$share/{group}/" if group else ""
    found = [wire.Filter(prefix + topic) for topic in dict.fromkeys(entry.topics)]
    if worker <= 1:
        found += [wire.Filter(topic, wire.Retained.ALWAYS) for topic in status_filters(entry.topics)]
    return tuple(found)


class Subscription:
    """See the module.

    Attributes
    ----------
    plan : what it was made from; another one of the same session may be put in its place.
    connected : whether messages come.
    lost : how often the broker had lost the session.
    noted : the session of this name that the broker has had; None: none that is known.
    """

    def __init__(
        self, plan: Plan, shared: Conversations, sessions: Sessions, noted: Noted | None, *, leave: bool
    ) -> None:
        """`leave`: the session is left behind: take what is in it, then end it."""
        self.plan = plan
        self._shared = shared
        self._sessions = sessions
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self._presences = Presences(shared, JSON, plan.address)
        self._payloads = Payloads(shared, plan.address, self._presences)
        self._topics = Topics(plan.entry.topics, plan.template)
        self._routes: dict[bytes, Route] = {}
        self._answers: asyncio.Queue[wire.Packet] = asyncio.Queue()
        self._link: Link | None = None
        self._last = 0.0  # the loop's time of the last message
        self._told = ""
        self._unheard: asyncio.TimerHandle | None = None
        self._stopping = False
        self.noted = noted
        self.connected = False
        self.lost = 0

    def change(self, plan: Plan) -> None:
        """Another certificate, template or password: from the next connection, the next message on."""
        self.plan = plan
        self._topics = Topics(plan.entry.topics, plan.template)
        self._routes.clear()
        self._payloads.configure()

    # -- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take messages until cancelled; returns only when a session that is left behind has ended."""
        pause = PAUSE[0]
        try:
            while not self._stopping:
                if self._shared.pipeline.keeper.refusing:
                    await asyncio.sleep(PAUSE[0])
                    continue
                begun = self._loop.time()
                reason = ""
                try:
                    if await self._session():
                        return
                    reason = self._link.ended.result() if self._link is not None else ""
                except (RefusedError, wire.WireError, *_AWAY) as error:
                    reason = str(error).strip() or type(error).__name__
                finally:
                    self._disconnected()
                self._tell(reason)
                if self._loop.time() - begun > LIVED:
                    pause = PAUSE[0]
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # so that many do not come at once
                pause = min(2 * pause, PAUSE[1])
        finally:
            self._presences.end_all("service stopped")

    def _disconnected(self) -> None:
        self.connected = False
        if self._link is not None:
            self._link.abort("given up")
        self._link = None
        if self._unheard is None:
            self._unheard = self._loop.call_later(UNHEARD, self._presences.end_all, "broker away")

    def hold(self) -> None:
        """The service stops: take nothing more."""
        self._stopping = True
        if self._link is not None:
            self._link.hold()

    def close(self) -> None:
        """Acknowledge what is stored; the session stays at the broker."""
        if self._link is not None:
            self._link.close(wire.disconnect())

    def _tell(self, reason: str) -> None:
        """Once, not at each attempt."""
        if reason and reason != self._told and not self._stopping:
            _log.warning("mqtt: no connection", broker=self.plan.address, client_id=self.plan.client_id, reason=reason)
        self._told = reason

    # -- one connection -----------------------------------------------------------------------------------------

    async def _session(self) -> bool:
        """One connection, to its end; True: the session that was left behind is empty and gone."""
        link = await self._connect()
        found = await self._answer(wire.Connected, link)
        if found.reason:
            raise RefusedError(f"refused: {wire.reason_text(found.reason, found.told)}")
        keep_alive = found.keep_alive if found.keep_alive is not None else KEEP_ALIVE
        if self._leave:
            return await self._empty(link, present=found.session_present)
        if not found.session_present and self.noted is not None:
            self.lost += 1
            _log.error(
                "mqtt: the broker has lost our session, and what it kept in it",
                broker=self.plan.address, client_id=self.plan.client_id,
            )  # fmt: skip
        mine = self.plan.noted
        stale = [topic for topic in self.noted.filters if topic not in mine.filters] if self.noted is not None else []
        if found.session_present and stale:  # of other settings
            link.write(wire.unsubscribe(2, stale))
            await self._answer(wire.Subscribed, link)
        link.write(wire.subscribe(1, self.plan.filters))
        granted = await self._answer(wire.Subscribed, link)
        self._check(granted, found)
        self.noted, self.connected, self._told = mine, True, ""
        if self._unheard is not None:
            self._unheard.cancel()
            self._unheard = None
        _log.info(
            "mqtt: subscribed", broker=self.plan.address, client_id=self.plan.client_id,
            session_present=found.session_present,
        )  # fmt: skip
        try:
            await self._sessions.note(mine)
        except _NO_STORE:  # noted at the next connection; until then a lost session is noticed by this process
            _log.debug("mqtt: session not noted: no store")
        await self._stay(link, keep_alive)
        return False

    async def _connect(self) -> Link:
        plan, entry = self.plan, self.plan.entry
        password = entry.url.password.encode()
        if entry.password_file is not None:
            password = await read_secret(entry.password_file)
        most = largest_packet()
        hello = wire.connect(
            plan.client_id, entry.url.user, password,
            keep_alive=KEEP_ALIVE, receive_maximum=entry.receive_maximum, max_packet=most,
        )  # fmt: skip
        self._answers = asyncio.Queue()
        link = Link(
            hello, self._on_packet, self._shared.pipeline, receive_maximum=entry.receive_maximum, max_packet=most
        )
        self._link = link  # messages may come right behind the first answer
        async with asyncio.timeout(PATIENCE):
            await self._loop.create_connection(
                lambda: link, entry.url.host, entry.url.port, ssl=plan.context,
                server_hostname=entry.url.host if plan.context is not None else None,
            )  # fmt: skip
        return link

    async def _answer(self, kind: type[Answer], link: Link) -> Answer:
        """The broker's answer to what was said last."""
        waiting = self._loop.create_task(self._answers.get())
        either: set[asyncio.Future[Any]] = {waiting, link.ended}
        try:
            while True:
                done, _ = await asyncio.wait(either, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
                if done or not link.held:  # else it stands behind messages that there is no room for
                    break
            if waiting.done():
                packet = waiting.result()
                if isinstance(packet, kind):
                    return packet
                raise wire.WireError(f"{type(packet).__name__} in place of {kind.__name__}")
        finally:
            waiting.cancel()
        if link.ended.done():
            raise RefusedError(link.ended.result())
        raise TimeoutError("the broker does not answer")

    def _check(self, granted: wire.Subscribed, found: wire.Connected) -> None:
        """Whether the broker gives what was asked for; less than that is told, nothing at all is refused."""
        filters = self.plan.filters
        if len(granted.reasons) != len(filters):
            raise wire.WireError("an answer to another number of subscriptions")
        refused = [
            (topic, reason) for (topic, _), reason in zip(filters, granted.reasons, strict=True) if reason & 0x80
        ]
        for topic, reason in refused:
            _log.error(
                "mqtt: subscription refused",
                broker=self.plan.address,
                topic=topic,
                reason=wire.reason_text(reason, granted.told),
            )
        if any(reason == 0 for reason in granted.reasons):
            _log.error("mqtt: the broker gives QoS 0 only: what is lost is not sent again", broker=self.plan.address)
        if found.expiry is not None and found.expiry < wire.EXPIRY:
            _log.warning(
                "mqtt: the broker keeps our session for less than was asked for",
                broker=self.plan.address, seconds=found.expiry, asked=wire.EXPIRY,
            )  # fmt: skip
        if len(refused) == len(filters):
            raise RefusedError(f"all subscriptions refused: {wire.reason_text(refused[0][1], granted.told)}")

    async def _stay(self, link: Link, keep_alive: int) -> None:
        """Until it ends: let the broker know that we are there, and notice when it is not."""
        period = keep_alive / 2 if keep_alive else KEEP_ALIVE
        while True:
            await asyncio.wait({link.ended}, timeout=period)
            if link.ended.done():
                return
            if link.silent_for(keep_alive or 2 * KEEP_ALIVE):
                link.abort("the broker says nothing any more")
            else:
                link.write(wire.PING)

    async def _empty(self, link: Link, *, present: bool) -> bool:
        """Take what a session that was left behind still has, and end it."""
        plan = self.plan
        if present:
            link.write(wire.unsubscribe(1, [topic for topic, _ in plan.filters]))
            await self._answer(wire.Subscribed, link)
            self._last = self._loop.time()
            while link.window or self._loop.time() - self._last < IDLE:
                await asyncio.wait({link.ended}, timeout=0.5)
                if link.ended.done():
                    return False
        link.close(wire.disconnect(forget=True))
        _log.info("mqtt: a session that was left behind has ended", broker=plan.address, client_id=plan.client_id)
        try:
            await self._sessions.forget(plan.noted)
        except _NO_STORE:
            _log.debug("mqtt: session not forgotten: no store")  # it is found gone at the next start
        return True

    # -- what comes ---------------------------------------------------------------------------------------------

    def _new_route(self, topic: bytes) -> Route:
        route = self._topics.route(topic)
        if len(topic) <= _REMEMBERED:
            if len(self._routes) >= _ROUTES:
                self._routes.clear()
            self._routes[topic] = route
        return route

    def _on_packet(self, packet: wire.Packet) -> None:
        if type(packet) is wire.PublishIn:
            link = self._link
            if link is None:
                return
            self._last = self._loop.time()
            route = self._routes.get(packet.topic) or self._new_route(packet.topic)
            delivery = link.window.take(packet.mid, len(packet.payload))
            if self._leave and route.kind is Kind.STATUS:  # the session in use is told it anew
                delivery.settle()
                return
            try:
                self._payloads.take(route, packet, delivery)
            except Exception:  # a bug: it is not acknowledged, and comes again; the others go on until then
                _log.exception("mqtt: a message failed", terminal=route.terminal, bytes=len(packet.payload))
                delivery.abandon()
        elif isinstance(packet, wire.Disconnected):
            reason = wire.reason_text(packet.reason, packet.told)
            if packet.reason == wire.TAKEN_OVER:
                _log.error(
                    "mqtt: another client has our client_id: give each gateway its own",
                    broker=self.plan.address, client_id=self.plan.client_id,
                )  # fmt: skip
            if self._link is not None:
                self._link.abort(f"disconnected by the broker: {reason}")
        elif not isinstance(packet, wire.Pong):
            self._answers.put_nowait(packet)
