"""Pages of people: forms over the same stores as the API, the own account, what an admin is told."""

import asyncio
import re

import pyotp

from tests.ticketing.desk.parts import PASSWORD, hidden, sign_in, site
from tests.ticketing.desk_parts import add_terminal, execute, fetch
from ticketing.people.users import ROLES


def run(dsn, scenario, roles=ROLES):
    async def main():
        async with site(dsn, roles=roles) as desk:
            await scenario(desk)

    asyncio.run(main())


def csrf(page):
    return hidden(page.text)["csrf"]


async def send(browser, page, path, **fields):
    """Fill in a form of `page` and send it to `path`."""
    shown = await browser.get(page)
    assert shown.status_code == 200, (page, shown.status_code)
    return await browser.post(path, data={"csrf": csrf(shown), **fields})


def test_an_organisation_with_people_and_vehicles_by_form(postgres_dsn):
    async def scenario(desk):
        await add_terminal(desk.pool, "77001")
        async with desk.signed_in("manager") as browser:
            new = {"language": "ru", "plan": "gold", "contract.consent": "explicit"}
            for name, field in (("", "name"), ("Север", "plan")):
                wrong = await send(browser, "/organisations", "/organisations", **new | {"name": name})
                assert wrong.status_code == 422
                for told in (f"<b>{field}</b>", 'value="gold"'):
                    assert told in wrong.text, told
            made = await send(
                browser, "/organisations", "/organisations", name="Север", language="ru", active="yes",
                **{"contract.number": "17", "contract.consent": "deemed", "contract.deemed_after": "10d"},
            )  # fmt: skip
            assert made.status_code == 303, made.text
            url = made.headers["location"]
            page = await browser.get(url)
            assert 'value="17"' in page.text
            contact = {
                "name": "Анна",
                "emails": "a@x.de\r\nb@x.de",
                "roles": "duty",
                "code_word": "sesam",
                "active": "yes",
            }
            assert (await send(browser, url, f"{url}/contacts", **contact)).status_code == 303
            wrong = await send(browser, url, f"{url}/contacts", name="B", emails="a@x.de", active="yes")
            assert (wrong.status_code, "contact 1" in wrong.text) == (422, True)
            vehicle = {"plate": "A1", "terminal": "77001", "stage": "season", "active": "yes"}
            assert (await send(browser, url, f"{url}/vehicles", **vehicle)).status_code == 303
            page = (await browser.get(url)).text
            for told in ("a@x.de, b@x.de", "/terminals/77001", "Season"):
                assert told in page, told
            assert "sesam" not in page
            # A form that leaves a field empty empties it; the code word stays.
            kept = {"name": "Анна", "emails": "a@x.de", "active": "yes"}
            assert (await send(browser, "/contacts/1", "/contacts/1", **kept)).status_code == 303
            assert await fetch(desk.pool, "SELECT emails, roles, code_word IS NULL FROM contact") == [
                (["a@x.de"], [], False)
            ]
            assert (await send(browser, "/vehicles/1", "/vehicles/1", name="Truck", active="yes")).status_code == 303
            assert await fetch(desk.pool, "SELECT plate, terminal, active FROM vehicle") == [("", None, True)]
            change = {"name": "Север", "language": "zh", "contract.consent": "explicit", "active": "yes"}
            assert (await send(browser, url, url, **change)).status_code == 303
            assert (await fetch(desk.pool, "SELECT language, contract ->> 'number' FROM organisation")) == [
                ("zh", None)
            ]
            for missing in ("/organisations/99", "/contacts/99", "/vehicles/x"):
                assert (await browser.get(missing)).status_code == 404, missing
            assert (await browser.get("/settings")).status_code == 403

    run(postgres_dsn, scenario)


