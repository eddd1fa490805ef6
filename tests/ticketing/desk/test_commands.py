"""Commands through the desk: who may, what is refused in which order, the form and what it keeps."""

import asyncio
from datetime import UTC, datetime, timedelta

from tests.ticketing.desk.parts import PASSWORD, hidden, sign_in, site, small_fleet
from tests.ticketing.desk_parts import add_terminal, fetch
from ticketing.people.users import ROLES

PATH = "/api/terminals/352093081429150/commands"
PAGE = "/terminals/352093081429150"
MAY = ("admin", "engineer")


def run(dsn, work, **options):
    async def main():
        async with site(dsn, **options) as desk:
            await small_fleet(desk.pool)
            await add_terminal(desk.pool, "77002", protocol="omnicomm")
            return await work(desk)

    return asyncio.run(main())


def test_engineers_and_admins_send_the_others_do_not(postgres_dsn):
    async def work(desk):
        for role in ROLES:
            may = role in MAY
            async with (
                desk.program(role) as program,
                desk.program(role, "read") as reader,
                desk.signed_in(role) as browser,
            ):
                assert (await reader.post(PATH, json={"text": "getver"})).status_code == 403
                answer = await program.post(PATH, json={"text": f"by {role}"})
                assert answer.status_code == (201 if may else 403)
                # Of the form the session's token is asked, once the role may.
                assert (await browser.post(f"{PAGE}/commands", data={"text": "x", "csrf": "x"})).status_code == 403
                page = (await browser.get(PAGE)).text
                assert ('id="command"' in page) == may
                seen = role not in ("crew", "client")
                assert ("by admin" in page) == seen
                assert (await program.get(PATH)).status_code == (200 if seen else 403)
        assert await fetch(desk.pool, "SELECT text, created_by FROM command ORDER BY id") == [
            (f"by {role}", role) for role in ROLES if role in MAY
        ]

    run(postgres_dsn, work)


def test_wrong_requests(postgres_dsn):
    async def work(desk):
        async with desk.program("engineer") as program:
            for body, status in (
                ({"text": "a\r\nb"}, 400),
                ({"text": "é"}, 400),
                ({"text": "\x00"}, 400),
                ({"text": 5}, 400),
                ({}, 400),
                ([], 400),
                ({"text": "getver", "expires_in": True}, 400),
                ({"text": "getver", "expires_in": "1y"}, 400),
                ({"text": "getver", "expires_in": -1}, 400),
                ({"text": "getver", "key": "k" * 101}, 400),
                ({"text": "getver", "key": 7}, 400),
                ({"text": "getver", "repeat": "yes"}, 400),
                ({"text": "getver", "reapeat": True}, 400),  # a mistyped key is never a silent default
            ):
                answer = await program.post(PATH, json=body)
                assert answer.status_code == status, body
                assert list(answer.json()) == ["error"]
            for content in (
                b'{"text":"x","expires_in":1e400}',
                b"",
                b"{",
                b"\xff",
                b"[" * 5000,
                b'{"text":"' + b"x" * 140_000 + b'"}',
            ):
                assert (await program.post(PATH, content=content)).status_code in (400, 413)
            assert (await program.post("/api/terminals/none/commands", content=b"{")).status_code == 404
            mute = await program.post("/api/terminals/77002/commands", json={"text": "getver"})
            assert mute.status_code == 409
            assert "omnicomm has no commands" in mute.json()["error"]
            for path in ("0", "1", "x", "9" * 30, "-1", "%00"):
                assert (await program.get(f"{PATH}/{path}")).status_code == 404
            for query in ("limit=0", "limit=x", "cursor=x", "cursor=%00", "cursor=LTE"):
                assert (await program.get(f"{PATH}?{query}")).status_code == 400
            assert await fetch(desk.pool, "SELECT * FROM command") == []
            # An identity with a slash and a blank.
            odd = await program.post("/api/terminals/wl%2Fodd%20one/commands", json={"text": "hello"})
            assert odd.status_code == 201
            assert (await program.get(f"/api/terminals/wl%2Fodd%20one/commands/{odd.json()['id']}")).status_code == 200
            assert (await program.get(f"{PATH}/{odd.json()['id']}")).status_code == 404, "another terminal's"

    run(postgres_dsn, work)


