"""Signing in: forms' tokens, cookies, throttling, sessions that end, and where a login leads."""

import asyncio
from datetime import timedelta

import pytest

from tests.ticketing.desk.parts import PASSWORD, hidden, sign_in, site, small_fleet
from ticketing.desk.access import safe_next
from ticketing.desk.settings import DeskSettings
from ticketing.desk.throttle import LIMITS, MAX_KEYS, Throttle
from ticketing.passwords import BusyError, Passwords


def run(postgres_dsn, work, **options):
    async def main():
        async with site(postgres_dsn, **({"roles": ("admin",)} | options)) as desk:
            return await work(desk)

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "secure"), [("https://desk.example", True), ("http://desk.example", False), ("", False)]
)
def test_cookies_are_out_of_reach(postgres_dsn, url, secure):
    async def work(desk):
        async with desk.stranger("https://desk.test") as client:
            answer = await sign_in(client, "admin")
            assert answer.status_code == 303
            assert answer.headers["location"] == "/tickets"
            return [cookie for cookie in answer.headers.get_list("set-cookie") if cookie.startswith("dozor_session=")]

    (cookie,) = run(postgres_dsn, work, settings=DeskSettings(url=url))
    parts = {part.strip().lower() for part in cookie.split(";")}
    assert {"httponly", "samesite=lax", "path=/"} <= parts
    assert ("secure" in parts) == secure


def test_a_login_needs_its_forms_token(postgres_dsn):
    async def work(desk):
        fields = {"username": "admin", "password": PASSWORD}
        async with desk.stranger() as client, desk.stranger() as other:
            assert (await client.post("/login", data=fields)).status_code == 403
            token = hidden((await other.get("/login")).text)
            assert (await client.post("/login", data=fields | token)).status_code == 403
            await client.get("/login")
            assert (await client.post("/login", data=fields | token)).status_code == 403  # somebody else's token
            assert (await client.post("/login", data=fields | {"csrf": ""})).status_code == 403
            assert (await client.get("/tickets")).status_code == 303
            assert (await sign_in(client, "admin")).status_code == 303
            assert (await client.get("/tickets")).status_code == 200

    run(postgres_dsn, work)


def test_every_form_needs_its_token(postgres_dsn):
    async def work(desk):
        numbers = await small_fleet(desk.pool)
        async with desk.signed_in("admin") as browser, desk.signed_in("engineer") as other:
            path = f"/tickets/{numbers['new']}"
            theirs = hidden((await other.get(path)).text)
            for fields in ({}, {"csrf": ""}, {"csrf": "x"}, theirs):
                assert (await browser.post(f"{path}/note", data=fields | {"text": "x"})).status_code == 403
                assert (await browser.post("/logout", data=fields)).status_code == 403
            assert (await browser.post(f"{path}/note", json={"text": "x"})).status_code == 403
            files = {"text": ("x.txt", b"x")}
            assert (await browser.post(f"{path}/note", files=files)).status_code == 400
            assert len((await desk.tickets.get(numbers["new"])).journal) == 1
            own = hidden((await browser.get(path)).text)
            answer = await browser.post(f"{path}/note", data=own | {"text": "by form"})
            assert (answer.status_code, answer.headers["location"]) == (303, path)
            assert (await desk.tickets.get(numbers["new"])).journal[-1].text == "by form"
            assert (await browser.post("/logout", data=own)).status_code == 303
            assert (await browser.get(path)).status_code == 303

    run(postgres_dsn, work, roles=("admin", "engineer"))


def test_a_cookie_acts_on_the_api_only_from_our_own_pages(postgres_dsn):
    async def work(desk):
        numbers = await small_fleet(desk.pool)
        async with desk.signed_in("admin") as browser:
            path = f"/api/tickets/{numbers['new']}/note"
            body = {"text": "x"}
            token = hidden((await browser.get("/tickets")).text)["csrf"]
            assert (await browser.post(path, data=body)).status_code == 403
            plain = {"Content-Type": "text/plain"}
            assert (await browser.post(path, content=b'{"text":"x"}', headers=plain)).status_code == 403
            elsewhere = {"Origin": "https://evil.test"}
            assert (await browser.post(path, json=body, headers=elsewhere)).status_code == 403
            assert (await browser.post(path, json=body, headers={"Origin": "http://desk.test"})).status_code == 200
            assert (await browser.post(path, json=body, headers={"X-CSRF-Token": token} | elsewhere)).status_code == 200

    run(postgres_dsn, work)


def test_wrong_names_and_passwords_look_alike(postgres_dsn):
    async def work(desk):
        async with desk.stranger() as client:
            answers = [
                await sign_in(client, name, password)
                for name, password in (
                    ("admin", "wrong"),
                    ("nobody", "wrong"),
                    ("admin", ""),
                    ("a\0b", "x"),
                    ("x" * 999, "x"),
                )
            ]
            assert {answer.status_code for answer in answers} == {401}
            assert all("Wrong name or password." in answer.text for answer in answers)
            assert "dozor_session" not in client.cookies

    run(postgres_dsn, work)


