"""Delivery reports and receipts: what a mail system tells about a letter of ours.

Read from the report's own fields (RFC 3464, RFC 8098, RFC 5965); of systems that write in words alone, from the
words and the codes that all of them use (RFC 3463).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from email.message import Message
from typing import Any

from ticketing.mail.charsets import guessed, header
from ticketing.mail.message import Recipient, Report

MOST_RECIPIENTS = 100
_LOOKED_AT = 100_000  # bytes of a report in words

_ID = re.compile(r"^\s{0,4}Message-ID:\s{0,20}(<[^<>\s]{1,498}>)", re.IGNORECASE | re.MULTILINE)
_FIELD = re.compile(
    r"^(final-recipient|original-recipient|action|status|diagnostic-code|disposition):[ \t]*(.*)$", re.I
)
_ADDRESS = re.compile(r"<?([^\s<>@,;:\"()]{1,64}@[a-z0-9.\-]{1,255}\.[a-z0-9\-]{2,63})>?", re.IGNORECASE)
_STATUS = re.compile(r"\b([245]\.[0-9]{1,3}\.[0-9]{1,3})\b")
_CODE = re.compile(r"\b(5[0-9]{2})[ \-][^\n]{0,300}")
_FAILED = re.compile(
    r"undeliver|returned mail|delivery (?:has |status notification \()?fail|mail delivery (?:failed|system)"
    r"|delivery failure"
    r"|failure notice|mail (?:could not|not) (?:be )?deliver|не доставлен|недоставленн|не удалось доставить|возврат"
    r"|退信|投递失败|无法投递|系统退信|未送达",
    re.IGNORECASE,
)
_DELAYED = re.compile(r"delayed|still trying|warning: (?:message|could not)|задерж|延迟", re.IGNORECASE)
_DAEMON = re.compile(
    r"(?:mailer-daemon|postmaster|mail-daemon|mail\.daemon|maildaemon|bounce[s]?)(?:[+\-=].*)?@", re.IGNORECASE
)


def report_of(message: Message[Any, Any], headers: Mapping[str, Sequence[str]]) -> Report | None:
    """The report a message is, if it is one."""
    kind = message.get_content_type()
    if kind == "multipart/report":
        told = str(message.get_param("report-type", "") or "").lower()
        if "disposition" in told:
            return Report("disposition", tuple(_fields(message)), tuple(_returned(message)))
        if "feedback" in told:
            return Report("feedback", (), tuple(_returned(message)))
        recipients = tuple(_fields(message))
        return Report("delivery", recipients or tuple(_in_words(message)), tuple(_returned(message)))
    if _in_words_only(headers):
        return Report("delivery", tuple(_in_words(message)), tuple(_returned(message)))
    return None


def _in_words_only(headers: Mapping[str, Sequence[str]]) -> bool:
    """Exim, qmail and older systems send plain words; they all call themselves a daemon, and the subject says it."""
    sender = " ".join(headers.get("from", ()))
    subject = header(" ".join(headers.get("subject", ())))
    if headers.get("x-failed-recipients"):
        return True
    return bool(_DAEMON.search(sender)) and bool(_FAILED.search(subject) or _DELAYED.search(subject))


def _parts(message: Message[Any, Any], depth: int = 0) -> Iterator[Message[Any, Any]]:
    yield message
    payload = message.get_payload()
    if isinstance(payload, list) and depth < 6:
        for part in payload[:50]:
            if isinstance(part, Message):
                yield from _parts(part, depth + 1)


def _fields(message: Message[Any, Any]) -> Iterator[Recipient]:
    """Recipients of the machine-readable part."""
    count = 0
    for part in _parts(message):
        if part.get_content_type() not in (
            "message/delivery-status",
            "message/disposition-notification",
            "message/global-delivery-status",
        ):
            continue
        payload = part.get_payload()
        blocks = payload if isinstance(payload, list) else [payload]
        for block in blocks[: MOST_RECIPIENTS + 1]:
            text = (
                "\n".join(f"{name}: {value}" for name, value in block.items())
                if isinstance(block, Message)
                else str(block)
            )
            found = _recipient(text)
            if found is not None and count < MOST_RECIPIENTS:
                count += 1
                yield found


def _recipient(text: str) -> Recipient | None:
    fields: dict[str, str] = {}
    unfolded = re.sub(r"\r?\n[ \t]+", " ", text[:20_000])
    for line in unfolded.splitlines():
        if found := _FIELD.match(line):
            fields.setdefault(found[1].lower(), header(found[2]))
    told = fields.get("original-recipient") or fields.get("final-recipient", "")
    if "final-recipient" in fields and _ADDRESS.search(fields["final-recipient"]):
        told = fields["final-recipient"]
    address = _ADDRESS.search(told)
    if address is None:
        return None
    action = fields.get("action", "").lower().split(" ")[0]
    status = _STATUS.search(fields.get("status", ""))
    why = fields.get("diagnostic-code", "") or fields.get("disposition", "")
    return Recipient(address[1].lower(), action, status[1] if status else "", why[:500])


def _in_words(message: Message[Any, Any]) -> Iterator[Recipient]:
    """Recipients named in words: `X-Failed-Recipients`, else addresses on lines near a 5xx code."""
    subject = header(str(message.get("Subject", "")))
    action = "delayed" if _DELAYED.search(subject) else "failed"
    text = _words(message)
    status = _STATUS.search(text)
    code = _CODE.search(text)
    why = code[0][:300] if code else ""
    told = status[1] if status else ("5.0.0" if code else "")
    named = " ".join(str(value) for value in message.get_all("X-Failed-Recipients", []))
    # Words before the copy of the letter: addresses in the copy are those of anybody.
    head = re.split(r"(?im)^(?:-{3,}.*(?:copy|original|headers).*|received:|return-path:|--- below this line)", text)[0]
    seen: set[str] = set()
    for address in _ADDRESS.findall(named or head):
        address = address.lower()
        if address not in seen and not _DAEMON.match(address) and len(seen) < MOST_RECIPIENTS:
            seen.add(address)
            yield Recipient(address, action, told, why)


def _words(message: Message[Any, Any]) -> str:
    for part in _parts(message):
        if part.get_content_maintype() == "text":
            try:
                content = part.get_payload(decode=True)
            except Exception:  # broken transfer encoding
                content = None
            if isinstance(content, bytes):
                return guessed(content[:_LOOKED_AT])
    return ""


def _returned(message: Message[Any, Any]) -> Iterator[str]:
    """Message-IDs of the letters that came back, wherever the copy stands."""
    seen: set[str] = set()
    for part in list(_parts(message))[1:]:
        found = [str(value) for value in part.get_all("Message-ID", []) + part.get_all("Original-Message-ID", [])]
        if not isinstance(part.get_payload(), list):
            text = str(part.get_payload())[:_LOOKED_AT]
            found += _ID.findall(text) + re.findall(r"(?im)^Original-Message-ID:\s{0,20}(<[^<>\s]{1,498}>)", text)
        for value in found:
            value = "".join(value.split())
            if value and value not in seen and len(seen) < 20:
                seen.add(value)
                yield value
    if not message.is_multipart():
        yield from dict.fromkeys(_ID.findall(_words(message)))
