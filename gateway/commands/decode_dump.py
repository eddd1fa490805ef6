"""Hex dumps of files, streams and packets: xxd, hexdump -C, Wireshark, tcpdump -x and -X.

    00000000: 000f 3335 3639 3338  ..356938                                    xxd
    00000000  00 0f 33 35 36 39 33 38  30 33 35 36 34 33 38 30  |..35693803|   hexdump -C, * for repeated lines
    0000   00 0f 33 35 36 39 33 38 30 33 35 36 34 33 38 30   ..3569380356      Wireshark
        0x0000:  4500 0044 0001 0000 4006 …                                    tcpdump: with its IP header

An offset of 0 begins the next piece. Where a piece is an IP packet by its own checksum, headers are taken off and only
the side that spoke first is kept; where some of a stream are indented (Wireshark's peer), those are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.commands.decode_errors import HexError

_LINE = re.compile(r"(?P<indent>\s*)(?P<offset>(?:0x)?[0-9A-Fa-f]{4,16})(?P<between>:\s+|\s{2,})(?=[0-9A-Fa-f]{2})")
_ALMOST = re.compile(r"\s*[0-9][0-9A-Za-z]{3,16}(?::\s|\s|$)")  # what is no header of a packet
_END = re.compile(r"[0-9A-Fa-f]{7,16}\s*")
_GROUP = re.compile(r"(\s*)([0-9A-Fa-f]+)(?=\s|$)")
_LONGEST = 64 << 20  # bytes of a dump that `*` may stand for


@dataclass(slots=True)
class _Row:
    number: int  # line, from 1
    indent: int
    offset: int
    data: bytes
    sure: bool  # whether the line ends where hex does
    column: int  # where reading stopped


def is_dump(lines: Sequence[str]) -> bool:
    """Whether some line is one of a hex dump: by its colon, or as the first one by its offset."""
    return any(
        (found := _LINE.match(line))
        and (":" in found["between"] or int(found["offset"], 16) == 0)
        and _groups(line, found)
        for line in lines
    )


def _groups(line: str, found: re.Match[str]) -> bool:
    """Offsets without a colon are followed by single bytes; else it is plain hex with blanks."""
    return ":" in found["between"] or bool(re.match(r"[0-9A-Fa-f]{2}(?:\s|$)", line[found.end() :]))


def read_dump(lines: Sequence[str]) -> tuple[list[bytes], list[str]]:
    """Pieces, and what was left out.

    Raises
    ------
    HexError
        Where a line does not go on at the offset of the one before, or holds what is no hex.
    """
    rows: list[list[_Row]] = []
    repeats: list[int] = []  # lines of a `*`
    open_ = False
    for number, line in enumerate(lines, 1):
        found = _LINE.match(line)
        if found and _groups(line, found):
            row = _row(number, line, found)
            if row.offset == 0 or not rows:
                if row.offset:
                    raise HexError(f"line {number}, column 1: a dump begins at offset 0")
                rows.append([row])
            else:
                _follow(rows[-1], row.offset, number, repeats)
                rows[-1].append(row)
            open_ = True
        elif open_ and line.strip() == "*":
            repeats.append(number)
        elif open_ and _END.fullmatch(line):
            _follow(rows[-1], int(line, 16), number, repeats)
            open_ = False
        elif open_ and _ALMOST.match(line):
            raise HexError(f"line {number}, column {len(line) - len(line.lstrip()) + 1}: no line of a hex dump")
    for piece in rows:
        if len(piece) > 1:  # no line is longer than the first
            piece[-1].data = piece[-1].data[: len(piece[0].data)]
        if not piece[-1].sure:
            raise HexError(f"line {piece[-1].number}, column {piece[-1].column}: no hex digit")
    return _streams([(piece[0].indent, b"".join(row.data for row in piece)) for piece in rows])


def _row(number: int, line: str, found: re.Match[str]) -> _Row:
    data, at, width = "", found.end(), 0
    while group := _GROUP.match(line, at):
        gap = len(group[1])
        middle = gap == 2 and len(data) == 16 and len(group[2]) == width
        if (gap > 1 and data and not middle) or len(group[2]) % 2:
            break
        data += group[2]
        width = len(group[2])
        at = group.end()
    rest = line[at:]
    sure = not rest.strip() or rest.startswith(("  ", "\t", " |", " *"))
    return _Row(number, len(found["indent"]), int(found["offset"], 16), bytes.fromhex(data), sure, at + 2)


def _follow(piece: list[_Row], offset: int, number: int, repeats: list[int]) -> None:
    """The next line's offset says how long the last one was."""
    last = piece[-1]
    due = offset - last.offset
    if repeats:
        times, rest = divmod(due, len(last.data))
        if rest or not 0 < times * len(last.data) <= _LONGEST:
            raise HexError(f"line {number}, column 1: offset {offset:#x} does not follow from {last.offset:#x}")
        last.data *= times
        repeats.clear()
    elif 0 < due < len(last.data):  # letters beside the hex that look like hex
        last.data = last.data[:due]
    elif due != len(last.data):
        if not last.sure:
            raise HexError(f"line {last.number}, column {last.column}: no hex digit")
        raise HexError(
            f"line {number}, column 1: offset {offset:#x} where {last.offset + len(last.data):#x} is due: "
            "lines are missing or cut"
        )
    last.sure = True


def _streams(pieces: list[tuple[int, bytes]]) -> tuple[list[bytes], list[str]]:
    notes = []
    least = min(indent for indent, _ in pieces)
    peer = [data for indent, data in pieces if indent > least]
    if peer:
        notes.append(f"{len(peer)} indented dumps left out: the peer's")
    kept = [data for indent, data in pieces if indent == least]
    packets = [_packet(data) for data in kept]
    found = [packet for packet in packets if packet is not None]
    if not found or len(found) < len(packets):
        return kept, notes
    speaking = [(source, payload) for source, payload in found if payload]
    own = [payload for source, payload in speaking if source == speaking[0][0]]
    notes.append(f"IP headers taken off {len(found)} packets; {len(speaking) - len(own)} of the other side left out")
    return own, notes


def _packet(data: bytes) -> tuple[bytes, bytes] | None:
    """(sender's address and port, payload) of an IPv4 packet over TCP or UDP, bare or in Ethernet; None: it is none."""
    for start in (0, 14) if data[12:14] == b"\x08\x00" else (0,):
        packet = data[start:]
        size = (packet[0] & 15) * 4 if packet else 0
        total = int.from_bytes(packet[2:4], "big")
        if size < 20 or packet[0] >> 4 != 4 or not size <= total <= len(packet) or not _sums(packet[:size]):
            continue
        body = packet[size:total]
        if packet[9] == 6 and len(body) >= 20:
            return packet[12:16] + body[:2], body[(body[12] >> 4) * 4 :]
        if packet[9] == 17 and len(body) >= 8:
            return packet[12:16] + body[:2], body[8:]
    return None


def _sums(header: bytes) -> bool:
    """Whether the checksum of an IP header holds; zero is what a card fills in later."""
    total = sum(int.from_bytes(header[i : i + 2], "big") for i in range(0, len(header), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF or header[10:12] == b"\0\0"
