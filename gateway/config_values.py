"""Configuration values: what a key's raw TOML value or environment text means, and what is wrong with it.

A reader is called as ``reader(raw, origin)`` and returns the typed value or raises `WrongValueError`,
which never repeats a value that may hold a secret (a DSN, an address with a password or a token in it).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from protocols.registry import PROTOCOLS
from ticketing import policies
from ticketing.clock_errors import ClockInputError, PolicyError

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


# one component of a duration in seconds
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw])\s*)+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_SIZES = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_SIZE = re.compile(r"(\d+)\s*([A-Za-z]*)")
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:\[\]/]+)):(\d{1,5})")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")


def _show(raw: object) -> str:
    shown = f'"{raw}"' if isinstance(raw, str) else str(raw).lower() if isinstance(raw, bool) else repr(raw)
    return shown if len(shown) <= 60 else shown[:57] + "…"


def _number(raw: object) -> float | None:
    """A finite number, or None; text is read as a number too (the environment has nothing else)."""
    if isinstance(raw, str) and _NUMBER.fullmatch(raw.strip()):
        raw = float(raw)
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
        return None
    return float(raw)


def text(raw: object, _: Origin) -> str:
    if not isinstance(raw, str):
        raise WrongValueError("is not text", "put it in quotes")
    if "\x00" in raw or "\n" in raw:
        raise WrongValueError("has a line break or NUL in it", "write it in one line")
    return raw


def boolean(raw: object, origin: Origin) -> bool:
    if origin.text and isinstance(raw, str) and raw.lower() in ("true", "false"):
        return raw.lower() == "true"
    if not isinstance(raw, bool):
        raise WrongValueError(f"{_show(raw)} is not true or false", "write true or false, without quotes")
    return raw


def integer(least: int, most: int = 2**31 - 1) -> Reader:
    def read(raw: object, origin: Origin) -> int:
        number = raw
        if origin.text and isinstance(raw, str) and re.fullmatch(r"[+-]?\d{1,18}", raw.strip()):
            number = int(raw)
        if isinstance(number, bool) or not isinstance(number, int):
            raise WrongValueError(
                f"{_show(raw)} is not a whole number", f"write a number from {least} to {most}, without quotes"
            )
        if not least <= number <= most:
            raise WrongValueError(f"{number} is out of range", f"take a number from {least} to {most}")
        return number

    return read


def factor(raw: object, origin: Origin) -> float:
    """A number above zero."""
    number = _number(raw) if origin.text or not isinstance(raw, str) else None
    if number is None:
        raise WrongValueError(f"{_show(raw)} is not a number", "write a number such as 3.0, without quotes")
    if number <= 0:
        raise WrongValueError(f"{_show(raw)} is not above zero", "take a number above 0")
    return number


def duration(*, optional: bool = False, zero: bool = False) -> Reader:
    """Seconds as float; `optional`: empty text is None; `zero`: nothing at all is a duration too."""

    def read(raw: object, _: Origin) -> float | None:
        if optional and raw == "":
            return None
        seconds = _number(raw)
        if seconds is None and isinstance(raw, str) and _DURATION.fullmatch(raw.strip()):
            seconds = sum(float(count) * _SECONDS[unit] for count, unit in _DURATION_PART.findall(raw))
        if seconds is None:
            raise WrongValueError(
                f"{_show(raw)} is no duration", 'write seconds as a number, or text such as "90s", "15m", "24h"'
            )
        if seconds < 0 or (seconds == 0 and not zero):
            raise WrongValueError(f"{_show(raw)} is not above zero", "take a longer duration")
        if seconds > 100 * 365 * 86400:  # a century: beyond it a date computed from it no longer fits
            raise WrongValueError(f"{_show(raw)} is longer than a century", "take a shorter duration")
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
        raise WrongValueError(f"{_show(raw)} is no size", 'write bytes as a number, or text such as "64KiB", "64MiB"')
    if not 1 <= raw < 2**63:
        raise WrongValueError(f"{raw} is out of range", "take at least 1 byte")
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
            raise WrongValueError(f"{_show(raw)} is not known", "take one of " + ", ".join(f'"{a}"' for a in allowed))
        return str(raw)

    return read


def address(raw: object, _: Origin) -> Address:
    found = _ADDRESS.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if found is None:
        raise WrongValueError(f"{_show(raw)} is no address", 'write HOST:PORT, such as "127.0.0.1:8080" or "[::]:5027"')
    port = int(found[3])
    if port > 65535:
        raise WrongValueError(f"port {port} does not exist", "take a port from 1 to 65535")
    return Address(found[1] or found[2], port)


def path(raw: object, origin: Origin) -> Path:
    """An absolute path; a relative one starts at the folder of the configuration file."""
    if not isinstance(raw, str) or not raw or "\x00" in raw:
        raise WrongValueError(f"{_show(raw)} is no path", "write a path in quotes")
    return Path(os.path.normpath(origin.base / Path(raw).expanduser()))


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
    from gateway.receive.tls import CertificateError, server_context

    if not isinstance(raw, dict) or set(raw) != {"cert", "key"}:
        raise WrongValueError("is not a certificate with its key", 'write {cert = "cert.pem", key = "key.pem"}')
    found = Tls(path(raw["cert"], origin), path(raw["key"], origin))
    try:
        server_context(found.cert, found.key)
    except CertificateError as error:
        raise WrongValueError(error.what, error.remedy) from None
    return found


def listed(member: Reader) -> Reader:
    """A list; in the environment its members are separated by commas."""

    def read(raw: object, origin: Origin) -> list[Any]:
        if origin.text and isinstance(raw, str):
            raw = [part.strip() for part in raw.split(",") if part.strip()]
        if not isinstance(raw, list):
            raise WrongValueError(f"{_show(raw)} is no list", 'write a list, such as ["…", "…"]')
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
                f"{_show(raw)} has host bits set", f'write "{ip_network(raw, strict=False)}"'
            ) from None
        raise WrongValueError(
            f"{_show(raw)} is no network", 'write "10.0.0.0/8", "2001:db8::/32" or one address'
        ) from None


def mailbox(raw: object, _: Origin) -> str:
    if not isinstance(raw, str) or not re.fullmatch(r"[^@\r\n]+@[^@\s]+", raw):
        raise WrongValueError(
            f"{_show(raw)} is no mail address", 'write "name@example.org" or "Name <name@example.org>"'
        )
    return raw


def empty_or(member: Reader) -> Reader:
    """Empty text stays as it is."""
    return lambda raw, origin: "" if raw == "" else member(raw, origin)


def dsn(raw: object, _: Origin) -> str:
    """A libpq DSN or URI, or empty text. The value is never repeated: it may hold a password."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    if not isinstance(raw, str):
        raise WrongValueError("is not text", "put it in quotes")
    try:
        conninfo_to_dict(raw)
    except ProgrammingError:
        remedy = 'write "postgresql://user@host/dbname" or "host=… dbname=… user=…"'
        raise WrongValueError("is no libpq DSN or URI", remedy) from None
    return raw


