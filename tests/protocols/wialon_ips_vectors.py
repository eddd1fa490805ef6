"""Worked packets of Wialon IPS.

Generated from the tables of Gurtam's manuals; their checksums were checked with an independent implementation.
"""

from __future__ import annotations

from tests.protocols.vectors import Vector

V1 = "Gurtam, Wialon IPS v.1.1"
V2 = "Gurtam, Wialon IPS v.2.0"
PARSER = "o-murphy/WialonIPS"

W1 = b"#L#862531045219738;NA\r\n"
W2 = b"#L#2.0;862531045219738;NA;B4EE\r\n"
W3 = b"#SD#210325;081507;5139.69024;N;03912.01722;E;57;214;157;14\r\n"
W4 = (
    b"#D#210325;081537;5139.59226;N;03911.84652;E;61;219;158;15;0.9;5;1;12.48,0.03,4.95;0000A1B2C3D4;"
    b"lls1:1:2317,lls1t:1:-4,fw:3:KIT-2.14.3,fuel:2:186.25,SOS:1:0;E4C1\r\n"
)
W5 = (
    b"#B#210325;081600;3354.31302;S;01825.31424;W;0;0;12;0|"
    b"210325;081630;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;NA;;NA;lls1:1:65530|"
    b"210325;081537;5139.59226;N;03911.84652;E;61;219;158;15;1.1;0;0;;NA;|8395\r\n"
)
W6 = b"#P#\r\n"
BLOCK = bytes.fromhex("b8581a8d464256116c26ec5c512ece65b49150ebe0959059")
W8 = b"#I#24;0;0;210325;081700;cab.jpg;3FBA\r\n" + BLOCK
W9 = b"#US#24;3FBA\r\n" + BLOCK
W10 = b"#M#Refuel stop 12 min;8397\r\n"
W11 = b"2.0;862531045219738#SD#210325;081507;5139.69024;N;03912.01722;E;57;214;157;14;DC9B\r\n"
W12 = b"#SD#210325;081507;5139.69024;N;03912.01722;E;57;214;157;14;DC90\r\n"
H1 = bytes.fromhex("ff2600789c53f65136d233b0b630333235363430313532b43437b6b0f673b47632717505005ed40673")

VECTORS = [
    Vector("login", source=f"{V1}, L", wire=W1, checked_with=PARSER),
    Vector("login, version 2.0", source=f"{V2}, L", wire=W2, checked_with=PARSER),
    Vector("short data", source=f"{V1}, SD", wire=W3, checked_with=PARSER),
    Vector("data", source=f"{V2}, D", wire=W4, checked_with=PARSER),
    Vector("black box", source=f"{V2}, B", wire=W5, checked_with=PARSER),
    Vector("ping", source=f"{V1}, P", wire=W6, checked_with=PARSER),
    Vector("picture", source=f"{V2}, I", wire=W8, checked_with=PARSER),
    Vector("driver's message", source=f"{V2}, M", wire=W10, checked_with=PARSER),
    Vector("datagram", source=f"{V2}, UDP", wire=W11, checked_with=PARSER),
    Vector("compressed login", source=f"{V2}, compression", wire=H1, checked_with=PARSER),
]
REFUSALS = {"length": b"#L#1;NA\r\n#D#" + b"1" * (1 << 20)}
