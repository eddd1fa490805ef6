"""The inbox under /api/mail: who sees what, and what is done with held mail."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware

from tests.ticketing.mail.world import mail, world
from ticketing.core.idempotency import Idempotency
from ticketing.kit.access import Visitor
from ticketing.kit.answers import refusal
from ticketing.kit.parts import put_parts
from ticketing.kit.routes import joined
from ticketing.mail.api import ROUTES, MailDesk
from ticketing.people.users import User


@pytest.fixture
def play(postgres_dsn):
    def run(scenario):
        async def inside():
            async with world(postgres_dsn) as w:
                await w.add_organisation("Acme", ("Ann", "ann@acme.example"))

                async def enter(request, call_next):
                    role, _, team = request.headers["x-who"].partition("/")
                    user = User(1, "olga", role, teams=(team,) if team else ())
                    request.state.visitor = Visitor(user, None)
                    return await call_next(request)

                async def refused(request, error):
                    answer = refusal(request, error)
                    if answer is None:
                        raise error
                    return answer

                app = Starlette(
                    routes=joined(ROUTES),
                    middleware=[Middleware(BaseHTTPMiddleware, dispatch=enter)],
                    exception_handlers={Exception: refused},
                )
                put_parts(app, [MailDesk(w.pool, w.judge, lambda: w.now), Idempotency(w.pool)])
                for kind in _kinds():
                    app.add_exception_handler(kind, refused)
                transport = httpx.ASGITransport(app, raise_app_exceptions=True)
                async with httpx.AsyncClient(transport=transport, base_url="http://desk.test") as client:

                    async def ask(method, path, who="manager"):
                        return await client.request(method, path, headers={"x-who": who})

                    await scenario(w, ask)

        asyncio.run(inside())

    return run


def _kinds():
    from starlette.exceptions import HTTPException

    from ticketing.core.errors import ConflictError, NotFoundError

    return HTTPException, ConflictError, NotFoundError


def test_held_mail_is_listed_and_let_in_once(play) -> None:
    async def scenario(w, ask):
        ticket = await w.add_ticket("t", team="east")
        raw = mail(sender="eve@evil.example", subject=f"[#{ticket.number}] x")
        row = await w.receive(raw)
        other = await w.receive(mail(sender="mallory@evil.example", subject=f"[#{ticket.number}] y"))
        await w.receive(mail())
        page = (await ask("GET", "/api/mail?verdict=held")).json()
        assert [item["id"] for item in page["items"]] == [other, row]
        found = page["items"][1]
        assert (found["sender"], found["reason"], found["step"]) == ("eve@evil.example", "stranger", "stranger")
        assert found["ticket"] == ticket.number
        assert [item["id"] for item in (await ask("GET", f"/api/mail?before={other}&limit=1")).json()["items"]] == [row]
        kept = await ask("GET", f"/api/mail/{row}/raw")
        assert kept.content == raw
        assert kept.headers["content-disposition"].startswith("attachment;")
        assert kept.headers["content-type"] == "application/octet-stream"
        assert (await ask("POST", f"/api/mail/{row}/accept")).json()["verdict"] == "appended"
        again = await ask("POST", f"/api/mail/{row}/accept")
        assert (again.status_code, "appended" in again.json()["error"]) == (409, True)
        assert (await ask("POST", f"/api/mail/{other}/again")).json()["verdict"] == "held"
        assert (await ask("POST", f"/api/mail/{other}/dismiss")).json()["reason"] == "dismissed"
        assert (await ask("GET", f"/api/mail/{row}")).json()["judged_by"] == "olga"

    play(scenario)


def test_who_may_and_who_sees(play) -> None:
    async def scenario(w, ask):
        ticket = await w.add_ticket("t", team="east")
        row = await w.receive(mail(sender="eve@evil.example", subject=f"[#{ticket.number}] x"))
        for who, seen, accepted in (
            ("client", 403, 403),
            ("crew", 403, 403),
            ("auditor", 200, 403),
            ("engineer/west", 404, 404),
            ("engineer/east", 200, 200),
        ):
            for path in (f"/api/mail/{row}", f"/api/mail/{row}/raw"):
                assert (await ask("GET", path, who)).status_code == seen, who
            assert (await ask("POST", f"/api/mail/{row}/accept", who)).status_code == accepted, who
        assert (await ask("GET", "/api/mail", "engineer/west")).json()["items"] == []
        for place in ("0", "x", "9" * 30, "-1", "%00"):
            assert (await ask("GET", f"/api/mail/{place}")).status_code == 404

    play(scenario)
