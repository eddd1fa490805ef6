"""Access data that clients entrust: sealed, told to who may and for a time, each reading on record."""

import asyncio
from datetime import UTC, datetime, timedelta

from tests.ticketing.desk.parts import hidden, site, small_fleet
from tests.ticketing.desk_parts import execute, fetch
from ticketing.engine import modules_of

SECRET = "correct <horsestaple>"


def test_access_data_are_sealed_shown_to_who_may_and_erased(postgres_dsn):
    async def main():
        async with site(postgres_dsn) as desk, desk.program("admin") as admin, desk.program("auditor") as auditor:
            number = (await small_fleet(desk.pool))["new"]
            path = f"/api/tickets/{number}/secrets"
            for body, field in (
                ({"label": "server"}, "secret"),
                ({"label": "", "secret": "x"}, "label"),
                ({"label": "server", "secret": "x" * 2001}, "secret"),
                ({"label": "server", "secret": "x", "until": "2020-01-01T00:00:00Z"}, "until"),
                ({"label": "server", "secret": "x", "until": "2999-01-01T00:00:00Z"}, "until"),
            ):
                wrong = await admin.post(path, json=body)
                assert wrong.status_code == 422
                assert [one["field"] for one in wrong.json()["errors"]] == [field]
            until = (datetime.now(UTC) + timedelta(days=2)).isoformat()
            made = await admin.post(path, json={"label": "server", "secret": SECRET, "until": until})
            assert made.status_code == 201, made.text
            kept = made.json()
            assert (kept["label"], kept["by"], kept["erased"], "secret" in kept) == ("server", "admin", False, False)
            one = f"{path}/{kept['id']}"

            # Who may: staff with the whole right, of this ticket.
            assert (await auditor.get(one)).status_code == 403
            assert (await auditor.get(path)).status_code == 403
            for role in ("crew", "client"):
                async with desk.program(role) as other:
                    assert (await other.get(one)).status_code == 403
                    assert (await other.post(path, json={"label": "a", "secret": "b"})).status_code in (403, 404)
            token = await desk.users.token("engineer", "read")
            read_only = {"Authorization": f"Bearer {token}"}
            assert (await admin.get(one, headers=read_only)).status_code == 403
            assert (await admin.get(f"/api/tickets/DZ-1/secrets/{kept['id']}")).status_code == 404
            for nothing in ("0", "999", "x"):
                assert (await admin.get(f"{path}/{nothing}")).status_code == 404
            await execute(desk.pool, "UPDATE ticket SET team = 'north' WHERE number = %s", number)
            async with desk.program("engineer") as stranger:
                assert (await stranger.get(one)).status_code == 404, "another team's"
            await execute(desk.pool, "UPDATE ticket SET team = NULL WHERE number = %s", number)

            # Each reading, by program and by page, is in the journal; what was entrusted is nowhere.
            assert (await admin.get(one)).json()["secret"] == SECRET
            async with desk.signed_in("engineer") as browser:
                page = (await browser.get(f"/tickets/{number}")).text
                assert "server" in page
                assert (await browser.post(f"/tickets/{number}/secrets/{kept['id']}", data={})).status_code == 403
                shown = await browser.post(f"/tickets/{number}/secrets/{kept['id']}", data=hidden(page))
                assert "correct &lt;horsestaple&gt;" in shown.text
                typed = hidden(page) | {"label": "modem", "secret": SECRET}
                assert (await browser.post(f"/tickets/{number}/entrust", data=typed)).headers["location"] == (
                    f"/tickets/{number}"
                )
            ticket = (await admin.get(f"/api/tickets/{number}")).json()
            told = [(entry["action"], entry["actor"]) for entry in ticket["journal"] if "secret" in entry["data"]]
            assert told == [
                ("entrust", "admin"), ("secret-read", "admin"), ("secret-read", "engineer"), ("entrust", "engineer"),
            ]  # fmt: skip
            assert [one["label"] for one in ticket["secrets"]] == ["server", "modem"]
            stored = await fetch(
                desk.pool,
                "SELECT concat((SELECT string_agg(j::text, '') FROM journal j), (SELECT string_agg(t::text, '') FROM"
                " ticket t), (SELECT string_agg(o::text, '') FROM outbox o), (SELECT string_agg(s::text, '') FROM"
                " ticket_secret s), (SELECT string_agg(i::text, '') FROM idempotency i))",
            )
            assert "horsestaple" not in page + str(ticket) + stored[0][0]
            assert SECRET.encode() not in b"".join(
                row[0] for row in await fetch(desk.pool, "SELECT sealed FROM ticket_secret")
            )

            # Exchanged rows do not open; what is over is erased by the engine, the rest with the ticket.
            sealed = await fetch(desk.pool, "SELECT sealed FROM ticket_secret ORDER BY id")
            await execute(desk.pool, "UPDATE ticket_secret SET sealed = %s WHERE id = %s", sealed[1][0], kept["id"])
            assert (await admin.get(one)).status_code == 409
            await execute(desk.pool, "UPDATE ticket_secret SET sealed = %s WHERE id = %s", sealed[0][0], kept["id"])
            _, dues = modules_of(desk.pool, desk.tickets.office)
            left = "SELECT label FROM ticket_secret WHERE sealed IS NOT NULL"
            await dues.cycle(datetime.now(UTC) + timedelta(days=1))
            assert len(await fetch(desk.pool, left)) == 2
            await dues.cycle(datetime.now(UTC) + timedelta(days=2))
            assert await fetch(desk.pool, left) == [("modem",)]
            assert (await admin.get(one)).status_code == 409
            assert (await admin.post(f"/api/tickets/{number}/withdraw", json={"reason": "spam"})).status_code == 200
            assert await fetch(desk.pool, left) == []
            ended = (await admin.get(f"/api/tickets/{number}")).json()
            assert [entry["data"]["label"] for entry in ended["journal"] if entry["action"] == "secret-erased"] == [
                "server", "modem",
            ]  # fmt: skip

    asyncio.run(main())
