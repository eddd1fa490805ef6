"""Worked packets of NTCB and FLEX. Generated from the tables of the document; an independent server took all of them,
and answered them byte by byte as here."""

from __future__ import annotations

from functools import reduce
from operator import xor

from tests.protocols.vectors import Vector

DOCUMENT = "Navtelecom, Protocol of information exchange v6.1 (2021)"
SERVER = "alex-eri/navtelecom-cs"
IMEI = "861774058127635"

HANDSHAKE = bytes.fromhex("404e5443010000000000000013004f442a3e533a383631373734303538313237363335")
GREETING = bytes.fromhex("404e544300000000010000000300455e2a3c53")
AGREEMENT = bytes.fromhex(
    "404e544301000000000000001a0074762a3e464c4558b014147afbfe30080e180e800e06100000000000"
)  # fields 1-5, 7-15, 19, 20, 29, 37-39, 44, 45, 53-55, 57, 69-71, 78, 79, 84 of FLEX 2.0
AGREED = bytes.fromhex("404e544300000000010000000900b1a02a3c464c4558b01414")
DOWN = bytes.fromhex("404e544300000000010000000900b1a02a3c464c4558b00a0a")
ARCHIVE = bytes.fromhex(
    "7e41027856030050125761ee6780ab183b5761ee67fa6afe012e6858011a060000000042420f0180cfa04658360c10034c7b8f000d095307"
    "faff803f80809123476b05e0e73348300609030002000000080dfafbc30bf97956030047127561ee67802b18015761ee67fa6afe012e6858"
    "011a06000000000000000080cfa04658360c10034c7b8f000b09fffffaff80b404809123470000e0e73348000000000000000000fafafafb"
    "c30bf9cd"
)
ARCHIVE_ACK = bytes.fromhex("7e41028c")
URGENT = bytes.fromhex(
    "7e547a5603007a560300b0178061ee67802b18015761ee67fa6afe012e6858011a06000000000000000080cfa04658360c10034c7b8f000b"
    "09fffffaff80b404809123470000e0e73348000000000000000000fafafafbc30bf961"
)
URGENT_ACK = bytes.fromhex("7e547a56030074")
CURRENT = bytes.fromhex(
    "7e430000000000ff9361ee6780ab183b9361ee67fa6afe012e6858011a060000000042420f0180cfa04658360c10034c7b8f000d095307fa"
    "ff803f80809123476b05e0e73348300609030002000000080dfafbc30bf901"
)
CURRENT_ACK = bytes.fromhex("7e43b9")
ADDITIONAL = bytes.fromhex(
    "7e450139000a257b5603003025b161ee673bb161ee67fa6afe012e6858011a06000000000000000080cfa0460210525544303030303431323"
    "737303030301f"
)
ADDITIONAL_ACK = bytes.fromhex("7e45015c")
PING = b"\x7f"
QUESTION = bytes.fromhex("404e54430000000001000000030043582a3f56")
ANSWER = bytes.fromhex("404e544301000000000000001f0020272a23563a532d323535313a30312e31322e30373a31342e30322e32353a5255")
ANSWER_TEXT = "*#V:S-2551:01.12.07:14.02.25:RU"
LOGIN = HANDSHAKE + AGREEMENT

VECTORS = [
    Vector("handshake", source=f"{DOCUMENT}, handshake", wire=HANDSHAKE, checked_with=SERVER),
    Vector("agreement", source=f"{DOCUMENT}, negotiation", wire=LOGIN, checked_with=SERVER),
    Vector("archive", source=f"{DOCUMENT}, ~A", wire=LOGIN + ARCHIVE, checked_with=SERVER),
    Vector("urgent", source=f"{DOCUMENT}, ~T", wire=LOGIN + URGENT, checked_with=SERVER),
    Vector("current state", source=f"{DOCUMENT}, ~C", wire=LOGIN + CURRENT, checked_with=SERVER),
    Vector("additional record", source=f"{DOCUMENT}, ~E", wire=LOGIN + ADDITIONAL, checked_with=SERVER),
    Vector("answer to a question", source=f"{DOCUMENT}, service messages", wire=ANSWER, checked_with=SERVER),
]
_LONG = b"@NTC" + (1).to_bytes(4, "little") + bytes(4) + b"\xff\xff\x00"
REFUSALS = {"length": _LONG + bytes((reduce(xor, _LONG),))}
