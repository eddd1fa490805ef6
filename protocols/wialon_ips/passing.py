"""A record as a platform of Wialon IPS 2.0 is told it: the `record` object that consumers get, as a line.

Time to the microsecond, place to 1e-5 of a minute; hdop, inputs, outputs, adc and a driver's key in their fields, all
other measures as parameters under their own names (`param.` left out). Out of the black box: `B` of one message.
What the protocol has no way for is left out: parameters beyond 200, names and texts with its separators or beyond its
lengths, and a record whose time is not of this century (`UnspeakableError`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from protocols.errors import UnspeakableError
from protocols.wialon_ips import declaration, packets
from protocols.wialon_ips.wire import MAX_ADC, MAX_NAME, MAX_PARAMS, MAX_TEXT

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAME = re.compile(r"[^\s,:;#|]+")
_TEXT = re.compile(r"[^\r\n,;#|]+")
_PARAM = "param."
_BITS = 1 << 32  # of inputs and outputs
_LONG = 1 << 63


def line(record: Mapping[str, Any]) -> bytes:
    """The packet of a record.

    Raises
    ------
    UnspeakableError
        If its time is none that the protocol can tell.
    """
    found = datetime.fromisoformat(record["time"])
    if not 2000 <= found.year < 2100:
        raise UnspeakableError(f"a record of {record['time']}")
    time = (found - _EPOCH) // timedelta(microseconds=1)
    measures = dict(record["measures"])
    inputs, outputs = (_bits(measures, name) for name in ("inputs", "outputs"))
    hdop = measures.pop("hdop") if _number(measures.get("hdop")) and measures["hdop"] >= 0 else None
    key = measures.pop("driver.key") if _word(measures.get("driver.key")) else None
    short = declaration.build_message(
        time=time,
        time_digits=len(f"{time % 1_000_000:06d}".rstrip("0")),
        **{name: record[name] for name in ("lat", "lon", "speed", "course", "altitude", "satellites")},
    )
    message = declaration.build_long_message(
        short, hdop=hdop, inputs=inputs, outputs=outputs, adc=_adc(measures), key=key, params=_params(measures)
    )
    return packets.black_box([message]) if record["archive"] else packets.long(message)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _word(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT and _TEXT.fullmatch(value) is not None and value != "NA"


def _bits(measures: dict[str, Any], name: str) -> int | None:
    value = measures.get(name)
    return int(measures.pop(name)) if isinstance(value, int) and 0 <= value < _BITS else None


def _adc(measures: dict[str, Any]) -> list[float]:
    """adc.1, adc.2 … as far as none is missing."""
    found: list[float] = []
    while len(found) < MAX_ADC and _number(measures.get(f"adc.{len(found) + 1}")):
        found.append(measures.pop(f"adc.{len(found) + 1}"))
    return found


def _params(measures: Mapping[str, Any]) -> dict[str, declaration.Value]:
    found: dict[str, declaration.Value] = {}
    for name, value in measures.items():
        told = name.removeprefix(_PARAM)
        if len(found) >= MAX_PARAMS or len(told) > MAX_NAME or not _NAME.fullmatch(told):
            continue
        if (_number(value) and (isinstance(value, float) or abs(value) < _LONG)) or _word(value):
            found[told] = value
    return found