def test_the_form_sends_once_and_keeps_what_was_refused(postgres_dsn):
    async def work(desk):
        async with desk.signed_in("engineer") as browser:
            fields = hidden((await browser.get(PAGE)).text.partition('id="command"')[2])
            assert set(fields) == {"csrf", "key"}
            good = {**fields, "text": "getinfo", "expires_in": "1h"}
            for _ in range(2):  # a double click
                answer = await browser.post(f"{PAGE}/commands", data=good)
                assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}#commands")
            assert await fetch(desk.pool, "SELECT text, created_by, repeat FROM command") == [
                ("getinfo", "engineer", False)
            ]
            fields = hidden((await browser.get(PAGE)).text.partition('id="command"')[2])
            wrong = {**fields, "text": "<дверь>", "expires_in": "10m", "repeat": "on"}
            answer = await browser.post(f"{PAGE}/commands", data=wrong)
            assert answer.status_code == 303
            page = (await browser.get(answer.headers["location"])).text
            assert "ASCII" in page
            assert 'value="&lt;дверь&gt;"' in page
            assert "<дверь>" not in page
            # From elsewhere: nothing.
            for data in ({"text": "x"}, {**good, "csrf": "0" * 64}):
                assert (await browser.post(f"{PAGE}/commands", data=data)).status_code == 403
                other = await browser.post(f"{PAGE}/commands", data=data, headers={"Origin": "http://evil.test"})
                assert other.status_code == 403
            mine = await browser.post(
                f"{PAGE}/commands", data={**good, "csrf": "0" * 64, "key": "z"}, headers={"Origin": "http://desk.test"}
            )
            assert mine.headers["location"].startswith(f"{PAGE}?told=")  # typed under another session of the browser
            assert len(await fetch(desk.pool, "SELECT 1 FROM command")) == 1
            mute = (await browser.get("/terminals/77002")).text
            assert "omnicomm has no commands" in mute
            assert 'action="/terminals/77002/commands"' not in mute

    run(postgres_dsn, work)


def test_a_form_whose_session_ended_leads_through_the_login_and_back(postgres_dsn):
    async def work(desk):
        async with desk.signed_in("engineer") as browser:
            page = "/terminals/wl%2Fodd%20one"
            fields = hidden((await browser.get(page)).text.partition('id="command"')[2])
            browser.cookies.delete("dozor_session")
            answer = await browser.post(
                f"{page}/commands", data={**fields, "text": "call me"}, headers={"Origin": "http://desk.test"}
            )
            assert answer.status_code == 401
            assert "call me" in answer.text
            form = hidden(answer.text)
            assert form["next"] == page
            back = await browser.post(
                "/login", data={**form, "kept": "call me", "username": "engineer", "password": PASSWORD}
            )
            assert back.status_code == 303
            assert back.headers["location"].startswith(f"{page}?told=")
            shown = (await browser.get(back.headers["location"])).text
            assert 'value="call me"' in shown
            assert "Nothing was done yet" in shown
            assert await fetch(desk.pool, "SELECT 1 FROM command") == []
            assert (await sign_in(browser, "engineer")).status_code == 303

    run(postgres_dsn, work)


def test_without_the_clients_permission_the_policy_lets_nobody_send(postgres_dsn):
    async def work(desk):
        async with desk.signed_in("engineer") as browser, desk.program("admin") as program:
            answer = await program.post(PATH, json={"text": "getver"})
            assert answer.status_code == 409
            assert "permission" in answer.json()["error"]
            page = (await browser.get(PAGE)).text
            assert "permission to work from afar" in page
            assert f'action="{PAGE}/commands"' not in page
            odd = "/api/terminals/wl%2Fodd%20one/commands"
            assert (await program.post(odd, json={"text": "hi"})).status_code == 409
            number = (await program.get("/api/tickets?state=awaiting_consent")).json()["items"][0]["number"]
            ticket = f"/api/tickets/{number}"
            assert (await program.post(f"{ticket}/command", json={"text": "hi"})).status_code == 409
            allowed = {"by": "Ann", "means": "phone", "until": "2999-01-01T00:00:00Z"}
            assert (await program.post(f"{ticket}/permit", json=allowed)).status_code == 422, "for ever"
            allowed["until"] = (datetime.now(UTC) + timedelta(days=1)).isoformat()
            permit = await program.post(f"{ticket}/permit", json=allowed)
            assert permit.status_code == 200, permit.text
            assert (await program.post(odd, json={"text": "hi"})).json()["ticket"] == number
            sent = await browser.post(
                f"/tickets/{number}/command",
                data=hidden((await browser.get(f"/tickets/{number}")).text) | {"text": "x"},
            )
            assert (sent.status_code, sent.headers["location"]) == (303, f"/tickets/{number}")
            told = (await program.get(ticket)).json()
            (permission,) = told["permissions"]
            assert (permission["by"], permission["live"]) == ("Ann", True)
            assert [(one["text"], one["by"], one["permission"]) for one in told["commands"]] == [
                ("hi", "admin", permission["id"]), ("x", "engineer", permission["id"])
            ]  # fmt: skip

    run(postgres_dsn, work, needs_permission=True)
