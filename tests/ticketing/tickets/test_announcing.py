"""Webhooks are told of warnings and breaches that they asked for, each once, in order."""

import asyncio
from datetime import UTC, datetime

from tests.ticketing.channels.test_notifier import Kept
from tests.ticketing.desk_parts import MONDAY, Clock, add_terminal, pool_of, raise_one
from ticketing.channels.events import BREACHED, EVENTS, WARNED
from ticketing.core.outbox import OPENED, Outbox
from ticketing.engine import Clocks
from ticketing.incidents import Incidents
from ticketing.tickets.office import Office


def test_warnings_and_breaches_are_told(shared_dsn):
    async def scenario():
        async with pool_of(shared_dsn) as pool:
            clock = Clock()
            usual, all_of_it = Kept("usual", (OPENED,)), Kept("all", EVENTS)
            outbox = Outbox(pool, [usual, all_of_it], clock=clock)
            office = Office(targets=outbox.targets)
            number = (
                await raise_one(pool, await add_terminal(pool, "t"), incidents=Incidents(pool, office=office))
            ).number
            clocks = Clocks(pool, office)
            for hours in (0, 3, 3, 24):  # 4 working hours are promised
                await clocks.cycle(datetime.fromtimestamp(MONDAY + hours * 3600, UTC))
            for _ in range(10):
                for channel in (usual, all_of_it):
                    await outbox.deliver(channel)
            return number, usual.told, all_of_it.told

    number, usual, told = asyncio.run(scenario())
    assert [event for event, *_ in usual] == [OPENED]
    events = [event for event, *_ in told]
    assert events[0] == OPENED
    assert events.count(WARNED) == 3
    assert events.index(BREACHED) > events.index(WARNED)
    assert events.count(BREACHED) == 1
    assert {body["ticket"]["number"] for *_, body in told} == {number}
    assert told[-1][2]["ticket"]["verdict"] == "breached"
