"""Organisations, contacts, vehicles and users through the API: what is taken and refused, and how it reads back."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from tests.ticketing.desk.parts import PASSWORD, QUICK, site
from tests.ticketing.desk.test_api import conforms
from tests.ticketing.desk_parts import add_terminal, execute, fetch
from ticketing.people.contacts import FREE_FAILURES, Contacts
from ticketing.people.passwords import Passwords


def run(dsn, scenario, roles=("admin", "manager", "client", "engineer")):
    async def main():
        async with site(dsn, roles=roles) as desk, desk.program("admin") as admin:
            await scenario(desk, admin)

    asyncio.run(main())


async def made(client, resource, **body):
    answer = await client.post(f"/api/{resource}", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def described(desk, answer, path):
    """Whether an answer is as the description says."""
    async with desk.stranger() as stranger:
        spec = (await stranger.get("/openapi.json")).json()
    operation = spec["paths"][path][answer.request.method.lower()]
    schema = operation["responses"][str(answer.status_code)]["content"]["application/json"]["schema"]
    assert conforms(answer.json(), schema, spec["components"]["schemas"]) is None
    if answer.request.method != "GET":
        body = spec["components"]["schemas"][
            operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        ]
        assert set(json.loads(answer.request.content)) <= set(body["properties"])


def test_answers_are_as_described(postgres_dsn):
    async def scenario(desk, admin):
        bodies = {
            "organisations": {"name": "North", "contract": {"from": "2026-01-01"}},
            "contacts": {"organisation": 1, "name": "A"},
            "vehicles": {"organisation": 1, "name": "Truck"},
            "users": {"name": "anna", "role": "crew", "password": PASSWORD},
        }
        for resource, body in bodies.items():
            one = f"/api/{resource}/" + ("{name}" if resource == "users" else "{id}")
            await described(desk, await admin.post(f"/api/{resource}", json=body), f"/api/{resource}")
            await described(desk, await admin.get(f"/api/{resource}"), f"/api/{resource}")
            url = one.format(id=1, name="anna")
            await described(desk, await admin.get(url), one)
            await described(desk, await admin.patch(url, json={"active": False}), one)
            await described(desk, await admin.patch(url, json={"active": "no"}), one)
            await described(desk, await admin.get(f"/api/{resource}/99"), one)

    run(postgres_dsn, scenario)


async def wrong(client, resource, _method="POST", **body):
    """The fields that are complained about."""
    answer = await client.request(_method, f"/api/{resource}", json=body)
    assert answer.status_code == 422, answer.text
    assert all(each["problem"] and each["remedy"] for each in answer.json()["errors"])
    return {each["field"] for each in answer.json()["errors"]}


def test_an_organisation_is_added_read_and_changed(postgres_dsn):
    async def scenario(desk, admin):
        body = {
            "name": "  Север   Транс ",
            "language": "ru",
            "time_zone": "Europe/Moscow",
            "policy": "support-procedure",
            "plan": 1,
            "contract": {
                "number": "17/2026", "from": "2026-01-01", "to": "2026-12-31", "hot_swap": True,
                "service_city": "Мурманск", "consent": "deemed", "deemed_after": "10d",
            },
            "project_manager": "MANAGER",
            "engineers": ["engineer"],
            "profile": "calls before noon",
        }  # fmt: skip
        got = await made(admin, "organisations", **body)
        told = {name: got[name] for name in body}
        assert told == body | {"name": "Север Транс", "project_manager": "manager"}
        assert (got["active"], got["row_version"]) == (True, 1)
        url = f"/api/organisations/{got['id']}"
        changed = await admin.patch(url, json={"contract": {"hot_swap": False}, "active": False, "plan": None})
        assert changed.json() == got | {
            "contract": got["contract"] | {"hot_swap": False}, "active": False, "plan": None, "row_version": 2,
        }  # fmt: skip
        assert (await admin.get(url)).json() == changed.json()
        assert (await admin.patch(url, json={"name": "x", "row_version": 1})).status_code == 409
        assert (await admin.patch(url, json={"name": "x"}, headers={"If-Match": '"1"'})).status_code == 409
        assert (await admin.patch(url, json={"name": "x"}, headers={"If-Match": '"2"'})).json()["row_version"] == 3
        assert (await admin.patch(url, json={"name": "x"}, headers={"If-Match": "soon"})).status_code == 422
        assert (await admin.patch("/api/organisations/99", json={"name": 1})).status_code == 404
        assert (await admin.delete(url)).status_code == 405

    run(postgres_dsn, scenario)


def test_what_is_wrong_with_an_organisation_is_told_at_once(postgres_dsn):
    async def scenario(desk, admin):
        await made(admin, "organisations", name="North")
        fields = await wrong(
            admin, "organisations", name="NORTH", time_zone="Moscow", policy="nothing", project_manager="nobody",
            engineers=["engineer", "ghost"],
            contract={"from": "2026-02-01", "to": "2026-01-01", "deemed_after": "soon"},
        )  # fmt: skip
        assert fields == {
            "name", "time_zone", "policy", "project_manager", "engineers[1]", "contract.to", "contract.deemed_after",
        }  # fmt: skip
        assert await wrong(admin, "organisations", name="x", plan="gold") == {"plan"}
        assert await wrong(admin, "organisations", name="x", policy="support-procedure", plan=9) == {"plan"}
        assert await wrong(admin, "organisations", name="x\u200b") == {"name"}
        assert await wrong(admin, "organisations", name="x", policy="/etc/passwd") == {"policy"}
        assert await wrong(admin, "organisations", language="de", id=7) == {"name", "language", "id"}
        assert (await admin.get("/api/organisations")).json()["total"] == 1

    run(postgres_dsn, scenario)


def test_lists_are_paged_and_searched(postgres_dsn):
    async def scenario(desk, admin):
        for n in range(5):
            await made(admin, "organisations", name=f"100% client {n}", active=n != 3)
        page = (await admin.get("/api/organisations?limit=2")).json()
        names = [each["name"] for each in page["items"]]
        while page["next"]:
            page = (await admin.get(f"/api/organisations?limit=2&cursor={page['next']}")).json()
            names += [each["name"] for each in page["items"]]
            assert page["total"] == 5
        assert names == [f"100% client {n}" for n in range(5)]
        for query, total in (("search=100%25", 5), ("search=CLIENT 4", 1), ("search=_", 0), ("active=no", 1)):
            assert (await admin.get(f"/api/organisations?{query}")).json()["total"] == total, query
        for query in ("limit=0", "cursor=x", "active=maybe", "search=%00"):
            assert (await admin.get(f"/api/organisations?{query}")).status_code == 400, query

    run(postgres_dsn, scenario)


def test_a_contact_in_its_normal_forms(postgres_dsn):
    async def scenario(desk, admin):
        north = await made(admin, "organisations", name="North")
        body = {
            "organisation": north["id"], "name": "Анна", "emails": ["Anna@Example.COM", "anna@example.com"],
            "phones": ["8 (495) 123-45-67", "+86 10 1234 5678"], "language": "ru", "quiet_hours": "22:00 - 07:00",
            "roles": ["duty", "outage"], "code_word": "Sesam Öffne",
        }  # fmt: skip
        got = await made(admin, "contacts", **body)
        assert got["emails"] == ["anna@example.com"]
        assert got["phones"] == ["+74951234567", "+861012345678"]
        assert got["quiet_hours"] == "22:00-07:00"
        assert got["has_code_word"] is True
        assert "code_word" not in got
        stored = await fetch(desk.pool, "SELECT code_word FROM contact")
        assert stored[0][0].startswith("$argon2id$")
        assert await wrong(
            admin, "contacts", organisation=north["id"], name="B", emails=["x"], roles=["Duty Person"], code_word="abc"
        ) == {"emails[0]", "roles[0]", "code_word"}
        assert await wrong(
            admin, "contacts", organisation=north["id"], name="B", emails=["ANNA@example.com", "a b@c.d"],
            phones=["123", "+7495x"], quiet_hours="25:00-26:00",
        ) == {"emails[0]", "emails[1]", "phones[0]", "phones[1]", "quiet_hours"}  # fmt: skip
        assert await wrong(admin, "contacts", organisation=77, name="B") == {"organisation"}
        url = f"/api/contacts/{got['id']}"
        assert (await admin.patch(url, json={"code_word": None})).json()["has_code_word"] is False
        for query, total in (("search=+7 495 123 4567", 1), ("search=anna@", 1), (f"organisation={north['id']}", 1)):
            assert (await admin.get("/api/contacts?" + query.replace("+", "%2B"))).json()["total"] == total
        # An inactive contact keeps its address without keeping others from it.
        await admin.patch(url, json={"active": False})
        await made(admin, "contacts", organisation=north["id"], name="B", emails=["anna@example.com"])
        assert await wrong(admin, f"contacts/{got['id']}", "PATCH", active=True) == {"emails[0]"}

    run(postgres_dsn, scenario)


def test_code_words_are_tried_a_few_times(postgres_dsn):
    async def scenario(desk, admin):
        now = datetime(2026, 11, 16, 10, tzinfo=UTC)
        passwords = Passwords(hasher=QUICK)
        contacts = Contacts(desk.pool, passwords, now=lambda: now)
        north = await made(admin, "organisations", name="North")
        anna = (await made(admin, "contacts", organisation=north["id"], name="A", code_word="Sesam Öffne"))["id"]
        bare = (await made(admin, "contacts", organisation=north["id"], name="B"))["id"]
        assert await contacts.check_code_word(anna, " sesamöffne ")
        assert not await contacts.check_code_word(bare, "")
        assert not await contacts.check_code_word(99, "sesamöffne")
        tried = await asyncio.gather(*(contacts.check_code_word(anna, "guess") for _ in range(20)))
        assert not any(tried)
        assert (await fetch(desk.pool, "SELECT code_failures FROM contact WHERE id = %s", anna))[0][0] == FREE_FAILURES
        assert not await contacts.check_code_word(anna, "sesamöffne")
        now += timedelta(minutes=15)
        assert await contacts.check_code_word(anna, "sesamöffne")
        passwords.close()

    run(postgres_dsn, scenario)


def test_a_vehicle_and_its_terminals_stage(postgres_dsn):
    async def scenario(desk, admin):
        north = await made(admin, "organisations", name="North")
        south = await made(admin, "organisations", name="South")
        await add_terminal(desk.pool, "77001")
        body = {
            "organisation": north["id"], "name": "Truck 12", "plate": "а123вс 77", "terminal": "77001",
            "site": "Quarry", "stage": "workshop", "stage_until": "2100-01-01T00:00:00Z", "accepted_at": "2026-01-31",
            "components": ["tank sensor", "tank sensor"],
        }  # fmt: skip
        got = await made(admin, "vehicles", **body)
        assert {name: got[name] for name in body} == body | {"components": ["tank sensor"]}
        terminal = (await admin.get("/api/terminals/77001")).json()
        assert (terminal["stage"], terminal["stage_until"][:4], terminal["customer"]) == ("workshop", "2100", "North")
        for query in ("plate=A 123 BC77", "search=a123", "terminal=77001", "search=truck"):
            assert (await admin.get(f"/api/vehicles?{query}")).json()["total"] == 1, query
        url = f"vehicles/{got['id']}"
        # The terminal's own stage is what the vehicle shows.
        await execute(desk.pool, "UPDATE terminal SET stage = 'season', stage_until = '2001-01-01'")
        assert (await admin.get(f"/api/{url}")).json()["stage"] == "in_use"
        assert (await admin.patch(f"/api/{url}", json={"stage": "sold"})).json()["stage"] == "sold"
        assert await fetch(desk.pool, "SELECT stage, stage_until FROM terminal") == [("sold", None)]
        # One terminal, one vehicle; one plate, one vehicle.
        assert await wrong(admin, "vehicles", organisation=south["id"], plate="A123BC77", terminal="77001") == {
            "plate", "terminal",
        }  # fmt: skip
        assert await wrong(admin, "vehicles", organisation=south["id"], name="x", terminal="ghost") == {"terminal"}
        assert await wrong(admin, "vehicles", organisation=99, name="x", stage="season") == {"organisation", "stage"}
        assert await wrong(admin, "vehicles", organisation=south["id"], plate="---") == {"plate"}
        assert await wrong(admin, "vehicles", organisation=south["id"]) == {"name"}
        assert await wrong(admin, url, "PATCH", stage_until="2030-01-01T00:00:00") == {"stage_until"}
        await admin.patch(f"/api/organisations/{north['id']}", json={"name": "Far North"})
        assert (await admin.get("/api/terminals/77001")).json()["customer"] == "Far North"
        assert (await admin.patch(f"/api/{url}", json={"terminal": None})).json()["stage"] is None
        assert (await admin.get("/api/terminals/77001")).json()["customer"] is None
        moved = await made(admin, "vehicles", organisation=south["id"], name="Bus", terminal="77001")
        assert moved["stage"] == "sold"
        assert (await admin.get("/api/terminals/77001")).json()["customer"] == "South"

    run(postgres_dsn, scenario)


@asynccontextmanager
async def client_of(desk, *organisations):
    await execute(desk.pool, "UPDATE app_user SET organisations = %s WHERE name = 'client'", list(organisations))
    async with desk.program("client") as program:
        yield program


def test_a_client_writes_its_own_vehicles_and_learns_nothing_of_others(postgres_dsn):
    async def scenario(desk, admin):
        north = await made(admin, "organisations", name="North", profile="pays late")
        south = await made(admin, "organisations", name="South")
        await add_terminal(desk.pool, "77001")
        theirs = await made(admin, "vehicles", organisation=south["id"], plate="B1", terminal="77001")
        mine = await made(admin, "vehicles", organisation=north["id"], plate="A1")
        await made(admin, "contacts", organisation=south["id"], name="C")
        async with client_of(desk, north["id"]) as client:
            assert [o["id"] for o in (await client.get("/api/organisations")).json()["items"]] == [north["id"]]
            assert (await client.get("/api/organisations")).json()["total"] == 1
            assert "profile" not in (await client.get("/api/organisations")).json()["items"][0]
            assert "profile" not in (await client.get(f"/api/organisations/{north['id']}")).json()
            assert (await client.get("/api/contacts")).json()["total"] == 0
            assert (await client.get("/api/vehicles?terminal=77001")).json()["total"] == 0
            for path in (f"vehicles/{theirs['id']}", f"organisations/{south['id']}", "contacts/1"):
                assert (await client.get(f"/api/{path}")).status_code == 404, path
            url = f"vehicles/{theirs['id']}"
            assert (await client.patch(f"/api/{url}", json={"site": "x"})).status_code == 404
            own = f"vehicles/{mine['id']}"
            assert (await client.patch(f"/api/{own}", json={"site": "Yard", "terminal": None})).status_code == 200
            assert await wrong(client, own, "PATCH", terminal="77001", accepted_at="2026-01-01") == {
                "terminal", "accepted_at",
            }  # fmt: skip
            assert await wrong(client, own, "PATCH", organisation=south["id"]) == {"organisation"}
            assert await wrong(client, "vehicles", organisation=south["id"], name="x") == {"organisation"}
            assert await wrong(client, "vehicles", organisation=north["id"], name="x", terminal="77001") == {"terminal"}
            answer = await client.post("/api/vehicles", json={"organisation": north["id"], "plate": "B1"})
            assert answer.status_code == 422
            assert str(theirs["id"]) not in answer.json()["errors"][0]["problem"]
            assert (await made(client, "vehicles", organisation=north["id"], plate="A2"))["organisation"] == north["id"]
            assert (await client.post("/api/organisations", json={"name": "x"})).status_code == 403

    run(postgres_dsn, scenario)


def test_accounts_and_what_ends_sessions_and_tokens(postgres_dsn):
    async def scenario(desk, admin):
        north = await made(admin, "organisations", name="North")
        got = await made(
            admin, "users", name="anna", role="client", password=PASSWORD, organisations=[north["id"]],
            teams=["north"], tier=2, skills=["tank"], language="zh", time_zone="Asia/Shanghai",
            email="Anna@North.example", absent_until="2030-03-02T08:00:00+03:00",
        )  # fmt: skip
        assert (got["email"], got["absent_until"]) == ("anna@north.example", "2030-03-02T05:00:00Z")
        assert await wrong(
            admin,
            "users",
            name="x",
            role="engineer",
            password=PASSWORD,
            email="a b@c",
            absent_until="2030-01-01T00:00:00",
        ) == {"email", "absent_until"}
        assert {name: got[name] for name in ("name", "role", "organisations", "teams", "tier", "language")} == {
            "name": "anna", "role": "client", "organisations": [north["id"]], "teams": ["north"], "tier": 2,
            "language": "zh",
        }  # fmt: skip
        assert got["totp"] is False
        assert "password" not in got
        assert await wrong(
            admin, "users", name="Anna", role="engineer", password="short", organisations=[north["id"]], time_zone="x"
        ) == {"password"}
        assert await wrong(
            admin, "users", name="Anna", role="engineer", password=PASSWORD, organisations=[99], time_zone="x"
        ) == {"name", "organisations", "organisations[0]", "time_zone"}
        assert await wrong(admin, "users", name="watch", role="boss", password=PASSWORD) == {"role"}
        for change, ends in (
            ({"skills": ["fuel"]}, False), ({"password": "another long one"}, True),
            ({"role": "engineer", "organisations": []}, True), ({"active": False}, True),
        ):  # fmt: skip
            token = await desk.users.token("anna")
            changed = await admin.patch("/api/users/ANNA", json=change)
            assert changed.status_code == 200, changed.text
            assert (await desk.users.by_token(token) is None) is ends, change
        assert await desk.users.verify("anna", "another long one") is None
        assert (await admin.get("/api/users/ghost")).status_code == 404
        assert (await admin.get("/api/users?role=engineer&active=no")).json()["total"] == 1
        # The last admin stays one.
        for change in ({"role": "manager"}, {"active": False}):
            assert (await admin.patch("/api/users/admin", json=change)).status_code == 409
        await made(admin, "users", name="second", role="admin", password=PASSWORD)
        assert (await admin.patch("/api/users/second", json={"active": False})).status_code == 200
        assert (await admin.patch("/api/users/admin", json={"role": "manager"})).status_code == 409

    run(postgres_dsn, scenario)


def test_an_addition_with_a_key_is_one(postgres_dsn):
    async def scenario(desk, admin):
        key = {"Idempotency-Key": "import-1"}
        first = await admin.post("/api/organisations", json={"name": "North"}, headers=key)
        again = await admin.post("/api/organisations", json={"name": "North"}, headers=key)
        assert (again.status_code, again.json()) == (201, first.json())
        assert (await admin.get("/api/organisations")).json()["total"] == 1
        # Added before a crash, its answer not written: nothing is added again.
        await execute(desk.pool, "UPDATE idempotency SET status = 0, answer = NULL")
        assert (await admin.post("/api/organisations", json={"name": "North"}, headers=key)).status_code == 409

    run(postgres_dsn, scenario)
