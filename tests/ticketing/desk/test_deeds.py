"""The forms of a ticket's page: every action has one, its fields are those of the body, what is typed gets there."""

import asyncio
import html
import re
from zoneinfo import ZoneInfo

import msgspec
import pytest

from tests.ticketing.desk.parts import hidden, site, small_fleet
from tests.ticketing.desk.two_clients import fill
from ticketing.desk.deeds import DEEDS, GIVEN, PLACED, possible
from ticketing.kit.forms import zoned
from ticketing.model.states import PEOPLE, REASONS, Action
from ticketing.tickets.bodies import Body, read_fields
from ticketing.tickets.facts import Actor

NAMES = {field.encode_name for field in msgspec.structs.fields(Body)} | {"slot_from", "slot_to"}


def test_every_action_has_one_form():
    formed = [deed.action for deed in DEEDS] + list(PLACED)
    assert sorted(formed) == sorted({*PEOPLE, Action.VENDOR_DONE})


@pytest.mark.parametrize("deed", [*DEEDS, *GIVEN], ids=lambda deed: deed.words)
def test_the_fields_are_those_of_the_body(deed):
    for field in deed.fields:
        assert field.name in NAMES
        for value in field.options:
            read_fields({field.name: value})
        assert (field.kind == "select") == bool(field.options)
        if deed.action == Action.WITHDRAW and field.options:
            assert set(field.options) == set(REASONS) - {"explained"}  # which is the watch's


def test_forms_are_offered_for_what_is_possible():
    assert [deed.action for deed in possible([Action.LINK, Action.ASK, Action.TAKE])] == [Action.ASK, Action.LINK]


def test_instants_are_the_readers_own():
    said = zoned({"eta": "2026-07-01T09:30", "until": "soon", "text": "2026-07-01T09:30"}, ZoneInfo("Europe/Berlin"))
    assert said == {"eta": "2026-07-01T09:30:00+02:00", "until": "soon", "text": "2026-07-01T09:30"}
    assert zoned({"eta": "2026-07-01T09:30+05:00"}, ZoneInfo("UTC"))["eta"] == "2026-07-01T09:30:00+05:00"
    slot = read_fields(zoned({"slot_from": "2026-07-01T09:30", "slot_to": ""}, ZoneInfo("UTC"))).slot
    assert {end: at.isoformat() for end, at in slot.items()} == {"from": "2026-07-01T09:30:00+00:00"}


def test_what_is_typed_gets_there(postgres_dsn):
    async def main():
        async with site(postgres_dsn, roles=("engineer", "auditor")) as desk, desk.signed_in("engineer") as browser:
            number = (await small_fleet(desk.pool))["new"]
            path = f"/tickets/{number}"
            page = (await browser.get(path)).text
            csrf = {"csrf": hidden(page)["csrf"]}
            assert 'id="deeds"' in page
            assert "Nothing was said yet." in page

            async def send(action, **fields):
                answer = await browser.post(f"{path}/{action}", data=csrf | fields)
                assert (answer.status_code, answer.headers["location"]) == (303, path), answer.headers["location"]
                return await desk.tickets.get(number)

            qualified = await send("qualify", **{"class": "software", "component": "", "reason": "", "topic": ""})
            assert (qualified.class_, qualified.qualified) == ("software", True)
            await send("reply", text="<b>we look</b>")
            asked = await send("ask", items="What plate?\n\n Where?\n")
            assert asked.missing == ["What plate?", "Where?"]
            assert (await send("answer", text="A1, home")).missing == []
            promised = await send("eta", eta="2099-01-02T03:04", basis="plan", text="")
            assert promised.eta.at.isoformat() == "2099-01-02T03:04:00+00:00"
            await send("note", text="between us")
            page = (await browser.get(path)).text
            assert "&lt;b&gt;we look&lt;/b&gt;" in page
            stream = page.split('id="stream"')[1]
            assert re.findall(r'<li class="(\w+)" id="m-', stream) == ["out", "out", "in", "note"]
            assert "2099-01-02 03:04:00 UTC" in page
            words = re.findall(r'name="messages" value="(\d+)"', page)
            assert len(words) == 4
            split = await browser.post(f"{path}/split", data=csrf | {"messages": words[:2], "subject": "the other"})
            assert split.headers["location"] == path
            (link,) = (await desk.tickets.get(number)).links
            assert [m.text for m in (await desk.tickets.get(link.number)).messages][:2] == [
                "<b>we look</b>",
                "1. What plate?\n2. Where?",
            ]
            assert f'href="/tickets/{link.number}"' in (await browser.get(path)).text
            async with desk.signed_in("auditor") as auditor:
                read = (await auditor.get(path)).text
                assert "<textarea" not in read
                assert 'type="checkbox"' not in read
                assert "between us" in read

    asyncio.run(main())


