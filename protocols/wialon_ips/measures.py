"""Names a Wialon message can fill besides position, time and movement.

`adc.N` counts from 1; `param.<name>` is whatever the terminal called it, and so has no fixed entry.
"""

from __future__ import annotations

# name -> (unit, meaning)
MEASURES: dict[str, tuple[str, str]] = {
    "hdop": ("", "horizontal dilution of precision"),
    "inputs": ("bit set", "states of the digital inputs, bit 0 is input 1"),
    "outputs": ("bit set", "states of the digital outputs, bit 0 is output 1"),
    "adc.N": ("V", "voltage of analogue input N, from 1"),
    "driver.key": ("", "key of the driver, text as sent"),
    "param.<name>": ("", "a parameter under the terminal's own name: number or text as its type says"),
}
