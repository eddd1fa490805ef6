"""What is owed to the channels: written with the ticket, sent afterwards, at least once.

A row is written in the ticket's own transaction: a crash between the two loses neither. One courier per channel
and target claims what is due (skip locked, with a lease), so that a dead webhook delays nobody else's letters, and a
message that hangs or cannot even be composed none of its neighbours. After an unknown outcome the same message goes out
again under the same identity; the receiver can tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeAlias

import msgspec
import structlog
from psycopg import AsyncConnection, Error
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb
from psycopg_pool import PoolTimeout

from ticketing.core.db import Pool
from ticketing.core.errors import DeliveryError, UndeliverableError
from ticketing.core.moments import utc_now

log = structlog.get_logger()

OPENED = "ticket.opened"

# About 1, 5 and 30 s catch a restart of the receiver; then slower, so that a long outage costs few calls.
RETRY_AFTER = (1, 5, 30, 120, 600, 1800, 3600)
GIVE_UP_AFTER = timedelta(hours=24)
SEND_TIMEOUT = 30.0  # s, for one attempt whole
LEASE = timedelta(seconds=60)  # longer than an attempt: a lease that ends belongs to a dead courier
FAR = timedelta(hours=2)  # beyond any wait and lease of ours, though clocks of two services may differ
EXPIRE = 3600.0  # s between looks for what nobody will send
POLL = 1.0  # s; `wake` makes it sooner
CLAIM = 8  # messages a courier sends at once

Keep: TypeAlias = Callable[[str, Callable[[], Awaitable[object]]], Coroutine[Any, Any, None]]
"""Runs a named piece of work until it returns, and again when it fails."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message as a channel sends it; `body` is the frozen JSON, `number` the ticket's, "" of what has none.

    `settled`: recipients that need no further attempt, as in `DeliveryError`.
    """

    id: str
    event: str
    number: str
    body: str
    settled: Mapping[str, str] = field(default_factory=dict)

    @property
    def ticket(self) -> dict[str, Any] | None:
        """The ticket as it was at the event, with the API's keys; None in a test message and of an outage."""
        found: dict[str, Any] | None = msgspec.json.decode(self.body)["ticket"]
        return found


class Channel(Protocol):
    """A way out: `name` labels the metrics, `target` tells two of one name apart."""

    @property
    def name(self) -> str: ...

    @property
    def target(self) -> str: ...

    @property
    def shown(self) -> str:
        """The target as people may see it: without credentials."""

    async def send(self, message: Outgoing) -> str:
        """Hand the message over; returns the receiver's identity for it, if any.

        Raises
        ------
        DeliveryError
            If it was not taken, or nobody knows. `UndeliverableError` if trying again is pointless.
        """

    async def close(self) -> None:
        """Give back what is held open between messages."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where events are told: a channel's name and target, and which of them it wants."""

    channel: str
    target: str
    events: tuple[str, ...] = field(default=(OPENED,), compare=False)


def trial() -> Outgoing:
    """A message that says only that the channel works."""
    identity = str(uuid.uuid4())
    body = msgspec.json.encode({"event": "notify.test", "id": identity, "ticket": None}).decode()
    return Outgoing(identity, "notify.test", "", body)


async def enqueue(
    connection: AsyncConnection[TupleRow],
    event: str,
    row: int,
    number: str,
    ticket: Any,
    targets: Sequence[Target],
    at: datetime,
    key: str = "",
) -> None:
    """Owe `event` to every target that wants it, inside the caller's transaction; once per `key` and target.

    `ticket` is what they are told of it, as the API shows it; without a `key` an event is told once per ticket number.
    """
    for target in targets:
        if event not in target.events:
            continue
        identity = uuid.uuid4()
        body = msgspec.json.encode({"event": event, "id": str(identity), "ticket": ticket}).decode()
        await connection.execute(
            "INSERT INTO outbox (id, dedupe_key, channel, target, ticket, event, body, created_at, not_before)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (dedupe_key) DO NOTHING",
            (
                identity,
                f"{event} {key or number} {target.channel} {target.target}",
                target.channel,
                target.target,
                row,
                event,
                body,
                at,
                at,
            ),
        )


def _target(channel: Channel) -> Target:
    return Target(channel.name, channel.target, tuple(getattr(channel, "events", (OPENED,))))


