"""Measures of this protocol: numbered parameters are whatever the terminal's configuration says they are."""

from __future__ import annotations

from protocols.meanings import Meaning
from protocols.wialon_combine import wire

MEASURES: dict[str, tuple[str, str]] = {
    "inputs": ("bit set", "states of the digital inputs, bit 0 is input 1"),
    "outputs": ("bit set", "states of the digital outputs, bit 0 is output 1"),
    "can.N": ("raw", "value N of the CAN list"),
    "counter.N": ("raw", "counter N"),
    "analog.N": ("raw", "analogue input N as sent"),
    "driver.code.N": ("", "driver's code N: a number, or text as sent"),
    "message": ("text", "a driver's message"),
    "cell.mcc.N": ("", "country of the Nth cell heard"),
    "cell.mnc.N": ("", "network of the Nth cell heard"),
    "cell.lac.N": ("", "area of the Nth cell heard"),
    "cell.id.N": ("", "number of the Nth cell heard"),
    "cell.level.N": ("raw", "level of the Nth cell heard"),
    "cell.advance.N": ("raw", "timing advance of the Nth cell heard"),
}
SHARED = ("hdop", "fuel.level.N", "temperature.N", "param.<name>", "io.<id>", "io.<id>.N")

Part = tuple[Meaning, int, int, str]  # meaning, offset, size, format
NAMES = {
    wire.PARAMETERS: "param", 5: "fuel.level", 6: "temperature", 7: "can", 8: "counter", 9: "analog",
    10: "driver.code",
}  # fmt: skip
POSITION: tuple[Part, ...] = (
    (Meaning("@lat", divisor=1e6), 0, 4, ">i4"),
    (Meaning("@lon", divisor=1e6), 4, 4, ">i4"),
    (Meaning("@speed"), 8, 2, ">u2"),
    (Meaning("@course"), 10, 2, ">u2"),
    (Meaning("@altitude"), 12, 2, ">i2"),
    (Meaning("@satellites"), 14, 1, ">u1"),
    (Meaning("hdop", divisor=100), 15, 2, ">u2"),
)
IO: tuple[Part, ...] = ((Meaning("inputs"), 0, 4, ">u4"), (Meaning("outputs"), 4, 4, ">u4"))


def cell(number: int) -> tuple[Part, ...]:
    """What is told of one cell."""
    told = ("mcc", "mnc", "lac", "id", "level", "advance")
    return tuple((Meaning(f"cell.{name}.{number}"), 2 * n, 2, ">u2") for n, name in enumerate(told))