def test_the_queue_has_lanes(postgres_dsn):
    async def main():
        async with site(postgres_dsn, roles=("engineer",)) as desk, desk.signed_in("engineer") as browser:
            numbers = await small_fleet(desk.pool)
            everybody = set((await listed(browser, "/tickets"))[0])

            found, page = await listed(browser, "/tickets?owner=engineer")
            assert found == []
            csrf = {"csrf": hidden(page)["csrf"]}
            await browser.post(f"/tickets/{numbers['new']}/take", data=csrf)
            found, page = await listed(browser, "/tickets?owner=engineer")
            assert found == [numbers["new"]]
            assert re.findall(r'href="([^"]+)" aria-current="page">([^<]+)', page.split("lanes")[1]) == [
                ("/tickets?owner=engineer", "Mine")
            ]
            found, _ = await listed(browser, "/tickets?owner=-")
            assert found
            assert set(found) < everybody - {numbers["new"]} | {""}
            await browser.post(f"/tickets/{numbers['new']}/ask", data=csrf | {"items": "when?"})
            assert (await listed(browser, "/tickets?state=waiting"))[0] == [numbers["new"]]
            assert (await listed(browser, "/tickets?verdict=breached"))[0] == []

    async def listed(browser, path):
        answer = await browser.get(path)
        assert answer.status_code == 200
        return re.findall(r'<tr id="t-([^"]+)"', answer.text), answer.text

    asyncio.run(main())


def test_a_client_sees_a_portal(postgres_dsn):
    async def main():
        async with site(postgres_dsn, roles=("engineer", "client")) as desk, desk.signed_in("client") as browser:
            number = (await small_fleet(desk.pool))["recovered"]
            async with desk.pool.connection() as connection:
                await connection.execute(
                    "WITH o AS (INSERT INTO organisation (name, created_at) VALUES ('Acme', now()) RETURNING id),"
                    " u AS (UPDATE app_user SET organisations = ARRAY[(SELECT id FROM o)] WHERE name = 'client')"
                    " UPDATE ticket SET organisation = (SELECT id FROM o) WHERE number = %s",
                    (number,),
                )
            async with desk.signed_in("engineer") as engineer:
                staff = (await engineer.get(f"/tickets/{number}")).text
                assert "Acme" in staff
                csrf = {"csrf": hidden(staff)["csrf"]}
                await engineer.post(f"/tickets/{number}/note", data=csrf | {"text": "between us"})
            page = (await browser.get(f"/tickets/{number}")).text
            assert "between us" not in page
            assert "Who works on it" in page
            assert 'id="deeds"' not in page
            csrf = {"csrf": hidden(page)["csrf"]}
            await browser.post(f"/tickets/{number}/note", data=csrf | {"text": "thank you"})
            assert "thank you" in (await browser.get(f"/tickets/{number}")).text
            assert "Yes, it is fixed" in page
            await browser.post(f"/tickets/{number}/consent", data=csrf | {"means": "button"})
            assert (await desk.tickets.get(number)).state == "closed"

    asyncio.run(main())


