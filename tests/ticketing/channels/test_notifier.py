"""Notifiers by apprise over a real HTTP receiver; events that a target asked for, in order; outages."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from tests.ticketing.channels.test_channels import MESSAGE
from tests.ticketing.desk_parts import Clock, add_terminal, execute, fetch, pool_of, raise_one
from ticketing.channels.events import BREACHED, CLOSED, EVENTS, OUTAGE_CLOSED, OUTAGE_OPENED, SHORT, enqueue_outage
from ticketing.channels.notifier import Notifier, problems
from ticketing.core.errors import DeliveryError
from ticketing.core.outbox import OPENED, Outbox, Outgoing, enqueue, trial


class Receiver:
    """An HTTP server that keeps what is posted to it, and answers each path with what it is told."""

    def __init__(self):
        self.got = []
        self.status = {}

    async def serve(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ")[1].decode().strip("/").partition("?")[0]
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        body = json.loads(await reader.readexactly(length))
        status = self.status.get(path, 200)
        if status == 200:
            self.got.append((path, body))
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def receiver():
    found = Receiver()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    try:
        yield found, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def test_every_address_is_told_once_and_a_failing_one_again_alone(tmp_path):
    async def scenario():
        async with receiver() as (server, port):
            file = tmp_path / "urls"
            file.write_text(f"# ours\njson://127.0.0.1:{port}/one\n\njson://127.0.0.1:{port}/two?token=hunter2\n")
            notifier = Notifier(file, desk_url="https://desk.example/")
            server.status["two"] = 500
            with pytest.raises(DeliveryError) as failed:
                await notifier.send(MESSAGE)
            server.status.clear()
            again = Outgoing(MESSAGE.id, MESSAGE.event, MESSAGE.number, MESSAGE.body, failed.value.settled)
            told = await notifier.send(again)
            await notifier.send(trial())
            return failed.value, told, server.got

    error, told, got = asyncio.run(scenario())
    assert "hunter2" not in str(error)
    assert str(error).startswith("address 2: ")
    assert list(error.settled.values()) == [""]
    assert [path for path, _ in got[:2]] == ["one", "two"]
    assert told == "2 addresses"
    first = got[0][1]
    assert first["title"] == "DZ-10017: new ticket"
    assert "Грузовик 12: Bcc: evil@example.org silent for 6 min" in first["message"]
    assert "https://desk.example/tickets/DZ-10017" in first["message"]
    assert {path for path, body in got[2:] if body["title"] == "Dozor: test message"} == {"one", "two"}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "No such file"),
        (b"", "holds no address"),
        (b"# none\n", "holds no address"),
        (b"json://h/secret\nnonsense secret\n", ":2: is no address that apprise knows"),
        (b"\xff", "is not UTF-8"),
        (b"#" * 70000, "has more than"),
        (b"\n".join(b"json://h/%d" % n for n in range(60)), "has more than 50 addresses"),
    ],
)
def test_what_is_wrong_with_the_file_is_told_without_its_content(tmp_path, content, what):
    file = tmp_path / "urls"
    if content is not None:
        file.write_bytes(content)
    (problem,) = problems(file)
    assert what in problem
    assert "secret" not in problem
    with pytest.raises(DeliveryError, match=r"urls"):
        asyncio.run(Notifier(file).send(trial()))


class Kept:
    """A channel in memory that wants some events, and fails as often as it is told."""

    name = "webhook"
    shown = "kept"

    def __init__(self, target, events, failures=0):
        self.target, self.events, self.failures = target, events, failures
        self.told = []

    async def send(self, message):
        if self.failures:
            self.failures -= 1
            raise DeliveryError("away")
        self.told.append((message.event, message.number, json.loads(message.body)))
        return ""

    async def close(self):
        pass


def test_a_target_is_told_what_it_asked_for_in_the_tickets_order(postgres_dsn):
    async def scenario():
        async with pool_of(postgres_dsn) as pool:
            clock = Clock()
            usual, late = Kept("usual", (OPENED,)), Kept("late", EVENTS, failures=2)
            outbox = Outbox(pool, [usual, late], clock=clock)
            number = (await raise_one(pool, await add_terminal(pool, "t"), targets=outbox.targets)).number
            ((row,),) = await fetch(pool, "SELECT id FROM ticket")
            async with pool.connection() as connection:
                for seq, event in ((2, BREACHED), (2, BREACHED), (3, CLOSED)):
                    ticket = {"number": number}
                    await enqueue(connection, event, row, number, ticket, outbox.targets, clock(), f"{number}/{seq}")
                await execute(pool, "INSERT INTO outage (key, started_at) VALUES ('platform', %s)", clock())
                for event in (OUTAGE_OPENED, OUTAGE_OPENED, OUTAGE_CLOSED):
                    await enqueue_outage(connection, event, 1, {"id": 1, "eta": None}, outbox.targets, clock())
            for _ in range(8):
                for channel in (usual, late):
                    await outbox.deliver(channel)
                clock.now += 60
            return number, usual.told, late.told, await outbox.pending()

    number, usual, late, pending = asyncio.run(scenario())
    assert [event for event, *_ in usual] == [OPENED]
    assert [event for event, of, _ in late if of] == [OPENED, BREACHED, CLOSED]
    assert {of for _, of, _ in late} == {number, ""}
    outages = [(event, body["ticket"], body["outage"]) for event, of, body in late if not of]
    assert sorted(outages, key=str) == sorted(
        [(event, None, {"id": 1, "eta": None}) for event in (OUTAGE_OPENED, OUTAGE_CLOSED)], key=str
    )
    assert pending == {"webhook": 0}


def test_an_outage_is_told_in_words(tmp_path):
    async def scenario():
        async with receiver() as (server, port):
            (tmp_path / "urls").write_text(f"json://127.0.0.1:{port}/x\n")
            body = {"event": OUTAGE_OPENED, "id": "1", "ticket": None, "outage": {"started_at": "2026-11-16T10:00:00Z"}}
            await Notifier(tmp_path / "urls", EVENTS).send(Outgoing("1", OUTAGE_OPENED, "", json.dumps(body)))
            return server.got

    ((_, told),) = asyncio.run(scenario())
    assert (told["title"], told["message"]) == ("Service interruption", "started at: 2026-11-16T10:00:00Z")
    assert set(SHORT.values()) == set(EVENTS)
