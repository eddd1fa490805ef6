"""`/tickets/new`: who may, what the form asks, what is wrong beside its field, files, one ticket for a double click."""

import asyncio
import re

import pytest

from tests.ticketing.desk.parts import hidden, site
from tests.ticketing.desk_parts import add_terminal, execute, fetch, raise_one
from ticketing.kit.shield import MAX_BODY, MAX_UPLOAD
from ticketing.people.contacts import ChangedContact, Contacts
from ticketing.people.users import User

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 2000  # more than other forms may bring
HERE = {"origin": "http://desk.test"}


async def people(pool):
    """Two clients, each with a contact and a vehicle; the first one's terminal is silent. Returns that ticket."""
    terminal = await add_terminal(pool, "350000000000017", protocol="teltonika", name="Truck 12")
    for statement in (
        "INSERT INTO organisation (name, policy, created_at) VALUES ('North', 'support-procedure', now()),"
        " ('South', NULL, now())",
        "INSERT INTO contact (organisation, name, phones, created_at) VALUES (1, 'Ann <b>', '{+79990000001}', now()),"
        " (2, 'Bob', '{}', now())",
        f"INSERT INTO vehicle (organisation, name, plate, plate_key, terminal, created_at) VALUES"
        f" (1, 'Truck 12', 'А123ВС 77', 'A123BC77', {terminal}, now()), (1, 'Truck', '', '', NULL, now()),"
        " (1, 'truck', '', '', NULL, now()), (2, 'Bus', 'X1', 'X1', NULL, now())",
        "UPDATE app_user SET organisations = '{1}' WHERE name = 'client'",
    ):
        await execute(pool, statement)
    return terminal


def desk_of(dsn, scenario, roles=("client", "engineer", "auditor", "crew")):
    async def main():
        async with site(dsn, roles=roles) as desk:
            terminal = await people(desk.pool)
            return await scenario(desk, terminal)

    return asyncio.run(main())


def wrong(page):
    """The fields that are marked as wrong."""
    return re.findall(r'id="f-(\w+)-wrong"', page.text)


ASKED = {
    "subject": "No <i>data</i>", "description": "Nothing comes", "class": "hardware", "topic": "technical",
    "criticality": "2", "frequency": "always", "steps": "Look", "version": "1.2", "vehicle": "truck 12",
    "reporter": "1",
}  # fmt: skip


def test_a_client_fills_the_form_of_the_contract(postgres_dsn):
    async def scenario(desk, _):
        async with desk.signed_in("client") as browser:
            form = await browser.get("/tickets/new")
            said = hidden(form.text) | {"organisation": "1"}
            assert "Ann &lt;b&gt;" in form.text
            assert "Bob" not in form.text
            assert "phone the client" not in form.text
            # What the form asks for: each item by name, nothing written, everything typed still there.
            less = {**said, "subject": "No data", "class": "software", "description": "Typed <x>\n words"}
            answer = await browser.post("/tickets/new", data=less)
            assert (answer.status_code, wrong(answer)) == (
                422, ["reporter", "criticality", "frequency", "steps", "server", "version"]
            )  # fmt: skip
            assert ">\nTyped &lt;x&gt;\n words</textarea>" in answer.text
            assert 'value="software" selected' in answer.text
            assert hidden(answer.text)["key"] == said["key"]
            for field, value in (("subject", ""), ("vehicle", "X1"), ("vehicle", "TRUCK"), ("subject", "x" * 201)):
                answer = await browser.post("/tickets/new", data=said | ASKED | {field: value})
                assert (answer.status_code, wrong(answer)) == (422, [field]), (field, value)
            assert await fetch(desk.pool, "SELECT count(*) FROM ticket") == [(0,)]
            # With all of it, twice at once and once again with the same form: one ticket.
            files = [("files", ("cab.png", PNG)), ("files", ("../../log <b>.txt", b"line"))]
            sent = [browser.post("/tickets/new", data=said | ASKED, files=files) for _ in range(3)]
            answers = [*await asyncio.gather(*sent), await browser.post("/tickets/new", data=said | ASKED, files=files)]
            assert {answer.status_code for answer in answers} == {303}
            (target,) = {answer.headers["location"] for answer in answers}
            (row,) = await fetch(
                desk.pool,
                "SELECT number, channel, organisation, reporter, vehicle, class, client_priority, verified, missing,"
                " title FROM ticket",
            )
            assert row == (
                target.rpartition("/")[2], "portal", 1, 1, 1, "hardware", 2, True, [], "No <i>data</i>"
            )  # fmt: skip
            page = await browser.get(target)
            assert "No &lt;i&gt;data&lt;/i&gt;" in page.text
            names = re.findall(r'<a href="(/tickets/[^"]+/attachments/\d+)">([^<]+)</a>', page.text)
            assert [name for _, name in names] == ["cab.png", "log _b_.txt"]
            assert (await browser.get(names[0][0])).content == PNG
            # Another text under the same key is another request.
            changed = await browser.post("/tickets/new", data=said | ASKED | {"subject": "Other"}, files=files)
            assert changed.headers["location"] != target

    desk_of(postgres_dsn, scenario)


