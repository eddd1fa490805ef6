"""Known errors: what fits a ticket, who marks it, what it comes to, what is found by search, who sees which."""

import asyncio
from datetime import timedelta

import pytest

from tests.ticketing.desk.parts import hidden, site
from tests.ticketing.desk_parts import add_terminal, execute, fetch, pool_of, raise_one
from tests.ticketing.desk_world import ENGINEER, NOW, Desk
from ticketing.core.errors import ConflictError, NotFoundError, WrongInputError
from ticketing.people.scope import ALL, NONE
from ticketing.people.users import User
from ticketing.quality.known_errors import ChangedKnownError, KnownErrors, NewKnownError
from ticketing.tickets import known
from ticketing.tickets.facts import Actor

ADMIN = User(1, "admin", "admin")


def at_desk(dsn, story, policy="dealer-desk"):
    async def run():
        async with pool_of(dsn, size=2) as pool:
            await execute(pool, "UPDATE known_error SET active = false")  # of other stories
            desk = Desk(pool, policy)
            await story(desk, await desk.client(), KnownErrors(pool, now=lambda: desk.now))

    asyncio.run(run())


async def suggested(desk, ticket):
    rows = await fetch(
        desk.pool,
        "SELECT known_error FROM suggestion WHERE ticket = %s AND suggested_at IS NOT NULL ORDER BY 1",
        ticket,
    )
    return [row[0] for row in rows]


async def check(desk, ticket):
    found = await fetch(desk.pool, "SELECT result FROM precheck WHERE ticket = %s AND name = 'documentation'", ticket)
    return found[0][0] if found else None


def test_the_next_ticket_like_it_is_shown_the_workaround(shared_dsn):
    async def story(desk, client, _errors):
        first = await desk.ticket(client, subject="Engine hours stand still")
        await desk.do("fix", first, text="set right", cause="input 3 is set wrong", workaround="count by ignition")
        await desk.do("consent", first, means="phone", by="Ann")
        with pytest.raises(ConflictError, match="not possible"):
            await desk.do("learn", first, symptom="Engine hours frozen")
        await desk.do("close", first)
        with pytest.raises(WrongInputError, match="symptom"):
            await desk.do("learn", first)
        with pytest.raises(WrongInputError, match="link"):
            await desk.do("learn", first, symptom="x", link="javascript:alert(1)")
        left = await desk.left("learn", first, symptom="Engine hours frozen", link="https://docs.example/hours#input")
        ((action, data),) = left.journal
        assert (action, data["symptom"]) == ("learn", "Engine hours frozen")
        with pytest.raises(ConflictError, match="already"):
            await desk.do("learn", first, symptom="again")
        alike = await desk.ticket(client, subject="hours of the engine are FROZEN")
        assert await suggested(desk, alike) == [data["known_error"]]
        async with desk.pool.connection() as connection:
            (shown,) = await known.suggestions_of(connection, alike)
        assert (shown.workaround, shown.cause) == ("count by ignition", "input 3 is set wrong")
        assert shown.link == "https://docs.example/hours#input"
        other = await desk.ticket(client, subject="The map is white")
        assert (await suggested(desk, other), await check(desk, other)) == ([], None)

    at_desk(shared_dsn, story)


def test_a_ticket_without_a_cause_teaches_nothing(shared_dsn):
    async def story(desk, client, _errors):
        ticket = await desk.ticket(client)
        await desk.do("withdraw", ticket, reason="withdrawn")
        with pytest.raises(WrongInputError, match="cause"):
            await desk.do("learn", ticket, symptom="no data")
        await desk.do("learn", ticket, symptom="no data", cause="the SIM was barred")

    at_desk(shared_dsn, story)