class Outbox:
    """Couriers for all channels.

    Attributes
    ----------
    failed : attempts that were not taken, by channel name, since the start.
    unforeseen : those among them that ended in an error no channel is meant to raise.
    """

    def __init__(self, pool: Pool, channels: Sequence[Channel], *, clock: Callable[[], datetime] = utc_now) -> None:
        self._pool = pool
        self._clock = clock
        self._channels: dict[Target, Channel] = {}
        self._wakes: dict[Target, asyncio.Event] = {}
        self._changed = asyncio.Event()
        self._over = False
        self.failed: Counter[str] = Counter()
        self.unforeseen = 0
        self.replace(channels)

    @property
    def targets(self) -> tuple[Target, ...]:
        """What `enqueue` is to be given."""
        return tuple(self._channels)

    def replace(self, channels: Sequence[Channel]) -> None:
        """Deliver over other channels from the next message on. What is owed to one that is gone stays owed."""
        self._channels = {_target(channel): channel for channel in channels}
        for channel in channels:
            self.failed[channel.name] += 0
        self._changed.set()
        self.wake()

    def wake(self) -> None:
        """Something new is owed: do not wait for the next look."""
        for event in self._wakes.values():
            event.set()

    async def run(self, keep: Keep) -> None:
        """Deliver until cancelled. A store that is away is waited for; what else fails, `keep` begins again."""
        self._over = False
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(keep("outbox", self._expire_for_ever))
                while True:
                    self._changed.clear()
                    for target in self._channels:
                        if target not in self._wakes:
                            self._wakes[target] = asyncio.Event()
                            group.create_task(self._serve(target, keep))
                    try:
                        await self._changed.wait()
                    except asyncio.CancelledError:
                        # `asyncio.wait_for` of Python 3.11, as pools use it, may lose a courier's own cancellation.
                        self._over = True
                        self.wake()
                        raise
        finally:
            self._wakes.clear()

    async def _serve(self, target: Target, keep: Keep) -> None:
        await keep("courier", partial(self._courier, target))
        self._wakes.pop(target, None)
        self._changed.set()  # it may be configured again by now

    async def pending(self) -> dict[str, int]:
        """Messages not yet delivered, by channel name."""
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                "SELECT channel, count(*) FROM outbox WHERE state = 'pending' GROUP BY channel"
            )
            return {target.channel: 0 for target in self._channels} | dict(await rows.fetchall())

    async def expire(self) -> int:
        """Give up what is owed, for a day by now, to targets that are no longer configured; returns how much."""
        now = self._clock()
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                "UPDATE outbox SET state = 'failed', last_error = 'its target is no longer configured'"
                " WHERE state = 'pending' AND created_at < %s AND NOT channel || ' ' || target = ANY(%s)",
                (now - GIVE_UP_AFTER, [f"{target.channel} {target.target}" for target in self._channels]),
            )
            return rows.rowcount

    async def deliver(self, channel: Channel) -> int:
        """Send what is due on one channel; returns how many messages were tried."""
        due = await self._claim(channel, CLAIM)
        await asyncio.gather(*(self._attempt(channel, *claimed) for claimed in due))
        return len(due)

    async def _expire_for_ever(self) -> None:
        while True:
            try:
                await self.expire()
            except (Error, PoolTimeout) as error:
                log.warning("outbox waits for the store", error=str(error))
            await asyncio.sleep(EXPIRE)

    async def _courier(self, target: Target) -> None:
        """Carry what is owed to `target`, by the channel that it has at the time; ends when it has none."""
        wake = self._wakes[target]
        used: Channel | None = None
        sending: set[asyncio.Task[None]] = set()
        try:
            while not self._over and (channel := self._channels.get(target)) is not None:
                if used is not channel:
                    await _put_away(used, sending)
                    used = channel
                wake.clear()
                await self._round(channel, sending, wake)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL):
                        await wake.wait()
        finally:
            for task in sending:
                task.cancel()
            await _put_away(used, sending)

    async def _round(self, channel: Channel, sending: set[asyncio.Task[None]], wake: asyncio.Event) -> None:
        """Begin to send what is due, as much as may be under way at once; `wake` tells of room again."""
        room = CLAIM - len(sending)
        try:
            due = await self._claim(channel, room) if room else []
        except (Error, PoolTimeout) as error:
            log.warning("outbox waits for the store", channel=channel.name, error=str(error))
            return

        def sent(task: asyncio.Task[None]) -> None:
            sending.discard(task)
            wake.set()

        for claimed in due:
            task = asyncio.create_task(self._attempt(channel, *claimed))
            sending.add(task)
            task.add_done_callback(sent)

    async def _claim(self, channel: Channel, limit: int) -> list[tuple[Outgoing, int, datetime]]:
        now = self._clock()
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                "UPDATE outbox o SET lease_until = %(lease)s, attempts = attempts + 1 FROM ("
                # A first attempt waits for nothing, and what lies further ahead than any wait or lease was
                # written under a clock that was ahead.
                "  SELECT id FROM outbox w WHERE state = 'pending' AND channel = %(channel)s AND target = %(target)s"
                # Of one ticket a target is told in order.
                "    AND NOT EXISTS (SELECT FROM outbox e WHERE e.ticket = w.ticket AND e.state = 'pending'"
                "      AND e.channel = w.channel AND e.target = w.target AND e.seq < w.seq)"
                "    AND (not_before <= %(now)s OR not_before > %(far)s OR attempts = 0)"
                "    AND (lease_until IS NULL OR lease_until <= %(now)s OR lease_until > %(far)s)"
                "  ORDER BY not_before, seq LIMIT %(limit)s FOR UPDATE SKIP LOCKED) due"
                " WHERE o.id = due.id"
                " RETURNING o.id, o.event, coalesce((SELECT number FROM ticket WHERE id = o.ticket), ''),"
                " o.body, o.settled, o.attempts, o.created_at",
                {
                    "now": now,
                    "lease": now + LEASE,
                    "far": now + FAR,
                    "channel": channel.name,
                    "target": channel.target,
                    "limit": limit,
                },
            )
            return [
                (Outgoing(str(identity), event, number, body, settled), attempts, created_at)
                for identity, event, number, body, settled, attempts, created_at in await rows.fetchall()
            ]

    async def _attempt(self, channel: Channel, message: Outgoing, attempts: int, created_at: datetime) -> None:
        """Send one message and record what came of it; nothing that it raises reaches the others."""
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                provider = await channel.send(message)
        except (DeliveryError, TimeoutError) as error:
            reason = str(error) or f"no answer within {SEND_TIMEOUT:g} s"
            settled = {**message.settled, **(error.settled if isinstance(error, DeliveryError) else {})}
            await self._not_taken(
                channel, message, attempts, created_at, reason, settled, hopeless=isinstance(error, UndeliverableError)
            )
        except Exception as error:
            self.unforeseen += 1
            reason = f"{type(error).__name__}: {error}"
            if attempts == 1:  # its trace is told once
                log.exception("message cannot be sent", channel=channel.name, ticket=message.number)
            await self._not_taken(channel, message, attempts, created_at, reason, message.settled, hopeless=False)
        else:
            await self._settle(
                "UPDATE outbox SET state = 'sent', sent_at = %s, provider_id = %s, lease_until = NULL WHERE id = %s",
                (self._clock(), provider[:200], message.id),
            )

    async def _not_taken(
        self,
        channel: Channel,
        message: Outgoing,
        attempts: int,
        created_at: datetime,
        reason: str,
        settled: Mapping[str, str],
        *,
        hopeless: bool,
    ) -> None:
        self.failed[channel.name] += 1
        now = self._clock()
        # What some took and the others never will is done; `last_error` tells who these are.
        sent = hopeless and "" in settled.values()
        hopeless = hopeless or now - created_at >= GIVE_UP_AFTER
        delay = timedelta(seconds=RETRY_AFTER[min(attempts, len(RETRY_AFTER)) - 1])
        log.warning(
            "message not delivered",
            channel=channel.name,
            ticket=message.number,
            attempt=attempts,
            error=reason,
            retry_in_s=None if hopeless else delay.total_seconds(),
        )
        await self._settle(
            "UPDATE outbox SET state = %s, not_before = %s, last_error = %s, settled = %s, sent_at = %s,"
            " lease_until = NULL WHERE id = %s",
            (
                "sent" if sent else "failed" if hopeless else "pending",
                now + delay,
                _storable(reason),
                Jsonb({who: _storable(why) for who, why in settled.items()}),
                now if sent else None,
                message.id,
            ),
        )

    async def _settle(self, statement: str, values: tuple[Any, ...]) -> None:
        try:
            async with self._pool.connection() as connection:
                await connection.execute(statement.encode(), values)
        except (Error, PoolTimeout) as error:  # its lease ends, and it goes out once more under the same identity
            log.warning("outcome of a message not recorded", message=values[-1], error=str(error))


async def _put_away(channel: Channel | None, sending: set[asyncio.Task[None]]) -> None:
    """Let what is under way end, then give the channel's connections back."""
    if sending:
        await asyncio.wait(sending)
    if channel is not None:
        try:
            await channel.close()
        except Exception:
            log.exception("channel does not close", channel=channel.name)


def _storable(reason: str) -> str:
    """What another side answered, as text that PostgreSQL takes."""
    return reason.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()[:1000]
