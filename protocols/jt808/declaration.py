"""JT/T 808 messages: the readable truth, parser and builder of what terminals send.

Bytes from the wire go through `session` and `decoder`; this reads them for people and the tests, and builds them for
the simulator. Source: JT/T 808-2019, JT/T 808-2011, JT/T 808-2013.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from construct import (
    Array,
    Bytes,
    Construct,
    ConstructError,
    GreedyBytes,
    GreedyRange,
    Int8ub,
    Int16sb,
    Int16ub,
    Int32ub,
    Prefixed,
    Rebuild,
    Struct,
    Terminated,
    len_,
    this,
)

from protocols.instants import bcd
from protocols.jt808.wire import (
    ATTRIBUTES,
    AUTHENTICATE,
    BATCH,
    LOCATION,
    LOCATION_ANSWER,
    MEDIA,
    PARAMETERS,
    REGISTER,
    REPLY,
    Head,
    escape,
    package,
    packages,
)

LOCATION_BODY = Struct(
    "alarms" / Int32ub,
    "status" / Int32ub,  # bit 0 ignition, 1 positioned, 2 south, 3 west, 5 coordinates encrypted
    "latitude" / Int32ub,  # 1e-6 degree, no sign
    "longitude" / Int32ub,
    "altitude" / Int16sb,  # m
    "speed" / Int16ub,  # 0.1 km/h
    "direction" / Int16ub,  # degrees from north
    "time" / Bytes(6),  # BCD YYMMDDhhmmss of GMT+8
    "items" / GreedyRange(Struct("id" / Int8ub, "value" / Prefixed(Int8ub, GreedyBytes))),
    Terminated,
)

BATCH_BODY = Struct(
    "count" / Rebuild(Int16ub, len_(this.locations)),
    "kind" / Int8ub,  # 1: kept while there was no network
    "locations" / Array(this.count, Prefixed(Int16ub, LOCATION_BODY)),
    Terminated,
)


def _register(maker: int, model: int, terminal: int) -> Construct:
    return Struct(
        "province" / Int16ub,
        "city" / Int16ub,
        "maker" / Bytes(maker),
        "model" / Bytes(model),
        "terminal" / Bytes(terminal),
        "colour" / Int8ub,
        "plate" / GreedyBytes,
    )


REGISTER_2011, REGISTER_2013, REGISTER_2019 = _register(5, 8, 7), _register(5, 20, 7), _register(11, 30, 30)
_SHORT = 37  # a register body below that is of 2011: its model has 8 bytes


def _attributes(maker: int, model: int, terminal: int) -> Construct:
    return Struct(
        "type" / Int16ub,
        "maker" / Bytes(maker),
        "model" / Bytes(model),
        "terminal" / Bytes(terminal),
        "iccid" / Bytes(10),
        "hardware" / Prefixed(Int8ub, GreedyBytes),
        "firmware" / Prefixed(Int8ub, GreedyBytes),
        "gnss" / Int8ub,
        "network" / Int8ub,
        Terminated,
    )


# In 2019 the standard says five bytes of the maker, some servers read eleven: what ends at the body's end is right.
_ATTRIBUTES = {False: (_attributes(5, 20, 7),), True: (_attributes(5, 30, 30), _attributes(11, 30, 30))}

AUTHENTICATION_2019 = Struct("code" / Prefixed(Int8ub, GreedyBytes), "imei" / Bytes(15), "version" / GreedyBytes)
REPLY_BODY = Struct("serial" / Int16ub, "id" / Int16ub, "result" / Int8ub, Terminated)
PARAMETERS_BODY = Struct(
    "serial" / Int16ub,
    "count" / Int8ub,
    "items" / GreedyRange(Struct("id" / Int32ub, "value" / Prefixed(Int8ub, GreedyBytes))),
    Terminated,
)
MEDIA_BODY = Struct(
    "id" / Int32ub,
    "type" / Int8ub,  # 0 picture, 1 sound, 2 video
    "format" / Int8ub,
    "event" / Int8ub,
    "channel" / Int8ub,
    "location" / Bytes(28),  # not in 2011
    "data" / GreedyBytes,
)
ANSWERED = Struct("serial" / Int16ub, "location" / LOCATION_BODY)


def register_of(body: bytes, *, new: bool) -> Any:
    """A registration; None where it is too short for any edition."""
    form = REGISTER_2019 if new else REGISTER_2011 if len(body) < _SHORT else REGISTER_2013
    return _parsed(form, body)


def attributes_of(body: bytes, *, new: bool) -> Any:
    """A terminal's attributes; None where no edition reads them to their end."""
    return next((found for form in _ATTRIBUTES[new] if (found := _parsed(form, body)) is not None), None)


def authentication_of(body: bytes, *, new: bool) -> Any:
    """Code, IMEI and firmware; before 2019 the code is all."""
    if new:
        return _parsed(AUTHENTICATION_2019, body)
    return {"code": body}


def location_of(body: bytes) -> Any:
    """A location; None where its items do not end where it does."""
    return _parsed(LOCATION_BODY, body)


