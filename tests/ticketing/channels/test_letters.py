"""Letters by their raw bytes, whatever the language and the length of names; an outcome for each recipient."""

from __future__ import annotations

import asyncio
import json
import re
from email import message_from_bytes
from email.header import decode_header, make_header
from email.utils import getaddresses
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.ticketing.channels.test_channels import MESSAGE, TICKET, Sink, mail, smtp
from tests.ticketing.desk_parts import Clock, add_terminal, fetch, pool_of, raise_one
from ticketing.channels.email import Mail, MailSettings
from ticketing.channels.letter import address_of, encoded, one_line
from ticketing.core.errors import UndeliverableError
from ticketing.core.outbox import Outbox, Outgoing

LONG = "Грузовик с очень длинным названием, которое не помещается ни в одну строку " * 6


def letter_of(title: str, *, sender: str = "Dozor <dozor@desk.example>", to=("ops@example.org",), **ticket) -> bytes:
    body = json.dumps({"event": "ticket.opened", "id": "5f3a", "ticket": TICKET | {"title": title} | ticket})
    channel = Mail(MailSettings("127.0.0.1", sender=sender, to=tuple(to)), b"k" * 32)
    return channel.letter(Outgoing("5f3a", "ticket.opened", "DZ-10017", body))


def check(raw: bytes) -> None:
    """RFC 5322, 2047 and 2045 on the bytes themselves."""
    head, _, body = raw.partition(b"\r\n\r\n")
    assert raw.isascii()
    assert raw.count(b"\n") == raw.count(b"\r") == raw.count(b"\r\n")
    for line in raw.split(b"\r\n"):
        assert len(line) <= 998
    for line in head.split(b"\r\n"):
        assert line.strip()
        assert len(line) <= 76 or not re.search(rb"=\?|Subject:", line)
        for word in re.findall(rb"=\?[^ ]*\?=", line):
            assert len(word) <= 75
            assert re.fullmatch(rb"=\?utf-8\?b\?[A-Za-z0-9+/]+=*\?=", word)
    for line in body.split(b"\r\n"):
        assert len(line) <= 76
        assert not re.search(rb"[^\t\x20-\x7e]|=(?![0-9A-F]{2}|$)|[ \t]$", line)
    (identity,) = re.findall(rb"^Message-ID: (.*)$", head, re.MULTILINE)
    assert re.fullmatch(rb"<[^\s<>=?]+@[^\s<>]+>\r?", identity)


titles = st.one_of(
    st.text(max_size=200),
    st.text("абвгд ёжик", min_size=30, max_size=300),
    st.text("中文車輛🚚", max_size=150),
    st.text("x=? _-.", max_size=200),
    st.sampled_from(["a" * 500, LONG, "=?utf-8?q?x?=", "Привет, мир", "\r\nBcc: evil@example.org", "e\u0301" * 60]),
)


@settings(max_examples=300, deadline=None)
@given(titles, titles, titles)
@example("a" * 1000, '"quoted" \\ (name), x; <y>', LONG)
def test_a_letter_is_valid_whatever_the_names(title: str, sender: str, name: str) -> None:
    quoted = one_line(sender).replace("\\", "\\\\").replace('"', '\\"')
    journal = [{"at": "2026-11-16T10:00:00Z", "actor": name, "text": name}]
    raw = letter_of(title, sender=f'"{quoted}" <dozor@desk.example>', journal=journal)
    check(raw)
    letter = message_from_bytes(raw)
    subject = str(make_header(decode_header(letter["Subject"].replace("\r\n", ""))))
    shown = one_line(title.encode("utf-8", "replace").decode())
    assert subject == f"[#DZ-10017] {shown}".rstrip()
    assert letter["Bcc"] is None
    (found,) = getaddresses([letter["From"].replace("\r\n", "")])
    assert found[1] == "dozor@desk.example"
    text = letter.get_payload(decode=True).decode()
    assert one_line(name.encode("utf-8", "replace").decode()) in text


def test_names_come_out_as_they_went_in() -> None:
    for name in (
        "Диспетчерская",
        LONG.strip(),
        'Иван "Ваня" Петров, смена',
        "Smith, J. (night)",
        'A "b" \\ c',
        "ops",
        "x" * 90,
    ):
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        to = [f'"{quoted}" <ops@example.org>', "plain@example.org"]
        raw = letter_of("t", to=to, sender=to[0])
        check(raw)
        letter = message_from_bytes(raw)
        for header, addresses in (("From", ["ops@example.org"]), ("To", ["ops@example.org", "plain@example.org"])):
            found = getaddresses([re.sub(r"\r?\n", "", letter[header])])
            assert [address for _, address in found] == addresses
            assert str(make_header(decode_header(found[0][0]))) == name


def test_encoded_words_never_split_a_character() -> None:
    for used in range(40):
        for word in encoded("я🚚" * 60, used).split("\r\n "):
            decode_header(word)[0][0].decode()


@pytest.mark.parametrize("address", ["", "nobody", "@x.example", "имя@example.org", "a b@example.org"])
def test_an_address_that_cannot_be_is_undeliverable(address: str) -> None:
    with pytest.raises(ValueError, match="no mail address"):
        address_of(address)
    with pytest.raises(UndeliverableError):
        asyncio.run(mail(1, to=(address,)).send(MESSAGE))


