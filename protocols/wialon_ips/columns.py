"""Text columns to numeric columns: each function gives values and a mask of the rows it is sure of.

A row that is not sure is read again by the plain parser, so these need not know every legal spelling;
what they do take they must read exactly as the plain parser does.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Sequence
from datetime import date

import numpy as np
from fastcrc import crc64
from numpy.typing import NDArray

from protocols.records import SATELLITES_UNKNOWN, Floats, Int64s
from protocols.wialon_ips.declaration import LATITUDE_SIGN, LONGITUDE_SIGN

Mask = NDArray[np.bool_]

# Short texts repeat (speeds, satellites, codes), and a look-up costs half of what `float` does.
_SHORT = 4
_MAX_CACHED = 65_536

_DIGITS = b"0123456789"
_UNSIGNED = re.compile(r"[0-9]+(?:\.[0-9]*)?")
_SIGNED = re.compile(r"-?[0-9]+(?:\.[0-9]*)?")
_COUNT = re.compile(r"[0-9]{1,5}")
_BAD_DAY = np.iinfo(np.int64).min


def _days() -> Int64s:
    """Day number since 1970 at [year of the century, month, day], `_BAD_DAY` where there is no such day."""
    table = np.full((100, 13, 32), _BAD_DAY, np.int64)
    epoch = date(1970, 1, 1).toordinal()
    for year in range(100):
        for month in range(1, 13):
            first = date(2000 + year, month, 1).toordinal() - epoch
            length = monthrange(2000 + year, month)[1]
            table[year, month, 1 : length + 1] = np.arange(first, first + length)
    return table


_DAYS = _days()


def times(days: Sequence[str], clocks: Sequence[str]) -> tuple[Int64s, Mask]:
    """DDMMYY and HHMMSS → µs since the epoch."""
    d, d_ok = _pairs(days)
    t, t_ok = _pairs(clocks)
    ok = d_ok & t_ok & (d[:, 0] < 32) & (d[:, 1] < 13) & (t[:, 0] < 24) & (t[:, 1] < 60) & (t[:, 2] < 60)
    d = np.where(ok[:, None], d, 0)
    number = _DAYS[d[:, 2], d[:, 1], d[:, 0]]
    ok &= number != _BAD_DAY
    seconds = np.where(ok, number, 0) * 86_400 + t[:, 0] * 3600 + t[:, 1] * 60 + t[:, 2]
    return seconds * 1_000_000, ok


def _pairs(column: Sequence[str]) -> tuple[Int64s, Mask]:
    """Six digits as three numbers, shape (n, 3)."""
    n = len(column)
    ok = np.ones(n, np.bool_)
    if column.count(column[0]) == n:  # one day's or one second's records
        first = _pair_row(column[0])
        return np.broadcast_to(first, (n, 3)), np.full(n, first[0] >= 0)
    if set(map(len, column)) != {6}:
        ok = np.fromiter(map(len, column), np.intp, n) == 6
        column = [text if len(text) == 6 else "000000" for text in column]
    digits = np.frombuffer("".join(column).encode("ascii", "replace"), np.uint8).reshape(n, 6) - np.uint8(48)
    ok &= (digits <= 9).all(axis=1)
    wide = digits.astype(np.int64)
    return wide[:, 0::2] * 10 + wide[:, 1::2], ok


def _pair_row(text: str) -> Int64s:
    if len(text) == 6 and text.isascii() and text.isdigit():
        return np.array([int(text[:2]), int(text[2:4]), int(text[4:])], np.int64)
    return np.full(3, -1, np.int64)


def positions(
    lats: Sequence[str], norths: Sequence[str], lons: Sequence[str], easts: Sequence[str]
) -> tuple[Floats, Floats, Mask]:
    """Four position fields → degrees; NaN where neither coordinate is told."""
    lat, lat_ok = numbers(lats, most=18000)
    lon, lon_ok = numbers(lons, most=18000)
    told = ~np.isnan(lat)
    ok = lat_ok & lon_ok & (told == ~np.isnan(lon))
    lat, north_ok = _degrees(lat, _signs(norths, LATITUDE_SIGN), 90)
    lon, east_ok = _degrees(lon, _signs(easts, LONGITUDE_SIGN), 180)
    return lat, lon, ok & (~told | (north_ok & east_ok))


def _signs(letters: Sequence[str], signs: dict[str, float]) -> Floats:
    """±1 per hemisphere letter, 0 for anything else."""
    n = len(letters)
    if letters.count(letters[0]) == n:
        return np.full(n, signs.get(letters[0], 0.0))
    return np.fromiter([signs.get(letter, 0.0) for letter in letters], np.float64, n)


def _degrees(value: Floats, sign: Floats, most: float) -> tuple[Floats, Mask]:
    whole = np.floor(value / 100)
    minutes = value - whole * 100
    degrees = np.rint((whole + minutes / 60) * 1e12) / 1e12
    ok = (minutes <= 60) & (degrees <= most) & (sign != 0)
    return degrees * sign + 0.0, ok


def numbers(column: Sequence[str], *, most: float, signed: bool = False) -> tuple[Floats, Mask]:
    """Decimals within ±`most`; NaN where not told."""
    allowed, grammar = (b"-.0123456789", _SIGNED) if signed else (b".0123456789", _UNSIGNED)
    value, ok = _convert(column, allowed, grammar)
    ok &= ~(np.abs(value) > most)
    return np.where(ok, value, np.nan), ok


def counts(column: Sequence[str]) -> tuple[NDArray[np.int16], Mask]:
    """Whole numbers of at most 32767; -1 where not told."""
    value, ok = _convert(column, _DIGITS, _COUNT)
    ok &= ~(value > 32767)
    return np.where(ok & (value == value), value, SATELLITES_UNKNOWN).astype(np.int16), ok


def _convert(column: Sequence[str], allowed: bytes, grammar: re.Pattern[str]) -> tuple[Floats, Mask]:
    n = len(column)
    first = column[0]
    if column.count(first) == n:
        value, sure = _convert_one(first, grammar)
        return np.full(n, value), np.full(n, sure)
    words = column.count("NA")
    told = [text if text != "NA" else "nan" for text in column] if words else column
    try:
        return exact(told, allowed, grammar, nans=words), np.ones(n, np.bool_)
    except ValueError:  # an empty or odd cell among them: one by one
        pairs = [_convert_one(text, grammar) for text in column]
        return np.array([value for value, _ in pairs]), np.array([sure for _, sure in pairs])


def _convert_one(text: str, grammar: re.Pattern[str]) -> tuple[float, bool]:
    if text in ("", "NA"):
        return np.nan, True
    return (float(text) + 0.0, True) if grammar.fullmatch(text) else (np.nan, False)


class _Known(dict[str, float]):
    """Numbers by their text, for one grammar; a text that does not fit raises ValueError."""

    def __init__(self, grammar: re.Pattern[str]) -> None:
        super().__init__()
        self._fits = grammar.fullmatch

    def __missing__(self, text: str) -> float:
        if not self._fits(text):
            raise ValueError(text)
        value = float(text) + 0.0
        if len(text) <= _SHORT + 1:
            if len(self) >= _MAX_CACHED:
                self.clear()
            self[text] = value
        return value


_known: dict[re.Pattern[str], _Known] = {}


def exact(column: Sequence[str], allowed: bytes, grammar: re.Pattern[str], *, nans: int = 0) -> Floats:
    """All of a column as numbers; `nans` of them are the word ``nan``, put there by the caller.

    Raises
    ------
    ValueError
        If any does not fit; which one is not said.
    """
    if len(column[0]) <= _SHORT and not nans:
        known = _known.get(grammar)
        if known is None:
            known = _known[grammar] = _Known(grammar)
        return np.fromiter(map(known.__getitem__, column), np.float64, len(column))
    # Of these characters alone `float` takes decimals only: no exponent, `nan`, `inf`, blank or underscore.
    rest = "".join(column).encode("ascii", "replace").translate(None, allowed)
    if rest != b"nan" * nans:
        raise ValueError
    return np.fromiter(map(float, column), np.float64, len(column)) + 0.0


def fingerprints(blobs: Sequence[bytes]) -> Int64s:
    """`records.fingerprint` of each."""
    return np.fromiter(map(crc64.xz, blobs), np.uint64, len(blobs)).view(np.int64)
