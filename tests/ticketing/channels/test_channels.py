import asyncio
import hashlib
import hmac
import json
import re
import shutil
import ssl
import subprocess
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.policy import default

import pytest
from aiosmtpd.smtp import SMTP, AuthResult

from ticketing.channels.email import Mail, MailSettings
from ticketing.channels.secrets import read_password
from ticketing.channels.webhook import Webhook, signature
from ticketing.core.errors import DeliveryError, UndeliverableError
from ticketing.core.outbox import Outgoing, trial

TICKET = {
    "number": "DZ-10017",
    "kind": "silence",
    "state": "new",
    "title": "Грузовик 12:\r\nBcc: evil@example.org silent for 6 min",
    "zone": "unknown",
    "priority": 2,
    "terminal": "860000000000001",
    "opened_at": "2026-11-16T10:00:00Z",
    "due_at": "2026-11-16T14:00:00Z",
    "evidence": {},
    "journal": [{"at": "2026-11-16T10:00:00Z", "actor": "watch", "action": "opened", "text": "silent for 6 min"}],
}
MESSAGE = Outgoing(
    "5f3a", "ticket.opened", "DZ-10017", json.dumps({"event": "ticket.opened", "id": "5f3a", "ticket": TICKET})
)


class Sink:
    """Keeps letters; refuses whom it is told to refuse."""

    def __init__(self, refused=(), code=550):
        self.letters = []
        self.refused = set(refused)
        self.code = code

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in self.refused:
            return f"{self.code} no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.letters.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 taken"


@asynccontextmanager
async def smtp(sink, **options):
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(sink, hostname="sink.example", **options), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def mail(port, *, to=("ops@example.org",), **options):
    settings = MailSettings("127.0.0.1", port, sender="Dozor <dozor@desk.example>", to=to, **options)
    return Mail(settings, b"k" * 32)


def test_a_letter_carries_the_marks_of_automatic_mail():
    async def scenario():
        sink = Sink()
        async with smtp(sink) as port:
            channel = mail(port, to=("ops@example.org", "Chief <chief@example.org>"), desk_url="https://desk.example/")
            first = await channel.send(MESSAGE)
            again = await channel.send(MESSAGE)
            return first, again, sink.letters

    first, again, letters = asyncio.run(scenario())
    assert first == again
    assert re.fullmatch(r"<t\.DZ-10017\.1\.[0-9a-f]{8}@desk\.example>", first)
    assert len(first) <= 60
    sender, recipients, raw = letters[0]
    assert sender == "dozor@desk.example"
    assert recipients == ["ops@example.org", "chief@example.org"]
    head = raw.partition(b"\r\n\r\n")[0].decode("ascii")
    assert "Auto-Submitted: auto-generated" in head
    assert "X-Auto-Response-Suppress: All" in head
    assert "Precedence: bulk" in head
    assert f"Message-ID: {first}" in head
    assert re.search(r"^X-Dozor-Instance: [0-9a-f]{16}\r?$", head, re.MULTILINE)
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998
    letter = message_from_bytes(raw, policy=default)
    assert letter["Bcc"] is None
    assert letter["Subject"] == "[#DZ-10017] Грузовик 12: Bcc: evil@example.org silent for 6 min"
    text = letter.get_content()
    assert "https://desk.example/tickets/DZ-10017" in text
    assert "860000000000001" in text


def test_a_test_letter_says_that_it_is_one():
    async def scenario():
        sink = Sink()
        async with smtp(sink) as port:
            await mail(port).send(trial())
            return message_from_bytes(sink.letters[0][2], policy=default)

    letter = asyncio.run(scenario())
    assert letter["Subject"] == "Dozor: test letter"


