"""Galileosky's data packets: a tag at a time, what each means looked up in one dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

import fastcrc

from bench.loops import Rows
from protocols.galileosky.measures import TAGS, VARIABLE
from protocols.records import IGNITION_KNOWN, IGNITION_ON, MOVING, VALID, Batch, fingerprint

_HEAD = Struct("<BH").unpack_from
_CODES = {"u1": "B", "i1": "b", "u2": "H", "i2": "h", "u4": "I", "i4": "i"}
_READ = {
    tag: [
        (meaning.name, Struct("<" + _CODES[form[1:]]).unpack_from, offset, meaning)
        for meaning, offset, _, form in known.parts
    ]
    for tag, known in TAGS.items() if known.size != VARIABLE and all(not m.kind for m, *_ in known.parts)
}  # fmt: skip
_SIZES = {tag: TAGS[tag].size for tag in _READ}
_NAN = float("nan")


def decode(frames: Sequence[bytes]) -> Batch:
    """Whole packets to columns.

    Raises
    ------
    ValueError
        On any damage: the wire never meets this loop.
    """
    rows = Rows()
    for index, data in enumerate(frames):
        header, length = _HEAD(data)
        end = len(data) - 2
        if header != 1 or (length & 0x7FFF) + 5 != len(data):
            raise ValueError("header")
        if fastcrc.crc16.modbus(data[:-2]) != data[-2] | data[-1] << 8:
            raise ValueError("checksum")
        at, position = 3, 0
        while at < end:
            begin, last = at, -1
            told: dict[str, float] = {}
            names: list[str] = []
            values: list[float] = []
            while at < end and data[at] > last:
                last = data[at]
                at += 1
                size = _SIZES[last]
                if at + size > end:
                    raise ValueError("structure")
                for name, read, offset, meaning in _READ[last]:
                    raw = read(data, at + offset)[0]
                    if meaning.bits:
                        raw = raw >> meaning.shift & ((1 << meaning.bits) - 1)
                    value = (raw + meaning.add) * meaning.multiplier / meaning.divisor
                    if not meaning.low <= raw <= meaning.high or raw in meaning.none:
                        value = _NAN
                    if name[0] == "@":
                        told[name] = value
                        continue
                    names.append(name)
                    values.append(value)
                    if meaning.status:
                        names.append(meaning.status)
                        values.append(raw if value != value else _NAN)
                    elif name in ("ignition", "movement", "gnss.source"):
                        told[name] = value
                at += size
            if "hdop" in names:
                values[names.index("gnss.error" if told["gnss.source"] != 2 else "hdop")] = _NAN
            lat, lon = told["@lat"], told["@lon"]
            valid = told["@fix"] in (0, 2) and -90 <= lat <= 90 and -180 <= lon <= 180
            if not valid:
                lat = lon = _NAN
            flags = VALID if valid else 0
            if "ignition" in told:
                flags |= IGNITION_KNOWN | IGNITION_ON if told["ignition"] else IGNITION_KNOWN
            if told["movement"] if "movement" in told else valid and told["@speed"] > 0:
                flags |= MOVING
            rows.measures(names, values)
            rows.core.append((
                index, position, int(told["@time"]) * 1_000_000, lat, lon, told["@altitude"], told["@speed"],
                told["@course"], int(told["@satellites"]), flags, fingerprint(data[begin:at]),
            ))  # fmt: skip
            position += 1
    return rows.batch()
