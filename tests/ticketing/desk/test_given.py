"""What a client allows and entrusts, by the forms of its own page; staff sees what stands and takes it back."""

import asyncio
import re
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest

from tests.ticketing.desk.parts import hidden, site
from tests.ticketing.desk.two_clients import LABEL, MISSING, OTHERS, OWN, PLAIN, SCOPE, fill, fingerprint
from tests.ticketing.desk_parts import execute, fetch

STANDING = "SELECT id FROM remote_permission WHERE withdrawn_at IS NULL AND until > now() ORDER BY id"


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner() as found:
        yield found


@pytest.fixture(scope="module")
def walk(shared_dsn, runner):
    stack = AsyncExitStack()

    async def begin():
        desk = await stack.enter_async_context(site(shared_dsn))
        return desk, await fill(desk)

    yield runner.run(begin())
    runner.run(stack.aclose())


def offered(page, path, action):
    """The names of the fields of a page's form; of several of one action those of the last. None: there is none."""
    forms = re.findall(r"<form(.*?)</form>", page, re.DOTALL)
    mine = [form for form in forms if f'action="{path}/{action}"' in form]
    return set(re.findall(r' name="([^"]+)"', mine[-1])) if mine else None


def takes_back(page):
    """The permissions that the page has a button for."""
    return [int(one) for one in re.findall(r'name="permission" value="(\d+)"', page)]


async def refused(browser, path, action, fields):
    """What the page says after it."""
    answer = await browser.post(f"{path}/{action}", data=fields)
    assert answer.status_code == 303, answer.text
    assert "told=" in answer.headers["location"], "it was done"
    return (await browser.get(answer.headers["location"])).text


def test_a_client_allows_work_from_afar_and_takes_one_back(walk, runner):
    async def main():
        desk, (own, _) = walk
        path = f"/tickets/{own.number}"
        await execute(desk.pool, "UPDATE app_user SET time_zone = 'Asia/Vladivostok' WHERE name = 'client'")
        day = datetime.now(UTC).date() + timedelta(days=5)
        async with desk.signed_in("client") as browser:
            page = (await browser.get(path)).text
            assert offered(page, path, "permit") == {"csrf", "until", "text"}, "the word is the client's own"
            assert f"{SCOPE} {own.said}" in page, "what staff wrote down stands there too"
            assert takes_back(page) == [OWN]
            csrf = {"csrf": hidden(page)["csrf"]}
            said = {"until": f"{day}T09:30", "text": "restart <it>", "by": "somebody else"}
            before = await fingerprint(desk.pool)
            assert (await browser.post(f"{path}/permit", data=said)).status_code == 403
            assert (await browser.post(f"{path}/revoke", data={"permission": OWN})).status_code == 403
            assert await fingerprint(desk.pool) == before
            given = await browser.post(f"{path}/permit", data=csrf | said)
            assert (given.status_code, given.headers["location"]) == (303, path)
            ((new, by, means, scope, until),) = await fetch(
                desk.pool, "SELECT id, given_by, means, scope, until FROM remote_permission WHERE written_by = 'client'"
            )
            assert (by, means, scope) == ("client", "portal", "restart <it>")
            assert until == datetime.fromisoformat(f"{day}T09:30+10:00"), "typed in the client's own zone"
            page = (await browser.get(path)).text
            assert takes_back(page) == [OWN, new]
            assert "restart &lt;it&gt;" in page
            assert "in the portal" in page

            # The first is taken back, the second stands.
            gone = await browser.post(f"{path}/revoke", data=csrf | {"permission": OWN})
            assert gone.headers["location"] == path
            page = (await browser.get(path)).text
            assert takes_back(page) == [new]
            assert "over since" in page
            assert await fetch(desk.pool, STANDING) == [(OTHERS,), (new,)]
            entry = (await desk.tickets.get(own.number)).journal[-1]
            assert (entry.action, entry.actor, entry.data) == ("revoke", "client", {"permissions": [OWN]})
            assert "no permission" in await refused(browser, path, "revoke", csrf | {"permission": OWN})

        # Staff sees who allowed what, and may take it back where the client asks for it; the auditor only reads.
        async with desk.signed_in("auditor") as auditor:
            read = (await auditor.get(path)).text
            assert "restart &lt;it&gt;" in read
            assert takes_back(read) == []
        async with desk.signed_in("engineer") as engineer:
            page = (await engineer.get(path)).text
            assert takes_back(page) == [new]
            assert offered(page, path, "permit") == {"csrf", "by", "means", "until", "text"}
            csrf = {"csrf": hidden(page)["csrf"]}
            said = {"by": "Mr Ivanov", "means": "phone", "until": f"{day}T09:30", "text": ""}
            assert (await engineer.post(f"{path}/permit", data=csrf | said)).headers["location"] == path
            page = (await engineer.get(path)).text
            assert "Mr Ivanov" in page
            assert "whatever the ticket needs" in page
            for one in takes_back(page):
                assert (await engineer.post(f"{path}/revoke", data=csrf | {"permission": one})).status_code == 303
            assert takes_back((await engineer.get(path)).text) == []
        assert await fetch(desk.pool, STANDING) == [(OTHERS,)]

    runner.run(main())


