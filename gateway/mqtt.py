"""Where an MQTT broker is, and how to get in: what its URL and the tables beside it say.

A password never shows: neither in `repr`, nor in `str`, nor in a message.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from gateway.tls import client_context

PORTS = {"mqtt": 1883, "mqtts": 8883}
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")
_LONGEST = 65_535  # bytes of a user or password, by their length fields


class ClientTls(msgspec.Struct, frozen=True):
    """Files of a client's TLS; None: the system's authorities, no certificate of its own."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


class Broker(msgspec.Struct, frozen=True):
    """A broker's URL in parts; `str` is its host and port, as metrics and logs name it."""

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = ""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Broker({self.scheme}://{self})"

    @property
    def secure(self) -> bool:
        """Whether it is spoken to over TLS."""
        return self.scheme == "mqtts"


def is_host(text: str) -> bool:
    """Whether it can be looked up at all: labels of a name have 1 to 63 characters, as they are asked for."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return True


def parse_url(text: str) -> Broker | None:
    """`mqtt://host`, `mqtts://user:password@host:8883`; None: it is neither. Special characters stand as %XX."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    more = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in PORTS or not _HOST.fullmatch(host) or port == 0 or more or re.search(r"\s", text):
        return None
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    try:
        long = max(len(user.encode()), len(password.encode())) > _LONGEST
    except UnicodeEncodeError:  # out of a variable that is no UTF-8
        return None
    if "\0" in user + password or long or not is_host(host):
        return None
    return Broker(parts.scheme, host, port or PORTS[parts.scheme], user, password)


def context_of(broker: Broker, tls: ClientTls | None) -> ssl.SSLContext | None:
    """The TLS of a connection to it; None: plain.

    Raises
    ------
    gateway.tls.CertificateError
        If a certificate or key cannot be used.
    """
    if not broker.secure:
        return None
    tls = tls or ClientTls()
    return client_context(tls.ca, tls.cert, tls.key)
