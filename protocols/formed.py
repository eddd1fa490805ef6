"""Messages of a text protocol to columns: a regular expression each, then what they tell for all of them at once.

A protocol gives the pattern of its usual message and what to make of the columns of its groups. Messages that do not
match, and those that tell what cannot be, are read one by one by the exact parser, which also says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.records import SATELLITES_UNKNOWN, Batch, Decoded, Floats, Frame, MeasureGroup, Quarantined, fingerprint
from protocols.selfnamed import Reading, decode_each


class Formed(NamedTuple):
    """What messages tell, a row each; `bad` ones are read again by the exact parser.

    Attributes
    ----------
    altitude : None: nobody tells it.
    names, values : numbers of each row by name.
    texts : of each row; empty dicts where it tells none.
    """

    time: NDArray[np.int64]
    lat: Floats
    lon: Floats
    speed: Floats
    course: Floats
    flags: NDArray[np.int16]
    names: Sequence[tuple[str, ...]]
    values: Sequence[Sequence[float]]
    texts: Sequence[dict[str, Any]]
    bad: NDArray[np.bool_]
    altitude: Floats | None = None


Column = Sequence[Any]


def decode_formed(
    frames: Sequence[Frame],
    pattern: re.Pattern[bytes],
    columns: Callable[[Sequence[Column]], Formed],
    read: Callable[[bytes, int], Reading],
) -> Decoded:
    """Messages of any terminals, one record each; `columns` takes those of the groups of `pattern`.

    `read` is given no variant: these protocols have none.
    """
    data: list[bytes] = []
    for item in frames:
        if item.count == 1:
            data.append(item.data)
        else:
            size = len(item.data) // item.count
            data += [item.data[at : at + size] for at in range(0, len(item.data), size)]
    matched = [pattern.fullmatch(one) for one in data]
    good = [place for place, found in enumerate(matched) if found is not None]
    left = [place for place, found in enumerate(matched) if found is None]
    batches: list[Batch] = []
    if good:
        formed = columns(list(zip(*[found.groups() for found in matched if found is not None], strict=True)))
        if formed.bad.any():
            left = sorted(left + [good[row] for row in np.flatnonzero(formed.bad).tolist()])
        if not formed.bad.all():
            batches.append(_batch(formed, data, good))
    quarantined: list[Quarantined] = []
    if left:
        rest = decode_each([Frame(data[place]) for place in left], read)
        rest.batch.frame = np.array(left, np.int32)[rest.batch.frame]
        batches.append(rest.batch)
        quarantined = [Quarantined(left[one.frame], one.reason) for one in rest.quarantined]
    return Decoded(Batch.concatenate([batch for batch in batches if len(batch)]), quarantined)


def _batch(formed: Formed, data: Sequence[bytes], good: Sequence[int]) -> Batch:
    rows = np.flatnonzero(~formed.bad)
    n, whole = len(rows), rows.tolist()
    layouts: dict[tuple[str, ...], list[int]] = {}
    if n == len(formed.names) and len(set(formed.names)) == 1:
        layouts[formed.names[0]] = whole
    else:
        for place, row in enumerate(whole):
            layouts.setdefault(formed.names[row], []).append(place)
    extra: dict[int, dict[str, Any]] = {}
    if any(formed.texts):
        extra = {place: dict(formed.texts[row]) for place, row in enumerate(whole) if formed.texts[row]}
    return Batch(
        frame=np.array(good, np.int32)[rows],
        position=np.zeros(n, np.int32),
        time=formed.time[rows],
        lat=formed.lat[rows],
        lon=formed.lon[rows],
        altitude=np.full(n, np.nan, np.float32) if formed.altitude is None else _single(formed.altitude[rows]),
        speed=_single(formed.speed[rows]),
        course=_single(formed.course[rows]),
        satellites=np.full(n, SATELLITES_UNKNOWN, np.int16),
        flags=formed.flags[rows],
        fingerprint=np.array([fingerprint(data[good[row]]) for row in whole], np.int64),
        groups=[
            MeasureGroup(
                names,
                np.array(places),
                np.array([formed.values[whole[place]] for place in places], np.float64).reshape(
                    len(places), len(names)
                ),
            )
            for names, places in layouts.items()
        ],
        extra=extra,
    )


def _table(rows: Sequence[Sequence[float]], names: Sequence[str]) -> Floats:
    return np.array(rows, np.float64).reshape(len(rows), len(names))


def _single(column: Floats) -> NDArray[np.float32]:
    return column.astype(np.float32)


def twos(column: Column) -> NDArray[np.int64]:
    """Numbers of two digits, end to end in each text, shape (n, digits / 2)."""
    digits = np.frombuffer(b"".join(column), np.uint8).reshape(len(column), -1).astype(np.int64) - 48
    told: NDArray[np.int64] = digits[:, ::2] * 10 + digits[:, 1::2]
    return told


def numbers(column: Column) -> Floats:
    """Decimal numbers."""
    return np.array(list(map(float, column)))


def degrees(column: Column, halves: Column, width: int, most: int) -> tuple[Floats, NDArray[np.bool_]]:
    """DDMM.MMMM with `width` digits of degrees and the half of the world, N S E W; and which of them cannot be."""
    minutes = np.array([float(text[width:]) for text in column])
    value = np.array([int(text[:width]) for text in column]) + minutes / 60
    bad: NDArray[np.bool_] = (minutes >= 60) | (value > most)
    half = np.array(halves)
    return np.where((half == b"S") | (half == b"W"), -value, value), bad


def joined(pattern: re.Pattern[bytes]) -> re.Pattern[bytes]:
    """The same pattern, in which three numbers of two digits are one group."""
    return re.compile(pattern.pattern.replace(rb"(\d\d)(\d\d)(\d\d)", rb"(\d{6})"), pattern.flags)
