"""`/outages` and `/api/outages`: declared once, dated, ended; who may; what is wrong; and what clients are written."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.ticketing.desk.parts import hidden, site
from tests.ticketing.desk_parts import add_terminal, fetch
from ticketing.tickets import outages


def instant(hours):
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat(timespec="seconds")


def local(hours):
    """As a browser's field says it; the desk of these tests keeps to UTC."""
    return instant(hours)[:16]


def run(dsn, scenario):
    async def main():
        async with site(dsn, roles=("manager", "engineer", "auditor", "client", "crew")) as desk:
            await add_terminal(desk.pool, "77001")
            await add_terminal(desk.pool, "77002")
            await scenario(desk)

    asyncio.run(main())


async def dues(desk):
    """When the engine looks at which outage."""
    return dict(await fetch(desk.pool, "SELECT subject, at FROM due WHERE module = 'outage'"))


def test_a_program_declares_dates_and_ends(postgres_dsn):
    async def scenario(desk):
        async with desk.program("engineer") as program:
            new = {"service": "Web  portal", "started_at": instant(-2), "eta": instant(3), "terminals": ["77001"]}
            made = await program.post("/api/outages", json=new, headers={"Idempotency-Key": "k1"})
            assert made.status_code == 201, made.text
            told = made.json()
            assert (told["service"], told["by"], told["terminals"], told["told_at"]) == (
                "Web portal",
                "engineer",
                1,
                None,
            )
            again = await program.post("/api/outages", json=new, headers={"Idempotency-Key": "k1"})
            assert again.json() == told
            assert (await program.post("/api/outages", json=new | {"service": "web portal"})).status_code == 409
            one = f"/api/outages/{told['id']}"
            assert (await program.get(one)).json() == told
            assert [row["id"] for row in (await program.get("/api/outages")).json()["items"]] == [told["id"]]
            # Its first letter is due an hour after it began; a new date is told to those who were told.
            (due,) = (await dues(desk)).values()
            assert due == datetime.fromisoformat(told["started_at"]) + outages.AFTER + outages.TICK
            assert (await program.patch(one, json={"eta": None})).json()["eta"] is None
            assert (await dues(desk))[told["id"]] == due, "nobody was told of the outage, so nobody is of its date"
            async with desk.pool.connection() as connection:
                await outages.look(connection, desk.tickets.office, told["id"], datetime.now(UTC))
            changed = await program.patch(one, json={"eta": instant(5)})
            assert changed.json()["told_at"] is not None
            assert (await dues(desk))[told["id"]] > due
            ((version,),) = await fetch(desk.pool, "SELECT eta_version FROM outage")
            assert version == 2
            await program.patch(one, json={"eta": changed.json()["eta"]})
            assert await fetch(desk.pool, "SELECT eta_version FROM outage") == [(2,)], "the same date is no news"
            assert (await program.patch(one, json={})).json() == changed.json()
            ended = (await program.post(f"{one}/end")).json()
            assert ended["ended_at"] is not None
            assert (await program.post(f"{one}/end")).status_code == 409
            assert (await program.patch(one, json={"eta": instant(1)})).status_code == 409
            assert await dues(desk) == {}
            assert (await program.post("/api/outages", json={"service": "Web portal"})).status_code == 201

    run(postgres_dsn, scenario)


def test_what_is_wrong_is_named(postgres_dsn):
    async def scenario(desk):
        async with desk.program("manager") as program:
            for body, fields in (
                ({}, ["service"]),
                ({"service": " \t"}, ["service"]),
                ({"service": "x" * 101}, ["service"]),
                ({"service": "x\x00"}, ["service"]),
                ({"service": "x", "eta": "2026-03-02T08:00:00"}, ["eta"]),
                ({"service": "x", "started_at": instant(1), "eta": instant(-1)}, ["started_at", "eta"]),
                ({"service": "x", "started_at": instant(-24 * 8)}, ["started_at"]),
                ({"service": "x", "started_at": "2026-03-02T08:00:00"}, ["started_at"]),
                ({"service": "x", "terminals": ["77001", "no", "neither"]}, ["terminals", "terminals"]),
                ({"service": "x", "terminals": ["7"] * 201}, ["terminals"]),
                ({"service": "x", "key": "platform/all/"}, ["key"]),
            ):
                answer = await program.post("/api/outages", json=body)
                assert answer.status_code == 422, (body, answer.text)
                assert [problem["field"] for problem in answer.json()["errors"]] == fields, body
            assert await fetch(desk.pool, "SELECT count(*) FROM outage") == [(0,)]
            for path in ("0", "99", "x", "9" * 30, "-1"):
                assert (await program.get(f"/api/outages/{path}")).status_code == 404
                assert (await program.patch(f"/api/outages/{path}", json={})).status_code == 404
                assert (await program.post(f"/api/outages/{path}/end")).status_code == 404

    run(postgres_dsn, scenario)


