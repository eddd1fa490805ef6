"""The queue's turns over a real store: nights alone, in order, once, whatever is killed in between (S2-26)."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from psycopg import OperationalError

from gateway.service.archives import StoredArchives
from gateway.service.remote_work import commands_of
from gateway.store import dispatch
from tests.ticketing.desk.parts import add_records
from tests.ticketing.desk_parts import add_terminal, execute, fetch, pool_of, raise_one
from ticketing import policies
from ticketing.core.errors import ConflictError, WrongInputError
from ticketing.engine import modules_of
from ticketing.people.scope import ALL
from ticketing.reloads import jobs, queue
from ticketing.reloads.jobs import NewReload
from ticketing.tickets.office import Office

NOON = datetime(2026, 11, 16, 9, tzinfo=UTC)  # 12:00 in Moscow, a Monday
NIGHT = datetime(2026, 11, 16, 17, tzinfo=UTC)  # 20:00
DAWN = NIGHT + timedelta(hours=10)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
GAP = (NOON - 2 * DAY, NOON - DAY)  # what is asked for


@dataclass
class Desk:
    """A store, its engine and a virtual now; `numbers` are tickets by their terminals."""

    pool: object
    office: Office
    now: datetime = NOON
    numbers: dict = field(default_factory=dict)
    rows: dict = field(default_factory=dict)

    def another(self):
        """The engine of another service on the same store."""
        return modules_of(self.pool, self.office)[1]

    async def truck(self, name, **columns):
        self.rows[name] = await add_terminal(self.pool, name, **{"protocol": "flex", **columns})
        raised = await raise_one(self.pool, self.rows[name], NOON.timestamp() - 300)
        self.numbers[name] = raised.number

    async def ask(self, name, since=GAP[0], until=GAP[1], **more):
        async with self.pool.connection() as link, link.transaction():
            ((ticket,),) = await (
                await link.execute("SELECT id FROM ticket WHERE number = %s", (self.numbers[name],))
            ).fetchall()
            new = NewReload(ticket=self.numbers[name], since=since, until=until, **more)
            return await jobs.ask(link, self.office, ticket, new, "anna", self.now)

    async def until(self, now, *others):
        """What falls due in between, at its instant."""
        dues = self.another()
        while (due := await dues.next_due()) is not None and due <= now:
            self.now = max(self.now, due)
            await asyncio.gather(*(engine.cycle(self.now) for engine in (dues, *others)))
        self.now = now

    async def get(self, number):
        async with self.pool.connection() as link:
            return await jobs.get(link, self.office, ALL, number, self.now)

    async def commands(self):
        """What was to be sent: to whom, when, until when, and what became of it."""
        return await fetch(
            self.pool, "SELECT e.identity, c.created_at, c.expires_at, c.text, c.state, c.id FROM command c"
            " JOIN terminal e ON e.id = c.terminal ORDER BY c.id",
        )  # fmt: skip

    async def settle(self, state, result=None, reason=None):
        """As the receiving process writes down what became of the last command; by the virtual clock."""
        *_, number = (await self.commands())[-1]
        async with self.pool.connection() as link:
            await link.execute("UPDATE command SET state = 'sent' WHERE id = %s", (number,))
            await dispatch.settle(link, number, state, result, reason)
            await link.execute("UPDATE command SET finished_at = %s WHERE id = %s", (self.now, number))

    async def arrive(self, name, since, until, step=300.0):
        """Records of a span come in now."""
        count = int((until - since).total_seconds() / step)
        await add_records(self.pool, self.rows[name], count, end=until - timedelta(seconds=step), step=step)
        await execute(
            self.pool, "UPDATE record SET received = %s WHERE terminal = %s AND time >= %s AND time < %s",
            self.now, self.rows[name], since, until,
        )  # fmt: skip

    async def journal(self, name):
        return await fetch(
            self.pool, "SELECT j.action, j.actor, j.data FROM journal j JOIN ticket t ON t.id = j.ticket"
            " WHERE t.number = %s AND j.action LIKE 'reload%%' ORDER BY j.seq", self.numbers[name],
        )  # fmt: skip


@asynccontextmanager
async def desk_of(dsn, *trucks, policy="dealer-desk"):
    async with pool_of(dsn) as pool:
        office = Office(policy=policy)
        office.remote, office.archives = commands_of(pool, office.terms.policy), StoredArchives()
        desk = Desk(pool, office)
        for name in trucks:
            await desk.truck(name)
        yield desk


def played(dsn, *trucks, **more):
    """Run a coroutine function over a desk."""

    def run(act):
        async def main():
            async with desk_of(dsn, *trucks, **more) as desk:
                await act(desk)

        asyncio.run(main())

    return run


def test_archives_are_asked_at_night_in_the_order_of_requests_one_at_a_time(postgres_dsn):
    @played(postgres_dsn, "T1", "T2", "T3")
    async def _(desk):
        second, third, first = [await desk.ask(name) for name in ("T2", "T3", "T1")]
        await desk.until(NIGHT - timedelta(seconds=1))
        assert await desk.commands() == [], "nothing by day"
        await desk.until(NIGHT)
        ((name, at, until, text, state, _),) = await desk.commands()
        assert (name, at, until, state) == ("T2", NIGHT, NIGHT + 10 * MINUTE, "queued")
        assert text == "*!REP_FL 1,14.11.26/09:00:00,15.11.26/09:00:00"

        desk.now = NIGHT + MINUTE
        await desk.settle("done", "*@REP_FL OK")
        await desk.arrive("T2", GAP[0], GAP[0] + 12 * HOUR)
        await desk.until(NIGHT + 2 * MINUTE)
        half = await desk.get(second)
        assert (half.state, half.share, half.records) == ("running", 0.5, 144)
        assert [name for name, *_ in await desk.commands()] == ["T2"], "the others wait"
        await desk.arrive("T2", GAP[0] + 12 * HOUR, GAP[1])
        await desk.until(NIGHT + 6 * MINUTE)
        over = await desk.get(second)
        assert (over.state, over.share, over.records, over.place) == ("done", 1.0, 288, None)
        assert [name for name, *_ in await desk.commands()] == ["T2", "T3"]
        assert [(await desk.get(one)).state for one in (third, first)] == ["running", "queued"]
        assert [(action, actor) for action, actor, _ in await desk.journal("T2")] == [
            ("reload-asked", "anna"), ("reload-begun", "watch"), ("reload-ended", "watch"),
        ]  # fmt: skip
        assert (await desk.journal("T2"))[-1][2]["records"] == 288


def test_the_estimate_moves_with_the_queue(postgres_dsn):
    @played(postgres_dsn, "T1", "T2", "T3")
    async def _(desk):
        one, two, three = [await desk.ask(name) for name in ("T1", "T2", "T3")]
        each = timedelta(seconds=180 + 720)  # to settle, and a day of archive where nobody knows better

        async def told():
            found = [await desk.get(number) for number in (one, two, three)]
            return [(job.place, job.estimate.begins_at, job.estimate.ends_at) for job in found if job.estimate]

        assert await told() == [(n + 1, NIGHT + n * each, NIGHT + (n + 1) * each) for n in range(3)]
        async with desk.pool.connection() as link, link.transaction():
            await jobs.cancel(link, two, "anna", desk.now)
        assert await told() == [(1, NIGHT, NIGHT + each), (2, NIGHT + each, NIGHT + 2 * each)]

        # The first comes half through: what is left of it is half, and the others move up.
        await desk.until(NIGHT)
        desk.now = NIGHT + MINUTE
        await desk.settle("done", "*@REP_FL OK")
        await desk.arrive("T1", GAP[0], GAP[0] + 12 * HOUR)
        await desk.until(NIGHT + 2 * MINUTE)
        half = timedelta(seconds=180 + 360)
        assert await told() == [
            (1, desk.now, desk.now + half), (2, desk.now + half, desk.now + half + each),
        ]  # fmt: skip
        assert (await desk.get(one)).estimate.basis == "plan"


def test_the_estimate_is_of_those_that_were_done(postgres_dsn):
    @played(postgres_dsn, "T1")
    async def _(desk):
        for days in range(3):
            await execute(
                desk.pool, "INSERT INTO reload (ticket, terminal, since, until, state, asked_at, asked_by, not_before,"
                " ran, records, finished_at) SELECT t.id, %s, %s, %s, 'done', %s, 'anna', %s, '63 min', 9, %s"
                " FROM ticket t LIMIT 1",
                desk.rows["T1"], NOON - (days + 9) * DAY, NOON - (days + 8) * DAY, NOON, NOON, NOON,
            )  # fmt: skip
        job = await desk.get(await desk.ask("T1"))
        assert (job.estimate.begins_at, job.estimate.basis) == (NIGHT, "history")
        assert job.estimate.ends_at == NIGHT + 63 * MINUTE


def test_no_command_outlives_the_night_and_the_job_goes_on_in_the_next(postgres_dsn):
    @played(postgres_dsn, "T1")
    async def _(desk):
        desk.now = DAWN - 5 * MINUTE
        job = await desk.ask("T1")
        await desk.until(desk.now)
        assert [until for _, _, until, *_ in await desk.commands()] == [DAWN]
        desk.now = DAWN - 4 * MINUTE
        await desk.settle("done", "*@REP_FL OK")
        desk.now = DAWN - MINUTE
        await desk.arrive("T1", GAP[0], GAP[0] + 6 * HOUR)
        await desk.until(DAWN)
        put_off = await desk.get(job)
        assert (put_off.state, put_off.share, put_off.nights) == ("queued", 0.25, 1)
        assert put_off.estimate.begins_at == NIGHT + DAY
        await desk.until(NIGHT + DAY - timedelta(seconds=1))
        assert len(await desk.commands()) == 1
        await desk.until(NIGHT + DAY)
        *_, (_, at, _, text, _, _) = await desk.commands()
        assert at == NIGHT + DAY
        assert text == "*!REP_FL 1,14.11.26/15:00:00,15.11.26/09:00:00", "what is missing, no more"


def test_in_the_last_minute_of_a_night_nothing_is_begun(postgres_dsn):
    @played(postgres_dsn, "T1")
    async def _(desk):
        desk.now = DAWN - timedelta(seconds=59)
        await desk.ask("T1")
        await desk.until(DAWN)
        assert await desk.commands() == []
        await desk.until(NIGHT + DAY)
        assert len(await desk.commands()) == 1


def test_a_terminal_that_is_away_holds_nobody_and_ends_with_a_reason(postgres_dsn):
    @played(postgres_dsn, "T1", "T2")
    async def _(desk):
        away, there = await desk.ask("T1"), await desk.ask("T2")
        for night in range(queue.NIGHTS):
            await desk.until(NIGHT + night * DAY)
            assert (await desk.commands())[-1][0] == "T1", "it keeps its place"
            desk.now += 10 * MINUTE
            await desk.settle("expired", reason="the terminal was not connected in time")
            await desk.until(desk.now + MINUTE)
            if night == 0:
                assert (await desk.commands())[-1][0] == "T2"
                await desk.settle("done", "*@REP_FL OK")
                await desk.until(desk.now + 5 * MINUTE)
                assert (await desk.get(there)).state == "done"
        over = await desk.get(away)
        assert (over.state, over.reason) == ("failed", "5 nights did not do: the terminal was not connected in time")
        assert [action for action, *_ in await desk.journal("T1")] == [
            "reload-asked", *["reload-begun", "reload-put-off"] * 4, "reload-begun", "reload-ended",
        ]  # fmt: skip
        assert await desk.another().next_due() is None or "reloads" not in await modules(desk)


async def modules(desk):
    return [row[0] for row in await fetch(desk.pool, "SELECT module FROM due")]


def test_what_the_terminal_refuses_is_over_at_once(postgres_dsn):
    @played(postgres_dsn, "T1", "T2")
    async def _(desk):
        refused = await desk.ask("T1")
        await desk.ask("T2")
        await desk.until(NIGHT)
        desk.now += MINUTE
        await desk.settle("failed", "*Z:REP_FL", "the terminal refused it")
        await desk.until(desk.now + MINUTE)
        over = await desk.get(refused)
        assert (over.state, over.reason) == ("failed", "the terminal refused it: *Z:REP_FL")
        assert (await desk.commands())[-1][0] == "T2"


def test_an_unanswered_command_that_brings_records_was_carried_out(postgres_dsn):
    @played(postgres_dsn, "T1")
    async def _(desk):
        job = await desk.ask("T1")
        await desk.until(NIGHT + MINUTE)
        await desk.arrive("T1", *GAP)
        await desk.until(NIGHT + 10 * MINUTE)
        await desk.settle("failed", reason="no answer in time")
        await desk.until(NIGHT + 14 * MINUTE)
        assert (await desk.get(job)).state == "done"


def test_nothing_new_is_said_to_be_nothing_new(postgres_dsn):
    @played(postgres_dsn, "T1")
    async def _(desk):
        await desk.arrive("T1", *GAP, step=900.0)
        job = await desk.ask("T1")
        assert (await desk.get(job)).share == 1.0, "what is there already counts"
        await desk.until(NIGHT)
        assert (await desk.commands())[-1][3].endswith("14.11.26/09:00:00,15.11.26/09:00:00"), "asked for all the same"
        await desk.settle("done", "*@REP_FL OK")
        await desk.until(NIGHT + 5 * MINUTE)
        over = await desk.get(job)
        assert (over.state, over.records, over.reason) == ("done", 0, "the terminal had nothing that was not here")


@pytest.mark.parametrize("running", [False, True])
def test_who_is_gone_is_waited_for_no_more(postgres_dsn, running):
    @played(postgres_dsn, "T1", "T2", "T3")
    async def _(desk):
        sold, closed, last = [await desk.ask(name) for name in ("T1", "T2", "T3")]
        if running:
            await desk.until(NIGHT)
            await desk.settle("done", "*@REP_FL OK")
        await execute(desk.pool, "UPDATE terminal SET stage = 'sold' WHERE identity = 'T1'")
        await execute(
            desk.pool, "UPDATE ticket SET state = 'closed', closed_at = %s WHERE number = %s", desk.now,
            desk.numbers["T2"],
        )  # fmt: skip
        await desk.until(NIGHT + 5 * MINUTE)
        over = [await desk.get(one) for one in (sold, closed)]
        assert [(one.state, one.reason) for one in over] == [
            ("failed", "the terminal is out of service"), ("cancelled", "the ticket is closed"),
        ]  # fmt: skip
        assert (await desk.get(last)).state == "running"


def test_two_engines_on_one_store_begin_each_job_once(postgres_dsn):
    @played(postgres_dsn, *(f"T{n}" for n in range(6)))
    async def _(desk):
        for name in desk.numbers:
            await desk.ask(name)
        others = [desk.another() for _ in range(3)]
        for _ in range(6):
            await desk.until(max(desk.now, NIGHT) + MINUTE, *others)
            assert len(await fetch(desk.pool, "SELECT FROM reload WHERE state = 'running'")) == 1
            await desk.settle("done", "*@REP_FL OK")
            await desk.until(desk.now + 5 * MINUTE, *others)
        assert [name for name, *_ in await desk.commands()] == [f"T{n}" for n in range(6)]
        begun = "SELECT count(*), count(DISTINCT ticket) FROM journal WHERE action = 'reload-begun'"
        assert await fetch(desk.pool, begun) == [(6, 6)]


def test_what_is_called_off_while_the_engine_looks_is_not_begun(postgres_dsn):
    @played(postgres_dsn, "T1")
    async def _(desk):
        job = await desk.ask("T1")
        async with desk.pool.connection() as link, link.transaction():
            await jobs.cancel(link, job, "anna", desk.now)
            desk.now = NIGHT
            async with asyncio.timeout(5):
                await desk.another().cycle(NIGHT)  # it waits for nobody
            assert await desk.commands() == []
        await desk.until(NIGHT + MINUTE)
        assert ((await desk.get(job)).state, await desk.commands()) == ("cancelled", [])


def test_of_two_that_ask_for_one_span_at_once_one_waits(postgres_dsn):
    names = [f"T{n}" for n in range(4)]

    @played(postgres_dsn, *names)
    async def _(desk):
        await execute(desk.pool, "UPDATE ticket SET terminal = %s", desk.rows["T0"])  # each from a ticket of its own
        told = await asyncio.gather(*map(desk.ask, names), return_exceptions=True)
        assert [type(one) for one in told if not isinstance(one, int)] == [ConflictError] * 3


def test_a_merged_tickets_archive_is_its_survivors(postgres_dsn):
    @played(postgres_dsn, "T1", "T2")
    async def _(desk):
        job = await desk.ask("T1")
        await execute(
            desk.pool, "UPDATE ticket SET state = 'closed', closed_at = %s, merged_into = (SELECT id FROM ticket WHERE"
            " number = %s) WHERE number = %s", NOON, desk.numbers["T2"], desk.numbers["T1"],
        )  # fmt: skip
        await desk.until(NIGHT)
        found = await desk.get(job)
        assert (found.ticket, found.state, found.terminal) == (desk.numbers["T2"], "running", "T1")


def test_a_kill_in_the_middle_of_a_step_repeats_nothing(postgres_dsn, monkeypatch):
    """The engine dies after the command was queued and before the step was over: neither is there."""

    class KilledError(OperationalError):
        pass

    async def dies(*_args, **_more):
        raise KilledError

    @played(postgres_dsn, "T1")
    async def _(desk):
        job = await desk.ask("T1")
        with monkeypatch.context() as patch:
            patch.setattr(queue, "append_journal", dies)
            with pytest.raises(KilledError):
                await desk.until(NIGHT)
        assert await desk.commands() == []
        assert (await desk.get(job)).state == "queued"
        await desk.until(NIGHT + MINUTE)
        assert len(await desk.commands()) == 1
        await desk.settle("done", "*@REP_FL OK")
        await desk.until(NIGHT + 10 * MINUTE)
        assert (await desk.get(job)).state == "done"
        assert len(await desk.commands()) == 1


def test_a_service_that_was_away_over_the_nights_end_puts_its_job_off(postgres_dsn):
    @played(postgres_dsn, "T1")
    async def _(desk):
        job = await desk.ask("T1")
        await desk.until(NIGHT)
        await desk.settle("done", "*@REP_FL OK")
        desk.now = NIGHT + 3 * DAY - 2 * HOUR  # the service is back, by day
        await desk.another().cycle(desk.now)
        assert ((await desk.get(job)).state, len(await desk.commands())) == ("queued", 1)
        await desk.until(NIGHT + 3 * DAY)
        assert len(await desk.commands()) == 2


def test_as_many_at_once_as_the_policy_says(postgres_dsn, tmp_path):
    text = policies.source("dealer-desk").replace('window = "20:00-06:00"', 'window = "20:00-06:00"\nat_once = 2')
    (tmp_path / "two.toml").write_text(text)

    @played(postgres_dsn, "T1", "T2", "T3", policy=str(tmp_path / "two.toml"))
    async def _(desk):
        for name in desk.numbers:
            await desk.ask(name)
        await desk.ask("T1", GAP[1], GAP[1] + HOUR)
        await desk.until(NIGHT)
        assert [name for name, *_ in await desk.commands()] == ["T1", "T2"]
        await desk.settle("done", "*@REP_FL OK")
        await desk.until(NIGHT + 5 * MINUTE)
        assert [name for name, *_ in await desk.commands()] == ["T1", "T2", "T3"]
        await desk.settle("done", "*@REP_FL OK")
        await desk.until(NIGHT + 9 * MINUTE)
        assert [name for name, *_ in await desk.commands()] == ["T1", "T2", "T3"], "one of a terminal at a time"


def test_what_could_never_be_done_is_refused(postgres_dsn):
    @played(postgres_dsn)
    async def _(desk):
        for place, (columns, said, why) in enumerate(
            (
                ({"protocol": "teltonika"}, {}, "teltonika has no command for the archive"),
                ({"protocol": "omnicomm"}, {"command": "again"}, "omnicomm has no commands"),
                ({"protocol": None}, {}, "no command for the archive"),
                ({"stage": "sold"}, {}, "out of service"),
            )
        ):
            await desk.truck(f"T{place}", **columns)
            with pytest.raises(ConflictError, match=why):
                await desk.ask(f"T{place}", **said)
        assert await fetch(desk.pool, "SELECT FROM reload") == []


def test_nothing_is_asked_without_the_clients_permission_where_the_policy_wants_it(postgres_dsn):
    @played(postgres_dsn, "T1", policy="after-sales")
    async def _(desk):
        with pytest.raises(ConflictError, match="permission"):
            await desk.ask("T1")
        await execute(
            desk.pool, "INSERT INTO remote_permission (ticket, given_by, means, at, until, written_by)"
            " SELECT id, 'Ann', 'phone', %s, %s, 'anna' FROM ticket", NOON - HOUR, NOON + MINUTE,
        )  # fmt: skip
        job = await desk.ask("T1")
        await desk.until(NIGHT + DAY)
        found = await desk.get(job)
        assert (found.state, found.nights, await desk.commands()) == ("queued", 2, [])
        *_, (action, _, data) = await desk.journal("T1")
        assert action == "reload-put-off"
        assert "permission" in data["reason"]


def test_the_makers_own_words_are_sent_where_somebody_knows_them(postgres_dsn):
    @played(postgres_dsn)
    async def _(desk):
        await desk.truck("T1", protocol="galileosky")
        await desk.ask("T1", command="archive 3")
        await desk.until(NIGHT)
        assert [(name, text) for name, _, _, text, *_ in await desk.commands()] == [("T1", "archive 3")]


def test_a_span_that_cannot_be_is_named(postgres_dsn):
    @played(postgres_dsn, "T1")
    async def _(desk):
        for since, until, wrong in (
            (GAP[1], GAP[0], "to"),
            (GAP[0], GAP[0], "to"),
            (NOON - 40 * DAY, NOON - 8 * DAY, "to"),
            (NOON - HOUR, NOON + HOUR, "to"),
            (NOON - 400 * DAY, NOON - 399 * DAY, "from"),
            (GAP[0].replace(tzinfo=None), GAP[1], "from"),
        ):
            with pytest.raises(WrongInputError) as error:
                await desk.ask("T1", since, until)
            assert wrong in [problem.field for problem in error.value.problems]


def test_a_span_waits_once(postgres_dsn):
    @played(postgres_dsn, "T1")
    async def _(desk):
        first = await desk.ask("T1")
        with pytest.raises(ConflictError, match=f"waits already: {first}"):
            await desk.ask("T1", GAP[0] + HOUR, GAP[1] + HOUR)
        await desk.ask("T1", GAP[1], GAP[1] + HOUR)
        with pytest.raises(WrongInputError):
            await desk.ask("T1", terminal="T9")
