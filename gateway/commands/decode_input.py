"""Bytes as people have them: hex in its spellings, escaped strings, log lines, hex dumps, text protocols as text.

000f3335 · 00 0f 33 · 0x000f · 00:0f:33 · \\x00\\x0f · b'\\x00\\x0f35…'      a piece a line
2026-11-21 10:00:00 … 000f3335…                                       a time, words, the hex at the end
00000000: 000f 3335 …                                                 see `decode_dump`
… #SD#210325;…                                                        a packet of a text protocol
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gateway.commands.decode_dump import is_dump, read_dump
from gateway.commands.decode_errors import HexError

_HEX = frozenset("0123456789abcdefABCDEF")
_BETWEEN = frozenset(":,-")  # besides white space
_STAMP = re.compile(
    r"\s*[\[(<]?(?:\d{4}[-./]\d\d[-./]\d\d[T ]+\d\d:\d\d|\d\d[-./]\d\d[-./]\d{4},?[T ]+\d\d:\d\d"
    r"|\d\d:\d\d:\d\d(?:[.,]\d+|(?=[\s\])]))|[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d|\d{9,10}\.\d+(?=[\s\])]))\S*"
)
_TAIL = re.compile(r"(?<![0-9A-Za-z])(?:0[xX])?(?P<hex>[0-9A-Fa-f]+(?:[:,-][0-9A-Fa-f]{2})*)$")
_PAIRS = re.compile(r"(?:\\x[0-9A-Fa-f]{2}[\s,:]*)+")
_QUOTED = re.compile(r"""b?(?P<quote>["'])(?P<inner>.*)(?P=quote)""")
_ESCAPES = {"r": 13, "n": 10, "t": 9, "0": 0, "a": 7, "b": 8, "f": 12, "v": 11, "\\": 92, "'": 39, '"': 34}
_ENDS = "\"')]}>;. \t\r"


@dataclass(slots=True)
class Input:
    """The pieces as the socket gave them, and what was left out or taken off, in words."""

    pieces: list[bytes] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_input(text: str, packet: re.Pattern[str] | None = None, answer: re.Pattern[str] | None = None) -> Input:
    """Every line as bytes; `packet` finds a terminal's packet of a text protocol in a line, `answer` a server's.

    Raises
    ------
    HexError
        At the first line that is none of this, with line and column.
    """
    lines = text.removeprefix("\ufeff").split("\n")
    if is_dump(lines):
        return Input(*read_dump(lines))
    found = Input()
    answers = 0
    for number, line in enumerate(lines, 1):
        sent = packet.search(line) if packet else None
        if sent:
            found.pieces.append(_packet(line, sent))
        elif answer and answer.search(line):
            answers += 1
        elif stamp := _STAMP.match(line):
            found.pieces.append(_logged(number, line, stamp.end()))
        elif piece := _plain(number, line):
            found.pieces.append(piece)
    if answers:
        found.notes.append(f"{answers} line{'s' * (answers != 1)} of the server's answers left out")
    return found


def _packet(line: str, sent: re.Match[str]) -> bytes:
    """From where the packet begins to the end of the line, or to the quote that was opened before it."""
    before, rest = line[: sent.start()][-1:], line[sent.start() :].rstrip()
    if before in ("'", '"') and before in rest:
        rest = rest[: rest.rindex(before)]
    rest = re.sub(r"(?:\\r)?\\n|\\r", "\r\n", rest).rstrip("\r\n")
    return rest.encode("utf-8", "surrogateescape") + b"\r\n"


def _plain(number: int, line: str) -> bytes:
    """A line of nothing but bytes; empty for an empty one."""
    quoted = _QUOTED.fullmatch(line.strip())
    if quoted:
        start = line.index(quoted["quote"]) + 1
        inner = quoted["inner"]
        return _escaped(number, inner, start) if "\\" in inner else _digits(number, inner, start)
    if "\\x" in line and not _PAIRS.fullmatch(line.strip()):
        return _escaped(number, line.strip(), len(line) - len(line.lstrip()))
    return _digits(number, line.replace("\\x", "  "), 0)


def _digits(number: int, text: str, start: int) -> bytes:
    """Hex digits with what may stand between them; `start` columns stand before."""
    digits: list[str] = []
    last = begin = 0
    fresh = True  # a prefix may stand here
    for column, character in enumerate(text, start + 1):
        if character in "xX" and len(digits) - begin == 1 and digits[-1] == "0" and fresh:
            digits.pop()
            begin = len(digits)
            if begin % 2:
                raise HexError(f"line {number}, column {last}: the byte before has only one digit")
            fresh = False
        elif character in _HEX:
            digits.append(character)
            last = column
        elif character.isspace() or character in _BETWEEN:
            begin, fresh = len(digits), True
        else:
            raise HexError(f"line {number}, column {column}: {character!r} is no hex digit")
    if len(digits) % 2:
        raise HexError(f"line {number}, column {last}: the last byte has only one digit")
    return bytes.fromhex("".join(digits))


def _escaped(number: int, text: str, start: int) -> bytes:
    """A string as Python, C and printf write it: letters are themselves."""
    found = bytearray()
    at = 0
    while at < len(text):
        character = text[at]
        if character != "\\":
            found += character.encode("utf-8", "surrogateescape")
            at += 1
            continue
        following = text[at + 1 : at + 2]
        digits = text[at + 2 : at + 4]
        if following == "x" and len(digits) == 2 and set(digits) <= _HEX:
            found.append(int(digits, 16))
            at += 4
        elif following in _ESCAPES and following:
            found.append(_ESCAPES[following])
            at += 2
        else:
            raise HexError(f"line {number}, column {start + at + 1}: {text[at : at + 4]!r} is no byte")
    return bytes(found)


def _logged(number: int, line: str, start: int) -> bytes:
    """The bytes at the end of a log line, behind its time and words."""
    rest = line[start:]
    if "\\x" in rest:
        quoted = re.search(r"""b?(["'])([^"']*\\x.*)\1""", rest)
        if quoted:
            return _escaped(number, quoted[2], start + quoted.start(2))
        at = rest.index("\\x")
        return _escaped(number, rest[at:].rstrip(), start + at)
    words = list(re.finditer(r"\S+", rest.rstrip(_ENDS)))
    taken: list[str] = []
    while words:
        word = words.pop()
        tail = _TAIL.search(word[0])
        if tail is None:
            break
        hexadecimal = re.sub("[:,-]", "", tail["hex"])
        if not taken and len(hexadecimal) % 2:
            raise HexError(f"line {number}, column {start + word.end()}: the last byte has only one digit")
        # groups are of one width, but for the last
        if len(taken) == 1 and len(hexadecimal) < len(taken[0]):
            break
        if len(hexadecimal) % 2 or (len(taken) > 1 and len(hexadecimal) != len(taken[-1])):
            break
        taken.append(hexadecimal)
        if tail.start():  # `hex=…`: words before it are words
            break
    if not taken:
        raise HexError(f"line {number}, column {len(line.rstrip())}: no hex at the end of this log line")
    return bytes.fromhex("".join(reversed(taken)))
