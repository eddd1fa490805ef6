"""What GT06 frames tell besides place and time. Source: JM-VL03 GPS Tracker Communication Protocol V1.1.2."""

from __future__ import annotations

SHARED = (
    "event", "ignition", "power.external", "battery.level", "gsm.signal", "gsm.operator", "odometer", "inputs",
    "fuel.level.N", "fuel.temperature.N", "fuel.status.N",
)  # fmt: skip

MEASURES: dict[str, tuple[str, str]] = {
    "terminal.info": ("bits", "the alarm's byte of states: bit 0 armed, 1 ignition, 2 charging, 3-5 alarm, 7 oil cut"),
    "battery.grade": ("", "charge of the terminal's own battery in grades, 0 none to 6 full; others send percent"),
    "upload.mode": ("", "why a place was sent: 0 interval, 1 distance, 2 corner, 3 ignition, 4 last fix on stopping …"),
    "fence": ("", "number of the fence that an alarm is about"),
    "gsm.area": ("", "location area of the GSM cell"),
    "gsm.cell": ("", "id of the GSM cell"),
    "tail": ("text", "what a model adds to a known content and no document explains, in hex"),
}
