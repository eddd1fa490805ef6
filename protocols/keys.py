"""Drivers' keys as one text, whichever way round a terminal sends them."""

from __future__ import annotations

from functools import lru_cache

import fastcrc

# Family codes of 1-Wire devices that people carry: serial number, memories, counters, clocks, secrets.
_FAMILIES = frozenset(bytes.fromhex("01020406080a0b0c1418 1a21233337 4181"))


@lru_cache(4096)
def key_text(data: bytes) -> str:
    """A key's bytes as lower-case hex, most significant first; empty where all are zero: no key on the reader.

    A 1-Wire number is its family, six bytes of serial number, and CRC-8/MAXIM-DOW over the seven. Some terminals send
    it in that order, others reversed: where the checksum says that the family comes first, the bytes are turned
    round; whatever else comes stays as sent.
    """
    if not any(data):
        return ""
    if len(data) == 8 and data[0] in _FAMILIES and fastcrc.crc8.maxim_dow(data[:7]) == data[7]:
        data = data[::-1]
    return data.hex()