def test_what_fits_is_of_the_same_kind_protocol_and_model(shared_dsn):
    async def story(desk, _client, errors):
        made = {}
        for name, about in {
            "kind": {"kind": "silence"}, "model": {"model": "fmb920"}, "both": {"kind": "silence", "model": "FMB920"},
            "other kind": {"kind": "gnss"}, "other model": {"kind": "silence", "model": "FMC130"},
            "other protocol": {"kind": "silence", "protocol": "omnicomm"}, "protocol alone": {"protocol": "teltonika"},
            "off": {"kind": "silence", "active": False},
        }.items():  # fmt: skip
            made[name] = (await errors.add(ADMIN, NewKnownError(symptom=f"hums oddly, {name}", **about))).id
        terminal = await add_terminal(
            desk.pool, f"fit{made['kind']}", protocol="teltonika", model="x", model_told="FMB920"
        )
        number = (await raise_one(desk.pool, terminal, desk.now.timestamp())).number
        ((ticket,),) = await fetch(desk.pool, "SELECT id FROM ticket WHERE number = %s", number)
        assert await suggested(desk, ticket) == sorted(made[name] for name in ("kind", "model", "both"))
        async with desk.pool.connection() as connection:
            assert (await known.suggestions_of(connection, ticket))[0].known_error == made["both"], "what names most"
        entry = await fetch(desk.pool, "SELECT data FROM journal WHERE ticket = %s AND action = 'checked'", ticket)
        wanted = sorted(made[name] for name in ("kind", "model", "both"))
        assert entry == [({"name": "documentation", "result": "red", "known_errors": wanted},)]

    at_desk(shared_dsn, story)


@pytest.mark.parametrize(
    ("symptom", "said", "fits"),
    [
        ("Потеряна антенна ГЛОНАСС", "антенны глонасс нет", True),  # stems, small letters
        ("Счётчик моточасов", "счетчика моточасов не видно", True),  # ё
        ("没有定位信号", "车辆没有信号", True),  # characters are words
        ("No fix after a restart", "restarted and there is no FIX", True),
        ("No fix after a restart", "the fix", False),  # one word is said of everything
        ("fix", "no fix since Monday", True),  # unless it is all the symptom says
        ("the", "the the the", False),
        ("one & two | !(three:*)", "two ONE ' \\ :A & |", True),  # nothing of it is a query
    ],
)
def test_what_fits_shares_two_words_of_the_symptom(shared_dsn, symptom, said, fits):
    async def story(desk, client, errors):
        made = await errors.add(ADMIN, NewKnownError(symptom=symptom, cause=said, workaround=said))
        ticket = await desk.ticket(client, subject=said)
        assert await suggested(desk, ticket) == ([made.id] if fits else [])

    at_desk(shared_dsn, story)


def test_five_at_most_and_long_texts_cost_no_more(shared_dsn):
    async def story(desk, client, errors):
        for n in range(7):
            await errors.add(ADMIN, NewKnownError(symptom=f"white map number {n}"))
        ticket = await desk.ticket(client, subject="white map", description="white map " * 900)
        assert len(await suggested(desk, ticket)) == 5
        await desk.do("take", ticket)
        assert len(await suggested(desk, ticket)) == 5
        assert len(known.folded("word " * 5 + " ".join(map(str, range(9000))), known.WORDS_ASKED)) == 40
        assert known.folded("a" * 1000, 9) == ["a" * 60]

    at_desk(shared_dsn, story)


def test_who_takes_a_ticket_is_shown_what_was_learned_since(shared_dsn):
    async def story(desk, client, errors):
        ticket = await desk.ticket(client, subject="odd humming in the cabin")
        assert await check(desk, ticket) is None
        made = await errors.add(ADMIN, NewKnownError(symptom="cabin humming"))
        await desk.do("take", ticket)
        assert (await suggested(desk, ticket), await check(desk, ticket)) == ([made.id], "red")

    at_desk(shared_dsn, story)


def test_reading_answers_the_check_and_the_first_mark_counts(shared_dsn):
    async def story(desk, client, errors):
        made = await errors.add(ADMIN, NewKnownError(symptom="pump pressure low"))
        ticket = await desk.ticket(client, subject="low pressure of the pump")
        with pytest.raises(ConflictError, match="waived: documentation"):
            await desk.do("vendor", ticket, system="maker")
        left = await desk.left("read", ticket, known_error=made.id)
        assert left.journal == [("read", {"known_error": made.id, "symptom": "pump pressure low"})]
        assert (left.messages, left.letters, await check(desk, ticket)) == ([], [], "green")
        await desk.do("helped", ticket, Actor("olga", "engineer"), known_error=made.id)
        await desk.do("read", ticket, Actor("olga", "engineer"), known_error=made.id)
        rows = await fetch(desk.pool, "SELECT read_by, helped_by FROM suggestion WHERE ticket = %s", ticket)
        assert rows == [(ENGINEER.name, "olga")]
        await desk.do("vendor", ticket, system="maker")
        for wrong in (0, -1, 2**62, 999_999):
            with pytest.raises((NotFoundError, WrongInputError)):
                await desk.do("read", ticket, known_error=wrong)
        await errors.change(ADMIN, made.id, ChangedKnownError(active=False))
        with pytest.raises(NotFoundError):
            await desk.do("helped", ticket, known_error=made.id)

    at_desk(shared_dsn, story)


