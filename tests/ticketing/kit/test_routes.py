"""Rows as routes: rights first, answers as JSON, refusals as they are said, and each key once."""

import asyncio

import httpx
import msgspec
import psycopg
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from tests.ticketing.desk_parts import execute, fetch, pool_of
from ticketing.core.errors import ConflictError, NotFoundError, TicketingError
from ticketing.core.idempotency import Idempotency
from ticketing.kit.access import Visitor
from ticketing.kit.answers import refusal
from ticketing.kit.body import json_body
from ticketing.kit.parts import put_parts
from ticketing.kit.routes import Row, joined
from ticketing.people.users import User


class Thing(msgspec.Struct):
    name: str


class As:
    """Signed in as whoever a header says."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope, receive, send):
        role = dict(scope["headers"]).get(b"role", b"admin").decode()
        scope["state"] = {"visitor": Visitor(User(1 if role == "admin" else 2, role, role), None)}
        await self.app(scope, receive, send)


class Bench:
    """An application with one feature, which remembers what it did."""

    def __init__(self, pool):
        self.done = []
        self.begun, self.hold = asyncio.Event(), asyncio.Event()
        rows = (
            Row("GET", "/api/things/{id}", "tickets", self.one, answer=Thing),
            Row("POST", "/api/things", "take", self.add, body=Thing, answer=Thing, status=201),
        )

        async def refused(request, error):
            return refusal(request, error)

        self.app = Starlette(
            routes=joined(rows),
            middleware=[Middleware(As)],
            exception_handlers={TicketingError: refused, psycopg.OperationalError: refused},
        )
        put_parts(self.app, [Idempotency(pool)])
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False), base_url="http://desk.test"
        )

    async def one(self, request):
        raise NotFoundError("no such thing")

    async def add(self, request):
        thing = await json_body(request, Thing)
        self.done.append(thing.name)
        match thing.name:
            case "conflict":
                raise ConflictError("not now")
            case "crash":
                raise ZeroDivisionError
            case "away":
                raise psycopg.OperationalError
            case "slow":
                self.begun.set()
                await self.hold.wait()
        return thing

    async def post(self, name, key=None, role="admin"):
        headers = {"role": role} | ({"Idempotency-Key": key} if key else {})
        answer = await self.client.post("/api/things", json={"name": name}, headers=headers)
        return answer.status_code, answer.text, answer.headers.get("Idempotency-Replayed")


def run(dsn, scenario):
    async def main():
        async with pool_of(dsn) as pool:
            await execute(pool, "DELETE FROM idempotency")
            bench = Bench(pool)
            async with bench.client:
                await scenario(bench, pool)

    asyncio.run(main())


def test_answers_and_refusals(shared_dsn):
    async def scenario(bench, pool):
        assert await bench.post("a") == (201, '{"name":"a"}', None)
        assert (await bench.post("a", role="auditor"))[0] == 403
        assert (await bench.client.get("/api/things/1")).json() == {"error": "no such thing"}
        assert (await bench.client.get("/api/things/1", headers={"role": "client"})).status_code == 404
        wrong = await bench.client.post("/api/things", json={"name": 1})
        assert wrong.status_code == 422
        assert wrong.json()["errors"] == [
            {"field": "name", "problem": "Expected str, got int", "remedy": "give a text"}
        ]
        assert (await bench.client.put("/api/things")).status_code == 405
        assert bench.done == ["a"]

    run(shared_dsn, scenario)


def test_a_key_is_done_once(shared_dsn):
    async def scenario(bench, pool):
        assert await bench.post("a", "k") == (201, '{"name":"a"}', None)
        assert await bench.post("a", "k") == (201, '{"name":"a"}', "true")
        assert (await bench.post("b", "k"))[0] == 409
        assert await bench.post("b", "k2") == (201, '{"name":"b"}', None)
        assert bench.done == ["a", "b"]
        for key in ("", "x" * 201, "a\tb"):
            answer = await bench.client.post("/api/things", json={"name": "c"}, headers={"Idempotency-Key": key})
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
        assert bench.done == ["a", "b"]

    run(shared_dsn, scenario)


def test_a_refusal_is_an_answer_too(shared_dsn):
    async def scenario(bench, pool):
        first = await bench.post("conflict", "k")
        assert first[0] == 409
        assert await bench.post("conflict", "k") == (*first[:2], "true")
        assert bench.done == ["conflict"]
        assert (
            await bench.client.post("/api/things", content=b"{", headers={"Idempotency-Key": "w"})
        ).status_code == 422
        assert (await bench.post("a", "w"))[0] == 409

    run(shared_dsn, scenario)


def test_what_failed_here_is_done_by_the_next_attempt(shared_dsn):
    async def scenario(bench, pool):
        for name, status in (("crash", 500), ("away", 503)):
            assert (await bench.post(name, name))[0] == status
            assert (await bench.post(name, name))[0] == status
        assert bench.done == ["crash", "crash", "away", "away"]
        assert await fetch(pool, "SELECT key FROM idempotency") == []

    run(shared_dsn, scenario)


def test_while_it_is_worked_on_the_same_is_told_to_wait(shared_dsn):
    async def scenario(bench, pool):
        first = asyncio.create_task(bench.post("slow", "k"))
        await bench.begun.wait()
        headers = {"Idempotency-Key": "k"}
        second = await bench.client.post("/api/things", json={"name": "slow"}, headers=headers)
        assert (second.status_code, second.headers["Retry-After"]) == (409, "1")
        bench.hold.set()
        assert (await first)[0] == 201
        assert await bench.post("slow", "k") == (201, '{"name":"slow"}', "true")
        assert bench.done == ["slow"]

    run(shared_dsn, scenario)


def test_the_right_comes_before_the_key(shared_dsn):
    """What somebody was answered is not told to who may not ask."""

    async def scenario(bench, pool):
        await bench.post("a", "k")
        assert (await bench.post("a", "k", role="auditor"))[0] == 403
        assert await bench.post("a", "k", role="manager") == (201, '{"name":"a"}', None)  # their own key

    run(shared_dsn, scenario)