@pytest.fixture
def certificate(tmp_path, monkeypatch):
    """A server's TLS context, and its own certificate as the only authority that clients know."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here: no certificate for the mail server")
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem", "-days", "2"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *names]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    return context


def test_login_is_encrypted_and_takes_its_password_from_the_file(tmp_path, certificate):
    secret = tmp_path / "password"
    secret.write_text("пароль\n")
    seen = []

    def authenticate(server, session, envelope, mechanism, data):
        seen.append((data.login, data.password.decode()))
        return AuthResult(success=True)

    async def scenario():
        sink = Sink()
        options = {"authenticator": authenticate, "auth_required": True, "tls_context": certificate}
        async with smtp(sink, **options) as port:
            await mail(port, tls="starttls", user="dozor", password_file=secret).send(MESSAGE)
            with pytest.raises(DeliveryError):  # without the login it is refused, and tried again later
                await mail(port, tls="starttls").send(MESSAGE)
            with pytest.raises(DeliveryError, match="secret file"):
                await mail(port, tls="starttls", user="dozor", password_file=tmp_path / "absent").send(MESSAGE)
            return len(sink.letters)

    assert asyncio.run(scenario()) == 1
    assert seen == [(b"dozor", "пароль")]


SECRETS = {
    b"key": b"key",
    b"key\n": b"key",
    b"key\r\n": b"key",
    b"key\n\n": b"key\n",
    b" key \n": b" key ",
    b"\xff\x00\n": b"\xff\x00",
    b"\n\n": b"\n",
}


@pytest.mark.parametrize(("held", "key"), SECRETS.items())
def test_a_key_is_the_files_content_without_one_line_end(tmp_path, held, key):
    """Read at each call: a changed one counts at once."""
    secret, requests = tmp_path / "secret", []
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    async def scenario():
        async with http(ok, requests) as url:
            channel = Webhook(url, secret, clock=lambda: 1_795_000_000.0)
            try:
                for content in (b"earlier\n", held):
                    secret.write_bytes(content)
                    await channel.send(MESSAGE)
            finally:
                await channel.close()

    asyncio.run(scenario())
    for (head, body), expected in zip(requests, (b"earlier", key), strict=True):
        assert f"Dozor-Signature: {signature(expected, 1_795_000_000, body)}\r\n" in head


@pytest.mark.parametrize("held", [None, b"", b"\n", b"\r\n", "folder"])
def test_without_a_key_nothing_is_sent(tmp_path, held):
    """A key that anybody knows is none: such a call would look signed."""
    secret, requests = tmp_path / "secret", []
    if held == "folder":
        secret.mkdir()
    elif held is not None:
        secret.write_bytes(held)
    with pytest.raises(DeliveryError, match=f"secret file {secret}"):
        asyncio.run(call(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", requests, secret))
    assert requests == []


@pytest.mark.parametrize("held", ["пароль", "\ufeffпароль", "\ufeffпароль\r\n", "пароль\n"])
def test_a_password_file_of_any_editor_is_understood(tmp_path, held):
    file = tmp_path / "password"
    file.write_bytes(held.encode())
    assert asyncio.run(read_password(file)) == "пароль"


@pytest.mark.parametrize("encoding", ["cp1251", "utf-16"])
def test_a_password_file_that_is_no_utf_8_is_told_without_what_it_holds(tmp_path, encoding):
    file = tmp_path / "password"
    file.write_bytes("пароль".encode(encoding))

    async def scenario():
        sink = Sink()
        async with smtp(sink) as port:
            with pytest.raises(DeliveryError) as refused:
                await mail(port, user="dozor", password_file=file).send(MESSAGE)
            return refused.value, sink.letters

    refused, letters = asyncio.run(scenario())
    assert str(refused) == f"secret file {file} is not UTF-8"
    assert refused.__suppress_context__, "nor in a trace of it"
    assert letters == []


def test_a_server_that_takes_a_letter_and_dies_gets_the_same_one_again():
    """Nobody knows whether it went out: who has it twice can tell by its Message-ID."""

    class Dying(Sink):
        async def handle_DATA(self, server, session, envelope):
            answer = await super().handle_DATA(server, session, envelope)
            if len(self.letters) > 1:
                return answer
            server.transport.abort()
            return "421 dying"

    async def scenario():
        sink = Dying()
        async with smtp(sink) as port:
            channel = mail(port)
            with pytest.raises(DeliveryError) as unknown:
                await channel.send(MESSAGE)
            return unknown.value, await channel.send(MESSAGE), sink.letters

    unknown, identity, letters = asyncio.run(scenario())
    assert type(unknown) is DeliveryError
    assert unknown.settled == {}
    found = [message_from_bytes(raw, policy=default)["Message-ID"] for _, _, raw in letters]
    assert found == [identity, identity]


def test_who_has_taken_a_letter_is_not_written_to_again_whatever_the_order_of_addresses():
    settled = {"ops@example.org": "", "gone@example.org": "550 no such user"}
    message = Outgoing(MESSAGE.id, MESSAGE.event, MESSAGE.number, MESSAGE.body, settled)

    async def scenario():
        sink = Sink()
        async with smtp(sink) as port:
            await mail(port, to=("new@example.org", "Ops <ops@example.org>", "gone@example.org")).send(message)
            await mail(port, to=("gone@example.org", "ops@example.org")).send(message)
            return [recipients for _, recipients, _ in sink.letters]

    assert asyncio.run(scenario()) == [["new@example.org"]], "one added to the configuration, and nobody else"


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")

    async def scenario():
        sink = Sink()
        async with smtp(sink, tls_context=certificate) as port:
            with pytest.raises(DeliveryError, match=r"(?i)certificate"):
                await mail(port, tls="starttls").send(MESSAGE)
            return sink.letters

    assert asyncio.run(scenario()) == []


def test_starttls_is_not_given_up_silently():
    async def scenario():
        sink = Sink()
        async with smtp(sink) as port:
            with pytest.raises(DeliveryError):
                await mail(port, tls="starttls").send(MESSAGE)
            return sink.letters

    assert asyncio.run(scenario()) == []


@pytest.mark.parametrize(("code", "error"), [(550, UndeliverableError), (451, DeliveryError)])
def test_refused_addresses(code, error):
    async def scenario():
        sink = Sink(refused={"gone@example.org"}, code=code)
        async with smtp(sink) as port:
            with pytest.raises(DeliveryError) as caught:
                await mail(port, to=("gone@example.org",)).send(MESSAGE)
            with pytest.raises(DeliveryError) as partly:
                await mail(port, to=("gone@example.org", "ops@example.org")).send(MESSAGE)
            return caught.value, partly.value, sink.letters

    raised, partly, letters = asyncio.run(scenario())
    assert type(raised) is type(partly) is error
    assert str(partly) == f"refused: gone@example.org ({code} no such user)"
    assert partly.settled == {"ops@example.org": ""} | ({"gone@example.org": "550 no such user"} if code == 550 else {})
    assert [recipients for _, recipients, _ in letters] == [["ops@example.org"]]


def test_a_server_that_is_away_is_tried_again():
    with pytest.raises(DeliveryError):
        asyncio.run(mail(1).send(MESSAGE))


@asynccontextmanager
async def http(answer, requests):
    """A real HTTP/1.1 server: keeps requests, answers bytes."""

    async def serve(reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(re.search(r"content-length: (\d+)", head, re.IGNORECASE)[1])
                requests.append((head, await reader.readexactly(length)))
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?token=hidden"
    finally:
        server.close()


async def call(answer, requests, secret_file=None, times=1):
    async with http(answer, requests) as url:
        channel = Webhook(url, secret_file, clock=lambda: 1_795_000_000.9)
        try:
            return [await channel.send(MESSAGE) for _ in range(times)]
        finally:
            await channel.close()


def test_a_call_is_signed_over_time_and_body(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"key\n")
    requests = []
    ok = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
    assert asyncio.run(call(ok, requests, secret, times=2)) == ["204", "204"]
    head, body = requests[0]
    assert head.startswith("POST /hook?token=hidden HTTP/1.1\r\n")
    assert json.loads(body)["ticket"]["number"] == "DZ-10017"
    expected = hmac.new(b"key", b"1795000000." + body, hashlib.sha256).hexdigest()
    assert f"Dozor-Signature: t=1795000000,v1={expected}\r\n" in head
    assert "Idempotency-Key: 5f3a\r\n" in head
    assert "Content-Type: application/json\r\n" in head
    assert signature(b"key", 1_795_000_000, body) == f"t=1795000000,v1={expected}"
    assert requests[0] == requests[1]


def test_without_a_secret_there_is_no_signature():
    requests = []
    asyncio.run(call(b"HTTP/1.1 299 Fine\r\nContent-Length: 0\r\n\r\n", requests))
    assert "Dozor-Signature" not in requests[0][0]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"garbage\r\n\r\n",
        b"",
    ],
    ids=["500", "404", "redirect", "garbage", "nothing"],
)
def test_what_is_not_2xx_is_not_taken(answer, monkeypatch):
    monkeypatch.setattr("ticketing.channels.webhook.TIMEOUT", 0.3)
    requests = []
    with pytest.raises(DeliveryError):
        asyncio.run(call(answer, requests))
    assert len(requests) == 1


def test_an_endless_answer_is_not_read():
    requests = []
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n" + b"x" * 65_536
    assert asyncio.run(call(endless, requests)) == ["200"]


def test_nobody_listening_is_tried_again():
    with pytest.raises(DeliveryError):
        asyncio.run(Webhook("http://127.0.0.1:1/").send(MESSAGE))


def test_what_people_see_of_a_target_hides_its_secrets():
    assert Webhook("https://user:pass@a.example:8443/hook/TOKEN?k=v").shown == "https://a.example:8443"
