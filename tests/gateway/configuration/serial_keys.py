"""Keys of `[[serial]]`, for the tests of all keys."""

from __future__ import annotations

SERIAL_KEYS = {
    "serial.port", "serial.protocol", "serial.baudrate", "serial.parity", "serial.terminal", "serial.sensors",
    "serial.interval", "serial.profile",
}  # fmt: skip
