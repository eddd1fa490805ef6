"""All brokers of a process: made from the settings, changed on reload, supervised one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from gateway.configuration.carriers import Mqtt
from gateway.configuration.settings import Settings
from gateway.configuration.template import read_template
from gateway.mqtt import context_of
from gateway.parts import Supervisor
from gateway.receive.broker import wire
from gateway.receive.broker.sessions import Noted, Sessions
from gateway.receive.broker.subscription import Plan, Subscription, filters_of
from gateway.receive.conversations import Conversations

_log = structlog.get_logger()


class BrokerState(NamedTuple):
    """How it stands with a broker: whether all that is to be connected is (None: nothing is to be any more), and how
    often it had lost a session."""

    connected: bool | None
    lost: int


BrokerStates: TypeAlias = dict[str, BrokerState]  # by host:port


def together(all_states: Iterable[Mapping[str, BrokerState]]) -> BrokerStates:
    """Several processes, or subscriptions, as one."""
    found: BrokerStates = {}
    for states in all_states:
        for address, (connected, lost) in states.items():
            before = found.get(address, BrokerState(None, 0))
            known = [each for each in (before.connected, connected) if each is not None]
            found[address] = BrokerState(all(known) if known else None, before.lost + lost)
    return found


class Brokers:
    """Subscriptions by session: broker and client id."""

    def __init__(
        self, conversations: Conversations, supervisor: Supervisor, instance: str, worker: int, workers: int
    ) -> None:
        """`worker` counts from 1 where there are several `workers`."""
        self._conversations = conversations
        self._supervisor = supervisor
        self._sessions = Sessions(conversations.terminals.pool, instance)
        self._worker = worker
        self._workers = workers
        self._all: dict[tuple[str, str], tuple[Subscription, asyncio.Task[None]]] = {}
        self._lost: dict[str, int] = {}  # by broker, sessions that were lost by subscriptions that are no more
        self._seen: dict[tuple[str, str], Noted] = {}  # sessions that were noted

    async def prepare(self, settings: Settings) -> list[Plan]:
        """Read what the settings name: templates, certificates; nothing changes yet.

        Raises
        ------
        GatewayError
            If one of them cannot be used.
        """
        return [await asyncio.to_thread(self._plan, entry) for entry in settings.mqtt]

    def _plan(self, entry: Mqtt) -> Plan:
        client_id = entry.client_id if self._workers <= 1 else f"{entry.client_id}-{self._worker - 1}"
        return Plan(
            entry, client_id, filters_of(entry, self._worker, self._workers), context_of(entry.url, entry.tls),
            read_template(entry.template) if entry.template is not None else None,
        )  # fmt: skip

    async def apply(self, plans: Sequence[Plan]) -> None:
        """Serve as prepared: what is the same goes on undisturbed."""
        wanted = {(plan.address, plan.client_id): plan for plan in plans}
        left = await self._noted() if plans or self._all else []
        for key in [key for key in self._all if key not in wanted]:
            await self._end(key)
        for key, plan in wanted.items():
            if key in self._all:
                if _same(self._all[key][0].plan, plan):
                    self._all[key][0].change(plan)
                    continue
                await self._end(key)
            self._begin(key, plan, leave=False)
        if self._worker <= 1:
            self._leave(left, wanted)

    async def _noted(self) -> list[Noted]:
        try:
            found = await self._sessions.all()
        except (psycopg.Error, PoolTimeout, OSError) as error:
            _log.warning("mqtt: earlier sessions are not known: no store", error=str(error).strip())
            return []
        self._seen = {(noted.broker, noted.client_id): noted for noted in found}
        return found

    def _leave(self, noted: Sequence[Noted], wanted: dict[tuple[str, str], Plan]) -> None:
        """Sessions of ours that nobody uses any more, at brokers that we still know."""
        mine = {(address, plan.entry.client_id) for (address, _), plan in wanted.items()}
        ours = set(wanted) | {
            (address, f"{name}-{number}")
            for address, name in mine
            for number in range(self._workers)
            if self._workers > 1
        }
        for session in noted:
            key = (session.broker, session.client_id)
            plan = next((plan for (address, _), plan in wanted.items() if address == session.broker), None)
            if key in ours or key in self._all or plan is None:
                continue
            _log.info(
                "mqtt: a session was left behind: it is emptied", broker=session.broker, client_id=session.client_id
            )
            filters = tuple(wire.Filter(topic) for topic in session.filters)
            self._begin(key, Plan(plan.entry, session.client_id, filters, plan.context, plan.template), leave=True)

    def _begin(self, key: tuple[str, str], plan: Plan, *, leave: bool) -> None:
        subscription = Subscription(plan, self._conversations, self._sessions, self._seen.get(key), leave=leave)
        task = asyncio.create_task(self._supervisor.keep(f"mqtt {plan.address}", subscription.run))
        self._all[key] = subscription, task

    async def _end(self, key: tuple[str, str]) -> None:
        subscription, task = self._all.pop(key)
        if subscription.lost:
            self._lost[subscription.plan.address] = self._lost.get(subscription.plan.address, 0) + subscription.lost
        subscription.close()
        task.cancel()
        await asyncio.wait({task})

    def hold(self) -> None:
        """Take nothing more."""
        for subscription, _ in self._all.values():
            subscription.hold()

    async def stop(self) -> None:
        """Acknowledge what is stored, and go; the sessions stay."""
        for key in list(self._all):
            await self._end(key)

    def states(self) -> BrokerStates:
        """How it stands with each broker."""
        mine = [
            {one.plan.address: BrokerState(one.connected or task.done(), one.lost)} for one, task in self._all.values()
        ]
        return together([{address: BrokerState(None, lost) for address, lost in self._lost.items()}, *mine])


def _same(before: Plan, after: Plan) -> bool:
    """Whether a connection by `before` may go on as one by `after`."""
    old, new = before.entry, after.entry
    return before.filters == after.filters and (old.url, old.receive_maximum, old.password_file, old.tls) == (
        new.url, new.receive_maximum, new.password_file, new.tls,
    )  # fmt: skip
