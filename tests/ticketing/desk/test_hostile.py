"""Whatever a request holds, the desk answers what it means: never 5xx, never a word that is not the asker's."""

import asyncio
import json
import math
import random
import re
from collections import Counter
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from tests.ticketing.desk.parts import hidden, site, small_fleet
from tests.ticketing.desk_parts import fetch
from ticketing.core.paging import BadCursorError, cursor_of, read_cursor
from ticketing.desk.app import routes, rows
from ticketing.desk.openapi import description
from ticketing.kit.access import comes_from_here, safe_next
from ticketing.kit.shield import MAX_BODY
from ticketing.model.states import PEOPLE

OWN = {  # what pages ask beside what their twins do
    "/login": ["next"], "/terminals/{terminal}": ["hours", "measure", "since", "told"], "/search": ["q"],
    "/tickets/{number}": ["told"], "/fleet": ["x"], "/quarantine/{number}": ["x"], "/": ["x"],
}  # fmt: skip
ODD = [
    "", " ", "0", "-1", "1e3", "١٢", "01", "99999", "9" * 5000, "NaN", "null", "[]", "{}", "\x00", "a\x00b", "\ud800",
    "%", "%00", "%ff", "'", "'; DROP TABLE ticket; --", '"', "\\", "..", "../../etc/passwd", "<script>", "\u202e",
    "e\u0301" * 90, "x" * 201, "x" * 5000, "-terminal", "--terminal", "terminal,name", "queue", "2026-11-21T10:00:00Z",
    "2026-11-21", "2026-11-21T10:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "//[", "http://[::1",
    "1970-01-01T00:00:00Z", "2026-W47-6T10:00:00Z", "//evil.example", "/\\evil", "/tickets#x", "/login", "good", "yes",
    "silence", "352093081429150",
]  # fmt: skip
CURSORS = [
    cursor_of(value)
    for value in (
        0, -1, 2**63, 1e300, None, "", "x", "\x00", "x" * 65, [], {}, [[]], [0], [0, 0], ["", ""], ["x", "A"],
        [True, "A"], [255, "A"], [256, "A"], [None, "A"], [0, "2026-11-16T10:00:00Z", 1], ["0001-01-01T00:00:00Z", 1],
        ["9999-12-31T23:59:59Z", 2**63 - 1], [False, 3, None, 1], [False, 3, "9999-12-31T23:59:59Z", 5],
    )
] + ["e30", "_", "-", "=", "A", "AA==", "!!!!", "W10", "ey" * 300]  # fmt: skip
PATHS = [
    "%00", "%ff", "a%00b", "..%2f..", "%2e%2e", "-1", "0", "9" * 40, "9223372036854775808", "x" * 2000, "%F0%9F%9A%9A",
    "%ED%A0%80", "'", "DZ-10017", "1e3", "%D9%A1", "a/b/c", "null",
]  # fmt: skip


def desk_of(dsn, work):
    async def main():
        async with site(dsn, roles=("admin",)) as desk:
            await small_fleet(desk.pool)
            return await work(desk)

    return asyncio.run(main())


NEEDS = ("/api/positions", "/api/series")  # a terminal, and what of it
REFUSED = [
    ("/api/tickets", "limit=%D9%A1%D9%A2"), ("/api/tickets", "limit=501"), ("/api/tickets", "limit=0"),
    ("/api/tickets", "limit=01e1"), ("/api/tickets", "sort=--number"), ("/api/terminals", "verdict=bad"),
    ("/api/terminals", "connected=true"), ("/api/terminals", "verdict=good&kind=x"), ("/api/terminals", "cursor="),
    ("/api/terminals", "cursor=x"), ("/api/terminals", "search=%00"), ("/api/terminals", "search=" + "x" * 201),
    ("/api/positions", "terminal=352093081429150&until=1969-12-31T23:59:59Z"),
    ("/api/positions", "terminal=352093081429150&since=0001-01-01T00:00:00%2B14:00"),
    ("/api/positions", "terminal=352093081429150&until=9999-12-31T23:59:59-14:00"),
    ("/api/positions", "terminal=352093081429150&since=2026-11-21T10:00:00"),
    ("/api/positions", "terminal=352093081429150&since=2026-01-01T00:00:00Z&until=2026-02-02T00:00:00Z"),
    ("/api/positions", "terminal=352093081429150&since=2026-01-01T00:00:00Z&until=2026-01-01T00:00:00Z"),
]  # fmt: skip


def test_what_cannot_be_meant_is_refused_with_its_name(postgres_dsn):
    async def work(desk):
        async with desk.program("admin") as client:
            return [(query, await client.get(f"{path}?{query}")) for path, query in REFUSED]

    for query, answer in desk_of(postgres_dsn, work):
        assert answer.status_code == 400, query
        (name, *_) = re.findall(r"(\w+)=[^&]*$", query)
        told = answer.json()["error"]
        assert name in told or "since must lie before until" in told, (query, told)


