"""Configuration values: what a key's raw TOML value or environment text means, and what is wrong with it.

A reader is called as ``reader(raw, origin)`` and returns the typed value or raises `WrongValueError`,
which never repeats a value that may hold a secret (a DSN, an address with a password or a token in it).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parseaddr
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gateway.mqtt import Broker, ClientTls, is_host, parse_url
from protocols.records import identity_of
from protocols.registry import PROTOCOLS
from ticketing import policies
from ticketing.working_time.errors import ClockInputError, PolicyError
from ticketing.working_time.time_zones import zone

Network = IPv4Network | IPv6Network
Reader = Callable[[object, "Origin"], Any]


class Address(msgspec.Struct, frozen=True):
    """Where to listen: host (name or address, without brackets) and port; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Tls(msgspec.Struct, frozen=True):
    """Where a listener's certificate and its key are."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was read: relative paths start at `base`; `text` is true where everything is text (environment)."""

    base: Path
    text: bool = False


class WrongValueError(ValueError):
    """What is wrong with a value, and the remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}: {remedy}")
        self.what = what
        self.remedy = remedy


MAX_HOOK = 2000
_RELAYS = ("wialon-retranslator", "egts")  # take all terminals on one connection
_PLATFORM = "wialon-ips"
# one component of a duration in seconds
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw])\s*)+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_SIZES = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_SIZE = re.compile(r"(\d{1,30})\s*([A-Za-z]*)")
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:\[\]/]+)):(\d{1,5})")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_LARGEST = 1 << 64  # no key takes as much; beyond 4 300 digits Python neither reads nor writes an integer


def show(raw: object) -> str:
    try:
        shown = f'"{raw}"' if isinstance(raw, str) else str(raw).lower() if isinstance(raw, bool) else repr(raw)
    except ValueError:  # an integer of thousands of digits, alone or in a list
        shown = "a number without end"
    return shown if len(shown) <= 60 else shown[:57] + "…"


def _unicode(raw: str) -> str:
    """What is no UTF-8 in a variable comes as halves of surrogate pairs, which only a path may hold."""
    if not raw.isascii():
        try:
            raw.encode()
        except UnicodeEncodeError:
            raise WrongValueError("is no UTF-8", "write it in UTF-8") from None
    return raw


def _number(raw: object) -> float | None:
    """A finite number, or None; text is read as a number too (the environment has nothing else)."""
    if isinstance(raw, str) and _NUMBER.fullmatch(text := raw.strip()):
        raw = float(text)
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return None
    if not -_LARGEST < raw < _LARGEST:  # an integer may be larger than any float
        return None
    return float(raw)


def text(raw: object, _: Origin) -> str:
    if not isinstance(raw, str):
        raise WrongValueError("is not text", "put it in quotes")
    if "\x00" in raw or "\n" in raw:
        raise WrongValueError("has a line break or NUL in it", "write it in one line")
    return _unicode(raw)


def boolean(raw: object, origin: Origin) -> bool:
    if origin.text and isinstance(raw, str) and raw.lower() in ("true", "false"):
        return raw.lower() == "true"
    if not isinstance(raw, bool):
        raise WrongValueError(f"{show(raw)} is not true or false", "write true or false, without quotes")
    return raw


def integer(least: int, most: int = 2**31 - 1) -> Reader:
    def read(raw: object, origin: Origin) -> int:
        number = raw
        if origin.text and isinstance(raw, str) and re.fullmatch(r"[+-]?\d{1,18}", digits := raw.strip()):
            number = int(digits)
        if isinstance(number, bool) or not isinstance(number, int):
            raise WrongValueError(
                f"{show(raw)} is not a whole number", f"write a number from {least} to {most}, without quotes"
            )
        if not least <= number <= most:
            raise WrongValueError(f"{show(number)} is out of range", f"take a number from {least} to {most}")
        return number

    return read


def factor(raw: object, origin: Origin) -> float:
    """A number above zero."""
    number = _number(raw) if origin.text or not isinstance(raw, str) else None
    if number is None:
        raise WrongValueError(f"{show(raw)} is not a number", "write a number such as 3.0, without quotes")
    if number <= 0:
        raise WrongValueError(f"{show(raw)} is not above zero", "take a number above 0")
    return number


def share(raw: object, origin: Origin) -> float:
    """A part of a whole: above 0, at most 1."""
    part = factor(raw, origin)
    if part > 1:
        raise WrongValueError(f"{show(raw)} is above one", "take a part of 1, such as 0.2")
    return part


def seconds_of(raw: object) -> float | None:
    """Seconds of a number or of a text such as "90s" or "1h30m"; None: neither."""
    if isinstance(raw, str) and _DURATION.fullmatch(raw.strip()):
        return sum(float(count) * _SECONDS[unit] for count, unit in _DURATION_PART.findall(raw))
    return _number(raw)


def duration(*, optional: bool = False, zero: bool = False) -> Reader:
    """Seconds as float; `optional`: empty text is None; `zero`: nothing at all is a duration too."""

    def read(raw: object, _: Origin) -> float | None:
        if optional and raw == "":
            return None
        seconds = seconds_of(raw)
        if seconds is None:
            raise WrongValueError(
                f"{show(raw)} is no duration", 'write seconds as a number, or text such as "90s", "15m", "24h"'
            )
        if seconds < 0 or (seconds == 0 and not zero):
            raise WrongValueError(f"{show(raw)} is not above zero", "take a longer duration")
        if seconds > 100 * 365 * 86400:  # a century: beyond it a date computed from it no longer fits
            raise WrongValueError(f"{show(raw)} is longer than a century", "take a shorter duration")
        return seconds

    return read


def size(raw: object, _: Origin) -> int | None:
    """Bytes, at least 1; empty text is None."""
    if raw == "":
        return None
    found = _SIZE.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if found and found[2].lower() in _SIZES:
        raw = int(found[1]) * _SIZES[found[2].lower()]
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise WrongValueError(f"{show(raw)} is no size", 'write bytes as a number, or text such as "64KiB", "64MiB"')
    if not 1 <= raw < 2**63:
        raise WrongValueError(f"{show(raw)} is out of range", "take at least 1 byte")
    return raw


def bound(raw: object, origin: Origin) -> int:
    """Bytes, at least 1, and never left empty."""
    found = size(raw, origin)
    if found is None:
        raise WrongValueError("is empty", 'write bytes as a number, or text such as "4GiB"')
    return found


def choice(*allowed: str) -> Reader:
    def read(raw: object, _: Origin) -> str:
        if raw not in allowed:
            raise WrongValueError(f"{show(raw)} is not known", "take one of " + ", ".join(f'"{a}"' for a in allowed))
        return str(raw)

    return read


def address(raw: object, _: Origin) -> Address:
    found = _ADDRESS.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if found is None:
        raise WrongValueError(f"{show(raw)} is no address", 'write HOST:PORT, such as "127.0.0.1:8080" or "[::]:5027"')
    port = int(found[3])
    if port > 65535:
        raise WrongValueError(f"port {port} does not exist", "take a port from 1 to 65535")
    host = found[1] or found[2]
    if not is_host(host):
        raise WrongValueError(f"{show(host)} is no host", "write a name or an address")
    return Address(host, port)


def path(raw: object, origin: Origin) -> Path:
    """An absolute path; a relative one starts at the folder of the configuration file."""
    if not isinstance(raw, str) or not raw or "\x00" in raw:
        raise WrongValueError(f"{show(raw)} is no path", "write a path in quotes")
    try:
        found = Path(raw).expanduser()
    except RuntimeError:  # of a user that there is not
        raise WrongValueError(f"{show(raw)} begins at nobody's home", "write the path whole") from None
    return Path(os.path.normpath(origin.base / found))


def file(raw: object, origin: Origin) -> Path | None:
    """An existing file, or None for empty text."""
    if raw == "":
        return None
    found = path(raw, origin)
    if not os.path.isfile(found):
        raise WrongValueError(f"{found} is no file, or cannot be reached", "create it, or correct the path")
    return found


def tls(raw: object, origin: Origin) -> Tls:
    """Certificate and key, tried together."""
    from gateway.tls import CertificateError, server_context

    if not isinstance(raw, dict) or set(raw) != {"cert", "key"}:
        raise WrongValueError("is not a certificate with its key", 'write {cert = "cert.pem", key = "key.pem"}')
    found = Tls(path(raw["cert"], origin), path(raw["key"], origin))
    try:
        server_context(found.cert, found.key)
    except CertificateError as error:
        raise WrongValueError(error.what, error.remedy) from None
    return found


def client_tls(raw: object, origin: Origin) -> ClientTls | None:
    """Authority, certificate and key of a client, tried together; an empty table is None."""
    from gateway.tls import CertificateError, client_context

    if raw == {}:
        return None
    names = ("ca", "cert", "key")
    if not isinstance(raw, dict) or not set(raw) <= set(names) or ("cert" in raw) != ("key" in raw):
        raise WrongValueError(
            "is no table of a client's certificates", 'write {ca = "ca.pem", cert = "cert.pem", key = "key.pem"}'
        )
    found = ClientTls(*(path(raw[name], origin) if name in raw else None for name in names))
    try:
        client_context(found.ca, found.cert, found.key)
    except CertificateError as error:
        raise WrongValueError(error.what, error.remedy) from None
    return found


def mqtt_url(raw: object, _: Origin) -> Broker:
    """A broker. The value is never repeated: it may hold a password."""
    found = parse_url(raw) if isinstance(raw, str) else None
    if found is None:
        raise WrongValueError(
            "is no mqtt or mqtts URL", 'write it whole, such as "mqtts://user@broker.example.org:8883"'
        )
    return found


def client_id(raw: object, origin: Origin) -> str:
    """A name at the broker, which stands in topics too: 1 to 64 characters."""
    if not isinstance(raw, str) or not re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", raw):
        raise WrongValueError(f"{show(raw)} is no name", "take 1 to 64 letters, digits, dots, hyphens or underscores")
    return raw


def topic_filter(raw: object, _: Origin) -> str:
    """What is subscribed to: levels, `+` and `#` each a level of their own, `#` the last."""
    levels = _unicode(raw).split("/") if isinstance(raw, str) else []
    wild = any(("+" in level or "#" in level) and len(level) > 1 for level in levels) or "#" in levels[:-1]
    if not isinstance(raw, str) or not raw or len(raw.encode()) > 1024 or wild or not raw.isprintable():
        raise WrongValueError(f"{show(raw)} is no topic filter", 'write one such as "telemetry/+/+"')
    if raw.startswith("$"):
        raise WrongValueError(f"{show(raw)} begins with $", "leave it out: `share` makes shared subscriptions")
    return raw


def listed(member: Reader) -> Reader:
    """A list; in the environment its members are separated by commas."""

    def read(raw: object, origin: Origin) -> list[Any]:
        if origin.text and isinstance(raw, str):
            raw = [part.strip() for part in raw.split(",") if part.strip()]
        if not isinstance(raw, list):
            raise WrongValueError(f"{show(raw)} is no list", 'write a list, such as ["…", "…"]')
        return [member(value, origin) for value in raw]

    return read


def network(raw: object, _: Origin) -> Network:
    try:
        if not isinstance(raw, str):
            raise ValueError("not text")
        return ip_network(raw)
    except ValueError as error:
        if isinstance(raw, str) and "host bits" in str(error):
            raise WrongValueError(
                f"{show(raw)} has host bits set", f'write "{ip_network(raw, strict=False)}"'
            ) from None
        raise WrongValueError(
            f"{show(raw)} is no network", 'write "10.0.0.0/8", "2001:db8::/32" or one address'
        ) from None


_MAILBOX = re.compile(r"[^@<>\s\0]+@[^@<>\s\0]+|[^@<>\r\n\0]*<[^@<>\s\0]+@[^@<>\s\0]+>")


def mailbox(raw: object, _: Origin) -> str:
    if not isinstance(raw, str) or not _MAILBOX.fullmatch(_unicode(raw)):
        raise WrongValueError(
            f"{show(raw)} is no mail address", 'write "name@example.org" or "Name <name@example.org>"'
        )
    return raw


_LOCAL = 40  # characters of a desk address before the @: what marks a letter is added, and 64 may not be exceeded


def desk_address(raw: object, origin: Origin) -> str:
    """A mail address of the desk's own, in ASCII: it stands in envelopes."""
    found = mailbox(raw, origin)
    local, _, _domain = parseaddr(found)[1].rpartition("@")
    if not local or not local.isascii():
        raise WrongValueError(f"{show(raw)} is no address in ASCII", 'write "support@example.org"')
    if len(local) > _LOCAL:
        what = f"{show(raw)} has more than {_LOCAL} characters before the @"
        raise WrongValueError(what, "take a shorter one: bounce addresses are made of it")
    return found