def _parsed(form: Construct, body: bytes) -> Any:
    try:
        return form.parse(body)
    except ConstructError:
        return None


_BODIES: dict[int, Construct] = {
    LOCATION: LOCATION_BODY,
    LOCATION_ANSWER: ANSWERED,
    BATCH: BATCH_BODY,
    REPLY: REPLY_BODY,
    PARAMETERS: PARAMETERS_BODY,
    MEDIA: MEDIA_BODY,
}


def body_of(head: Head, body: bytes) -> Any:
    """What a message's body holds; its bytes where no declaration reads it."""
    found: Any = None
    if head.id == REGISTER:
        found = register_of(body, new=head.new)
    elif head.id == AUTHENTICATE:
        found = authentication_of(body, new=head.new)
    elif head.id == ATTRIBUTES:
        found = attributes_of(body, new=head.new)
    elif head.id in _BODIES:
        found = _parsed(_BODIES[head.id], body)
    return body.hex() if found is None else found


def tree(data: bytes) -> Any:
    """A frame's packages as nested containers; never raises."""
    whole = packages(data)
    if whole is None:
        return {"bytes": data.hex()}
    head, body = whole[0][0], b"".join([part for _, part in whole])
    return {
        "id": f"0x{head.id:04x}",
        "version": head.version,
        "phone": head.phone.hex(),
        "serial": head.serial,
        "packages": len(whole),
        "body": body_of(head, body),
    }


# -- builders: what terminals send -------------------------------------------------------------------------------------


def frame(message: int, phone: bytes, serial: int, body: bytes = b"", *, version: int = 0) -> bytes:
    """One message as it is sent."""
    return escape(package(message, phone, serial, body, version=version))


def frames(message: int, phone: bytes, serial: int, body: bytes, *, version: int = 0, most: int = 1023) -> list[bytes]:
    """A message in as many packages as it takes, their serials one behind the other."""
    if len(body) <= most:
        return [frame(message, phone, serial, body, version=version)]
    cut = [body[at : at + most] for at in range(0, len(body), most)]
    return [
        escape(package(message, phone, serial + n & 0xFFFF, part, version=version, total=len(cut), index=n + 1))
        for n, part in enumerate(cut)
    ]


def location(
    *,
    time: float,
    latitude: float = 0.0,
    longitude: float = 0.0,
    alarms: int = 0,
    status: int = 0,
    altitude: int = 0,
    speed: int = 0,
    direction: int = 0,
    items: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """A location; `time` Unix s, degrees with their sign, which goes to `status`; the rest in the wire's units."""
    status |= (4 if latitude < 0 else 0) | (8 if longitude < 0 else 0)
    built: bytes = LOCATION_BODY.build(
        {
            "alarms": alarms,
            "status": status,
            "latitude": round(abs(latitude) * 1e6),
            "longitude": round(abs(longitude) * 1e6),
            "altitude": altitude,
            "speed": speed,
            "direction": direction,
            "time": bcd(time + 8 * 3600),
            "items": [{"id": identifier, "value": value} for identifier, value in items],
        }
    )
    return built


def batch(locations: Sequence[bytes], *, blind: bool = True) -> bytes:
    """The body of a 0x0704."""
    head = len(locations).to_bytes(2, "big") + bytes((int(blind),))
    return head + b"".join([len(one).to_bytes(2, "big") + one for one in locations])


def authentication(code: str, *, imei: str = "", firmware: str = "", new: bool = False) -> bytes:
    """The body of a 0x0102."""
    if not new:
        return code.encode("gbk")
    told = {"code": code.encode("gbk"), "imei": imei.encode().rjust(15, b"0"), "version": _padded(firmware, 20)}
    built: bytes = AUTHENTICATION_2019.build(told)
    return built


def registration(*, model: str, terminal: str, plate: str, new: bool = False) -> bytes:
    """The body of a 0x0100, without a place."""
    built: bytes = (REGISTER_2019 if new else REGISTER_2013).build(
        {
            "province": 0, "city": 0, "maker": _padded("70111", 11 if new else 5),
            "model": _padded(model, 30 if new else 20), "terminal": _padded(terminal, 30 if new else 7),
            "colour": 2, "plate": plate.encode("gbk"),
        }
    )  # fmt: skip
    return built


def attributes(*, model: str, firmware: str, iccid: str, hardware: str = "1.0", new: bool = False) -> bytes:
    """The body of a 0x0107."""
    built: bytes = _ATTRIBUTES[new][0].build(
        {
            "type": 5, "maker": b"70111", "model": _padded(model, 30 if new else 20),
            "terminal": _padded("", 30 if new else 7), "iccid": bytes.fromhex(iccid), "hardware": hardware.encode(),
            "firmware": firmware.encode(), "gnss": 3, "network": 0x21,
        }
    )  # fmt: skip
    return built


def _padded(text: str, size: int) -> bytes:
    return text.encode("gbk")[:size].ljust(size, b"\0")
