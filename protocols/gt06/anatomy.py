"""GT06's bytes by name.

start 2 · length 1 or 2 · protocol 1 · content · serial 2 · crc 2 · stop 2
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from protocols.anatomy import Cursor, ShortError, Unit, checked
from protocols.gt06 import wire
from protocols.gt06.contents import Layout, layout
from protocols.headed import DamagedRecordError

_KINDS = {
    wire.LOGIN: "login",
    **dict.fromkeys((wire.HEARTBEAT, wire.HEARTBEAT_2, wire.TIME), "request"),
}


def anatomy(data: bytes, *, udp: bool = False) -> Iterator[Unit]:
    """The units of a connection's bytes."""
    del udp  # not spoken over it
    at = 0
    while at < len(data):
        unit = _unit(data, at)
        yield unit
        at += unit.size


def _unit(data: bytes, at: int) -> Unit:
    cursor = Cursor(data, at)
    start = data[at : at + 2]
    head = 4 if start == wire.LONG else 3
    size = int.from_bytes(data[at + 2 : at + head], "big") + head + 2 if start in (wire.SHORT, wire.LONG) else 0
    if not wire.SHORTEST <= size <= wire.MAX_FRAME or size > cursor.left:
        found = [place for place in (data.find(wire.SHORT, at + 1), data.find(wire.LONG, at + 1)) if place > 0]
        cursor.take(min(found, default=len(data)) - at, "remainder")
        return Unit("unreadable", cursor.spans)
    cursor.take(2, "start")
    cursor.number(head - 2, "length")
    protocol = cursor.number(1, "protocol")
    cursor.say(f"0x{protocol:02x}")
    content = data[cursor.at : at + size - 6]
    inner = Cursor(data, cursor.at, at + size - 6)
    with suppress(ShortError):
        _content(inner, protocol, content)
    inner.rest()
    cursor.spans += inner.spans
    cursor.at = inner.at
    cursor.number(2, "serial")
    crc = cursor.number(2, "crc")
    cursor.say(checked(crc, wire.crc(data[at + 2 : at + size - 4])))
    stop = cursor.take(2, "stop")
    cursor.say(None if stop == wire.STOP else "wrong, 0d0a is right")
    kind = _KINDS.get(protocol, "frame" if wire.is_record(protocol, content) else "text")
    return Unit(kind, cursor.spans)


def _content(cursor: Cursor, protocol: int, content: bytes) -> None:
    if protocol == wire.LOGIN:
        imei = cursor.take(8, "imei")
        cursor.say(imei.hex()[1:])
        if cursor.left:
            cursor.number(2, "type")
        if cursor.left:
            word = cursor.number(2, "zone")
            cursor.say(f"{wire.zone_of(word):+d} min, language {word & 3}")
    elif protocol in (wire.HEARTBEAT, wire.HEARTBEAT_2):
        cursor.number(1, "terminal.info")
        cursor.number(2 if protocol == wire.HEARTBEAT_2 else 1, "voltage")
        cursor.number(1, "gsm")
        cursor.rest("language")
    elif protocol == wire.INFO:
        cursor.number(1, "kind")
        cursor.rest("information")
    elif protocol in (wire.ANSWER, wire.COMMAND):
        cursor.number(1, "text.length")
        cursor.number(4, "flag")
        _text(cursor)
    elif protocol == wire.ANSWER_LONG:
        cursor.number(4, "flag")
        cursor.number(1, "coding")
        _text(cursor)
    elif protocol in wire.PLACES or protocol in (wire.CELLS, wire.CELLS_4G):
        _place(cursor, protocol, content)
    else:
        cursor.rest("content")


def _text(cursor: Cursor) -> None:
    data = cursor.take(cursor.left, "text")
    if data:
        cursor.say(data.decode("utf-8", "backslashreplace"))


def _place(cursor: Cursor, protocol: int, content: bytes) -> None:
    time = cursor.take(6, "time")
    cursor.say("20{:02d}-{:02d}-{:02d} {:02d}:{:02d}:{:02d}".format(*time))
    if protocol in wire.PLACES:
        cursor.say(cursor.number(1, "satellites") & 15)
        for name in ("latitude", "longitude"):
            cursor.say(cursor.number(4, name) / 1_800_000)
        cursor.number(1, "speed")
        word = cursor.number(2, "course")
        cursor.say(
            f"{word & 0x3FF}, {'north' if word & 1 << 10 else 'south'}, {'west' if word & 1 << 11 else 'east'}"
            f"{', positioned' if word & 1 << 12 else ''}"
        )
    try:
        its = layout(protocol, content)
    except DamagedRecordError:
        raise ShortError from None
    if protocol in wire.ALARMS:
        cursor.number(1, "lbs.length")
    if its.lbs_size:
        _lbs(cursor, its)
    elif its.state and protocol in wire.ALARMS:
        cursor.take(content[18] - 1, "lbs")
    names: Any = ()
    if its.state:
        alarm = ("terminal.info", "voltage", "gsm", "alarm", "language")
        names = alarm if protocol in wire.ALARMS else ("ignition", "upload.mode", "upload.again")
    for name in names:
        cursor.number(1, name)
    if its.fence:
        cursor.number(1, "fence")
    if its.odometer:
        cursor.number(4, "odometer")
    cursor.rest("tail")


def _lbs(cursor: Cursor, its: Layout) -> None:
    end = cursor.at + its.lbs_size
    cursor.say(cursor.number(2, "mcc") & 0x7FFF)
    cursor.number(2 if its.wide else 1, "mnc")
    cursor.number(4 if its.large else 2, "gsm.area")
    cursor.number(end - cursor.at, "gsm.cell")