def letter_texts(raw: object, origin: Origin) -> Path | None:
    """A folder with texts of letters, all of them good; None for empty text."""
    if raw == "":
        return None
    found = path(raw, origin)
    from ticketing.letters.texts import problems  # templates are read with it, which few need

    try:
        wrong = problems(found)
    except OSError as error:
        remedy = "correct the path, or the folder's rights"
        raise WrongValueError(f"{found} cannot be read: {error.strerror or error}", remedy) from error
    if wrong:
        place, what, remedy = wrong[0]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise WrongValueError(f"{place}: {what}{more}", remedy)
    return found


def events(raw: object, origin: Origin) -> tuple[str, ...]:
    """What a target is told of, by name or for short; each once, in the order of a ticket's life."""
    from ticketing.channels.events import EVENTS, SHORT

    named = {SHORT.get(one, one) for one in listed(choice(*EVENTS, *SHORT))(raw, origin)}
    if not named:
        raise WrongValueError("is empty", f'name at least one, such as "{EVENTS[0]}", or take the table out')
    return tuple(event for event in EVENTS if event in named)


def needed_file(raw: object, origin: Origin) -> Path:
    """An existing file."""
    found = file(raw, origin)
    if found is None:
        raise WrongValueError("is empty", "name a file")
    return found


