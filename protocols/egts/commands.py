"""What is typed as a command, as EGTS has it: an action, the code of a parameter or a command, and a value.

    get 0x0402               ask for a parameter (also by name: get firmware)
    set 0x0262 u16:30        write one; also add, delete
    run 0x0009 u16:1         carry a command out (also by name: run restart)
    anything else            is handed to the terminal as it stands (raw data), in CP-1251

Values are text, or u8:…, u16:…, u32:… for a number, hex:… for bytes. Source: GOST 33472-2015, annex V.
"""

from __future__ import annotations

from typing import NamedTuple

from protocols.commands import MAX_COMMAND, text_problem
from protocols.egts import wire

MESSAGE_CONFIRMS, MESSAGE_FROM, MESSAGE_TO, COMMAND = 1, 3, 4, 5  # CT; 2 confirms a message
DONE, IN_PROGRESS = 0, 6  # CCT
RAW, FIRMWARE_VERSION = 0x0000, 0x0402
_ACTIONS = {"run": 0, "get": 1, "set": 2, "add": 3, "delete": 4}
_NAMES = {
    "errors": 0x0004, "clear-errors": 0x0005, "factory-reset": 0x0006, "restart": 0x0008, "outputs-on": 0x0009,
    "outputs-off": 0x000A, "outputs": 0x000B, "position": 0x000C, "sensors": 0x000D, "loops": 0x000E,
    "counters": 0x000F, "state": 0x0010, "clear-odometer": 0x0011, "serial": 0x0400, "hardware": 0x0401,
    "firmware": 0x0402, "vendor": 0x0403, "unit": 0x0404, "imei": 0x0405,
}  # fmt: skip
_SIZES = {"u8": 1, "u16": 2, "u32": 4}


class Typed(NamedTuple):
    """A command as it goes out."""

    action: int
    code: int
    value: bytes


class CommandError(ValueError):
    """What is typed is no command."""


def read(text: str) -> Typed:
    """What is typed.

    Raises
    ------
    CommandError
        If it begins as a command of ours and does not go on as one, or cannot be sent.
    """
    word, _, rest = text.partition(" ")
    action = _ACTIONS.get(word)
    if action is None:
        try:
            return Typed(0, RAW, text.encode("cp1251"))
        except UnicodeEncodeError as error:
            raise CommandError(f"{text[error.start]!r} is no character of CP-1251, in which EGTS sends texts") from None
    which, _, value = rest.strip().partition(" ")
    code = _NAMES.get(which)
    if code is None:
        try:
            code = int(which, 0)
        except ValueError:
            raise CommandError(
                f"{word} is followed by a code such as 0x0402, or one of {', '.join(_NAMES)}; to send this text as it "
                "stands, let it begin otherwise"
            ) from None
    if not 0 <= code <= 0xFFFF:
        raise CommandError(f"code {which}: 0 to 0xffff")
    if action == 2 and not value:
        raise CommandError("set is followed by a code and a value: text, u8:1, u16:1, u32:1 or hex:01")
    return Typed(action, code, _value(value))


def _value(text: str) -> bytes:
    kind, colon, told = text.partition(":")
    if colon and kind in _SIZES:
        try:
            return int(told, 0).to_bytes(_SIZES[kind], "little")
        except (ValueError, OverflowError):
            raise CommandError(f"{text!r} is no number of {8 * _SIZES[kind]} bits") from None
    if colon and kind == "hex":
        try:
            return bytes.fromhex(told)
        except ValueError:
            raise CommandError(f"{text!r}: hex digits, two a byte") from None
    try:
        return text.encode("cp1251")
    except UnicodeEncodeError as error:
        raise CommandError(f"{text[error.start]!r} is no character of CP-1251, in which EGTS sends texts") from None


def problem(text: str) -> str:
    """Why it is no command; empty: it is one."""
    found = text_problem(text, MAX_COMMAND)
    if found:
        return found
    try:
        read(text)
    except CommandError as error:
        return str(error)
    return ""


def build(typed: Typed, cid: int) -> bytes:
    """COMMAND_DATA of a command, as a subrecord."""
    head = bytes((COMMAND << 4,)) + cid.to_bytes(4, "little") + (1).to_bytes(4, "little") + b"\0"
    body = bytes(2) + bytes((typed.action,)) + typed.code.to_bytes(2, "little") + typed.value
    return wire.subrecord(wire.COMMAND_DATA, head + body)


class Told(NamedTuple):
    """COMMAND_DATA from a terminal."""

    kind: int
    result: int
    cid: int
    code: int | None  # of the parameter or command that is confirmed
    text: str | None
    data: bytes


def heard(data: bytes) -> Told | None:
    """COMMAND_DATA as a terminal sends it; None: it is too short for what it says it holds."""
    if len(data) < 10:
        return None
    kind, result, flags, at = data[0] >> 4, data[0] & 15, data[9], 10
    charset = 0
    if flags & 1:
        charset = data[at] if at < len(data) else 0
        at += 1
    if flags & 2:
        at += 1 + (data[at] if at < len(data) else 0)
    if at > len(data):
        return None
    body = data[at:]
    code = None
    if kind == MESSAGE_CONFIRMS and len(body) >= 4:
        code, body = int.from_bytes(body[2:4], "little"), body[4:]
    shown = None if charset in (2, 4) else wire.text(body, charset)
    return Told(kind, result, int.from_bytes(data[1:5], "little"), code, shown, body)