def test_a_permission_that_is_wrong_or_anothers_changes_nothing(walk, runner):
    async def main():
        desk, (own, others) = walk
        path = f"/tickets/{own.tickets['act']}"
        async with desk.signed_in("client") as browser:
            csrf = {"csrf": hidden((await browser.get(path)).text)["csrf"]}
            before = await fetch(desk.pool, "SELECT * FROM remote_permission ORDER BY id")
            now = datetime.now(UTC)
            for until, why in (
                ("", "until"),
                ("soon", "until"),
                ((now - timedelta(days=1)).isoformat(), "not in the future"),
                ((now + timedelta(days=91)).isoformat(), "too far away"),
            ):
                assert why in await refused(browser, path, "permit", csrf | {"until": until, "text": "x"}), until
            told = [
                await refused(browser, path, "revoke", csrf | {"permission": one}) for one in (OTHERS, MISSING)
            ]  # another's is as missing
            assert told[0] == told[1]
            assert "no permission" in told[0]
            assert "permission" in await refused(browser, path, "revoke", csrf | {"permission": "x"})
            for action, said in (("permit", {"until": "2099-01-01T00:00"}), ("revoke", {"permission": OTHERS})):
                answer = await browser.post(f"/tickets/{others.number}/{action}", data=csrf | said)
                assert answer.status_code == 404
            assert await fetch(desk.pool, "SELECT * FROM remote_permission ORDER BY id") == before

    runner.run(main())


def test_a_client_hands_over_access_data_and_never_reads_them(walk, runner):
    async def main():
        desk, (own, others) = walk
        path = f"/tickets/{own.number}"
        async with desk.signed_in("client") as browser:
            page = (await browser.get(path)).text
            assert offered(page, path, "entrust") == {"csrf", "label", "secret", "until"}
            assert f"{LABEL} {own.said}" in page
            csrf = {"csrf": hidden(page)["csrf"]}
            said = {"label": "the <router>", "secret": f"{PLAIN} 7", "until": ""}
            assert (await browser.post(f"{path}/entrust", data=said)).status_code == 403, "no token of the form"
            for wrong in ({"label": ""}, {"secret": ""}, {"until": "2020-01-01T00:00"}, {"until": "2999-01-01T00:00"}):
                page = await refused(browser, path, "entrust", csrf | said | wrong)
                assert PLAIN not in page, "what was typed is not kept"
            theirs = await browser.post(f"/tickets/{others.number}/entrust", data=csrf | said)
            assert theirs.status_code == 404
            assert (await browser.post(f"{path}/entrust", data=csrf | said)).headers["location"] == path
            page = (await browser.get(path)).text
            assert "the &lt;router&gt;" in page
            assert PLAIN not in page
            assert f"{path}/secrets/" not in page, "reading is the staff's"
            ticket = await desk.tickets.get(own.number)
            kept = ticket.secrets[-1]
            assert (kept.label, kept.by, kept.until - kept.at) == ("the <router>", "client", timedelta(days=3))
        async with desk.signed_in("engineer") as engineer:
            page = (await engineer.get(path)).text
            shown = await engineer.post(f"{path}/secrets/{kept.id}", data=hidden(page))
            assert f"{PLAIN} 7" in shown.text

        # Nothing is given with a ticket that is closed.
        await execute(
            desk.pool, "UPDATE ticket SET state = 'closed', closed_at = now() WHERE id = %s", own.rows["spare"]
        )
        async with desk.signed_in("client") as browser:
            closed = f"/tickets/{own.tickets['spare']}"
            page = (await browser.get(closed)).text
            assert (offered(page, closed, "permit"), offered(page, closed, "entrust")) == (None, None)
            assert 'id="given"' not in page

    runner.run(main())