def url(raw: object, _: Origin) -> str:
    """An http(s) URL without a trailing slash. The value is never repeated: it may hold a token."""
    try:
        parts = urlsplit(raw) if isinstance(raw, str) and not re.search(r"\s", raw) else None
        fine = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
        fine = fine and (parts is None or parts.port != 0)  # reading `port` raises when it is no port
    except ValueError:
        fine = False
    if not fine:
        raise WrongValueError("is no http or https URL", 'write it whole, such as "https://desk.example.org"')
    return str(raw).rstrip("/")


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
        raise WrongValueError(f"there is no policy {_show(raw)}", remedy)
    if raw in policies.PRESETS:
        return raw
    reference = str(file(raw, origin)) if policies.is_file(raw) else raw
    try:
        policies.resolve(reference)
    except PolicyError as error:
        raise WrongValueError(str(error), f"correct the file, `dozor policy check {raw}` tells all") from error
    except ClockInputError as error:
        named = raw.partition("@")[0] in policies.PRESETS
        raise WrongValueError(error.problem if named else f"there is no policy {_show(raw)}", remedy) from error
    except OSError as error:
        raise WrongValueError(
            f"{raw} cannot be read: {error.strerror or error}", "correct the path, or the file's rights"
        ) from error
    return reference


def protocol(raw: object, _: Origin) -> str:
    if not isinstance(raw, str) or raw not in PROTOCOLS:
        names = ", ".join(f'"{name}"' for name in PROTOCOLS)
        raise WrongValueError(f"there is no protocol {_show(raw)}", f"take one of {names}")
    return raw
