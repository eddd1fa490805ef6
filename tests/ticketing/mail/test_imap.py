"""A real IMAP server is read from where it was left."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest

from tests.harness import free_port
from tests.ticketing.desk_parts import pool_of
from tests.ticketing.mail.imap_server import PASSWORD, running
from tests.ticketing.mail.world import NOW, mail
from ticketing.core.errors import DeliveryError
from ticketing.mail.imap import Mailbox, MailboxSettings, states


@pytest.fixture(scope="module")
def server(dovecot):
    with running(dovecot) as found:
        yield found


@pytest.fixture
def play(server, shared_dsn, tmp_path):
    """Run a scenario with a new user's mailbox."""
    user = f"u{uuid.uuid4().hex[:8]}"
    password = tmp_path / "password"
    password.write_text(PASSWORD)

    def run(scenario):
        async def inside():
            async with pool_of(shared_dsn, size=3) as pool:

                def mailbox(**more):
                    given = {"host": "127.0.0.1", "port": server.port, "tls": "none", "user": user}
                    largest = {"largest": more.pop("largest")} if "largest" in more else {}
                    settings = MailboxSettings(**{**given, "password_file": password, **more})
                    return Mailbox(pool, settings, clock=lambda: NOW, **largest)

                async def rows():
                    async with pool.connection() as connection:
                        found = await connection.execute(
                            "SELECT message_id, raw, size FROM inbox WHERE source LIKE %s ORDER BY id", (f"%{user}%",)
                        )
                        return await found.fetchall()

                await scenario(server, user, mailbox, rows, pool)

        asyncio.run(inside())

    return run


def test_each_mail_is_taken_once_whoever_read_it(play):
    async def scenario(server, user, mailbox, rows, pool):
        box = mailbox()
        assert await box.look() is False
        first = mail("First\r\n.\r\nНет данных")
        await asyncio.to_thread(server.deliver, user, first, mail("Second"))
        await asyncio.to_thread(server.read_all, user)  # Seen by a person: no matter
        await box.look()
        found = await rows()
        assert len(found) == 2
        assert bytes(found[0][1]) == first
        await box.look()
        await asyncio.to_thread(server.deliver, user, mail("Third"))
        await mailbox().look()  # another process
        assert len(await rows()) == 3
        assert b"\\Seen" in await asyncio.to_thread(server.flags, user)
        assert (box.kept, box.failed) == (2, 0)

    play(scenario)


def test_reading_leaves_the_mailbox_as_it_is(play):
    async def scenario(server, user, mailbox, rows, pool):
        await asyncio.to_thread(server.deliver, user, mail())
        await mailbox().look()
        assert b"\\Seen" not in await asyncio.to_thread(server.flags, user)
        assert len(await rows()) == 1

    play(scenario)


def test_a_mailbox_made_anew_gives_no_mail_twice(play):
    async def scenario(server, user, mailbox, rows, pool):
        await asyncio.to_thread(server.deliver, user, mail("One"), mail("Two"))
        await mailbox().look()
        await asyncio.to_thread(server.make_anew, user)
        await asyncio.to_thread(server.deliver, user, mail("Three"))
        await mailbox().look()
        assert len(await rows()) == 3
        async with pool.connection() as connection:
            found = await connection.execute("SELECT uid FROM mailbox_position WHERE mailbox LIKE %s", (f"%{user}%",))
            assert await found.fetchall() == [(3,)]

    play(scenario)


def test_deleted_mails_and_other_folders(play):
    async def scenario(server, user, mailbox, rows, pool):
        await asyncio.to_thread(server.deliver, user, mail("One"), mail("Two"), mail("Three"))
        await asyncio.to_thread(server.expunge, user, 2)
        await mailbox().look()
        assert len(await rows()) == 2

        def folder():
            with server.client(user) as link:
                link.create('"&BBcEMARPBDIEOgQ4- &- &ZeVnLIqe-"')
                link.append('"&BBcEMARPBDIEOgQ4- &- &ZeVnLIqe-"', None, None, mail("Four"))

        await asyncio.to_thread(folder)
        await mailbox(folder="Заявки & 日本語").look()
        assert len(await rows()) == 3

    play(scenario)


def test_one_too_large_leaves_its_head(play):
    async def scenario(server, user, mailbox, rows, pool):
        big = mail("x" * 20_000)
        await asyncio.to_thread(server.deliver, user, big, mail("Two"))
        await mailbox(largest=10_000).look()
        (identity, raw, size), _ = await rows()
        assert size == len(big)
        assert bytes(raw) == big[: big.index(b"\r\n\r\n") + 4]
        assert identity in big.decode()

    play(scenario)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"folder": "None such"}, "None such"),
        ({"tls": "tls"}, "SSL"),
        ({"tls": "starttls"}, "TLS"),
        ({"port": 1}, "Connection refused"),
        ({"password_file": None}, "AUTHENTICATIONFAILED"),
    ],
)
def test_a_mailbox_that_fails_is_told(play, change, told):
    async def scenario(server, user, mailbox, rows, pool):
        box = mailbox(**change)
        with pytest.raises(DeliveryError, match=told) as caught:
            await box.look()
        assert PASSWORD not in str(caught.value)
        assert (box.failing, box.failed) == (True, 1)
        (state,) = [one for one in await states(pool) if one.mailbox == box._settings.name]
        assert state.failing_since == NOW
        assert told in (state.error or "")
        assert state.looked_at is None

    play(scenario)


def test_a_mailbox_that_answers_again_is_told_too(play):
    async def scenario(server, user, mailbox, rows, pool):
        box = mailbox()
        broken = mailbox()
        broken._settings = MailboxSettings(
            **{**{name: getattr(box._settings, name) for name in box._settings.__slots__}, "password_file": None}
        )
        with pytest.raises(DeliveryError):
            await broken.look()
        await box.look()
        (state,) = [one for one in await states(pool) if one.mailbox == box._settings.name]
        assert (state.failing_since, state.error, state.looked_at) == (None, None, NOW)

    play(scenario)


def test_it_goes_on_by_itself_and_slows_down_where_nothing_answers(play, monkeypatch):
    async def scenario(server, user, mailbox, rows, pool):
        waits = []
        real = asyncio.sleep

        async def sleep(seconds):
            waits.append(seconds)
            if len(waits) == 3:
                raise asyncio.CancelledError
            await real(0)

        monkeypatch.setattr("ticketing.mail.imap.asyncio.sleep", sleep)
        box = mailbox(port=free_port(), poll=30.0)
        with pytest.raises(asyncio.CancelledError):
            await box.run()
        assert waits == [60, 120, 240]
        assert timedelta(seconds=box._settings.poll) == timedelta(seconds=30)

    play(scenario)
