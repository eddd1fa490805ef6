"""Raw bytes of a mail → `Mail`. It never raises: what cannot be read is said in `defects`, and the raw form is kept.

The structure is parsed by the standard library with its old, lenient policy; headers and charsets are decoded by our
own bounded code, for the new policy raises on damaged ones and takes codecs by the sender's choice.
"""

from __future__ import annotations

import email.parser
import email.policy
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from email.utils import collapse_rfc2231_value, getaddresses
from typing import Any, TypeAlias

from ticketing.mail import charsets
from ticketing.mail.message import Address, Mail, Part
from ticketing.mail.reports import report_of
from ticketing.threads.html import as_text
from ticketing.threads.quotes import said

# The parser looks at each line once for every open boundary: lines times boundaries, half a microsecond each.
MOST_WORK = 20_000_000
MOST_BOUNDARY_LINES = 20_000  # each begins a part, and a part takes a kilobyte and more
MOST_PARTS = 300
DEEPEST = 30  # parts in parts; forwards of forwards are some four deep each
MOST_HEADERS = 500
LONGEST_HEADER = 20_000  # characters
LONGEST_TEXT = 1_000_000  # characters
LONGEST_TYPE = 4000  # bytes of a Content-Type: the parser takes time by the square of its parameters
MOST_IDS = 100  # of References: the first and the last are what counts
LONGEST_ID = 500
MOST_ADDRESSES = 200

_MESSAGE_ID = re.compile(r"<([^<>\s]{1,498})>")
_ADDRESS = re.compile(r"[^\s<>@,;:\"()\[\]\\]{1,64}@[^\s<>@,;:\"()\[\]\\]{1,255}")
_HEADER_LINE = re.compile(rb"([!-9;-~]{1,100}):[ \t]?(.*)", re.DOTALL)
_TYPE = re.compile(rb"^content-(?:type|disposition):[^\n]*(?:\n[ \t][^\n]*)*", re.IGNORECASE | re.MULTILINE)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_METHOD = re.compile(r"^METHOD:([A-Z]{1,20})", re.IGNORECASE | re.MULTILINE)

_Message: TypeAlias = "Message[Any, Any]"


@dataclass(slots=True)
class _Found:
    """What walking the parts collected."""

    plain: list[str] = field(default_factory=list)
    html: list[str] = field(default_factory=list)
    files: list[Part] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)
    calendar: str = ""
    parts: int = 0


def read(raw: bytes, envelope_from: str | None = None) -> Mail:
    """Read a mail. `envelope_from` is that of the transport, where it told one; empty: a report."""
    try:
        return _read(raw, envelope_from)
    except Exception as error:  # nobody's mail may stop its neighbours
        subject = _CONTROL.sub(" ", charsets.header(_first(raw, b"subject")))[:1000]
        sender = next(iter(_addresses([_first(raw, b"from")])), Address("", ""))
        text = _clean(charsets.guessed(raw[:LONGEST_TEXT]))
        defect = f"cannot be read: {type(error).__name__}"
        return Mail(subject=subject, sender=sender, text=text, said=text, readable=False, defects=(defect,))


def _read(raw: bytes, envelope_from: str | None) -> Mail:
    found = _Found()
    message = _parsed(raw, found)
    headers = _headers(message)
    if message.is_multipart() or found.defects == []:
        _walk(message, found, 0)
    else:
        found.plain.append(charsets.guessed(_body(raw)[:LONGEST_TEXT]))
    report = report_of(message, headers)
    html = "\n".join(found.html)[:LONGEST_TEXT] or None
    text = _clean("\n\n".join(part.strip("\n") for part in found.plain if part.strip()))
    if not text and html is not None:
        text = _clean(as_text(html))
    senders = _addresses(headers.get("from", ()), limit=10) or _addresses(headers.get("sender", ()), limit=10)
    return Mail(
        message_id=next(iter(ids(headers.get("message-id", ()))), ""),
        subject=charsets.header(_value(headers, "subject"))[:1000],
        sender=senders[0] if senders else Address("", ""),
        reply_to=_addresses(headers.get("reply-to", ()), limit=10),
        to=_addresses(headers.get("to", ())),
        cc=_addresses(headers.get("cc", ())),
        in_reply_to=ids(headers.get("in-reply-to", ())),
        references=ids(headers.get("references", ())),
        headers={
            name: tuple(charsets.header(value)[:2000] for value in values[:100]) for name, values in headers.items()
        },
        text=text,
        said=said(text),
        html=None if html is None else _CONTROL.sub("\ufffd", html),
        files=tuple(found.files),
        report=report,
        calendar=found.calendar,
        null_path=_null_path(headers, envelope_from),
        defects=tuple(dict.fromkeys(found.defects))[:20],
    )


