"""Commands as people write them, as messages to the terminal, and what its answers say.

attributes                     0x8107: maker, model, ICCID, hardware, firmware
parameters [ID …]              0x8104, 0x8106: all, or those
set ID=VALUE [ID=VALUE …]      0x8103: numbers as the standard's u32, u16, u8 by ID; others as text
locate                         0x8201: where is it
control N[;PARAMETERS]         0x8105: 4 restarts the terminal, 5 resets it to the factory's settings
anything else                  0x8300: a text for the terminal, as makers' own commands are sent
"""

from __future__ import annotations

import re

from protocols.commands import MAX_COMMAND, text_problem
from protocols.jt808.wire import (
    ASK_ATTRIBUTES,
    ASK_LOCATION,
    ASK_PARAMETERS,
    ASK_SOME,
    CONTROL,
    SET_PARAMETERS,
    TEXT,
    gbk,
)

_VERBS = ("attributes", "parameters", "set", "locate", "control")
_ID = re.compile(r"(?:0[xX])?[0-9A-Fa-f]{1,8}")
_DISPLAY = 1 << 2  # of a text: show it

# Lengths of the parameters that are numbers; all else is text. Source: JT/T 808-2019 table 12.
_SIZES = {
    **dict.fromkeys((*range(0x01, 0x08), 0x18, 0x19, 0x1B, 0x1C, *range(0x20, 0x23), *range(0x27, 0x2A)), 4),
    **dict.fromkeys((*range(0x2C, 0x31), *range(0x45, 0x48), *range(0x50, 0x5B), *range(0x70, 0x75), 0x80), 4),
    **dict.fromkeys((0x31, 0x5B, 0x5C, 0x5D, 0x5E, 0x81, 0x82), 2),
    0x84: 1,
}


def problem(text: str) -> str:
    """Why a text is no command, empty if it is one."""
    wrong = text_problem(text, MAX_COMMAND)
    if wrong:
        return wrong
    try:
        encode(text)
    except UnicodeEncodeError:
        return "JT/T 808 carries GBK: the command has characters that it lacks"
    except ValueError as error:
        return str(error)
    return ""


def encode(text: str, *, new: bool = False) -> tuple[int, bytes]:
    """The message and its body; `new`: for a terminal that speaks the edition of 2019.

    Raises
    ------
    ValueError
        If a known verb has wrong arguments.
    """
    verb, _, rest = text.strip().partition(" ")
    words = rest.split()
    match verb:
        case "attributes" if not words:
            return ASK_ATTRIBUTES, b""
        case "locate" if not words:
            return ASK_LOCATION, b""
        case "parameters":
            ids = [_id(word) for word in words]
            if not ids:
                return ASK_PARAMETERS, b""
            return ASK_SOME, bytes((_few(ids),)) + b"".join([number.to_bytes(4, "big") for number in ids])
        case "set" if words:
            items = [_item(word) for word in words]
            return SET_PARAMETERS, bytes((_few(items),)) + b"".join(items)
        case "control" if words:
            number, _, tail = rest.strip().partition(";")
            if not number.isdecimal() or int(number) > 255:
                raise ValueError("control takes a number of 0 to 255, and what follows a semicolon: control 4")
            return CONTROL, bytes((int(number),)) + tail.encode("gbk")
        case "attributes" | "locate" | "set" | "control":
            raise ValueError(f"{verb} is written: {_USAGE[verb]}")
    flags = bytes((_DISPLAY, 1)) if new else bytes((_DISPLAY,))  # 2019: and a notice, no service
    return TEXT, flags + text.strip().encode("gbk")


_USAGE = {
    "attributes": "attributes", "locate": "locate", "set": "set 0x0029=30 0x0083=A123", "control": "control 4",
}  # fmt: skip


def _id(word: str) -> int:
    if not _ID.fullmatch(word):
        raise ValueError(f"{word!r} is no number of a parameter: they are hexadecimal, such as 0x0029")
    return int(word, 16)


def _few(items: list[int] | list[bytes]) -> int:
    if len(items) > 100:
        raise ValueError("at most 100 parameters in one command")
    return len(items)


def _item(word: str) -> bytes:
    name, equals, value = word.partition("=")
    if not equals:
        raise ValueError(f"{word!r}: a parameter is set by ID=VALUE, such as 0x0029=30")
    number = _id(name)
    size = _SIZES.get(number, 0)
    if size:
        if not value.isdecimal() or int(value) >= 1 << 8 * size:
            raise ValueError(f"{name} takes a whole number below {1 << 8 * size}")
        data = int(value).to_bytes(size, "big")
    else:
        data = value.encode("gbk")
    if len(data) > 255:
        raise ValueError(f"{name}: a value has at most 255 bytes")
    return number.to_bytes(4, "big") + bytes((len(data),)) + data


def parameters_text(body: bytes) -> str | None:
    """The list of a 0x0104, as `set` takes it; None where it is damaged."""
    found, at = [], 3
    while at < len(body):
        size = body[at + 4] if at + 5 <= len(body) else 256
        if at + 5 + size > len(body):
            return None
        number, value = int.from_bytes(body[at : at + 4], "big"), body[at + 5 : at + 5 + size]
        if _SIZES.get(number) == size:
            told = str(int.from_bytes(value, "big"))
        else:
            told = gbk(value)
            told = told if told.isprintable() else value.hex()
        found.append(f"0x{number:04x}={told}")
        at += 5 + size
    return " ".join(found)
