"""What lies where in a content, by the frame's protocol.

    time 6 · gps 12 · [lbs] · what the protocol adds                places and alarms
    time 6 · mcc 2 · mnc · cells                                    cells without a place

gps: satellites in the low nibble 1 · latitude 4 · longitude 4 · speed 1 · course and bits 2.
lbs: mcc 2 · mnc 1 · area 2 · cell 3; of 4G mcc 2 (its top bit: mnc has two bytes) · mnc · area 4 · cell 8. In alarms a
length stands before it, which counts itself.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.gt06.wire import (
    ADDRESS,
    ALARM_4G,
    ALARM_FENCE,
    ALARMS,
    CELLS,
    CELLS_4G,
    GPS,
    GPS_LBS,
    LOCATION,
    LOCATION_4G,
    LOCATION_UTC,
)
from protocols.headed import DamagedRecordError, Lesson, Number, Text

HEAD = 18  # time and gps
_WIDE = 0x80  # top bit of an mcc: its mnc has two bytes


class Layout(NamedTuple):
    """Where the parts of one content begin; 0: it has none.

    Attributes
    ----------
    lbs, lbs_size : without the length before it.
    wide : mnc has two bytes.
    large : area and cell are those of 4G.
    state : ignition, mode and upload of a location; info, voltage, gsm, alarm, language of an alarm.
    odometer, fence : of four bytes, of one.
    tail : what no document explains.
    """

    lbs: int = 0
    lbs_size: int = 0
    wide: bool = False
    large: bool = False
    state: int = 0
    odometer: int = 0
    fence: int = 0
    tail: int = 0


def layout(protocol: int, content: bytes) -> Layout:
    """The parts of a content.

    Raises
    ------
    DamagedRecordError
        If it is shorter than its table.
    """
    size = len(content)
    if protocol in (CELLS, CELLS_4G):
        wide = protocol == CELLS_4G and size > 6 and bool(content[6] & _WIDE)
        large = protocol == CELLS_4G
        need = 6 + 2 + (2 if wide else 1) + (13 if large else 6)
        if size < need:
            raise DamagedRecordError("length")
        return Layout(6, need - 6, wide, large, tail=need if size > need else 0)
    if size < HEAD:
        raise DamagedRecordError("length")
    if protocol in (GPS, ADDRESS):
        return Layout(tail=HEAD if size > HEAD else 0)
    if protocol in ALARMS:
        return _alarm(protocol, size, content[HEAD] - 1 if size > HEAD else -1)
    large = protocol == LOCATION_4G
    wide = large and size > HEAD and bool(content[HEAD] & _WIDE)
    its = 2 + (2 if wide else 1) + (12 if large else 6 if protocol == GPS_LBS and size == HEAD + 9 else 5)
    at = HEAD + its
    if size < at:
        raise DamagedRecordError("length")
    if protocol in (LOCATION, GPS_LBS):
        return Layout(HEAD, its, tail=at if size > at else 0)
    if size < at + 3:
        raise DamagedRecordError("length")
    odometer = at + 3 if size >= at + 7 else 0
    end = at + (7 if odometer else 3)
    return Layout(HEAD, its, wide, large, at, odometer, tail=end if size > end else 0)


@lru_cache(1024)
def _alarm(protocol: int, size: int, its: int) -> Layout:
    """Of an alarm of `size` bytes; `its`: those of its lbs."""
    at = HEAD + 1 + its
    if its < 0 or size < at + 5:
        raise DamagedRecordError("length")
    wide = protocol == ALARM_4G and its == 16
    large = its in (15, 16) and protocol == ALARM_4G
    known = its if large or its == 8 else 0
    end = at + 5
    fence = end if protocol in (ALARM_FENCE, ALARM_4G) and size > end else 0
    end += bool(fence)
    odometer = end if size - end == 4 else 0
    end += 4 if odometer else 0
    return Layout(HEAD + 1, known, wide, large, at, odometer, fence, end if size > end else 0)


def walk(kind: Any, record: bytes) -> Layout:
    """As `layout`: a content's signature."""
    return layout(kind, record)


def lesson(kind: Any, record: bytes, signature: Any) -> Lesson:
    """What lies where in a content of that layout; the operator's two numbers come last."""
    its: Layout = signature
    numbers: list[Number] = []
    texts: list[Text] = []
    structural: list[tuple[int, int]] = []
    if its.state and kind in ALARMS:
        structural.append((HEAD, 1))  # the length of lbs
        numbers += [
            Number("event", its.state + 3, "u1"),
            Number("ignition", its.state, "u1", shift=1, bits=1),
            Number("terminal.info", its.state, "u1"),
            Number("battery.grade", its.state + 1, "u1", most=6),
            Number("battery.level", its.state + 1, "u1", least=7, most=100),
            Number("gsm.signal", its.state + 2, "u1", multiplier=25, most=4),
        ]
    elif its.state:
        numbers += [Number("ignition", its.state, "u1", most=1), Number("upload.mode", its.state + 1, "u1")]
    if its.fence:
        numbers.append(Number("fence", its.fence, "u1", most=254))
    if its.odometer:
        numbers.append(Number("odometer", its.odometer, ">u4"))
    if its.tail:
        texts.append(Text("tail", its.tail, len(record) - its.tail))
    if its.lbs_size:
        numbers += _cells(its, kind)
        if its.large:
            structural.append((its.lbs, 1))  # of the mcc: how wide is its mnc
    return Lesson(numbers, texts, structural)


def _cells(its: Layout, kind: int) -> list[Number]:
    area = its.lbs + (4 if its.wide else 3)
    cell = area + (4 if its.large else 2)
    size = 8 if its.large else 4 if kind == GPS_LBS and its.lbs_size == 9 else 3
    return [
        Number("gsm.area", area, ">u4" if its.large else ">u2"),
        # Three bytes are read with the one before them.
        Number("gsm.cell", cell - 1, ">u4", bits=24) if size == 3 else Number("gsm.cell", cell, f">u{size}"),
        Number("mcc", its.lbs, ">u2", bits=15),
        Number("mnc", its.lbs + 2, ">u2" if its.wide else "u1"),
    ]


def upload_at(protocol: int, contents: NDArray[np.uint8]) -> NDArray[np.intp] | None:
    """Where each content says whether it was sent before, perhaps beyond its end; None: these do not."""
    if protocol == LOCATION_UTC:
        return np.full(len(contents), HEAD + 8 + 2)
    if protocol == LOCATION_4G and contents.shape[1] > HEAD:
        return np.where(contents[:, HEAD] & _WIDE, HEAD + 16 + 2, HEAD + 15 + 2)
    return None
