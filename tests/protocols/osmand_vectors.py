"""Worked requests of OsmAnd's protocol, by its description and that of Traccar Client."""

from __future__ import annotations

import json

from protocols.osmand.declaration import post
from tests.protocols.vectors import Vector

OSMAND, CLIENT = "Traccar, OsmAnd protocol", "Traccar Client, JSON"
IMEI = "861472050987321"
HEAD = b" HTTP/1.1\r\nHost: gps.example.io:5055\r\nUser-Agent: okhttp/4.9\r\n\r\n"
PLACE = (
    b"GET /?id=861472050987321&timestamp=1773480413&lat=55.7520123&lon=37.6175432&speed=32.94&bearing=274"
    b"&altitude=168&accuracy=5&batt=87&fuel1=1893" + HEAD
)
PAIR = (
    b"GET /?deviceid=861472050987321&timestamp=2026-03-14%2009:26:53&location=-34.6037,-58.3816&driverUniqueId=A1"
    + HEAD
)
GREETING = b"GET /?id=861472050987321" + HEAD
FORM = post(
    b"id=861472050987321&timestamp=1773480413250&lat=55.75&lon=37.61&valid=false&ignition=true&cell=250,1,8092,42194",
    "application/x-www-form-urlencoded",
)
DOCUMENT = {
    "device_id": IMEI,
    "location": {
        "timestamp": "2026-03-14T09:26:53.500Z",
        "coords": {
            "latitude": 55.7520123, "longitude": 37.6175432, "accuracy": 5, "speed": 16.95, "heading": 274,
            "altitude": 168.25,
        },
        "is_moving": True, "odometer": 148356.5, "event": "motionchange",
        "battery": {"level": 0.87, "is_charging": False}, "activity": {"type": "in_vehicle"},
        "extras": {"fuel1": 1893, "note": "x"},
    },
}  # fmt: skip
JSON = post(json.dumps(DOCUMENT).encode(), "application/json")

VECTORS = [
    Vector("place in a query", f"{OSMAND}, query", PLACE, "traccar/traccar"),
    Vector("place as a pair", f"{OSMAND}, location", PAIR),
    Vector("nothing but an id", f"{OSMAND}, query", GREETING),
    Vector("place in a form", f"{OSMAND}, form", FORM),
    Vector("place in JSON", f"{CLIENT}, location", JSON),
]
IMPOSSIBLE = {"checksum": "HTTP has none"}
REFUSALS = {
    "length": b"GET /" + b"a" * 9000,
    "login": b"GET /?lat=1&lon=2 HTTP/1.1\r\n\r\n",
    "unsupported": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
}
