"""A record as a platform of Wialon Retranslator is told it: the `record` object that consumers get, as a packet.

Time in whole seconds; place in `posinfo`; measures under the customary parameters, all others under their own names
(`param.` left out). What the protocol has no way for is left out: names that are no printable ASCII of 64 characters,
texts with a zero or beyond 4096 bytes, whatever is beyond 16 KiB in all; what cannot be told at all is
`UnspeakableError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from protocols.errors import UnspeakableError
from protocols.wialon_retranslator import wire
from protocols.wialon_retranslator.measures import measure

_NAMED = {
    "inputs": "avl_inputs", "outputs": "avl_outputs", "driver.key": "avl_driver", "power.external": "pwr_ext",
    "power.battery": "pwr_int", "odometer": "odom_m", "ignition": "ign",
}  # fmt: skip
_NUMBERED = {"adc": "adc", "fuel.level": "rs485_lls", "fuel.status": "rs485_lls", "fuel.temperature": "rs485_t"}
_WITH_NUMBER = re.compile(r"(adc|fuel\.level|fuel\.status|fuel\.temperature)\.([1-9][0-9]?)")
_NAME = re.compile(r"[!-~]{1,64}")
_HIGHEST = 4095  # code of a fuel-level sensor; what is beyond is an error's
_LONGEST = 4096  # bytes of a text
_MOST = 16 << 10  # bytes of blocks
_LONG = 1 << 63
_BITS = 1 << 32
_SPEED = 1 << 15


def object_id(terminal: str) -> str | None:
    """A terminal as packets name it; None: they cannot."""
    return terminal if _NAME.fullmatch(terminal) else None


def packet(uid: str, record: Mapping[str, Any]) -> bytes:
    """The packet of a record of `uid`, see `object_id`.

    Raises
    ------
    UnspeakableError
        If its time is none that the protocol can tell, or nothing but its time is told and `uid` is too short.
    """
    try:
        time = int(datetime.fromisoformat(record["time"]).timestamp() // 1)
    except (ValueError, OverflowError):
        time = -1
    if not 0 <= time < _BITS:
        raise UnspeakableError(f"a record of {record['time']}")
    measures = dict(record["measures"])
    flags = 0
    content: list[bytes] = []
    if record["lat"] is not None and record["lon"] is not None:
        flags |= wire.POSITION
        speed, course = (min(max(round(record[name] or 0), -_SPEED), _SPEED - 1) for name in ("speed", "course"))
        satellites = min(max(record["satellites"] or 0, 0), 255)
        place = wire.posinfo(record["lon"], record["lat"], record["altitude"] or 0.0, speed, course, satellites)
        content.append(wire.block("posinfo", wire.BINARY, place, hidden=True))
    if measures.get("alarm") == 1:
        flags |= wire.ALARM
        del measures["alarm"]
    size = 0
    told: set[str] = set()
    for name, kind, value in _parameters(measures):
        block = wire.block(name, kind, value)
        if name in told or size + len(block) > _MOST:
            continue
        size += len(block)
        told.add(name)
        content.append(block)
    flags |= wire.INPUTS * ("avl_inputs" in told) | wire.OUTPUTS * ("avl_outputs" in told)
    flags |= wire.DRIVER * ("avl_driver" in told)
    found = wire.packet(uid, time, flags, content)
    if len(found) - 4 < wire.MIN_SIZE:
        raise UnspeakableError("a record of nothing but a time")
    return found


def _parameters(measures: Mapping[str, Any]) -> Iterator[tuple[str, int, bytes]]:
    """Name, type and value of what can be told."""
    for name, value in measures.items():
        parameter = _parameter(name, value)
        if not _NAME.fullmatch(parameter) or parameter == "posinfo":
            continue
        if isinstance(value, str):
            text = value.encode("utf-8", "replace")
            if b"\0" not in text and len(text) < _LONGEST:
                yield parameter, wire.TEXT, text + b"\0"
        elif name in ("inputs", "outputs"):
            if isinstance(value, int) and 0 <= value < _BITS:
                yield parameter, wire.INT, value.to_bytes(4, "big")
        elif isinstance(value, float) or (isinstance(value, int) and abs(value) < _LONG):
            yield parameter, *wire.number(value)


def _parameter(name: str, value: Any) -> str:
    """What a measure is called on the wire; empty: its name there would mean something else."""
    numbered = _WITH_NUMBER.fullmatch(name)
    if name in _NAMED:
        return _NAMED[name] if isinstance(value, int) or name != "ignition" else ""
    if numbered is not None:
        error = isinstance(value, int | float) and not 0 <= value <= _HIGHEST
        if numbered[1] in ("fuel.level", "fuel.status") and error != (numbered[1] == "fuel.status"):
            return ""
        return _NUMBERED[numbered[1]] + numbered[2]
    plain = name.removeprefix("param.")
    return plain if measure(plain) == f"param.{plain}" else ""
