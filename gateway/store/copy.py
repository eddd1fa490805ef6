"""Records to PostgreSQL's binary COPY format, by columns.

Rows of one layout have a fixed width, so numpy lays the whole buffer: a structured array whose fields are the format's
length words and big-endian values. Only rows with texts or large integers are finished one by one.

Source: PostgreSQL manual, COPY, "Binary Format"; array and jsonb as their `*_recv` functions read them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.records import Batch, Int64s

COLUMNS = (
    "terminal, time, received, lat, lon, altitude, speed, course, satellites, flags, layout, fingerprint, "
    "measures, extra"
)
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
EPOCH = 946_684_800_000_000  # 2000-01-01 in µs of Unix time
_FLOAT8 = 701  # type oid
_PIECE = 64 << 10  # bytes of JSON in one piece, a millisecond's work or two
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


@dataclass(slots=True)
class Rows:
    """Records ready to be stored, shape (n,) each beside the batch's own columns.

    `terminal` is the row of the terminal table (in a job: an index into its identities), `received` and `time` are µs
    since the Unix epoch, `protocol` a small number for the counters, `layouts` the layout of each of `batch.groups`.
    Each row is in one group.
    """

    batch: Batch
    terminal: NDArray[np.int32]
    received: Int64s
    time: Int64s
    protocol: NDArray[np.int8]
    layouts: list[int]

    def __len__(self) -> int:
        return len(self.terminal)


@lru_cache(maxsize=1024)
def _template(measures: int) -> NDArray[Any]:
    """One row with every constant in place; `measures` values in its array."""
    fixed = [
        ("terminal", ">i4"), ("time", ">i8"), ("received", ">i8"), ("lat", ">f8"), ("lon", ">f8"),
        ("altitude", ">f4"), ("speed", ">f4"), ("course", ">f4"), ("satellites", ">i2"), ("flags", ">i2"),
        ("layout", ">i4"), ("fingerprint", ">i8"),
    ]  # fmt: skip
    fields: list[Any] = [("fields", ">i2")]
    for name, fmt in fixed:
        fields += [(f"{name}_size", ">i4"), (name, fmt)]
    fields += [("array_size", ">i4"), ("dimensions", ">i4"), ("nulls", ">i4"), ("type", ">i4")]
    if measures:
        fields += [("count", ">i4"), ("lower", ">i4"), ("values", [("size", ">i4"), ("value", ">f8")], (measures,))]
    fields += [("extra_size", ">i4")]
    row = np.zeros(1, np.dtype(fields))
    row["fields"] = len(fixed) + 2
    for name, fmt in fixed:
        row[f"{name}_size"] = int(fmt[2:])
    row["type"] = _FLOAT8
    row["array_size"] = 12
    if measures:
        row["array_size"] = 20 + 12 * measures
        row["dimensions"] = row["lower"] = 1
        row["count"] = measures
        row["values"]["size"] = 8
    row["extra_size"] = -1
    return row


def encode(rows: Rows, chosen: NDArray[np.bool_] | None = None) -> bytes:
    """The COPY stream of all rows, or of the chosen ones, with header and trailer."""
    return b"".join(pieces(rows, chosen))


def pieces(rows: Rows, chosen: NDArray[np.bool_] | None = None) -> Iterator[bytes]:
    """The same piece by piece: what is dear to write, texts row by row, need not be written in one go."""
    batch = rows.batch
    yield HEADER
    for group, layout in zip(batch.groups, rows.layouts, strict=True):
        index, values = group.rows, group.values
        if chosen is not None:
            wanted = chosen[index]
            index, values = index[wanted], values[wanted]
        if not len(index):
            continue
        order: Any
        place: Any
        if len(index) == len(rows):  # the usual batch: its columns go over as they are, only measures to their rows
            order, place = slice(None), index
            index = np.arange(len(rows))
        else:
            order, place = index, slice(None)
        out = np.repeat(_template(len(group.names)), len(index))
        out["terminal"] = rows.terminal[order]
        out["time"] = rows.time[order] - EPOCH
        out["received"] = rows.received[order] - EPOCH
        for name in ("lat", "lon", "altitude", "speed", "course", "satellites", "flags", "fingerprint"):
            out[name] = getattr(batch, name)[order]
        out["layout"] = layout
        if group.names:
            out["values"]["value"][place] = values
        if batch.extra:
            yield from _with_extra(out, index, batch.extra)
        else:
            yield out.tobytes()
    yield TRAILER


def _with_extra(out: NDArray[Any], index: NDArray[np.intp], extra: dict[int, dict[str, Any]]) -> Iterator[bytes]:
    parts: list[bytes] = []
    size = 0
    for place, row in enumerate(index.tolist()):
        told = extra.get(row)
        plain = out[place].tobytes()
        if told:
            body = b"\x01" + jsonb(told)
            parts += [plain[:-4], len(body).to_bytes(4, "big"), body]
            size += len(body)
        else:
            parts.append(plain)
        if size > _PIECE:
            yield b"".join(parts)
            parts.clear()
            size = 0
    yield b"".join(parts)


def jsonb(value: dict[str, Any]) -> bytes:
    """JSON as jsonb takes it: it cannot hold U+0000, nor lone surrogates."""
    text = _ENCODER.encode(value)
    if "\\u0000" in text:
        text = _ENCODER.encode({_storable(name): _storable(item) for name, item in value.items()})
    return text.encode("utf-8", "replace")


def _storable(item: Any) -> Any:
    return item.replace("\0", "\ufffd") if isinstance(item, str) else item
