"""Passwords and keys in what people write (S1-18): hinted at, so that they are moved where they are sealed.

Found are words that announce one followed by something that looks like one. The hint says where, never what.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LOOKED_AT = 100_000
MOST = 10

_ANNOUNCED = re.compile(
    r"(?P<word>pass(?:word|wd|phrase|code)?|pwd|pw|secret|api[ _\-]?key|token|pin(?:[ \-]?code)?|парол[ьяею]"
    r"|пасс|пин(?:[ \-]?код)?"
    r"|密码|口令|密碼)\s{0,3}(?:(?:is|for \w{1,30}|от \S{1,40}|к \S{1,40}|для \S{1,40}|是"
    r"|为)\s{0,3})?[:：=\-–—]{0,2}\s{0,3}"
    r"(?P<value>[^\s,;，；。]{4,100})",
    re.IGNORECASE,
)
_SHAPES = (
    ("key", re.compile(r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----")),
    (
        "token",
        re.compile(
            r"\b(?:eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,}\.|gh[pousr]_[A-Za-z0-9]{30,}|AKIA[A-Z0-9]{16}\b)"
        ),
    ),
    ("address", re.compile(r"\b[a-z][a-z0-9+.\-]{1,20}://[^\s/:@]{1,64}:[^\s/@]{3,100}@", re.IGNORECASE)),
)


class Secret(NamedTuple):
    """Where something that looks like a secret stands: its kind, and the line, from 1."""

    kind: str
    line: int


def secrets_in(text: str) -> tuple[Secret, ...]:
    """What looks like a secret in a text."""
    text = text[:_LOOKED_AT]
    places = {("password", found.start("value")) for found in _ANNOUNCED.finditer(text) if _looks_like_one(found)}
    places |= {(kind, found.start()) for kind, shape in _SHAPES for found in shape.finditer(text)}
    ordered = sorted(places, key=lambda place: place[1])[:MOST]
    return tuple(dict.fromkeys(Secret(kind, text.count("\n", 0, at) + 1) for kind, at in ordered))


def _looks_like_one(found: re.Match[str]) -> bool:
    value = found["value"].strip("\"'«»“”()<>.!?")
    announced = any(c in ":=：" for c in found[0][len(found["word"]) : found.start("value") - found.start()])
    mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    odd = any(not c.isalnum() for c in value) and any(c.isalpha() for c in value) and "@" not in value[-1:]
    pin = found["word"].lower().startswith(("pin", "пин")) and value.isdigit()
    if len(value) < 4:
        return False
    return mixed or pin or (announced and (odd or value.isdigit() or value.isascii()))
