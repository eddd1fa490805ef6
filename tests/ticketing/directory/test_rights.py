"""Every route of people, tried by each role on its own, on somebody else's and on what is missing.

The table below is what is expected; a route that the rows have and the table has not fails.
"""

import asyncio
import itertools

import pytest

from tests.ticketing.desk.parts import PASSWORD, hidden, site
from tests.ticketing.desk_parts import execute
from ticketing.directory.routes import ROUTES
from ticketing.kit.throttle import Throttle
from ticketing.people.users import ROLES

NO, GONE = 403, 404


def by_role(*expected):
    return dict(zip(("admin", "manager", "engineer", "auditor", "crew", "client"), expected, strict=True))


# (method, path): what each role gets for its own, somebody else's and a missing one. Of a client and of a crew number 1
# is the own (organisation, contact, vehicle), number 2 another's; of the others all are. `anna` is nobody's own.
LIST = by_role(*[(200, 200, 200)] * 6)
ONE = by_role(*[(200, 200, GONE)] * 4, *[(200, GONE, GONE)] * 2)
ADD = by_role(*[(201, 201, 201)] * 2, *[(NO, NO, NO)] * 4)
CHANGE = by_role(*[(200, 200, GONE)] * 2, *[(NO, NO, NO)] * 4)
SAVE = by_role(*[(303, 303, GONE)] * 2, *[(NO, NO, NO)] * 4)
EDIT = CHANGE
CLIENTS = {"client": (200, GONE, GONE)}
OWN_PAGE = by_role(*[(200, 200, 200)] * 6)
OWN_FORM = by_role(*[(303, 303, 303)] * 6)
WRONG = by_role(*[(422, 422, 422)] * 6)
ADMIN = by_role((200, 200, GONE), *[(NO, NO, NO)] * 5)
EXPECTED = {
    ("GET", "/api/organisations"): LIST,
    ("GET", "/api/organisations/{id}"): ONE,
    ("POST", "/api/organisations"): ADD,
    ("PATCH", "/api/organisations/{id}"): CHANGE,
    ("GET", "/api/contacts"): LIST,
    ("GET", "/api/contacts/{id}"): ONE,
    ("POST", "/api/contacts"): ADD,
    ("PATCH", "/api/contacts/{id}"): CHANGE,
    ("GET", "/api/vehicles"): LIST,
    ("GET", "/api/vehicles/{id}"): ONE,
    ("POST", "/api/vehicles"): ADD | {"client": (201, 422, 422)},
    ("PATCH", "/api/vehicles/{id}"): CHANGE | CLIENTS,
    ("GET", "/api/users"): by_role((200,) * 3, (NO,) * 3, (NO,) * 3, (200,) * 3, (NO,) * 3, (NO,) * 3),
    ("GET", "/api/users/{name}"): by_role(
        (200, 200, GONE), (NO,) * 3, (NO,) * 3, (200, 200, GONE), (NO,) * 3, (NO,) * 3
    ),
    ("POST", "/api/users"): by_role((201,) * 3, *[(NO, NO, NO)] * 5),
    ("PATCH", "/api/users/{name}"): ADMIN,
    ("GET", "/account"): OWN_PAGE,
    ("POST", "/account"): OWN_FORM,
    ("POST", "/account/password"): WRONG,  # without the present one
    ("POST", "/account/totp"): WRONG,
    ("POST", "/account/totp/off"): WRONG,
    ("POST", "/account/recovery"): WRONG,
    ("POST", "/account/tokens"): WRONG,
    ("POST", "/account/tokens/{id}/revoke"): OWN_FORM,
    ("GET", "/organisations"): OWN_PAGE,
    ("POST", "/organisations"): by_role(*[(303, 303, 303)] * 2, *[(NO, NO, NO)] * 4),
    ("GET", "/organisations/{id}"): ONE,
    ("POST", "/organisations/{id}"): SAVE,
    ("POST", "/organisations/{id}/contacts"): SAVE,
    ("POST", "/organisations/{id}/vehicles"): SAVE | {"client": (303, GONE, GONE)},
    ("GET", "/contacts/{id}"): EDIT,
    ("POST", "/contacts/{id}"): SAVE,
    ("GET", "/vehicles/{id}"): EDIT | CLIENTS,
    ("POST", "/vehicles/{id}"): SAVE | {"client": (303, GONE, GONE)},
    ("GET", "/settings"): by_role((200,) * 3, *[(NO, NO, NO)] * 5),
    ("POST", "/settings/users"): by_role((303,) * 3, *[(NO, NO, NO)] * 5),
    ("GET", "/settings/users/{name}"): ADMIN,
    ("POST", "/settings/users/{name}"): by_role((303, 303, GONE), *[(NO, NO, NO)] * 5),
    ("POST", "/settings/users/{name}/tokens/{id}/revoke"): by_role((303, 303, GONE), *[(NO, NO, NO)] * 5),
}
WHICH = (1, 2, 99)
NAMES = ("anna", "boris", "ghost")


