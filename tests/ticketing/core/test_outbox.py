import asyncio
import hashlib
import json
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from gateway.configuration.values import MAX_HOOK
from gateway.parts import Supervisor
from tests.ticketing.desk_parts import MONDAY, Clock, add_terminal, done, execute, fetch, pool_of, raise_one
from ticketing.core.errors import DeliveryError, UndeliverableError
from ticketing.core.outbox import CLAIM, GIVE_UP_AFTER, LEASE, Outbox
from ticketing.tickets.store import TicketStore


class Probe:
    """A channel that answers as told, and remembers."""

    name = "webhook"
    shown = "probe"

    def __init__(self, target="a", answers=()):
        self.target = target
        self.answers = list(answers)
        self.got = []
        self.heard = asyncio.Event()
        self.closed = False

    async def send(self, message):
        self.got.append(message)
        self.heard.set()
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        return "taken"

    async def close(self):
        self.closed = True


@asynccontextmanager
async def owed(dsn, *channels, tickets=1):
    async with pool_of(dsn) as pool:
        clock = Clock()
        outbox = Outbox(pool, channels, clock=clock)
        for i in range(tickets):
            await raise_one(pool, await add_terminal(pool, f"t{i}"), targets=outbox.targets)
        yield pool, clock, outbox


def test_each_target_gets_its_own_message_once(postgres_dsn):
    async def scenario():
        a, b = Probe("a"), Probe("b")
        async with owed(postgres_dsn, a, b, tickets=3) as (_, _, outbox):
            assert await outbox.pending() == {"webhook": 6}
            for _ in range(3):
                await outbox.deliver(a)
                await outbox.deliver(b)
            return a.got, b.got, await outbox.pending(), outbox.failed

    a, b, pending, failed = asyncio.run(scenario())
    assert len(a) == len(b) == 3
    assert len({message.id for message in a + b}) == 6
    assert pending == {"webhook": 0}
    assert failed == {"webhook": 0}
    body = json.loads(a[0].body)
    assert set(body) == {"event", "id", "ticket"}
    assert (body["event"], body["id"], body["ticket"]["state"]) == ("ticket.opened", a[0].id, "new")
    assert body["ticket"]["journal"][0]["action"] == "opened"


def test_retries_come_after_about_1_5_and_30_seconds_and_keep_the_id(postgres_dsn):
    async def scenario():
        probe = Probe(answers=[DeliveryError("answered 500")] * 6)
        async with owed(postgres_dsn, probe) as (_, clock, outbox):
            tried = []
            for second in range(1000):
                clock.now = MONDAY + second
                if await outbox.deliver(probe):
                    tried.append(second)
            return tried, probe.got, outbox.failed

    tried, got, failed = asyncio.run(scenario())
    assert tried == [0, 1, 6, 36, 156, 756]
    assert len({message.id for message in got}) == 1
    assert len({message.body for message in got}) == 1
    assert failed == {"webhook": 6}


def test_after_a_day_it_is_given_up_and_stays_visible(postgres_dsn):
    async def scenario():
        probe = Probe(answers=[DeliveryError("answered 500")] * 1000)
        async with owed(postgres_dsn, probe) as (pool, clock, outbox):
            tries = 0
            while clock.now < MONDAY + 2 * 86_400:
                tries += await outbox.deliver(probe)
                clock.now += 300
            return tries, await fetch(pool, "SELECT state, attempts, last_error FROM outbox"), await outbox.pending()

    tries, rows, pending = asyncio.run(scenario())
    assert rows == [("failed", tries, "answered 500")]
    assert 24 <= tries <= 40
    assert pending == {"webhook": 0}


def test_what_cannot_be_delivered_is_not_tried_again(postgres_dsn):
    async def scenario():
        probe = Probe(answers=[UndeliverableError("no such address")])
        async with owed(postgres_dsn, probe) as (pool, clock, outbox):
            await outbox.deliver(probe)
            clock.now += GIVE_UP_AFTER.total_seconds()
            assert await outbox.deliver(probe) == 0
            return await fetch(pool, "SELECT state, last_error FROM outbox")

    assert asyncio.run(scenario()) == [("failed", "no such address")]


def test_a_courier_that_died_while_sending_is_followed_by_another(postgres_dsn):
    async def scenario():
        probe = Probe()
        async with owed(postgres_dsn, probe) as (pool, clock, outbox):
            await execute(
                pool,
                "UPDATE outbox SET attempts = 1, lease_until = %s",
                clock() + LEASE - timedelta(seconds=1),
            )
            early = await outbox.deliver(probe)
            clock.now += LEASE.total_seconds()
            return early, await outbox.deliver(probe), len(probe.got)

    assert asyncio.run(scenario()) == (0, 1, 1)