def test_a_client_answers_each_item_sends_files_and_withdraws(postgres_dsn):
    async def main():
        async with site(postgres_dsn, roles=("engineer", "client")) as desk, desk.signed_in("client") as browser:
            number = (await small_fleet(desk.pool))["new"]
            path = f"/tickets/{number}"
            async with desk.pool.connection() as connection:
                await connection.execute("INSERT INTO organisation (name, created_at) VALUES ('Acme', now())")
                await connection.execute("UPDATE app_user SET organisations = '{1}' WHERE name = 'client'")
                await connection.execute("UPDATE ticket SET organisation = 1 WHERE number = %s", (number,))
            questions = ["Is it <on>?", "steps", "Where?"]
            engineer = Actor("engineer", "engineer")
            await desk.tickets.act(Action.TAKE, number, engineer, Body())
            ask = Body(items=questions)
            await desk.tickets.act(Action.QUALIFY, number, engineer, Body(class_="hardware"))
            await desk.tickets.act(Action.ASK, number, engineer, ask)
            page = (await browser.get(path)).text
            csrf = {"csrf": hidden(page)["csrf"]}
            asked = [html.unescape(item) for item in re.findall(r'name="asked-\d+" value="([^"]*)"', page)]
            assert asked == questions
            assert re.findall(r'<label for="asked-\d+">([^<]*)</label>', page) == [
                "Is it &lt;on&gt;?", "what leads to it", "Where?"
            ]  # fmt: skip
            form = csrf | {f"asked-{n}": item for n, item in enumerate(asked)}
            # Nothing said is no answer; what was typed is there again where it was refused.
            empty = await browser.post(f"{path}/answer", data=form | {"answer-0": "  ", "text": ""})
            assert "nothing is answered" in (await browser.get(empty.headers["location"])).text
            refused = await browser.post(
                f"{path}/reopen", data=form | {"answer-2": "Yard", "text": "x"}, files={"files": ("a.txt", b"x")}
            )
            again = (await browser.get(refused.headers["location"])).text
            assert ">\nWhere?: Yard\nx</textarea>" in again
            assert "Files have to be chosen again." in again
            answered = await browser.post(
                f"{path}/answer", data=form | {"answer-0": "Yes", "answer-2": "Yard\r\n2", "text": "That is all"},
                files={"files": ("../cab.png", b"\x89PNG\r\n\x1a\n" * 40_000)},
            )  # fmt: skip
            assert answered.headers["location"] == path
            ticket = await desk.tickets.get(number)
            assert (ticket.state, ticket.missing) == ("in_work", ["steps"])
            entry = ticket.journal[-1]
            assert (entry.action, entry.data["items"]) == ("answer", {"Is it <on>?": "Yes", "Where?": "Yard\n2"})
            said = ticket.messages[-1]
            assert said.text == "Is it <on>?: Yes\nWhere?: Yard\n2\nThat is all"
            assert [file["name"] for file in said.attachments] == ["cab.png"]
            # He takes it back; then nobody works on it.
            page = (await browser.get(path)).text
            assert f'action="{path}/withdraw"' in page
            await browser.post(f"{path}/withdraw", data=csrf | {"reason": "explained"})
            assert (await desk.tickets.get(number)).state == "in_work"
            done = await browser.post(f"{path}/withdraw", data=csrf | {"reason": "withdrawn", "text": "It came back"})
            assert done.headers["location"] == path
            ticket = await desk.tickets.get(number)
            assert (ticket.state, ticket.ended) == ("closed", "withdrawn")
            assert "/withdraw" not in (await browser.get(path)).text

    asyncio.run(main())


def test_what_a_client_writes_by_a_form_came_by_the_portal(shared_dsn):
    async def main():
        async with site(shared_dsn, roles=("client", "engineer")) as desk:
            own, _ = await fill(desk)
            for role in ("client", "engineer"):
                async with desk.signed_in(role) as browser:
                    page = await browser.get(f"/tickets/{own.number}")
                    sent = hidden(page.text) | {"text": f"a word of the {role}"}
                    assert (await browser.post(f"/tickets/{own.number}/note", data=sent)).status_code == 303
            async with desk.program("client") as program:
                await program.post(f"/api/tickets/{own.number}/note", json={"text": "a word of a program"})
            async with desk.program("engineer") as program:
                told = (await program.get(f"/api/tickets/{own.number}")).json()["messages"]
            came = {one["text"]: one["channel"] for one in told if one["text"].startswith("a word")}
            assert came == {
                "a word of the client": "portal", "a word of the engineer": "api", "a word of a program": "api",
            }  # fmt: skip

    asyncio.run(main())
