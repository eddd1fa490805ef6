"""Reading never raises, and takes no more time and memory than the mail weighs."""

from __future__ import annotations

import base64
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketing.mail.charsets import decoded, header
from ticketing.mail.match import bare_subject, claims
from ticketing.mail.message import Mail
from ticketing.mail.named import imeis, plate_key, plates
from ticketing.mail.read import MOST_IDS, read
from ticketing.mail.secrets import secrets_in
from ticketing.mail.steps import judge
from ticketing.threads.attachments import clean_name

FIXTURES = sorted((Path(__file__).parent / "raw").glob("*.eml"))


def sound(mail: Mail) -> None:
    """What holds of every mail that was read."""
    for text in (mail.text, mail.said, mail.subject, mail.html or ""):
        assert "\x00" not in text
        text.encode()  # no lone surrogate
    assert len(mail.references) <= MOST_IDS
    for name in (*(file.name for file in mail.files), mail.sender.name):
        clean_name(name)
    claims(mail, b"k")


@given(st.binary(max_size=2000))
def test_any_bytes_are_read(raw: bytes) -> None:
    sound(read(raw))


@given(st.text(alphabet=st.sampled_from("From:To Subject\r\n\t<>@;,=?\"'()[]\\utf-8BQé"), max_size=400))
def test_any_headers_are_read(head: str) -> None:
    sound(read(head.encode()))


@settings(max_examples=60)
@given(st.sampled_from(FIXTURES), st.integers(0, 2**32))
def test_damaged_mails_are_read(path: Path, seed: int) -> None:
    chosen = random.Random(seed)
    raw = bytearray(path.read_bytes())
    for _ in range(chosen.randrange(1, 20)):
        at = chosen.randrange(len(raw) + 1)
        match chosen.randrange(4):
            case 0:
                raw[at : at + 1] = bytes([chosen.randrange(256)])
            case 1:
                del raw[at : at + chosen.randrange(40)]
            case 2:
                raw[at:at] = raw[at // 2 : at // 2 + chosen.randrange(60)]
            case _:
                raw[at:at] = chosen.choice([b"\r\n", b"\r\n\r\n", b"--=_b0\r\n", b'"', b"=?utf-8?B?", b"\x00", b"\xff"])
    sound(read(bytes(raw)))


def nested(levels: int, lines: int) -> bytes:
    head = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(levels))
    return b"From: a@b.example\r\n" + head + b"\r\nx\r\n" * lines


HOSTILE = {
    "parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 300_000,
    "a few thousand parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 15_000,
    "levels": nested(5000, 10),
    "levels and lines": nested(200, 300_000),
    "levels of forwards": b"Content-Type: message/rfc822\r\n\r\n" * 20_000,
    "headers": b"".join(b"X-%d: y\r\n" % n for n in range(200_000)) + b"\r\nx",
    "one long header": b"Subject: " + b"x" * 5_000_000 + b"\r\n\r\nx",
    "folded header": b"Subject: x\r\n" + b" y\r\n" * 300_000 + b"\r\nx",
    "encoded words": b"Subject: " + b"=?utf-8?B?0J3QtdGC?= " * 100_000 + b"\r\n\r\nx",
    "half an encoded word": b"Subject: " + b"=?utf-8?B?" * 100_000 + b"\r\n\r\nx",
    "addresses": b"From: " + b"a@b.example, " * 100_000 + b"\r\n\r\nx",
    "brackets": b"From: "
    + b"<" * 300_000
    + b"\r\nTo: "
    + b"(" * 300_000
    + b"\r\nCc: "
    + b'"\\' * 200_000
    + b"\r\n\r\nx",
    "references": b"References: " + b"<a@b> " * 200_000 + b"\r\n\r\nx",
    "parameters": b"Content-Type: text/plain; " + b"a=b; " * 200_000 + b"\r\n\r\nx",
    "rfc 2231": b"Content-Type: text/plain; "
    + b"".join(b"name*%d*=utf-8''x;" % n for n in range(20_000))
    + b"\r\n\r\nx",
    "lines": b"Subject: x\r\n\r\n" + b"\r\n" * 2_000_000,
    "quotes": b"Subject: x\r\n\r\n" + b"> On 2026 wrote:\r\n" * 200_000,
    "html": b"Content-Type: text/html\r\n\r\n" + b"<div><p>" * 300_000,
    "uuencode": b"Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 x\r\n" + b"M" * 3_000_000,
    "tags": b"Subject: " + b"[#" * 100_000 + b"\r\n\r\n" + b"[# 12 " * 100_000,
    "figures": b"Subject: x\r\n\r\n" + b"1" * 1_000_000 + b"A001" * 100_000,
    "bounce": b"From: mailer-daemon@x.example\r\nSubject: failure notice\r\n\r\n"
    + b"<a@b.example>: 550 \r\n" * 100_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mails_take_little_time(name: str) -> None:
    began = time.process_time()
    mail = read(HOSTILE[name])
    sound(mail)
    secrets_in(mail.text)
    imeis(mail.text)
    plates(mail.text)
    bare_subject(mail.subject)
    assert time.process_time() - began < 6


def test_what_the_parser_cannot_hold_is_said() -> None:
    assert read(HOSTILE["parts"]).defects == ("too many parts to read",)
    assert "parts nested too deep" in read(HOSTILE["levels"]).defects or read(HOSTILE["levels"]).defects


@pytest.mark.parametrize("text", ["Нет данных с полудня", "没有数据", "Keine Daten für", "", "x"])
@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "gb18030", None, "nonsense", "zlib", "rot13", "unicode_escape"])
def test_texts_survive_their_label(text: str, charset: str | None) -> None:
    assert decoded(text.encode(), charset)[0] == text or charset in ("utf-16", "gb18030")


