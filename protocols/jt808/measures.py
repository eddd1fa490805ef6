"""What a location tells besides place and time: the standard's items by id and length, and its two words of bits.

An item without a meaning here, or of another length than the standard's, stays `io.<id>`, in hex: makers use the same
ids for different things. Source: JT/T 808-2019 tables 23 to 27, JT/T 1078 table 13 for the video alarms.
"""

from __future__ import annotations

from protocols.headed import Number

HEAD = 28  # bytes of a location before its items
SATELLITES = 0x31

# name, offset in the value, format, multiplier, divisor; what the record's own columns hold is not among them
_Part = tuple[str, int, str, float, float]

ITEMS: dict[tuple[int, int], tuple[_Part, ...]] = {
    (0x01, 4): (("odometer", 0, ">u4", 100, 1),),
    (0x03, 2): (("tacho.speed", 0, ">u2", 1, 10),),
    (0x04, 2): (("alarm.event", 0, ">u2", 1, 1),),
    (0x06, 2): (("temperature.1", 0, ">i2", 1, 1),),
    (0x11, 1): (("overspeed.area.type", 0, "u1", 1, 1),),
    (0x11, 5): (("overspeed.area.type", 0, "u1", 1, 1), ("overspeed.area", 1, ">u4", 1, 1)),
    (0x12, 6): (("area.type", 0, "u1", 1, 1), ("area", 1, ">u4", 1, 1), ("area.left", 5, "u1", 1, 1)),
    (0x13, 7): (("segment", 0, ">u4", 1, 1), ("segment.time", 4, ">u2", 1, 1), ("segment.late", 6, "u1", 1, 1)),
    (0x14, 4): (("video.alarms", 0, ">u4", 1, 1),),
    (0x15, 4): (("video.lost", 0, ">u4", 1, 1),),
    (0x16, 4): (("video.covered", 0, ">u4", 1, 1),),
    (0x17, 2): (("video.storage", 0, ">u2", 1, 1),),
    (0x18, 2): (("video.behaviour", 0, ">u2", 1, 1),),
    (0x25, 4): (("vehicle.signals", 0, ">u4", 1, 1),),
    (0x2A, 2): (("sleep", 0, ">u2", 1, 1),),
    (0x2B, 4): (("analog.1", 2, ">u2", 1, 1), ("analog.2", 0, ">u2", 1, 1)),
    (0x30, 1): (("gsm.strength", 0, "u1", 1, 1),),
}
FUEL = 0x02, 2

HEADS = (
    Number("ignition", 7, "u1", bits=1),
    Number("alarms", 0, ">u4"),
    Number("status", 4, ">u4"),
)

SHARED = ("ignition", "odometer", "temperature.N", "io.<id>", "io.<id>.N")

MEASURES: dict[str, tuple[str, str]] = {
    "alarms": ("bits", "the standard's word of alarms: bit 0 SOS, 1 overspeed, 8 main power off, 25 fuel abnormal …"),
    "status": ("bits", "the standard's word of states: bit 0 ignition, 1 positioned, 10 oil cut, 11 circuit cut …"),
    "fuel.gauge": ("l", "fuel by the vehicle's own gauge"),
    "fuel.gauge.percent": ("%", "the same where the terminal sends a share: the top bit of its item is set"),
    "tacho.speed": ("km/h", "speed by the tachograph"),
    "alarm.event": ("", "number of an alarm that waits for a person to confirm it"),
    "tyre.pressures": ("text", "pressures of thirty tyres as sent, in hex; ff: none"),
    "overspeed.area.type": ("", "where it is too fast: 0 anywhere, 1 circle, 2 rectangle, 3 polygon, 4 route segment"),
    "overspeed.area": ("", "number of that area"),
    "area.type": ("", "what was entered or left: 1 circle, 2 rectangle, 3 polygon, 4 route"),
    "area": ("", "number of that area or route"),
    "area.left": ("0/1", "it was left, not entered"),
    "segment": ("", "number of a route's segment whose driving time is wrong"),
    "segment.time": ("s", "that driving time"),
    "segment.late": ("0/1", "it was too long, not too short"),
    "video.alarms": ("bits", "video alarms of JT/T 1078"),
    "video.lost": ("bits", "channels without a video signal"),
    "video.covered": ("bits", "channels whose camera is covered"),
    "video.storage": ("bits", "storage units with a fault"),
    "video.behaviour": ("bits", "abnormal driving: bit 0 fatigue, 1 phone, 2 smoking"),
    "vehicle.signals": ("bits", "lights, brake, reverse, horn, air conditioning, retarder, ABS, clutch: bits 0 to 14"),
    "sleep": ("bits", "bit 0 deep sleep, bit 1 sleep"),
    "analog.N": ("raw", "analogue input N, in no unit that the standard names"),
    "gsm.strength": ("", "strength of the mobile network as sent"),
}
