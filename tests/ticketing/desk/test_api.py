"""The JSON twins: keys of the contract, pages by cursor, parameters refused, and a description that is true."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest
from starlette.routing import Mount, Route

from tests.ticketing.desk.parts import add_records, counted, live_of, site, small_fleet
from tests.ticketing.desk_parts import add_terminal, raise_one
from ticketing.desk.app import routes, rows
from ticketing.desk.openapi import description
from ticketing.model.states import MOVES, Action

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
WITH_OFFSET = re.compile(INSTANT.pattern.removesuffix("Z") + r"[+-]\d\d:\d\d")


def run(postgres_dsn, work, **options):
    async def main():
        async with site(postgres_dsn, **({"roles": ("admin",)} | options)) as desk, desk.program("admin") as client:
            return await work(desk, client)

    return asyncio.run(main())


def conforms(value, schema, schemas, path="$"):
    """The little of JSON Schema that the description uses; every key must be described.

    To who sees all, only a ticket's clocks leave keys out, those that `dozor clock` leaves out too.
    """
    if "$ref" in schema:
        return conforms(value, schemas[schema["$ref"].rpartition("/")[2]], schemas, path)
    if "anyOf" in schema:
        problems = [conforms(value, option, schemas, path) for option in schema["anyOf"]]
        return None if None in problems else problems[0]
    if "enum" in schema:
        return None if value in schema["enum"] else f"{path}: {value!r} is not listed"
    kinds = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "null": type(None),
        "array": list,
        "object": dict,
    }
    if schema and not isinstance(value, kinds[schema["type"]]):
        return f"{path}: {value!r} is no {schema['type']}"
    if schema.get("format") == "date-time":
        offset = "offset" in schema.get("description", "")
        if not (WITH_OFFSET if offset else INSTANT).fullmatch(value):
            return f"{path}: {value!r} is no instant {'with an offset' if offset else 'in UTC'}"
    if isinstance(value, list):
        found = [conforms(item, schema.get("items", {}), schemas, f"{path}[{n}]") for n, item in enumerate(value)]
        return next(filter(None, found), None)
    if isinstance(value, dict) and "properties" in schema:
        described, required = set(schema["properties"]), set(schema["required"])
        if not required <= set(value) <= described or ("$.clocks[" not in path and set(value) != described):
            return f"{path}: keys {sorted(value)}, described {sorted(described)}, required {sorted(required)}"
        found = [conforms(value[k], schema["properties"][k], schemas, f"{path}.{k}") for k in value]
        return next(filter(None, found), None)
    return None


def test_every_route_is_described():
    described = description("1", rows())["paths"]
    told = {(path, method) for path, operations in described.items() for method in operations}
    real = set()
    for route in routes():
        if isinstance(route, Mount) or not route.path.startswith("/api/"):
            continue
        assert isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}:
            real.add((route.path.replace(":path}", "}"), method.lower()))
    assert told == real
    for path, operations in described.items():
        for operation in operations.values():
            names = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert names == set(re.findall(r"{(\w+)}", path))
            assert {"401", "403"} <= set(operation["responses"])
            assert {"200", "201"} & set(operation["responses"])


def test_answers_are_as_described(postgres_dsn):
    now = datetime.now(UTC)

    async def work(desk, client):
        numbers = await small_fleet(desk.pool, now)
        answer = await client.get("/openapi.json")
        assert answer.headers["content-type"] == "application/json"
        spec = answer.json()
        assert spec["openapi"].startswith("3.1")
        schemas = spec["components"]["schemas"]
        real = {"number": numbers["new"], "terminal": "352093081429150", "id": 1}
        frame = (await client.get("/api/quarantine")).json()["items"][0]["id"]
        query = {"terminal": "352093081429150", "measure": "power.external", "q": "Truck"}
        declared = {row.path for row in rows()}  # a feature's own tests ask those
        for path, operations in spec["paths"].items():
            if path in declared:
                continue
            for method, operation in operations.items():
                url = path.format(**(real if "quarantine" not in path else {"number": frame}))
                asked = {
                    p["name"]: query[p["name"]]
                    for p in operation["parameters"]
                    if p.get("required") and p["in"] == "query"
                }
                if "search" in path:
                    asked = {"q": "Truck"}
                if path.endswith("/bytes"):
                    asked = {"bytes": "000f"}
                action = path.rpartition("/")[2]
                said = {"text": "words"} | SAID.get(action, {})
                if action in MOVES and method == "post":
                    await ready(desk, numbers, action, said)
                body = {"json": said} if method == "post" else {}
                answer = await client.request(method, url, params=asked, **body)
                good = "201" if "201" in operation["responses"] else "200"
                assert answer.status_code == int(good), (url, answer.text)
                schema = operation["responses"][good]["content"]["application/json"]["schema"]
                assert conforms(answer.json(), schema, schemas) is None
                if schema["$ref"].endswith("Page"):
                    assert set(answer.json()) == {"items", "total", "next"}
        problem = (await client.get("/api/nothing")).json()
        assert conforms(problem, schemas["Problem"], schemas) is None

    run(postgres_dsn, work, live=live_of(now), counts=counted)


SAID = {
    "assign": {"team": "north"},
    "escalate": {"reason": "beyond us", "tier": 2},
    "qualify": {"class": "hardware", "component": "sensor"},
    "answer": {"items": {"is it in the yard?": "yes"}},
    "eta": {"eta": "2999-01-01T00:00:00Z", "basis": "vendor"},
    "vendor": {"system": "development", "case": "7"},
    "waive": {"check": "fix", "reason": "seen by the crew"},
    "task-done": {"outcome": "nobody answered"},
    "defer": {"code": "out_of_scope"},
    "visit": {"reason": "asked"},
    "fix": {"cause": "a fuse", "workaround": "none"},
    "consent": {"by": "Mr Ivanov", "means": "phone"},
    "close": {"cause": "normal"},
    "withdraw": {"reason": "scrapped"},
    "split": {"subject": "another matter"},
    "link": {"kind": "follow-up"},
    "permit": {"by": "Mr Ivanov", "means": "phone", "until": (datetime.now(UTC) + timedelta(days=9)).isoformat()},
    "entrust": {"label": "the server", "secret": "s3cret"},
    "learn": {"symptom": "no data", "cause": "a fuse"},
}


async def ready(desk, numbers, action, said):
    """A ticket in a state from which the action is possible, and what it refers to."""
    number = numbers["new"]
    state = next(iter(MOVES[Action(action)].leads))
    async with desk.pool.connection() as connection:
        await connection.execute(
            "UPDATE ticket SET state = %s, closed_at = CASE WHEN %s = 'closed' THEN now() END, consent_at = now(),"
            " consent_by = 'x', merged_into = NULL WHERE number = %s",
            (state, state, number),
        )
        await connection.execute("UPDATE precheck SET result = 'green'")
        if action == "task-done":
            rows = await connection.execute(
                "INSERT INTO task (ticket, key, kind, created_at) SELECT id, 'k', 'call', now() FROM ticket"
                " WHERE number = %s RETURNING id",
                (number,),
            )
            said["task"] = (await rows.fetchone())[0]
        if action == "revoke":
            await connection.execute(
                "INSERT INTO remote_permission (ticket, given_by, means, at, until, written_by)"
                " SELECT id, 'x', 'phone', now(), now() + '1 day', 'x' FROM ticket WHERE number = %s",
                (number,),
            )
        if action in ("read", "helped"):
            rows = await connection.execute(
                "INSERT INTO known_error (symptom, created_by, created_at) VALUES ('x', 'x', now()) RETURNING id"
            )
            said["known_error"] = (await rows.fetchone())[0]
        if action == "split":
            rows = await connection.execute(
                "SELECT max(m.id) FROM ticket_message m JOIN ticket t ON t.id = m.ticket WHERE number = %s", (number,)
            )
            said["messages"] = [(await rows.fetchone())[0]]
    if action in ("merge", "link"):
        said["into" if action == "merge" else "to"] = numbers["firmware"]


CONTRACT = {
    *("evidence", "journal", "clocks", "channel", "organisation", "vehicle", "reporter", "class", "topic", "component"),
    *("client_priority", "priority", "priority_reason", "tier", "team", "owner", "plan", "verified", "missing", "eta"),
    *("messages", "tasks", "checks", "incidents", "links", "consent", "price"),
}


def test_the_contracts_keys(postgres_dsn):
    now = datetime.now(UTC)

    async def work(desk, client):
        numbers = await small_fleet(desk.pool, now)
        listed = (await client.get("/api/tickets")).json()
        assert listed["total"] == 3
        summary = ["number", "kind", "state", "title", "zone", "priority", "terminal", "opened_at", "due_at", "verdict"]
        assert list(listed["items"][0])[: len(summary)] == summary
        ticket = (await client.get(f"/api/tickets/{numbers['recovered']}")).json()
        assert {*summary, *CONTRACT} <= set(ticket)
        assert [entry["action"] for entry in ticket["journal"]] == ["opened", "recovered"]
        assert all(list(entry) == ["at", "actor", "action", "text", "data"] for entry in ticket["journal"])
        assert {entry["actor"] for entry in ticket["journal"]} == {"watch"}
        for query, expected in (
            ({"state": "awaiting_consent"}, {numbers["recovered"]}),
            ({"kind": "firmware"}, {numbers["firmware"]}),
            ({"terminal": "352093081429150"}, {numbers["new"]}),
            ({"terminal": "352093081429150", "kind": "firmware"}, set()),
            ({"state": "deferred"}, set()),
            ({"search": "Truck 12"}, set(numbers.values())),
            ({"verdict": "running"}, set(numbers.values())),
            ({"verdict": "running", "kind": "firmware"}, {numbers["firmware"]}),
            ({"verdict": "breached"}, set()),
        ):
            found = (await client.get("/api/tickets", params=query)).json()
            assert {item["number"] for item in found["items"]} == expected, query
            assert found["total"] == len(expected)
        terminal = (await client.get("/api/terminals/352093081429150")).json()
        expected = {
            "terminal": "352093081429150",
            "protocol": "teltonika",
            "model": "FMB920",
            "firmware": "03.27.07",
            "connected": True,
            "verdicts": {"silence": "fail", "firmware": "good"},
            "records": 4711,
            "overdue": True,
            "overdue_s": 480.0,
            "regime": "moving",
            "rhythm": {"moving": {"interval_s": 60.0, "quantile_s": 1800.0, "gaps": 812}},
        }
        assert expected.items() <= terminal.items()
        assert INSTANT.fullmatch(terminal["expected_next"])
        assert INSTANT.fullmatch(terminal["ticket_at"])
        other = (await client.get("/api/terminals/77001")).json()
        unknown = {"expected_next": None, "overdue": False, "overdue_s": None, "ticket_at": None, "regime": None}
        assert unknown.items() <= other.items()
        assert INSTANT.fullmatch(terminal["last_seen"])
        assert terminal["last_record"]["measures"]["ignition"] == 1
        (quarantined,) = (await client.get("/api/quarantine?terminal=352093081429150")).json()["items"]
        assert (quarantined["size"], len(quarantined["hex"])) == (300, 512)
        assert (await client.get("/api/quarantine?terminal=77001")).json()["total"] == 0
        incidents = (await client.get("/api/incidents?state=open")).json()
        assert {item["ticket"] for item in incidents["items"]} == {numbers["new"], numbers["firmware"]}

    run(postgres_dsn, work, live=live_of(now))


def test_long_integers_are_kept_exactly(postgres_dsn):
    async def work(desk, client):
        terminal = await add_terminal(desk.pool, "A")
        long = '{"param.n": 123456789012345678901234567890, "param.x": 1e400, "param.y": 1e9999}'
        await add_records(desk.pool, terminal, 1, extra=long)
        answer = await client.get("/api/terminals/A")
        assert answer.status_code == 200
        assert answer.json()["last_record"]["measures"]["param.n"] == 123456789012345678901234567890
        async with desk.signed_in("admin") as browser:
            assert "123456789012345678901234567890" in (await browser.get("/terminals/A")).text

    run(postgres_dsn, work)


def test_an_odd_host_header_opens_nothing(postgres_dsn):
    async def work(desk, client):
        for host in ("desk.test/static/", "desk.test/api/", "x?", "x#", "[", "a:b"):
            async with desk.stranger() as stranger:
                assert (await stranger.get("/api/tickets", headers={"Host": host})).status_code == 401
                assert (await stranger.get("/tickets", headers={"Host": host})).status_code == 303

    run(postgres_dsn, work)


@pytest.mark.parametrize(
    "path", ["/api/tickets", "/api/terminals", "/api/incidents", "/api/quarantine", "/api/connections"]
)
def test_lists_are_paged_without_gaps_or_repeats(postgres_dsn, path):
    async def work(desk, client):
        now = datetime.now(UTC)
        async with desk.pool.connection() as connection:
            for n in range(7):
                await connection.execute(
                    """INSERT INTO connection (id, terminal, protocol, address, opened_at)
                       VALUES (%s, 'T0', 'teltonika', 'x', %s)""",
                    (n + 1, now + timedelta(seconds=n)),
                )
                await connection.execute(
                    """INSERT INTO quarantine (received, terminal, protocol, reason, digest, data)
                       VALUES (%s, 'T0', 'teltonika', 'count', %s, %s)""",
                    (now, bytes([n]), bytes([n])),
                )
        for n in range(7):
            await raise_one(desk.pool, await add_terminal(desk.pool, f"T{n}"), now.timestamp() - 60 * (n % 3))
        seen, cursor, pages = [], None, 0
        while True:
            query = {"limit": 3, "terminal": "T0"} if "connections" in path else {"limit": 3}
            answer = (await client.get(path, params=query | ({"cursor": cursor} if cursor else {}))).json()
            assert answer["total"] == 7
            seen += [repr(item) for item in answer["items"]]
            cursor, pages = answer["next"], pages + 1
            if cursor is None:
                break
            assert len(answer["items"]) == 3
        assert pages == 3
        assert len(seen) == len(set(seen)) == 7
        everything = (await client.get(path, params=query | {"limit": 7})).json()
        assert [repr(item) for item in everything["items"]] == seen
        assert everything["next"] is None

    run(postgres_dsn, work)


BAD = [
    *[f"limit={value}" for value in ("0", "-1", "501", "x", "", "1.5", "1e2", "99999999999", "%D9%A3", "+1")],
    *[f"cursor={value}" for value in ("", "x", "%00", "AAAA", "*", "Ly8v" * 100, "%C3%A9", "bnVsbA", "WzEsMl0", "e30")],
    "terminal=a%00b",
    "terminal=" + "x" * 201,
]


@pytest.mark.parametrize("path", ["/api/tickets", "/api/incidents", "/api/quarantine", "/api/terminals"])
def test_wrong_parameters_are_refused(postgres_dsn, path):
    async def work(desk, client):
        for query in BAD:
            if "terminals" in path and query.startswith("terminal"):
                query = query.replace("terminal", "search")
            answer = await client.get(f"{path}?{query}")
            # A cursor for terminals is any identity; those above that decode to one lead behind it.
            allowed = {400, 200} if "terminals" in path and query.startswith("cursor=") else {400}
            assert answer.status_code in allowed, (query, answer.text)
            assert set(answer.json()) in ({"error"}, {"items", "total", "next"})

    run(postgres_dsn, work)


def test_fuel_events_of_a_sick_and_a_well_sensor(postgres_dsn):
    async def work(desk, client):
        terminal = await add_terminal(desk.pool, "wl/fuel", protocol="omnicomm")
        nan = float("nan")
        tank = [3000.0] * 15 + [2000.0] * 25  # a drain, five minutes between records
        sick = [(1500.0, nan)] * 15 + [(nan, 3.0)] * 5 + [(900.0, nan)] * 20
        measures = [[one, *other] for one, other in zip(tank, sick, strict=True)]
        layout = ("fuel.level.1", "fuel.level.2", "fuel.status.2")
        times = await add_records(desk.pool, terminal, 40, step=300, layout=layout, measures=measures)
        told = (await client.get("/api/terminals/wl%2Ffuel/fuel-events")).json()
        first, second = told["items"]
        assert (first["sensor"], first["kind"], first["from"], first["to"]) == (1, "drain", 0.7326, 0.4884)
        assert abs(datetime.fromisoformat(first["at"]) - times[14]) < timedelta(seconds=1)
        assert (second["sensor"], second["kind"], second["unit"]) == (2, "sensor", "share")
        assert "5 errors beside it" in second["reason"]
        assert told["truncated"] is False
        whole = {"from": times[0].isoformat(), "to": (times[0] + timedelta(minutes=30)).isoformat()}
        assert (await client.get("/api/terminals/wl%2Ffuel/fuel-events", params=whole)).json()["items"] == []
        for wrong in ("from=yesterday", "from=2025-01-01T00:00:00Z&to=2026-01-01T00:00:00Z"):
            assert (await client.get(f"/api/terminals/wl%2Ffuel/fuel-events?{wrong}")).status_code == 400
        assert (await client.get("/api/terminals/none/fuel-events")).status_code == 404
        page = (await client.get("/terminals/wl%2Ffuel")).text
        assert "drain" in page
        assert "73.3 → 48.8 %" in page

    run(postgres_dsn, work)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 200),
        ("&since=2026-11-21T00:00:00Z&until=2026-11-22T00:00:00%2B03:00", 200),
        ("&since=2026-11-21T00:00:00", 400),
        ("&since=yesterday", 400),
        ("&since=2026-11-22T00:00:00Z&until=2026-11-21T00:00:00Z", 400),
        ("&since=2025-11-22T00:00:00Z&until=2026-11-21T00:00:00Z", 400),
        ("&until=0001-01-01T00:00:00Z", 400),
        ("&until=9999-12-31T23:59:59-23:00", 400),
    ],
)
def test_spans_are_checked(postgres_dsn, query, status):
    async def work(desk, client):
        await add_terminal(desk.pool, "77001")
        for path in ("positions?", "series?measure=speed&"):
            assert (await client.get(f"/api/{path}terminal=77001{query}")).status_code == status
        assert (await client.get("/api/positions")).status_code == 400
        assert (await client.get("/api/series?terminal=77001")).status_code == 400
        assert (await client.get("/api/series?terminal=none&measure=speed")).status_code == 404

    run(postgres_dsn, work)
