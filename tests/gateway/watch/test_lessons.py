"""What people say of a closed ticket reaches the detector, once."""

import asyncio

import pytest

from gateway.watch import lessons
from tests.gateway.watch.world import World
from tests.ticketing.desk_parts import add_terminal, done, fetch, pool_of
from ticketing.core.errors import WrongInputError


@pytest.mark.parametrize(("cause", "normal"), [("normal", True), ("fault", False), (None, None)])
def test_a_cause_is_told_to_the_watch_once(postgres_dsn, monkeypatch, cause, normal):
    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            terminal = await add_terminal(pool, "860000000000001")
            world = await World(pool).start()
            fleet, told = world.patrol.fleet, []
            teach = fleet.teach
            monkeypatch.setattr(
                fleet, "teach", lambda *words, normal: told.append((*words, normal)) or teach(*words, normal=normal)
            )
            world.reporting = {terminal: 10}
            await world.pass_time(120)
            world.reporting = {}
            await world.pass_time(200)
            number = (await world.store.list(kind="silence")).items[0].number
            with pytest.raises(WrongInputError, match="of close, fix and learn alone"):
                await done(world.store, "note", number, "anna", "garage", "normal")
            world.reporting = {terminal: 10}
            await world.pass_time(400)
            await done(world.store, "consent", number, "anna", "the client agrees")
            with pytest.raises(WrongInputError, match="fault or normal"):
                await done(world.store, "close", number, "anna", None, "sabotage")
            ticket = await done(world.store, "close", number, "anna", "underground garage", cause)
            learned = [await lessons.learn(world.pool, fleet) for _ in range(2)]
            kept = await fetch(world.pool, "SELECT cause, taught FROM incident")
            return told, learned, ticket.journal[-1].text, kept, terminal

    told, learned, text, kept, terminal = asyncio.run(scenario())
    assert told == ([] if normal is None else [("silence", terminal, normal)])
    assert learned == ([0, 0] if normal is None else [1, 0])
    assert text == ("underground garage" if cause is None else f"{cause}: underground garage")
    assert kept == [(cause, True)]