@given(st.text(max_size=100))
def test_encoded_words_come_back(text: str) -> None:
    shown = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    word = f"=?utf-8?B?{base64.b64encode(text.encode()).decode()}?="
    assert header(word) == shown


@given(st.text(max_size=300))
def test_any_header_is_text(text: str) -> None:
    assert header(text).isprintable()


def test_every_mail_is_judged_without_anything_known() -> None:
    from tests.ticketing.mail.world import NOW, SETTINGS
    from ticketing.mail.facts import Known

    known = Known(now=NOW, received_at=NOW, settings=SETTINGS)
    steps = {judge(read(path.read_bytes()), known).step for path in FIXTURES}
    assert steps == {"own", "bounced", "program", "unreadable", "spam", "new"} - {"bounced"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A001AA 77, в 123 кх 199", ("A001AA77", "B123KX199")),
        ("1234 AB-7", ("1234AB7",)),
        ("123 ABC 02", ("123ABC02",)),
        ("京A12345 和 粤B·D12345", ("京A12345", "粤BD12345")),
        ("order 12345, on 30.11.2026, 10:00", ()),
    ],
)
def test_plates(text: str, found: tuple[str, ...]) -> None:
    assert plates(text) == found


def test_plate_keys_and_imeis() -> None:
    assert plate_key("а 001-аа 77") == "A001AA77"
    assert imeis("356938035643809, 356938035643808; 3569380356438091") == ("356938035643809",)


@pytest.mark.parametrize(
    "text",
    [
        "password: Gx7!kvm2",
        "Login admin\nPassword = hunter22",
        "the password is s3cret",
        "пароль: Весна2026",
        "Пароль от сервера - qwe123",
        "密码：abc12345",
        "PIN: 4711",
        "-----BEGIN RSA PRIVATE KEY-----",
        "https://admin:pass99@server.example/",
        "token ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    ],
)
def test_secrets_are_seen_and_not_told(text: str) -> None:
    (found,) = secrets_in(f"Hello\n{text}")[:1]
    assert found.line in (2, 3)
    assert found.kind in ("password", "key", "token", "address")


@pytest.mark.parametrize(
    "text",
    [
        "I forgot my password, please reset it",
        "Пароль не подходит",
        "密码错误",
        "the token ring",
        "passed on 30.11.2026",
        "pin the map",
    ],
)
def test_talk_about_passwords_is_none(text: str) -> None:
    assert secrets_in(text) == ()


@pytest.mark.parametrize(
    ("subject", "bare"),
    [
        ("Re: [#DZ-10017] No data", "no data"),
        ("AW: Fwd: RE[2]: No   data", "no data"),
        ("Отв: На: Нет данных", "нет данных"),
        ("回复：转发: 没有数据", "没有数据"),
        ("Automatic reply: [#DZ-10017] x", "x"),
        ("Report: x", "report: x"),
    ],
)
def test_bare_subjects(subject: str, bare: str) -> None:
    assert bare_subject(subject) == bare