def asked():
    """Each path that is read, by what it asks for."""
    described = {
        path: [its["name"] for its in methods["get"].get("parameters", ()) if its["in"] == "query"]
        for path, methods in description("test", rows())["paths"].items()
        if "get" in methods
    }
    for route in routes():
        if isinstance(route, Route) and "GET" in route.methods and not route.path.endswith(tuple(PEOPLE)):
            path = re.sub(r":\w+", "", route.path)
            for name in {*described.get(path, ()), *described.get("/api" + path, ()), *OWN.get(path, ())}:
                yield path, name


def test_odd_parameters_are_refused_or_mean_nothing(postgres_dsn):
    async def work(desk):
        bad, codes, known = [], Counter(), set()
        chance = random.Random(7)
        async with desk.program("admin") as client:
            for path, name in sorted(asked()):
                known.add(path)
                where = (
                    path.replace("{terminal}", "352093081429150")
                    .replace("{number}", "1")
                    .replace("{id}", "1")
                    .replace("{name}", "admin")
                )
                values = [*ODD, *CURSORS] if name == "cursor" else ODD
                if name not in ("q", "next", "since", "limit", "cursor"):
                    values = chance.sample(values, 8)  # all read by the same words
                if not path.startswith("/api") and name not in ("next", "hours"):
                    values = chance.sample(values, 3)  # and its twin was asked
                for value in values:
                    query = quote(value.encode("utf-8", "surrogatepass"), safe="")
                    needed = (
                        "terminal=352093081429150&measure=ignition&" if path in NEEDS and name != "terminal" else ""
                    )
                    answer = await client.get(f"{where}?{needed}{name}={query}")
                    codes[answer.status_code] += 1
                    if answer.status_code not in (200, 303, 400, 404):
                        bad.append((path, name, value[:40], answer.status_code))
        return bad, codes, known, await fetch(desk.pool, "SELECT count(*) FROM ticket")

    bad, codes, known, tickets = desk_of(postgres_dsn, work)
    assert bad == []
    assert codes[400] > codes[200] / 4 > 50, codes
    assert len(known) > 18, known
    assert tickets == [(3,)]


def test_odd_paths_are_not_found(postgres_dsn):
    async def work(desk):
        found = {}
        async with desk.program("admin") as client:
            for route in routes():
                if isinstance(route, Route) and "{" in route.path:
                    method = "GET" if "GET" in route.methods else "POST"
                    for odd in PATHS:
                        path = re.sub(r"\{\w+(:\w+)?\}", odd, route.path)
                        answer = await client.request(method, path, json={"text": "x"} if method == "POST" else None)
                        found.setdefault(answer.status_code, []).append((method, path))
            for path in (
                "/static/../app.py",
                "/static/%2e%2e/app.py",
                "/static/%00",
                "/static/" + "x" * 5000,
                "/api",
                "/x",
            ):
                answer = await client.get(path)
                found.setdefault(answer.status_code, []).append(("GET", path))
        return found

    found = desk_of(postgres_dsn, work)
    assert set(found) <= {303, 400, 403, 404, 405}, {code: found[code][:5] for code in found}
    assert len(found[404]) > 100
    assert {path.rpartition("/")[2] for _, path in found.get(303, ())} <= set(PEOPLE), (
        "they lead back to a ticket's page"
    )


BODIES = [
    b"", b"null", b"[]", b"0", b'"x"', b"{", b'{"text":', b'{"text":null}', b'{"text":1}', b'{"text":["x"]}',
    b'{"text":"\\u0000"}', b'{"text":"\\ud800"}', b'{"text":"' + b"x" * 10_001 + b'"}', b'{"text":"   "}',
    b'{"text":"\xff"}', b"\xef\xbb\xbf{}", b"[" * 30_000, b'{"a":' * 10_000, b'{"text":"x","text":2}', b"\x00",
    b"x" * (MAX_BODY + 1),
]  # fmt: skip


