"""Signing in: forms' tokens, cookies, throttling, sessions that end, and where a login leads."""

import asyncio
import html
import re
import unicodedata
from datetime import timedelta
from urllib.parse import quote, urljoin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ticketing.desk.parts import PASSWORD, QUICK, hidden, sign_in, site, small_fleet
from tests.ticketing.desk_parts import add_terminal, opened
from ticketing.kit.access import safe_next
from ticketing.kit.kept import ENTRIES, LIFETIME, Kept, Told
from ticketing.kit.settings import DeskSettings
from ticketing.kit.shield import MAX_BODY
from ticketing.kit.throttle import FORGET, LIMITS, MAX_KEYS, Throttle
from ticketing.people.passwords import BusyError, Passwords


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
            assert (await browser.post(f"{path}/note", files=files)).status_code == 403
            assert (await browser.post("/logout", files=files)).status_code == 400  # a form that brings no files
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


def test_a_session_that_nobody_uses_ends(postgres_dsn):
    async def work(desk):
        start = desk.users._now()
        user, token = await opened(desk.users, "admin", PASSWORD, "192.0.2.1")
        desk.users._now = lambda: start + timedelta(hours=7, minutes=59)
        assert await desk.users.by_session(token) == user  # and from here it counts anew
        desk.users._now = lambda: start + timedelta(hours=15, minutes=58)
        assert await desk.users.by_session(token) == user
        desk.users._now = lambda: start + timedelta(hours=23, minutes=59)
        assert await desk.users.by_session(token) is None

    run(postgres_dsn, work)


def test_a_session_that_is_always_used_ends_after_seven_days(postgres_dsn):
    async def work(desk):
        start = desk.users._now()
        user, token = await opened(desk.users, "admin", PASSWORD, "192.0.2.1")
        end = start + timedelta(days=7)
        uses = [start + timedelta(hours=7 * n) for n in range(1, 24)] + [end - timedelta(seconds=1)]
        for at in uses:
            desk.users._now = lambda at=at: at
            assert await desk.users.by_session(token) == user
            assert [account.sessions for account in await desk.users.accounts()] == [1]
        desk.users._now = lambda: end + timedelta(seconds=1)  # two seconds after it was last used
        assert await desk.users.by_session(token) is None
        assert [account.sessions for account in await desk.users.accounts()] == [0]

    run(postgres_dsn, work)


def test_the_browser_forgets_the_cookie_with_the_session(postgres_dsn):
    async def work(desk):
        async with desk.stranger() as client:
            answer = await sign_in(client, "admin")
            (cookie,) = [c for c in answer.headers.get_list("set-cookie") if c.startswith("dozor_session=")]
            assert f"max-age={7 * 86400}" in cookie.lower()

    run(postgres_dsn, work)


def test_a_session_that_was_there_before_the_login_is_never_the_one_after_it(postgres_dsn):
    """Somebody else may have put the cookie there: made up, or a session of their own."""

    async def work(desk):
        _, theirs = await opened(desk.users, "engineer", PASSWORD, "192.0.2.1")
        for planted in ("made-up", theirs):
            async with desk.stranger() as client:
                client.cookies.set("dozor_session", planted, domain="desk.test", path="/")
                answer = await sign_in(client, "admin")
                (cookie,) = [c for c in answer.headers.get_list("set-cookie") if c.startswith("dozor_session=")]
                token = cookie.partition("=")[2].partition(";")[0]
                assert token != planted
                assert (await desk.users.by_session(token)).name == "admin"
                assert await desk.users.by_session(planted) is None
                login = [c for c in answer.headers.get_list("set-cookie") if c.startswith("dozor_login=")]
                assert "max-age=0" in login[0].lower()  # a form's secret serves one login

    run(postgres_dsn, work, roles=("admin", "engineer"))


def test_a_signed_out_session_is_gone_for_good(postgres_dsn):
    async def work(desk):
        async with desk.signed_in("admin") as browser:
            token = browser.cookies["dozor_session"]
            own = hidden((await browser.get("/tickets")).text)
            assert (await browser.post("/logout", data=own)).status_code == 303
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
        "///evil.test/",
        "////evil.test",
        "///",
        " //evil.test",
        "//evil.test\\@desk.test",
        "//desk.test:80@evil.test/",
        "/\\evil.test/",
        "/\\/evil.test/",
        "\\/evil.test",
        "/\u200b/evil.test",
        "/\x00/evil.test",
        "https:evil.test",
        "https:/evil.test",
        "https:///evil.test",
        "HTTPS://evil.test",
        "data:text/html,x",
        "%2f%2fevil.test",
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
def test_a_login_never_leads_elsewhere(target):
    assert safe_next(target) == "/tickets"


