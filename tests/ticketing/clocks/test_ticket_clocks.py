"""Clocks of real tickets: the desk's actions over a real store, in virtual time."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import psycopg
import pytest

from tests.ticketing.desk_parts import MONDAY, Clock, add_terminal, done, fetch, pool_of, raise_one, recover_one
from ticketing import policies
from ticketing.clocks import records as clock_records
from ticketing.clocks import walk as clocks
from ticketing.clocks.words import explain
from ticketing.incidents import Incidents
from ticketing.model.states import State
from ticketing.tickets import clock_watch
from ticketing.tickets.clock_watch import watch_clocks
from ticketing.tickets.store import TicketStore
from ticketing.working_time import calendars
from ticketing.working_time.calendars import DayKind, SpecialDay

H, DAY = 3600, 86_400


class Desk:
    """One ticket and its people; `at` seconds after the opening."""

    def __init__(self, pool, policy, opened=MONDAY):
        self.pool, self.opened, self.clock = pool, opened, Clock(opened)
        self.store = TicketStore(pool, clock=self.clock)
        self.incidents = Incidents(pool, policy=policy)

    async def open(self, **kwargs):
        self.terminal = await add_terminal(self.pool, f"t{self.opened}{len(kwargs)}")
        self.number = (await self.rise(0, **kwargs)).number
        return self

    async def rise(self, at, **kwargs):
        return await raise_one(self.pool, self.terminal, self.opened + at, incidents=self.incidents, **kwargs)

    async def act(self, action, at, text="words"):
        self.clock.now = self.opened + at
        return await self._listed_alike(await done(self.store, action, self.number, "anna", text))

    async def recover(self, at):
        assert await recover_one(self.pool, self.terminal, self.opened + at) == self.number

    async def look(self, at):
        """A round of the watch, then the ticket."""
        self.clock.now = self.opened + at
        await watch_clocks(self.pool, self.clock())
        return await self._listed_alike(await self.store.get(self.number))

    async def _listed_alike(self, ticket):
        """Lists tell the verdict that the clock has."""
        listed = {summary.number: summary.verdict for summary in (await self.store.list()).items}
        assert listed[self.number] == ticket.verdict
        if ticket.clocks:
            assert ticket.verdict in {clock["verdict"] for clock in ticket.clocks}
            assert self.number in {t.number for t in (await self.store.list(verdict=ticket.verdict)).items}
        return ticket


def run(dsn, scenario, policy="integrator-standard", opened=MONDAY, **kwargs):
    async def main():
        async with pool_of(dsn) as pool:
            return await scenario(await Desk(pool, policy, opened).open(**kwargs))

    return asyncio.run(main())


def after(seconds, opened=MONDAY):
    return datetime.fromtimestamp(opened + seconds, UTC)


def engine(policy, opened=MONDAY, pauses=()):
    """The due time as `dozor clock` tells it."""
    found = policies.get(policy)
    spans = [(after(a, opened), None if b is None else after(b, opened)) for a, b in pauses]
    return clocks.due(found, found.ticket_clock, after(0, opened), pauses=spans)


def said(ticket, action):
    return [entry.text for entry in ticket.journal if entry.action == action]


@pytest.mark.parametrize("opened", [MONDAY, MONDAY + 12 * H, MONDAY + 5 * DAY, MONDAY + 45 * DAY + 0.25])
@pytest.mark.parametrize(
    ("policy", "clock"),
    [
        ("integrator-standard", "reaction-remote"),
        ("integrator-standard@1", "reaction-remote"),
        ("support-procedure", "reaction-basic"),
        ("carrier-helpdesk", "localisation"),
        ("after-sales", "reply"),
        ("dealer-desk", None),
    ],
)
def test_each_policy_has_its_first_clock(postgres_dsn, policy, clock, opened):
    async def scenario(desk):
        ticket = await desk.look(0)
        return ticket, (await desk.store.list()).items[0].due_at

    ticket, listed = run(postgres_dsn, scenario, policy, opened)
    assert ticket.due_at == listed
    if clock is None:
        assert (ticket.due_at, ticket.clocks) == (None, [])
        return
    result = engine(policy, opened)
    assert ticket.due_at == result.due
    (shown,) = (found for found in ticket.clocks if found["clock"] == clock)
    assert shown["verdict"] == "running"
    expected = result.as_json(after(0, opened))
    assert {key: shown[key] for key in expected if key != "intervals"} == {
        key: value for key, value in expected.items() if key != "intervals"
    }
    extra = {"span", "text"}
    assert [{k: v for k, v in span.items() if k not in extra} for span in shown["intervals"]] == expected["intervals"]
    if opened % 1 == 0:
        assert all(span["span"] in explain(result) and span["text"] in explain(result) for span in shown["intervals"])
    else:
        assert all("." not in span["span"] and "." not in span["text"] for span in shown["intervals"])
    if clock == "reply":
        assert ticket.due_at == after(600, opened)  # at any hour


@pytest.mark.parametrize("action", ["take", "ask"])
def test_the_first_action_the_client_sees_stops_the_clock(postgres_dsn, action):
    async def scenario(desk):
        noted = await desk.act("note", H)
        acted = await desk.act(action, 2 * H)
        return noted, acted, await desk.look(9 * H)

    noted, acted, later = run(postgres_dsn, scenario)
    assert noted.clocks[0]["verdict"] == "running"
    assert (acted.clocks[0]["verdict"], acted.clocks[0]["stopped"]) == ("met", "2026-11-16T15:00:00+03:00")
    assert later.clocks[0]["verdict"] == "met"
    assert later.clocks[0]["at"] == {"instant": "2026-11-16T15:00:00+03:00", "counted_minutes": 120, "fired": False}
    assert said(later, "breached") == said(later, "warned") == []


def test_waiting_for_the_client_holds_what_the_policy_says(postgres_dsn):
    async def scenario(desk):
        asked = await desk.act("ask", 300)
        again = await desk.act("ask", 600)
        listed = (await desk.store.list()).items[0].due_at
        taken = await desk.act("take", 300 + H)
        return asked, again, listed, taken, await desk.look(301 + H)

    asked, again, listed, taken, later = run(postgres_dsn, scenario, "after-sales")
    assert asked.due_at is again.due_at is listed is None
    found = {clock["clock"]: clock for clock in asked.clocks}
    assert {name: clock["verdict"] for name, clock in found.items()} == {
        "reply": "met", "reaction": "met", "severe": "paused", "outer-bound": "met",
    }  # fmt: skip
    assert "an open pause holds the clock since Monday 16 November 2026, 18:05" in found["severe"]["texts"]["due"][0]
    assert taken.due_at == later.due_at == after(2 * H + H)
    severe = next(clock for clock in later.clocks if clock["clock"] == "severe")
    held = [span["text"] for span in severe["intervals"] if span.get("why") == "pause"]
    assert held == ["does not count: pause, waiting for the client"]


def test_warnings_and_breach_are_told_once_each(postgres_dsn):
    async def scenario(desk):
        counts = []
        for at in (0, 2 * H - 1, 2 * H, 2 * H + 5, 3 * H, 4 * H, 4 * H + 2, 5 * H, 9 * H):
            ticket = await desk.look(at)
            counts.append((len(said(ticket, "warned")), len(said(ticket, "breached"))))
        return counts, ticket, await fetch(desk.pool, "SELECT clock, cycle, policy, due, explained FROM breach")

    counts, ticket, rows = run(postgres_dsn, scenario)
    assert counts == [(0, 0), (0, 0), (1, 0), (1, 0), (2, 0), (3, 0), (3, 1), (3, 1), (3, 1)]
    assert said(ticket, "warned")[0] == (
        "reaction-remote: 50 % of 4 h of working time used at 2026-11-16T15:00:00+03:00, due 2026-11-16T17:00:00+03:00"
    )
    assert said(ticket, "breached") == ["reaction-remote: broken, due was 2026-11-16T17:00:00+03:00"]
    assert {entry.actor for entry in ticket.journal} == {"watch"}
    ((clock, cycle, policy, due, explained),) = rows
    assert (clock, cycle, policy, due) == ("reaction-remote", 1, "integrator-standard@1/reaction-remote", after(4 * H))
    assert "counts 4 h, 4 h so far" in explained
    assert ticket.state == State.NEW


def test_what_was_missed_while_nobody_looked_is_told_later(postgres_dsn):
    async def scenario(desk):
        await desk.act("take", 5 * H)  # too late, and no round of the watch before it
        shown = await desk.store.get(desk.number)
        return shown, await desk.look(6 * H), await desk.look(7 * H)

    shown, told, again = run(postgres_dsn, scenario)
    assert shown.clocks[0]["verdict"] == "breached"
    assert said(told, "warned") == []  # an answered clock needs no warning
    assert said(told, "breached") == said(again, "breached")
    (entry,) = [entry for entry in told.journal if entry.action == "breached"]
    assert entry.data["stopped"] == "2026-11-16T18:00:00+03:00"


def test_a_breach_is_permanent(postgres_dsn):
    async def scenario(desk):
        await desk.look(4 * H + 1)
        await desk.act("ask", 4.5 * H)
        waiting = await desk.look(4.6 * H)
        await desk.act("take", 7 * H)
        for statement in ("UPDATE breach SET due = now()", "DELETE FROM breach", "TRUNCATE breach"):
            with pytest.raises(psycopg.errors.RestrictViolation):
                async with desk.pool.connection() as connection:
                    await connection.execute(statement)
        return waiting, await desk.look(8 * H)

    waiting, later = run(postgres_dsn, scenario)
    assert (waiting.clocks[0]["verdict"], waiting.due_at) == ("breached", None)  # answered late: nothing runs
    (breach,) = later.clocks[0]["breaches"]
    assert breach["due"] == waiting.clocks[0]["breaches"][0]["due"] == "2026-11-16T17:00:00+03:00"
    assert len(said(later, "breached")) == 1


@pytest.mark.parametrize("broken", [True, False])
def test_reopening_begins_a_new_cycle_and_keeps_the_old_verdict(postgres_dsn, broken):
    async def scenario(desk):
        await desk.act("take", 5 * H if broken else H)
        await desk.recover(6 * H)
        await desk.act("consent", 6.5 * H)
        closed = await desk.act("close", 7 * H)
        assert (await desk.rise(DAY)).number == desk.number
        reopened = await desk.look(DAY)
        late = await desk.look(DAY + 4 * H + 1)
        await desk.act("take", DAY + 4.5 * H)
        return closed, reopened, late, await desk.look(3 * DAY)

    closed, reopened, late, last = run(postgres_dsn, scenario)
    first = "breached" if broken else "met"
    assert (closed.clocks[0]["verdict"], closed.clocks[0]["cycle"]) == (first, 1)
    assert (closed.due_at, closed.clocks[0]["due"]) == (None, "2026-11-16T17:00:00+03:00")
    (clock,) = reopened.clocks
    assert (clock["cycle"], clock["verdict"]) == (2, "running")
    assert reopened.due_at == after(DAY + 4 * H)
    assert [earlier["verdict"] for earlier in clock["earlier"]] == [first]
    assert late.clocks[0]["verdict"] == "breached"
    assert last.clocks[0]["stopped"] == "2026-11-17T17:30:00+03:00"
    assert [earlier["verdict"] for earlier in last.clocks[0]["earlier"]] == [first]
    assert len(said(last, "breached")) == (2 if broken else 1)


def test_a_relapse_before_closing_is_the_same_cycle(postgres_dsn):
    async def scenario(desk):
        await desk.act("take", H)
        await desk.recover(2 * H)
        await desk.rise(3 * H)
        return await desk.look(9 * H)

    ticket = run(postgres_dsn, scenario)
    assert (ticket.clocks[0]["cycle"], ticket.clocks[0]["verdict"], ticket.due_at) == (1, "met", None)


@pytest.mark.parametrize(("zone", "verdict"), [("unknown", "breached"), ("link", "met")])
def test_localisation_is_done_when_the_zone_is_known_at_the_opening(postgres_dsn, zone, verdict):
    async def scenario(desk):
        return await desk.look(90)

    ticket = run(postgres_dsn, scenario, "carrier-helpdesk", zone=zone)
    # Met, the next promise is due: news within an hour.
    assert (ticket.clocks[0]["verdict"], ticket.due_at) == (verdict, after(60 if verdict == "breached" else H))


def test_a_year_nobody_knows_stops_no_ticket(postgres_dsn):
    opened = datetime(2035, 3, 5, 10, tzinfo=UTC).timestamp()

    async def scenario(desk):
        taken = await desk.act("take", 60)
        return taken, await desk.look(DAY)

    taken, later = run(postgres_dsn, scenario, opened=opened)
    for ticket in (taken, later):
        assert (ticket.state, ticket.due_at) == (State.IN_WORK, None)
        assert "does not know the year 2035" in ticket.evidence["clock"]["reason"]
        assert "does not know the year 2035" in ticket.clocks[0]["problem"]
        assert ticket.clocks[0]["verdict"] == "unknown"
    assert run_real_clock(postgres_dsn, opened + 1).due_at == after(601, opened)


def run_real_clock(dsn, opened):
    async def scenario(desk):
        return await desk.look(0)

    return run(dsn, scenario, "after-sales", opened)


def test_old_tickets_keep_policy_and_calendar(postgres_dsn, tmp_path, monkeypatch):
    ours = Path(policies.__file__).with_name("integrator-standard.toml").read_text()
    file = tmp_path / "ours.toml"

    async def scenario(first):
        # A new policy in the same file, and an edited calendar: Tuesday is closed.
        file.write_text(ours.replace('budget = "4h"', 'budget = "2h"').replace("version = 1", "version = 2"))
        edited = calendars.shipped("RU").edited({date(2026, 11, 17): SpecialDay(DayKind.CLOSED, "stocktaking")})
        monkeypatch.setattr(calendars, "shipped", lambda _: edited)
        clock_records._ready.clear()  # as after a restart
        second = await Desk(first.pool, str(file), first.opened + 1).open()
        shown = [await desk.look(4 * H) for desk in (first, second)]
        versions = await fetch(first.pool, "SELECT policy, policy_version, calendar_version FROM ticket ORDER BY id")
        return shown, versions, await fetch(first.pool, "SELECT content FROM calendar_version"), edited.version

    file.write_text(ours)
    opened = MONDAY + 5 * H - 2 * H  # 16:00 in Moscow: two hours are left of the day
    (old, new), versions, stored, edited = run(postgres_dsn, scenario, str(file), opened)
    assert old.due_at == datetime(2026, 11, 17, 8, tzinfo=UTC)
    assert new.due_at == datetime(2026, 11, 18, 6, 0, 1, tzinfo=UTC)
    assert (old.clocks[0]["policy_version"], new.clocks[0]["policy_version"]) == (1, 2)
    assert [row[0] for row in versions] == ["integrator-standard"] * 2
    assert versions[0][1].startswith("integrator-standard@1-")
    assert versions[1][1].startswith("integrator-standard@2-")
    assert versions[1][2] == edited != versions[0][2]
    assert {calendars.Calendar.from_json(row[0]).version for row in stored} == {row[2] for row in versions}


def test_tickets_of_before_keep_what_they_had(postgres_dsn):
    async def scenario(desk):
        async with desk.pool.connection() as connection:
            await connection.execute("UPDATE ticket SET policy_version = NULL, calendar_version = NULL")
        return await desk.act("ask", H)

    ticket = run(postgres_dsn, scenario)
    assert (ticket.due_at, ticket.clocks) == (after(4 * H), [])


def test_a_policy_that_cannot_be_read_stops_no_action(postgres_dsn):
    async def scenario(desk):
        async with desk.pool.connection() as connection:
            await connection.execute("INSERT INTO policy_version VALUES ('odd', '{\"name\": 1}')")
            await connection.execute("UPDATE ticket SET policy_version = 'odd'")
        rounds = await watch_clocks(desk.pool, after(5 * H))
        return rounds, await desk.act("take", H)

    rounds, ticket = run(postgres_dsn, scenario)
    assert rounds == 0
    assert (ticket.state, ticket.clocks) == (State.IN_WORK, [])


def test_a_mass_outage_is_told_in_turns(postgres_dsn):
    async def scenario(desk):
        for i in range(60):
            await raise_one(desk.pool, await add_terminal(desk.pool, f"m{i}"), MONDAY, incidents=desk.incidents)
        first = await watch_clocks(desk.pool, after(4 * H + 1))
        return first, await watch_clocks(desk.pool, after(4 * H + 2))

    assert run(postgres_dsn, scenario) == (61 * 4, 0)


def test_a_ticket_that_cannot_be_judged_is_looked_at_later_and_delays_no_other(postgres_dsn, monkeypatch, capsys):
    async def scenario(desk):
        for i in range(60):
            await raise_one(desk.pool, await add_terminal(desk.pool, f"m{i}"), MONDAY, incidents=desk.incidents)
        [(bad,)] = await fetch(desk.pool, "SELECT id FROM ticket ORDER BY clock_check_at, id LIMIT 1")
        judged = clock_watch.load_clocks

        async def load(connection, ticket, now):
            if ticket == bad:
                await connection.execute("SELECT 1 / 0")  # the transaction is spoilt as well
            return await judged(connection, ticket, now)

        monkeypatch.setattr(clock_watch, "load_clocks", load)
        failing = clock_watch.Failing()
        rounds = []
        for at in (4 * H + 1, 4 * H + 3, 4 * H + 70, 4 * H + 200, 20 * H):
            told = await watch_clocks(desk.pool, after(at), failing)
            [(again,)] = await fetch(desk.pool, "SELECT clock_check_at FROM ticket WHERE id = %s", bad)
            rounds.append((told, failing.failed, (again - after(at)).total_seconds()))
        monkeypatch.undo()
        told = await watch_clocks(desk.pool, after(21 * H), failing)
        return rounds, told, failing

    rounds, told, failing = run(postgres_dsn, scenario)
    assert rounds == [(60 * 4, 1, 60), (0, 1, 58), (0, 2, 120), (0, 3, 240), (0, 4, 480)]
    assert told == 4
    assert (failing.failed, failing.attempts) == (4, {})
    assert capsys.readouterr().out.count("clock cannot be judged") == 1


def test_the_answer_is_json(postgres_dsn):
    async def scenario(desk):
        return await desk.look(5 * H)

    found = msgspec.json.decode(msgspec.json.encode(run(postgres_dsn, scenario)))
    assert datetime.fromisoformat(found["clocks"][0]["due"]) - after(0) == timedelta(hours=4)


def test_the_counts_tell_what_is_late_whose_and_in_which_state(postgres_dsn):
    """Overdue is a promise broken and still to be kept: not before its due time, not on hold, not once it is kept."""

    async def scenario(desk):
        told = []

        async def count(at):
            desk.clock.now = desk.opened + at
            found = await desk.store.counts()
            told.append((found.overdue, found.unowned, found.breaches, found.clock_lateness > 0))
            return found

        await count(4 * H)
        await count(4 * H + 60)  # due at 4 h; the watch has not looked yet
        late = (await desk.store.counts()).clock_lateness
        await desk.look(4 * H + 120)
        await count(4 * H + 120)
        taken = await desk.act("take", 5 * H)
        await desk.look(5 * H)
        last = await count(6 * H)
        return told, late, taken.clocks[0]["verdict"], last

    told, late, verdict, last = run(postgres_dsn, scenario)
    broken = {"reaction-remote": 1}
    assert told == [(0, 1, {}, True), (1, 1, {}, True), (1, 1, broken, False), (0, 0, broken, False)]
    assert late == 2 * H + 60  # since half of the budget was used up
    assert verdict == "breached"
    assert last.tickets_by_state == {str(state): int(state == State.IN_WORK) for state in State}


def test_a_ticket_on_hold_or_without_a_due_time_is_not_overdue(postgres_dsn):
    async def scenario(desk):
        await desk.act("ask", H)
        desk.clock.now = desk.opened + 30 * DAY
        await watch_clocks(desk.pool, desk.clock())
        return await desk.store.counts()

    counts = run(postgres_dsn, scenario)
    assert (counts.overdue, counts.breaches, counts.clock_lateness) == (0, {}, 0.0)


def test_a_store_of_before_learns_which_clocks_run_from_the_first_look(postgres_dsn):
    """What the migration leaves: `clock_runs` false, and a look due."""

    async def scenario(desk):
        async with desk.pool.connection() as connection:
            await connection.execute("UPDATE ticket SET clock_runs = false, clock_check_at = opened_at")
        await desk.look(5 * H)
        return await desk.store.counts()

    assert run(postgres_dsn, scenario).overdue == 1
