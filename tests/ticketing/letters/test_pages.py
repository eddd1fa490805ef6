"""Buttons of letters: a page on GET, one act on POST, bound to letter, cycle and time."""

import asyncio
from email import message_from_bytes
from email.policy import default

import httpx
import pytest
from starlette.applications import Starlette

from tests.ticketing.desk_parts import pool_of
from tests.ticketing.letters.parts import NOW, contact, execute, fetch, later, organisation, ticket, vehicle
from tests.ticketing.letters.test_courier import DESK, SECRET, Caught
from ticketing.core.errors import ConflictError
from ticketing.kit.access import _is_open
from ticketing.kit.parts import put_parts
from ticketing.letters.courier import Courier
from ticketing.letters.owe import owe
from ticketing.letters.pages import LetterButtons, routes
from ticketing.letters.recipients import recipients
from ticketing.letters.tokens import token_of


class World:
    """A ticket with its `recovered` letter sent, and the pages its links lead to."""

    def __init__(self, pool):
        self.pool = pool
        self.now = NOW
        self.pressed = []
        self.refuses = False

    async def act(self, connection, pressed):
        if self.refuses:
            raise ConflictError("the ticket is closed")
        self.pressed.append(pressed)
        await connection.execute("UPDATE ticket SET state = 'in_work' WHERE id = %s", (pressed.ticket,))

    async def begin(self, kind="recovered", **columns):
        acme = await organisation(self.pool, language="ru")
        self.ann = await contact(self.pool, acme)
        truck = await vehicle(self.pool, acme, plate="A001AA")
        self.ticket, self.number = await ticket(
            self.pool, organisation=acme, reporter=self.ann, vehicle=truck, state="awaiting_consent", **columns
        )
        async with self.pool.connection() as connection:
            to = await recipients(connection, self.ticket, ["reporter"])
            key = f"{self.number}/{kind}/1"
            await owe(connection, kind, key=key, ticket=self.ticket, recipients=to, data={}, at=NOW, auto=True)
        self.caught = Caught()
        (taken,) = await Courier(self.pool, self.caught, DESK).cycle(NOW)
        self.letter = taken.letter
        self.token = token_of(SECRET, taken.letter)
        app = Starlette(routes=routes())
        put_parts(app, [LetterButtons(self.pool, self.act, "support@desk.example", lambda: self.now)])
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://desk.example")
        return self

    async def get(self, token=None, **query):
        return await self.client.get(f"/l/{token or self.token}", params=query)

    async def post(self, button, text="", token=None):
        return await self.client.post(f"/l/{token or self.token}", data={"button": button, "text": text})

    async def used(self):
        rows = await fetch(self.pool, "SELECT button, used_at FROM letter_token WHERE letter = %s", self.letter)
        return rows[0]


def run(dsn, scenario, **begin):
    async def whole():
        async with pool_of(dsn) as pool:
            await execute(pool, "UPDATE letter SET state = 'refused' WHERE state IN ('owed', 'deferred')")
            return await scenario(await World(pool).begin(**begin))

    return asyncio.run(whole())


def test_opening_a_link_shows_a_page_and_changes_nothing(shared_dsn):
    async def scenario(world):
        link = f"/l/{world.token}?b=fixed"
        letter = message_from_bytes(world.caught.letters[0][2], policy=default)
        assert link in letter.get_body(("plain",)).get_content()
        first = await world.client.get(link)
        head = await world.client.head(link)
        again = await world.get(b="<script>")
        return world, first, head, again, await world.used()

    world, first, head, again, used = run(shared_dsn, scenario)
    assert (first.status_code, head.status_code, again.status_code) == (200, 200, 200)
    assert 'lang="ru"' in first.text
    assert f"Заявка {world.number}" in first.text
    assert 'value="fixed" required checked' in first.text
    assert " checked" not in again.text
    assert "<script" not in again.text
    assert first.headers["referrer-policy"] == "no-referrer"
    assert world.pressed == []
    assert used == (None, None)