def test_two_couriers_never_send_one_message_twice(postgres_dsn):
    async def scenario():
        probe = Probe()
        async with owed(postgres_dsn, probe, tickets=2 * CLAIM) as (_, _, outbox):
            await asyncio.gather(*(outbox.deliver(probe) for _ in range(6)))
            return [message.id for message in probe.got]

    sent = asyncio.run(scenario())
    assert len(sent) == len(set(sent)) == 2 * CLAIM


def test_a_dead_target_delays_no_other(postgres_dsn):
    class Hanging(Probe):
        async def send(self, message):
            self.heard.set()
            await asyncio.sleep(3600)

    async def scenario():
        dead, alive = Hanging("dead"), Probe("alive")
        async with pool_of(postgres_dsn) as pool:
            outbox = Outbox(pool, [dead, alive])
            running = asyncio.create_task(outbox.run(Supervisor().keep))
            await raise_one(pool, await add_terminal(pool, "t"), targets=outbox.targets)
            outbox.wake()
            async with asyncio.timeout(10):
                await dead.heard.wait()
                await alive.heard.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            return dead.closed, alive.closed

    assert asyncio.run(scenario()) == (True, True)


def test_a_store_that_is_away_is_waited_for(postgres_dsn):
    async def scenario():
        probe = Probe()
        async with pool_of(postgres_dsn) as pool:
            outbox = Outbox(pool, [probe])
            await execute(pool, "ALTER TABLE outbox RENAME TO outbox_away")
            with capture_logs() as logs:
                running = asyncio.create_task(outbox.run(Supervisor().keep))
                async with asyncio.timeout(10):
                    while not any(line["event"] == "outbox waits for the store" for line in logs):  # noqa: ASYNC110 - only the log tells
                        await asyncio.sleep(0.01)
            assert not running.done()
            await execute(pool, "ALTER TABLE outbox_away RENAME TO outbox")
            await raise_one(pool, await add_terminal(pool, "t"), targets=outbox.targets)
            async with asyncio.timeout(10):
                await probe.heard.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    asyncio.run(scenario())


def test_what_is_owed_to_a_removed_target_is_given_up_after_a_day(postgres_dsn):
    async def scenario():
        kept, removed = Probe("kept"), Probe("removed")
        async with owed(postgres_dsn, kept, removed) as (pool, clock, _):
            outbox = Outbox(pool, [kept], clock=clock)
            clock.now += GIVE_UP_AFTER.total_seconds()
            early = await outbox.expire()
            clock.now += 1
            return early, await outbox.expire(), await fetch(pool, "SELECT target, state FROM outbox ORDER BY target")

    assert asyncio.run(scenario()) == (0, 1, [("kept", "pending"), ("removed", "failed")])


@asynccontextmanager
async def delivering(outbox):
    """It runs as in the service; parts that fail are counted."""
    supervisor = Supervisor((0.01, 0.05))
    running = asyncio.create_task(outbox.run(supervisor.keep))
    try:
        yield supervisor
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


class Picky(Probe):
    """Raises what no channel is meant to raise for the tickets named; `hang` never answers for them."""

    def __init__(self, bad, hang=False):
        super().__init__("picky")
        self.bad, self.hang, self.taken = set(bad), hang, []

    async def send(self, message):
        self.heard.set()
        if message.number in self.bad:
            if self.hang:
                await asyncio.sleep(3600)
            raise ValueError("a letter that cannot be composed\x00")
        self.taken.append(message.number)
        return "taken"


@pytest.mark.parametrize("hang", [False, True])
def test_a_message_that_cannot_be_composed_or_hangs_blocks_only_itself(postgres_dsn, hang):
    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            channel = Picky([], hang)
            outbox = Outbox(pool, [channel])
            for i in range(3 * CLAIM):
                await raise_one(pool, await add_terminal(pool, f"t{i}"), time.time(), targets=outbox.targets)
            numbers = [number for (number,) in await fetch(pool, "SELECT number FROM ticket ORDER BY id")]
            channel.bad = set(numbers[:2])
            async with delivering(outbox) as supervisor, asyncio.timeout(10):
                while len(channel.taken) < len(numbers) - 2 or outbox.unforeseen < (0 if hang else 2):
                    channel.heard.clear()
                    await channel.heard.wait()
                    await asyncio.sleep(0.1)  # what came of it is recorded
                rows = await fetch(
                    pool,
                    "SELECT o.state, attempts, not_before > created_at, last_error FROM outbox o"
                    " JOIN ticket t ON t.id = o.ticket WHERE t.number = ANY(%s)",
                    sorted(channel.bad),
                )
                return sorted(channel.taken), sorted(numbers[2:]), rows, supervisor.failures.total()

    taken, wanted, rows, failures = asyncio.run(scenario())
    assert taken == wanted
    assert failures == 0
    if not hang:
        assert {row[:3] for row in rows} <= {("pending", 1, True), ("pending", 2, True)}
        assert all("cannot be composed" in row[3] for row in rows)


