"""`/api/reloads` and its page: who asks, who sees, what is refused."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.ticketing.desk.parts import hidden, site
from tests.ticketing.desk_parts import add_terminal, execute, fetch, raise_one

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
SPAN = {"from": (NOW - 2 * DAY).isoformat(), "to": (NOW - DAY).isoformat()}


@pytest.fixture(scope="module")
def here(shared_dsn):
    """A loop, a desk, and the number of a ticket about a FLEX terminal of the client's."""
    with asyncio.Runner() as runner:
        opened = site(shared_dsn)
        desk = runner.run(opened.__aenter__())

        async def fill():
            row = await add_terminal(desk.pool, "868896040000001", protocol="flex", name="zztruck")
            number = (await raise_one(desk.pool, row, NOW.timestamp() - 300)).number
            ((client,),) = await fetch(
                desk.pool, "INSERT INTO organisation (name, created_at) VALUES ('North', now()) RETURNING id"
            )
            await execute(desk.pool, "UPDATE ticket SET organisation = %s", client)
            await execute(desk.pool, "UPDATE app_user SET organisations = %s WHERE name = 'client'", [client])
            return number

        yield runner, desk, runner.run(fill())
        runner.run(opened.__aexit__(None, None, None))


def test_who_asks_and_who_sees(here):
    runner, desk, number = here

    async def main():
        said = {"ticket": number, **SPAN}
        async with desk.program("engineer") as engineer, desk.program("client") as client:
            for role in ("manager", "auditor", "crew", "client"):
                async with desk.program(role) as other:
                    assert (await other.post("/api/reloads", json=said)).status_code == 403, role
            made = await engineer.post("/api/reloads", json=said, headers={"Idempotency-Key": "k1"})
            assert made.status_code == 201, made.text
            assert (await engineer.post("/api/reloads", json=said, headers={"Idempotency-Key": "k1"})).json()["id"] == (
                made.json()["id"]
            )
            assert (await engineer.post("/api/reloads", json=said)).status_code == 409, "it waits already"
            job = made.json()
            assert (job["ticket"], job["terminal"], job["state"], job["place"], job["asked_by"]) == (
                number, "868896040000001", "queued", 1, "engineer",
            )  # fmt: skip
            assert job["estimate"]["begins_at"] < job["estimate"]["ends_at"]
            path = f"/api/reloads/{job['id']}"

            # The client sees its own, with the estimate, and neither words for terminals nor who asked.
            seen = (await client.get(path)).json()
            assert (seen["estimate"]["basis"], seen["command"], seen["asked_by"]) == ("plan", None, "")
            assert [one["id"] for one in (await client.get(f"/api/reloads?ticket={number}")).json()["items"]] == [
                job["id"]
            ]
            assert (await client.get("/api/reloads?state=failed")).json()["items"] == []
            assert (await client.get("/api/reloads?state=x")).status_code == 400
            await execute(desk.pool, "UPDATE app_user SET organisations = '{}' WHERE name = 'client'")
            assert (await client.get(path)).status_code == 404
            assert (await client.get("/api/reloads")).json()["items"] == []

            assert (await client.post(f"{path}/cancel")).status_code == 403
            gone = await engineer.post(f"{path}/cancel")
            assert (gone.json()["state"], gone.json()["estimate"]) == ("cancelled", None)
            assert (await engineer.post(f"{path}/cancel")).status_code == 409
            assert (await engineer.post("/api/reloads/0/cancel")).status_code == 404
            journal = (await engineer.get(f"/api/tickets/{number}")).json()["journal"]
            assert [(one["action"], one["actor"]) for one in journal if one["action"].startswith("reload")] == [
                ("reload-asked", "engineer"), ("reload-ended", "engineer"),
            ]  # fmt: skip

    runner.run(main())


def test_the_form_asks_and_calls_off(here):
    runner, desk, number = here

    async def main():
        async with desk.signed_in("engineer") as browser:
            page = (await browser.get(f"/reloads?ticket={number}")).text
            assert f'value="{number}"' in page
            typed = hidden(page) | {"ticket": number, "since": "2026-01-01T10:00", "until": "2026-01-01T09:00"}
            wrong = await browser.post("/reloads", data=typed)
            assert wrong.status_code == 422
            assert 'aria-invalid="true"' in wrong.text
            since, until = (f"{NOW - n * DAY:%Y-%m-%dT%H:%M}" for n in (4, 3))
            typed |= {"since": since, "until": until}
            assert (await browser.post("/reloads", data={**typed, "csrf": "x"})).status_code == 403
            for _ in range(2):  # a double click
                assert (await browser.post("/reloads", data=typed)).status_code == 303
            rows = await fetch(desk.pool, "SELECT id FROM reload WHERE state = 'queued'")
            assert len(rows) == 1
            page = (await browser.get("/reloads")).text
            assert "868896040000001" in page
            assert f'action="/reloads/{rows[0][0]}/cancel"' in page
            assert (await browser.post(f"/reloads/{rows[0][0]}/cancel", data=hidden(page))).status_code == 303
            again = await browser.post(f"/reloads/{rows[0][0]}/cancel", data=hidden(page))
            assert (again.status_code, "it is over" in again.text) == (409, True)
        async with desk.signed_in("auditor") as browser:
            page = (await browser.get("/reloads")).text
            assert 'action="/reloads' not in page

    runner.run(main())


def test_what_is_wrong_is_named(here):
    runner, desk, number = here

    async def main():
        async with desk.program("engineer") as engineer:
            for said, code in (
                ({"ticket": number}, 422),
                ({"ticket": "DZ-1", **SPAN}, 404),
                ({"ticket": "\x00", **SPAN}, 422),
                ({"ticket": number, **SPAN, "to": "soon"}, 422),
                ({"ticket": number, **SPAN, "terminal": "none"}, 422),
                ({"ticket": number, **SPAN, "command": "getver"}, 400),  # no command of FLEX
                ({"ticket": number, **SPAN, "command": "*!" + "x" * 600}, 422),
                ({"ticket": number, **SPAN, "more": 1}, 422),
            ):
                answer = await engineer.post("/api/reloads", json=said)
                assert answer.status_code == code, (said, answer.text)
            await execute(desk.pool, "UPDATE ticket SET team = 'south'")
            assert (await engineer.post("/api/reloads", json={"ticket": number, **SPAN})).status_code == 404

    runner.run(main())
