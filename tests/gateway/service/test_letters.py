"""Letters leave as the configuration says."""

import asyncio
from email import message_from_bytes
from pathlib import Path

from gateway.configuration.reading import load
from gateway.service.channels import configured_channels
from gateway.service.letters import courier_of, desk_of, letter_metrics, own_addresses
from tests.ticketing.channels.test_channels import Sink, smtp
from tests.ticketing.desk_parts import pool_of
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
            courier = courier_of(found, pool, SECRET, "https://desk.example/")
            for _ in range(2):
                row, number = await ticket(pool)
                to = [Recipient(None, one, "Ann") for one in ("ann@acme.example", "help@desk.example")]
                async with pool.connection() as connection:
                    await owe(connection, "ack", key=number, ticket=row, recipients=to, data={}, at=NOW, auto=True)
            await courier.cycle(NOW)
            assert configured_channels(found, SECRET, "") == []
            return sink.letters, [(s.labels, s.value) for m in letter_metrics(courier) for s in m.samples]

    letters, counted = asyncio.run(scenario())
    ((sender, to, raw),) = letters
    assert sender.startswith("Support+b")
    assert to == ["ann@acme.example"]
    letter = message_from_bytes(raw)
    assert letter["From"] == "Support <Support@desk.example>"
    assert "https://desk.example/tickets/" in raw.decode().replace("=\r\n", "")
    assert ({"kind": "ack", "result": "sent"}, 1.0) in counted
    assert ({"kind": "ack", "result": "digested"}, 2.0) in counted or (
        {"kind": "ack", "result": "refused"},
        1.0,
    ) in counted


def test_who_writes(tmp_path):
    assert desk_of(settings(tmp_path, DESK), SECRET, "https://d.example/").url == "https://d.example"
    assert own_addresses(settings(tmp_path, DESK)) == {"support@desk.example", "help@desk.example"}
    plain = settings(tmp_path, '[mail]\nhost = "h"\nfrom = "ops@desk.example"\nto = ["a@b.example"]\n')
    assert desk_of(plain, SECRET, "").sender == "ops@desk.example"
