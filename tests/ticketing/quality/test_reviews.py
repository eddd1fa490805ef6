"""Reviews: what is drawn of a month, that the draw can be repeated, and when the sample is met."""

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.ticketing.desk.parts import hidden, site
from tests.ticketing.desk_parts import execute, fetch, pool_of
from tests.ticketing.desk_world import Desk
from ticketing.core.errors import ConflictError, NotAllowedError, NotFoundError, WrongInputError
from ticketing.engine import Engine, modules_of
from ticketing.people.scope import ALL, NONE
from ticketing.policies.format import ReviewTable
from ticketing.quality import reviews
from ticketing.quality.reviews import Criteria, Mark
from ticketing.tickets.facts import Actor
from ticketing.tickets.sampling import bounds, month_of, months

MOSCOW = ZoneInfo("Europe/Moscow")
MARCH = datetime(2026, 3, 10, 9, tzinfo=UTC)
GOOD = Mark(criteria=Criteria(polite=True, clear=True, complete=True, official=True))
BAD = Mark(criteria=Criteria(polite=False, clear=True, complete=True, official=True), note="not so curt")
IGOR, OLGA = Actor("igor", "engineer"), Actor("olga", "engineer")
TABLES = ("review", "review_share", "review_month", "letter_token", "letter")


def at_desk(dsn, story, policy="dealer-desk"):
    async def run():
        async with pool_of(dsn, size=2) as pool:
            for table in TABLES:
                await execute(pool, f"DELETE FROM {table}")
            await execute(pool, "DELETE FROM due")
            await execute(pool, "UPDATE ticket SET closed_at = NULL, state = 'in_work'")  # of other stories
            for name in ("igor", "olga", "max"):
                await execute(
                    pool, "INSERT INTO app_user (name, role, password, created_at) VALUES (%s, 'engineer', '!', now())"
                    " ON CONFLICT DO NOTHING", name,
                )  # fmt: skip
            desk = Desk(pool, policy, now=MARCH)
            await story(desk, await desk.client())

    asyncio.run(run())


async def written(desk, client, actor, count=1, *, close=True):
    """Tickets with one reply each."""
    made = []
    for _ in range(count):
        ticket = await desk.ticket(client)
        await desk.do("qualify", ticket, actor, **{"class": "consulting"})
        await desk.do("reply", ticket, actor, text=f"answer of {actor.name}")
        if close:
            await desk.do("withdraw", ticket, actor, reason="withdrawn")
        made.append(ticket)
    return made


async def cycle(desk, now):
    """Only what reviews do."""
    await execute(desk.pool, "DELETE FROM due WHERE module <> 'reviews'")
    _, dues = modules_of(desk.pool, desk.office)
    engine = Engine([dues])
    await engine.cycle(now)
    return await engine.next_due()


async def drawn(desk, **asked):
    async with desk.pool.connection() as connection:
        return (await reviews.listed(connection, ALL, limit=500, **asked)).items


def test_a_month_is_drawn_from_when_it_is_over_and_once(shared_dsn):
    async def story(desk, client):
        assert await cycle(desk, MARCH) is None, "nothing was written"
        await written(desk, client, IGOR, 21)
        await written(desk, client, OLGA, 1)
        await written(desk, client, OLGA, 1, close=False)
        end = bounds("2026-03", MOSCOW)[1]
        assert end == datetime(2026, 3, 31, 21, tzinfo=UTC)
        assert await cycle(desk, end - timedelta(seconds=1)) == end
        assert await drawn(desk) == []
        february = (await written(desk, client, OLGA))[0]  # nobody reviews what was before there were reviews
        await execute(
            desk.pool, "UPDATE ticket SET closed_at = closed_at - '1 month'::interval WHERE id = %s", february
        )
        assert await cycle(desk, end) == bounds("2026-04", MOSCOW)[1]
        found = await drawn(desk)
        assert [(one.month, one.engineer) for one in found] == [("2026-03", "igor")] * 3 + [("2026-03", "olga")]
        assert {one.text for one in found} == {"answer of igor", "answer of olga"}
        async with desk.pool.connection() as connection:
            assert await reviews.draw(connection, desk.office, "2026-03", end) == 0
        assert await drawn(desk) == found
        again = [(one.id, one.ticket) for one in found]
        await cycle(desk, datetime(2026, 8, 1, tzinfo=UTC))  # the desk rested: each month by itself, no message twice
        async with desk.pool.connection() as connection:
            assert await reviews.drawn_months(connection) == [f"2026-0{n}" for n in range(7, 2, -1)]
        assert [(one.id, one.ticket) for one in await drawn(desk)] == again

    at_desk(shared_dsn, story)


