"""Files that come with messages: bounded, named harmlessly, typed by what they hold, stored once by content.

The name and type that a sender gave decide nothing. What goes beyond a bound is left out and named with the reason; of
mail it stays in the raw message, which is kept.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from ticketing.core.db import Connection
from ticketing.core.errors import InvalidTextError

UNKNOWN = "application/octet-stream"
_NAME_LIMIT = 150  # characters; file systems take 255 bytes
_SNIFFED = 4096  # bytes looked at

# Where the marks stand and what they are: the formats' own specifications, as `file` knows them too.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypavif", "image/avif"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"BZh", "application/x-bzip2"),
    (0, b"\xfd7zXZ\x00", "application/x-xz"),
    (0, b"MZ", "application/vnd.microsoft.portable-executable"),
    (0, b"\x7fELF", "application/x-executable"),
    (257, b"ustar", "application/x-tar"),
    (0, b"\x78\x9f\x3e\x22", "application/vnd.ms-tnef"),
    (4, b"ftyp", "video/mp4"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (8, b"WAVE", "audio/wav"),
    (0, b"#!AMR", "audio/amr"),
    (0, b"{\\rtf", "application/rtf"),
    (0, b"\xd4\xc3\xb2\xa1", "application/vnd.tcpdump.pcap"),
    (0, b"BEGIN:VCALENDAR", "text/calendar"),
    (0, b"BEGIN:VCARD", "text/vcard"),
)
_OFFICE = (
    (b"word/", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    (b"xl/", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    (b"ppt/", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
)
_HTML = re.compile(
    rb"\s*(?:<!--.{0,500}?-->\s*)?<(?:!doctype\s+html|html|head|body|script|iframe)\b", re.IGNORECASE | re.DOTALL
)
_SVG = re.compile(rb"<svg[\s>]", re.IGNORECASE)
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,10}")
# Device names that Windows opens whatever the extension.
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one message may bring: files, bytes of each, bytes of all together."""

    count: int = 50
    each: int = 20 << 20
    together: int = 40 << 20


class Offered(NamedTuple):
    """A file as somebody sent it."""

    name: str
    content: bytes


class LeftOut(NamedTuple):
    """A file that was not taken, and why."""

    name: str
    why: str


class Kept(NamedTuple):
    """Files within the bounds, and those beyond."""

    files: tuple[Offered, ...]
    left_out: tuple[LeftOut, ...]


class Stored(NamedTuple):
    """A stored file with its content."""

    name: str
    type: str
    content: bytes
    ticket: int
    public: bool


def bounded(offered: Iterable[Offered], limits: Limits) -> Kept:
    """Take files in their order while they fit; names come out clean."""
    files: list[Offered] = []
    left_out: list[LeftOut] = []
    together = 0
    for name, content in offered:
        name = clean_name(name)
        if len(files) >= limits.count:
            why = f"more than {limits.count} files"
        elif len(content) > limits.each:
            why = f"larger than {limits.each >> 20} MiB"
        elif together + len(content) > limits.together:
            why = f"more than {limits.together >> 20} MiB together"
        else:
            together += len(content)
            files.append(Offered(name, content))
            continue
        left_out.append(LeftOut(name, why))
    return Kept(tuple(files), tuple(left_out))


def checked(offered: Iterable[Offered], limits: Limits) -> tuple[Offered, ...]:
    """All of them, with clean names: for those who can be told to send less.

    Raises
    ------
    InvalidTextError
        If one goes beyond a bound; the message names it.
    """
    kept = bounded(offered, limits)
    if kept.left_out:
        name, why = kept.left_out[0]
        raise InvalidTextError(f"attachment {name}: {why}: send less, or in several messages")
    return kept.files


def clean_name(name: str) -> str:
    """A file name for any system: no path, no control or reversing characters, not hidden, not too long."""
    name = unicodedata.normalize("NFC", name.replace("\\", "/").rpartition("/")[2][:2000])
    # Cc, Cf and the like: "exe.gnp" turned round by U+202E reads as a picture.
    name = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in name)
    name = re.sub(r'[<>:"|?*%]', "_", " ".join(name.split())).strip(". ")
    if not name:
        return "attachment"
    if _RESERVED.match(name):
        name = f"_{name}"
    if len(name) > _NAME_LIMIT:
        dot = name.rfind(".")
        ending = name[dot:] if dot > 0 and _EXTENSION.fullmatch(name[dot:]) else ""
        name = name[: _NAME_LIMIT - len(ending)].rstrip(". ") + ending
    return name


def type_of(content: bytes) -> str:
    """The media type by content; text that could run in a browser is called what it is, other text plain."""
    if content[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        head = content[:_SNIFFED]
        return next((kind for mark, kind in _OFFICE if mark in head), "application/zip")
    for at, mark, kind in _MAGIC:
        if content[at : at + len(mark)] == mark:
            return kind
    head = content[:_SNIFFED]
    if _HTML.match(head.removeprefix(b"\xef\xbb\xbf")):
        return "text/html"
    if _SVG.search(head):
        return "image/svg+xml"
    if content and b"\x00" not in head and not any(byte < 32 and byte not in b"\t\r\n\f\x1b" for byte in head):
        return "text/plain"
    return UNKNOWN


async def store(connection: Connection, message: int, files: Sequence[Offered], now: datetime) -> list[int]:
    """Store files of a message within the caller's transaction; equal content is kept once. Returns their ids."""
    made: list[int] = []
    for name, content in files:
        digest = hashlib.sha256(content).digest()
        await connection.execute(
            "INSERT INTO blob (sha256, size, type, content, created_at) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (sha256) DO NOTHING",
            (digest, len(content), type_of(content), content, now),
        )
        rows = await connection.execute(
            "INSERT INTO attachment (message, sha256, name) VALUES (%s, %s, %s) RETURNING id",
            (message, digest, clean_name(name)),
        )
        row = await rows.fetchone()
        assert row is not None  # noqa: S101  # RETURNING of a single INSERT
        made.append(row[0])
    return made


async def load(connection: Connection, attachment: int) -> Stored | None:
    """One file with its content and whose it is; who may see it is the caller's question."""
    rows = await connection.execute(
        "SELECT a.name, b.type, b.content, m.ticket, m.public FROM attachment a JOIN blob b USING (sha256)"
        " JOIN ticket_message m ON m.id = a.message WHERE a.id = %s",
        (attachment,),
    )
    row = await rows.fetchone()
    return None if row is None else Stored(row[0], row[1], bytes(row[2]), row[3], row[4])