@pytest.mark.parametrize(
    "target", ["/%2f/evil.test", "/%2Fevil.test", "/%5cevil.test", "/a//evil.test", "/?next=//evil.test"]
)
def test_what_is_a_path_to_the_browser_stays_one(target):
    """Nothing of it is decoded on the way: it names a page of ours, if one that does not exist."""
    assert safe_next(target) == target
    assert urljoin("http://desk.test/login", target).startswith("http://desk.test/")


def test_a_login_leads_to_what_was_asked(postgres_dsn):
    async def work(desk):
        async with desk.stranger() as client:
            asked = await client.get("/tickets?state=new&kind=silence")
            page = await client.get(asked.headers["location"])
            fields = hidden(page.text.replace("&amp;", "&")) | {"username": "admin", "password": PASSWORD}
            answer = await client.post("/login", data=fields)
            assert answer.headers["location"] == "/tickets?state=new&kind=silence"
            for elsewhere in ("https://evil.test/", "//evil.test", "///evil.test", "/\\evil.test"):
                page = await client.get("/login", params={"next": elsewhere})
                assert "evil" not in page.text
                evil = await sign_in(client, "admin", next=elsewhere)
                assert evil.headers["location"] == "/tickets"
            asked = await client.get("//evil.test/x")  # a path that looks like a host
            assert "evil" not in asked.headers.get("location", "")
        async with desk.stranger() as client:
            asked = await client.get("//evil.test/x")
            page = await client.get(asked.headers["location"])
            assert "evil" not in page.text

    run(postgres_dsn, work)


HERE = {"Origin": "http://desk.test"}
TYPED = "\nДве строки\r\n</textarea><script>alert(1)</script> & "


def test_a_session_that_ended_costs_no_text(postgres_dsn):
    """The form meets the login page, and after it the ticket with what was typed; nothing is done by itself."""

    async def work(desk):
        numbers = await small_fleet(desk.pool)
        path = f"/tickets/{numbers['new']}"
        async with desk.signed_in("admin") as browser:
            own = hidden((await browser.get(path)).text)
            del browser.cookies["dozor_session"]
            ended = await browser.post(f"{path}/note", data=own | {"text": TYPED}, headers=HERE)
            assert ended.status_code == 401
            assert "<script>alert" not in ended.text
            assert ended.headers["cache-control"] == "no-store"
            fields = hidden(ended.text) | {"username": "admin", "kept": kept(ended.text)}
            assert fields["next"] == path
            wrong = await browser.post("/login", data=fields | {"password": "wrong"})
            assert kept(wrong.text) == kept(ended.text)
            answer = await browser.post("/login", data=fields | {"password": PASSWORD})
            assert answer.status_code == 303
            assert answer.headers["location"].startswith(path + "?told=")
            page = (await browser.get(answer.headers["location"])).text
            assert kept(page, "text") == TYPED.replace("\r\n", "\n")
            assert "Nothing was done yet" in page
            assert len((await desk.tickets.get(numbers["new"])).journal) == 1
            again = await browser.post(f"{path}/note", data=hidden(page) | {"text": kept(page, "text")}, headers=HERE)
            assert again.headers["location"] == path
            assert len((await desk.tickets.get(numbers["new"])).journal) == 2

    run(postgres_dsn, work)


def test_a_form_of_an_earlier_session_keeps_its_text(postgres_dsn):
    async def work(desk):
        numbers = await small_fleet(desk.pool)
        path = f"/tickets/{numbers['new']}"
        async with desk.signed_in("admin") as browser:
            earlier = hidden((await browser.get(path)).text)
            await sign_in(browser, "admin")  # in another tab
            answer = await browser.post(f"{path}/note", data=earlier | {"text": TYPED}, headers=HERE)
            assert answer.status_code == 303
            assert "Nothing was done yet" in (await browser.get(answer.headers["location"])).text
            for elsewhere in ({"Origin": "http://evil.test"}, {"Origin": "null"}, {}):
                refused = await browser.post(f"{path}/note", data=earlier | {"text": TYPED}, headers=elsewhere)
                assert refused.status_code == 403
            assert len((await desk.tickets.get(numbers["new"])).journal) == 1

    run(postgres_dsn, work)


