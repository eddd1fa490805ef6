"""Who is nobody, what does not exist, and in which order requests are refused; the table is `test_every_route`."""

import asyncio

import pytest

from tests.ticketing.desk.parts import site, small_fleet


def test_a_stranger_sees_nothing(postgres_dsn):
    """By any method, with a body that is too large: 401 or the login page, before anything is looked up."""

    async def main():
        async with site(postgres_dsn) as desk:
            numbers = await small_fleet(desk.pool)
            async with desk.stranger() as stranger:
                paths = [f"/tickets/{numbers['new']}", f"/api/tickets/{numbers['new']}", "/terminals/77001"]
                paths += ["/api", "/api/", "/api/nothing", "/nothing", "/docs", "/staticx", "/login/x", "/metrics"]
                for path in paths:
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
