"""What OsmAnd's requests tell besides place and time."""

from __future__ import annotations

SHARED = ("ignition", "movement", "hdop", "battery.level", "odometer", "driver.key", "param.<name>")

MEASURES: dict[str, tuple[str, str]] = {
    "accuracy": ("m", "how far off the place may be, by the receiver"),
    "charge": ("0/1", "the device is being charged"),
    "activity": ("text", "what the device takes its bearer to do: still, walking, in_vehicle …"),
    "cell": ("text", "the cell as sent: mcc,mnc,area,cell and its signal"),
    "wifi": ("text", "the access points as sent: address,signal"),
}
