"""Who may do what, role by route, as one table; strangers first."""

import asyncio

import pytest

from tests.ticketing.desk.parts import site, small_fleet
from ticketing.desk.app import routes
from ticketing.people.users import ROLES

NOBODY = dict.fromkeys(ROLES, 403)
ALL = dict.fromkeys(ROLES, 200)
STAFF = NOBODY | {"admin": 200, "manager": 200, "engineer": 200}
READERS = STAFF | {"auditor": 200}
OWN = READERS | {"crew": 404, "client": 404}  # theirs do not exist yet
# route: what each role gets. N is a new ticket's number, R a recovered one's.
READS = {
    "/api/tickets": ALL,
    "/api/tickets/N": OWN,
    "/api/tickets/DZ-1": dict.fromkeys(ROLES, 404),
    "/api/terminals": ALL,
    "/api/terminals/77001": OWN,
    "/api/terminals/wl%2Fodd%20one": OWN,
    "/api/terminals/77001/fuel-events": OWN,
    "/api/terminals/77001/commands": OWN,
    "/api/terminals/77001/commands/1": dict.fromkeys(ROLES, 404),
    "/api/terminals/wl%2Fodd%20one/commands": OWN,
    "/api/positions?terminal=77001": OWN,
    "/api/series?terminal=77001&measure=speed": OWN,
    "/api/connections?terminal=77001": OWN,
    "/api/messages?terminal=77001": OWN,
    "/api/search?q=Truck": ALL,
    "/api/incidents": READERS,
    "/api/incidents/1": READERS,
    "/api/incidents/99": {role: 404 if code == 200 else code for role, code in READERS.items()},
    "/api/incidents/1/explain": READERS,
    "/api/incidents/99/explain": {role: 404 if code == 200 else code for role, code in READERS.items()},
    "/api/fleet/health?by=site": READERS,
    "/api/quarantine": READERS,
    "/api/quarantine/1": READERS,
    "/api/bytes?bytes=000f": READERS,
    "/api/fleet": READERS,
    "/api/counts": READERS,
    "/tickets": ALL,
    "/tickets/N": OWN,
    "/terminals": ALL,
    "/terminals/352093081429150": OWN,
    "/terminals/wl%2Fodd%20one": OWN,
    "/incidents": READERS,
    "/incidents/1": READERS,
    "/incidents/99": {role: 404 if code == 200 else code for role, code in READERS.items()},
    "/quarantine": READERS,
    "/quarantine/1": READERS,
    "/bytes": READERS,
    "/fleet": READERS,
    "/search?q=Truck": ALL,
}
ACTS = {
    "take": STAFF,
    "note": STAFF | {"crew": 404, "client": 404},
    "ask": STAFF,
    "consent": STAFF | {"client": 404},
    "close": STAFF,
}


@pytest.mark.parametrize("role", ROLES)
def test_reading_is_allowed_by_role(postgres_dsn, role):
    async def main():
        async with site(postgres_dsn) as desk:
            numbers = await small_fleet(desk.pool)
            async with desk.program(role) as program, desk.signed_in(role) as browser:
                seen = {}
                for route in READS:
                    client = program if route.startswith("/api") else browser
                    seen[route] = (await client.get(route.replace("/N", "/" + numbers["new"]))).status_code
                nothing = role in ("crew", "client")
                for listed in ("/api/tickets", "/api/terminals"):
                    assert ((await program.get(listed)).json()["total"] == 0) == nothing
                if nothing:
                    for page in ("/tickets", "/terminals", "/search?q=Truck"):
                        text = (await browser.get(page)).text
                        assert "DZ-" not in text
                        assert "77001" not in text
                return seen

    assert asyncio.run(main()) == {route: expected[role] for route, expected in READS.items()}


@pytest.mark.parametrize("role", ROLES)
def test_acting_is_allowed_by_role(postgres_dsn, role):
    async def main():
        async with site(postgres_dsn) as desk:
            numbers = await small_fleet(desk.pool)
            seen = {}
            async with desk.program(role) as program:
                for action in ACTS:
                    number = numbers["recovered" if action in ("consent", "close") else "new"]
                    answer = await program.post(f"/api/tickets/{number}/{action}", json={"text": "so it is"})
                    seen[action] = answer.status_code
                    if answer.status_code == 200:
                        entry = answer.json()["journal"][-1]
                        assert (entry["actor"], entry["action"], entry["text"]) == (role, action, "so it is")
            untouched = {n: len((await desk.tickets.get(n)).journal) for n in numbers.values()}
            if 200 not in seen.values():
                assert untouched == {numbers["new"]: 1, numbers["firmware"]: 1, numbers["recovered"]: 2}
            return seen

    assert asyncio.run(main()) == {action: expected[role] for action, expected in ACTS.items()}


