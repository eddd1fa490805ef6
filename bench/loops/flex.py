"""FLEX's ~A: a field at a time, by the fields that the simulated device agrees upon."""

from __future__ import annotations

from collections.abc import Sequence

import fastcrc

from bench.loops import Rows, read, readers
from protocols.flex.fields import FIELDS, selected
from protocols.flex.terminal import FlexTerminal, chosen
from protocols.records import Batch

_CHOICES = [selected(*chosen(model)[:2]) for model in FlexTerminal.models]
_BY_SIZE = {sum(FIELDS[n].size for n in fields): fields for fields in _CHOICES}
_READ = {n: (readers(field.parts), field.size) for n, field in FIELDS.items() if not field.parts[0][0].kind}


def decode(frames: Sequence[bytes]) -> Batch:
    """Whole words to columns.

    Raises
    ------
    ValueError
        On any damage: the wire never meets this loop.
    """
    rows = Rows()
    for index, data in enumerate(frames):
        count = data[2]
        fields = _BY_SIZE.get((len(data) - 4) // count) if data[:2] == b"~A" else None
        if fields is None:
            raise ValueError("header")
        if fastcrc.crc8.nrsc_5(data[:-1]) != data[-1]:
            raise ValueError("checksum")
        at = 3
        for position in range(count):
            begin = at
            told: dict[str, float] = {}
            names: list[str] = []
            values: list[float] = []
            for n in fields:
                its, size = _READ[n]
                read(its, data, at, names, values, told)
                at += size
            fixed_at = names.index("gnss.time")
            if values[fixed_at] == told["@time"]:
                values[fixed_at] = float("nan")
            rows.measures(names, values)
            rows.add(index, position, told, told["@fix"] == 1, data[begin:at])
        if at != len(data) - 1:
            raise ValueError("structure")
    return rows.batch()
