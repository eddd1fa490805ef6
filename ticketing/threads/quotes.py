"""What a mail says anew: its text without the history below it, quoted lines and signature.

Line by line and in linear time, for anybody may write it; in English, Russian, Chinese and German, as the mail programs
put it. Where nothing would be left, the text is left whole. The full text is kept beside it in any case.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LOOKED_AT = 20_000  # lines; what comes after is history for sure
_LONG = 400  # characters of a line that may still be "On … wrote:"

_SEPARATOR = re.compile(
    r"[-_=*\s]*(?:original message|original appointment|forwarded message|begin forwarded message|исходное сообщение"
    r"|пересылаемое сообщение|пересланное сообщение|конец пересылаемого сообщения|原始邮件|原始郵件|转发邮件"
    r"|转发的邮件"
    r"|original|ursprüngliche nachricht)[-_=*:：\s]*",
    re.IGNORECASE,
)
_DASHES = re.compile(r"\s*[-_*=]{2,}")
_RULE = re.compile(r"\s*_{20,}\s*|\s*-{20,}\s*")
# Lines of the head that Outlook and its like put before what they quote.
_FROM = re.compile(r"[>*\s]*(?:from|von|от|发件人|寄件者|寄件人)\s*[*\s]*[:：]", re.IGNORECASE)
_OTHER = re.compile(
    r"[>*\s]*(?:sent|date|to|cc|subject|reply-to|gesendet|an|betreff|отправлено|дата|кому|копия|тема|发送时间"
    r"|日期|时间"
    r"|收件人|抄送|主题|寄件日期|收件者|副本|主旨)\s*[*\s]*[:：]",
    re.IGNORECASE,
)
_WROTE = re.compile(
    r"(?:\bwrote|\bwrites|\bschrieb\b.*|\bнаписал(?:\(а\)|а|и)?|\bпишет|\bписал(?:\(а\)|а)?|写道|寫道|写到"
    r"|编写)\s*[:：]\s*$",
    re.IGNORECASE,
)
_ADDRESSED = re.compile(r"[<\[(\"]?[^\s<>@]{1,80}@[^\s<>@]{1,120}[>\])\"]?\s*[:：]\s*$")
_DATED = re.compile(r"[0-9]{1,2}[:.：][0-9]{2}|[0-9]{4}")
_SIGNATURE = re.compile(r"--\s?")
_SENT_FROM = re.compile(
    r"\s*(?:sent from (?:my|outlook|mail|yahoo)|get outlook for|отправлено (?:с |из )|sent via|发自我的"
    r"|發自我的|从我的.{1,20}发送"
    r"|来自我的|von meinem).{0,120}",
    re.IGNORECASE,
)


def said(text: str) -> str:
    """The new part of a mail's text; the whole of it where all seems to be quoted, as in a forward."""
    lines = text.splitlines()[:LOOKED_AT]
    new = _without_end("\n".join(_new_lines(lines)).strip().splitlines())
    return new or text.strip()


def _new_lines(lines: Sequence[str]) -> list[str]:
    kept: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.lstrip().startswith(">"):
            at += 1
            continue
        span = _attribution(lines, at)
        if span and not _blank(kept) and not _quoted_follows(lines, at + span):
            break  # what follows is history without marks
        if span:
            at += span
            continue
        if _history_begins(lines, at):
            break
        kept.append(line)
        at += 1
    return kept


def _attribution(lines: Sequence[str], at: int) -> int:
    """How many lines from `at` on are "On … NAME wrote:"; 0: none."""
    joined = ""
    for count, line in enumerate(lines[at : at + 3], 1):
        if not line.strip() or line.lstrip().startswith(">"):
            return 0
        joined = f"{joined} {line.strip()}"
        if len(joined) > _LONG:
            return 0
        if line.rstrip().endswith((":", "：")):
            if _WROTE.search(joined) and (_DATED.search(joined) or "@" in joined):
                return count
            return count if _ADDRESSED.search(joined) and _DATED.search(joined) else 0
        # Only a line that begins as one does may go on in the next.
        if not _DATED.search(joined):
            return 0
    return 0


def _quoted_follows(lines: Sequence[str], at: int) -> bool:
    for line in lines[at : at + 4]:
        if line.strip():
            return line.lstrip().startswith(">")
    return False


def _history_begins(lines: Sequence[str], at: int) -> bool:
    line = lines[at]
    if len(line) > _LONG:
        return False
    if _DASHES.match(line) and _SEPARATOR.fullmatch(line):
        return True
    if _RULE.fullmatch(line):
        following = [other for other in lines[at + 1 : at + 4] if other.strip()][:1]
        return bool(following) and _FROM.match(following[0]) is not None
    if _FROM.match(line):
        return any(_OTHER.match(other) for other in lines[at + 1 : at + 4])
    return False


def _without_end(lines: list[str]) -> str:
    """Without signature and "Sent from my phone"."""
    for at, line in enumerate(lines):
        if _SIGNATURE.fullmatch(line) and not _blank(lines[:at]):
            lines = lines[:at]
            break
    while lines and (not lines[-1].strip() or _SENT_FROM.fullmatch(lines[-1])):
        lines = lines[:-1]
    return "\n".join(lines).strip()


def _blank(lines: Sequence[str]) -> bool:
    return not any(line.strip() for line in lines)