def test_a_stranger_sees_nothing(postgres_dsn):
    """Every route, and some that do not exist: 401 or the login page, before anything is looked up."""

    async def main():
        async with site(postgres_dsn) as desk:
            numbers = await small_fleet(desk.pool)
            async with desk.stranger() as stranger:
                paths = [route.path for route in routes()]
                paths += ["/api", "/api/", "/api/nothing", "/nothing", "/docs", "/staticx", "/login/x", "/metrics"]
                for path in paths:
                    if path in ("/login", "/openapi.json", "/static") or path.startswith("/l/"):  # who has the letter
                        continue
                    path = path.replace("{number}", numbers["new"]).replace("{terminal:path}", "77001")
                    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
                        answer = await stranger.request(method, path + "?limit=x&cursor=%00", content=b"x" * 140_000)
                        if path.startswith("/api"):
                            assert answer.status_code == 401, (method, path)
                            assert method == "HEAD" or list(answer.json()) == ["error"]
                        else:
                            assert answer.status_code == 303, (method, path)
                            assert answer.headers["location"].startswith("/login"), path
                            assert answer.content == b""
                assert (await stranger.get("/login")).status_code == 200
                assert (await stranger.get("/openapi.json")).status_code == 200
                assert (await stranger.get("/static/desk.css")).status_code == 200
                for escape in (
                    "/static/../app.py",
                    "/static/%2e%2e/app.py",
                    "/static/..%2fapp.py",
                    "/static//etc/passwd",
                ):
                    assert (await stranger.get(escape)).status_code in (303, 404), escape

    asyncio.run(main())


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer nonsense", "Basic YTpi", "Bearer é", "nonsense"])
def test_a_wrong_token_is_nobody(postgres_dsn, header):
    async def main():
        async with site(postgres_dsn, roles=("admin",)) as desk, desk.signed_in("admin") as browser:
            # Even with a good cookie beside it: who sends a token means the token.
            answer = await browser.get("/api/tickets", headers={"Authorization": header.encode()})
            assert answer.status_code == 401
            assert (await browser.get("/api/tickets")).status_code == 200

    asyncio.run(main())


def test_a_read_token_may_not_post(postgres_dsn):
    async def main():
        async with site(postgres_dsn, roles=("admin",)) as desk:
            numbers = await small_fleet(desk.pool)
            async with desk.program("admin", "read") as program:
                assert (await program.get(f"/api/tickets/{numbers['new']}")).status_code == 200
                for path in [f"/api/tickets/{numbers['new']}/{action}" for action in ACTS] + [
                    "/api/tickets/DZ-1/note",
                    "/api/nothing",
                    "/tickets/DZ-1/note",
                    "/logout",
                ]:
                    assert (await program.post(path, content=b"{")).status_code == 403, path
            assert len((await desk.tickets.get(numbers["new"])).journal) == 1

    asyncio.run(main())


def test_refusals_come_in_order(postgres_dsn):
    """Right, then existence, then the body, then the state."""

    async def main():
        async with site(postgres_dsn, roles=("engineer", "auditor")) as desk:
            numbers = await small_fleet(desk.pool)
            async with desk.program("auditor") as auditor, desk.program("engineer") as engineer:
                new = f"/api/tickets/{numbers['new']}"
                assert (await auditor.post("/api/tickets/DZ-1/note", content=b"{")).status_code == 403
                assert (await engineer.post("/api/tickets/DZ-1/note", content=b"{")).status_code == 404
                assert (await engineer.post("/api/tickets/a%00b/note", content=b"{")).status_code == 404
                for body in (
                    b"{",
                    b"[]",
                    b'{"text":1}',
                    b'"x"',
                    b"\xff",
                    b'{"text":"a\\u0000b"}',
                    b'{"text":" "}',
                    b"",
                ):
                    assert (await engineer.post(f"{new}/note", content=body)).status_code == 422, body
                assert (await engineer.post(f"{new}/note", json={"text": "x" * 10_001})).status_code == 422
                assert (await engineer.post(f"{new}/note", json={"text": "x" * 140_000})).status_code == 413
                assert (await engineer.post(f"{new}/consent", json={"text": "yes"})).status_code == 409
                assert (await engineer.post(f"{new}/close")).status_code == 409
                assert (await engineer.post(f"{new}/take")).json()["state"] == "in_work"
                assert (await engineer.post(f"{new}/take")).json()["state"] == "in_work"
                assert (await engineer.post(f"{new}/ask", json={"text": "when?"})).json()["state"] == "waiting_client"
                assert (await engineer.post(f"{new}/take", json={})).json()["state"] == "in_work"
                recovered = f"/api/tickets/{numbers['recovered']}"
                assert (await engineer.post(f"{recovered}/close")).status_code == 409
                consented = await engineer.post(f"{recovered}/consent", json={"text": "Mr Ivanov, by phone"})
                assert consented.json()["state"] == "awaiting_consent"
                assert (await engineer.post(f"{recovered}/close")).json()["state"] == "closed"
                assert (await engineer.post(f"{recovered}/nonsense")).status_code == 404
                assert (await engineer.put(f"{recovered}/take")).status_code == 405

    asyncio.run(main())
