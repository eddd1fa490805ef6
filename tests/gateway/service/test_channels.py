"""The channels that a configuration names, each with all that it says of them."""

from __future__ import annotations

import json
from email import message_from_bytes
from pathlib import Path

import pytest

from gateway.configuration.reading import load
from gateway.service.channels import configured_channels
from tests.ticketing.channels.test_channels import TICKET
from ticketing.channels.email import Mail
from ticketing.core.outbox import Outgoing

MAIL = """
[mail]
host = "mail.example.org"
port = 2525
tls = "starttls"
user = "dozor"
password_file = "secret"
from = "Desk <desk@example.org>"
to = ["ops@example.org", "duty@example.org"]
"""
HOOKS = """
[[webhook]]
url = "https://one.example/hook"
[[webhook]]
url = "https://two.example/hook"
secret_file = "secret"
"""


def channels(folder: Path, text: str) -> list:
    file = folder / "dozor.toml"
    file.write_text(f'data_dir = "{folder}"\n{text}')
    (folder / "secret").write_text("hush")
    return configured_channels(load(file, {}, implicit=False), b"k" * 32, "https://desk.example.org")


def letter(channel: Mail) -> str:
    ticket = TICKET | {"opened_at": "2026-11-16T21:30:12.345678Z", "due_at": "2026-11-17T09:00:00Z"}
    body = json.dumps({"event": "ticket.opened", "id": "1", "ticket": ticket})
    found = message_from_bytes(channel.letter(Outgoing("1", "ticket.opened", "DZ-1", body)))
    assert (found["From"], found["To"]) == ("Desk <desk@example.org>", "ops@example.org,\r\n duty@example.org")
    return found.get_payload(decode=True).decode()


def test_none_is_named(tmp_path: Path) -> None:
    assert channels(tmp_path, "") == []


@pytest.mark.parametrize(
    ("place", "opened"),
    [
        ("Asia/Almaty", "2026-11-17 02:30 +05 (2026-11-16 21:30 UTC)"),
        ("America/New_York", "2026-11-16 16:30 EST (21:30 UTC)"),
        ("", "2026-11-16 21:30 UTC"),
    ],
)
def test_letters_tell_times_in_the_desks_zone(tmp_path: Path, place: str, opened: str) -> None:
    (mail,) = channels(tmp_path, f'[desk]\ntime_zone = "{place}"\n{MAIL}')
    text = letter(mail)
    assert f"Opened:       {opened}\n" in text.replace("\r", "")
    assert "https://desk.example.org/tickets/" in text


def test_each_is_made_from_what_is_said_of_it(tmp_path: Path) -> None:
    mail, plain, signed = channels(tmp_path, MAIL + HOOKS)
    settings = mail._settings
    told = (settings.host, settings.port, settings.tls, settings.user, settings.password_file)
    assert told == ("mail.example.org", 2525, "starttls", "dozor", tmp_path / "secret")
    assert [channel.target for channel in (mail, plain, signed)] == [
        "mail",
        "https://one.example/hook",
        "https://two.example/hook",
    ]
    assert (plain._secret_file, signed._secret_file) == (None, tmp_path / "secret")