def test_the_page_does_the_same(postgres_dsn):
    async def scenario(desk):
        async with desk.signed_in("engineer") as browser:
            page = await browser.get("/outages")
            assert "nothing is away" in page.text
            said = hidden(page.text.partition('id="new"')[2])
            wrong = await browser.post(
                "/outages", data=said | {"service": "<b>", "eta": local(-1), "terminals": "<b>%s\ny"}
            )
            assert wrong.status_code == 422
            assert wrong.text.count("no terminal") == 2
            assert 'value="&lt;b&gt;"' in wrong.text
            assert "no terminal &lt;b&gt;%s" in wrong.text
            assert ">\n&lt;b&gt;%s\ny</textarea>" in wrong.text
            form = said | {"service": "<b>Maps", "eta": local(2), "terminals": "77001\n77002"}
            both = await asyncio.gather(*(browser.post("/outages", data=form) for _ in range(2)))
            assert [answer.status_code for answer in both] == [303, 303]
            page = (await browser.get("/outages")).text
            (number,) = re.findall(r'id="outage-(\d+)"', page)
            assert "&lt;b&gt;Maps" in page
            assert "2 terminals" in page
            again = await browser.post("/outages", data=form | {"eta": ""})
            assert (again.status_code, "is away already" in again.text) == (409, True)
            late = await browser.post(f"/outages/{number}", data=said | {"eta": local(-1)})
            assert (late.status_code, "is not in the future" in late.text) == (422, True)
            assert (await browser.post(f"/outages/{number}", data=said | {"eta": ""})).status_code == 303
            assert await fetch(desk.pool, "SELECT eta FROM outage") == [(None,)]
            assert (await browser.post(f"/outages/{number}/end", data=said)).status_code == 303
            over = await browser.post(f"/outages/{number}/end", data=said)
            assert (over.status_code, "is over" in over.text) == (409, True)
            for path in ("/outages", f"/outages/{number}", f"/outages/{number}/end"):
                assert (await browser.post(path, data=form | {"csrf": "x"})).status_code == 403

    run(postgres_dsn, scenario)


@pytest.mark.parametrize("role", ["auditor", "client", "crew"])
def test_who_may_only_look_or_not_even_that(postgres_dsn, role):
    async def scenario(desk):
        async with desk.program("manager") as manager:
            number = (await manager.post("/api/outages", json={"service": "x"})).json()["id"]
        async with desk.signed_in(role) as browser, desk.program(role) as program:
            look = 200 if role == "auditor" else 403
            page = await browser.get("/outages")
            assert page.status_code == look
            assert 'action="/outages' not in page.text
            assert ('href="/outages"' in (await browser.get("/tickets")).text) == (role == "auditor")
            for path in ("/api/outages", f"/api/outages/{number}"):
                assert (await program.get(path)).status_code == look
            for path in ("/outages", f"/outages/{number}", f"/outages/{number}/end"):
                assert (await browser.post(path, data=hidden(page.text))).status_code == 403
            assert (await program.post("/api/outages", json={"service": "y"})).status_code == 403
            assert (await program.patch(f"/api/outages/{number}", json={})).status_code == 403
            assert (await program.post(f"/api/outages/{number}/end")).status_code == 403
        assert await fetch(desk.pool, "SELECT count(*), count(ended_at) FROM outage") == [(1, 0)]

    run(postgres_dsn, scenario)