def test_no_other_site_puts_text_into_the_login_page(postgres_dsn):
    async def work(desk):
        async with desk.stranger() as stranger:
            for headers in ({"Origin": "http://evil.test"}, {"Origin": "null"}, {}):
                answer = await stranger.post("/tickets/DZ-1/note", data={"text": "pay here"}, headers=headers)
                assert (answer.status_code, answer.headers["location"]) == (303, "/login")
            file = await stranger.post("/tickets/DZ-1/note", files={"text": ("x", b"x")}, headers=HERE)
            assert (file.status_code, file.headers["location"]) == (303, "/login?next=%2Ftickets%2FDZ-1")
            long = await stranger.post("/tickets/DZ-1/note", data={"text": "x" * MAX_BODY}, headers=HERE)
            assert long.status_code == 413
            # A form of files keeps its text as well; a long one, or one of unknown length, is not even read.
            some = {"files": ("cab.png", b"x")}
            short = await stranger.post("/tickets/DZ-1/note", data={"text": TYPED}, files=some, headers=HERE)
            assert (short.status_code, kept(short.text)) == (401, TYPED.replace("\r\n", "\n"))
            kind = {"content-type": "multipart/form-data; boundary=x"}

            async def pieces():
                yield b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\nhello\r\n--x--\r\n'

            for content in (pieces(), b"x" * (MAX_BODY + 1)):
                unread = await stranger.post("/tickets/DZ-1/note", content=content, headers=HERE | kind)
                assert (unread.status_code, unread.headers["location"]) == (303, "/login?next=%2Ftickets%2FDZ-1")

    run(postgres_dsn, work)


def test_what_is_kept_is_bounded_and_ones_own():
    now = [0.0]
    store = Kept(lambda: now[0])
    token = store.put("ann", Told("why", "text"))
    assert store.get("ann", token) == Told("why", "text")
    assert store.get("bob", token) is None
    now[0] = LIFETIME
    assert store.get("ann", token) is None
    first = store.put("ann", Told("", ""))
    for _ in range(ENTRIES):
        store.put("ann", Told("", ""))
    assert store.get("ann", first) is None
    assert len(store._entries) == ENTRIES


def kept(page, name="kept"):
    """A textarea's value as a browser reads it: a line break at its beginning is dropped."""
    text = re.search(rf'<textarea[^>]* name="{name}"[^>]*>(.*?)</textarea>', page, re.DOTALL)[1]
    return html.unescape(text.replace("\r\n", "\n").removeprefix("\n"))


ODD_IDENTITIES = ("what?not", "a#b", "50%41", "a/b", "x y", "wl/..", "é?ü=&x", "%2F", "<b>", "a;b+c", "'\"", "汉/?#")


def test_the_login_leads_back_to_any_terminal_whatever_its_identity_holds(postgres_dsn):
    """What is special in an address is part of the name here, and is still so behind the login."""

    async def work(desk):
        for n, identity in enumerate(ODD_IDENTITIES):
            await add_terminal(desk.pool, identity, name=f"terminal no {n}")
        for n, identity in enumerate(ODD_IDENTITIES):
            async with desk.stranger() as client:
                asked = await client.get(f"/terminals/{quote(identity, safe='')}?hours=24&measure=a%26b")
                page = await client.get(asked.headers["location"])
                assert page.status_code == 200
                fields = {name: html.unescape(value) for name, value in hidden(page.text).items()}
                answer = await client.post("/login", data=fields | {"username": "admin", "password": PASSWORD})
                assert answer.status_code == 303
                assert answer.headers["location"].endswith("?hours=24&measure=a%26b"), identity
                shown = await client.get(answer.headers["location"])
                assert shown.status_code == 200, identity
                assert f"terminal no {n}" in shown.text, identity

    run(postgres_dsn, work)