def test_a_client_sees_its_organisation_and_keeps_its_vehicles(postgres_dsn):
    async def scenario(desk):
        for name in ("North", "South"):
            await execute(
                desk.pool, "INSERT INTO organisation (name, profile, created_at) VALUES (%s, 'pays late', now())", name
            )
        await execute(desk.pool, "UPDATE app_user SET organisations = '{1}' WHERE name = 'client'")
        async with desk.signed_in("client") as browser:
            page = (await browser.get("/organisations")).text
            assert "North" in page
            assert "South" not in page
            page = (await browser.get("/organisations/1")).text
            assert "pays late" not in page
            assert "New contact" not in page
            assert 'name="terminal"' not in page
            assert (await browser.get("/organisations/2")).status_code == 404
            form = {"plate": "A1", "active": "yes"}
            assert (await send(browser, "/organisations/1", "/organisations/1/vehicles", **form)).status_code == 303
            assert (await send(browser, "/organisations/1", "/organisations/2/vehicles", **form)).status_code == 404
            wrong = await send(browser, "/vehicles/1", "/vehicles/1", plate="A1", terminal="77001", active="yes")
            assert wrong.status_code == 303, wrong.text  # a field that its form does not have is not read
            assert await fetch(desk.pool, "SELECT terminal FROM vehicle") == [(None,)]

    run(postgres_dsn, scenario)


def test_accounts_by_form_and_what_an_admin_is_told(postgres_dsn):
    async def scenario(desk):
        await execute(desk.pool, "INSERT INTO organisation (name, policy, created_at) VALUES ('North', 'gone', now())")
        await execute(desk.pool, "INSERT INTO contact (organisation, name, created_at) VALUES (1, 'Otto', now())")
        async with desk.signed_in("admin") as browser:
            page = (await browser.get("/settings")).text
            for told in ("Otto of North has neither", "unknown policy", "no contact on duty", "The client client"):
                assert told in page, told
            new = {"name": "anna", "role": "client", "password": PASSWORD, "organisations": "1", "active": "yes"}
            wrong = await send(browser, "/settings", "/settings/users", **new | {"password": "short"})
            assert wrong.status_code == 422
            assert "short" not in wrong.text
            assert (await send(browser, "/settings", "/settings/users", **new)).status_code == 303
            await desk.users.token("anna", label="<b>export</b>")
            page = (await browser.get("/settings/users/anna")).text
            assert "&lt;b&gt;export" in page
            assert "<b>export" not in page
            url = "/settings/users/anna"
            assert (await send(browser, url, f"{url}/tokens/1/revoke")).status_code == 303
            assert await desk.users.tokens("anna") == []
            assert (
                await send(browser, url, url, role="engineer", tier="2", teams="n\ns", active="yes")
            ).status_code == 303
            assert await fetch(
                desk.pool, "SELECT role, tier, teams, organisations FROM app_user WHERE name = 'anna'"
            ) == [("engineer", 2, ["n", "s"], [])]
            last = await send(browser, "/settings/users/admin", "/settings/users/admin", role="manager", active="yes")
            assert (last.status_code, "last admin" in last.text) == (422, True)

    run(postgres_dsn, scenario)


def test_the_own_account(postgres_dsn):
    async def scenario(desk):
        async with desk.signed_in("auditor") as browser, desk.signed_in("auditor") as elsewhere:
            own = await send(browser, "/account", "/account", language="ru", time_zone="Asia/Yekaterinburg")
            assert own.headers["location"] == "/account?done=settings"
            page = (await browser.get("/account?done=settings")).text
            assert '<html lang="ru"' in page
            assert "Asia/Yekaterinburg" in page
            assert (await send(browser, "/account", "/account", language="fr")).status_code == 422
            assert (await send(browser, "/account", "/account", time_zone="Mars")).status_code == 422
            assert (await send(browser, "/account", "/account", language="en")).status_code == 303
            # A token, with the password; it works, it is listed without its secret, it ends.
            token = {"label": "export", "scope": "read", "days": "30", "current": PASSWORD}
            assert (await send(browser, "/account", "/account/tokens", **token | {"current": "x"})).status_code == 422
            assert (await send(browser, "/account", "/account/tokens", **token | {"label": ""})).status_code == 422
            assert (await send(browser, "/account", "/account/tokens", **token | {"scope": "x"})).status_code == 400
            made = await send(browser, "/account", "/account/tokens", **token)
            secret = re.search(r"<code>([\w-]{43})</code>", made.text)[1]
            assert (await desk.users.by_token(secret)).scope == "read"
            page = (await browser.get("/account")).text
            assert "export" in page
            assert secret not in page
            # A new password: this browser stays, all else ends.
            new = {"current": PASSWORD, "new": "another long one", "again": "another long one"}
            for bad in ({"current": "x"}, {"new": "short", "again": "short"}, {"again": "other"}):
                assert (await send(browser, "/account", "/account/password", **new | bad)).status_code == 422, bad
            before = browser.cookies["dozor_session"]
            changed = await send(browser, "/account", "/account/password", **new)
            assert changed.status_code == 303
            assert browser.cookies["dozor_session"] != before
            assert (await browser.get("/account")).status_code == 200
            assert (await elsewhere.get("/account")).status_code == 303
            assert await desk.users.by_token(secret) is None
            assert (await sign_in(elsewhere, "auditor")).status_code == 401

    run(postgres_dsn, scenario)