def test_odd_bodies_are_refused_and_write_nothing(postgres_dsn):
    state = "SELECT number, state, owner FROM ticket ORDER BY 1"

    async def work(desk):
        before = await fetch(desk.pool, state)
        codes = Counter()
        async with desk.program("admin") as client:
            for number, *_ in before:
                for action in sorted(PEOPLE):
                    if action not in ("note", "ask", "consent"):  # the others need no text, so an empty body is one
                        continue
                    for body in BODIES:
                        answer = await client.post(f"/api/tickets/{number}/{action}", content=body)
                        codes[answer.status_code] += 1
                        assert answer.status_code in (409, 413, 422), (action, body[:40], answer.text)
                        assert list(answer.json()) in (["error"], ["errors"])

            async def endless():
                for _ in range(80):
                    yield b"x" * (MAX_BODY // 64)

            answer = await client.post(f"/api/tickets/{before[0][0]}/note", content=endless())
            assert answer.status_code == 413, "whether its length was announced or not"
        async with desk.signed_in("admin") as browser:
            page = await browser.get(f"/tickets/{before[0][0]}")
            for kind in (
                "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=x",
                "multipart/form-data",
                "x",
            ):
                for body in (b"csrf=" + b"%" * 50, b"--x\r\n" * 90, b"a=1&" * 300, b"text=%00&csrf=%ff", *BODIES[-5:]):
                    headers = {"content-type": kind, "origin": "http://desk.test"}
                    answer = await browser.post(f"/tickets/{before[0][0]}/note", content=body, headers=headers)
                    if answer.status_code == 303:  # to the page, which says what is missing
                        assert "?told=" in answer.headers["location"]
                    else:
                        assert answer.status_code in (400, 403, 413), (kind, body[:40], answer.status_code)
            assert "csrf" in hidden(page.text)
        return before, await fetch(desk.pool, state), codes, await fetch(desk.pool, "SELECT count(*) FROM journal")

    before, after, codes, journal = desk_of(postgres_dsn, work)
    assert before == after
    assert codes[422] > codes[413] > 0
    assert journal == [(4,)], "three opened, one recovered"


HEADERS = [
    ("authorization", "Bearer"), ("authorization", "Bearer \x00"), ("authorization", "bearer " + "x" * 9000),
    ("authorization", "Basic eDp5"), ("authorization", "Bearer \xff\xfe"), ("authorization", "\t"),
    ("cookie", "dozor_session="), ("cookie", "dozor_session=\xff; dozor_session=2"), ("cookie", ";;;=;" * 400),
    ("cookie", 'dozor_session="\\000"'), ("content-type", "application/json; charset=utf-7"), ("host", ""),
    ("host", "["),
    ("host", "evil.example"), ("origin", "http://["), ("origin", "null"), ("origin", "http://\u2100.example".encode()),
    ("accept", "*/*;q=x"), ("accept-language", "\xff"), ("x-forwarded-for", "::::, %"), ("content-length", "1"),
    ("range", "bytes=-"), ("if-modified-since", "yesterday"), ("if-none-match", "\x01"),
]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "DELETE", "PUT", "TRACE", "BREW"])
def test_odd_headers_let_nobody_in_and_break_nothing(shared_dsn, method):
    async def main():
        async with site(shared_dsn, roles=()) as desk, desk.stranger() as client:
            for name, value in HEADERS:
                for path in (
                    "/tickets",
                    "/api/tickets",
                    "/api/tickets/DZ-10017/note",
                    "/tickets/DZ-10017/note",
                    "/login",
                ):
                    raw = [(name.encode(), value if isinstance(value, bytes) else value.encode("latin-1"))]
                    answer = await client.request(method, path, headers=raw)
                    assert answer.status_code < 500, (method, path, name, value)
                    if path.startswith("/api"):
                        assert answer.status_code == 401, (method, path, name, value)
                    elif path != "/login":
                        assert answer.status_code in (303, 401), (method, path, name, value)
                        assert answer.status_code == 401 or answer.headers["location"].startswith("/login"), (
                            name,
                            value,
                        )
            static = await client.request(
                method, "/static/desk.css", headers={"range": "bytes=9-1,x", "if-range": "\x01"}
            )
            assert static.status_code < 500

    asyncio.run(main())


class Asked:
    """As much of a request as `comes_from_here` looks at."""

    def __init__(self, **headers):
        self.headers = headers


@example("//evil.example")
@example("//[")
@example("/\\evil.example")
@example("/tickets?next=//x")
@example("/login?next=/tickets")
@given(st.text(max_size=60) | st.from_regex(r"[/\\\[\]:@?#.a-z]{1,12}", fullmatch=True))
def test_a_login_leads_nowhere_else(target):
    led = safe_next(target)
    assert led.startswith("/")
    assert not led.startswith(("//", "/\\", "/api/"))
    assert re.split("[?#]", led)[0] not in ("/login", "/logout")
    assert led.isprintable()
    assert comes_from_here(Asked(origin=target, host="desk.test")) is (
        re.fullmatch(r"(?i)([a-z][a-z0-9+.-]*:)?//desk\.test([/?#].*)?", target.lstrip(" \x00").replace("\t", ""), re.S)
        is not None
    )


def _finite(value):
    """As JSON has it: no numbers beyond all bounds, which are null."""
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@settings(suppress_health_check=[HealthCheck.too_slow])
@example("Infinity")
@example([float("nan"), "NaN", [float("-inf")]])
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20), st.lists))
def test_a_cursor_is_what_it_was_made_of_or_is_refused(value):
    cursor = cursor_of(value)
    assert re.fullmatch(r"[A-Za-z0-9_-]*", cursor)
    assert json.dumps(read_cursor(cursor, object)) == json.dumps(_finite(value))
    for damaged in (cursor[1:], cursor[:-1], cursor + "A", cursor.swapcase()):
        try:
            read_cursor(damaged, tuple[int, str])
        except BadCursorError:
            continue