def test_a_query_of_raw_bytes_comes_back_as_it_was(postgres_dsn):
    async def work(desk):
        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/tickets", "query_string": "search=Ёлка".encode()}
        await desk.app(scope | {"headers": [(b"host", b"desk.test")]}, None, send)
        location = dict(sent[0]["headers"])[b"location"].decode()
        async with desk.stranger() as client:
            return html.unescape(hidden((await client.get(location)).text)["next"])

    assert run(postgres_dsn, work) == "/tickets?search=%D0%81%D0%BB%D0%BA%D0%B0"


def test_who_tried_no_password_is_not_made_to_wait(postgres_dsn):
    """While the desk is too busy to look, or its store is away, no guess was made: the next attempt is as free."""
    now = [0.0]
    throttle = Throttle(lambda: now[0])

    class Full(Passwords):
        full = True

        async def verify(self, encoded, password):
            if self.full:
                raise BusyError("too many logins at once")
            return await super().verify(encoded, password)

    async def work(desk):
        desk.users._passwords.close()
        desk.users._passwords = passwords = Full(hasher=QUICK)
        async with desk.stranger() as client:
            for _ in range(3 * LIMITS["address"].free):
                answer = await sign_in(client, "admin")
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            passwords.full = False
            async with desk.pool.connection() as held, held.transaction():
                await held.execute("LOCK TABLE app_user")
                await cut(desk, "SET statement_timeout = 20")
                for _ in range(2 * LIMITS["name and address"].free):
                    assert (await sign_in(client, "admin")).status_code == 503
            await cut(desk, "RESET statement_timeout")
            for _ in range(LIMITS["name and address"].free):
                assert (await sign_in(client, "admin", "wrong")).status_code == 401, "and guesses count as before"
            assert (await sign_in(client, "admin")).status_code == 429

    async def cut(desk, statement):
        """For every idle connection of the pool."""
        links = [await desk.pool.getconn() for _ in range(desk.pool.max_size - 1)]
        for link in links:
            await link.execute(statement)
            await link.commit()
            await desk.pool.putconn(link)

    run(postgres_dsn, work, throttle=throttle)


def test_one_name_is_one_counter_however_it_is_spelled():
    """A name of many accented letters would else have as many free guesses as it has spellings."""
    throttle = Throttle(lambda: 0.0)
    spellings = ["Ёлка Жданова", "ёлка жданова", unicodedata.normalize("NFD", "Ёлка Жданова")]
    attempts = [throttle.begin(spellings[n % 3], "192.0.2.1") for n in range(LIMITS["name and address"].free + 1)]
    assert attempts[:-1] == [0.0] * LIMITS["name and address"].free
    assert attempts[-1] > 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.sampled_from(["wrong", "right", "busy"]),
                  st.sampled_from([0.0, 0.5, 11.0, 901.0, 4000.0])),
        max_size=150,
    )
)  # fmt: skip
def test_nobody_waits_longer_than_promised_and_no_guess_is_free_above_the_limits(steps):
    """Whatever came before: the wait is bounded, and in any 10 s no more guesses pass than a name's limit lets."""
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    passed = []
    for name, address, outcome, pause in steps:
        now[0] += pause
        wait = throttle.begin(name, address)
        assert 0.0 <= wait <= max(limit.longest for limit in LIMITS.values())
        if wait > 0:
            continue
        if outcome == "right":
            throttle.succeeded(name, address)
            passed = [entry for entry in passed if entry[:2] != (name, address)]
        elif outcome == "busy":
            throttle.undone(name, address)
        else:
            passed.append((name, address, now[0]))
        pair = LIMITS["name and address"]
        recent = [at for n, a, at in passed if (n, a) == (name, address) and now[0] - at < pair.first]
        assert len(recent) <= pair.free


def test_waiting_doubles_up_to_the_longest_and_is_forgotten():
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    waits = []
    while len(waits) < 10:
        wait = throttle.begin("anna", "192.0.2.1")
        if wait:
            waits.append(wait)
            now[0] += wait
    limit = LIMITS["name and address"]
    assert waits == [min(limit.first * 2**n, limit.longest) for n in range(10)]
    assert waits[-1] == limit.longest
    now[0] += FORGET
    assert throttle.begin("anna", "192.0.2.1") == 0.0, "after the last wait, as always"
    now[0] += FORGET + 1
    assert [throttle.begin("anna", "192.0.2.1") for _ in range(limit.free)] == [0.0] * limit.free