def empty_or(member: Reader) -> Reader:
    """Empty text stays as it is."""
    return lambda raw, origin: "" if raw == "" else member(raw, origin)


def none_or(member: Reader) -> Reader:
    """Empty text is None."""
    return lambda raw, origin: None if raw == "" else member(raw, origin)


def needed_text(raw: object, origin: Origin) -> str:
    """One line that is not empty."""
    found = text(raw, origin).strip()
    if not found:
        raise WrongValueError("is empty", "put a value in")
    return found


def dsn(raw: object, _: Origin) -> str:
    """A libpq DSN or URI, or empty text. The value is never repeated: it may hold a password."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    if not isinstance(raw, str):
        raise WrongValueError("is not text", "put it in quotes")
    if "\x00" in _unicode(raw):  # libpq would read what is before it
        raise WrongValueError("has a NUL in it", "take it out")
    try:
        conninfo_to_dict(raw)
    except ProgrammingError:
        remedy = 'write "postgresql://user@host/dbname" or "host=… dbname=… user=…"'
        raise WrongValueError("is no libpq DSN or URI", remedy) from None
    return raw


def time_zone(raw: object, _: Origin) -> str:
    """An IANA name."""
    try:
        return zone(raw if isinstance(raw, str) else "").key
    except ClockInputError:
        raise WrongValueError(
            f"there is no time zone {show(raw)}", 'write an IANA name such as "Europe/Moscow" or "UTC"'
        ) from None


def url(raw: object, _: Origin) -> str:
    """An http(s) URL without a trailing slash. The value is never repeated: it may hold a token."""
    try:
        parts = urlsplit(raw) if isinstance(raw, str) and not re.search(r"\s", raw) else None
        fine = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
        fine = fine and (parts is None or (parts.port != 0 and is_host(parts.hostname or "")))  # `port` may raise
    except ValueError:
        fine = False
    if not fine:
        raise WrongValueError("is no http or https URL", 'write it whole, such as "https://desk.example.org"')
    return str(raw).rstrip("/")


def hook(raw: object, origin: Origin) -> str:
    """A URL that is called as it is written: receivers tell `…/hook/` from `…/hook`."""
    url(raw, origin)
    # What is owed to it is found by an index, whose entries have 2 704 bytes.
    if len(str(raw).encode()) > MAX_HOOK:
        raise WrongValueError(f"has more than {MAX_HOOK} bytes", "take a shorter one: a token belongs in secret_file")
    return str(raw)


def consumer(raw: object, origin: Origin) -> Broker:
    """Where records are passed on to."""
    scheme = raw.partition("://")[0] if isinstance(raw, str) else ""
    if scheme == _PLATFORM or scheme in _RELAYS:
        return _platform(text(raw, origin))
    return mqtt_url(raw, origin)


def _platform(url: str) -> Broker:
    """Another platform: host and port; a password that all terminals log in with; our number as a dispatcher's."""
    scheme, _, rest = url.partition("://")
    found = parse_url(f"mqtt://{rest}")
    more = {
        _PLATFORM: f', with a password "{scheme}://:password@host:port"',
        "egts": ', with the number that this dispatcher has there "egts://7@host:port"',
    }.get(scheme, "")
    if found is None or (found.password and scheme != _PLATFORM) or not _known_as(scheme, found.user):
        raise WrongValueError(f"is no address of {scheme}", f'write "{scheme}://host:port"{more}')
    try:
        port = urlsplit(url).port or PROTOCOLS[scheme].port
    except ValueError:
        raise WrongValueError(f"is no address of {scheme}", f'write "{scheme}://host:port"') from None
    return Broker(scheme, found.host, port, found.user, found.password)