def body(method, path, n, tag):
    """What a route needs, for the n-th of its objects; `tag` keeps names apart."""
    resource = path.split("/")[-2 if "{" in path.rpartition("/")[2] else -1]
    if method == "PATCH":
        return {"teams": [tag]} if resource == "users" else {"active": True}
    return {
        "organisations": {"name": f"O {tag}", "language": "en", "contract.consent": "explicit", "active": "yes"},
        "contacts": {"organisation": n, "name": f"C {tag}", "active": "yes"},
        "vehicles": {"organisation": n, "name": f"V {tag}", "active": "yes"},
        "users": {"name": f"u{tag}", "role": "auditor", "password": PASSWORD, "active": "yes"},
    }.get(resource, {})


def for_api(fields, path):
    """The same as JSON: a form says `yes` where JSON says true, and names what an object holds by its path."""
    found = {name: value for name, value in fields.items() if "." not in name}
    if "active" in found:
        found["active"] = True
    return found


def test_the_table_is_the_rows():
    assert set(EXPECTED) == {(row.method, row.path) for row in ROUTES}


@pytest.mark.parametrize("role", ROLES)
def test_rights(postgres_dsn, role):
    async def main():
        hours = itertools.count(step=3600.0)  # passwords that are wrong here are no guesses
        async with site(postgres_dsn, throttle=Throttle(lambda: next(hours))) as desk:
            for statement in (
                "INSERT INTO organisation (name, created_at) VALUES ('North', now()), ('South', now())",
                "INSERT INTO contact (organisation, name, created_at) VALUES (1, 'A', now()), (2, 'B', now())",
                "INSERT INTO vehicle (organisation, name, created_at) VALUES (1, 'A', now()), (2, 'B', now())",
                "INSERT INTO visit (vehicle, crew, created_at) VALUES (1, 'crew', now()), (2, 'crew two', now())",
                "UPDATE app_user SET organisations = '{1}' WHERE name = 'client'",
            ):
                await execute(desk.pool, statement)
            for name in NAMES[:2]:
                await desk.users.add(name, "engineer", PASSWORD)
            wrong = []
            async with desk.program(role) as program, desk.signed_in(role) as browser:
                csrf = hidden((await browser.get("/account")).text)["csrf"]
                for (method, path), expected in EXPECTED.items():
                    for place in range(3):
                        n = WHICH[place]
                        tag = f"{method}{path}{place}".translate(str.maketrans("/{}", "..."))[-30:]
                        fields = body(method, path, min(n, 2), tag)
                        url = path.format(id=n, name=NAMES[place])
                        if path.startswith("/api"):
                            json = None if method == "GET" else for_api(fields, path)
                            answer = await program.request(method, url, json=json)
                        elif method == "GET":
                            answer = await browser.get(url)
                        else:
                            if path == "/settings/users/{name}":
                                fields = {"role": "engineer", "active": "yes"}
                            answer = await browser.post(url, data=fields | {"csrf": csrf})
                        if answer.status_code != expected[role][place]:
                            wrong.append((method, url, answer.status_code, expected[role][place], answer.text[:200]))
            return wrong

    assert asyncio.run(main()) == []


def test_a_token_that_may_only_read_changes_nothing(postgres_dsn):
    async def main():
        async with site(postgres_dsn, roles=("admin",)) as desk, desk.program("admin", "read") as program:
            for row in ROUTES:
                url = row.path.format(id=1, name="admin")
                answer = await program.request(row.method, url, json=None if row.method == "GET" else {"name": "x"})
                if row.method == "GET":
                    assert answer.status_code in (200, 404), url
                else:
                    assert answer.status_code == 403, url

    asyncio.run(main())


def test_a_stranger_gets_nothing(postgres_dsn):
    async def main():
        async with site(postgres_dsn, roles=("admin",)) as desk, desk.stranger() as stranger:
            token = await desk.users.token("admin", expires_at=desk.app.state.desk.now())
            for row in ROUTES:
                url = row.path.format(id=1, name="admin")
                for headers in ({}, {"Authorization": f"Bearer {token}"}):  # none, and one that has just expired
                    answer = await stranger.request(row.method, url, content=b"{", headers=headers)
                    assert answer.status_code == (401 if row.path.startswith("/api") else 303), url

    asyncio.run(main())
