"""A letter's frozen bytes: headers by what other desks learnt, plain text and HTML from one text.

Composed by hand and not by `email.message`: with its SMTP policy a Message-ID too long for one line becomes an encoded
word in In-Reply-To and References, and the thread is lost (python/cpython#100991). Pure: the same draft gives the same
bytes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from email.utils import format_datetime, parseaddr
from typing import Any, NamedTuple
from urllib.parse import quote

from ticketing.channels import letter as lines
from ticketing.core.message_ids import MARK, instance_mark, named
from ticketing.letters.texts import Rendered, Texts, Words, words
from ticketing.letters.tokens import buttons_of, token_of
from ticketing.working_time.errors import ClockInputError
from ticketing.working_time.time_zones import zone

SUBJECT_LIMIT = 200  # characters
QUOTED_LIMIT = 2000  # of the client's own words in a confirmation
TEXT_LIMIT = 20_000
ITEM_LIMIT = 500
KEPT_REFERENCES = 8  # besides the first: enough for every client, short enough for every server
_INSTANTS = ("due_at", "eta", "old_eta", "promise", "until", "deemed_at", "reopen_until", "started_at", "ended_at",
             "buffered_until", "opened_at")  # fmt: skip
_LINES = ("number", "plate", "vehicle", "terminal", "organisation", "owner", "old_number", "register", "title",
          "vendor", "step", "count", "about", "priority", "reason")  # fmt: skip
NAME_LIMIT = 80  # characters of a file's name: encoded it must fit one line of 998
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._ -]+", re.ASCII)
_SAFE_TYPE = re.compile(r"image/(png|jpeg|gif|webp)|application/pdf|text/plain")
_TAG = re.compile(r"\[#[^\]]*\]")
_IDENTITY = re.compile(r"<[!-;=?-~]{1,120}@[!-;=?-~]{1,120}>", re.ASCII)
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Desk:
    """Who writes: `secret` is the instance's, `sender` the mailbox in From, `url` the desk's without a last slash."""

    secret: bytes
    sender: str
    texts: Texts
    url: str = ""


class File(NamedTuple):
    """A file that goes with a letter; `type` by its content."""

    name: str
    type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Draft:
    """A letter before it is frozen.

    Attributes
    ----------
    id : its row. `number` : the ticket's; None: it has none. `sequence` : its place among the ticket's letters, from 2.
    data : facts and what its cause said, as `owe` wrote them.
    references : Message-IDs of the thread, oldest first, as they are known; what is none is left out.
    entries : of a digest: the facts of each letter that it lists.
    files, left : what is attached, and the names of what is too large for a letter.
    """

    id: int
    kind: str
    number: str | None
    sequence: int
    address: str
    language: str
    auto: bool
    data: Mapping[str, Any]
    references: Sequence[str] = ()
    entries: Sequence[Mapping[str, Any]] = field(default=())
    files: Sequence[File] = ()
    left: Sequence[str] = ()


class Composed(NamedTuple):
    """A frozen letter; `token` is that of its buttons, None without any."""

    message_id: str
    subject: str
    raw: bytes
    token: str | None


def compose(draft: Draft, desk: Desk, at: datetime) -> Composed:
    """Freeze a letter; `at` is its date.

    Raises
    ------
    ValueError
        If the recipient's address is none that plain SMTP can carry.
    """
    said = words(draft.language)
    given = values(draft, desk, at)
    if draft.left:
        names = ", ".join(lines.one_line(name)[:ITEM_LIMIT] for name in draft.left)
        given["text"] = f"{given['text']}\n\n{said.get('files', 'left').format(names=names)}".strip()
    offered = buttons_of(draft.kind, given["about"], has_object=bool(given["object"])) if draft.number else ()
    token = token_of(desk.secret, draft.id) if offered and desk.url else None
    buttons = {said.get("button", one): f"{desk.url}/l/{token}?b={one}" for one in offered} if token else {}
    written = desk.texts.render(draft.kind, draft.language, given, buttons)
    tag = f"[#{draft.number}] " if draft.number else ""
    subject = (tag + lines.one_line(_TAG.sub(" ", written.subject)))[: SUBJECT_LIMIT + len(tag)].rstrip()
    display, address = parseaddr(desk.sender)
    name = f"t.{draft.number}.{draft.sequence}" if draft.number else f"l.{draft.id}"
    identity = named(desk.secret, name, lines.address_of(address).rpartition("@")[2])
    known = [one for one in draft.references if _IDENTITY.fullmatch(one) and one != identity]
    head = [
        lines.mailbox("From", display, address),
        lines.mailbox("To", given["name"], draft.address),
        f"Date: {format_datetime(at.astimezone(UTC))}\r\n",
        f"Message-ID: {identity}\r\n",
        lines.references("In-Reply-To", known[-1:]),
        lines.references("References", trimmed(known)),
        *(_marks(draft.kind) if draft.auto else ()),
        f"{MARK}: {instance_mark(desk.secret)}\r\n",
        lines.unstructured("Subject", subject),
        f"Content-Language: {draft.language}\r\n",
    ]
    return Composed(identity, subject, _with_parts(head, desk.secret, name, written, draft.files), token)


def trimmed(identities: Sequence[str]) -> list[str]:
    """The first and the last few of a thread, each once."""
    once = list(dict.fromkeys(identities))
    return once if len(once) <= KEPT_REFERENCES + 1 else [once[0], *once[-KEPT_REFERENCES:]]


def values(draft: Draft, desk: Desk, at: datetime) -> dict[str, Any]:
    """What the text may say: everything as words of the recipient's language, in their zone, on one line each."""
    data, said = draft.data, words(draft.language)
    to: Mapping[str, Any] = data.get("to") or {}
    here = _zone(str(to.get("zone") or ""))
    given: dict[str, Any] = {name: lines.one_line(_text(data.get(name))) for name in _LINES}
    given |= {name: moment(data.get(name), draft.language, here) for name in _INSTANTS}
    display, address = parseaddr(desk.sender)
    duty = data.get("duty") if isinstance(data.get("duty"), dict) else {}
    described = _text(data.get("description"))[:QUOTED_LIMIT]
    deferral = data.get("deferral") if isinstance(data.get("deferral"), dict) else {}
    given |= {
        "name": lines.one_line(_text(to.get("name"))),
        "subject": lines.one_line(_text(data.get("subject")))[:SUBJECT_LIMIT],
        "description": described,
        "quoted": "\n".join(f"> {line}".rstrip() for line in described.strip().splitlines()),
        "text": _typed(data),
        "cause": lines.one_line(_text(data.get("cause")))[:TEXT_LIMIT],
        "workaround": lines.one_line(_text(data.get("workaround")))[:TEXT_LIMIT],
        "deemed": "yes" if data.get("deemed") else "",
        "items": [lines.one_line(_text(one))[:ITEM_LIMIT] for one in _list(data.get("items"))],
        "missing": [_missing(said, _text(one)) for one in _list(data.get("missing"))],
        "object": ", ".join(dict.fromkeys(given[one] for one in ("plate", "vehicle") if given[one]))
        or given["terminal"],
        "eta": "" if _over(draft.kind, data.get("eta"), at) else given["eta"],
        "eta_basis": said.get("basis", _text(data.get("basis") or data.get("eta_basis"))),
        "visit": said.get("visit", _text(data.get("visit"))),
        "withdrawn": said.get("withdrawn", _text(data.get("withdrawn"))),
        "deferral": said.get("deferral", _text((deferral or {}).get("code"))),
        "until": given["until"] or moment((deferral or {}).get("until"), draft.language, here),
        "price": _price(said, data.get("price")),
        "saw": _saw(said, data.get("saw"), draft.language, here),
        "proof": _proof(said, data.get("proof"), draft.language, here),
        "duty_name": lines.one_line(_text((duty or {}).get("name"))),
        "duty_phone": lines.one_line(_text((duty or {}).get("phone"))),
        "desk_name": lines.one_line(display) or said.get("frame", "desk"),
        "desk_address": address,
        "desk_url": desk.url,
        "url": f"{desk.url}/tickets/{given['number']}" if desk.url and draft.number else "",
        "today": moment(at.isoformat(), draft.language, here, day=True),
        "entries": [_entry(said, one) for one in draft.entries],
    }
    return given