def test_a_courier_with_full_hands_goes_on_as_soon_as_one_is_free(postgres_dsn, monkeypatch):
    monkeypatch.setattr("ticketing.core.outbox.POLL", 3600.0)

    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            channel = Picky([])
            outbox = Outbox(pool, [channel])
            for i in range(3 * CLAIM):
                await raise_one(pool, await add_terminal(pool, f"t{i}"), time.time(), targets=outbox.targets)
            async with delivering(outbox), asyncio.timeout(10):
                while len(channel.taken) < 3 * CLAIM:
                    channel.heard.clear()
                    await channel.heard.wait()

    asyncio.run(scenario())


def test_its_trace_is_told_once(postgres_dsn, capsys):
    async def scenario():
        async with owed(postgres_dsn, Picky([])) as (pool, clock, outbox):
            [(number,)] = await fetch(pool, "SELECT number FROM ticket")
            (channel,) = outbox._channels.values()
            channel.bad = {number}
            for _ in range(3):
                await outbox.deliver(channel)
                clock.now += 60
            return outbox.unforeseen, outbox.failed

    assert asyncio.run(scenario()) == (3, {"webhook": 3})
    out = capsys.readouterr().out
    assert (out.count("message cannot be sent"), out.count("message not delivered")) == (1, 3)


def test_a_channel_that_does_not_even_close_hurts_nobody(postgres_dsn):
    class Stuck(Probe):
        async def close(self):
            raise RuntimeError("close")

    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            other = Probe("other")
            outbox = Outbox(pool, [Stuck("stuck"), other])
            async with delivering(outbox) as supervisor, asyncio.timeout(10):
                await asyncio.sleep(0.1)
                outbox.replace([other])
                await raise_one(pool, await add_terminal(pool, "t"), targets=outbox.targets)
                outbox.wake()
                await other.heard.wait()
                outbox.replace([other, Probe("stuck")])
                return supervisor.failures.total()

    assert asyncio.run(scenario()) == 0


def test_a_target_that_comes_back_while_its_courier_ends_is_served(postgres_dsn):
    class Slow(Probe):
        async def close(self):
            await asyncio.sleep(0.2)

    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            outbox = Outbox(pool, [Slow("a")])
            async with delivering(outbox), asyncio.timeout(10):
                await asyncio.sleep(0.1)
                outbox.replace([])
                await asyncio.sleep(0.1)
                again = Probe("a")
                outbox.replace([again])
                await raise_one(pool, await add_terminal(pool, "t"), targets=outbox.targets)
                await again.heard.wait()

    asyncio.run(scenario())


@pytest.mark.parametrize("ahead", [60.0, 3600.0, 86_400.0, 366 * 86_400.0])
def test_a_clock_that_was_ahead_keeps_no_message_waiting(postgres_dsn, ahead):
    """A ticket opened before the clock was set right is told at once, not when that time comes."""

    async def scenario():
        probe = Probe()
        async with pool_of(postgres_dsn) as pool:
            clock = Clock(MONDAY + ahead)
            outbox = Outbox(pool, [probe], clock=clock)
            await raise_one(pool, await add_terminal(pool, "t"), MONDAY + ahead, targets=outbox.targets)
            clock.now = MONDAY
            await outbox.deliver(probe)
            return len(probe.got)

    assert asyncio.run(scenario()) == 1


def test_what_a_clock_ahead_put_off_or_leased_is_tried_when_it_is_right_again(postgres_dsn):
    async def scenario():
        probe = Probe(answers=[DeliveryError("answered 500")] * 2)
        async with owed(postgres_dsn, probe, tickets=2) as (pool, clock, outbox):
            clock.now = MONDAY + 366 * 86_400 - 1000
            await execute(pool, "UPDATE outbox SET created_at = %s", clock())
            assert await outbox.deliver(probe) == 2, "and both were put off, a year from now"
            await execute(
                pool,
                "UPDATE outbox SET lease_until = %s WHERE id = (SELECT id FROM outbox ORDER BY id LIMIT 1)",
                clock() + LEASE,
            )
            clock.now = MONDAY
            assert await outbox.deliver(probe) == 2
            return await fetch(pool, "SELECT state, attempts FROM outbox"), len({message.id for message in probe.got})

    assert asyncio.run(scenario()) == ([("sent", 2), ("sent", 2)], 2)