def test_a_domain_of_any_language_is_written_in_ascii() -> None:
    assert address_of("Пост <ops@пример.рф>") == "ops@xn--e1afmkfd.xn--p1ai"
    check(letter_of("t", to=["Пост <ops@пример.рф>"]))


def test_times_are_for_people() -> None:
    ticket = {
        "opened_at": "2026-11-16T21:30:12.345678Z",
        "due_at": "2026-11-17T09:00:00.5Z",
        "journal": [{"at": "2026-11-16T21:30:12.345678Z", "actor": "watch", "text": "x"}],
    }

    def text(**more) -> str:
        return message_from_bytes(letter_of("t", **ticket, **more)).get_payload(decode=True).decode()

    plain = text()
    assert "Opened:       2026-11-16 21:30 UTC\n" in plain.replace("\r", "")
    moscow = text(clocks=[{"due": "2026-11-17T12:00:00+03:00"}])
    assert "2026-11-17 00:30 UTC+03:00 (2026-11-16 21:30 UTC)" in moscow
    assert "2026-11-17 12:00 UTC+03:00 (09:00 UTC)" in moscow
    channel = Mail(MailSettings("h", sender="d@x.example", to=("a@x.example",), zone=ZoneInfo("Asia/Almaty")), b"k")
    body = json.dumps({"event": "e", "id": "1", "ticket": TICKET | ticket})
    almaty = message_from_bytes(channel.letter(Outgoing("1", "e", "DZ-1", body))).get_payload(decode=True).decode()
    assert "2026-11-17 02:30 +05 (2026-11-16 21:30 UTC)" in almaty
    for shown in (plain, moscow, almaty):
        assert not re.search(r"\.\d{3}|T\d\d:", shown)


class Moody(Sink):
    """Answers each RCPT of an address with the next of its codes, then takes it."""

    def __init__(self, **codes: list[int]) -> None:
        super().__init__()
        self.codes = codes

    async def handle_RCPT(self, server, session, envelope, address, options):
        codes = self.codes.get(address.partition("@")[0])
        if codes:
            return f"{codes.pop(0)} not now"
        return await super().handle_RCPT(server, session, envelope, address, options)


def delivered(dsn, sink: Sink, to: tuple[str, ...], rounds: int = 5):
    """Carry one ticket's letter until nothing is owed; (state, last error, settled) after each round, failures."""

    async def scenario():
        async with smtp(sink) as port, pool_of(dsn) as pool:
            clock = Clock()
            channel = mail(port, to=to)
            outbox = Outbox(pool, [channel], clock=clock)
            await raise_one(pool, await add_terminal(pool, "t"), targets=outbox.targets)
            rows = []
            for _ in range(rounds):
                await outbox.deliver(channel)
                rows += await fetch(pool, "SELECT state, last_error, settled FROM outbox")
                clock.now += 3600
            return rows, outbox.failed["email"], await outbox.pending()

    return asyncio.run(scenario())


def recipients(sink: Sink) -> list[list[str]]:
    return [found for _, found, _ in sink.letters]


def test_a_recipient_put_off_is_tried_again_alone(postgres_dsn) -> None:
    sink = Moody(second=[450, 451])
    rows, failed, pending = delivered(postgres_dsn, sink, ("first@example.org", "Second <second@example.org>"))
    assert recipients(sink) == [["first@example.org"], ["second@example.org"]]
    assert [state for state, *_ in rows] == ["pending", "pending", "sent", "sent", "sent"]
    assert "second@example.org (450 not now)" in rows[0][1]
    assert rows[0][2] == {"first@example.org": ""}
    assert failed == 2
    assert pending == {"email": 0}
    identities = {re.search(rb"^Message-ID: (.*)$", raw, re.MULTILINE)[1] for *_, raw in sink.letters}
    assert len(identities) == 1


def test_a_recipient_refused_for_good_is_told_and_not_asked_again(postgres_dsn) -> None:
    sink = Moody(gone=[550] * 9, later=[450])
    to = ("gone@example.org", "later@example.org", "ops@example.org")
    rows, failed, _ = delivered(postgres_dsn, sink, to)
    assert recipients(sink) == [["ops@example.org"], ["later@example.org"]]
    assert [state for state, *_ in rows[:3]] == ["pending", "sent", "sent"]
    assert rows[0][2] == {"ops@example.org": "", "gone@example.org": "550 not now"}
    assert "gone@example.org (550 not now)" in rows[0][1]
    assert failed == 1
    assert len(sink.codes["gone"]) == 8


def test_who_took_it_and_who_never_will_is_settled_at_once(postgres_dsn) -> None:
    sink = Moody(gone=[550])
    rows, failed, _ = delivered(postgres_dsn, sink, ("gone@example.org", "ops@example.org"), rounds=2)
    assert [(state, "gone@example.org (550" in error) for state, error, _ in rows] == [("sent", True)] * 2
    assert failed == 1


def test_nobody_left_is_failed(postgres_dsn) -> None:
    sink = Moody(gone=[550], late=[450, 550])
    rows, failed, _ = delivered(postgres_dsn, sink, ("gone@example.org", "late@example.org"), rounds=3)
    assert [state for state, *_ in rows] == ["pending", "failed", "failed"]
    assert failed == 2
    assert sink.letters == []