def test_a_button_acts_once(shared_dsn):
    async def scenario(world):
        done = await world.post("not_fixed", "Still\r\nsilent\x07")
        again = await world.post("fixed")
        shown = await world.get()
        state = await fetch(world.pool, "SELECT state FROM ticket WHERE id = %s", world.ticket)
        return world, done, again, shown, state, await world.used()

    world, done, again, shown, state, used = run(shared_dsn, scenario)
    assert (done.status_code, again.status_code, shown.status_code) == (200, 410, 410)
    assert "Спасибо" in done.text
    assert "<form" not in again.text
    (pressed,) = world.pressed
    assert (pressed.button, pressed.kind, pressed.cycle) == ("not_fixed", "recovered", 1)
    assert (pressed.ticket, pressed.number, pressed.contact) == (world.ticket, world.number, world.ann)
    assert pressed.text == "Still \nsilent"
    assert state == [("in_work",)]
    assert used == ("not_fixed", NOW)


def test_two_presses_at_once_are_one(shared_dsn):
    async def scenario(world):
        answers = await asyncio.gather(*(world.post("fixed") for _ in range(5)))
        return sorted(answer.status_code for answer in answers), len(world.pressed)

    assert run(shared_dsn, scenario) == ([200, 410, 410, 410, 410], 1)


def test_what_cannot_be_done_any_more_leaves_the_token_good(shared_dsn):
    async def scenario(world):
        world.refuses = True
        late = await world.post("fixed")
        world.refuses = False
        wrong = await world.post("5")
        nothing = await world.post("")
        unused = await world.used()
        fine = await world.post("fixed")
        return late, wrong, nothing, unused, fine

    late, wrong, nothing, unused, fine = run(shared_dsn, scenario)
    assert (late.status_code, wrong.status_code, nothing.status_code, fine.status_code) == (409, 422, 422, 200)
    assert unused == (None, None)
    assert "<form" in wrong.text


def test_another_cycle_or_another_time_ends_it(shared_dsn):
    async def scenario(world):
        world.now = later(days=60)
        expired = await world.get(), await world.post("fixed")
        world.now = later(days=59)
        await execute(world.pool, "UPDATE ticket SET cycle = 2 WHERE id = %s", world.ticket)
        cycled = await world.post("fixed")
        return [one.status_code for one in (*expired, cycled)], world.pressed

    assert run(shared_dsn, scenario) == ([410, 410, 409], [])


@pytest.mark.parametrize("token", ["x", "../../etc", "%00", "A" * 500, "'; DROP TABLE letter; --"])
def test_a_token_that_is_none(shared_dsn, token):
    async def scenario(world):
        shown = await world.client.get(f"/l/{token}", headers={"accept-language": "de, zh;q=0.8"})
        pressed = await world.post("fixed", token=token)
        return shown, pressed, world.pressed

    shown, pressed, acted = run(shared_dsn, scenario)
    assert shown.status_code in (404, 405)
    assert pressed.status_code in (404, 405)
    if shown.text.startswith("<!doctype"):
        assert 'lang="zh"' in shown.text
    assert acted == []


def test_a_survey_has_buttons_of_its_own_and_other_letters_none(shared_dsn):
    async def survey(world):
        return await world.get(), await world.post("fixed"), await world.post("4"), world.pressed[0].button

    shown, wrong, right, button = run(shared_dsn, survey, kind="survey")
    assert [f'value="{n}"' in shown.text for n in "54321"] == [True] * 5
    assert (wrong.status_code, right.status_code, button) == (422, 200, "4")

    async def closed(world):
        return (await world.get()).status_code

    assert run(shared_dsn, closed, kind="closed") == 404


def test_letters_open_without_signing_in():
    assert _is_open("/l/abc")
    assert not _is_open("/lists")
    assert not _is_open("/tickets/l/abc")
