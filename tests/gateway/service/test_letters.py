"""Letters leave as the configuration says."""

import asyncio
from email import message_from_bytes
from pathlib import Path

from gateway.configuration.reading import load
from gateway.service.channels import carriage, configured_channels, courier_of
from tests.ticketing.channels.test_channels import Sink, smtp
from tests.ticketing.desk_parts import fetch, pool_of
from tests.ticketing.letters.parts import NOW, ticket
from ticketing.letters.owe import owe
from ticketing.letters.recipients import Recipient

SECRET = b"k" * 32
DESK = '[desk]\naddresses = ["Support <Support@desk.example>", "help@desk.example"]\nbudget = {address_hour = 1}\n'


def settings(folder: Path, text: str):
    file = folder / "dozor.toml"
    file.write_text(text)
    return load(file, {}, implicit=False)


def test_a_letter_goes_by_the_configured_server_and_is_counted(shared_dsn, tmp_path):
    async def scenario():
        sink = Sink()
        async with smtp(sink) as port, pool_of(shared_dsn) as pool:
            found = settings(tmp_path, f'{DESK}[mail]\nhost = "127.0.0.1"\nport = {port}\n')
            courier = courier_of(carriage(found, SECRET, "https://desk.example/"), pool)
            for _ in range(2):
                row, number = await ticket(pool)
                to = [Recipient(None, one, "Ann") for one in ("ann@acme.example", "help@desk.example")]
                async with pool.connection() as connection:
                    await owe(connection, "ack", key=number, ticket=row, recipients=to, data={}, at=NOW, auto=True)
            taken = await courier.cycle(NOW)
            assert configured_channels(found, SECRET, "") == []
            tasks = await fetch(pool, "SELECT kind, data FROM task ORDER BY id")
            told = await fetch(pool, "SELECT action, data ->> 'result', data ->> 'to' FROM journal ORDER BY id")
            return sink.letters, [(one.address, str(one.outcome)) for one in taken], tasks, told

    letters, taken, tasks, told = asyncio.run(scenario())
    ((sender, to, raw),) = letters
    assert sender.startswith("Support+b")
    assert to == ["ann@acme.example"]
    letter = message_from_bytes(raw)
    assert letter["From"] == "Support <Support@desk.example>"
    assert "https://desk.example/tickets/" in raw.decode().replace("=\r\n", "")
    assert sorted(taken) == [
        ("ann@acme.example", "digested"),
        ("ann@acme.example", "sent"),
        ("help@desk.example", "digested"),
        ("help@desk.example", "refused"),
    ]
    assert [(kind, data["why"], data["address"]) for kind, data in tasks] == [("call", "refused", "help@desk.example")]
    assert sorted(told) == [
        ("letter", "digested", "ann@acme.example"),
        ("letter", "digested", "help@desk.example"),
        ("letter", "refused", "help@desk.example"),
    ]


def test_without_a_mail_server_nothing_is_owed(tmp_path):
    assert courier_of(carriage(settings(tmp_path, DESK), SECRET, ""), None) is None