def test_clocks_of_two_services_may_differ_by_minutes(postgres_dsn):
    """What one of them is sending, the other leaves alone, though its lease lies far ahead there."""

    async def scenario():
        probe = Probe()
        async with owed(postgres_dsn, probe) as (pool, clock, outbox):
            for behind in (1, 30, 600, 3600):
                await execute(pool, "UPDATE outbox SET attempts = 1, lease_until = %s", clock() + LEASE)
                clock.now -= behind
                assert await outbox.deliver(probe) == 0, behind
                clock.now += behind
            return probe.got

    assert asyncio.run(scenario()) == []


def test_a_clock_that_leaps_ahead_for_a_moment_gives_up_what_failed_in_it_alone(postgres_dsn):
    async def scenario():
        probe = Probe(answers=[DeliveryError("answered 500")])
        async with owed(postgres_dsn, probe, tickets=1) as (pool, clock, outbox):
            clock.now += 30 * 86_400
            await outbox.deliver(probe)
            clock.now -= 30 * 86_400
            row = await add_terminal(pool, "later")
            await raise_one(pool, row, targets=outbox.targets)
            await outbox.deliver(probe)
            return await fetch(pool, "SELECT state FROM outbox ORDER BY attempts, state"), len(probe.got)

    assert asyncio.run(scenario()) == ([("failed",), ("sent",)], 2)


def test_a_ticket_is_owed_to_targets_of_every_length_that_a_configuration_may_hold(postgres_dsn):
    """No URL that is taken at the start keeps tickets from being opened afterwards."""

    async def scenario():
        random = "".join(hashlib.sha256(str(n).encode()).hexdigest() for n in range(60))  # nothing to be compressed
        probes = [Probe(("https://hooks.example/" + random)[:size]) for size in (30, 900, MAX_HOOK)]
        async with owed(postgres_dsn, *probes, tickets=2) as (_, _, outbox):
            for probe in probes:
                await outbox.deliver(probe)
            return [len(probe.got) for probe in probes]

    assert asyncio.run(scenario()) == [2, 2, 2]


def test_every_state_of_a_row_is_told_by_what_became_of_it(postgres_dsn):
    """Pending keeps its place, sent has its time and the other side's name for it, failed says why."""

    async def scenario():
        answers = [DeliveryError("answered 503"), None, UndeliverableError("no such address\x00\ud800")]
        probe = Probe(answers=answers)
        async with owed(postgres_dsn, probe, tickets=3) as (pool, _, outbox):
            while await outbox.deliver(probe):
                pass
            rows = await fetch(
                pool,
                "SELECT state, sent_at IS NOT NULL, provider_id, last_error, lease_until, attempts FROM outbox"
                " ORDER BY state",
            )
            return rows, await outbox.pending(), outbox.failed, outbox.unforeseen

    rows, pending, failed, unforeseen = asyncio.run(scenario())
    assert rows == [
        ("failed", False, None, "no such address\ufffd?", None, 1),
        ("pending", False, None, "answered 503", None, 1),
        ("sent", True, "taken", None, None, 1),
    ]
    assert (pending, failed, unforeseen) == ({"webhook": 1}, {"webhook": 2}, 0)


def test_a_message_is_frozen_when_it_is_owed(postgres_dsn):
    """Whatever is done to the ticket meanwhile, each receiver hears of it as it was opened, and hears the same."""

    async def scenario():
        early, late = Probe("a"), Probe("b")
        async with owed(postgres_dsn, early, late) as (pool, clock, outbox):
            await outbox.deliver(early)
            store = TicketStore(pool, clock=clock)
            number = early.got[0].number
            await done(store, "take", number, "anna", "mine")
            await done(store, "ask", number, "anna", "is it in the yard?")
            await execute(pool, "UPDATE terminal SET name = 'renamed'")
            await outbox.deliver(late)
            return json.loads(early.got[0].body), json.loads(late.got[0].body)

    first, second = asyncio.run(scenario())
    assert first["id"] != second["id"]
    assert first["ticket"] == second["ticket"]
    assert second["ticket"]["state"] == "new"


def test_a_courier_that_does_not_hear_of_the_end_ends_all_the_same(postgres_dsn, monkeypatch):
    """A cancellation that comes just as the pool gives a connection is lost in Python 3.11."""
    monkeypatch.setattr("ticketing.core.outbox.POLL", 3600.0)

    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            outbox, asked = Outbox(pool, [Probe()]), asyncio.Event()

            async def deaf(_channel, _limit):
                asked.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    return []

            monkeypatch.setattr(outbox, "_claim", deaf)
            async with asyncio.timeout(30), delivering(outbox):
                await asked.wait()

    asyncio.run(scenario())
