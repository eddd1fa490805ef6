"""Measures of this protocol, and which of the customary parameters are measures that others tell too."""

from __future__ import annotations

import re

MEASURES: dict[str, tuple[str, str]] = {
    "inputs": ("bit set", "states of the digital inputs, bit 0 is input 1"),
    "outputs": ("bit set", "states of the digital outputs, bit 0 is output 1"),
    "adc.N": ("V", "voltage of analogue input N, from 1"),
    "alarm": ("0/1", "1 where the message is an alarm; absent otherwise"),
    "again.<name>.N": ("", "the Nth value of one measure in a record, from 2"),
}
SHARED = (
    "driver.key", "power.external", "power.battery", "odometer", "ignition", "fuel.level.N", "fuel.status.N",
    "fuel.temperature.N", "param.<name>",
)  # fmt: skip

_NAMES = {
    "avl_inputs": "inputs", "avl_outputs": "outputs", "avl_driver": "driver.key", "pwr_ext": "power.external",
    "pwr_int": "power.battery", "odom_m": "odometer", "ign": "ignition",
}  # fmt: skip
_NUMBERED = {"adc": "adc", "rs485_lls": "fuel.level", "rs485_t": "fuel.temperature"}
_WITH_NUMBER = re.compile(r"(adc|rs485_lls|rs485_t)([1-9][0-9]?)")


def measure(parameter: str) -> str:
    """What a parameter is called here."""
    known = _NAMES.get(parameter)
    if known is not None:
        return known
    numbered = _WITH_NUMBER.fullmatch(parameter)
    return f"{_NUMBERED[numbered[1]]}.{numbered[2]}" if numbered else f"param.{parameter}"
