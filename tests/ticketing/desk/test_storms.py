"""A ticket about many terminals, wherever tickets and incidents are shown."""

import asyncio

from tests.ticketing.desk.parts import hidden, site
from tests.ticketing.desk_parts import MONDAY, add_terminal, raise_one, recover_one
from ticketing.incidents import Incidents


async def stormy(pool):
    """Two silent terminals, of which a minute may have one ticket; returns the storm's number."""
    incidents = Incidents(pool, tickets_per_minute=1)
    for identity in ("860000000000001", "860000000000002"):
        terminal = await add_terminal(pool, identity, name=f"Bus {identity[-1]}")
        raised = await raise_one(pool, terminal, incidents=incidents)
    await incidents.review(MONDAY + 1)
    return raised.number


def test_every_page_shows_it(postgres_dsn):
    async def main():
        async with site(postgres_dsn, roles=("engineer", "manager")) as desk:
            number = await stormy(desk.pool)
            async with desk.signed_in("engineer") as browser:
                queue = (await browser.get("/tickets")).text
                assert f'id="t-{number}"' in queue
                assert '<td><span class="none">many</span></td>' in queue
                assert '<option value="storm">Storm</option>' in queue
                page = (await browser.get(f"/tickets/{number}")).text
                assert '<dt>Terminal</dt><dd><span class="none">many</span></dd>' in page
                assert "kept up while the incident is open" in page
                assert "860000000000002" in page
                assert "Bus 2" in page
                assert "860000000000001" not in page  # it has a ticket of its own
                fleet = (await browser.get("/fleet")).text
                assert "1 terminal</a></th><td>Storm" in fleet
                assert "with others" not in fleet  # a member is with its group
                member = (await browser.get("/terminals/860000000000002")).text
                assert f"/tickets/{number}" in member
                found = await browser.get("/search", params={"q": number})
                assert (found.status_code, found.headers["location"]) == (303, f"/tickets/{number}")
                fields = hidden(page)
                assert (await browser.post(f"/tickets/{number}/take", data=fields)).status_code == 303

    asyncio.run(main())


def test_the_api_tells_group_members_and_parent(postgres_dsn):
    async def main():
        async with site(postgres_dsn, roles=("engineer",)) as desk:
            number = await stormy(desk.pool)
            async with desk.program("engineer") as program:
                (ticket,) = (await program.get("/api/tickets", params={"kind": "storm"})).json()["items"]
                assert (ticket["number"], ticket["terminal"], ticket["priority"]) == (number, None, 1)
                (same,) = (await program.get("/api/tickets", params={"terminal": "860000000000002"})).json()["items"]
                assert same == ticket
                items = (await program.get("/api/incidents")).json()["items"]
                listed = {i["kind"] + str(i["terminal"]): i for i in items}
                storm, member = listed["stormNone"], listed["silence860000000000002"]
                alone = listed["silence860000000000001"]
                assert (storm["ticket"], storm["members_count"]) == (number, 1)
                assert (storm["parent"], storm["group"]) == (None, None)
                assert (member["ticket"], member["members_count"], member["parent"]) == (None, 0, storm["id"])
                assert (alone["ticket"] is None, alone["parent"]) == (False, None)
                assert {i["zone_confidence"] for i in listed.values()} == {0.0}
                whole = (await program.get(f"/api/incidents/{storm['id']}")).json()
                assert storm.items() <= whole.items()
                (one,) = whole["members"]
                assert (one["terminal"], one["kind"], one["incident"], one["back_at"]) == (
                    "860000000000002", "silence", member["id"], None,
                )  # fmt: skip
                assert whole["evidence"]["members"][0]["failing"] == 1
                counts = (await program.get("/api/counts")).json()
                assert counts["incidents_open"] == {"silence": 2, "storm": 1}
                terminal = int(alone["id"])
                assert (await program.get(f"/api/incidents/{terminal}")).json()["members"] == []
                for nonsense in ("x", "-1", "9" * 30, "²"):
                    assert (await program.get(f"/api/incidents/{nonsense}")).status_code == 404
            await recover_one(desk.pool, 2, MONDAY + 600)
            async with desk.program("engineer") as program:
                (one,) = (await program.get(f"/api/incidents/{storm['id']}")).json()["members"]
                assert one["back_at"] == "2026-11-16T10:10:00Z"

    asyncio.run(main())
