"""Measures of this protocol: name → (unit, meaning). `N` counts from 1 where the wire has a place, else it is told."""

from __future__ import annotations

MEASURES: dict[str, tuple[str, str]] = {
    "event": (
        "",
        "why the record was made (SRC): 0 timer with ignition on, 5 with it off, 1 distance, 2 turn, 13 panic",
    ),
    "event.id": ("", "number of the event that the record belongs to (EVID)"),
    "event.data": ("", "what the reason tells besides (SRCD)"),
    "record.time": ("unix s", "when the record was made, where that is told and is not the time of its position"),
    "gnss.fix": ("", "2 or 3 dimensions"),
    "gnss.pz90": ("0/1", "1 where coordinates are PZ-90.02; absent: WGS-84"),
    "gnss.systems": ("bits", "1 GLONASS, 2 GPS, 4 Galileo, 8 Compass, 16 Beidou, 32 DORIS, 64 IRNSS, 128 QZSS"),
    "gnss.on": ("0/1", "the navigation module is on"),
    "vdop": ("", "vertical dilution of precision"),
    "inputs": ("bits", "discrete inputs 1 to 8, bit 0 is input 1"),
    "inputs.N": ("bits", "discrete inputs 8N-7 to 8N, from N = 2"),
    "outputs": ("bits", "discrete outputs, bit 0 is output 1"),
    "analog.N": ("raw", "analogue input N as sent: what it is, mV as a rule, the terminal's maker says"),
    "counter.N": ("raw", "counting input N"),
    "loop.N": ("", "loop input N: 0 normal, 1 alarm, 2 break, 4 short to ground, 8 short to supply"),
    "state": (
        "",
        "0 passive, 1 ERA, 2 active, 3 emergency call, 4 emergency tracking, 5 test, 6 service, 7 software is loaded",
    ),
    "state.ibu": ("0/1", "IBU as sent: the standard's names and texts of the batteries in use differ"),
    "state.bbu": ("0/1", "BBU as sent: the standard's names and texts of the batteries in use differ"),
    "power.reserve": ("V", "voltage of the backup battery (BBV)"),
    "fuel.percent.N": ("%", "level of sensor N in percent of its tank, where it is told so"),
    "fuel.litres.N": ("l", "volume at sensor N as the terminal computes it"),
    "fuel.address.N": ("", "module address or port of sensor N (MADDR)"),
    "fuel.raw.N": ("hex", "sensor N's own bytes, where the terminal passes them on unread"),
    "passengers.doors": ("bits", "doors that have a counter"),
    "passengers.moved": ("bits", "doors that were open and closed in the meantime"),
    "passengers.address": ("", "module address of the passenger counter"),
    "passengers.in.N": ("", "passengers in by door N"),
    "passengers.out.N": ("", "passengers out by door N"),
    "passengers.raw": ("hex", "the passenger counter's own bytes, where the terminal passes them on unread"),
    "acceleration.samples": (
        "text",
        "ms:x,y,z … since the time told first, in 0.1 m/s² as sent: 1262304000 10:3,-2,98",
    ),
    "ecall.msd.raw": ("hex", "minimum set of data of an emergency call, format byte first"),
    "ecall.msd": ("hex", "minimum set of data of an emergency call, field by field as sent"),
    "ecall.track": ("hex", "track of an emergency call as sent"),
    "again.<name>.N": ("", "the Nth value of one measure in a record, from 2"),
}

SHARED = (
    "movement", "odometer", "hdop", "pdop", "power.external", "power.battery", "input.N", "fuel.level.N",
    "fuel.status.N", "io.<id>",
)  # fmt: skip