def test_a_silence_that_is_known_takes_the_message(postgres_dsn):
    async def scenario(desk, terminal):
        async with desk.signed_in("client") as browser:
            said = hidden((await browser.get("/tickets/new")).text) | {"organisation": "1"}
            number = (await raise_one(desk.pool, terminal, desk.tickets._clock().timestamp() - 60)).number
            await execute(desk.pool, "UPDATE ticket SET organisation = 1, vehicle = 1")
            assert number in (await browser.get("/tickets/new")).text
            answer = await browser.post("/tickets/new", data=said | ASKED)
            page, _, anchor = answer.headers["location"].partition("#")
            assert page.startswith(f"/tickets/{number}?told=")
            shown = (await browser.get(page)).text
            assert f'id="{anchor}"' in shown
            assert "is a message in this ticket" in shown
            forced = await browser.post("/tickets/new", data=said | ASKED | {"new": "yes"})
            assert number not in forced.headers["location"]

    desk_of(postgres_dsn, scenario)


def test_an_engineer_opens_one_for_a_caller(postgres_dsn):
    async def scenario(desk, _):
        contacts = Contacts(desk.pool, desk.users.passwords)
        await contacts.change(User(0, "admin", "admin"), 1, ChangedContact(code_word="birch"))
        async with desk.signed_in("engineer") as browser:
            for words, link in (
                ("8 999 000 00 01", "?contact=1"), ("a123bc77", "?vehicle=1"), ("350000000000017", "?vehicle=1"),
                ("south", "?organisation=2"), ("ann", "?contact=1"),
            ):  # fmt: skip
                found = await browser.get("/tickets/new", params={"q": words})
                assert f'href="/tickets/new{link}"' in found.text, words
            assert "Nobody is called that." in (await browser.get("/tickets/new?q=zzz")).text
            assert (await browser.get("/tickets/new?contact=99")).status_code == 404
            form = await browser.get("/tickets/new?contact=1")
            assert 'value="1" selected>Ann &lt;b&gt;' in form.text
            said = hidden(form.text)
            assert said["organisation"] == "1"
            call = {"channel": "phone", "reporter": "1", "subject": "It beeps", "topic": "technical"}
            opened = {}
            for word in ("birch", "oak"):
                answer = await browser.post("/tickets/new", data=said | call | {"code_word": word})
                assert answer.status_code == 303, answer.text
                opened[word] = answer.headers["location"].rpartition("/")[2]
            # Staff is never refused for what is missing: it is listed, and asked for.
            rows = dict(await fetch(desk.pool, "SELECT number, verified FROM ticket"))
            assert [rows[opened["birch"]], rows[opened["oak"]]] == [True, False]
            ((missing,),) = await fetch(desk.pool, "SELECT DISTINCT missing FROM ticket")
            assert missing == ["description", "steps", "frequency", "criticality"]
            assert "birch" not in str(await fetch(desk.pool, "SELECT details, evidence FROM ticket"))
            # A letter on paper, at the clerk's own hour, of nobody we know.
            paper = hidden((await browser.get("/tickets/new")).text)
            letter = {"channel": "paper", "topic": "letter", "subject": "A complaint", "phone": "+1 555 0100",
                      "received_at": "2026-03-02T08:00", "vehicle": "no <b>such</b> %s"}  # fmt: skip
            answer = await browser.post("/tickets/new", data=paper | letter)
            assert (answer.status_code, wrong(answer)) == (422, ["vehicle"])
            assert 'value="2026-03-02T08:00"' in answer.text
            assert answer.text.count("no terminal no &lt;b&gt;such&lt;/b&gt; %s") == 2
            answer = await browser.post("/tickets/new", data=paper | letter | {"vehicle": "350000000000017"})
            number = answer.headers["location"].rpartition("/")[2]
            ((received, organisation, sender),) = await fetch(
                desk.pool, "SELECT received_at, organisation, sender FROM ticket WHERE number = %s", number
            )
            assert (received.isoformat()[:16], organisation, sender) == ("2026-03-02T08:00", 1, "+1 555 0100")
            # Finance is another department's: the engineer is told, and sees nothing of it.
            answer = await browser.post("/tickets/new", data=said | call | {"topic": "finance"})
            page = await browser.get(answer.headers["location"])
            assert page.status_code == 200
            assert "Another department works on it" in page.text

    desk_of(postgres_dsn, scenario)


