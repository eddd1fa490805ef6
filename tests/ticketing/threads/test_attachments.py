"""Files of strangers: bounded, named harmlessly, typed by content, stored once, never shown in place."""

from __future__ import annotations

import asyncio
import io
import zipfile
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ticketing.mail.world import world
from ticketing.core.errors import InvalidTextError
from ticketing.threads.attachments import LeftOut, Limits, Offered, bounded, checked, clean_name, load, type_of
from ticketing.threads.download import as_response
from ticketing.threads.messages import NewMessage, append, thread

NOW = datetime(2026, 11, 30, 10, 0, tzinfo=UTC)


def office(inner: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("[Content_Types].xml", "x")
        archive.writestr(inner, "x")
    return made.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xd8\xff\xe0JFIF", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\nxx", "image/png"),
        (b"%PDF-1.7", "application/pdf"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (office("word/document.xml"), "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        (office("xl/workbook.xml"), "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        (office("track.csv"), "application/zip"),
        (b"MZ\x90\x00", "application/vnd.microsoft.portable-executable"),
        (b"  <!DOCTYPE html><html>", "text/html"),
        (b"\xef\xbb\xbf<html>", "text/html"),
        (b"<!-- a --><script>alert(1)</script>", "text/html"),
        (b'<?xml version="1.0"?><svg xmlns="x">', "image/svg+xml"),
        (b"plate;litres\r\nA001AA;40\r\n", "text/plain"),
        ("Нет данных".encode("koi8-r"), "text/plain"),
        (b"\x78\x9f\x3e\x22\x00", "application/vnd.ms-tnef"),
        (b"BEGIN:VCALENDAR\r\n", "text/calendar"),
        (b"\x00\x01\x02", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_the_type_is_the_contents(content: bytes, kind: str) -> None:
    assert type_of(content) == kind


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("photo.jpg", "photo.jpg"),
        ("C:\\Users\\ann\\photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        (".htaccess", "htaccess"),
        ("report\u202egpj.exe", "report gpj.exe"),
        ("a\r\nSet-Cookie: x=1.txt", "a Set-Cookie_ x=1.txt"),
        ("con.txt", "_con.txt"),
        ("x" * 400 + ".jpeg", "x" * 145 + ".jpeg"),
        ("Отчёт за ноябрь.xlsx", "Отчёт за ноябрь.xlsx"),
        ("照片.jpg", "照片.jpg"),
        ("  .. ", "attachment"),
        ("", "attachment"),
        ("\ud800.txt", "txt"),
    ],
)
def test_names_are_harmless(name: str, clean: str) -> None:
    assert clean_name(name) == clean


@given(st.text(max_size=600))
def test_any_name_is_answered(name: str) -> None:
    clean = clean_name(name)
    assert 1 <= len(clean) <= 151
    assert "/" not in clean
    assert "\\" not in clean
    assert clean.isprintable()
    assert clean == clean_name(clean)


def test_bounds_are_named() -> None:
    limits = Limits(count=2, each=1 << 20, together=(1 << 20) + 10)
    files = [
        Offered("a", b"x" * 10),
        Offered("big", b"x" * ((1 << 20) + 1)),
        Offered("b", b"x" * (1 << 20)),
        Offered("c", b""),
    ]
    kept = bounded(files, limits)
    assert [name for name, _ in kept.files] == ["a", "b"]
    assert kept.left_out == (LeftOut("big", "larger than 1 MiB"), LeftOut("c", "more than 2 files"))
    assert (
        bounded([Offered("b", b"x" * (1 << 20)), Offered("a", b"x" * 11)], limits).left_out[0].why
        == "more than 1 MiB together"
    )
    with pytest.raises(InvalidTextError, match="attachment big: larger than 1 MiB: send less"):
        checked(files, limits)


def test_equal_files_are_stored_once_and_come_back_byte_for_byte(shared_dsn) -> None:
    async def scenario() -> None:
        async with world(shared_dsn) as w:
            ticket = await w.add_ticket("t", reporter="", organisation="")
            every_byte = bytes(range(256)) * 300
            async with w.pool.connection() as connection:
                for public, name in ((True, "a/照片 1.bin"), (False, "again.bin")):
                    await append(
                        connection,
                        NewMessage(
                            ticket=ticket.id,
                            at=NOW,
                            direction="in" if public else "note",
                            public=public,
                            author="Ann\x00",
                            text="It works.\r\n\r\nOn 30.11.2026 10:05, Desk wrote:\r\n> Is it?\x00",
                            html='<p>It <script>x</script><img src="https://spy.example/1.gif" alt="lamp">works',
                            channel="mail",
                            files=[Offered(name, every_byte)],
                            left_out=[LeftOut("big", "larger than 1 MiB")],
                        ),
                    )
            assert await w.count("blob") == 1
            async with w.pool.connection() as connection:
                (message,) = await thread(connection, ticket.id, public_only=True)
                assert len(await thread(connection, ticket.id, public_only=False)) == 2
                stored = await load(connection, message.attachments[0].id)
                assert await load(connection, 999) is None
            assert message.said == "It works."
            assert message.text.startswith("It works.\n\nOn 30.11.2026")
            assert message.text.endswith("> Is it?\ufffd")
            assert message.html == "<p>It [lamp]works</p>"
            assert message.at == NOW
            assert message.data == {"left_out": [{"name": "big", "why": "larger than 1 MiB"}]}
            assert (message.attachments[0].name, message.attachments[0].size) == ("照片 1.bin", 76800)
            assert stored is not None
            assert (stored.content, stored.ticket, stored.public) == (every_byte, ticket.id, True)

    asyncio.run(scenario())


@pytest.mark.parametrize("content", [b"<html><script>alert(1)</script>", b"<svg onload=alert(1)>", b"MZ", b"x"])
def test_a_file_is_saved_and_never_shown(content: bytes) -> None:
    from ticketing.threads.attachments import Stored

    answer = as_response(Stored('照片".html', type_of(content), content, 1, True))
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"___.html\"; filename*=UTF-8''%E7%85%A7%E7%89%87%22.html"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox;")
    assert answer.headers["content-type"] in ("application/octet-stream", "text/plain; charset=utf-8")
    assert answer.body == content
