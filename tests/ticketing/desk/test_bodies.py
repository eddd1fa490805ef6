"""Every field of every body, as OpenAPI describes them, with what no column and no calendar can hold."""

import asyncio

import msgspec
import pytest

from tests.ticketing.desk.parts import site, small_fleet
from ticketing.desk.app import rows
from ticketing.desk.openapi import description
from ticketing.tickets.bodies import Body

# By type and format: what is refused by name, and what may be refused or not, but is never an error of ours.
REFUSED = {
    "integer": [2**63, -(10**30), 10**400],
    "date-time": ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "3000-01-01T00:00:00Z"],
    "date": ["0001-01-01", "9999-12-31"],
}
EITHER = {"integer": [2**63 - 1, -1, 0, 2**31], "date-time": ["2999-12-31T23:59:59Z", "1900-01-01T00:00:00Z"],
          "date": ["2999-12-31", "1900-01-01"]}  # fmt: skip
BASE = {"/api/tickets": {"channel": "api", "subject": "x"}}
SPEC = description("test", rows())
SCHEMAS = SPEC["components"]["schemas"]


def flat(schema):
    """A schema and those it may stand for."""
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    yield schema
    for part in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from flat(part)


def kinds(schema):
    """Type or format of what a field may hold; of a list's entries, and an object's values, with how they stand."""
    for one in flat(schema):
        yield one.get("format") or one.get("type"), lambda value: value
        if "items" in one:
            for kind, wrap in kinds(one["items"]):
                yield kind, lambda value, wrap=wrap: [wrap(value)]
        if isinstance(one.get("additionalProperties"), dict):
            for kind, wrap in kinds(one["additionalProperties"]):
                yield kind, lambda value, wrap=wrap: {"from": wrap(value)}


def bodies():
    """Method, path, field, body, and whether it must be refused."""
    for path, operations in SPEC["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None or path.endswith("/commands"):
                continue
            for schema in flat(content["schema"]):
                for name, field in schema.get("properties", {}).items():
                    for kind, wrap in kinds(field):
                        for value in REFUSED.get(kind, ()):
                            yield method, path, name, BASE.get(path, {}) | {name: wrap(value)}, True
                        for value in EITHER.get(kind, ()) if "{number}" not in path else ():
                            yield method, path, name, BASE.get(path, {}) | {name: wrap(value)}, False


BODIES = list(bodies())


def test_there_is_something_to_try():
    for kind in (Body, *(row.body for row in rows() if row.body is not None)):
        schema = SCHEMAS[kind.__name__]
        assert schema["additionalProperties"] is False, kind
        for field in msgspec.structs.fields(kind):
            held = dict(kinds(schema["properties"][field.encode_name]))
            assert ("date-time" in held) is ("datetime.datetime" in str(field.type)), (kind, field)
            whole = [one for one in flat(schema["properties"][field.encode_name]) if one.get("type") == "integer"]
            assert all("minimum" in one and "maximum" in one for one in whole), (kind, field)
    tried = {(path, name) for _, path, name, _, _ in BODIES}
    for known in (
        ("/api/tickets", "organisation"), ("/api/tickets", "received_at"), ("/api/tickets/{number}/task-done", "task"),
        ("/api/tickets/{number}/split", "messages"), ("/api/tickets/{number}/defer", "proof"),
        ("/api/tickets/{number}/visit", "slot"), ("/api/vehicles", "accepted_at"), ("/api/users", "absent_until"),
    ):  # fmt: skip
        assert known in tried


@pytest.mark.parametrize("refused", [True, False])
def test_no_number_and_no_day_is_an_error_of_ours(postgres_dsn, refused):
    async def main():
        async with site(postgres_dsn) as desk, desk.program("admin") as admin:
            number = (await small_fleet(desk.pool))["new"]
            for method, path, name, body, must in BODIES:
                if must is not refused:
                    continue
                if refused and not path.endswith(("/note", "/task-done", "/defer")) and "{number}" in path:
                    continue  # the body is one for all of them
                url = path.format(number=number, id=1, name="admin")
                answer = await admin.request(method, url, json=body)
                if not refused:
                    assert answer.status_code < 500, (path, body, answer.text)
                    continue
                if answer.status_code == 404:  # nothing to change
                    continue
                assert answer.status_code == 422, (path, body, answer.text)
                problems = [one for one in answer.json()["errors"] if one["field"].partition("[")[0] == name]
                assert problems, (path, body, answer.text)
                assert all(one["remedy"] for one in problems)

    asyncio.run(main())
