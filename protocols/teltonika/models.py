"""What `io.<id>` means on a model: for people who read, never for what is stored.

Source: as `measures`; the models of each family as the wiki lists them. The model is what `getver` told or the
registry says, never a guess from the IMEI. What differs within a family is left out.
"""

from __future__ import annotations

import re

from protocols.records import Named

_SIGNED = {1: 8, 2: 16, 4: 32}


def _rows(table: str) -> dict[int, Named]:
    """`id@size name unit divisor [signed]` a line; a dash is no unit."""
    rows = {}
    for line in table.strip().splitlines():
        identifier, name, unit, divisor, *signed = line.split()
        number, size = identifier.split("@")
        bits = _SIGNED[int(size)] if signed else 0
        rows[int(number)] = Named(name, "" if unit == "-" else unit, float(divisor), bits)
    return rows


_FMB = _rows("""
    6@2 adc.2 V 1000
    18@2 acceleration.y g 1000 signed
    22@1 ble.battery.3 % 1
    23@1 ble.battery.4 % 1
    25@2 ble.temperature.1 °C 100 signed
    26@2 ble.temperature.2 °C 100 signed
    27@2 ble.temperature.3 °C 100 signed
    28@2 ble.temperature.4 °C 100 signed
    30@1 obd.dtc.count - 1
    31@1 obd.engine.load % 1
    37@1 obd.speed km/h 1
    48@1 obd.fuel.level % 1
    70@1 geofence.11 - 1
    81@1 can.speed km/h 1
    82@1 can.accelerator % 1
    87@4 can.mileage m 1
    90@2 can.doors - 1
    141@2 tacho.driver.1.break min 1
    155@1 geofence.1 - 1
    156@1 geofence.2 - 1
    157@1 geofence.3 - 1
    216@1 geofence.35 - 1
    218@1 geofence.37 - 1
    248@1 immobilizer - 1
    251@1 idling 0/1 1
    252@1 battery.unplugged 0/1 1
    317@1 crash.counter - 1
    318@1 gnss.jamming - 1
    380@1 output.3 0/1 1
    381@1 ground.sense 0/1 1
""")

_FMX6 = _rows("""
    4@1 input.4 0/1 1
    6@2 temperature.5 °C 10 signed
    12@2 can.program - 1
    18@2 can.fuel.rate raw 1
    22@1 data.mode - 1
    23@1 can.engine.load % 1
    25@2 can.engine.temperature °C 10 signed
    26@2 can.axle.1 kg 1
    27@2 can.axle.2 kg 1
    28@2 can.axle.3 kg 1
    29@2 can.axle.4 kg 1
    30@1 can.speed km/h 1
    31@1 can.accelerator % 1
    32@2 can.axle.5 kg 1
    37@1 can.fuel.percent % 1
    48@1 tacho.source - 1
    69@2 tacho.driver.1.driving min 1
    71@1 gnss.status - 1
    76@4 fuel.pulses - 1
    77@2 tacho.driver.2.driving min 1
    79@1 can.brake.switch 0/1 1
    80@4 can.speed km/h 1
    81@1 can.cruise.active 0/1 1
    82@1 can.clutch.switch 0/1 1
    87@4 can.fuel.percent % 1
    89@2 can.axle.1 kg 1
    90@2 can.axle.2 kg 1
    141@2 can.battery.temperature °C 10 signed
    155@1 geofence.1 - 1
    156@1 geofence.2 - 1
    157@1 geofence.3 - 1
    236@2 acceleration.x raw 1 signed
    237@2 acceleration.y raw 1 signed
    238@2 acceleration.z raw 1 signed
    243@1 idling 0/1 1
    248@1 geofence.overspeeding - 1
    251@1 immobilizer - 1
    252@1 driving.authorized - 1
    317@1 mobileye.speed.available 0/1 1
    318@1 mobileye.speed km/h 1
    358@1 scenario.1 0/1 1
    359@1 scenario.2 0/1 1
    360@1 scenario.3 0/1 1
    380@1 can.manual.10 - 1
    381@1 can.manual.11 - 1
""")

_ASSET = _rows("""
    18@2 acceleration.y g 1000 signed
    116@1 charger.connected 0/1 1
""")

# FT trackers differ from FMB in these, whose meaning there is not published
_FT = {identifier: named for identifier, named in _FMB.items() if identifier not in (70, 155, 156, 157)}

_FM36 = {75: Named("sensor.rom.1")}

FAMILIES: tuple[tuple[re.Pattern[str], dict[int, Named]], ...] = (
    (re.compile(r"FM[BCM]6[45][0-9]"), _FMX6),
    (re.compile(r"FM(?:[BCM][01289]|[TUP]|3001)"), _FMB),
    (re.compile(r"(?:FTC|FTM|ATC)"), _FT),
    (re.compile(r"FM36"), _FM36),
    (re.compile(r"(?:GH5200|TAT|TFT|TMT|TST)"), _ASSET),
)

_IO = re.compile(r"io\.([0-9]{1,5})(\.[0-9]+)?")


def named(model: str, measure: str) -> Named | None:
    """What a measure `io.<id>` or `io.<id>.N` is called on this model; None where nobody says."""
    found = _IO.fullmatch(measure)
    if found is None:
        return None
    for pattern, table in FAMILIES:
        if pattern.match(model.strip().upper()):
            meaning = table.get(int(found[1]))
            if meaning is None or not found[2]:
                return meaning
            return Named(meaning.name + found[2], meaning.unit, meaning.divisor, meaning.bits)
    return None