def _typed(data: Mapping[str, Any]) -> str:
    """What a person typed; of a question whose points are its text nothing, as they follow."""
    text = _text(data.get("text"))[:TEXT_LIMIT].strip()
    points = "\n".join(f"{n}. {_text(item)}" for n, item in enumerate(_list(data.get("items")), 1))
    return "" if text in (points, "\n".join(map(_text, _list(data.get("items"))))) else text


def _over(kind: str, eta: Any, at: datetime) -> bool:
    """Whether a date has passed, in letters that only mention it: it is no promise any more."""
    if kind == "eta" or not isinstance(eta, str):
        return False
    try:
        return datetime.fromisoformat(eta) <= at
    except (TypeError, ValueError):
        return False


def moment(found: Any, language: str, here: tzinfo, *, day: bool = False) -> str:
    """An instant, or a day, as people write it there; a text that is none stays as it is, on one line."""
    if not isinstance(found, str) or not found:
        return ""
    try:
        local = datetime.fromisoformat(found)
        local = (local if local.tzinfo else local.replace(tzinfo=UTC)).astimezone(here)
    except (ValueError, OverflowError):
        return lines.one_line(found)
    offset = local.utcoffset()
    minutes = 0 if offset is None else int(offset.total_seconds()) // 60
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    place = "UTC" if not minutes else f"UTC{sign}{hours}" + (f":{rest:02}" if rest else "")
    if language == "zh":
        date = f"{local.year}年{local.month}月{local.day}日"
        return date if day else f"{date} {local:%H:%M}（{place}）"
    date = f"{local:%d.%m.%Y}" if language == "ru" else f"{local.day} {_MONTHS[local.month - 1]} {local.year}"
    return date if day else f"{date}, {local:%H:%M} ({place})"


