"""`Idempotency-Key` on the desk's own routes: a note that is sent twice is written once."""

import asyncio

from tests.ticketing.desk.parts import site, small_fleet
from ticketing.desk.app import rows
from ticketing.desk.openapi import description


def test_an_action_of_a_key_is_done_once(postgres_dsn):
    async def main():
        async with site(postgres_dsn, roles=("engineer", "manager")) as desk, desk.program("engineer") as engineer:
            numbers = await small_fleet(desk.pool)
            note = f"/api/tickets/{numbers['new']}/note"
            key = {"Idempotency-Key": "7f-1"}
            first = await engineer.post(note, json={"text": "called"}, headers=key)
            again = await engineer.post(note, json={"text": "called"}, headers=key)
            assert (first.status_code, again.status_code, again.text) == (200, 200, first.text)
            assert (await engineer.post(note, json={"text": "else"}, headers=key)).status_code == 409
            other = f"/api/tickets/{numbers['firmware']}/note"
            assert (await engineer.post(other, json={"text": "called"}, headers=key)).status_code == 409
            assert [e.text for e in (await desk.tickets.get(numbers["new"])).journal if e.action == "note"] == [
                "called"
            ]
            async with desk.program("manager") as manager:
                assert (await manager.post(note, json={"text": "mine"}, headers=key)).status_code == 200

    asyncio.run(main())


def test_every_post_of_the_description_says_so():
    posts = [path["post"] for path in description("1", rows())["paths"].values() if "post" in path]
    assert posts
    for post in posts:
        assert "Idempotency-Key" in {parameter["name"] for parameter in post["parameters"]}