def test_a_check_that_was_waived_stays_waived(shared_dsn):
    async def story(desk, client, errors):
        await errors.add(ADMIN, NewKnownError(symptom="pump pressure low"))
        ticket = await desk.ticket(client, subject="low pressure of the pump")
        await desk.do("waive", ticket, check="documentation", reason="known by heart")
        await errors.add(ADMIN, NewKnownError(symptom="pump pressure lower"))
        await desk.do("take", ticket)
        assert await check(desk, ticket) == "waived"

    at_desk(shared_dsn, story)


def test_the_hit_rate_counts_tickets(shared_dsn):
    async def story(desk, client, errors):
        desk.now += timedelta(days=365)  # nobody else's tickets
        since = desk.now
        one = await errors.add(ADMIN, NewKnownError(symptom="valve stuck open"))
        two = await errors.add(ADMIN, NewKnownError(symptom="valve stuck half open"))
        tickets = [await desk.ticket(client, subject="a valve is stuck open") for _ in range(4)]
        found = await desk.ticket(client, subject="smoke")
        await desk.do("read", tickets[0], known_error=one.id)
        await desk.do("helped", tickets[1], known_error=one.id)
        await desk.do("read", tickets[1], known_error=two.id)
        await desk.do("helped", found, known_error=two.id)  # by search: it was not suggested
        until = desk.now + timedelta(seconds=1)
        async with desk.pool.connection() as connection:
            rate = await known.hit_rate(connection, ALL, since, until, client.organisation)
            assert (rate.tickets, rate.suggested, rate.read, rate.helped) == (5, 4, 2, 1)
            assert (rate.read_share, rate.helped_share) == (0.5, 0.25)
            uses = [(use.known_error, use.suggested, use.read, use.helped) for use in rate.known_errors]
            assert uses == [(one.id, 4, 2, 1), (two.id, 4, 1, 0)]
            for nothing in (
                await known.hit_rate(connection, NONE, since, until),
                await known.hit_rate(connection, ALL, since, until, client.organisation + 1000),
                await known.hit_rate(connection, ALL, until, until + timedelta(days=1), client.organisation),
            ):
                assert (nothing.tickets, nothing.suggested, nothing.read_share, nothing.known_errors) == (
                    0,
                    0,
                    None,
                    [],
                )

    at_desk(shared_dsn, story)


def test_all_words_of_a_search_are_in_what_is_found(shared_dsn):
    async def story(desk, _client, errors):
        made = await errors.add(
            ADMIN, NewKnownError(symptom="Моторы глохнут", cause="bad relay", workaround="drive slowly", kind="power")
        )
        for search, finds in {
            "мотор": True, "МОТОРЫ relay": True, "slowly глохнут": True, "rel": False, "relay fuse": False,
            "'); DROP TABLE known_error; --": False, "&|!:*": False, "the": False,
        }.items():  # fmt: skip
            page = await errors.list(ADMIN, search, active=True)
            assert [item.id for item in page.items] == ([made.id] if finds else []), search
        assert (await errors.list(ADMIN, "мотор", kind="gnss")).items == []
        await errors.change(ADMIN, made.id, ChangedKnownError(cause="a fuse"))
        assert [one.id for one in (await errors.list(ADMIN, "глохнут fuse")).items] == [made.id]
        assert (await errors.list(ADMIN, "глохнут relay")).items == []
        for wrong in ({"link": "ftp://x"}, {"link": "https://x y"}, {"symptom": "  "}, {"model": "a\x07b"}):
            with pytest.raises(WrongInputError):
                await errors.add(ADMIN, NewKnownError(**{"symptom": "x", **wrong}))

    at_desk(shared_dsn, story)


EVIL = "<img src=x onerror=alert(1)>\"'{{7*7}}"


