"""Bytes of a mail as text, whatever they say they are.

Only charsets of the list below are tried: among Python's codecs are some that take time by the square of their input
(idna, punycode) and some that let text hide in text (utf-7, escapes). What is labelled wrongly is guessed by its
letters.
"""

from __future__ import annotations

import base64
import binascii
import re

# As mail names them → Python's codec. GB 18030 holds GBK and GB 2312, Windows-125x the ISO ones they replaced.
_KNOWN = {
    "us-ascii": "utf-8", "ascii": "utf-8", "ansi_x3.4-1968": "utf-8", "utf-8": "utf-8", "utf8": "utf-8",
    "unicode-1-1-utf-8": "utf-8", "utf-8-sig": "utf-8", "utf-16": "utf-16", "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be", "gb2312": "gb18030", "gbk": "gb18030", "gb18030": "gb18030", "x-gbk": "gb18030",
    "cp936": "gb18030", "hz-gb-2312": "hz", "big5": "big5hkscs", "big5-hkscs": "big5hkscs",
    "euc-jp": "euc_jp", "shift_jis": "cp932", "iso-2022-jp": "iso2022_jp_2", "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949", "ks_c_5601": "cp949", "koi8-r": "koi8-r", "koi8-u": "koi8-u", "koi8": "koi8-r",
    "cp866": "cp866", "ibm866": "cp866", "x-mac-cyrillic": "mac_cyrillic", "iso-8859-1": "cp1252",
    "latin1": "cp1252", "iso8859-1": "cp1252", "iso-8859-15": "iso8859-15", "iso-8859-2": "iso8859-2",
    "iso-8859-5": "iso8859-5", "iso-8859-7": "iso8859-7", "iso-8859-8-i": "iso8859-8", "iso-8859-9": "cp1254",
    **{f"{prefix}{page}": f"cp{page}" for prefix in ("windows-", "cp", "x-cp", "cp-") for page in range(1250, 1259)},
}  # fmt: skip
REFUSED = ("utf-7", "unicode-1-1-utf-7", "utf7")
_WORD = re.compile(r"=\?([A-Za-z0-9_.:\-]{1,40})(?:\*[A-Za-z\-]{0,20})?\?([bBqQ])\?([^?\s]{0,4000})\?=")
_BETWEEN = re.compile(r"(\?=)[ \t\r\n]{1,100}(?==\?)")
_HEX = re.compile(rb"=([0-9A-Fa-f]{2})")


def decoded(data: bytes, charset: str | None) -> tuple[str, str | None]:
    """The text, and what is wrong with its charset, if anything: refused, unknown, wrong."""
    name = (charset or "").strip().strip("'\"").lower().removeprefix("=?")[:40]
    codec = _KNOWN.get(name)
    if codec is not None:
        try:
            return data.decode(codec).removeprefix("\ufeff"), None
        except (UnicodeDecodeError, ValueError):
            pass
        return guessed(data), None if name in ("us-ascii", "ascii") else f"not {name}"
    if name in REFUSED:
        return data.decode("ascii", "replace"), f"charset refused: {name}"
    return guessed(data), f"charset unknown: {name}" if name else None


def guessed(data: bytes) -> str:
    """Text of unlabelled bytes: UTF-8 if they are, else Chinese or Cyrillic by their letters, else Western."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        pass
    sample = data[:4000]
    mended = sample.decode("utf-8", "replace")
    if 0 < mended.count("\ufffd") * 10 <= sum(c > "\x7f" for c in mended):
        return data.decode("utf-8", "replace")  # cut or damaged
    best, points = "cp1252", 0.0
    for codec in ("gb18030", "windows-1251", "koi8-r", "cp866"):
        text = sample.decode(codec, "replace")
        score = _likely(text)
        if score > points:
            best, points = codec, score
    return data.decode(best, "replace")


def header(value: str) -> str:
    """A header's text: encoded words decoded, unlabelled bytes guessed, on one line."""
    value = _joined(_BETWEEN.sub(r"\1", unescaped(value)))
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())


def unescaped(value: str) -> str:
    """A raw header's text with its escaped bytes, if it has any, guessed."""
    if any("\ud800" <= c <= "\udfff" for c in value):
        return guessed(value.encode("utf-8", "surrogateescape"))
    return value


def _joined(value: str) -> str:
    """Decode runs of neighbouring words of one charset together: some programs cut a letter in two."""
    parts: list[str] = []
    pending: list[bytes] = []
    charset = ""
    at = 0
    for word in _WORD.finditer(value):
        data = _bytes_of(word[2].lower(), word[3])
        if pending and (word.start() != at or word[1].lower() != charset):
            parts.append(decoded(b"".join(pending), charset)[0])
            pending = []
        parts.append(value[at : word.start()])
        if data is None:
            parts.append(word[0])
        else:
            pending.append(data)
            charset = word[1].lower()
        at = word.end()
    if pending:
        parts.append(decoded(b"".join(pending), charset)[0])
    parts.append(value[at:])
    return "".join(parts)


def _bytes_of(encoding: str, text: str) -> bytes | None:
    if encoding == "q":
        return _HEX.sub(lambda pair: bytes([int(pair[1], 16)]), text.replace("_", " ").encode("utf-8", "replace"))
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None


def _likely(text: str) -> float:
    """How much a text looks like Chinese or like Russian: common letters for, odd ones against."""
    points = 0.0
    before = ""
    for c in text:
        if "\u4e00" <= c <= "\u9fa5" or c in "，。！？：；、":
            # Two bytes of it; behind a Latin letter it rather is an umlaut with the letter after it.
            points += -1.5 if before.isascii() and before.isalpha() else 1.0
        elif "а" <= c <= "я" or c == "ё":
            points += -0.5 if before.isascii() and before.isalpha() else 0.6
        elif "А" <= c <= "Я":
            points += 0.3 if not before.isalpha() else -0.2
        elif c == "\ufffd":
            points -= 2
        elif c > "\x7f" and c not in "«»—–№…“”„":
            points -= 0.5
        before = c
    return points