def test_guessing_the_own_password_is_as_slow_as_at_the_sign_in(postgres_dsn):
    async def scenario(desk):
        async with desk.signed_in("crew") as browser:
            codes = [
                (await send(browser, "/account", "/account/totp/off", current=f"guess {n}")).status_code
                for n in range(7)
            ]
            assert codes == [422] * 5 + [429] * 2

    run(postgres_dsn, scenario)


def test_one_cannot_end_somebody_elses_token(postgres_dsn):
    async def scenario(desk):
        token = await desk.users.token("admin")
        async with desk.signed_in("crew") as browser:
            assert (await send(browser, "/account", "/account/tokens/1/revoke")).status_code == 303
        assert await desk.users.by_token(token) is not None

    run(postgres_dsn, scenario)


async def enrolled(browser):
    """The secret and the recovery codes of a second factor that is turned on."""
    page = (await browser.get("/account")).text
    fields = dict(re.findall(r'<input type="hidden" name="(secret|csrf)" value="([^"]*)"', page))
    assert "otpauth://totp/" in page
    assert "<svg" in page
    code = pyotp.TOTP(fields["secret"]).now()
    wrong = await browser.post("/account/totp", data=fields | {"code": "000000" if code != "000000" else "000001"})
    assert wrong.status_code == 422
    assert fields["secret"] in wrong.text  # what was scanned already goes on
    done = await browser.post("/account/totp", data=fields | {"code": code})
    assert done.status_code == 200
    return fields["secret"], re.findall(r"<code>([a-z0-9]{4}-[a-z0-9]{4}-[a-z0-9]{4})</code>", done.text), code


def test_a_second_factor_at_the_sign_in(postgres_dsn):
    async def scenario(desk):
        async with desk.signed_in("manager") as browser, desk.stranger() as other, desk.stranger() as third:
            secret, codes, used = await enrolled(browser)
            assert len(codes) == 10
            stored = await fetch(desk.pool, "SELECT totp FROM app_user WHERE name = 'manager'")
            assert secret.encode() not in bytes(stored[0][0])
            first = await sign_in(other, "manager")
            assert first.status_code == 200
            assert "dozor_session" not in other.cookies
            form = hidden(first.text)
            # A code that was taken is not taken again, not even the one that turned it on.
            assert (await other.post("/login", data=form | {"code": used})).status_code == 401
            again = await other.post("/login", data=form | {"code": "12 34"})
            assert again.status_code == 401
            assert "dozor_session" not in other.cookies
            # Another browser cannot go on from here, nor can anybody without the token of the first step.
            page = await third.get("/login")
            stolen = hidden(page.text) | {"pending": form["pending"], "code": codes[0]}
            assert (await third.post("/login", data=stolen)).status_code == 401
            assert (
                await other.post("/login", data=form | {"pending": form["pending"][:-6] + "AAAAAA"})
            ).status_code == 401
            done = await other.post("/login", data=form | {"code": codes[0].upper().replace("-", " ")})
            assert done.status_code == 303
            assert (await other.get("/tickets")).status_code == 200
            # A recovery code works once.
            second = hidden((await sign_in(third, "manager")).text)
            assert (await third.post("/login", data=second | {"code": codes[0]})).status_code == 401
            assert (await third.post("/login", data=second | {"code": codes[1]})).status_code == 303
            assert "8 recovery codes are left" in (await third.get("/account")).text
            # Renewed codes end those of before; turned off, the password is enough again.
            renewed = await send(third, "/account", "/account/recovery", current=PASSWORD)
            assert codes[2] not in renewed.text
            assert (await send(third, "/account", "/account/totp/off", current=PASSWORD)).status_code == 303
            assert (await sign_in(other, "manager")).status_code == 303

    run(postgres_dsn, scenario)