def test_pages_show_what_is_known_as_text_and_mark_it(shared_dsn):
    async def main():
        async with site(shared_dsn, roles=("engineer",)) as desk:
            await execute(desk.pool, "UPDATE known_error SET active = false")
            async with desk.program("engineer") as program, desk.signed_in("engineer") as browser:
                said = {
                    "symptom": f"winch rope {EVIL}",
                    "cause": EVIL,
                    "workaround": EVIL,
                    "link": "https://d.example/#a",
                }
                made = (await program.post("/api/known-errors", json=said)).json()["id"]
                opened = await program.post("/api/tickets", json={"channel": "api", "subject": "the winch has no rope"})
                number = opened.json()["number"]
                assert [one["known_error"] for one in opened.json()["suggestions"]] == [made]
                page = (await browser.get(f"/tickets/{number}")).text
                assert "&lt;img src=x" in page
                for text in (page, (await browser.get("/known-errors?search=winch")).text,
                             (await browser.get(f"/known-errors/{made}?ticket={number}")).text):  # fmt: skip
                    assert "<img src=x" not in text
                    assert "49" not in text.partition("winch rope")[2][:300]
                    assert 'href="https://d.example/#a" rel="noreferrer noopener"' in text
                search = (await browser.get(f"/known-errors?search=winch&ticket={number}")).text
                assert f'action="/tickets/{number}/read"' in search
                assert "/read" not in (await browser.get("/known-errors?search=winch&ticket=DZ-1")).text
                csrf = hidden((await browser.get("/account")).text)["csrf"]
                marked = await browser.post(f"/tickets/{number}/helped", data={"csrf": csrf, "known_error": str(made)})
                assert marked.headers["location"] == f"/tickets/{number}"
                after = (await program.get(f"/api/tickets/{number}")).json()
                (one,) = after["suggestions"]
                assert (one["read_by"], one["helped_by"]) == ("engineer", "engineer")
                assert after["journal"][-1]["text"] == said["symptom"]
                fixed = {"csrf": csrf, "text": "a new rope", "cause": "it was worn", "workaround": ""}
                await browser.post(f"/tickets/{number}/fix", data=fixed)
                assert (await program.get(f"/api/tickets/{number}")).json()["details"]["cause"] == "it was worn"
                form = {"csrf": csrf, "symptom": " ", "link": "no"}
                refused = await browser.post("/known-errors", data=form)
                assert refused.status_code == 422
                assert (await program.get("/api/known-errors/0")).status_code == 404

    asyncio.run(main())


def test_clients_see_what_is_open_to_them_and_no_suggestions(shared_dsn):
    async def main():
        async with site(shared_dsn, roles=("admin", "client", "crew")) as desk:
            await execute(desk.pool, "UPDATE known_error SET active = false")
            async with desk.program("admin") as admin, desk.program("client") as client, desk.program("crew") as crew:
                made = []
                for public, active in ((True, True), (False, True), (True, False)):
                    said = {"symptom": f"brakes squeal {public}", "public": public, "active": active}
                    made.append((await admin.post("/api/known-errors", json=said)).json()["id"])
                for guest in (client, crew):
                    listed = (await guest.get("/api/known-errors?search=brakes")).json()
                    assert [one["id"] for one in listed["items"]] == [made[0]]
                    assert not {"ticket", "created_by"} & set(listed["items"][0])
                    codes = [(await guest.get(f"/api/known-errors/{n}")).status_code for n in made]
                    assert codes == [200, 404, 404]
                ((organisation,),) = await fetch(
                    desk.pool, "INSERT INTO organisation (name, created_at) VALUES ('Squeal', %s) RETURNING id", NOW
                )
                await execute(desk.pool, "UPDATE app_user SET organisations = %s WHERE name = 'client'", [organisation])
                said = {"channel": "api", "subject": "brakes squeal badly", "organisation": organisation}
                ticket = (await client.post("/api/tickets", json=said)).json()
                assert ticket["suggestions"] == []
                seen = (await admin.get(f"/api/tickets/{ticket['number']}")).json()
                assert [one["known_error"] for one in seen["suggestions"]] == made[1::-1]
                assert "brakes squeal True" not in (await client.get(f"/api/tickets/{ticket['number']}")).text
                assert (await client.get("/api/reports/knowledge")).status_code == 403

    asyncio.run(main())
