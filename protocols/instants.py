"""Calendar fields to instants, many at once: years of two digits, BCD bytes, a fixed offset from UTC.

No time zone database and no local clock come near them: an offset is minutes, told by the terminal or its standard.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MONTHS = np.arange("2000-01", "2100-02", dtype="datetime64[M]").astype("datetime64[D]").astype(np.int64)
_FIRST_DAY = _MONTHS[:-1]  # of each month from 2000 on, days since the Unix epoch
_LENGTH = np.diff(_MONTHS)
_US = 1_000_000
_BCD = np.full(256, 255, np.uint8)
_BCD[[(n // 10) << 4 | n % 10 for n in range(100)]] = np.arange(100)

_FIRST = 946_684_800  # 2000-01-01: years are counted from then


def instants(fields: NDArray[np.integer[Any]], offset: int = 0) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """µs since the Unix epoch of rows (year since 2000, month, day, hour, minute, second), and which are no instant.

    Parameters
    ----------
    fields : integers, shape (n, 6).
    offset : minutes that their clock is ahead of UTC.
    """
    year, month, day, hour, minute, second = np.array(fields.T, np.int64, order="C")
    good = (year < 100) & (month >= 1) & (month <= 12) & (day >= 1) & (hour < 24) & (minute < 60) & (second < 60)
    place = np.where(good, year * 12 + month - 1, 0)
    good &= day <= _LENGTH[place]
    seconds = ((_FIRST_DAY[place] + day - 1) * 24 + hour) * 3600 + minute * 60 + second
    return np.where(good, (seconds - offset * 60) * _US, 0), ~good


def from_bcd(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What two decimal digits a byte say; 255 where it holds no two."""
    told: NDArray[np.uint8] = _BCD[data]
    return told


def bcd(seconds: float) -> bytes:
    """YYMMDDhhmmss of Unix seconds by the clock of UTC."""
    return bytes.fromhex(f"{datetime.fromtimestamp(seconds, UTC):%y%m%d%H%M%S}")


def binary(seconds: float) -> bytes:
    """Year since 2000, month, day, hour, minute, second of Unix seconds, a byte each, by the clock of UTC."""
    at = datetime.fromtimestamp(max(seconds, _FIRST), UTC)
    return bytes((at.year - 2000, at.month, at.day, at.hour, at.minute, at.second))


def instant(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int | None:
    """µs since the Unix epoch of one instant by the clock of UTC, its year since 2000; None if there is none."""
    first = _midnight(year, month, day)
    if first is None or not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
        return None
    return (first + hour * 3600 + minute * 60 + second) * _US


@lru_cache(1024)
def _midnight(year: int, month: int, day: int) -> int | None:
    try:
        return int(datetime(2000 + year, month, day, tzinfo=UTC).timestamp())
    except ValueError:
        return None