def test_an_admin_helps_who_lost_phone_and_codes(postgres_dsn):
    async def scenario(desk):
        async with desk.signed_in("manager") as browser, desk.signed_in("admin") as admin, desk.stranger() as other:
            await enrolled(browser)
            assert (await sign_in(other, "manager")).status_code == 200  # the code is asked for
            url = "/settings/users/manager"
            assert 'name="totp" value="yes" checked' in (await admin.get(url)).text
            assert (await send(admin, url, url, role="manager", totp="yes", active="yes")).status_code == 303
            assert (await sign_in(other, "manager")).status_code == 200
            assert (await send(admin, url, url, role="manager", active="yes")).status_code == 303
            assert (await sign_in(other, "manager")).status_code == 303
            on = await send(admin, url, url, role="manager", totp="yes", active="yes")
            assert (on.status_code, "only its owner" in on.text) == (422, True)
            await enrolled(browser)
            await desk.users.set_password("manager", PASSWORD, forget_code=True)
            assert (await sign_in(other, "manager")).status_code == 303

    run(postgres_dsn, scenario)


def test_codes_are_guessed_no_faster_for_a_right_password(postgres_dsn):
    async def scenario(desk):
        async with desk.signed_in("manager") as browser, desk.stranger() as other:
            await enrolled(browser)
            statuses = []
            for _ in range(8):  # the password again before each guess
                first = await sign_in(other, "manager")
                if first.status_code == 429:
                    statuses.append(429)
                    continue
                statuses.append((await other.post("/login", data=hidden(first.text) | {"code": "000000"})).status_code)
            assert statuses[:4] == [401] * 4
            assert statuses[-2:] == [429] * 2

    run(postgres_dsn, scenario)


def test_a_new_password_ends_a_sign_in_that_waits_for_its_code(postgres_dsn):
    async def scenario(desk):
        async with desk.signed_in("manager") as browser, desk.stranger() as other:
            _, codes, _ = await enrolled(browser)
            form = hidden((await sign_in(other, "manager")).text)
            await desk.users.set_password("manager", "another long one")
            assert (await other.post("/login", data=form | {"code": codes[0]})).status_code == 401

    run(postgres_dsn, scenario)


def test_a_planted_session_opens_nothing(postgres_dsn):
    """Session fixation: whatever cookie a browser brings, a sign-in makes another one."""

    async def scenario(desk):
        async with desk.stranger() as victim, desk.signed_in("crew") as attacker:
            planted = attacker.cookies["dozor_session"]
            victim.cookies.set("dozor_session", planted, domain="desk.test", path="/")
            assert (await sign_in(victim, "admin")).status_code == 303
            fresh = [c.value for c in victim.cookies.jar if c.name == "dozor_session"]
            assert planted not in fresh or len(fresh) > 1
            assert await desk.users.by_session(planted) is None
            assert (await attacker.get("/account")).status_code == 303

    run(postgres_dsn, scenario)


def test_forms_of_another_site_do_nothing(postgres_dsn):
    """Every form of people's pages, without its token and with somebody else's."""

    async def scenario(desk):
        from ticketing.directory.routes import PAGES

        await execute(desk.pool, "INSERT INTO organisation (name, created_at) VALUES ('North', now())")
        await execute(desk.pool, "INSERT INTO contact (organisation, name, created_at) VALUES (1, 'A', now())")
        await execute(desk.pool, "INSERT INTO vehicle (organisation, name, created_at) VALUES (1, 'A', now())")
        async with desk.signed_in("admin") as browser, desk.signed_in("manager") as other:
            theirs = csrf(await other.get("/account"))
            for row in PAGES:
                if row.method == "POST":
                    path = row.path.format(id=1, name="crew")
                    for fields in ({}, {"csrf": theirs}, {"csrf": ""}):
                        answer = await browser.post(path, data=fields | {"name": "x"})
                        assert answer.status_code == 403, (path, fields)

    run(postgres_dsn, scenario)
