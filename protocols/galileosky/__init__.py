"""Galileosky over TCP: data, compressed and answer packets.

Modules: `measures` the tags; `walk` where they lie; `decoder` packets to columns; `session` what answers what;
`declaration` the readable truth and the oracle of the decoder; `anatomy` every byte by name; `terminal` the other side.
"""

from __future__ import annotations

from typing import Any

from construct import ConstructError

from protocols.commands import text_problem
from protocols.galileosky.anatomy import anatomy
from protocols.galileosky.declaration import parse
from protocols.galileosky.decoder import COMPRESSED, DATA, decode, explain
from protocols.galileosky.measures import IMEI, MEASURES, SHARED
from protocols.galileosky.session import HEADERS, MAX_FRAME, MAX_TAGS, MAX_TEXT, GalileoskySession, packet
from protocols.galileosky.walk import SIZES, walk
from protocols.learned import DamagedError
from protocols.meanings import number_of, raw_of, text_of
from protocols.records import Frame, Session
from protocols.registry import WireProtocol

_NOBODY = "0" * 15
_TIME = 0x20


def _new_session(transport: str = "tcp", max_frame: int | None = None) -> Session:
    return GalileoskySession(max_frame=max_frame)


def _tree(frame: Frame) -> Any:
    try:
        return parse(frame.data)
    except (ConstructError, IndexError, KeyError) as error:
        return {"header": frame.data[:1].hex(), "bytes": frame.data.hex(), "error": str(error)}


def _member(data: bytes, variant: int) -> Any:
    """The rest of a packet, from the record on that could not be read."""
    del variant
    if data[:1] and data[0] in HEADERS and len(data) == (int.from_bytes(data[1:3], "little") & 0x7FFF) + 5:
        return None
    found: dict[str, Any] = {}
    try:
        walked, _ = walk(data, 0, len(data))
    except DamagedError as error:
        walked, found["damage"] = _before(data), str(error.args[0])
    for element in explain(data, walked).elements:
        meaning = element.meaning
        if meaning.kind:
            found[meaning.name] = text_of(data[element.offset : element.offset + element.size], meaning.kind)
        else:
            found[meaning.name.lstrip("@")] = number_of(raw_of(data, element), meaning)[0]
    found["bytes"] = data.hex()
    return found


def _before(data: bytes) -> list[tuple[int, int, int]]:
    """The tags of fixed size that stand before the damage."""
    found, at, last = [], 0, -1
    while at < len(data) and SIZES[data[at]] > 0 and data[at] > last and at + 1 + SIZES[data[at]] <= len(data):
        last = data[at]
        found.append((last, at + 1, SIZES[last]))
        at += 1 + SIZES[last]
    return found


def _missing_login(data: bytes) -> bytes:
    """A head packet, unless the first packet names the terminal itself."""
    if data[:1] and data[0] in HEADERS and _begins(data, "tcp") is not False and not _named(data):
        return packet(DATA, bytes((IMEI,)) + _NOBODY.encode())
    return b""


def _named(data: bytes) -> bool:
    at = 3
    while at < len(data) and data[0] == DATA and data[at] <= IMEI:
        if data[at] == IMEI:
            return True
        at += 1 + max(SIZES[data[at]], 1)
    return False


def _begins(data: bytes, transport: str) -> bool | None:
    """01 and a length, then tags in order up to an IMEI or the time of a record; 08, a length and a list of tags."""
    del transport
    if len(data) < 4:
        head = (b"\x01", b"\x08")
        return None if not data or (data[:1] in head and _length(data) is not False) else False
    if data[0] not in (DATA, COMPRESSED) or not _length(data):
        return False
    return _begins_listed(data) if data[0] == COMPRESSED else _begins_tags(data)


def _length(data: bytes) -> bool | None:
    return None if len(data) < 3 else 0 < (data[1] | data[2] << 8) & 0x7FFF <= MAX_TAGS


def _begins_tags(data: bytes) -> bool | None:
    at, last = 3, 0
    while at < len(data):
        tag = data[at]
        if not last < tag <= _TIME or SIZES[tag] <= 0:
            return False
        if tag == _TIME:
            return True
        value = data[at + 1 : at + 1 + SIZES[tag]]
        if tag == IMEI and value and not value.isdigit():
            return False
        if len(value) < SIZES[tag]:
            return None
        if tag == IMEI:
            return True
        at, last = at + 1 + SIZES[tag], tag
    return None


def _begins_listed(data: bytes) -> bool | None:
    end = 3 + ((data[1] | data[2] << 8) & 0x7FFF)
    at = 3 + (10 if data[3] < 0x80 else 0)
    if at >= end:
        return at == end
    if len(data) <= at:
        return None
    size = 1 + (32 if data[at] == 0xFF else data[at] & 0x7F)
    if data[at] < 0x80 or at + size > end or (data[at] != 0xFF and size > 32):
        return False
    if data[at] == 0xFF:
        return True
    told = data[at + 1 : at + size]
    if any(SIZES[tag] == 0 for tag in told):
        return False
    return None if len(told) < size - 1 else True


def _command_problem(text: str) -> str:
    """A text of CP1251, whose length is one byte."""
    problem = text_problem(text, MAX_TEXT)
    if problem:
        return problem
    try:
        text.encode("cp1251")
    except UnicodeEncodeError:
        return "Galileosky's commands are in CP1251"
    return ""


PROTOCOL = WireProtocol(
    name="galileosky",
    called_by_imei=True,
    new_session=_new_session,
    decode=decode,
    tree=_tree,
    measures=MEASURES,
    max_frame=MAX_FRAME,
    shared_measures=SHARED,
    member=_member,
    missing_login=_missing_login,
    command_problem=_command_problem,
    anatomy=anatomy,
    begins=_begins,
)