def test_guessing_is_slowed_down(postgres_dsn):
    now = [1000.0]

    async def work(desk):
        async with desk.stranger() as client:
            codes = [
                (await sign_in(client, "admin", "wrong")).status_code for _ in range(LIMITS["name and address"].free)
            ]
            assert set(codes) == {401}
            refused = await sign_in(client, "admin")  # the right one, too late
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) == 10
            assert (await sign_in(client, "ADMIN", "wrong")).status_code == 429  # the same name in other letters
            assert (await sign_in(client, "engineer")).status_code == 303  # others go on
            now[0] += 10
            assert (await sign_in(client, "admin", "wrong")).status_code == 401
            now[0] += 10
            assert (await sign_in(client, "admin")).status_code == 429  # twice as long
            now[0] += 10
            assert (await sign_in(client, "admin")).status_code == 303
            assert (await sign_in(client, "admin", "wrong")).status_code == 401  # and it starts anew

    run(postgres_dsn, work, throttle=Throttle(lambda: now[0]), roles=("admin", "engineer"))


def test_a_hundred_guesses_at_once_are_not_a_hundred_tries():
    throttle = Throttle(lambda: 0.0)
    begun = [throttle.begin("admin", "192.0.2.1") for _ in range(100)]
    assert sum(wait == 0 for wait in begun) == LIMITS["name and address"].free


def test_names_are_not_tried_through_from_one_address():
    throttle = Throttle(lambda: 0.0)
    begun = [throttle.begin(f"user{n}", "192.0.2.1") for n in range(100)]
    assert sum(wait == 0 for wait in begun) == LIMITS["address"].free


def test_invented_names_do_not_fill_the_memory():
    throttle = Throttle(lambda: 0.0)
    for n in range(MAX_KEYS):
        throttle.begin(f"user{n}", f"address{n}")
    assert len(throttle._counters) <= MAX_KEYS


def test_the_owner_is_not_locked_out_for_long():
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    for n in range(10_000):
        throttle.begin("admin", f"address{n}")
    assert throttle.begin("admin", "the owner's") <= LIMITS["name"].longest
    now[0] += LIMITS["name"].longest
    assert throttle.begin("admin", "the owner's") == 0


@pytest.mark.parametrize("after", [timedelta(hours=9), timedelta(days=8)])
def test_sessions_end(postgres_dsn, after):
    async def work(desk):
        start = desk.users._now()
        user, token = await desk.users.sign_in("admin", PASSWORD, "192.0.2.1")
        assert await desk.users.by_session(token) == user
        step = timedelta(hours=7)
        if after > timedelta(days=7):  # used all the time, and still not for ever
            at = start
            while at + step < start + timedelta(days=7):
                at += step
                desk.users._now = lambda at=at: at
                assert await desk.users.by_session(token) == user
        desk.users._now = lambda: start + after
        assert await desk.users.by_session(token) is None

    run(postgres_dsn, work)


def test_a_new_password_ends_the_sessions(postgres_dsn):
    async def work(desk):
        async with desk.signed_in("admin") as browser:
            await desk.users.set_password("Admin", "another one")
            assert (await browser.get("/tickets")).status_code == 303
            assert (await sign_in(browser, "admin")).status_code == 401
            assert (await sign_in(browser, "admin", "another one")).status_code == 303

    run(postgres_dsn, work)


def test_too_many_logins_at_once_are_refused():
    async def main():
        passwords = Passwords(threads=1, waiting=1)  # the real hash: it takes its time
        try:
            return await asyncio.gather(*(passwords.hash("x") for _ in range(6)), return_exceptions=True)
        finally:
            passwords.close()

    kinds = [type(result) for result in asyncio.run(main())]
    assert kinds == [str, str, BusyError, BusyError, BusyError, BusyError]


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.test/",
        "//evil.test/",
        "/\\evil.test/",
        "\\\\evil.test",
        "/\t/evil.test",
        "javascript:alert(1)",
        "/login?next=/x",
        "/logout",
        "/api/tickets",
        "http:evil",
        "",
        "tickets",
        "/x" * 2000,
        "/\n",
        "/%0d%0a" + "\r\n",
    ],
)
def test_a_login_never_leads_elsewhere(postgres_dsn, target):
    assert safe_next(target) == "/tickets"


def test_a_login_leads_to_what_was_asked(postgres_dsn):
    async def work(desk):
        async with desk.stranger() as client:
            asked = await client.get("/tickets?state=new&kind=silence")
            page = await client.get(asked.headers["location"])
            fields = hidden(page.text.replace("&amp;", "&")) | {"username": "admin", "password": PASSWORD}
            answer = await client.post("/login", data=fields)
            assert answer.headers["location"] == "/tickets?state=new&kind=silence"
            evil = await sign_in(client, "admin", next="https://evil.test/")
            assert evil.headers["location"] == "/tickets"

    run(postgres_dsn, work)