def _parsed(raw: bytes, found: _Found) -> _Message:
    raw = _TYPE.sub(lambda header: header[0][:LONGEST_TYPE], raw)
    boundaries = raw.lower().count(b"boundary=")
    lines = raw.count(b"\n")
    if lines * (1 + boundaries) > MOST_WORK or raw.count(b"\n--") > MOST_BOUNDARY_LINES:
        found.defects.append("too many parts to read")
        return email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(raw[: 1 << 20])
    try:
        return email.parser.BytesParser(policy=email.policy.compat32).parsebytes(raw)
    except RecursionError:
        found.defects.append("parts nested too deep")
        return email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(raw[: 1 << 20])


def _headers(message: _Message) -> dict[str, list[str]]:
    """Lower-case name → raw values; bytes that are no ASCII as surrogates."""
    found: dict[str, list[str]] = {}
    for count, (name, value) in enumerate(message.raw_items()):
        if count >= MOST_HEADERS:
            break
        found.setdefault(name.lower().strip(), []).append(str(value)[:LONGEST_HEADER])
    return found


def _walk(part: _Message, found: _Found, depth: int) -> None:
    found.parts += 1
    if found.parts > MOST_PARTS or depth > DEEPEST:
        found.defects.append("parts beyond the limits left out")
        return
    kind = part.get_content_type()
    children = part.get_payload() if part.is_multipart() else None
    if kind == "message/rfc822" or (kind.startswith("message/") and isinstance(children, list)):
        if depth and kind in ("message/rfc822", "message/global"):
            _forwarded(part, found)
        return
    if isinstance(children, list):
        inner = [child for child in children if isinstance(child, Message)]
        if kind == "multipart/alternative":
            _alternative(inner, found, depth)
            return
        if kind == "multipart/report":
            inner = inner[:1]  # the words; the rest is read by `report_of`
        for child in inner:
            _walk(child, found, depth + 1)
        return
    _leaf(part, kind, found)


def _alternative(parts: list[_Message], found: _Found, depth: int) -> None:
    """Of several forms of one text, plain and HTML are both kept, each once."""
    for part in parts:
        before = len(found.plain), len(found.html)
        _walk(part, found, depth + 1)
        # A program that puts the text twice means it once.
        if len(found.plain) > before[0] + 1 and found.plain[-1] == found.plain[before[0]]:
            found.plain.pop()


def _leaf(part: _Message, kind: str, found: _Found) -> None:
    content = _content(part, found)
    name = _file_name(part)
    attached = str(part.get("Content-Disposition", "")).strip().lower().startswith("attachment")
    if kind == "text/calendar":
        method = _METHOD.search(content[:20_000].decode("utf-8", "replace"))
        found.calendar = (method[1] if method else "publish").lower()
        found.files.append(Part(name or "invite.ics", kind, content, inline=False))
        return
    if kind.startswith("multipart/"):
        kind = "text/plain"  # one without parts
    if kind in ("text/plain", "text/html") and not attached and not name:
        text, wrong = charsets.decoded(content[: 4 * LONGEST_TEXT], _parameter(part, "charset"))
        if wrong:
            found.defects.append(wrong)
        if len(text) > LONGEST_TEXT:
            found.defects.append("text cut")
            text = text[:LONGEST_TEXT]
        if kind == "text/html":
            found.html.append(text)
        else:
            found.plain.append(_unflowed(text, part))
        return
    if not content and not name:
        return
    if kind in ("application/pgp-encrypted", "multipart/encrypted"):
        found.defects.append("encrypted")
    inline = bool(part.get("Content-ID")) and not attached
    found.files.append(Part(name or f"{kind.replace('/', '-')}{_EXTENSIONS.get(kind, '')}", kind, content, inline))


_EXTENSIONS = {
    "text/plain": ".txt",
    "text/html": ".html",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "application/pdf": ".pdf",
}


def _forwarded(part: _Message, found: _Found) -> None:
    """A mail in the mail is kept as a file: its text is not what this one's sender says."""
    payload = part.get_payload()
    inner = payload[0] if isinstance(payload, list) and payload else payload
    try:
        content = inner.as_bytes() if isinstance(inner, Message) else str(inner).encode("utf-8", "surrogateescape")
    except Exception:  # the generator is stricter than the parser
        found.defects.append("a forwarded mail left out: damaged")
        return
    subject = charsets.header(str(inner.get("Subject", ""))) if isinstance(inner, Message) else ""
    name = _file_name(part) or f"{subject[:80] or 'forwarded'}.eml"
    found.files.append(Part(name, "message/rfc822", content, inline=False))


