"""What configuration says of protocols and serial lines: ports, register profiles, who speaks what."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

import msgspec

from gateway.configuration.values import Origin, WrongValueError, file, show, text
from protocols import modbus_fuel
from protocols.auto import AUTO
from protocols.modbus_fuel.profile import Profile, ProfileError
from protocols.registry import LINES, PROTOCOLS
from protocols.registry import protocol as find_protocol

_PROFILE_BYTES = 1 << 16  # of a file; the largest that can be used has some thousand


class Registers(msgspec.Struct, frozen=True):
    """A register profile by its name or path, and what it says; None: none."""

    profile: str
    registers: Profile | None


def port(raw: object, origin: Origin) -> str:
    """A serial port: a device's path, or a URL that pyserial knows."""
    found = text(raw, origin)
    scheme, url, _rest = found.partition("://")
    if not url:
        if not os.path.isabs(found) and not re.fullmatch(r"COM\d{1,3}", found):
            raise WrongValueError(f"{show(raw)} is no port", 'write a device such as "/dev/ttyUSB0", or a URL')
        return found
    if scheme in ("socket", "rfc2217"):
        try:
            parts = urlsplit(found)
            fine = bool(parts.hostname) and bool(parts.port)
        except ValueError:
            fine = False
        if not fine:
            raise WrongValueError(f"{show(raw)} has no host or no port", f'write it as "{scheme}://host:port"')
        return found
    try:
        import serial

        serial.serial_for_url(found, do_not_open=True)
    except (ValueError, ImportError, OSError, re.error):  # of `hwgrep://` it is a pattern
        raise WrongValueError(
            f"{show(raw)} is no URL of a port", 'write "socket://host:port", "rfc2217://host:port", or a device'
        ) from None
    return found


def profile(raw: object, origin: Origin) -> Registers:
    """A shipped register profile by name, or a file; empty text is none."""
    if raw == "":
        return Registers("", None)
    names = ", ".join(f'"{name}"' for name in modbus_fuel.SHIPPED)
    if isinstance(raw, str) and raw in modbus_fuel.SHIPPED:
        return Registers(raw, modbus_fuel.shipped(raw))
    if not isinstance(raw, str) or not ("/" in raw or raw.endswith(".toml")):
        raise WrongValueError(f"there is no register profile {show(raw)}", f"take one of {names}, or a file")
    found = file(raw, origin)
    assert found is not None  # noqa: S101  # it is not empty
    try:
        with found.open("rb") as source:
            data = source.read(_PROFILE_BYTES + 1)
        if len(data) > _PROFILE_BYTES:
            raise ProfileError(f"is larger than {_PROFILE_BYTES >> 10} KiB")
        return Registers(str(found), modbus_fuel.parse(data.decode()))
    except (ProfileError, UnicodeDecodeError) as error:
        raise WrongValueError(f"{found} {error}", "correct the file; docs/serial.md has its keys") from error
    except OSError as error:
        raise WrongValueError(
            f"{found} cannot be read: {error.strerror or error}", "correct the path, or the file's rights"
        ) from error


def spoken(raw: object, origin: Origin) -> str:
    """A protocol, or that the first bytes tell it."""
    return AUTO if raw == AUTO else protocol(raw, origin)


def told_apart(raw: object, origin: Origin) -> str:
    """A protocol that its first bytes tell."""
    found = protocol(raw, origin)
    if find_protocol(found).begins is None:
        raise WrongValueError(
            f"{found} is not told by its first bytes", "give it a listener of its own; docs/protocols.md lists those"
        )
    return found


def protocol(raw: object, _: Origin) -> str:
    if isinstance(raw, str) and raw in LINES:
        raise WrongValueError(f"{raw} is spoken on serial lines, nobody listens for it", "write it under [[serial]]")
    if not isinstance(raw, str) or raw not in PROTOCOLS:
        names = ", ".join(f'"{name}"' for name in (*PROTOCOLS, AUTO))
        raise WrongValueError(f"there is no protocol {show(raw)}", f"take one of {names}")
    return raw
