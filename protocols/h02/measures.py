"""What H02 messages tell besides place and time."""

from __future__ import annotations

SHARED = ("ignition", "battery.level", "gsm.operator", "odometer", "temperature.N", "fuel.level.N")

MEASURES: dict[str, tuple[str, str]] = {
    "status.word": (
        "bits",
        "the status word as sent: bits that are 0 tell that something is the matter (0 vibration, 1 and 18 SOS, 2 too "
        "fast, 19 power cut); bit 10 is the ignition",
    ),
    "gsm.area": ("", "location area of the GSM cell"),
    "gsm.cell": ("", "id of the GSM cell"),
    "sim.iccid": ("text", "number of the SIM card, where the message tells it"),
    "rest": ("text", "what stands behind the fields that are known, as sent"),
}
