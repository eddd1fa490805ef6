"""A letter as bytes: RFC 5322 lines, RFC 2047 words, a quoted-printable body (RFC 2045).

Composed here and not by `email.message`, whose folding either makes encoded words of any length or breaks long
Message-IDs (python/cpython#100991) and the quoting of names. Header lines have at most 76 characters; a
Message-ID alone is never folded inside.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from email import quoprimime
from email.utils import parseaddr

LINE = 76  # of a header line with an encoded word, and of the body
_WORD = 75  # of an encoded word
_HEAD, _TAIL = "=?utf-8?b?", "?="
_ATOM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~")


def one_line(text: str) -> str:
    """One line, no control characters: a name from a form must not write headers."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def unstructured(name: str, text: str) -> str:
    """A header of free text, such as a subject, with its line end."""
    words = one_line(text).split(" ")
    if all(word.isascii() and len(word) <= LINE - len(name) - 2 and "=?" not in word for word in words):
        return f"{name}:{_folded(words, len(name) + 1)}\r\n"
    return f"{name}: {encoded(' '.join(words), len(name) + 2)}\r\n"


def mailboxes(name: str, addresses: Sequence[str]) -> str:
    """A header of addresses, one a line, with its line end.

    Raises
    ------
    ValueError
        If an address is none that plain SMTP can carry.
    """
    shown = [_mailbox(address, len(name) + 2) for address in addresses]
    return f"{name}: {f',{chr(13)}{chr(10)} '.join(shown)}\r\n"


def mailbox(name: str, display: str, address: str) -> str:
    """A header of one address, with its line end; `display` is taken as it is, whatever it holds.

    Raises
    ------
    ValueError
        If the address is none that plain SMTP can carry.
    """
    return f"{name}: {_shown(one_line(display), address_of(address), len(name) + 2)}\r\n"


def references(name: str, identities: Sequence[str]) -> str:
    """A header of Message-IDs, one a line and none ever folded or encoded, with its line end; "" of none."""
    return f"{name}: {f'{chr(13)}{chr(10)} '.join(identities)}\r\n" if identities else ""


def address_of(text: str) -> str:
    """The bare address, its domain in ASCII.

    Raises
    ------
    ValueError
        If there is none, or its local part needs SMTPUTF8.
    """
    bare = parseaddr(text)[1]
    local, at, domain = bare.rpartition("@")
    if not at or not local or not local.isascii() or not bare.isprintable() or " " in bare:
        raise ValueError(f"no mail address: {text!r}")
    return f"{local}@{domain if domain.isascii() else domain.encode('idna').decode('ascii')}"


def encoded(text: str, used: int) -> str:
    """Encoded words of at most 75 characters, folded; `used` characters stand before the first."""
    words: list[str] = []
    part = b""
    for character in text:
        piece = character.encode("utf-8", "replace")
        room = min(_WORD, LINE - (1 if words else used)) - len(_HEAD) - len(_TAIL)
        if part and (len(part) + len(piece) + 2) // 3 * 4 > room:
            words.append(_word(part))
            part = b""
        part += piece
    words.append(_word(part))
    return "\r\n ".join(words)


def body(text: str) -> bytes:
    """Quoted-printable lines of at most 76 characters, each ended by CR LF."""
    raw = text.encode("utf-8", "replace").decode("latin-1")
    shown = quoprimime.body_encode("".join(c if c in "\n\t" or c >= " " else " " for c in raw), LINE, "\r\n")
    return shown.encode("ascii") if shown.endswith("\r\n") else shown.encode("ascii") + b"\r\n"


def _word(part: bytes) -> str:
    return f"{_HEAD}{base64.b64encode(part).decode('ascii')}{_TAIL}"


def _folded(words: Sequence[str], used: int) -> str:
    shown, at = "", used
    for word in words:
        if at + 1 + len(word) > LINE:
            shown += "\r\n"
            at = 0
        shown += f" {word}"
        at += 1 + len(word)
    return shown


def _mailbox(text: str, used: int) -> str:
    return _shown(one_line(parseaddr(text)[0]), address_of(text), used)


def _shown(display: str, address: str, used: int) -> str:
    """A display name and its address; a long or foreign name as encoded words, an odd one quoted."""
    if not display:
        return address
    quoted = display if set(display) <= _ATOM | {" "} else '"' + display.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if not display.isascii() or "=?" in display or len(quoted) > LINE - used:
        quoted = encoded(display, used)
    last = len(quoted.rpartition("\r\n")[2]) + (0 if "\r\n" in quoted else used)
    return f"{quoted} <{address}>" if last + len(address) + 4 <= LINE else f"{quoted}\r\n <{address}>"