def _content(part: _Message, found: _Found) -> bytes:
    try:
        content = part.get_payload(decode=True)
    except Exception:  # a transfer encoding so broken that the library gives up
        content = None
    if isinstance(content, bytes):
        return content
    found.defects.append("a part whose encoding is broken")
    raw = part.get_payload()
    return raw.encode("utf-8", "surrogateescape") if isinstance(raw, str) else b""


def _file_name(part: _Message) -> str:
    for header, parameter in (("content-disposition", "filename"), ("content-type", "name")):
        value = _parameter(part, parameter, header)
        if value:
            return charsets.header(value)[:500]
    return ""


def _parameter(part: _Message, name: str, header: str = "content-type") -> str:
    scratch: _Message = Message()
    # Bytes that are no ASCII would come out as question marks.
    scratch[header] = charsets.unescaped(next((str(v) for n, v in part.raw_items() if n.lower() == header), ""))
    try:
        value = scratch.get_param(name, "", header)
        return collapse_rfc2231_value(value) if isinstance(value, tuple) else str(value or "")
    except Exception:  # of RFC 2231 pieces that fit nowhere, or a charset that is none
        return ""


def _unflowed(text: str, part: _Message) -> str:
    """Lines of format=flowed (RFC 3676) joined as they were typed."""
    if _parameter(part, "format").lower() != "flowed":
        return text
    joined: list[str] = []
    flowing = False
    delete = _parameter(part, "delsp").lower() == "yes"
    for line in text.splitlines():
        quoted = line.startswith(">")
        line = line[1:] if line.startswith(" ") else line
        if flowing and not quoted and line != "-- ":
            joined[-1] += line
        else:
            joined.append(line)
        flowing = line.endswith(" ") and line != "-- " and not quoted
        if flowing and delete:
            joined[-1] = joined[-1][:-1]
    return "\n".join(joined)


def ids(values: Iterable[str]) -> tuple[str, ...]:
    """Message-IDs in headers, in angle brackets; comments, duplicates and what is too long left out."""
    found: dict[str, None] = {}
    for value in values:
        value = "".join(value.split()) if "=?" not in value else charsets.header(value)
        matches = [f"<{one}>" for one in _MESSAGE_ID.findall(value)]
        if not matches and 3 <= len(value) <= LONGEST_ID and "@" in value and not re.search(r"[<>,;]", value):
            matches = [f"<{value}>"]
        found |= dict.fromkeys(_CONTROL.sub("", one) for one in matches)
    every = tuple(found)
    return every if len(every) <= MOST_IDS else (*every[: MOST_IDS // 2], *every[-MOST_IDS // 2 :])


def _addresses(values: Iterable[str], limit: int = MOST_ADDRESSES) -> tuple[Address, ...]:
    found: dict[str, Address] = {}
    for value in values:
        value = " ".join(value.split())
        for name, address in _split(value):
            address = charsets.header(address).strip().lower()
            if _ADDRESS.fullmatch(address) and len(found) < limit:
                found.setdefault(address, Address(charsets.header(name)[:200], address))
    return tuple(found.values())


def _split(value: str) -> Iterator[tuple[str, str]]:
    try:
        pairs = getaddresses([value])
    except Exception:
        pairs = []
    if any(_ADDRESS.fullmatch(address.strip()) for _, address in pairs):
        yield from pairs
        return
    # Names with unquoted commas, encoded words round the whole, and worse.
    text = charsets.header(value)
    bracketed = re.findall(r"<\s{0,5}([^<>\s]{3,320})\s{0,5}>", text)
    for address in bracketed or _ADDRESS.findall(text):
        yield text.partition("<")[0].strip(' "'), address


def _null_path(headers: dict[str, list[str]], envelope_from: str | None) -> bool:
    if envelope_from is not None:
        return not envelope_from.strip("<> ")
    return any(value.strip() == "<>" for value in headers.get("return-path", ()))


def _value(headers: dict[str, list[str]], name: str) -> str:
    return next(iter(headers.get(name, ())), "")


def _clean(text: str) -> str:
    return _CONTROL.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def _first(raw: bytes, name: bytes) -> str:
    """A header of a mail whose structure cannot be parsed."""
    for line in raw[:65536].split(b"\n\n")[0].splitlines():
        found = _HEADER_LINE.match(line)
        if found and found[1].lower() == name:
            return found[2].decode("ascii", "surrogateescape")
    return ""


def _body(raw: bytes) -> bytes:
    found = re.search(rb"\r?\n\r?\n", raw[: 1 << 20])
    return raw[found.end() :] if found else raw
