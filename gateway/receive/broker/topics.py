"""What a topic says: whose payload it is, and how it is read.

…/{terminal}/{protocol}      raw frames of a protocol that is known
…/{terminal}/json, …/data    JSON; `data` is where Teltonika's terminals put theirs
owntracks/{user}/{device}    JSON; the terminal is called `user/device`
the template's               JSON by the template
…/status/{terminal}          whether it is connected
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from protocols.json_records.template import Template
from protocols.records import identity_of
from protocols.registry import PROTOCOLS, RECEIVED

_NUMBERS = {name: number for number, name in enumerate(RECEIVED)}
JSON, UNKNOWN = _NUMBERS["json"], _NUMBERS["unknown"]


class Kind(enum.Enum):
    """How a payload is read."""

    FRAMES = enum.auto()
    JSON = enum.auto()
    STATUS = enum.auto()
    NOTHING = enum.auto()  # it is kept raw; `Route.reason` says why


@dataclass(frozen=True, slots=True)
class Route:
    """Where a topic's payloads go.

    Attributes
    ----------
    terminal : whose they are; "" where the payload says so.
    protocol : number of the protocol.
    template : by which JSON is read; None: by its shape.
    """

    kind: Kind
    terminal: str
    protocol: int
    reason: str = ""
    template: Template | None = None


def status_filters(topics: Sequence[str]) -> list[str]:
    """Filters of the status topics beside those that are subscribed to."""
    found: dict[str, None] = {}
    for topic in topics:
        levels = topic.split("/")
        if "telemetry" in levels[:-1]:
            at = levels.index("telemetry")
            found["/".join([*levels[:at], "status", levels[at + 1] if levels[at + 1] != "#" else "+"])] = None
    return list(found)


class Topics:
    """Topics to routes."""

    def __init__(self, topics: Sequence[str], template: Template | None) -> None:
        self._template = template
        self._status = [filtered.split("/") for filtered in status_filters(topics)]

    def route(self, topic: bytes) -> Route:
        """Where this one's payloads go; never raises."""
        try:
            text = topic.decode("utf-8")
        except UnicodeDecodeError:
            return Route(Kind.NOTHING, topic.decode("utf-8", "replace").replace("\0", "\ufffd")[:64], UNKNOWN, "topic")
        levels = text.split("/")
        if any(_matches(levels, status) for status in self._status):
            return _named(Kind.STATUS, levels[-1], JSON, text)
        template = self._template
        if template is not None and (found := template.terminal_of(levels)) is not None:
            if found == "" and template.terminal:
                return Route(Kind.JSON, "", JSON, template=template)
            return _named(Kind.JSON, found, JSON, text, template)
        if levels[0] == "owntracks" and len(levels) in (3, 4) and all(levels):
            return _named(Kind.JSON, f"{levels[1]}/{levels[2]}", JSON, text, template)
        if len(levels) < 2:
            return Route(Kind.NOTHING, _shown(text), UNKNOWN, "topic")
        terminal, last = levels[-2:]
        if last in ("json", "data"):
            by_topic = template if template is not None and not template.levels else None
            return _named(Kind.JSON, terminal, JSON, text, by_topic)
        if last not in PROTOCOLS:
            return Route(Kind.NOTHING, identity_of(terminal) or _shown(text), UNKNOWN, "protocol")
        return _named(Kind.FRAMES, terminal, _NUMBERS[last], text)


def _named(kind: Kind, terminal: str, protocol: int, text: str, template: Template | None = None) -> Route:
    """A terminal's, if that is the name of one as it stands there."""
    fits = identity_of(terminal) == terminal and terminal[:1] != "$"
    if not terminal or not fits:
        return Route(Kind.NOTHING, _shown(text), UNKNOWN, "topic")
    return Route(kind, terminal, protocol, template=template)


def _matches(levels: list[str], wanted: list[str]) -> bool:
    return len(levels) == len(wanted) and all(want in ("+", level) for want, level in zip(wanted, levels, strict=True))


def _shown(text: str) -> str:
    """A topic as the name of whoever sent to it, where it names nobody."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)[:64]