def _marks(kind: str) -> list[str]:
    """What keeps machines from answering."""
    return [
        f"Auto-Submitted: {'auto-replied' if kind == 'ack' else 'auto-generated'}\r\n",
        "X-Auto-Response-Suppress: All\r\n",
        "Precedence: bulk\r\n",
    ]


def _with_parts(head: Sequence[str], secret: bytes, name: str, written: Rendered, files: Sequence[File]) -> bytes:
    """The whole letter: text and HTML as alternatives, files after them."""
    texts = [_part(f'text/{kind}; charset="utf-8"', "quoted-printable", lines.body(text))
             for kind, text in (("plain", written.text), ("html", written.html))]  # fmt: skip
    content = _multipart("alternative", texts, secret, f"{name} a")
    if files:
        content = _multipart("mixed", [content, *map(_attached, files)], secret, f"{name} m")
    return "".join(head).encode("ascii") + b"MIME-Version: 1.0\r\n" + content


def _multipart(kind: str, parts: Sequence[bytes], secret: bytes, name: str) -> bytes:
    # "=_" is in no quoted-printable line and no base64, so that the boundary is in no part.
    boundary = "=_" + hmac.new(secret, b"boundary " + name.encode(), hashlib.sha256).hexdigest()[:24]
    head = f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n'.encode("ascii")
    between = f"--{boundary}\r\n".encode("ascii")
    return head + b"".join(between + part for part in parts) + f"--{boundary}--\r\n".encode("ascii")


def _part(kind: str, encoding: str, content: bytes, more: str = "") -> bytes:
    return f"Content-Type: {kind}\r\n{more}Content-Transfer-Encoding: {encoding}\r\n\r\n".encode("ascii") + content


def _attached(file: File) -> bytes:
    """A file as a part that no mail program opens by itself; its name as RFC 2231 has it."""
    kind = file.type if _SAFE_TYPE.fullmatch(file.type) else "application/octet-stream"
    name = lines.one_line(file.name).encode("utf-8", "replace").decode() or "file"
    stem, dot, ending = name.rpartition(".")
    if len(name) > NAME_LIMIT:
        name = f"{stem[: NAME_LIMIT - 11]}.{ending}" if dot and len(ending) <= 10 else name[:NAME_LIMIT]
    # In one line and not in numbered pieces, which many programs cannot put together.
    shown = f'="{name}"' if _PLAIN_NAME.fullmatch(name) else f"*=utf-8''{quote(name, safe='')}"
    more = f"Content-Disposition: attachment;\r\n filename{shown}\r\n"
    return _part(kind, "base64", base64.encodebytes(file.content).replace(b"\n", b"\r\n"), more)


def _saw(said: Words, saw: Any, language: str, here: tzinfo) -> str:
    if not isinstance(saw, dict):
        return ""
    sentence = said.get("saw", _text(saw.get("kind"))) or said.get("saw", "other")
    return sentence.format(since=moment(saw.get("since"), language, here))


def _proof(said: Words, proof: Any, language: str, here: tzinfo) -> str:
    if not isinstance(proof, dict):
        return lines.one_line(_text(proof))
    bad, good = (moment(proof.get(one), language, here) for one in ("bad_at", "good_at"))
    return said.get("proof", "live").format(bad=bad, good=good) if bad and good else ""


def _price(said: Words, price: Any) -> str:
    if not isinstance(price, dict):
        return ""
    told = [said.get("price", "warranty")] if price.get("warranty") else []
    for part in ("visit", "parts"):
        amount = price.get(part)
        if amount is not None:
            shown = said.get("price", "free") if amount in (0, "free") else lines.one_line(_text(amount))
            told.append(f"{said.get('price', part)}: {shown}")
    return "\n".join(told)


def _missing(said: Words, item: str) -> str:
    return said.get("missing", item) or lines.one_line(item.replace("_", " "))[:ITEM_LIMIT]


def _entry(said: Words, facts: Mapping[str, Any]) -> str:
    shown = {name: lines.one_line(_text(facts.get(name)))[:SUBJECT_LIMIT] for name in ("number", "subject")}
    return said.get("frame", "entry").format(**shown, kind=said.get("kind", _text(facts.get("letter"))))


def _zone(name: str) -> tzinfo:
    try:
        return zone(name).info if name else UTC
    except ClockInputError:
        return UTC


def _text(found: Any) -> str:
    return "" if found is None else found if isinstance(found, str) else str(found)


def _list(found: Any) -> list[Any]:
    return found[:200] if isinstance(found, list) else []
