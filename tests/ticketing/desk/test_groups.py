"""Terminals that fell silent together, wherever the desk shows them: lists, their incident, their ticket, the fleet."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.ticketing.desk.parts import hidden, site
from tests.ticketing.desk_parts import add_terminal, execute, raise_one
from ticketing.incidents import Incidents
from ticketing.incidents.groups import GroupIncidents, Shared

LISTS = ("/incidents", "/incidents?members=yes")
NUMBERS = {
    "by": "operator",
    "value": "<Nord>",
    "silent": 3,
    "expected": 3,
    "share": 1.0,
    "usual_share": 0.04,
    "score": 21.5,
    "needed": 17.0,
    "suspected_s": 60.0,
    "explanations": [{"by": "operator", "value": "<Nord>", "silent": 3, "expected": 3, "share": 1.0, "score": 21.5}],
}


async def outage(pool, kind="mass-silence"):
    """Three terminals of an operator, two of which are back; and one that is silent by itself."""
    now = datetime.now(UTC).timestamp()
    rows = [await add_terminal(pool, f"t{n}", operator="<Nord>", customer="Lesprom") for n in range(3)]
    alone = await add_terminal(pool, "alone", customer="Lesprom", operator="Süd")
    retired = await add_terminal(pool, "retired", customer="Lesprom", stage="sold")
    incidents = Incidents(pool)
    await raise_one(pool, alone, now - 86_400, incidents=incidents)
    await raise_one(pool, retired, now, incidents=incidents)
    groups = GroupIncidents(pool, incidents)
    shared = Shared(kind, "operator", "<Nord>", now - 600, NUMBERS)
    incident, number, _ = await groups.open(shared, dict.fromkeys(rows, now - 610), now - 500)
    assert await groups.recovered(dict.fromkeys(rows[:2], now - 100), now - 90) == rows[:2]
    return groups, shared, incident, number


def test_the_api_tells_the_group_its_members_and_its_numbers(postgres_dsn):
    async def main():
        async with site(postgres_dsn, roles=("engineer",)) as desk, desk.program("engineer") as program:
            _, _, incident, number = await outage(desk.pool)
            (listed,) = (await program.get("/api/incidents?kind=mass-silence&state=open")).json()["items"]
            apart = (await program.get("/api/incidents?members=no")).json()
            assert [i["parent"] for i in apart["items"]] == [None] * 3
            assert apart["total"] == 3
            whole = (await program.get(f"/api/incidents/{incident}")).json()
            why = (await program.get(f"/api/incidents/{incident}/explain")).json()
            (member,) = (await program.get("/api/incidents?terminal=t2")).json()["items"]
            of_member = (await program.get(f"/api/incidents/{member['id']}/explain")).json()
            wrong = [
                (await program.get(path)).status_code
                for path in ("/api/incidents?state=x", "/api/incidents/0/explain", f"/api/incidents/{'9' * 30}/explain")
            ]
            pages, cursor = [], ""
            while cursor is not None:
                page = (await program.get(f"/api/incidents?limit=2{cursor}")).json()
                pages += [i["id"] for i in page["items"]]
                cursor = f"&cursor={page['next']}" if page["next"] else None
            return number, listed, whole, why, member, of_member, wrong, pages

    number, listed, whole, why, member, of_member, wrong, pages = asyncio.run(main())
    assert (listed["terminal"], listed["group"], listed["members_count"], listed["ticket"]) == (
        None,
        {"by": "operator", "value": "<Nord>"},
        3,
        number,
    )
    assert (listed["zone"], listed["zone_confidence"], listed["parent"]) == ("sim-operator", 1.0, None)
    assert listed.items() <= whole.items()
    assert [(m["terminal"], m["state"], m["back_at"] is None) for m in whole["members"]] == [
        ("t0", "closed", False),
        ("t1", "closed", False),
        ("t2", "open", True),
    ]
    assert whole["evidence"]["decision"] == why["numbers"] == of_member["numbers"] == NUMBERS
    assert whole["evidence"]["members"] == [{"kind": "silence", "joined": 3, "failing": 1, "back": 2, "given_back": 0}]
    assert why["reason"] == "3 of 3 terminals that should report fell silent together, usually 4 %"
    assert (of_member["terminal"], of_member["parent"], of_member["ticket"]) == ("t2", whole["id"], number)
    assert (member["parent"], member["ticket"]) == (whole["id"], None)
    assert wrong == [400, 404, 404]
    assert pages == sorted(pages, reverse=True)
    assert len(pages) == 6


def test_pages_show_the_group_and_lead_from_one_to_the_other(postgres_dsn):
    async def main():
        async with site(postgres_dsn, roles=("engineer",)) as desk, desk.signed_in("engineer") as browser:
            _, _, incident, number = await outage(desk.pool)
            return incident, number, {
                path: (await browser.get(path)).text
                for path in (*LISTS, f"/incidents/{incident}", f"/tickets/{number}", "/fleet?by=customer")
            }, (await browser.get("/incidents?terminal=t2")).text  # fmt: skip

    incident, number, pages, of_member = asyncio.run(main())
    assert "<Nord>" not in "".join(pages.values())
    listed = pages["/incidents"]
    assert 'aria-current="page">Incidents' in listed
    assert "Operator &lt;Nord&gt;" in listed
    assert "/terminals/t2" not in listed  # its group has it
    assert "/terminals/t2" in pages["/incidents?members=yes"]
    assert f'<a href="/incidents/{incident}">its group&#39;s</a>' in of_member or ">its group's</a>" in of_member
    page = pages[f"/incidents/{incident}"]
    assert "<h1>Mass silence: Operator &lt;Nord&gt;</h1>" in page
    assert "1 silent of 3" in page
    assert f'href="/tickets/{number}"' in page
    assert "3 of 3 terminals that should report fell silent together, usually 4 %." in page
    for words in ("Usual share", "Score", "Needed", "Explanations", ">out</span>", ">back</span>", "100 % sure"):
        assert words in page, words
    ticket = pages[f"/tickets/{number}"]
    assert f'<a href="/incidents/{incident}">3 members</a>' in ticket
    assert "/terminals/t2" not in ticket  # names stand in the evidence
    assert "t2" in ticket
    health = pages["/fleet?by=customer"]
    link = '<a href="/terminals?customer=Lesprom&amp;stage=in_use">Lesprom</a>'
    assert f'{link}</th><td class="num">4</td><td class="num">2 ' in health
    assert 'role="img" aria-label="' in health


@pytest.mark.parametrize("kind", ["mass-silence", "platform"])
def test_such_a_ticket_is_closed_by_a_manager(postgres_dsn, kind):
    async def main():
        async with site(postgres_dsn, roles=("engineer", "manager")) as desk:
            groups, shared, incident, number = await outage(desk.pool, kind)
            now = datetime.now(UTC).timestamp()
            await groups.over(incident, shared, 2, 1, now)
            said = []
            async with desk.signed_in("engineer") as browser:
                page = (await browser.get(f"/tickets/{number}")).text
                fields = hidden(page) | {"text": "the operator says so"}
                said.append((await browser.post(f"/tickets/{number}/consent", data=fields)).status_code)
                said.append((await browser.post(f"/tickets/{number}/close", data=fields)).status_code)
                engineers = (await browser.get(f"/tickets/{number}")).text
            async with desk.program("engineer") as program:
                said.append((await program.post(f"/api/tickets/{number}/close")).status_code)
            async with desk.signed_in("manager") as browser:
                managers = (await browser.get(f"/tickets/{number}")).text
                fields = hidden(managers)
                said.append((await browser.post(f"/tickets/{number}/close", data=fields)).status_code)
            return said, engineers, managers, await desk.tickets.get(number)

    said, engineers, managers, ticket = asyncio.run(main())
    assert said == [303, 403, 403, 303]
    assert "/close" not in engineers
    assert "a manager, and a consent" in engineers
    assert "/close" in managers
    assert ticket.state == "closed"
    assert [entry.text for entry in ticket.journal if entry.action == "recovered"] == [
        "heard again: 2 of 3 members; 1 are still out, each within its own rhythm from now on"
    ]


def test_health_counts_terminals_in_use_and_incidents_by_day(postgres_dsn):
    async def main():
        async with site(postgres_dsn, roles=("auditor",)) as desk, desk.program("auditor") as program:
            await outage(desk.pool)
            # Whatever the hour: minutes ago may have been yesterday.
            await execute(
                desk.pool, "UPDATE incident SET opened_at = now() - CASE WHEN parent IS NULL THEN interval '9 days'"
                " ELSE interval '0' END",
            )  # fmt: skip
            answers = [(await program.get(f"/api/fleet/health{query}")) for query in ("?by=operator", "", "?by=name")]
            return [answer.status_code for answer in answers], answers[0].json(), answers[1].json()

    statuses, health, first = asyncio.run(main())
    assert statuses == [200, 200, 400]
    assert first == health
    today = datetime.now(UTC)
    assert health["days"] == [f"{today - timedelta(days=day):%Y-%m-%d}" for day in range(6, -1, -1)]
    nord, other = health["groups"]
    assert nord == {"value": "<Nord>", "terminals": 3, "silent": 1, "share": 0.3333, "trend": [0] * 6 + [3]}
    assert other == {"value": "Süd", "terminals": 1, "silent": 1, "share": 1.0, "trend": [0] * 7}