def test_who_may_not_and_what_is_refused(postgres_dsn):
    async def scenario(desk, _):
        for role in ("auditor", "crew"):
            async with desk.signed_in(role) as browser:
                assert (await browser.get("/tickets/new")).status_code == 403
                assert (await browser.post("/tickets/new", data=ASKED)).status_code == 403
                assert "/tickets/new" not in (await browser.get("/tickets")).text
        async with desk.stranger() as stranger:
            for content in (b"x" * MAX_BODY, b"x" * (MAX_UPLOAD + 1)):
                answer = await stranger.post("/tickets/new", content=content, headers=HERE)
                assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        async with desk.signed_in("client") as browser:
            said = hidden((await browser.get("/tickets/new")).text) | ASKED
            assert (await browser.get("/tickets/new?organisation=2")).status_code == 404
            assert (await browser.post("/tickets/new", data=said | {"organisation": "2"})).status_code == 404
            for stranger in ("2", "99"):  # another's contact is as one that is missing
                answer = await browser.post("/tickets/new", data=said | {"reporter": stranger})
                assert (answer.status_code, wrong(answer)) == (422, ["reporter"])
                assert f"no contact {stranger}" in answer.text
            without = await browser.post("/tickets/new", data=said | {"csrf": ""})
            assert without.status_code == 403
            expired = await browser.post("/tickets/new", data=said | {"csrf": "x"}, headers=HERE)
            assert expired.status_code == 403
            assert ">\nNothing comes</textarea>" in expired.text  # our own page, whose session was another: kept
            kind = "multipart/form-data; boundary=x"
            for content, headers, status in (
                (b"x" * (MAX_UPLOAD + 1), {"content-type": kind}, 413),
                (b"x" * (MAX_BODY + 1), {"content-type": "application/x-www-form-urlencoded"}, 413),
                (b"--x\r\n" * 9, {"content-type": kind}, 400),
                (b"", {"content-type": f"{kind}; charset=utf-7"}, 400),
                (b"", {"content-type": "multipart/mixed; boundary=x"}, 400),
            ):
                answer = await browser.post("/tickets/new", content=content, headers=headers)
                assert answer.status_code == status, headers
            many = [("files", (f"{n}.txt", b"x")) for n in range(21)]
            assert (await browser.post("/tickets/new", data=said, files=many)).status_code == 400
            large = [("files", ("film.bin", bytes(20 << 20) + b"x"))]
            refused = await browser.post("/tickets/new", data=said, files=large)
            assert (refused.status_code, wrong(refused)) == (422, ["files"])
            for field in ("subject", "description", "phone"):
                odd = await browser.post("/tickets/new", data=said | {field: "a\x00b"})
                assert (odd.status_code, wrong(odd)) == (422, [field])
        assert await fetch(desk.pool, "SELECT count(*) FROM ticket") == [(0,)]

    desk_of(postgres_dsn, scenario)


@pytest.mark.parametrize("owned", [0, 2])
def test_a_client_of_none_or_of_several_chooses(postgres_dsn, owned):
    async def scenario(desk, _):
        own = "{1,2}" if owned else "{}"
        await execute(desk.pool, f"UPDATE app_user SET organisations = '{own}' WHERE name = 'client'")
        async with desk.signed_in("client") as browser:
            page = await browser.get("/tickets/new")
            assert re.findall(r'href="/tickets/new\?organisation=(\d)"', page.text) == ["1", "2"][:owned]
            assert "<textarea" not in page.text
            if owned:
                assert "Bus" in (await browser.get("/tickets/new?organisation=2")).text
            said = {"csrf": hidden(page.text)["csrf"], "subject": "x"}
            assert (await browser.post("/tickets/new", data=said)).status_code in (404, 422)
        assert await fetch(desk.pool, "SELECT count(*) FROM ticket") == [(0,)]

    desk_of(postgres_dsn, scenario)