def test_the_same_messages_are_drawn_again(shared_dsn):
    async def story(desk, client):
        await written(desk, client, IGOR, 30)
        samples = []
        for month in ("2026-03", "2026-03", "2026-04"):
            await execute(desk.pool, "DELETE FROM review")
            await execute(desk.pool, "DELETE FROM review_share")
            await execute(desk.pool, "DELETE FROM review_month")
            if month == "2026-04":
                await execute(desk.pool, "UPDATE ticket SET closed_at = closed_at + '1 month' WHERE state = 'closed'")
            async with desk.pool.connection() as connection:
                assert await reviews.draw(connection, desk.office, month, MARCH) == 3
            samples.append({one.ticket for one in await drawn(desk)})
        assert samples[0] == samples[1]
        everything = [row[0] for row in await fetch(desk.pool, "SELECT number FROM ticket WHERE state = 'closed'"
                                                    " ORDER BY id")]  # fmt: skip
        assert samples[0] != set(everything[:3]), "not the first ones"
        assert samples[2] != samples[0], "another month, another choice"

    at_desk(shared_dsn, story)


def test_what_is_drawn_from_is_words_of_people_under_a_policy_that_asks(shared_dsn):
    async def story(desk, client):
        (mine,) = await written(desk, client, IGOR)
        await execute(desk.pool, "INSERT INTO ticket_message (ticket, at, direction, public, author, text, channel,"
                      " machine) VALUES (%(t)s, now(), 'out', true, 'watch', 'x', 'mail', true),"
                      " (%(t)s, now(), 'note', false, 'igor', 'x', 'api', false),"
                      " (%(t)s, now(), 'in', true, 'igor', 'x', 'api', false)".replace("%(t)s", str(mine)))  # fmt: skip
        other = Desk(desk.pool, "integrator-standard", now=MARCH)
        await written(other, await other.client(), OLGA, 3)
        async with desk.pool.connection() as connection:
            assert await reviews.draw(connection, desk.office, "2026-03", MARCH) == 1
            rates = await reviews.rates(connection, "2026-03")
        assert [(one.engineer, one.messages, one.wanted) for one in rates.engineers] == [("igor", 1, 1)]
        assert [one.text for one in await drawn(desk)] == ["answer of igor"]

    at_desk(shared_dsn, story)


def test_the_rate_is_met_when_all_that_was_drawn_is_marked(shared_dsn):
    async def story(desk, client):
        await written(desk, client, IGOR, 11)
        await written(desk, client, OLGA, 2)
        async with desk.pool.connection() as connection:
            assert (await reviews.rates(connection)).month is None
            await reviews.draw(connection, desk.office, "2026-03", MARCH)

        async def told():
            async with desk.pool.connection() as connection:
                found = await reviews.rates(connection)
            shares = {
                one.engineer: (one.messages, one.wanted, one.marked, one.passed, one.met) for one in found.engineers
            }
            return found.met, (found.messages, found.wanted, found.marked, found.passed), shares

        assert await told() == (False, (13, 3, 0, 0), {"igor": (11, 2, 0, 0, False), "olga": (2, 1, 0, 0, False)})
        first, second, third = await drawn(desk)

        async def mark(one, said, by="max", role="manager", seen=ALL):
            async with desk.pool.connection() as connection, connection.transaction():
                return await reviews.mark(connection, seen, one.id, said, by, role, MARCH)

        for who, role, said, error in (
            ("max", "engineer", GOOD, NotAllowedError), ("max", "auditor", GOOD, NotAllowedError),
            ("igor", "manager", GOOD, NotAllowedError),
            ("max", "manager", Mark(criteria=BAD.criteria, note=" "), WrongInputError),
        ):  # fmt: skip
            with pytest.raises(error):
                await mark(first, said, who, role)
        with pytest.raises(NotFoundError):
            await mark(first, GOOD, seen=NONE)
        done = await mark(first, BAD)
        assert (done.passed, done.note, done.criteria.polite, done.marked_by) == (False, "not so curt", False, "max")
        with pytest.raises(ConflictError):
            await mark(first, GOOD)
        await mark(third, GOOD)
        assert await told() == (False, (13, 3, 2, 1), {"igor": (11, 2, 1, 0, False), "olga": (2, 1, 1, 1, True)})
        assert [one.id for one in await drawn(desk, marked=False)] == [second.id]
        assert [one.id for one in await drawn(desk, marked=True, engineer="olga")] == [third.id]
        assert await drawn(desk, month="2026-04") == []
        await mark(second, GOOD)
        assert await told() == (True, (13, 3, 3, 2), {"igor": (11, 2, 2, 1, True), "olga": (2, 1, 1, 1, True)})

    at_desk(shared_dsn, story)