def _known_as(scheme: str, user: str) -> bool:
    """Whether a platform of this scheme can be told `user`: EGTS numbers dispatchers, others do not."""
    number = user.isascii() and user.isdigit() and len(user) <= 10 and int(user) < 1 << 32
    return not user or (scheme == "egts" and number)


def name(raw: object, _: Origin) -> str:
    """A short name, good for a label and a command line."""
    if not isinstance(raw, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", raw):
        raise WrongValueError(f"{show(raw)} is no name", 'write up to 64 letters, digits, "-" and "_"')
    return raw


def identity(raw: object, _: Origin) -> str:
    """A terminal's."""
    found = identity_of(raw) if isinstance(raw, str) else None
    if not found:
        raise WrongValueError(f"{show(raw)} is no identity", "write 1 to 64 printable characters in quotes")
    return found


def tiles(raw: object, origin: Origin) -> str:
    """URL template of a tile server."""
    template = url(raw, origin)
    if not all(part in template for part in ("{z}", "{x}", "{y}")):
        raise WrongValueError("does not say where zoom and tile go", 'write "https://…/{z}/{x}/{y}.png"')
    return template


def policy(raw: object, origin: Origin) -> str:
    """A shipped policy, `NAME` or `NAME@VERSION`, or the absolute path of a policy file."""
    names = ", ".join(f'"{name}"' for name in policies.PRESETS)
    remedy = f"take one of {names}, or a policy file"
    if not isinstance(raw, str) or not raw or "\x00" in raw:
        raise WrongValueError(f"there is no policy {show(raw)}", remedy)
    if raw in policies.PRESETS:
        return raw
    reference = str(file(raw, origin)) if policies.is_file(raw) else raw
    try:
        policies.resolve(reference)
    except PolicyError as error:
        raise WrongValueError(str(error), f"correct the file, `dozor policy check {raw}` tells all") from error
    except ClockInputError as error:
        named = raw.partition("@")[0] in policies.PRESETS
        raise WrongValueError(error.problem if named else f"there is no policy {show(raw)}", remedy) from error
    except OSError as error:
        raise WrongValueError(
            f"{raw} cannot be read: {error.strerror or error}", "correct the path, or the file's rights"
        ) from error
    return reference
