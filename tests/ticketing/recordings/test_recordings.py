"""Recordings of calls: told to who may hear them, each listening on record, erased when their time is over (S2-19)."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta

import pytest

from tests.ticketing.desk.parts import hidden, site, small_fleet
from tests.ticketing.desk_parts import execute, fetch
from ticketing.engine import modules_of

LINK = "https://recorder.example/call/17?t=zzwhere"
AUDIO = b"OggS" + b"zzvoice" * 9
NOW = datetime.now(UTC).replace(microsecond=0)
HEARD = "SELECT actor, data ->> 'recording' FROM journal WHERE action = 'recording-heard' ORDER BY ticket, seq"


def filed(number, **said):
    return {"ticket": number, "link": LINK, "consent": True, **said}


@pytest.fixture(scope="module")
def here(shared_dsn):
    """A loop, a desk and its tickets."""
    with asyncio.Runner() as runner:
        opened = site(shared_dsn)
        desk = runner.run(opened.__aenter__())
        yield runner, desk, runner.run(small_fleet(desk.pool))
        runner.run(opened.__aexit__(None, None, None))


def test_whoever_listens_is_on_record_and_nobody_else_hears(here):
    runner, desk, numbers = here
    number = numbers["new"]

    async def main():
        async with desk.program("engineer") as engineer, desk.program("auditor") as auditor:
            made = await engineer.post("/api/recordings", json=filed(number, called_at=NOW.isoformat()))
            assert made.status_code == 201, made.text
            one = made.json()
            assert (one["ticket"], one["kind"], one["consent"], one["by"], one["heard"]) == (
                number, "link", True, "engineer", 0,
            )  # fmt: skip
            assert datetime.fromisoformat(one["until"]) == NOW + timedelta(days=180)
            path = f"/api/recordings/{one['id']}"

            # Lists, single ones, the ticket and its pages tell that there is one, not where.
            for where in ("/api/recordings", path, f"/api/tickets/{number}", f"/api/recordings?ticket={number}"):
                told = await auditor.get(where)
                assert told.status_code == 200, where
                assert "zzwhere" not in told.text, where
            assert (await auditor.get("/api/recordings?ticket=DZ-1")).json()["items"] == []

            for role, code in (("manager", 403), ("engineer", 403), ("crew", 403), ("client", 403), ("admin", 200)):
                async with desk.program(role) as other:
                    assert (await other.get(f"{path}/listen")).status_code == code, role
            async with desk.program("auditor", "read") as reader:
                refused = await reader.get(f"{path}/listen")
                assert refused.status_code == 403
                assert "written into the journal" in refused.json()["error"]
            heard = await auditor.get(f"{path}/listen")
            assert heard.json() == {"id": one["id"], "link": LINK}
            assert (await auditor.post("/api/recordings", json=filed(number))).status_code == 403
            for nothing in ("0", "999999", "x"):
                assert (await auditor.get(f"/api/recordings/{nothing}/listen")).status_code == 404

            async with desk.signed_in("auditor") as browser:
                page = (await browser.get("/recordings")).text
                assert "zzwhere" not in page
                button = f"/recordings/{one['id']}/listen"
                assert button in page
                assert (await browser.post(button, data={})).status_code == 403, "no form of ours"
                assert LINK in (await browser.post(button, data=hidden(page))).text
            async with desk.signed_in("manager") as browser:
                page = (await browser.get("/recordings")).text
                assert button not in page
                assert (await browser.post(button, data=hidden(page))).status_code == 403
            assert await fetch(desk.pool, HEARD) == [(who, str(one["id"])) for who in ("admin", "auditor", "auditor")]
            assert (await auditor.get(path)).json()["heard"] == 3

    runner.run(main())


def test_another_teams_calls_are_as_missing(here):
    runner, desk, numbers = here
    number = numbers["firmware"]

    async def main():
        async with desk.program("engineer") as engineer, desk.program("manager") as manager:
            await execute(desk.pool, "UPDATE ticket SET team = 'south' WHERE number = %s", number)
            assert (await engineer.post("/api/recordings", json=filed(number))).status_code == 404
            made = (await manager.post("/api/recordings", json=filed(number))).json()
            assert (await engineer.get(f"/api/recordings/{made['id']}")).status_code == 404
            assert made["id"] not in [one["id"] for one in (await engineer.get("/api/recordings")).json()["items"]]

    runner.run(main())


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"link": "http://recorder.example/1"}, "link"),
        ({"link": "javascript:alert(1)"}, "link"),
        ({"link": "https://anna:word@recorder.example/1"}, "link"),
        ({"link": "https:///1"}, "link"),
        ({"link": "https://[x/1"}, "link"),
        ({"link": "https://recorder.example/a b"}, "link"),
        ({"link": "https://recorder.example/" + "x" * 2000}, "link"),
        ({"link": None}, "link"),
        ({"attachment": 1}, "link"),
        ({"link": None, "attachment": 999_999}, "attachment"),
        ({"consent": None}, "consent"),
        ({"consent": "perhaps"}, "consent"),
        ({"called_at": "2026-11-16T10:00:00"}, "called_at"),
        ({"called_at": (NOW + timedelta(hours=1)).isoformat()}, "called_at"),
        ({"called_at": (NOW - timedelta(days=180)).isoformat()}, "called_at"),
    ],
)
def test_what_cannot_be_filed_is_named(here, said, field):
    runner, desk, numbers = here
    number = numbers["new"]

    async def main():
        async with desk.program("engineer") as engineer:
            wrong = await engineer.post("/api/recordings", json=filed(number, **said))
            assert wrong.status_code == 422, wrong.text
            assert field in [one["field"] for one in wrong.json()["errors"]]
            async with desk.signed_in("engineer") as browser:
                page = (await browser.get("/recordings")).text
                typed = {name: str(value) for name, value in filed(number, **said).items() if value is not None}
                answer = await browser.post("/recordings", data=hidden(page) | typed)
                if field != "called_at" or "T10" not in typed["called_at"]:  # typed in the reader's zone
                    assert (answer.status_code, 'role="alert"' in answer.text) == (422, True)

    runner.run(main())


def test_retention_deletes_the_link_and_the_file_and_says_so(postgres_dsn):
    async def main():
        async with site(postgres_dsn) as desk, desk.program("admin") as admin, desk.program("auditor") as auditor:
            number = (await small_fleet(desk.pool))["new"]
            sent = {"name": "call.ogg", "content": base64.b64encode(AUDIO).decode()}
            await admin.post(f"/api/tickets/{number}/take")
            await admin.post(f"/api/tickets/{number}/note", json={"text": "they called", "attachments": [sent]})
            ticket = (await admin.get(f"/api/tickets/{number}")).json()
            (file,) = [file for message in ticket["messages"] for file in message["attachments"]]
            usual = f"/api/tickets/{number}/attachments/{file['id']}"
            assert (await admin.get(usual)).content == AUDIO

            day = timedelta(days=1)
            said = filed(number, link=None, attachment=file["id"], consent=False, called_at=(NOW - day).isoformat())
            one = (await admin.post("/api/recordings", json=said)).json()
            other = (await admin.post("/api/recordings", json=filed(number, called_at=NOW.isoformat()))).json()
            assert (one["kind"], one["name"], one["consent"]) == ("file", "call.ogg", False)
            assert (await admin.get(usual)).status_code == 404, "no other way leads to it"
            heard = await auditor.get(f"/api/recordings/{one['id']}/listen")
            assert (heard.status_code, heard.content) == (200, AUDIO)
            assert heard.headers["content-disposition"].startswith("attachment;")
            assert [row[1] for row in await fetch(desk.pool, HEARD)] == [str(one["id"])]

            _, dues = modules_of(desk.pool, desk.tickets.office)
            held = "SELECT count(*) FROM recording WHERE link IS NOT NULL OR file IS NOT NULL"
            term = timedelta(days=180)
            await dues.cycle(NOW - day + term - timedelta(seconds=1))
            assert await fetch(desk.pool, held) == [(2,)]
            await dues.cycle(NOW - day + term)
            assert await fetch(desk.pool, held) == [(1,)]
            assert await fetch(desk.pool, "SELECT FROM blob WHERE content = %s", AUDIO) == []
            assert (await auditor.get(f"/api/recordings/{one['id']}/listen")).status_code == 409
            assert (await auditor.get(f"/api/recordings/{one['id']}")).json()["erased_at"] is not None
            assert (await auditor.get(f"/api/recordings/{other['id']}/listen")).json()["link"] == LINK
            await dues.cycle(NOW + term)
            assert await fetch(desk.pool, held) == [(0,)]
            assert await fetch(desk.pool, "SELECT FROM recording WHERE name <> ''") == []
            journal = (await admin.get(f"/api/tickets/{number}")).json()["journal"]
            erased = [entry for entry in journal if entry["action"] == "recording-erased"]
            assert [(entry["actor"], entry["data"]["recording"]) for entry in erased] == [
                ("watch", one["id"]), ("watch", other["id"]),
            ]  # fmt: skip
            assert await dues.next_due() is None or "recordings" not in [
                row[0] for row in await fetch(desk.pool, "SELECT module FROM due")
            ]

    asyncio.run(main())


def test_a_policy_says_for_how_long_and_what_is_over_is_not_heard_before_it_is_erased(postgres_dsn):
    async def main():
        async with site(postgres_dsn) as desk, desk.program("auditor") as auditor, desk.program("admin") as admin:
            number = (await small_fleet(desk.pool))["new"]
            await execute(
                desk.pool, "INSERT INTO policy_version (version, content) SELECT 'three days', jsonb_set(content,"
                " '{recordings}', '{\"days\": 3}') FROM policy_version LIMIT 1",
            )  # fmt: skip
            await execute(desk.pool, "UPDATE ticket SET policy_version = 'three days' WHERE number = %s", number)
            called = NOW - timedelta(days=2)
            one = (await admin.post("/api/recordings", json=filed(number, called_at=called.isoformat()))).json()
            assert datetime.fromisoformat(one["until"]) == called + timedelta(days=3)
            await execute(desk.pool, "UPDATE recording SET until = now() WHERE id = %s", one["id"])
            assert (await auditor.get(f"/api/recordings/{one['id']}/listen")).status_code == 409
            assert await fetch(desk.pool, HEARD) == []

    asyncio.run(main())