@pytest.mark.parametrize(
    ("percent", "least", "messages", "drawn"),
    [(10, 1, 1, 1), (10, 1, 10, 1), (10, 1, 11, 2), (10, 5, 3, 3), (10, 0, 1, 1), (100, 1, 7, 7), (1, 2, 500, 5)],
)
def test_how_many(percent, least, messages, drawn):
    assert reviews.wanted(ReviewTable(percent=percent, least=least), messages) == drawn


def test_months_are_those_of_the_policys_zone():
    assert month_of(datetime(2026, 2, 28, 20, 59, tzinfo=UTC), MOSCOW) == "2026-02"
    assert month_of(datetime(2026, 2, 28, 21, 0, tzinfo=UTC), MOSCOW) == "2026-03"
    assert bounds("2026-12", MOSCOW) == (datetime(2026, 11, 30, 21, tzinfo=UTC), datetime(2026, 12, 31, 21, tzinfo=UTC))
    assert list(months("2025-11", "2026-02")) == ["2025-11", "2025-12", "2026-01", "2026-02"]
    assert list(months("2026-03", "2026-02")) == []


def test_the_lead_reviews_on_a_page_and_nobody_else_sees_it(shared_dsn):
    async def story(desk, client):
        await execute(desk.pool, "UPDATE app_user SET name = '<b>igor</b>' WHERE name = 'igor'")
        try:
            await written(desk, client, Actor("<b>igor</b>", "engineer"), 2)
            await written(desk, client, OLGA, 1)
            async with desk.pool.connection() as connection:
                await reviews.draw(connection, desk.office, "2026-03", MARCH)
        finally:
            await execute(desk.pool, "UPDATE app_user SET name = 'igor' WHERE name = '<b>igor</b>'")
        one, two = await drawn(desk)
        async with site(shared_dsn, roles=("manager", "engineer", "auditor")) as here:
            await execute(here.pool, "UPDATE review SET engineer = 'manager' WHERE id = %s", two.id)
            async with here.signed_in("manager") as browser:
                page = (await browser.get("/reviews")).text
                assert "sample not met" in page
                assert "&lt;b&gt;igor&lt;/b&gt;" in page
                assert "<b>igor</b>" not in page
                assert f'action="/reviews/{one.id}"' in page
                assert f'action="/reviews/{two.id}"' not in page, "one's own"
                csrf = hidden(page)["csrf"]
                ticked = {"csrf": csrf, "polite": "yes", "clear": "yes", "complete": "yes"}
                wrong = await browser.post(f"/reviews/{one.id}", data=ticked)
                assert wrong.status_code == 422
                assert 'name="polite" value="yes" checked' in wrong.text
                assert (await browser.post(f"/reviews/{two.id}", data=ticked | {"official": "y"})).status_code == 403
                done = await browser.post(f"/reviews/{one.id}", data=ticked | {"note": "<i>gave his own number</i>"})
                assert done.headers["location"] == f"/reviews?month=2026-03#review-{one.id}"
                page = (await browser.get("/reviews")).text
                assert "&lt;i&gt;gave his own number" in page
                assert "not met: by official channels alone" in page
                assert (await browser.post(f"/reviews/{one.id}", data=ticked | {"official": "y"})).status_code == 409
            async with here.program("auditor") as auditor, here.program("engineer") as engineer:
                assert [o["id"] for o in (await auditor.get("/api/reviews?marked=no")).json()["items"]] == [two.id]
                assert (await auditor.get("/api/reports/reviews")).json()["marked"] == 1
                assert (await auditor.patch(f"/api/reviews/{two.id}", json={})).status_code == 403
                for path in ("/api/reviews", f"/api/reviews/{one.id}", "/api/reports/reviews", "/reviews"):
                    assert (await engineer.get(path)).status_code == 403
                for month in ("2026-13", "March", "2026-3"):
                    assert (await auditor.get(f"/api/reviews?month={month}")).status_code == 400

    at_desk(shared_dsn, story)
