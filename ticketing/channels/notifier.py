"""Chats, pagers and phones by apprise: a file of addresses, one a line, each told once.

Behind the outbox, since apprise keeps nothing: what one address took is remembered, and only the others are tried
again. After a time-out it may have been told and is told once more.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ticketing.channels.events import WORDS
from ticketing.channels.letter import one_line
from ticketing.channels.secrets import LIMIT
from ticketing.core.errors import DeliveryError
from ticketing.core.outbox import OPENED, Outgoing

if TYPE_CHECKING:
    from apprise import Apprise

TIMEOUT = 20.0  # s, for all addresses of one attempt
MOST = 50  # addresses in a file


class Notifier:
    """One file of addresses. It is read at each use: a changed one counts at once, and none of it is ever shown."""

    name = "notify"

    def __init__(self, url_file: Path, events: tuple[str, ...] = (OPENED,), *, desk_url: str = "") -> None:
        self.target = str(url_file)
        self.shown = url_file.name
        self.events = events
        self._file = url_file
        self._desk_url = desk_url.rstrip("/")

    async def send(self, message: Outgoing) -> str:
        """Tell every address that has not been told yet; see `Channel.send`."""
        services = await asyncio.to_thread(_services, self._file)
        open_ones = {key: one for key, one in services.items() if key not in message.settled}
        title, body = self._words(message)
        results = await asyncio.gather(*(_tell(one, title, body) for one in open_ones.values()))
        failed = [
            f"address {place}: {why}" for place, why in zip(_places(services, open_ones), results, strict=True) if why
        ]
        if failed:
            took = {key: "" for key, why in zip(open_ones, results, strict=True) if not why}
            raise DeliveryError("; ".join(failed), took)
        return f"{len(services)} addresses"

    async def close(self) -> None:
        """Nothing is held."""

    def _words(self, message: Outgoing) -> tuple[str, str]:
        ticket = message.ticket
        word = WORDS.get(message.event, message.event)
        if ticket is None:
            told: dict[str, Any] = msgspec.json.decode(message.body).get("outage") or {}
            rows = [
                f"{name.replace('_', ' ')}: {told[name]}"
                for name in ("started_at", "ended_at", "eta")
                if told.get(name)
            ]
            return word, one_line("; ".join(rows)) or "This message says only that the channel works."
        lines = [one_line(str(ticket.get("title") or ""))]
        lines += [
            f"{label}: {one_line(str(ticket[key]))}"
            for key, label in (
                ("state", "State"),
                ("priority", "Priority"),
                ("terminal", "Terminal"),
                ("due_at", "Due"),
            )
            if ticket.get(key)
        ]
        if self._desk_url:
            lines.append(f"{self._desk_url}/tickets/{message.number}")
        return f"{message.number}: {word}", "\n".join(lines)


def problems(url_file: Path) -> list[str]:
    """What is wrong with a file of addresses; none of it is repeated, since addresses hold tokens."""
    try:
        _services(url_file)
    except DeliveryError as error:
        return [str(error)]
    return []


def _services(url_file: Path) -> dict[str, Apprise]:
    """Each address of the file, by a digest of it.

    Raises
    ------
    DeliveryError
        If the file cannot be read, or a line of it is no address.
    """
    import apprise  # it knows a hundred services, and takes its time to learn them

    try:
        with url_file.open("rb") as file:
            raw = file.read(LIMIT + 1)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise DeliveryError(f"{url_file}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise DeliveryError(f"{url_file} is not UTF-8") from None
    if len(raw) > LIMIT:
        raise DeliveryError(f"{url_file} has more than {LIMIT} bytes")
    found: dict[str, Apprise] = {}
    # Nothing is read from or kept in the home directory.
    asset = apprise.AppriseAsset(plugin_paths=[], storage_mode=apprise.PersistentStoreMode.MEMORY, app_id="Dozor")
    for number, line in enumerate(text.splitlines(), 1):
        address = line.strip()
        if not address or address.startswith("#"):
            continue
        one = apprise.Apprise(asset=asset)
        if len(found) >= MOST or not one.add(address):
            what = f"has more than {MOST} addresses" if len(found) >= MOST else "is no address that apprise knows"
            raise DeliveryError(f"{url_file}:{number}: {what}")
        found[hashlib.sha256(address.encode()).hexdigest()[:16]] = one
    if not found:
        raise DeliveryError(f"{url_file} holds no address: write one a line, such as ntfys://topic")
    return found


def _places(services: dict[str, Apprise], wanted: dict[str, Apprise]) -> list[int]:
    order = {key: place for place, key in enumerate(services, 1)}
    return [order[key] for key in wanted]


async def _tell(one: Apprise, title: str, body: str) -> str:
    """Tell one address; why it was not, "" if it was."""
    try:
        result = await one.async_notify(body=body, title=title, timeout=TIMEOUT)
    except (TypeError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if result else f"{next((each.name for each in result), 'it')} says {result.status.name.lower()}"
