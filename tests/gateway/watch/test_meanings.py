"""What an open ticket means may change: told once, kept until it was told, forgotten with the incident."""

import asyncio

import numpy as np

from detectors.silence import SilenceRule
from gateway.watch.meanings import Meanings
from tests.gateway.watch.world import World
from tests.ticketing.desk_parts import add_terminal, fetch, pool_of

NOBODY = np.zeros(0, np.int64)


def look(meanings, means, *, judged=None, failing=None, at=0.0):
    rows = np.array(sorted(means), np.int64)
    return meanings.changed(
        rows,
        np.array([row in (means if failing is None else failing) for row in rows.tolist()], np.bool_),
        rows if judged is None else np.array(judged, np.int64),
        lambda asked: np.array([means[row] for row in asked.tolist()], np.int64),
        at,
    ).tolist()


def test_the_first_meaning_is_the_tickets_own_and_another_is_news_until_it_is_told():
    meanings = Meanings()
    assert look(meanings, {3: 10, 5: 20}) == []
    assert look(meanings, {3: 11, 5: 20}) == [3]
    assert look(meanings, {3: 11, 5: 20}) == [3]
    meanings.tell(3, 0.0)
    meanings.tell(4, 0.0)  # of nobody
    assert look(meanings, {3: 11, 5: 20}) == []
    assert look(meanings, {3: 11, 5: 21}, judged=[]) == []  # not looked at
    assert look(meanings, {3: 11, 5: 21}, failing=[3]) == []  # nor failing
    assert look(meanings, {3: 11, 5: 21}) == [5]


def test_a_loose_contact_makes_news_once_an_hour_and_loses_none():
    meanings = Meanings()
    look(meanings, {3: 10})
    assert look(meanings, {3: 11}, at=60.0) == [3]
    meanings.tell(3, 60.0)
    assert look(meanings, {3: 12}, at=120.0) == []
    assert look(meanings, {3: 12}, judged=[], at=3659.0) == []
    assert look(meanings, {3: 12}, judged=[], at=3660.0) == [3]


def test_an_incident_that_is_over_takes_its_meaning_with_it():
    meanings = Meanings()
    look(meanings, {3: 10, 5: 20})
    assert look(meanings, {5: 20}) == []
    assert look(meanings, {1: 7, 3: 99, 5: 20}) == []  # opened anew
    assert look(meanings, {1: 8, 3: 99, 5: 20}) == [1]


def test_a_detector_that_fails_changes_nothing():
    meanings, rows = Meanings(), np.array([3])
    look(meanings, {3: 10})
    assert meanings.changed(rows, np.array([True]), rows, lambda _: None, 0.0).tolist() == []
    assert look(meanings, {3: 11}) == [3]


def test_a_terminal_that_was_back_and_is_gone_again_is_told_in_its_ticket(postgres_dsn):
    async def run():
        async with pool_of(postgres_dsn) as pool:
            terminal = await add_terminal(pool, "860000000000001")
            # So long a recovery that the terminal is gone again before it is proven.
            world = await World(pool, rule=SilenceRule(3.0, 60.0, 3600.0, 8), hold=0, recovery=600).start()
            world.reporting[terminal] = 10
            await world.pass_time(120)
            del world.reporting[terminal]
            await world.pass_time(100)
            assert [actions for _, _, actions in await world.tickets()] == [["opened"]]
            world.frame(terminal)
            await world.pass_time(100)
            once = await world.tickets()
            await world.pass_time(100)
            again = await world.tickets()
            texts = await fetch(pool, "SELECT data ->> 'reason' FROM journal WHERE action = 'changed'")
            return once, again, texts

    once, again, texts = asyncio.run(run())
    assert [actions for _, _, actions in once] == [["opened", "recovering", "relapsed", "changed"]]
    assert once == again  # told once
    assert texts[0][0].startswith("silent for ")
