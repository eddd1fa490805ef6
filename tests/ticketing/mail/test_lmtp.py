"""LMTP over real sockets: 250 only once the store has it."""

from __future__ import annotations

import asyncio
import smtplib
from contextlib import asynccontextmanager, suppress

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from tests.ticketing.desk_parts import pool_of
from tests.ticketing.mail.world import NOW, mail
from ticketing.mail.lmtp import MOST_CONNECTIONS, MOST_ERRORS, Lmtp

RECIPIENTS = ["support@desk.example", "help@desk.example"]


@asynccontextmanager
async def listening(dsn, **kwargs):
    async with pool_of(dsn, size=4) as pool:
        server = Lmtp(pool, clock=lambda: NOW, **kwargs)
        port = await server.start("127.0.0.1", 0)
        try:
            yield server, port, pool
        finally:
            await server.stop()


async def inbox(pool):
    async with pool.connection() as connection:
        rows = await connection.execute("SELECT envelope_from, envelope_to, raw FROM inbox ORDER BY id DESC")
        return await rows.fetchall()


async def talk(port, *lines, want=1):
    """Send lines, read answers; the last one's."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    answers = []
    for line in lines:
        writer.write(line + b"\r\n")
        answers.append((await reader.readline()).decode().strip())
        while answers[-1][3:4] == "-":
            answers[-1] = (await reader.readline()).decode().strip()
    more = [(await reader.readline()).decode().strip() for _ in range(want - 1)]
    writer.close()
    return answers + more


def test_a_mail_server_hands_mail_over(shared_dsn):
    async def scenario():
        told = []
        async with listening(shared_dsn, on_kept=lambda: told.append(1)) as (server, port, pool):

            def send(raw):
                with smtplib.LMTP("127.0.0.1", port) as link:
                    link.ehlo_or_helo_if_needed()
                    assert link.has_extn("size")
                    return link.sendmail("ann@acme.example", [RECIPIENTS[0]], raw)

            raw = mail("First\r\n.\r\n..\r\nНет данных " + "x" * 5000)
            assert await asyncio.to_thread(send, raw) == {}
            assert await asyncio.to_thread(send, raw) == {}  # it did not hear our 250
            ((sender, to, kept), *others) = await inbox(pool)
            assert (sender, to, bytes(kept)) == ("ann@acme.example", [RECIPIENTS[0]], raw)
            assert others == []
            assert (server.kept, server.put_off, len(told)) == (2, 0, 2)

    asyncio.run(scenario())


def test_each_recipient_has_an_answer_and_the_null_sender_is_one(shared_dsn):
    async def scenario():
        async with listening(shared_dsn) as (_, port, pool):
            answers = await talk(
                port,
                b"LHLO mx",
                b"MAIL FROM:<> BODY=8BITMIME SIZE=100",
                *(f"RCPT TO:<{one}>".encode() for one in RECIPIENTS),
                b"DATA",
                mail("Two of them").rstrip() + b"\r\n.",
                want=2,
            )
            assert [answer[:3] for answer in answers] == ["250", "250", "250", "250", "354", "250", "250"]
            ((sender, to, _), *_) = await inbox(pool)
            assert (sender, to) == ("", RECIPIENTS)

    asyncio.run(scenario())


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_it_does_not_matter_how_the_stream_is_cut(shared_dsn, step):
    async def scenario():
        async with listening(shared_dsn) as (_, port, pool):
            raw = mail(f"Cut by {step}\r\n.\r\nend", message_id=f"<cut{step}@x.example>")
            stuffed = raw.replace(b"\r\n.", b"\r\n..")
            wire = (
                b"LHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n" + stuffed + b".\r\nQUIT\r\n"
            )
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for at in range(0, len(wire), step):
                writer.write(wire[at : at + step])
                await writer.drain()
            answers = (await reader.read()).decode()
            writer.close()
            assert answers.endswith("250 2.6.0 kept\r\n221 2.0.0 bye\r\n")
            assert bytes((await inbox(pool))[0][2]) == raw

    asyncio.run(scenario())


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n"])
def test_nothing_is_smuggled_in(shared_dsn, end):
    """Only CR LF dot CR LF ends a mail."""

    async def scenario():
        async with listening(shared_dsn) as (server, port, _):
            body = (
                b"Subject: x\r\n\r\nhello"
                + end
                + b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nx\r\n."
            )
            answers = await talk(port, b"LHLO x", b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>", b"DATA", body)
            assert answers[-1] == "250 2.6.0 kept"
            assert server.kept == 1

    asyncio.run(scenario())


def test_too_large_is_refused_and_read_over(shared_dsn):
    async def scenario():
        async with listening(shared_dsn, largest=10_000) as (server, port, _):
            head = (b"LHLO x", b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>", b"DATA")
            for body in (b"x" * 200_000 + b"\r\n.", b"\r\n" * 100_000 + b".", b"y" * 10_001 + b"\r\n."):
                answers = await talk(port, *head, body)
                assert answers[-1].startswith("552 5.3.4")
            answers = await talk(port, b"LHLO x", b"MAIL FROM:<a@b.example> SIZE=10001")
            assert answers[-1].startswith("552")
            assert (await talk(port, *head, b"Subject: a\r\n\r\n" + b"z" * 9000 + b"\r\n."))[-1].startswith("250")
            assert server.kept == 1

    asyncio.run(scenario())


def test_without_the_store_the_server_keeps_it(postgres_dsn):
    async def scenario():
        async with listening(postgres_dsn) as (server, port, _):
            name = psycopg.conninfo.conninfo_to_dict(postgres_dsn)["dbname"]
            away = postgres_dsn.replace(f"dbname={name}", "dbname=no_such")
            gone = AsyncConnectionPool(away, min_size=0, max_size=1, timeout=0.5, open=False)
            await gone.open()
            pool, server._pool = server._pool, gone
            head = (b"LHLO x", b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>", b"DATA")
            assert (await talk(port, *head, mail() + b"."))[-1] == "451 4.3.0 the store is away: try again later"
            assert (server.kept, server.put_off) == (0, 1)
            server._pool = pool
            await gone.close()
            assert (await talk(port, *head, mail() + b"."))[-1] == "250 2.6.0 kept"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        ([b"EHLO x"], "500"),
        ([b"MAIL FROM:<a@b.example>"], "503"),
        ([b"LHLO x", b"RCPT TO:<a@b.example>"], "503"),
        ([b"LHLO x", b"DATA"], "503"),
        ([b"LHLO x", b"MAIL FROM:a@b.example"], "501"),
        ([b"LHLO x", b"MAIL TO:<a@b.example>"], "501"),
        ([b"LHLO x", b"MAIL FROM:<a@b.example>", b"MAIL FROM:<a@b.example>"], "503"),
        ([b"LHLO x", b"MAIL FROM:<a@b.example>", b"RCPT TO:<>"], "501"),
        ([b"x" * 5000], "500"),
        ([b"NOOP"], "250"),
        ([b"VRFY a"], "252"),
        ([b"\xff\xfe\x00"], "500"),
        ([b"LHLO x", b"MAIL FROM:<a@b.example>", b"RSET", b"DATA"], "503"),
        ([b"LHLO x", b"MAIL FROM:<a@b.example>", *[b"RCPT TO:<a@b.example>"] * 101], "452"),
    ],
)
def test_what_is_out_of_order_is_told(shared_dsn, lines, answer):
    async def scenario():
        async with listening(shared_dsn) as (_, port, _):
            assert (await talk(port, *lines))[-1].startswith(answer)

    asyncio.run(scenario())


def test_connections_errors_and_lines_are_bounded(shared_dsn):
    async def scenario():
        async with listening(shared_dsn) as (_, port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"NONSENSE\r\n" * (MOST_ERRORS + 5))
            assert (await reader.read()).count(b"\r\n") == MOST_ERRORS + 2  # greeting, answers, good-bye
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"x" * 200_000)
            with suppress(ConnectionError):
                assert len(await reader.read()) < 100
            writer.close()
            links = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST_CONNECTIONS)]
            for reader, _ in links:
                assert (await reader.readline()).startswith(b"220")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert (await reader.readline()).startswith(b"421")
            for _, other in [*links, (reader, writer)]:
                other.close()

    asyncio.run(scenario())
